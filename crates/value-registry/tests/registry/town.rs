//! A private registry, and a table of the processes that live.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use model::{Name, ProcessId};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use tempfile::TempDir;
use value_registry::{Bearer, Lookup, Notice, Occupant, Options, Reason, Registry};

pub(crate) const NOBODY: u32 = 65534;
pub(crate) const SOMEBODY: u32 = 65533;

/// Each process started so long ago.
pub(crate) const AGE: Duration = Duration::from_secs(3 * 3600);

/// A refresh looks at 64 files that have settled, 64 that were deferred, 128
/// that have changed and 64 names, and asks after 64 that are gone.
const LOOKS_PER_REFRESH: usize = 64 + 64 + 128 + 64 + 64;

pub(crate) struct Town {
    pub(crate) folder: TempDir,
    pub(crate) processes: HashMap<u32, Occupant>,
    /// Of these it cannot be told.
    pub(crate) unknown: HashSet<u32>,
    pub(crate) registry: Registry,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::with(Options::default(), |_| {})
    }

    /// Not acting as root, whichever user runs the test.
    pub(crate) fn of_a_user() -> Self {
        let options = Options {
            as_root: false,
            ..Options::default()
        };
        Self::with(options, |_| {})
    }

    /// `prepare` sees the directory before it is the registry.
    pub(crate) fn with(options: Options, prepare: impl FnOnce(&Path)) -> Self {
        Self::within(TempDir::new().expect("a folder"), options, prepare)
    }

    /// In memory, where that can be: for many files.
    pub(crate) fn in_memory() -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        Self::within(folder.expect("a folder"), Options::default(), |_| {})
    }

    fn within(folder: TempDir, options: Options, prepare: impl FnOnce(&Path)) -> Self {
        // Children of other users come in here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
        let directory = folder.path().join("entries");
        fs::create_dir(&directory).expect("it is new");
        prepare(&directory);
        let registry = Registry::open(&directory, options).expect("it is ours");
        Self {
            folder,
            processes: HashMap::new(),
            unknown: HashSet::new(),
            registry,
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("entries")
    }

    pub(crate) fn path(&self, name: impl ToString) -> PathBuf {
        self.directory().join(name.to_string())
    }

    pub(crate) fn write(&self, name: impl ToString, text: impl AsRef<[u8]>) {
        let mut file = self.create(name);
        file.write_all(text.as_ref()).expect("there is room");
    }

    /// With a mode that is right, whatever the umask.
    fn create(&self, name: impl ToString) -> File {
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(self.path(name))
            .expect("it is ours")
    }

    /// Writes it as if that had been ten seconds ago.
    pub(crate) fn write_long_ago(&self, name: impl ToString, text: impl AsRef<[u8]>) {
        let mut file = self.create(name);
        file.write_all(text.as_ref()).expect("there is room");
        file.set_modified(ago(10)).expect("it is ours");
    }

    /// Has `pid` be a process of ours; another one each time.
    pub(crate) fn run(&mut self, pid: u32) -> ProcessId {
        self.run_as(pid, geteuid().as_raw())
    }

    /// Has `pid` be a process of `uid`'s; another one each time.
    pub(crate) fn run_as(&mut self, pid: u32, uid: u32) -> ProcessId {
        let start_ticks = match self.processes.get(&pid) {
            Some(earlier) => earlier.start_ticks + 1,
            None => 1000,
        };
        let runner = Occupant {
            uid,
            start_ticks,
            age: AGE,
            name: Name::new(b"train.py"),
            process: pid,
            is_kernel_thread: false,
        };
        self.processes.insert(pid, runner);
        ProcessId { pid, start_ticks }
    }

    /// The value of `id` now.
    pub(crate) fn value(&self, id: ProcessId) -> Option<u32> {
        let worth = self.registry.worth(id, Instant::now())?;
        Some(worth.value)
    }

    /// Another daemon on the same directory, started after this one has gone.
    pub(crate) fn restart(&mut self) {
        let options = Options::default();
        self.registry = Registry::open(&self.directory(), options).expect("it is ours");
    }

    /// Refreshes until there is something to say.
    #[track_caller]
    pub(crate) fn refresh_until_said(&mut self) -> Vec<Notice> {
        for _ in 0..500 {
            let notices = self.refresh();
            if !notices.is_empty() {
                return notices;
            }
            is_readable(&self.registry, PollTimeout::from(20_u8));
        }
        panic!("nothing was said in ten seconds");
    }

    /// Refreshes until there is no more to read, a pass over all the files that
    /// still has to rest included.
    #[track_caller]
    pub(crate) fn refresh_all(&mut self) -> Vec<Notice> {
        let mut notices = self.refresh();
        for _ in 0..500 {
            if !self.registry.is_to_reread() {
                return notices;
            }
            is_readable(&self.registry, PollTimeout::from(20_u8));
            notices.extend(self.refresh());
        }
        panic!("not all was read in ten seconds");
    }

    /// Refreshes until there is no more to read at once.
    #[track_caller]
    pub(crate) fn refresh(&mut self) -> Vec<Notice> {
        self.refresh_while(|_| {})
    }

    /// The same; `meanwhile` is done between the look at each file and what is
    /// made of it.
    #[track_caller]
    pub(crate) fn refresh_while(&mut self, meanwhile: impl Fn(u32)) -> Vec<Notice> {
        let mut notices = Vec::new();
        for _ in 0..10_000 {
            let looks = Cell::new(0);
            notices.extend(self.registry.refresh(&|pid| {
                looks.set(looks.get() + 1);
                meanwhile(pid);
                match self.processes.get(&pid) {
                    _ if self.unknown.contains(&pid) => Lookup::Unknown,
                    Some(runner) => Lookup::Runs(*runner),
                    None => Lookup::Gone,
                }
            }));
            assert!(looks.get() <= LOOKS_PER_REFRESH, "{} looks", looks.get());
            if !self.registry.more() {
                return notices;
            }
        }
        panic!("there is always more to read");
    }
}

