//! The memory that a cgroup may use, by the files of it and of those above it.
//!
//! Reading them takes no lock that a process can hold, so the loop may. Which
//! processes are in it is for the surveyor to read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Memory;
use rustix::io::Errno;

use crate::cgroup_mount::{CgroupMount, CgroupVersion, is_outside};
use crate::error::ReadError;
use crate::file::WatchedFile;
use crate::number::decimal;
use crate::plausible::{
    self, CgroupFindings, CgroupKey, CgroupTexts, Implausible, V1_KEYS, V2_KEYS,
};
use crate::survey::cgroups_of;

/// Why a cgroup cannot be guarded.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There are no cgroups that account for memory.
    #[error("no cgroups with the memory controller are mounted (`{}` lists none)", list.display())]
    NotMounted {
        /// Where mounts are listed.
        list: PathBuf,
    },
    /// There is no such cgroup.
    #[error(
        "there is no cgroup `{}`: expected a path as the process's `cgroup` file has it (`/user.slice`), or \
         a directory below `{}`",
        path.display(),
        mount.display()
    )]
    Absent {
        /// As it was given.
        path: PathBuf,
        /// Where cgroups are.
        mount: PathBuf,
    },
    /// Its memory is not accounted for.
    #[error(
        "`{}` does not exist: enable the memory controller for this cgroup (`+memory` in the \
         `cgroup.subtree_control` of the one above it)",
        file.display()
    )]
    NoController {
        /// What is missing.
        file: PathBuf,
    },
    /// It may use all memory of the machine.
    #[error(
        "cgroup `{name}` has no memory limit, and none above it has: write one to `{}` (such as 2G), or leave \
         out the cgroup to guard the machine",
        file.display()
    )]
    NoLimit {
        /// What it is called.
        name: String,
        /// Where its limit would be.
        file: PathBuf,
    },
    /// Its files cannot be read.
    #[error("cannot read the memory of the cgroup")]
    Read(#[source] ReadError),
}

