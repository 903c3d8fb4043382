//! An initramfs as the kernel reads it: a cpio archive of the "newc" kind
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

/// Writes an archive, file by file.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// An empty one.
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A directory; its parent has to be there.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, (0, 0), &[])
    }

    /// A file that anyone may read and run.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, PROGRAM, (0, 0), content)
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, DEVICE, (major, minor), &[])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.inode += 1;
        let (size, name_size) = (field(content.len())?, field(path.len() + 1)?);
        let inode = self.inode;
        write!(
            self.out,
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}\
             {:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}{path}\0",
            0, 0, 1, 0, 0, 0, 0
        )?;
        self.align(110 + path.len() + 1)?;
        self.out.write_all(content)?;
        self.align(content.len())
    }

    fn align(&mut self, written: usize) -> io::Result<()> {
        self.out
            .write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

fn field(size: usize) -> io::Result<u32> {
    u32::try_from(size).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn header_name_and_content_are_aligned() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dir").unwrap();
        archive.file("dir/file", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for (start, _) in text.match_indices("070701") {
            assert_eq!(start % 4, 0);
        }
        assert_eq!(text.matches("070701").count(), 3);
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn a_file_says_its_size_and_kind() {
        let mut archive = Archive::new(Vec::new());
        archive.file("init", b"hello").unwrap();
        let text = String::from_utf8(archive.finish().unwrap()).unwrap();
        assert_eq!(&text[14..22], "000081ed");
        assert_eq!(&text[54..62], "00000005");
        assert_eq!(&text[94..102], "00000005");
        assert_eq!(&text[110..115], "init\0");
    }
}
