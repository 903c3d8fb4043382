//! What may keep its reader waiting: files of a process that take a lock
//! which the process, or another, can hold for as long as it likes.
//!
//! `smaps`, `smaps_rollup`, `cmdline` and `environ` take its mmap lock; a thread that waits for a
//! silent file server inside mmap(2) holds that for ever. `cgroup` takes the
//! kernel's cgroup_mutex, and the owner of an executable is asked of the file
//! system that it lies on. None of it is read but here, and [`survey`] belongs
//! on a thread that nothing waits for. [`ProcessTable`] says what to ask, and
//! takes in what was found.
//!
//! Time is bounded as far as it is ours: of `smaps`, which a process can make
//! gigabytes long, so many mappings are read and no more; and likewise of an
//! environment and of open files.
//!
//! [`ProcessTable`]: crate::ProcessTable

use std::ffi::CStr;
use std::fmt::{self, Write};
use std::fs::{self, File};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::{Name, Pausing, ProcessId, SessionId, Unpausable};
use procfs::ProcError;
use procfs::process::Process;
use rustix::fs::{AtFlags, CWD, RawDir, StatxFlags, readlink, readlinkat_raw, statx};
use rustix::io::pread;

use crate::cgroup::{
    ContainerCgroup, Grouping, TRANSIENT_UNITS, container_of_line, hash, outermost_container,
    outside_namespace, service_of_line, unit_of_line,
};
use crate::file::for_each_line;
use crate::number::decimal;
use crate::pid_files::Stat;
use crate::scopes::Scopes;
use crate::share::OwnShare;
use crate::smaps::Nameless;
use crate::ties::{Environment, is_pty_master, tells_of_pressure};

/// No more of an environment or a command line is read,
const ENVIRONMENT_BYTES: u64 = 256 << 10;
/// or of a status, where each of 65536 groups has up to 11,
const STATUS_BYTES: u64 = 1 << 20;
/// and no more ancestors are looked at,
const ANCESTORS: usize = 64;
/// and no more open files: 1 to 2 µs each.
const OPEN_FILES: usize = 4096;

/// What is asked of the surveyor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// About which process.
    pub id: ProcessId,
    /// What.
    pub what: What,
    /// What the process has in memory: a measurement takes the longer for it.
    pub rss_bytes: u64,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What it executes, and where systemd keeps it.
    Identity,
    /// How much of its memory is its own: `smaps_rollup`.
    OwnMemory,
    /// How much shared memory without a name it maps: `smaps`.
    SharedMemory,
    /// The command line that it was started with: `cmdline`.
    CommandLine,
    /// What would suffer if it were paused: `environ` and `fd`.
    Ties,
    /// What holds the master side of its terminal: `fd` and `fdinfo` of what
    /// started it.
    Terminal,
    /// Whether it has one memory with another.
    SameMemory(ProcessId),
    /// Which rule matches it, by whatever rules look at: [`portray`].
    Label,
    /// The same, but for its arguments and its environment, which it has none of
    /// then.
    LabelUnread,
}

impl What {
    /// Whether reading it takes the process's mmap lock.
    #[must_use]
    pub fn takes_the_mmap_lock(self) -> bool {
        !matches!(
            self,
            Self::Identity | Self::Terminal | Self::SameMemory(_) | Self::LabelUnread
        )
    }

    /// Whether [`portray`] answers it.
    #[must_use]
    pub fn is_label(self) -> bool {
        matches!(self, Self::Label | Self::LabelUnread)
    }
}

