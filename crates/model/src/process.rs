//! One process: what it is called and what was seen of it.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::worth::{Gain, Rate};

/// Identifies one process: a pid is reused, a pid with its start time is not.
/// It is written as the two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "(u32, u64)", from = "(u32, u64)")]
pub struct ProcessId {
    /// The number the kernel gave it.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of
    /// `/proc/<pid>/stat`, proc_pid_stat(5).
    pub start_ticks: u64,
}

impl From<ProcessId> for (u32, u64) {
    fn from(id: ProcessId) -> Self {
        (id.pid, id.start_ticks)
    }
}

impl From<(u32, u64)> for ProcessId {
    fn from((pid, start_ticks): (u32, u64)) -> Self {
        Self { pid, start_ticks }
    }
}

/// The name a process has, at most 15 bytes: `comm` of proc_pid_comm(5).
///
/// A process gives itself this name, so it proves nothing. [`fmt::Display`]
/// replaces what is not printable ASCII with `?`: a name may hold any byte, a
/// terminal's escape sequences among them. It is written as text in which each
/// byte is the character of that number (Latin-1), so that none is lost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name {
    bytes: [u8; 15],
    len: u8,
}

impl Name {
    /// Takes the first 15 bytes of `comm`.
    #[must_use]
    pub fn new(comm: &[u8]) -> Self {
        let mut bytes = [0; 15];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(comm) {
            *to = *from;
            len += 1;
        }
        Self { bytes, len }
    }

    /// The name as the kernel has it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect()
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        match bytes {
            Ok(bytes) if bytes.len() <= 15 => Ok(Self::new(&bytes)),
            _ => Err("a name is at most 15 characters of Latin-1"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printable = [0; 15];
        for (to, from) in printable.iter_mut().zip(self.as_bytes()) {
            *to = if from.is_ascii_graphic() || *from == b' ' {
                *from
            } else {
                b'?'
            };
        }
        let shown = str::from_utf8(&printable[..usize::from(self.len)]).unwrap_or("?");
        f.pad(shown)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs, or sleeps until something happens.
    Runs,
    /// A stop signal is pending: it stops when it leaves the kernel.
    Stopping,
    /// It is stopped, by a signal (T) or a tracer (t).
    Stopped,
    /// All its threads have ended, or are about to: it was killed.
    Ended,
}

/// What shares one default value when it is not registered: the leaf cgroup
/// under systemd, else the session id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Whether it is a cgroup, not a session as the kernel numbers them: those
    /// are pids.
    #[must_use]
    pub const fn is_cgroup(self) -> bool {
        self.0 > u32::MAX as u64
    }
}

/// Why a process is never killed. What the policy can see for itself (pid 1,
/// oom_score_adj −1000) need not be said with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// This daemon, its keeper, psi-monitor or user-oomctl.
    Ours,
    /// An ancestor of the daemon (terminal, tmux, sudo, sshd): if it died, the
    /// daemon would be hung up on.
    Ancestor,
    /// A rule (`--ignore`) protects it.
    Ignored,
    /// We may not signal it.
    NotPermitted,
}

/// What the administrator said about when a process is killed that has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// Nothing.
    #[default]
    None,
    /// `--prefer`, or `prefer` in a rule: to be killed first, as if its value were 0.
    Prefer,
    /// `--avoid`, or `avoid` in a rule: to be killed last, with the system class.
    Avoid,
}

/// What an entry, or a rule, says of pausing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PauseWord {
    /// `pause`, or `pause = true`: also while it is the foreground job of a shell.
    Pause,
    /// `nopause`, or `pause = false`: never.
    NoPause,
}

/// Whether relief may pause a process: stop it for a while and push its memory
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pausing {
    /// It may.
    Allowed,
    /// It may, even as the foreground job of a shell: its entry, or a rule, says so.
    Asked,
    /// It may not.
    Forbidden(Unpausable),
}

/// Not before it is known what depends on it.
impl Default for Pausing {
    fn default() -> Self {
        Self::Forbidden(Unpausable::Unknown)
    }
}

/// Why a process may not be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unpausable {
    /// Its environment and its open files were not read yet, or cannot be.
    Unknown,
    /// Its entry says so.
    Entry,
    /// A rule says so.
    Rule,
    /// A session, or the machine, cannot be used without it.
    Critical,
    /// It holds the master side of a terminal: what writes to that terminal
    /// would wait for it.
    PtyMaster,
    /// An interactive shell waits for it: stopped, it would become a background
    /// job, and stay one.
    ForegroundJob,
    /// It was told where to watch memory pressure, and frees memory itself.
    PressureWatch,
    /// Its service manager kills it where it does not answer in time.
    Watchdog,
    /// Its cgroup may have nothing in swap, so nothing of it could be paged out.
    NoSwap,
}