/// Which cgroup it is, and where. [`fmt::Display`] says its path with `?` for what
/// is not printable ASCII: users name their cgroups as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    mount: CgroupMount,
    /// As processes have it: proc_pid_cgroup(5).
    path: PathBuf,
    directory: PathBuf,
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::ffi::OsStrExt;
        for &byte in self.path.as_os_str().as_bytes() {
            match byte {
                b'!'..=b'~' => fmt::Write::write_char(f, byte.into())?,
                _ => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

impl Cgroup {
    /// The cgroup `path`, as processes have it, or the directory `path` of one;
    /// `proc`: where procfs is.
    ///
    /// # Errors
    ///
    /// All of [`CgroupError`] but [`CgroupError::Read`] and
    /// [`CgroupError::NoLimit`].
    pub fn find(proc: &Path, path: &Path) -> Result<Self, CgroupError> {
        let cgroup = Self::named(proc, path)?;
        if !cgroup.directory.is_dir() {
            return Err(CgroupError::Absent {
                path: path.to_owned(),
                mount: cgroup.mount.path,
            });
        }
        let file = cgroup.directory.join(cgroup.files().usage);
        if !file.exists() {
            return Err(CgroupError::NoController { file });
        }
        Ok(cgroup)
    }

    /// The same, whether or not it is there.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotMounted`]; [`CgroupError::Absent`]: it cannot be there.
    pub fn named(proc: &Path, path: &Path) -> Result<Self, CgroupError> {
        let mount = CgroupMount::of_memory(proc).ok_or_else(|| CgroupError::NotMounted {
            list: CgroupMount::list(proc),
        })?;
        let below = path.strip_prefix(&mount.path);
        let path_in = match &below {
            Ok(below) => mount.root.join(below),
            Err(_) => Path::new("/").join(path),
        };
        let directory = mount
            .directory_of(&path_in)
            .ok_or_else(|| CgroupError::Absent {
                path: path.to_owned(),
                mount: mount.path.clone(),
            })?;
        Ok(Self {
            // Without what may be at the end of what was given.
            path: path_in.components().collect(),
            directory: directory.components().collect(),
            mount,
        })
    }

    /// The container's that we are in. Most often that is the topmost that we see, where
    /// that has a limit. Where all of the machine's are seen, it is the nearest that holds
    /// both us and the first process, whether or not it has one. `None` on a machine,
    /// where that is the topmost, which has no limit.
    #[must_use]
    pub fn of_container(proc: &Path) -> Option<Self> {
        let mount = CgroupMount::of_memory(proc)?;
        let topmost = Self {
            path: mount.root.clone(),
            directory: mount.path.clone(),
            mount,
        };
        let limit = fs::read(topmost.directory.join(topmost.files().max));
        if limit.is_ok_and(|limit| plausible::is_limited(&limit)) {
            return Some(topmost);
        }
        let mount = topmost.mount;
        let [ours, first] = ["self", "1"].map(|pid| mount.path_of(&cgroups_of(proc, pid)));
        let (ours, first) = (ours?, first?);
        let both = ours.components().zip(first.components());
        let shared = both.take_while(|(ours, first)| ours == first);
        let path: PathBuf = shared.map(|(part, _)| part).collect();
        let directory = mount.directory_of(&path)?;
        (directory != mount.path).then_some(Self {
            mount,
            path,
            directory,
        })
    }

    /// Where cgroups are mounted so that a container's cannot be found there: from outside
    /// of the cgroup namespace that we and the first process are in.
    #[must_use]
    pub fn hidden_by(proc: &Path) -> Option<PathBuf> {
        let mount = CgroupMount::of_memory(proc)?;
        let first = mount.path_of(&cgroups_of(proc, "1"))?;
        (is_outside(&mount.root) && !is_outside(&first)).then_some(mount.path)
    }

    /// As processes have it, byte by byte.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the pressure of the topmost that we see is: in a container, its own.
    /// `None` without version 2, or where that keeps none.
    #[must_use]
    pub fn topmost_pressure(proc: &Path) -> Option<PathBuf> {
        let mount = CgroupMount::of_version_2(proc)?;
        let path = mount.path.join("memory.pressure");
        path.exists().then_some(path)
    }

    /// Where its pressure is; `None` of version 1, which does not keep any.
    #[must_use]
    pub fn pressure(&self) -> Option<PathBuf> {
        match self.mount.version {
            CgroupVersion::One => None,
            CgroupVersion::Two => Some(self.directory.join("memory.pressure")),
        }
    }

    /// Whether the kernel can slow down what allocates in it (`memory.high`); not of
    /// version 1.
    #[must_use]
    pub fn can_be_slowed_down(&self) -> bool {
        self.mount.version == CgroupVersion::Two
    }

    /// Whether a process is in it or below, by one line of its list of cgroups;
    /// `None` where the line is of another hierarchy.
    pub(crate) fn holds(&self, line: &[u8]) -> Option<bool> {
        let path = self.mount.path_in(line)?;
        let below = path.strip_prefix(&self.path);
        // Outside of our cgroup namespace: `/../…`.
        Some(below.is_ok_and(|below| !below.starts_with("..")))
    }

    fn files(&self) -> &'static FileNames {
        match self.mount.version {
            CgroupVersion::One => &V1_FILES,
            CgroupVersion::Two => &V2_FILES,
        }
    }

    /// It and those above it that are seen, the topmost of version 2 left out,
    /// which has no limit.
    fn levels(&self) -> Result<Vec<Level>, ReadError> {
        let names = self.files();
        self.directory
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.mount.path))
            .filter(|directory| directory.join(names.max).exists())
            .map(|directory| Level::open(directory, names))
            .collect()
    }
}

/// What the files are called.
struct FileNames {
    keys: &'static plausible::CgroupKeys,
    max: &'static str,
    high: &'static str,
    usage: &'static str,
    swap_max: &'static str,
    swap_usage: &'static str,
    /// Of it and those below; of version 1, of it alone.
    kills: &'static str,
    /// How often each limit was hit and nothing could be reclaimed.
    ooms: Option<&'static str>,
    /// At 0 nothing in it is swapped out at a limit. For version 2 there is only that of
    /// the machine.
    swappiness: Option<&'static str>,
}

const V2_FILES: FileNames = FileNames {
    keys: &V2_KEYS,
    max: "memory.max",
    high: "memory.high",
    usage: "memory.current",
    swap_max: "memory.swap.max",
    swap_usage: "memory.swap.current",
    kills: "memory.events",
    ooms: Some("memory.events.local"),
    swappiness: None,
};

const V1_FILES: FileNames = FileNames {
    keys: &V1_KEYS,
    max: "memory.limit_in_bytes",
    high: "memory.high",
    usage: "memory.usage_in_bytes",
    swap_max: "memory.memsw.limit_in_bytes",
    swap_usage: "memory.memsw.usage_in_bytes",
    kills: "memory.oom_control",
    ooms: None,
    swappiness: Some("memory.swappiness"),
};

/// A file with one number.
type Number = WatchedFile<64>;

/// A file that counts what happened.
type Events = WatchedFile<1024>;