/// What was found; [`ProcessTable::apply`] takes it in.
///
/// [`ProcessTable::apply`]: crate::ProcessTable::apply
#[derive(Clone, Copy, Debug)]
pub struct Survey {
    pub(crate) id: ProcessId,
    pub(crate) found: Finding,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Finding {
    /// It is gone, or could not be looked at.
    Nothing,
    Identity(Identity),
    /// `None`: the kernel does not tell.
    Own(Option<OwnShare>),
    SharedMemory(Nameless),
    CommandLine(CommandLine),
    Ties(Pausing),
    /// `None`: nothing that could be found.
    Terminal(Option<ProcessId>),
    SameMemory {
        with: ProcessId,
        is_same: bool,
    },
    /// What is found is not ours to keep.
    Label(Labelled),
}

/// What is known of a process's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labelled {
    /// All.
    ForGood,
    /// What rules look at was not all there: it is to be found again later, by
    /// [`ProcessTable::await_labels_again`].
    ///
    /// [`ProcessTable::await_labels_again`]: crate::ProcessTable::await_labels_again
    ForNow,
}

impl Survey {
    /// Whether it is the answer to [`What::Label`].
    #[must_use]
    pub fn is_label(&self) -> bool {
        matches!(self.found, Finding::Label(_))
    }

    /// Whether it is one that is to be asked for again.
    #[must_use]
    pub fn is_label_for_now(&self) -> bool {
        matches!(self.found, Finding::Label(Labelled::ForNow))
    }

    /// The command line that was found, and of which process.
    #[must_use]
    pub fn command_line(&self) -> Option<(ProcessId, CommandLine)> {
        match self.found {
            Finding::CommandLine(line) => Some((self.id, line)),
            _ => None,
        }
    }
}

/// The beginning of a process's command line: `/proc/<pid>/cmdline`,
/// proc_pid_cmdline(5).
///
/// A process can write into it what it likes. [`fmt::Display`] puts spaces
/// between the arguments, `?` for what is not printable ASCII, a backslash before
/// quotes, and `…` at the end of one that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine {
    bytes: [u8; Self::BYTES],
    len: u8,
    is_cut: bool,
}

impl CommandLine {
    /// No more of it is kept.
    pub const BYTES: usize = 96;

    /// Takes the beginning of `text`, which has a zero byte behind each argument.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let end = text.iter().rposition(|byte| *byte != 0);
        let text = &text[..end.map_or(0, |last| last + 1)];
        let mut bytes = [0; Self::BYTES];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = *from;
            len += 1;
        }
        Self {
            bytes,
            len,
            is_cut: Self::BYTES < text.len(),
        }
    }

    /// A zombie and a kernel thread have none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.bytes[..usize::from(self.len)] {
            match byte {
                0 => f.write_char(' ')?,
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => f.write_char('?')?,
            }
        }
        if self.is_cut {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

/// What a process is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// What tells its executable from others; 0: it has none that we may see.
    pub(crate) executable: u64,
    pub(crate) in_our_user_namespace: bool,
    /// What tells its pid namespace from others; 0: that is not to be seen.
    pub(crate) pid_namespace: u64,
    /// What tells its service from others; 0: it is in none.
    pub(crate) service: u64,
    /// Where systemd keeps it; `None` without systemd.
    pub(crate) unit: Option<Grouping>,
    /// What it is grouped by without.
    pub(crate) alone: Grouping,
    /// The scopes that it is in, a bit each; `None` where no cgroup is guarded, or
    /// that cannot be told.
    pub(crate) scopes: Option<u32>,
}

/// What a process executes, to be recognised.
#[derive(Debug)]
pub struct Executable<'a> {
    path: Option<&'a [u8]>,
    process: &'a Path,
    in_our_user_namespace: bool,
}

impl Executable<'_> {
    /// Its path, without the ` (deleted)` of one that has been replaced since;
    /// `None` where we may not see it.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.path
    }

    /// Whether root owns that file, and the path means what it means to us. In
    /// a user namespace of its own a user may mount any file at any path, so
    /// for a process in another namespace than ours this is `false`.
    #[must_use]
    pub fn is_roots(&self) -> bool {
        // Follows the link to the file itself, wherever that is mounted; and
        // asks no file server, where the file system heeds that.
        let flags = AtFlags::STATX_DONT_SYNC;
        let owner = || statx(CWD, self.process.join("exe"), flags, StatxFlags::UID);
        self.in_our_user_namespace && owner().is_ok_and(|file| file.stx_uid == 0)
    }
}

