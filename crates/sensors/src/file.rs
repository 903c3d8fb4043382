//! Reading without the heap: descriptors that are kept, lines that are passed
//! on, numbers that are checked.

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, openat, stat};
use rustix::io::{Errno, pread};

use crate::error::ReadError;

/// A small text file that is read again and again, whole.
///
/// One that the kernel makes up as it is read (procfs, cgroups) is opened
/// once. Any other is opened anew for each read: a file replaced by rename(2),
/// as it should be, is a new file of the same name.
pub(crate) struct WatchedFile<const CAPACITY: usize> {
    path: PathBuf,
    kept: Option<OwnedFd>,
    /// See [`Self::in_pieces`].
    is_in_pieces: bool,
    /// On the heap: what holds it is moved about while the daemon starts, and
    /// the stack that takes stays locked.
    buffer: Box<[u8]>,
}

impl<const CAPACITY: usize> WatchedFile<CAPACITY> {
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = open(path)?;
        let kept = is_made_by_the_kernel(&file).then_some(file);
        Ok(Self {
            path: path.to_owned(),
            kept,
            is_in_pieces: false,
            buffer: vec![0; CAPACITY].into_boxed_slice(),
        })
    }

    /// The kernel makes it up of several records, of which one read may give only some.
    /// Where there is one record, a read gives all that there is room for.
    pub(crate) fn in_pieces(self) -> Self {
        Self {
            is_in_pieces: true,
            ..self
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel makes it up as it is read.
    pub(crate) fn is_kernels(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether another file than the one that is kept open has its path now, or none
    /// has. It waits as opening it does.
    pub(crate) fn was_replaced(&self) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        match (fstat(kept), stat(&self.path)) {
            (Ok(kept), Ok(found)) => (kept.st_dev, kept.st_ino) != (found.st_dev, found.st_ino),
            (_, Err(errno)) => errno == Errno::NOENT,
            (Err(_), _) => false,
        }
    }

    /// All of it.
    pub(crate) fn read(&mut self) -> Result<&[u8], ReadError> {
        let len = self.fill()?;
        if len == CAPACITY {
            return Err(self.too_long());
        }
        Ok(&self.buffer[..len])
    }

    /// All of it, or as many whole lines as there is room for.
    pub(crate) fn read_lines(&mut self) -> Result<&[u8], ReadError> {
        let mut len = self.fill()?;
        if len == CAPACITY {
            let end = self.buffer.iter().rposition(|&byte| byte == b'\n');
            len = end.ok_or_else(|| self.too_long())?;
        }
        Ok(&self.buffer[..len])
    }

    fn fill(&mut self) -> Result<usize, ReadError> {
        let read = match &self.kept {
            Some(file) if self.is_in_pieces => read_whole(file, &mut self.buffer),
            Some(file) => pread(file, &mut self.buffer[..], 0),
            None => read_whole(open(&self.path)?, &mut self.buffer),
        };
        read.map_err(|errno| ReadError::Read {
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    fn too_long(&self) -> ReadError {
        ReadError::TooLong {
            path: self.path.clone(),
            limit_bytes: CAPACITY,
        }
    }
}

impl<const CAPACITY: usize> fmt::Debug for WatchedFile<CAPACITY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile")
            .field("path", &self.path)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

pub(crate) fn open(path: &Path) -> Result<OwnedFd, ReadError> {
    // Without NONBLOCK a FIFO given as `--meminfo` would hang its reader.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| ReadError::Open {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn is_made_by_the_kernel(file: &OwnedFd) -> bool {
    // CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of linux/magic.h.
    const CGROUP: i128 = 0x0027_e0eb;
    const CGROUP2: i128 = 0x6367_7270;
    // The type of the magic number differs from machine to machine.
    fstatfs(file).is_ok_and(|filesystem| {
        let magic = i128::from(filesystem.f_type);
        magic == i128::from(PROC_SUPER_MAGIC) || magic == CGROUP || magic == CGROUP2
    })
}

/// Fills `buffer` from the beginning of `file`; returns how much of it.
pub(crate) fn read_whole(file: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut len = 0;
    while len < buffer.len() {
        match pread(&file, &mut buffer[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

/// A line that is longer is the last. The kernel's longest, `Groups` of a
/// process's status, has 720 KB at most; of /dev/zero there is no end.
const LONGEST_LINE_BYTES: usize = 4 << 20;

/// Calls `each` with the number (from 1) and the text of each line, until it
/// breaks. Of a line longer than `buffer` it is given the beginning alone.
pub(crate) fn for_each_line(
    file: impl AsFd,
    buffer: &mut [u8],
    each: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> Result<(), Errno> {
    for_each_line_until(file, buffer, |read, _| read == 0, each)
}

/// The same of a file that the kernel makes up as one record: a read that gives less
/// than there is room for is the last.
pub(crate) fn for_each_line_of_one(
    file: impl AsFd,
    buffer: &mut [u8],
    each: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> Result<(), Errno> {
    for_each_line_until(file, buffer, |read, room| read < room, each)
}

/// `is_last`: whether nothing comes after a read that gave so many bytes, where there
/// was room for so many.
fn for_each_line_until(
    file: impl AsFd,
    buffer: &mut [u8],
    is_last: impl Fn(usize, usize) -> bool,
    mut each: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> Result<(), Errno> {
    let mut line = 1;
    let mut offset = 0;
    let mut len = 0;
    let mut in_the_rest = false;
    let mut rest_bytes = 0;
    loop {
        let read = pread(&file, &mut buffer[len..], offset)?;
        let at_the_end = is_last(read, buffer.len() - len);
        offset += read as u64;
        len += read;
        let mut start = 0;
        while let Some(end) = buffer[start..len].iter().position(|&byte| byte == b'\n') {
            let text = &buffer[start..start + end];
            if !in_the_rest && each(line, text).is_break() {
                return Ok(());
            }
            in_the_rest = false;
            line += 1;
            start += end + 1;
        }
        let is_too_long = start == 0 && len == buffer.len();
        if is_too_long || (at_the_end && start < len) {
            if !in_the_rest && each(line, &buffer[start..len]).is_break() {
                return Ok(());
            }
            rest_bytes = if in_the_rest { rest_bytes + len } else { 0 };
            in_the_rest = true;
            start = len;
        }
        if at_the_end || LONGEST_LINE_BYTES < rest_bytes {
            return Ok(());
        }
        buffer.copy_within(start..len, 0);
        len -= start;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn lines_of(text: &[u8], capacity: usize) -> Vec<(usize, String)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let mut buffer = vec![0; capacity];
        let mut lines = Vec::new();
        for_each_line(&file, &mut buffer, |line, text| {
            lines.push((line, String::from_utf8_lossy(text).into_owned()));
            ControlFlow::Continue(())
        })
        .unwrap();
        let mut of_one = Vec::new();
        for_each_line_of_one(&file, &mut buffer, |line, text| {
            of_one.push((line, String::from_utf8_lossy(text).into_owned()));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lines, of_one);
        lines
    }

    #[track_caller]
    fn check(text: &str, capacity: usize, want: &[(usize, &str)]) {
        let got = lines_of(text.as_bytes(), capacity);
        let want: Vec<_> = want.iter().map(|&(n, line)| (n, line.to_owned())).collect();
        assert_eq!(got, want, "of {text:?} by {capacity}");
    }

    #[test]
    fn lines_are_whole_however_small_the_buffer() {
        for capacity in 4..20 {
            check(
                "one\ntwo\n\nsix",
                capacity,
                &[(1, "one"), (2, "two"), (3, ""), (4, "six")],
            );
        }
        check("", 4, &[]);
        check("\n", 4, &[(1, "")]);
    }

    #[test]
    fn of_a_line_too_long_the_beginning_is_given() {
        check("abcdefghijk\nxy\n", 4, &[(1, "abcd"), (2, "xy")]);
        check("abcd\nxy", 4, &[(1, "abcd"), (2, "xy")]);
        check("abcdefgh", 4, &[(1, "abcd")]);
    }

    #[test]
    fn a_line_without_end_is_the_last() {
        let mut lines = 0;
        let endless = File::open("/dev/zero").unwrap();
        for_each_line(&endless, &mut [0; 4096], |line, text| {
            lines += 1;
            assert_eq!((line, text), (1, &[0; 4096][..]));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lines, 1);
    }

    #[test]
    fn a_reader_may_stop() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb\n").unwrap();
        let mut count = 0;
        for_each_line(&file, &mut [0; 16], |_, _| {
            count += 1;
            ControlFlow::Break(())
        })
        .unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn a_file_that_is_not_the_kernels_is_opened_anew() {
        let kernels = File::open("/proc/meminfo").unwrap();
        assert!(is_made_by_the_kernel(&kernels.into()));
        let ours = tempfile::tempfile().unwrap();
        assert!(!is_made_by_the_kernel(&ours.into()));
    }
}