impl fmt::Display for Unpausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "its environment and open files have not been read",
            Self::Entry => "its entry says `nopause`",
            Self::Rule => "a rule says `pause = false`",
            Self::Critical => "it is session-critical",
            Self::PtyMaster => "it holds the master side of a terminal (pty)",
            Self::ForegroundJob => {
                "it is the foreground job of a shell (`pause` in its entry allows it)"
            }
            Self::PressureWatch => "it watches memory pressure itself (MEMORY_PRESSURE_WATCH)",
            Self::Watchdog => "a watchdog would kill it meanwhile (WATCHDOG_USEC)",
            Self::NoSwap => "its cgroup may not use swap (`memory.swap.max` is 0)",
        })
    }
}

/// The signal that asks a process to end, where that is not SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstSignal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGWINCH: Apache's for a graceful end.
    Window,
}

impl FirstSignal {
    /// Each.
    pub const ALL: [Self; 6] = [
        Self::Hangup,
        Self::Interrupt,
        Self::Quit,
        Self::User1,
        Self::User2,
        Self::Window,
    ];

    /// As signal(7) names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
            Self::Window => "SIGWINCH",
        }
    }
}

/// That a rule has a command, which is to end what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLabel {
    /// From its start until the first signal is sent. A label is kept for each process,
    /// so it is small.
    pub limit_millis: u32,
    /// The reading of the configuration that the rule is of.
    pub edition: u32,
}

impl CommandLabel {
    /// From its start until the first signal is sent.
    #[must_use]
    pub fn limit(self) -> Duration {
        Duration::from_millis(self.limit_millis.into())
    }
}

/// What is killed together with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KilledWith {
    /// Nothing.
    Process,
    /// Its descendants without an entry, though it may have none itself.
    Tree,
    /// Its process group.
    Group,
    /// Its session, as the kernel has it.
    Session,
    /// Its leaf cgroup, where a service manager or a container runtime made one.
    Cgroup,
}

/// What shares one default value of those that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupBy {
    /// All of them.
    Rule,
    /// Those of each user.
    User,
}

/// What a rule of the administrator's says of the processes that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Which rule, counted from 1; 0: none matches, or it is not known yet.
    pub rule: u16,
    /// The value of a process that has no entry,
    pub value: Option<u32>,
    /// and what is added to it from its start on.
    pub rate: Option<Rate>,
    /// The highest value that an entry can give it.
    pub max_value: Option<u32>,
    /// It is never killed.
    pub protect: bool,
    /// When it is killed, where it has no value.
    pub preference: Preference,
    /// Whether it may be paused, where its entry does not say.
    pub pause: Option<PauseWord>,
    /// As it is shown.
    pub name: Option<Name>,
    /// From the first signal to SIGKILL, for the unit that it leads.
    pub grace: Option<Duration>,
    /// What is sent to it first.
    pub signal: Option<FirstSignal>,
    /// What is run before that, for the unit that it leads.
    pub command: Option<CommandLabel>,
    /// What is killed with it.
    pub together: Option<KilledWith>,
    /// What it shares a default value with, where it has none of its own.
    pub group_by: Option<GroupBy>,
}

/// What the kernel says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which process it is.
    pub id: ProcessId,
    /// Pid of its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// What it shares one default value with.
    pub session: SessionId,
    /// Its session, as the kernel has it.
    pub kernel_session: u32,
    /// Whether it belongs to a container, a login session (a slice of a user, or a session
    /// with a terminal) or a job that an administrator started (a transient unit, a scope).
    pub login: bool,
    /// Its real user id.
    pub uid: u32,
    /// Its name.
    pub name: Name,
    /// The kernel's badness, 0 to 2000; `None` where it was not read.
    pub oom_score: Option<u16>,
    /// −1000 to 1000: what it had before the daemon raised it.
    pub oom_score_adj: i16,
    /// `VmRSS` in bytes.
    pub rss_bytes: u64,
    /// Anonymous resident memory in bytes, corrected for what it shares with
    /// forked relatives where that was measured.
    pub anon_bytes: u64,
    /// Its swap in bytes, corrected likewise.
    pub swap_bytes: u64,
    /// Shared memory in bytes of which it holds the last mapping, and its part of
    /// what it maps with others, [`Self::common_bytes`].
    pub shmem_bytes: u64,
    /// Nameless shared memory in bytes that comes back only once all have ended
    /// that map it.
    pub common_bytes: u64,
    /// The oldest of those, where there are several.
    pub common_with: Option<ProcessId>,
    /// Its page tables in bytes: `VmPTE` of proc_pid_status(5).
    pub page_table_bytes: u64,
    /// The process whose memory it runs in (CLONE_VM of clone(2)) and which
    /// that memory is counted for: of its own it shows none.
    pub memory_of: Option<ProcessId>,
    /// The process whose end ends this one too.
    pub ends_with: Option<ProcessId>,
    /// Major faults since it started.
    pub major_faults: u64,
    /// A kernel thread: it has no memory of its own, and is never killed.
    pub is_kernel_thread: bool,
    /// It leads the foreground job that an interactive shell waits for, as of
    /// the last full scan.
    pub is_foreground_job: bool,
}

