//! The names of users, from passwd(5) alone: any other source (NSS) may ask a
//! server, and wait for it. And the numbers of users and groups, where there is no
//! other source.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// No more of the file is read than this: some 10 000 users.
const LIMIT_BYTES: u64 = 1 << 20;
/// No more of a name is kept: the kernel's and the shadow tools' own limit.
const NAME_BYTES: usize = 32;

/// Reads the file anew for each user but the one asked for last.
#[derive(Debug)]
pub(crate) struct Accounts {
    path: PathBuf,
    last: Option<(u32, Option<String>)>,
}

impl Accounts {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            last: None,
        }
    }

    /// The name of user `uid`; `None` where the file does not say.
    pub(crate) fn name(&mut self, uid: u32) -> Option<&str> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != uid) {
            self.last = Some((uid, self.read(uid)));
        }
        self.last.as_ref()?.1.as_deref()
    }

    fn read(&self, uid: u32) -> Option<String> {
        lines(&self.path)?.find_map(|line| name_of(&line, uid))
    }
}

/// The number of the user or group `name`, as the file at `path` has it: passwd(5),
/// group(5).
pub(crate) fn number_of(path: &Path, name: &str) -> Option<u32> {
    lines(path)?.find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (named, number) = (fields.next()?, fields.nth(1)?);
        let number = str::from_utf8(number).ok()?.parse().ok()?;
        (named == name.as_bytes()).then_some(number)
    })
}

fn lines(path: &Path) -> Option<impl Iterator<Item = Vec<u8>> + use<>> {
    let file = File::open(path).ok()?;
    let lines = BufReader::new(file.take(LIMIT_BYTES)).split(b'\n');
    Some(lines.map_while(Result::ok))
}

/// `ann:x:1000:…`
fn name_of(line: &[u8], uid: u32) -> Option<String> {
    let mut fields = line.split(|byte| *byte == b':');
    let (name, number) = (fields.next()?, fields.nth(1)?);
    let is_theirs = str::from_utf8(number).is_ok_and(|number| number.parse() == Ok(uid));
    let is_plain = name.iter().all(u8::is_ascii_graphic) && name.len() <= NAME_BYTES;
    if !is_theirs || !is_plain || name.is_empty() {
        return None;
    }
    str::from_utf8(name).map(ToOwned::to_owned).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_file_says_and_not_at_all_where_it_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passwd");
        let text = "root:x:0:0::/:/bin/sh\n\
                    cut\n\
                    odd name:x:1001:1001::/:\n\
                    \x1b[2J:x:1002:1002::/:\n\
                    ann:x:1000:1000::/:\n\
                    ben:x:1000:1000::/:\n";
        std::fs::write(&path, text).expect("the folder is ours");
        let mut accounts = Accounts::at(&path);
        assert_eq!(accounts.name(1000), Some("ann"));
        assert_eq!(accounts.name(1000), Some("ann"));
        assert_eq!(accounts.name(0), Some("root"));
        for unnamed in [1001, 1002, 65_534, u32::MAX] {
            assert_eq!(accounts.name(unnamed), None, "{unnamed}");
        }
        assert_eq!(Accounts::at("/none").name(0), None);
    }

    #[test]
    fn a_user_or_a_group_has_the_number_that_the_file_says_and_none_where_it_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("group");
        let text = "root:x:0:\ncut\nodd:x:ten:ann\n+:::\nml:x:1000:ann,ben\nml:x:7:\n";
        std::fs::write(&path, text).expect("the folder is ours");
        assert_eq!(number_of(&path, "ml"), Some(1000));
        assert_eq!(number_of(&path, "root"), Some(0));
        for unknown in ["", "m", "cut", "odd", "ann", "+"] {
            assert_eq!(number_of(&path, unknown), None, "{unknown}");
        }
        assert_eq!(number_of(Path::new("/none"), "root"), None);
    }
}
