//! Whose the subordinate user ids are, from subuid(5) and passwd(5) alone: any other
//! source (NSS) may ask a server, and wait for it.
//!
//! A user may run processes, and write entries, as each of thousands of such ids
//! (newuidmap(1)). What one user may have is for all of them together.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::file::FileIdentity;

/// No more is read: some 10 000 users.
const LIMIT_BYTES: u64 = 1 << 20;

/// Both files are read when one has changed since they were asked for last.
#[derive(Debug)]
pub(crate) struct SubordinateIds {
    passwd: PathBuf,
    subuid: PathBuf,
    /// Of which state of both files what follows is.
    read: Option<[FileIdentity; 2]>,
    /// Ids that are users' own.
    users: HashSet<u32>,
    ranges: Vec<Range>,
}

/// Ids that a user has been given.
#[derive(Debug)]
struct Range {
    first: u32,
    last: u32,
    owner: u32,
}

impl SubordinateIds {
    /// As the files in `directory` say: `/etc`.
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            passwd: directory.join("passwd"),
            subuid: directory.join("subuid"),
            read: None,
            users: HashSet::new(),
            ranges: Vec::new(),
        }
    }

    /// The user, other than root, that has been given `uid`; else `uid` itself. Where
    /// several have, it is the first.
    pub(crate) fn owner(&mut self, uid: u32) -> u32 {
        let now = self.identity();
        if self.read != now {
            self.read = now;
            let names = read(&self.passwd).map(|text| users(&text));
            let names = names.unwrap_or_default();
            let ranges = read(&self.subuid).map(|text| ranges(&text, &names));
            self.ranges = ranges.unwrap_or_default();
            self.users = names.into_values().collect();
        }
        let has_it = |range: &&Range| (range.first..=range.last).contains(&uid);
        let range = self.ranges.iter().find(has_it);
        range
            .filter(|_| !self.users.contains(&uid))
            .map_or(uid, |range| range.owner)
    }

    fn identity(&self) -> Option<[FileIdentity; 2]> {
        let of = |path: &Path| Some(FileIdentity::of(&fs::metadata(path).ok()?));
        Some([of(&self.passwd)?, of(&self.subuid)?])
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(LIMIT_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `name:password:uid:…`
fn users(passwd: &str) -> HashMap<String, u32> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        Some((name.to_owned(), uid.parse().ok()?))
    };
    passwd.lines().filter_map(user).collect()
}

/// `name:first:count`, where an id may be in place of the name.
fn ranges(subuid: &str, users: &HashMap<String, u32>) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        let [owner, first, count] = [fields.next()?, fields.next()?, fields.next()?];
        let owner = users.get(owner).copied().or_else(|| owner.parse().ok())?;
        let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
        let last = first.checked_add(count.checked_sub(1)?)?;
        // Root is not limited. What runs in its containers is.
        (owner != 0).then_some(Range { first, last, owner })
    };
    subuid.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_has_been_given_is_that_users() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name, text| {
            fs::write(folder.path().join(name), text).expect("the folder is ours");
        };
        let mut ids = SubordinateIds::of(folder.path());
        assert_eq!(ids.owner(100_000), 100_000, "there are no files");
        write(
            "passwd",
            "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:165600:9::/:\ncut:x\n",
        );
        write(
            "subuid",
            "ann:100000:65536\n1001:165536:65536\nroot:300000:65536\n\n# none\n\
             gone:400000:65536\nann:500000:0\nann:4294967295:2\nann:600000\n",
        );
        for (uid, owner, why) in [
            (1000, 1000, "a user"),
            (0, 0, "root"),
            (99_999, 99_999, "below"),
            (100_000, 1000, "the first"),
            (165_535, 1000, "the last"),
            (165_536, 1001, "by number"),
            (165_600, 165_600, "a user of its own, in a range"),
            (231_072, 231_072, "beyond"),
            (300_000, 300_000, "root's"),
            (400_000, 400_000, "of a user that is not known"),
            (500_000, 500_000, "of none"),
            (u32::MAX, u32::MAX, "more than there are"),
            (600_000, 600_000, "cut short"),
        ] {
            assert_eq!(ids.owner(uid), owner, "{why}");
        }

        write("subuid", "ann:400000:1\n");
        assert_eq!(ids.owner(100_000), 100_000, "taken away");
        assert_eq!(ids.owner(400_000), 1000);
    }
}