/// What we know of one process, whatever the kernel says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dossier {
    /// The value its registry entry gives it, checked and capped. `None`: not
    /// registered.
    pub value: Option<u32>,
    /// That value is of a rule: of those that are killed together it counts once.
    pub is_rules_value: bool,
    /// How its value came about, where that grows with unsaved work.
    pub gain: Option<Gain>,
    /// Why it is never killed, if anything says so.
    pub protection: Option<Protection>,
    /// It is session-critical (systemd, dbus, sshd, login, display server,
    /// compositor, known by executable and owner) while it holds less than
    /// this; 0: it is not. The classifier says which.
    pub critical_below_bytes: u64,
    /// What the administrator said of its name.
    pub preference: Preference,
    /// Whether relief may pause it.
    pub pause: Pausing,
    /// What a rule says of it.
    pub label: Label,
}

/// One process: what was seen of it, and what is known of it.
///
/// Its facts can be read as its own: `process.uid` is `process.seen.uid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// What the kernel says.
    pub seen: Seen,
    /// What we know besides.
    pub dossier: Dossier,
}

impl Deref for Process {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl AsRef<Seen> for Process {
    fn as_ref(&self) -> &Seen {
        &self.seen
    }
}

impl AsRef<Seen> for Seen {
    fn as_ref(&self) -> &Seen {
        self
    }
}

impl Seen {
    /// A process of which only the identity is known: ordinary, of root, alone
    /// in its group, without memory.
    #[must_use]
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            parent: 0,
            group: id.pid,
            session: SessionId::default(),
            kernel_session: id.pid,
            login: false,
            uid: 0,
            name: Name::default(),
            oom_score: None,
            oom_score_adj: 0,
            rss_bytes: 0,
            anon_bytes: 0,
            swap_bytes: 0,
            shmem_bytes: 0,
            common_bytes: 0,
            common_with: None,
            page_table_bytes: 0,
            memory_of: None,
            ends_with: None,
            major_faults: 0,
            is_kernel_thread: false,
            is_foreground_job: false,
        }
    }

    /// Where the process with this pid is among `processes`, by ascending pid.
    #[must_use]
    pub fn position(processes: &[impl AsRef<Self>], pid: u32) -> Option<usize> {
        processes
            .binary_search_by_key(&pid, |process| process.as_ref().id.pid)
            .ok()
    }

    /// Where `id` is among `processes`, by ascending pid; `None` where its pid is
    /// another's by now.
    #[must_use]
    pub fn place(processes: &[impl AsRef<Self>], id: ProcessId) -> Option<usize> {
        let found = Self::position(processes, id.pid);
        found.filter(|found| processes[*found].as_ref().id == id)
    }

    /// Its anonymous and last-mapped shared memory, its page tables and its swap,
    /// in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.anon_bytes
            .saturating_add(self.shmem_bytes)
            .saturating_add(self.page_table_bytes)
            .saturating_add(self.swap_bytes)
    }
}

impl Process {
    /// The process `id` among `processes`, which ascend by pid; `None` if the
    /// pid is missing or another process's by now.
    #[must_use]
    pub fn find(processes: &[Self], id: ProcessId) -> Option<&Self> {
        Some(&processes[Seen::place(processes, id)?])
    }

    /// Whether it may be paused.
    #[must_use]
    pub fn may_be_paused(&self) -> bool {
        matches!(self.dossier.pause, Pausing::Allowed | Pausing::Asked)
    }

    /// Whether it is not yet known whether it may be paused.
    #[must_use]
    pub fn is_unsurveyed(&self) -> bool {
        self.dossier.pause == Pausing::Forbidden(Unpausable::Unknown)
    }

    /// Whether its entry or a rule forbids to pause it, whatever else is known.
    #[must_use]
    pub fn refuses_pause(&self) -> bool {
        matches!(
            self.dossier.pause,
            Pausing::Forbidden(Unpausable::Entry | Unpausable::Rule)
        )
    }

    /// Whether it is never ended, whatever it holds.
    #[must_use]
    pub fn is_never_killed(&self) -> bool {
        self.id.pid <= 1
            || self.is_kernel_thread
            || self.dossier.protection.is_some()
            || self.oom_score_adj == -1000
    }
}