/// The files of one cgroup, kept open.
#[derive(Debug)]
struct Level {
    directory: Arc<Path>,
    max: Number,
    high: Option<Number>,
    usage: Number,
    swap_max: Option<Number>,
    swap_usage: Option<Number>,
    swappiness: Option<Number>,
    ooms: Option<Events>,
    // The kernel's own is under 4 KiB.
    stat: WatchedFile<8192>,
    /// As last read.
    limit_bytes: Option<u64>,
    findings: CgroupFindings,
}

impl Level {
    fn open(directory: &Path, names: &FileNames) -> Result<Self, ReadError> {
        let optional = |name: &str| -> Result<Option<Number>, ReadError> {
            let path = directory.join(name);
            path.exists().then(|| Number::open(&path)).transpose()
        };
        Ok(Self {
            directory: directory.into(),
            max: Number::open(&directory.join(names.max))?,
            high: optional(names.high)?,
            usage: Number::open(&directory.join(names.usage))?,
            swap_max: optional(names.swap_max)?,
            swap_usage: optional(names.swap_usage)?,
            swappiness: names.swappiness.map(optional).transpose()?.flatten(),
            // Early kernels of version 2 have none.
            ooms: names
                .ooms
                .and_then(|name| Events::open(&directory.join(name)).ok()),
            stat: WatchedFile::open(&directory.join("memory.stat"))?,
            limit_bytes: None,
            findings: CgroupFindings::default(),
        })
    }

    fn narrow(&mut self, names: &FileNames, memory: &mut Memory) -> Result<(), ReadError> {
        fn optional(file: &mut Option<Number>) -> Result<Option<&[u8]>, ReadError> {
            file.as_mut().map(WatchedFile::read_lines).transpose()
        }
        let texts = CgroupTexts {
            max: self.max.read_lines()?,
            high: optional(&mut self.high)?,
            usage: self.usage.read_lines()?,
            swap_max: optional(&mut self.swap_max)?,
            swap_usage: optional(&mut self.swap_usage)?,
            stat: self.stat.read_lines()?,
        };
        let room = plausible::room(names.keys, &texts, self.limit_bytes, &mut self.findings);
        let room = room.map_err(|unfit| ReadError::unfit(self.usage.path(), unfit))?;
        self.limit_bytes = room.memory.map(|room| room.limit_bytes);
        plausible::narrow(memory, &room);
        Ok(())
    }

    /// Whether the kernel swaps nothing out of it at a limit.
    fn swaps_nothing(&mut self) -> Result<bool, ReadError> {
        let text = self.swappiness.as_mut().map(WatchedFile::read_lines);
        let swappiness = text.transpose()?.map(|text| decimal(text.trim_ascii()));
        Ok(swappiness == Some(Some(0)))
    }
}

/// Reads what a cgroup may use of the machine's memory.
#[derive(Debug)]
pub struct CgroupMemory {
    cgroup: Cgroup,
    levels: Vec<Level>,
    kills: Option<Events>,
    /// As last read.
    killed: Option<u64>,
    /// How often a limit was hit, as of the last of these kills.
    ooms: u64,
}

impl CgroupMemory {
    /// Opens its files, and those of the cgroups above it.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Read`], [`CgroupError::NoLimit`].
    pub fn open(cgroup: Cgroup) -> Result<Self, CgroupError> {
        let levels = cgroup.levels().map_err(CgroupError::Read)?;
        let kills = cgroup.directory.join(cgroup.files().kills);
        let mut memory = Self {
            kills: WatchedFile::open(&kills).ok(),
            killed: None,
            ooms: 0,
            levels,
            cgroup,
        };
        let mut any = Memory::default();
        memory.narrow(&mut any).map_err(CgroupError::Read)?;
        memory.checked()?;
        memory.new_kills();
        Ok(memory)
    }

    /// Whether there is a limit, as last read.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoLimit`].
    pub fn checked(&self) -> Result<(), CgroupError> {
        if self.levels.iter().any(|level| level.limit_bytes.is_some()) {
            return Ok(());
        }
        Err(CgroupError::NoLimit {
            name: self.cgroup.to_string(),
            file: self.cgroup.directory.join(self.cgroup.files().max),
        })
    }

    /// One that is not there: found where it is made.
    #[must_use]
    pub fn absent(cgroup: Cgroup) -> Self {
        Self {
            cgroup,
            levels: Vec::new(),
            kills: None,
            killed: None,
            ooms: 0,
        }
    }