/// Whether a daemon has left its mark on it.
pub(crate) fn has_mark(entry: &Path) -> bool {
    let mut names = [0; 1024];
    let len = rustix::fs::listxattr(entry, &mut names[..]).unwrap_or(0);
    String::from_utf8_lossy(&names[..len]).contains("user-oom.process")
}

pub(crate) fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Whether root runs the test; says `what` is not tested if not.
#[expect(clippy::print_stderr, reason = "a skip says why")]
pub(crate) fn is_root(what: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("not run, needs root: {what}");
    }
    is_root
}

/// Of ours.
pub(crate) fn bearer(id: ProcessId) -> Bearer {
    bearer_of(geteuid().as_raw(), id)
}

pub(crate) fn bearer_of(uid: u32, id: ProcessId) -> Bearer {
    Bearer {
        id,
        name: Name::new(b"train.py"),
        uid,
    }
}

pub(crate) fn registered(id: ProcessId, value: u32) -> Notice {
    registered_of(geteuid().as_raw(), id, value)
}

pub(crate) fn registered_of(uid: u32, id: ProcessId, value: u32) -> Notice {
    Notice::Registered {
        process: bearer_of(uid, id),
        value,
        rate: None,
        given: value,
        share: None,
        is_said: true,
    }
}

pub(crate) fn changed(id: ProcessId, before: u32, value: u32) -> Notice {
    Notice::Changed {
        process: bearer(id),
        value,
        rate: None,
        before: (before, None),
    }
}

pub(crate) fn withdrawn(id: ProcessId) -> Notice {
    Notice::Withdrawn {
        process: bearer(id),
    }
}

pub(crate) fn refused(id: ProcessId, reason: Reason, removed: bool) -> Notice {
    refused_of(geteuid().as_raw(), id, reason, removed)
}

pub(crate) fn refused_of(uid: u32, id: ProcessId, reason: Reason, removed: bool) -> Notice {
    Notice::Refused {
        process: bearer_of(uid, id),
        reason,
        removed,
        is_said: true,
    }
}

pub(crate) fn is_readable(registry: &Registry, timeout: PollTimeout) -> bool {
    let descriptor = registry.descriptor().expect("the kernel tells");
    let mut wanted = [PollFd::new(descriptor, PollFlags::POLLIN)];
    poll(&mut wanted, timeout).expect("poll works") > 0
}

/// Whether anything stands there, a dangling link too.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
