//! Which groups are one user's own, from passwd(5) and group(5) alone: any other
//! source (NSS) may ask a server, and wait for it.
//!
//! Many distributions give each user such a group and a umask of 002, so what they
//! write may be written to by a group without another user.

use std::collections::hash_map::{Entry, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::file::FileIdentity;

/// A larger file is not read: some 10 000 users.
const LIMIT_BYTES: u64 = 1 << 20;

/// Both files are read when they have changed since they were asked for last.
#[derive(Debug)]
pub(crate) struct OwnGroups {
    passwd: PathBuf,
    group: PathBuf,
    /// Of which state of both files the users are.
    read: Option<[FileIdentity; 2]>,
    /// The one user in each such group.
    users: HashMap<u32, u32>,
}

impl OwnGroups {
    /// As the files in `directory` say: `/etc`.
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            passwd: directory.join("passwd"),
            group: directory.join("group"),
            read: None,
            users: HashMap::new(),
        }
    }

    /// Whether `uid`, who is not root, is the only user in group `gid`. Root's group
    /// has others in it by custom, whether or not a file says so.
    pub(crate) fn is_own(&mut self, gid: u32, uid: u32) -> bool {
        if uid == 0 {
            return false;
        }
        if self.identity().is_none_or(|now| self.read != Some(now)) {
            self.read = None;
            self.users.clear();
            let read = open(&self.passwd).and_then(|passwd| Ok((passwd, open(&self.group)?)));
            if let Ok(((of_passwd, passwd), (of_group, group))) = read {
                self.read = Some([of_passwd, of_group]);
                self.users = users(&passwd, &group).unwrap_or_default();
            }
        }
        self.users.get(&gid) == Some(&uid)
    }

    fn identity(&self) -> Option<[FileIdentity; 2]> {
        let of = |path: &Path| Some(FileIdentity::of(&path.metadata().ok()?));
        Some([of(&self.passwd)?, of(&self.group)?])
    }
}

/// A file, and what it holds.
fn open(path: &Path) -> io::Result<(FileIdentity, Vec<u8>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > LIMIT_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = Vec::new();
    file.take(LIMIT_BYTES).read_to_end(&mut text)?;
    Ok((FileIdentity::of(&metadata), text))
}

/// Of each group that has one user, that user; `None` where another source is to be
/// asked (NIS: a line that begins with `+`).
fn users(passwd: &[u8], group: &[u8]) -> Option<HashMap<u32, u32>> {
    let mut by_name = HashMap::new();
    // Those whose first group it is: none where they are several.
    let mut first: HashMap<u32, Option<u32>> = HashMap::new();
    for fields in lines(passwd)? {
        let [name, _, uid, gid, ..] = fields[..] else {
            continue;
        };
        let (Some(uid), Some(gid)) = (number(uid), number(gid)) else {
            continue;
        };
        by_name.insert(name, uid);
        first
            .entry(gid)
            .and_modify(|user| *user = user.filter(|user| *user == uid))
            .or_insert(Some(uid));
    }
    let mut users: HashMap<u32, Option<u32>> = HashMap::new();
    for fields in lines(group)? {
        let [_, _, gid, ref members @ ..] = fields[..] else {
            continue;
        };
        let Some(gid) = number(gid) else {
            continue;
        };
        let user = first.get(&gid).copied().flatten();
        let names = members
            .iter()
            .flat_map(|names| names.split(|byte| *byte == b','));
        let mut others = names
            .filter(|name| !name.trim_ascii().is_empty())
            .map(|name| by_name.get(name.trim_ascii()).copied());
        let user = user.filter(|user| others.all(|other| other == Some(*user)));
        // Of two lines about one group, both count.
        match users.entry(gid) {
            Entry::Vacant(entry) => drop(entry.insert(user)),
            Entry::Occupied(mut entry) => *entry.get_mut() = entry.get().and(user),
        }
    }
    let users = users.into_iter();
    Some(users.filter_map(|(gid, user)| Some((gid, user?))).collect())
}

/// Fields between colons; `None` where a line asks for another source.
fn lines(text: &[u8]) -> Option<Vec<Vec<&[u8]>>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .map(|line| match line.first() {
            Some(b'+') => None,
            _ => Some(line.split(|byte| *byte == b':').collect()),
        })
        .collect()
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\n\
                          ann:x:1000:1000::/:\n\
                          ben:x:1001:1001::/:\n\
                          cid:x:1002:100::/:\n\
                          dot:x:1003:100::/:\n\
                          eve:x:1004:1004::/:\n\
                          fay:x:1005:1005::/:\n\
                          also-fay:x:1005:1005::/:\n\
                          gus:x:1006:1006::/:\n\
                          cut:x:1007\n";
    const GROUP: &str = "root:x:0:\n\
                         users:x:100:\n\
                         ann:x:1000:\n\
                         ben:x:1001:ann\n\
                         fay:x:1005:also-fay,fay\n\
                         gus:x:1006:\n\
                         again:x:1006:stranger\n\
                         empty:x:2000:\n";

    #[test]
    fn a_group_is_ones_own_where_nobody_else_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
        let mut groups = OwnGroups::of(folder.path());
        assert!(!groups.is_own(1000, 1000), "there are no files");
        fs::write(&passwd, PASSWD).expect("the folder is ours");
        fs::write(&group, GROUP).expect("the folder is ours");
        assert!(groups.is_own(1000, 1000), "ann's");
        assert!(groups.is_own(1005, 1005), "fay's, under both names");
        for (gid, uid, why) in [
            (0, 0, "root's"),
            (1000, 1001, "another's"),
            (1001, 1001, "ann is in it"),
            (100, 1002, "two have it as their first"),
            (1004, 1004, "group(5) does not know it"),
            (1006, 1006, "a second line has a member"),
            (2000, 2000, "passwd(5) knows no user"),
        ] {
            assert!(!groups.is_own(gid, uid), "{why}");
        }

        let joined = GROUP.replace("ann:x:1000:\n", "ann:x:1000:ben\n");
        fs::write(&group, joined).expect("the folder is ours");
        assert!(!groups.is_own(1000, 1000), "ben has joined");
        fs::write(&group, GROUP).expect("the folder is ours");
        assert!(groups.is_own(1000, 1000), "ben has left");
        fs::write(&passwd, format!("{PASSWD}+::::::\n")).expect("the folder is ours");
        assert!(!groups.is_own(1000, 1000), "there may be more users");
        fs::write(&passwd, PASSWD.repeat(1 << 14)).expect("the folder is ours");
        assert!(!groups.is_own(1000, 1000), "it is too large");
    }
}
