//! Where cgroups are mounted, and which of them a process is in:
//! proc_pid_mountinfo(5), proc_pid_cgroup(5).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where a hierarchy of cgroups is mounted, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupMount {
    pub(crate) version: CgroupVersion,
    pub(crate) path: PathBuf,
    /// What is seen at [`Self::path`].
    pub(crate) root: PathBuf,
}

/// Which of the kernel's two interfaces a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupVersion {
    /// With the memory controller.
    One,
    Two,
}

/// The type of a file system of version 2.
const TYPE: &[u8] = b"cgroup2";

impl CgroupMount {
    /// The hierarchy of version 2 among the mounts that `proc` tells of.
    pub(crate) fn of_version_2(proc: &Path) -> Option<Self> {
        Self::first(proc, CgroupVersion::Two)
    }

    /// The hierarchy that accounts for memory: of version 1 where there is such a
    /// one, for then that of version 2 does not.
    pub(crate) fn of_memory(proc: &Path) -> Option<Self> {
        Self::first(proc, CgroupVersion::One).or_else(|| Self::of_version_2(proc))
    }

    /// Where it is listed which are mounted.
    pub(crate) fn list(proc: &Path) -> PathBuf {
        proc.join("self/mountinfo")
    }

    fn first(proc: &Path, version: CgroupVersion) -> Option<Self> {
        let mounts = fs::read(Self::list(proc)).unwrap_or_default();
        let mut mounts = mounts
            .split(|byte| *byte == b'\n')
            .filter_map(CgroupMount::parse);
        mounts.find(|mount| mount.version == version)
    }

    /// Of a line of the list, if it is of version 2, or of version 1 with the
    /// memory controller.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let root = fields.nth(3)?;
        let path = fields.next()?;
        // Optional fields, up to a hyphen.
        fields.find(|field| *field == b"-")?;
        let version = match fields.next()? {
            TYPE => CgroupVersion::Two,
            // The same without the number.
            kind if TYPE.strip_suffix(b"2") == Some(kind) => {
                let mut options = fields.nth(1)?.split(|byte| *byte == b',');
                options.find(|option| *option == b"memory")?;
                CgroupVersion::One
            }
            _ => return None,
        };
        Some(Self {
            version,
            path: unescaped(path),
            root: unescaped(root),
        })
    }

    /// The cgroup of this hierarchy that a line of a process's list names, if it
    /// names one.
    pub(crate) fn path_in<'a>(&self, line: &'a [u8]) -> Option<&'a Path> {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = match self.version {
            CgroupVersion::One => controllers
                .split(|byte| *byte == b',')
                .any(|controller| controller == b"memory"),
            CgroupVersion::Two => number == b"0" && controllers.is_empty(),
        };
        is_ours.then(|| Path::new(OsStr::from_bytes(path)))
    }

    /// Where the cgroup `path` is, if that is below the mount.
    pub(crate) fn directory_of(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok();
        Some(self.path.join(below.filter(|_| !is_outside(path))?))
    }

    /// Which cgroup of this hierarchy a process is in, by its list.
    pub(crate) fn path_of(&self, lines: &[u8]) -> Option<PathBuf> {
        let mut lines = lines.split(|byte| *byte == b'\n');
        lines.find_map(|line| self.path_in(line).map(Path::to_owned))
    }

    /// Whether a process with this line may have nothing in swap, by its cgroup or by
    /// one above it.
    pub(crate) fn forbids_swap(&self, line: &[u8]) -> bool {
        let forbids = |directory: &Path| {
            let limit = fs::read(directory.join("memory.swap.max"));
            limit.is_ok_and(|limit| limit.trim_ascii() == b"0")
        };
        self.directory(line).is_some_and(|directory| {
            directory
                .ancestors()
                .take_while(|directory| directory.starts_with(&self.path))
                .any(forbids)
        })
    }

    /// The directory that a line of a process's list names, if it is of this
    /// hierarchy and below the mount.
    pub(crate) fn directory(&self, line: &[u8]) -> Option<PathBuf> {
        self.directory_of(self.path_in(line)?)
    }
}

/// Whether the cgroup `path` is outside of our cgroup namespace: `/../…`.
pub(crate) fn is_outside(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// A space, tab, line feed or backslash stands there as `\` and three octal
/// digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        path.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    PathBuf::from(OsStr::from_bytes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_directory(mount: &str, line: &str, want: Option<&str>) {
        let mount = CgroupMount::parse(mount.as_bytes());
        let directory = mount.and_then(|mount| mount.directory(line.as_bytes()));
        assert_eq!(directory.as_deref(), want.map(Path::new), "{line}");
    }

    #[test]
    fn a_cgroup_is_found_below_its_mount() {
        let whole = "31 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        check_directory(whole, "0::/a.slice/b c", Some("/sys/fs/cgroup/a.slice/b c"));
        check_directory(whole, "0::/", Some("/sys/fs/cgroup/"));
        check_directory(whole, "0::/../other", None);
        check_directory(whole, "4:memory:/a", None);
        let part = "31 25 0:26 /a /mnt/x\\040y rw - cgroup2 none rw";
        check_directory(part, "0::/a/b", Some("/mnt/x y/b"));
        check_directory(part, "0::/b", None);
        check_directory("", "0::/a", None);
    }

    #[test]
    fn of_version_1_only_the_hierarchy_with_memory_counts() {
        let memory = "31 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        check_directory(memory, "0::/a", None);
        check_directory(memory, "4:memory:/a", Some("/sys/fs/cgroup/memory/a"));
        check_directory(
            memory,
            "4:cpu,memory:/a:b",
            Some("/sys/fs/cgroup/memory/a:b"),
        );
        check_directory(memory, "3:cpuset:/a", None);
        let other = "31 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct";
        check_directory(other, "4:memory:/a", None);
    }
}