/// Answers `request` from the processes below `root`. Has `recognise` look
/// at the executable, where that is asked for and there is one, and
/// `have_one_memory` at two pids. `scopes`: what is guarded, where it is
/// not the machine.
///
/// May wait for ever.
#[must_use]
pub fn survey(
    root: &Path,
    request: &Inquiry,
    scopes: &Scopes,
    recognise: &mut dyn FnMut(&Executable<'_>),
    have_one_memory: &dyn Fn(u32, u32) -> bool,
) -> Survey {
    let found = look(root, request, scopes, recognise, have_one_memory);
    Survey {
        id: request.id,
        found: found.unwrap_or(Finding::Nothing),
    }
}

/// Answers `request`, which is for a label ([`What::is_label`]), by having `look` look at the
/// process, where it is there.
///
/// May wait for ever.
#[must_use]
pub fn portray(
    root: &Path,
    request: &Inquiry,
    look: &mut dyn FnMut(&Portrait<'_>) -> Labelled,
) -> Survey {
    let id = request.id;
    let process = Process::new_with_root(root.join(id.pid.to_string())).ok();
    let found = process.and_then(|process| {
        let stat = stat(&process).filter(|stat| stat.start_ticks == id.start_ticks)?;
        let labelled = look(&Portrait {
            root,
            process: &process,
            stat: &stat,
            is_unread: request.what == What::LabelUnread,
        });
        Some(Finding::Label(labelled))
    });
    Survey {
        id,
        found: found.unwrap_or(Finding::Nothing),
    }
}

/// A process as rules look at it. Each is read when it is asked for, and empty
/// where it cannot be.
#[derive(Debug)]
pub struct Portrait<'a> {
    root: &'a Path,
    process: &'a Process,
    stat: &'a Stat,
    is_unread: bool,
}

impl Portrait<'_> {
    /// The name that it gives itself.
    #[must_use]
    pub fn name(&self) -> Name {
        self.stat.name
    }

    /// The path of its executable, without the ` (deleted)` of one that has been
    /// replaced since.
    #[must_use]
    pub fn executable(&self) -> Vec<u8> {
        let path = self.process.exe().unwrap_or_default();
        let path = bytes(&path);
        path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec()
    }

    /// Whether a user may have mounted any file at that path: in a user namespace that
    /// any user can make, it sees other files than process 1. A container of root's is in
    /// our user namespace; a service with `PrivateUsers=` is in one that only root can make,
    /// since root has an id there.
    #[must_use]
    pub fn chooses_its_paths(&self) -> bool {
        let path = self.root.join(self.process.pid.to_string());
        !is_in_our_user_namespace(self.root, &path)
            && !self.maps_root()
            && !share_namespace(&path, &self.root.join("1"), "ns/mnt")
    }

    /// Whether the root of our user namespace has an id in its own.
    fn maps_root(&self) -> bool {
        let map = self.text("uid_map");
        let outside = |line: &[u8]| {
            let mut numbers = line
                .split(u8::is_ascii_whitespace)
                .filter(|it| !it.is_empty());
            numbers.nth(1) == Some(b"0")
        };
        map.split(|byte| *byte == b'\n').any(outside)
    }

    /// Its arguments, with a space between them.
    #[must_use]
    pub fn command_line(&self) -> Vec<u8> {
        let mut text = self.text_in_memory("cmdline");
        let end = text.iter().rposition(|byte| *byte != 0);
        text.truncate(end.map_or(0, |last| last + 1));
        for byte in &mut text {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        text
    }

    /// `NAME=value`, with a zero byte behind each.
    #[must_use]
    pub fn environment(&self) -> Vec<u8> {
        self.text_in_memory("environ")
    }

    /// The lines of its `cgroup`.
    #[must_use]
    pub fn cgroups(&self) -> Vec<u8> {
        self.text("cgroup")
    }

    /// The container that it is in, by its cgroup. Its own to choose where it may
    /// make cgroups: see [`Self::is_in`].
    #[must_use]
    pub fn container(&self) -> Option<ContainerCgroup> {
        outermost_container(&self.cgroups())
    }

    /// Whether the process `pid` is in `container`; `None`: it is gone.
    #[must_use]
    pub fn is_in(&self, container: &ContainerCgroup, pid: u32) -> Option<bool> {
        let process = Process::new_with_root(self.root.join(pid.to_string())).ok()?;
        let lines = text_of(&process, "cgroup");
        (!lines.is_empty()).then(|| outermost_container(&lines).as_ref() == Some(container))
    }

    /// Its real user and group, and its other groups.
    #[must_use]
    pub fn credentials(&self) -> Option<(u32, u32, Vec<u32>)> {
        let status = status_of(self.process);
        let user = *status_numbers(&status, b"Uid:")?.first()?;
        let group = *status_numbers(&status, b"Gid:")?.first()?;
        Some((
            user,
            group,
            status_numbers(&status, b"Groups:").unwrap_or_default(),
        ))
    }

    /// The name of its parent, then of that one's, and so on.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Name> {
        let stat_of = |pid: u32| {
            let path = self.root.join(pid.to_string());
            stat(&Process::new_with_root(path).ok()?)
        };
        let parent = |child: &Stat| {
            let is_any = child.parent != 0;
            is_any.then(|| stat_of(child.parent)).flatten()
        };
        std::iter::successors(parent(self.stat), parent)
            .take(ANCESTORS)
            .map(|stat| stat.name)
            .collect()
    }

    fn text(&self, file: &str) -> Vec<u8> {
        text_of(self.process, file)
    }

    /// Read from its memory, under its mmap lock.
    fn text_in_memory(&self, file: &str) -> Vec<u8> {
        match self.is_unread {
            true => Vec::new(),
            false => self.text(file),
        }
    }
}