    /// What it may use of `machine`: the smallest limit on the way up is all there
    /// is, and what is available is what every one of them leaves, by itself and
    /// by page cache and slab that can be reclaimed, and no more than the
    /// machine's. Without any limit left it is the machine's. Swap is what its limits
    /// leave of the machine's, whether or not they limit memory too. A few pread(2), no
    /// heap.
    ///
    /// A field that cannot be true costs that field alone:
    /// [`Self::next_implausible`] says what is taken in its place.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`], [`ReadError::Open`]: it could not be read, or is
    ///   gone. One that comes back is found again.
    /// - [`ReadError::Missing`], [`ReadError::Implausible`]: it does not say what
    ///   is used.
    pub fn read(&mut self, machine: &Memory) -> Result<Memory, ReadError> {
        if self.levels.is_empty() || self.was_renamed() {
            self.open_again()?;
        }
        let mut memory = *machine;
        match self.narrow(&mut memory) {
            Err(err) if is_gone(&err) => self.open_again()?,
            outcome => return outcome.map(|()| memory),
        }
        memory = *machine;
        self.narrow(&mut memory).map(|()| memory)
    }

    /// Whether its files are of a cgroup that is called something else by now, as
    /// version 1 allows.
    fn was_renamed(&self) -> bool {
        let is_version_1 = self.cgroup.mount.version == CgroupVersion::One;
        let own = self.levels.first();
        is_version_1 && own.is_some_and(|own| own.usage.was_replaced())
    }

    /// Its cgroup was removed, or was not there yet, and may have been made since.
    fn open_again(&mut self) -> Result<(), ReadError> {
        let directory = &self.cgroup.directory;
        // Without the controller there is the directory alone.
        let usage = directory.join(self.cgroup.files().usage);
        if let Some(path) = [directory, &usage].into_iter().find(|path| !path.exists()) {
            return Err(ReadError::Open {
                path: path.clone(),
                source: Errno::NOENT.into(),
            });
        }
        self.levels = self.cgroup.levels()?;
        self.kills = WatchedFile::open(&directory.join(self.cgroup.files().kills)).ok();
        self.killed = None;
        Ok(())
    }

    fn narrow(&mut self, memory: &mut Memory) -> Result<(), ReadError> {
        let names = self.cgroup.files();
        for level in &mut self.levels {
            level.narrow(names, memory)?;
        }
        if let Some(own) = self.levels.first_mut()
            && own.swaps_nothing()?
        {
            memory.swap_total_bytes = 0;
            memory.swap_free_bytes = 0;
        }
        Ok(())
    }

    /// How many processes the kernel has killed in it, at its memory limit or at one
    /// above it, since this was last asked; none where it does not say. What is below
    /// it may have limits of its own: kills at those do not count. Of version 1, what
    /// is killed below it does not count either.
    pub fn new_kills(&mut self) -> u64 {
        let Some(killed) = count(&mut self.kills, b"oom_kill ") else {
            return 0;
        };
        let before = self.killed.replace(killed);
        if before == Some(killed) {
            return 0;
        }
        // A limit is hit before anything is killed for it.
        let hits = self.levels.iter_mut();
        let hits = hits.filter_map(|level| count(&mut level.ooms, b"oom "));
        let ooms = hits.reduce(u64::saturating_add);
        let ooms_before = std::mem::replace(&mut self.ooms, ooms.unwrap_or(0));
        match ooms.is_none_or(|ooms| ooms_before < ooms) {
            true => killed.saturating_sub(before.unwrap_or(killed)),
            false => 0,
        }
    }

    /// What was implausible in the last reading and was not yet asked for here, and
    /// in which file. Each is told once, until it was right in between.
    pub fn next_implausible(&mut self) -> Option<(Arc<Path>, Implausible)> {
        let keys = self.cgroup.files().keys;
        self.levels.iter_mut().find_map(|level| {
            let (index, found) = level.findings.next_unsaid_of()?;
            let name = match CgroupKey::is_in_stat(index) {
                true => "memory.stat",
                false => keys[index].0,
            };
            Some((level.directory.join(name).into(), found))
        })
    }

    /// Of which cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

/// What a file counts behind `key`.
fn count(file: &mut Option<Events>, key: &[u8]) -> Option<u64> {
    let text = file.as_mut()?.read_lines().ok()?;
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| decimal(line.strip_prefix(key)?))
}

/// Whether a file, or its cgroup, was removed (ENODEV).
fn is_gone(err: &ReadError) -> bool {
    match err {
        ReadError::Open { source, .. } | ReadError::Read { source, .. } => matches!(
            Errno::from_io_error(source),
            Some(Errno::NOENT | Errno::NODEV)
        ),
        _ => false,
    }
}
