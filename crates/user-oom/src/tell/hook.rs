//! Programs that are run around a kill.
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
use std::os::fd::{AsFd, OwnedFd};
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
use crate::tell::bell::Bell;
use crate::tell::lane::Lane;
use crate::tell::record::{Record, Victim};

/// The argument that makes a process of ours a hook.
pub(crate) const CHILD: &str = "--hook";

/// How many hooks run at once; others wait for their turn,
const AT_ONCE: usize = 16;
/// so many at most.
const WAITING: usize = 4096;
/// How many wait at most until the thread has seen them.
const QUEUE: usize = 1024;
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

    fn program(&self, when: When) -> Option<&Path> {
        match when {
            When::Before => self.before.as_deref(),
            When::After => self.after.as_deref(),
            When::Notify => self.notify.then_some(Path::new(NOTIFIER)),
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

/// One hook that is to run.
#[derive(Clone, Copy, Debug)]
struct Call {
    when: When,
    victim: Victim,
}

#[derive(Clone, Copy, Debug)]
enum When {
    Before,
    After,
    /// As [`When::Before`], for desktop users.
    Notify,
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
    bell: Arc<Bell>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl HookCalls {
    /// Starts the thread that runs `hooks`, and says in `lane` how each ended
    /// that did not end well.
    ///
    /// # Errors
    ///
    /// What the kernel says of another thread or eventfd.
    pub(crate) fn spawn(hooks: Hooks, lane: Lane) -> io::Result<Self> {
        let (mut queue, mut calls) = rtrb::RingBuffer::new(QUEUE);
        // All of the ring is written to once, so that it is there.
        while queue.push(Call::nobodys()).is_ok() {}
        while calls.pop().is_ok() {}
        let bell = Arc::new(Bell::new()?);
        let (sender, ended) = mpsc::channel();
        let lost = Arc::<AtomicU64>::default();
        let before = hooks.before.is_some();
        let after = hooks.after.is_some();
        let notify = hooks.notify;
        let mut runner = Runner::new(hooks, DEADLINE, lane);
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

    /// Starts no more of them, and waits for that until `until` at most.
    pub(crate) fn end(self, until: Instant) {
        self.bell.ring_the_end();
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
    }
}

/// What the thread has to do.
#[derive(Debug)]
struct Runner {
    hooks: Hooks,
    deadline: Duration,
    lane: Lane,
    waiting: VecDeque<Call>,
    running: Vec<Running>,
}

/// A hook that has been started and has not been seen to end.
#[derive(Debug)]
struct Running {
    call: Call,
    child: Child,
    /// Readable once it has ended.
    pidfd: Option<OwnedFd>,
    since: Instant,
    /// Its deadline is over, and it does not count any longer.
    killed: bool,
}

impl Runner {
    fn new(hooks: Hooks, deadline: Duration, lane: Lane) -> Self {
        Self {
            hooks,
            deadline,
            lane,
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
                if self.waiting.len() < WAITING {
                    self.waiting.push_back(call);
                } else {
                    lost += 1;
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
        let call = hook.call;
        hook.killed = true;
        let killed = reaper::kill_session(&mut hook.child);
        let named = self.named(&call);
        match killed {
            Ok(()) => self.say(format_args!("{named} was killed: {why}")),
            Err(err) => self.say(format_args!("{named} cannot be killed ({why}): {err}")),
        }
    }

    /// Starts as many of those that wait as may run.
    fn start_waiting(&mut self) {
        while self.running.iter().filter(|hook| !hook.killed).count() < AT_ONCE {
            let Some(call) = self.waiting.pop_front() else {
                return;
            };
            let Some(program) = self.hooks.program(call.when) else {
                continue;
            };
            match start(&self.hooks.executable, program, &call) {
                Ok(child) => self.running.push(Running {
                    call,
                    pidfd: pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok(),
                    child,
                    since: Instant::now(),
                    killed: false,
                }),
                Err(err) => {
                    let named = self.named(&call);
                    self.say(format_args!("cannot run {named}: {err}"));
                }
            }
        }
    }

    /// Forgets those that have ended, and kills those that have run too long.
    fn reap(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(hook) = self.running.get_mut(index) {
            let call = hook.call;
            match hook.child.try_wait() {
                Ok(None) if hook.killed || now < hook.since + self.deadline => index += 1,
                Ok(None) => {
                    let seconds = self.deadline.as_secs_f64();
                    self.end_hook(index, &format!("still running after {seconds} s"));
                    index += 1;
                }
                ended => {
                    let hook = self.running.swap_remove(index);
                    let named = self.named(&call);
                    match ended {
                        // Its end has been told.
                        _ if hook.killed => {}
                        Ok(Some(status)) if !status.success() => {
                            self.say(format_args!("{named} failed: {status}"));
                        }
                        Ok(_) => {}
                        Err(err) => self.say(format_args!("cannot tell how {named} ended: {err}")),
                    }
                }
            }
        }
    }

    /// How long nothing is due unless a hook ends or another is called for.
    fn limit(&self, now: Instant) -> Option<Duration> {
        let due = |hook: &Running| {
            let deadline = hook.since + self.deadline;
            let until_deadline = (!hook.killed).then(|| deadline.saturating_duration_since(now));
            let until_look = hook.pidfd.is_none().then_some(LOOK);
            until_deadline.into_iter().chain(until_look).min()
        };
        self.running.iter().filter_map(due).min()
    }

    fn named(&self, call: &Call) -> String {
        let program = self.hooks.program(call.when).unwrap_or(Path::new(""));
        format!(
            "the hook `{}` for {} ({})",
            program.display(),
            call.victim.id.pid,
            call.victim.name
        )
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        let text = text.to_string().into_boxed_str();
        self.lane.tell(Record::Note(log::Level::Warn, text));
    }
}

fn start(executable: &Path, program: &Path, call: &Call) -> io::Result<Child> {
    let victim = &call.victim;
    let pid = victim.id.pid.to_string();
    let uid = victim.uid.to_string();
    let name = victim.name.to_string();
    let value = victim.value.map(|value| value.to_string());
    let arguments = match call.when {
        When::Before | When::After => Vec::new(),
        When::Notify => notification(&pid, &name),
    };
    Command::new(executable)
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