fn text_of(process: &Process, file: &str) -> Vec<u8> {
    beginning_of(process, file, ENVIRONMENT_BYTES)
}

/// Its `status`, of which the procfs crate takes none where the process's name is not
/// UTF-8. A process calls itself what it likes.
fn status_of(process: &Process) -> Vec<u8> {
    beginning_of(process, "status", STATUS_BYTES)
}

/// Empty where it cannot be read.
fn beginning_of(process: &Process, file: &str, bytes: u64) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = process.open_relative(file) {
        // What came before an error is not all of it.
        if file.take(bytes).read_to_end(&mut text).is_err() {
            text.clear();
        }
    }
    text
}

/// The numbers on the line of a process's `status` that begins with `key`, such as
/// `Uid:`; `None` where there is no such line, or something else on it.
#[must_use]
pub fn status_numbers(status: &[u8], key: &[u8]) -> Option<Vec<u32>> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(key))?;
    let words = line.split(u8::is_ascii_whitespace);
    let words = words.filter(|word| !word.is_empty());
    words.map(|word| decimal(word)?.try_into().ok()).collect()
}

fn look(
    root: &Path,
    request: &Inquiry,
    scopes: &Scopes,
    recognise: &mut dyn FnMut(&Executable<'_>),
    have_one_memory: &dyn Fn(u32, u32) -> bool,
) -> Option<Finding> {
    // Holds the directory of this one process: once that is gone, nothing can
    // be read in it, whatever has the pid by then. What little is read by its
    // path is then said of a process that is gone.
    let (process, stat, path) = find(root, request.id)?;
    Some(match request.what {
        What::Identity => {
            let identity = identity(root, &path, &process, &stat, recognise);
            Finding::Identity(Identity {
                scopes: scopes_of(&process, scopes),
                ..identity
            })
        }
        What::OwnMemory => Finding::Own(
            process
                .open_relative("smaps_rollup")
                .ok()
                .and_then(|rollup| OwnShare::read(&rollup)),
        ),
        What::SharedMemory => Finding::SharedMemory(match process.open_relative("smaps") {
            Ok(smaps) => Nameless::read(&smaps)?,
            Err(ProcError::PermissionDenied(_)) => Nameless::UNSEEN,
            // A kernel that was built without.
            Err(_) => Nameless::default(),
        }),
        What::CommandLine => Finding::CommandLine(command_line(&process)),
        What::Ties => Finding::Ties(match forbids_pausing(root, &process, scopes) {
            Ok(None) => Pausing::Allowed,
            Ok(Some(reason)) => Pausing::Forbidden(reason),
            Err(Unread) => Pausing::Forbidden(Unpausable::Unknown),
        }),
        What::Terminal => Finding::Terminal(holder_of_terminal(root, &stat)),
        What::SameMemory(with) => {
            let (other, ..) = find(root, with)?;
            let is_same = have_one_memory(request.id.pid, with.pid);
            // Neither pid was another's meanwhile.
            self::stat(&process).and(self::stat(&other))?;
            Finding::SameMemory { with, is_same }
        }
        // See `portray`.
        What::Label | What::LabelUnread => return None,
    })
}

/// The process `id`, and its directory.
fn find(root: &Path, id: ProcessId) -> Option<(Process, Stat, PathBuf)> {
    let path = root.join(id.pid.to_string());
    let process = Process::new_with_root(path.clone()).ok()?;
    let stat = stat(&process).filter(|stat| stat.start_ticks == id.start_ticks)?;
    Some((process, stat, path))
}

/// It cannot be read, or there is too much of it.
struct Unread;

/// What in its open files, its cgroup and its environment forbids to pause it.
fn forbids_pausing(
    root: &Path,
    process: &Process,
    scopes: &Scopes,
) -> Result<Option<Unpausable>, Unread> {
    if any_open_file(process, |path, _| is_pty_master(path))? {
        return Ok(Some(Unpausable::PtyMaster));
    }
    let environ = process.open_relative("environ").map_err(|_| Unread)?;
    let mut text = Vec::new();
    let read = environ.take(ENVIRONMENT_BYTES).read_to_end(&mut text);
    if read.map_err(|_| Unread)? as u64 == ENVIRONMENT_BYTES {
        return Err(Unread);
    }
    let has_pid = |pid: u32| {
        // In each pid namespace that it is in, ours first.
        let known_as = || status_numbers(&status_of(process), b"NSpid:").unwrap_or_default();
        pid == process.pid.cast_unsigned() || known_as().contains(&pid)
    };
    let told = Environment::parse(&text).forbids(has_pid, || {
        any_open_file(process, |path, _| tells_of_pressure(path))
    })?;
    // The last: it alone does not hold where a person wants it paused.
    let has_no_swap = || {
        let forbids = |line: &[u8]| scopes.forbid_swap(root, line).then_some(());
        let cgroup = process.open_relative("cgroup").ok()?;
        first_of_lines(&cgroup, forbids).map(|()| Unpausable::NoSwap)
    };
    Ok(told.or_else(has_no_swap))
}

/// So far up it is looked for: sshd(8) has a process of its own for each session,
/// sudo(8) one that watches.
const GENERATIONS: usize = 8;

/// The nearest ancestor that holds the master side of the terminal of `stat`.
fn holder_of_terminal(root: &Path, stat: &Stat) -> Option<ProcessId> {
    let pty = stat.pty()?;
    let mut pid = stat.parent;
    for _ in 0..GENERATIONS {
        if pid <= 1 {
            return None;
        }
        let process = Process::new_with_root(root.join(pid.to_string())).ok()?;
        let stat = self::stat(&process)?;
        let holds = any_open_file(&process, |path, fd| {
            if !is_pty_master(path) {
                return false;
            }
            let fd = fd.to_string_lossy();
            let file = process.open_relative(format!("fdinfo/{fd}")).ok();
            let index = file.and_then(|file| {
                first_of_lines(&file, |line| {
                    decimal(line.strip_prefix(b"tty-index:")?.trim_ascii())
                })
            });
            index == Some(u64::from(pty))
        });
        if let Ok(true) = holds {
            let start_ticks = stat.start_ticks;
            return Some(ProcessId { pid, start_ticks });
        }
        pid = stat.parent;
    }
    None
}

/// Whether any of its open files `is_it`, by its path and its number.
fn any_open_file(process: &Process, is_it: impl Fn(&[u8], &CStr) -> bool) -> Result<bool, Unread> {
    let directory = process.open_relative("fd").map_err(|_| Unread)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut links = RawDir::new(&directory, &mut buffer);
    let mut count = 0;
    while let Some(link) = links.next() {
        let link = link.map_err(|_| Unread)?;
        count += 1;
        if count > OPEN_FILES {
            return Err(Unread);
        }
        let mut path = [MaybeUninit::uninit(); 4096];
        // One that was closed meanwhile is none; `.` and `..` are no links.
        if let Ok((path, _)) = readlinkat_raw(&directory, link.file_name(), &mut path)
            && is_it(path, link.file_name())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Empty where it cannot be read.
fn command_line(process: &Process) -> CommandLine {
    let mut text = [0; CommandLine::BYTES + 1];
    let file = process.open_relative("cmdline").ok();
    let len = file.and_then(|file| pread(&file, &mut text, 0).ok());
    CommandLine::new(&text[..len.unwrap_or(0)])
}

fn stat(process: &Process) -> Option<Stat> {
    let file = process.open_relative("stat").ok()?;
    let mut text = [0; 1024];
    // One pread(2) gives all of it.
    let len = pread(&file, &mut text, 0).ok()?;
    Stat::parse(&text[..len])
}

fn identity(
    root: &Path,
    path: &Path,
    process: &Process,
    stat: &Stat,
    recognise: &mut dyn FnMut(&Executable<'_>),
) -> Identity {
    let in_our_user_namespace = is_in_our_user_namespace(root, path);
    let executable = match process.exe() {
        Ok(executable) => Some(Some(executable)),
        Err(ProcError::PermissionDenied(_)) => Some(None),
        // A kernel thread, a zombie.
        Err(_) => None,
    };
    if let Some(executable) = &executable {
        let text = executable.as_deref().map(bytes);
        recognise(&Executable {
            path: text.map(|text| text.strip_suffix(b" (deleted)").unwrap_or(text)),
            process: path,
            in_our_user_namespace,
        });
    }
    let executable = executable.flatten();
    let cgroup = process.open_relative("cgroup").ok();
    Identity {
        executable: executable.map_or(0, |executable| hash(bytes(&executable)).max(1)),
        in_our_user_namespace,
        pid_namespace: readlink(path.join("ns/pid"), Vec::new())
            .map_or(0, |link| hash(link.as_bytes()).max(1)),
        service: cgroup
            .as_ref()
            .and_then(|file| first_of_lines(file, service_of_line))
            .unwrap_or(0),
        unit: cgroup.as_ref().and_then(grouping_of),
        alone: Grouping {
            session: SessionId(u64::from(stat.session)),
            login: stat.has_terminal(),
        },
        scopes: None,
    }
}

/// Which of `scopes` the process is in; `None` where none is a cgroup, or that cannot
/// be read.
fn scopes_of(process: &Process, scopes: &Scopes) -> Option<u32> {
    scopes.cgroups().next()?;
    let cgroup = process.open_relative("cgroup").ok()?;
    let held = first_of_lines(&cgroup, |line| scopes.holding(line))?;
    // Of version 1, what is ending is listed in the topmost cgroup.
    let is_exiting = stat(process).is_none_or(|stat| stat.is_exiting);
    (held != scopes.everywhere() || !is_exiting).then_some(held)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn is_in_our_user_namespace(root: &Path, process: &Path) -> bool {
    share_namespace(process, &root.join("self"), "ns/user")
}

fn share_namespace(process: &Path, other: &Path, namespace: &str) -> bool {
    // A link to `user:[4026531837]`; to nothing in a kernel without.
    let namespace = |process: &Path| readlink(process.join(namespace), Vec::new());
    namespace(process) == namespace(other)
}

/// What `of_line` makes of the first line of `cgroup` that it knows. By bytes:
/// the procfs crate takes no path that is not UTF-8, and users name their cgroups
/// as they like.
fn first_of_lines<T>(cgroup: &File, mut of_line: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let mut found = None;
    for_each_line(cgroup, &mut [0; 8192], |_, line| {
        found = of_line(line);
        match found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })
    .ok()?;
    found
}

/// The container that any line names, or else the first unit: a container need not be
/// one in each hierarchy, and where it is none it is in the unit of what started it.
fn grouping_of(cgroup: &File) -> Option<Grouping> {
    let mut unit = None;
    let container = first_of_lines(cgroup, |line| {
        let container = container_of_line(line);
        if container.is_none() && unit.is_none() {
            unit = unit_of_line(line, Path::new(TRANSIENT_UNITS));
        }
        container
    });
    container.or(unit)
}

/// The list of cgroups of a process, `self` or a pid; empty where it cannot be read. For
/// the start of the daemon.
pub(crate) fn cgroups_of(proc: &Path, pid: &str) -> Vec<u8> {
    fs::read(proc.join(pid).join("cgroup")).unwrap_or_default()
}

/// Whether we see the cgroups of the machine from a namespace of our own, as in a
/// container that has the host's pids and not its cgroup namespace.
#[must_use]
pub fn sees_cgroups_from_within(proc: &Path) -> bool {
    let lines = cgroups_of(proc, "1");
    let is_outside = |line: &[u8]| {
        let path = line.splitn(3, |&byte| byte == b':').nth(2);
        path.is_some_and(|path| outside_namespace(path) != path)
    };
    lines.split(|&byte| byte == b'\n').any(is_outside)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_container_of_any_hierarchy_goes_before_the_unit_of_the_first() {
        let grouping = |lines: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            grouping_of(&file).unwrap()
        };
        let container = format!("4:memory:/docker/{}\n", "0f".repeat(32));
        let unit = "9:name=systemd:/system.slice/ssh.service\n";
        let of_both = grouping(&format!("{unit}{container}0::/system.slice/ssh.service\n"));
        assert_eq!(of_both, grouping(&container));
        assert_ne!(of_both, grouping(unit));
        assert_eq!(grouping(&format!("{unit}0::/a.service\n")), grouping(unit));
    }

    #[test]
    fn a_first_process_outside_of_our_namespace_shows_that_we_have_one() {
        let folder = tempfile::TempDir::new().unwrap();
        assert!(!sees_cgroups_from_within(folder.path()));
        std::fs::create_dir(folder.path().join("1")).unwrap();
        for (lines, want) in [
            ("0::/init.scope\n", false),
            ("3:cpu:/\n0::/../../init.scope\n", true),
            ("0::/../..\n", true),
        ] {
            std::fs::write(folder.path().join("1/cgroup"), lines).unwrap();
            assert_eq!(sees_cgroups_from_within(folder.path()), want, "{lines}");
        }
    }

    #[track_caller]
    fn check(text: &[u8], want: &str) {
        assert_eq!(CommandLine::new(text).to_string(), want);
    }

    #[test]
    fn a_command_line_is_cut_and_cannot_write_to_the_terminal() {
        check(
            b"python3\0train.py\0--epochs\x009\0",
            "python3 train.py --epochs 9",
        );
        check(b"", "");
        check(b"\0\0", "");
        check(b"\x1b[2J\xff\n\0\"x\" a\\b", "?[2J?? \\\"x\\\" a\\\\b");
        let long = [b'x'; CommandLine::BYTES + 1];
        check(&long, &("x".repeat(CommandLine::BYTES) + "…"));
        check(&long[1..], &"x".repeat(CommandLine::BYTES));
        assert!(CommandLine::new(b"\0").is_empty());
    }
}
