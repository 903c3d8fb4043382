//! Programs that are run around a kill, and commands that rules have run in its place
//! or when memory will be full soon.
//!
//! What the daemon has given itself, a hook must not have: signals blocked,
//! priority, the kernel's mercy. A child inherits all of it, so the daemon
//! starts itself once more, which lays that down and becomes the hook.
//!
//! A thread of their own starts them and waits for them, so that a terminal
//! that is stopped keeps no hook from running, and no hook keeps a line from
//! being written. A hook writes where the daemon does, and by itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::unistd::setsid;
use oom_policy::{Name, ProcessId};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, system};
use crate::rule_command::RuleCommand;
use crate::tell::bell::Bell;
use crate::tell::lane::Lane;
use crate::tell::record::{Record, Victim};

/// The argument that makes a process of ours a hook.
pub(crate) const CHILD: &str = "--hook";

/// How many hooks run at once; others wait for their turn,
const AT_ONCE: usize = 16;
/// so many at most.
const WAITING: usize = 4096;
/// How long the end of the daemon waits for what is still to be run or written.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// How long a hook may run.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long it still has when the daemon ends; less than that waits for us.
const LAST_MOMENT: Duration = Duration::from_millis(700);
/// Where the kernel cannot say that a hook has ended (before Linux 5.3), it is
/// looked at this often.
const LOOK: Duration = Duration::from_millis(200);
/// What the thread needs to start a program.
const STACK_BYTES: usize = 256 * 1024;

/// The programs to run.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    /// What becomes the hook: the daemon's own executable.
    pub(crate) executable: PathBuf,
    /// Started when a process is signalled for the first time.
    pub(crate) before: Option<PathBuf>,
    /// Started when it is gone.
    pub(crate) after: Option<PathBuf>,
    /// Whether desktop users are notified when a process is signalled for the
    /// first time.
    pub(crate) notify: bool,
}

impl Hooks {
    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none() && !self.notify
    }

    fn program<'a>(&'a self, when: &'a When) -> Option<&'a Path> {
        match when {
            When::Before => self.before.as_deref(),
            When::After => self.after.as_deref(),
            When::Notify => self.notify.then_some(Path::new(NOTIFIER)),
            When::Command(command) | When::Forecast(command, _) => {
                command.words.first().map(Path::new)
            }
        }
    }
}

/// Sends a signal on the system bus, as earlyoom has it do. In each desktop
/// session, systembus-notify shows it.
const NOTIFIER: &str = "dbus-send";

/// What it is told.
fn notification(pid: &str, name: &str) -> Vec<String> {
    [
        "--system",
        "/",
        "net.nuetzlich.SystemNotifications.Notify",
        "string:user-oom",
        &format!("string:Low memory! Killing process {pid} {name}"),
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

/// Whether `-n` can do anything: whether its program is in one of `path`'s
/// directories.
pub(crate) fn can_notify(path: &OsStr) -> bool {
    env::split_paths(path).any(|directory| directory.join(NOTIFIER).is_file())
}

/// The absolute path of `program`, as it is called in one of `path`'s directories.
///
/// # Errors
///
/// There is none of that name.
pub(crate) fn find(program: &str, path: &OsStr) -> Result<String, String> {
    if program.contains('/') {
        return Ok(program.to_owned());
    }
    let mut found = env::split_paths(path).map(|directory| directory.join(program));
    let found = found.find(|path| path.is_absolute() && path.is_file());
    let found = found.and_then(|path| path.into_os_string().into_string().ok());
    found.ok_or_else(|| {
        format!("there is no program `{program}` in PATH: give an absolute path, such as `/usr/bin/systemctl`")
    })
}

/// Becomes the program that `command` names, with its arguments, in a session
/// of its own: what it has started can be ended with it.
///
/// # Errors
///
/// [`Error::System`]: there is no such program. Else this does not return.
pub(crate) fn become_hook(proc_root: &Path, mut command: impl Iterator<Item = OsString>) -> Error {
    const DOING: &str = "run a hook";
    // It may raise itself again if it is root; and where it could not be
    // lowered, it was not raised.
    let _ = reaper::resign_protection(proc_root);
    // Fails only where it leads a session already.
    let _ = setsid();
    if let Err(errno) = SigSet::all().thread_unblock() {
        return system(DOING)(errno);
    }
    match command.next() {
        Some(program) => system(DOING)(Command::new(program).args(command).exec()),
        None => system(DOING)(io::Error::from(io::ErrorKind::NotFound)),
    }
}

/// One hook, or command, that is to run.
#[derive(Clone, Debug)]
struct Call {
    when: When,
    victim: Victim,
}

#[derive(Clone, Debug)]
enum When {
    Before,
    After,
    /// As [`When::Before`], for desktop users.
    Notify,
    /// To end the unit that the victim leads.
    Command(Arc<RuleCommand>),
    /// Memory will be full in so long. The victim is the largest of those that the rule
    /// matches, and none.
    Forecast(Arc<RuleCommand>, Duration),
}

impl Call {
    /// Fills a ring that is touched; pid 0 is no process.
    fn nobodys() -> Self {
        Self {
            when: When::Before,
            victim: Victim {
                id: ProcessId {
                    pid: 0,
                    start_ticks: 0,
                },
                name: Name::default(),
                uid: 0,
                oom_score: None,
                value: None,
                rss_bytes: 0,
                first_signal: None,
                unit: None,
            },
        }
    }
}

/// The loop's side: which hooks are to run.
#[derive(Debug)]
pub(crate) struct HookCalls {
    before: bool,
    after: bool,
    notify: bool,
    queue: rtrb::Producer<Call>,
    /// Those that had no room there.
    lost: Arc<AtomicU64>,
    /// The leaders of units whose command has failed,
    failed: rtrb::Consumer<ProcessId>,
    /// and what rings for one.
    failed_bell: Arc<Bell>,
    bell: Arc<Bell>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl HookCalls {
    /// Starts the thread that runs `hooks`, and says in `lane` how each ended
    /// that did not end well. Until the thread has seen them, `room` calls wait at most.
    ///
    /// # Errors
    ///
    /// What the kernel says of another thread or eventfd.
    pub(crate) fn spawn(hooks: Hooks, lane: Lane, room: usize) -> io::Result<Self> {
        let (mut queue, mut calls) = rtrb::RingBuffer::new(room);
        // All of the ring is written to once, so that it is there.
        while queue.push(Call::nobodys()).is_ok() {}
        while calls.pop().is_ok() {}
        let bell = Arc::new(Bell::new()?);
        let (sender, ended) = mpsc::channel();
        let lost = Arc::<AtomicU64>::default();
        let before = hooks.before.is_some();
        let after = hooks.after.is_some();
        let notify = hooks.notify;
        let (failures, failed) = rtrb::RingBuffer::new(room);
        let failed_bell = Arc::new(Bell::new()?);
        let failures = Failures {
            ring: failures,
            bell: Arc::clone(&failed_bell),
        };
        let mut runner = Runner::new(hooks, DEADLINE, lane, failures);
        thread::Builder::new()
            .name("hooks".to_owned())
            .stack_size(STACK_BYTES)
            .spawn({
                let (bell, lost) = (Arc::clone(&bell), Arc::clone(&lost));
                move || {
                    let _sender = sender;
                    runner.run(calls, &lost, &bell);
                }
            })?;
        Ok(Self {
            before,
            after,
            notify,
            queue,
            lost,
            failed,
            failed_bell,
            bell,
            ended,
        })
    }

    /// Has the hooks run that `record` calls for. Takes no lock and no memory.
    pub(crate) fn follow(&mut self, record: &Record) {
        match record {
            Record::Signalled {
                victim,
                first: true,
                dry: false,
                ..
            } => {
                self.call(self.before, When::Before, victim);
                self.call(self.notify, When::Notify, victim);
            }
            Record::Gone { victim, .. } => self.call(self.after, When::After, victim),
            _ => {}
        }
    }

    fn call(&mut self, is_wanted: bool, when: When, victim: &Victim) {
        if !is_wanted {
            return;
        }
        let victim = *victim;
        if self.queue.push(Call { when, victim }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.bell.ring();
    }

    /// Has `command` run, to end the unit that `leader` leads; whether it can be.
    pub(crate) fn command(&mut self, leader: &Victim, command: Arc<RuleCommand>) -> bool {
        self.have_run(When::Command(command), leader)
    }

    /// Has `command` run because memory will be full in `full_in`; whether it can be.
    pub(crate) fn forecast(
        &mut self,
        largest: &Victim,
        command: Arc<RuleCommand>,
        full_in: Duration,
    ) -> bool {
        self.have_run(When::Forecast(command, full_in), largest)
    }

    fn have_run(&mut self, when: When, victim: &Victim) -> bool {
        let victim = *victim;
        let is_called = self.queue.push(Call { when, victim }).is_ok();
        self.bell.ring();
        is_called
    }

    /// The leader of a unit whose command has failed, each once.
    pub(crate) fn failed(&mut self) -> Option<ProcessId> {
        self.failed_bell.hush();
        self.failed.pop().ok()
    }

    /// Starts no more of them, and waits for that until `until` at most.
    pub(crate) fn end(self, until: Instant) {
        self.bell.ring_the_end();
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
    }
}

/// Readable when a command has failed.
impl AsFd for HookCalls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.failed_bell.as_fd()
    }
}

/// The thread's end of what the loop hears.
#[derive(Debug)]
struct Failures {
    ring: rtrb::Producer<ProcessId>,
    bell: Arc<Bell>,
}

/// What the thread has to do.
#[derive(Debug)]
struct Runner {
    hooks: Hooks,
    deadline: Duration,
    lane: Lane,
    failures: Failures,
    waiting: VecDeque<Call>,
    running: Vec<Running>,
}

/// A hook that has been started and has not been seen to end.
#[derive(Debug)]
struct Running {
    call: Call,
    /// The leaders of other units that the command is to end as well.
    others: Vec<ProcessId>,
    child: Child,
    /// Readable once it has ended.
    pidfd: Option<OwnedFd>,
    since: Instant,
    /// Its deadline is over, and it does not count any longer.
    killed: bool,
}

impl Runner {
    fn new(hooks: Hooks, deadline: Duration, lane: Lane, failures: Failures) -> Self {
        Self {
            hooks,
            deadline,
            lane,
            failures,
            waiting: VecDeque::new(),
            running: Vec::with_capacity(AT_ONCE),
        }
    }

    fn run(&mut self, mut calls: rtrb::Consumer<Call>, lost: &AtomicU64, bell: &Bell) {
        loop {
            // Asked before the queue is emptied, so that no call is overlooked.
            let over = bell.is_over();
            let mut lost = lost.swap(0, Ordering::Relaxed);
            while let Ok(call) = calls.pop() {
                match &call.when {
                    When::Command(command) => {
                        self.take_command(Arc::clone(command), call.victim);
                    }
                    When::Forecast(command, full_in) => {
                        self.take_forecast(Arc::clone(command), *full_in, call.victim);
                    }
                    _ if self.waiting.len() < WAITING => self.waiting.push_back(call),
                    _ => lost += 1,
                }
            }
            if 0 < lost {
                self.say(format_args!(
                    "too many hooks are waiting: {lost} more will not be run"
                ));
            }
            self.reap(Instant::now());
            self.start_waiting();
            if over {
                let left = self.waiting.len();
                if 0 < left {
                    self.say(format_args!(
                        "{left} hooks were not run before user-oom ended"
                    ));
                }
                self.end_all(bell);
                return;
            }
            if self.wait(bell, self.limit(Instant::now())).is_err() {
                return;
            }
        }
    }

    /// Waits until the bell rings, a hook ends, or `limit` is over.
    fn wait(&self, bell: &Bell, limit: Option<Duration>) -> io::Result<()> {
        let pidfds = self.running.iter().flat_map(|running| &running.pidfd);
        bell.wait(pidfds.map(AsFd::as_fd), limit)
    }

    /// What still runs has a moment to end, and is killed then: once we are
    /// gone, nothing would end it.
    fn end_all(&mut self, bell: &Bell) {
        let until = Instant::now() + LAST_MOMENT;
        loop {
            let now = Instant::now();
            self.reap(now);
            let left = until.saturating_duration_since(now);
            if self.running.iter().all(|hook| hook.killed) {
                return;
            }
            let limit = self.limit(now).map_or(left, |limit| limit.min(left));
            if left.is_zero() || self.wait(bell, Some(limit)).is_err() {
                break;
            }
        }
        for index in 0..self.running.len() {
            if !self.running[index].killed {
                self.end_hook(index, "user-oom ends");
            }
        }
    }

    /// Kills a hook with what it has started.
    fn end_hook(&mut self, index: usize, why: &str) {
        let hook = &mut self.running[index];
        let call = hook.call.clone();
        hook.killed = true;
        let killed = reaper::kill_session(&mut hook.child);
        let named = self.named(&call);
        match killed {
            Ok(()) => self.say(format_args!("{named} was killed: {why}")),
            Err(err) => self.say(format_args!("{named} cannot be killed ({why}): {err}")),
        }
        self.fail(index);
    }

    /// What the command was to end gets its signal; nothing follows from another
    /// hook.
    fn fail(&mut self, index: usize) {
        let hook = &self.running[index];
        if let When::Command(_) = hook.call.when {
            let leaders = std::iter::once(&hook.call.victim.id).chain(&hook.others);
            for leader in leaders {
                // Where there is no room, the signal comes when its time is over.
                let _ = self.failures.ring.push(*leader);
            }
            self.failures.bell.ring();
        }
    }

    /// A command waits for no hook. One that runs is not run beside itself: what else
    /// it is to end waits for it.
    fn take_command(&mut self, command: Arc<RuleCommand>, victim: Victim) {
        let is_same = |hook: &&mut Running| {
            let same = matches!(&hook.call.when, When::Command(it) if *it == command);
            same && !hook.killed
        };
        if let Some(hook) = self.running.iter_mut().find(is_same) {
            hook.others.push(victim.id);
            return;
        }
        self.lane.note(
            log::Level::Info,
            format_args!(
                "running `{command}` to end {} ({}), for {} s at most",
                victim.id.pid,
                victim.name,
                command.limit.as_secs_f64()
            ),
        );
        let call = Call {
            when: When::Command(command),
            victim,
        };
        if let Err(err) = self.start(call.clone()) {
            let named = self.named(&call);
            self.say(format_args!("cannot run {named}: {err}"));
            let _ = self.failures.ring.push(victim.id);
            self.failures.bell.ring();
        }
    }

    /// It waits for no hook either. One that still runs is not run beside itself: it
    /// was told of the same.
    fn take_forecast(&mut self, command: Arc<RuleCommand>, full_in: Duration, largest: Victim) {
        let is_same = |hook: &Running| {
            let same = matches!(&hook.call.when, When::Forecast(it, _) if *it == command);
            same && !hook.killed
        };
        if self.running.iter().any(is_same) {
            return;
        }
        self.lane.note(
            log::Level::Info,
            format_args!(
                "running `{command}`, for {} s at most: memory will be full in {} s",
                command.limit.as_secs_f64(),
                full_in.as_secs()
            ),
        );
        let call = Call {
            when: When::Forecast(command, full_in),
            victim: largest,
        };
        if let Err(err) = self.start(call.clone()) {
            let named = self.named(&call);
            self.say(format_args!("cannot run {named}: {err}"));
        }
    }

    fn start(&mut self, call: Call) -> io::Result<()> {
        let Some(program) = self.hooks.program(&call.when) else {
            return Ok(());
        };
        let child = start(&self.hooks.executable, program, &call)?;
        self.running.push(Running {
            call,
            others: Vec::new(),
            pidfd: pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok(),
            child,
            since: Instant::now(),
            killed: false,
        });
        Ok(())
    }

    /// Starts as many of those that wait as may run.
    fn start_waiting(&mut self) {
        while self.running.iter().filter(|hook| !hook.killed).count() < AT_ONCE {
            let Some(call) = self.waiting.pop_front() else {
                return;
            };
            if let Err(err) = self.start(call.clone()) {
                let named = self.named(&call);
                self.say(format_args!("cannot run {named}: {err}"));
            }
        }
    }

    /// Forgets those that have ended, and kills those that have run too long.
    fn reap(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(hook) = self.running.get_mut(index) {
            let deadline = hook.deadline(self.deadline);
            match hook.child.try_wait() {
                Ok(None) if hook.killed || now < hook.since + deadline => index += 1,
                Ok(None) => {
                    let seconds = deadline.as_secs_f64();
                    self.end_hook(index, &format!("still running after {seconds} s"));
                    index += 1;
                }
                ended => {
                    let was_killed = hook.killed;
                    let call = hook.call.clone();
                    let named = self.named(&call);
                    match ended {
                        // Its end has been told.
                        _ if was_killed => {}
                        Ok(Some(status)) if !status.success() => {
                            self.say(format_args!("{named} failed: {status}"));
                            self.fail(index);
                        }
                        Ok(_) => {}
                        Err(err) => {
                            self.say(format_args!("cannot tell how {named} ended: {err}"));
                            self.fail(index);
                        }
                    }
                    self.running.swap_remove(index);
                }
            }
        }
    }

    /// How long nothing is due unless a hook ends or another is called for.
    fn limit(&self, now: Instant) -> Option<Duration> {
        let due = |hook: &Running| {
            let deadline = hook.since + hook.deadline(self.deadline);
            let until_deadline = (!hook.killed).then(|| deadline.saturating_duration_since(now));
            let until_look = hook.pidfd.is_none().then_some(LOOK);
            until_deadline.into_iter().chain(until_look).min()
        };
        self.running.iter().filter_map(due).min()
    }

    fn named(&self, call: &Call) -> String {
        if let When::Command(command) = &call.when {
            let (pid, name) = (call.victim.id.pid, call.victim.name);
            return format!("the command `{command}` for {pid} ({name})");
        }
        if let When::Forecast(command, _) = &call.when {
            return format!("the command `{command}` for a forecast");
        }
        let program = self.hooks.program(&call.when).unwrap_or(Path::new(""));
        format!(
            "the hook `{}` for {} ({})",
            program.display(),
            call.victim.id.pid,
            call.victim.name
        )
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        self.lane.note(log::Level::Warn, text);
    }
}

impl Running {
    /// A command has its own.
    fn deadline(&self, of_hooks: Duration) -> Duration {
        match &self.call.when {
            When::Command(command) | When::Forecast(command, _) => command.limit,
            _ => of_hooks,
        }
    }
}

fn start(executable: &Path, program: &Path, call: &Call) -> io::Result<Child> {
    let victim = &call.victim;
    let pid = victim.id.pid.to_string();
    let uid = victim.uid.to_string();
    let name = victim.name.to_string();
    let value = victim.value.map(|value| value.to_string());
    let arguments = match &call.when {
        When::Before | When::After => Vec::new(),
        When::Notify => notification(&pid, &name),
        When::Command(command) | When::Forecast(command, _) => command.words[1..].to_vec(),
    };
    let mut child = Command::new(executable);
    if let When::Forecast(_, full_in) = &call.when {
        child.env("USER_OOM_FULL_IN", full_in.as_secs().to_string());
    }
    child
        .arg(CHILD)
        .arg(program)
        .args(arguments)
        .env("USER_OOM_PID", &pid)
        .env("USER_OOM_UID", &uid)
        .env("USER_OOM_NAME", &name)
        .env("USER_OOM_VALUE", value.unwrap_or_default())
        // What scripts written for earlyoom read.
        .env("EARLYOOM_PID", pid)
        .env("EARLYOOM_UID", uid)
        .env("EARLYOOM_NAME", name)
        .stdin(Stdio::null())
        .spawn()
}
