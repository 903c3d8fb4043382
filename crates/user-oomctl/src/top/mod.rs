//! A live screen of what is short, what is held, and what would be done.
//!
//! One thread asks the daemon once a second, and for what a person wants; one hears
//! what happens; one takes signals. This one waits for a key, a signal or news, in one
//! poll(2), and draws: it never waits for the daemon, but for a terminal that takes
//! nothing for a while. A signal ends it then as well.

mod draw;
#[cfg(test)]
mod picture;
mod state;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use control::{Condition, Reply, Request};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::terminal::disable_raw_mode;

use self::draw::{Palette, draw};
use self::state::{News, Shown, Wish, told};
use crate::doctor::PROC;
use crate::error::Error;
use crate::places::DaemonPlaces;

const INTERVAL: Duration = Duration::from_secs(1);
/// What ends it is waited for so long.
const GRACE: Duration = Duration::from_secs(1);

/// Shows it until a person or a signal ends it, or the terminal is gone.
///
/// # Errors
///
/// - [`Error::Screen`]: there is no terminal that it could be shown on.
/// - As [`DaemonPlaces::ask`], at the start.
pub(crate) fn show(daemon: &DaemonPlaces) -> Result<(), Error> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if !stdin().is_terminal() || !stdout().is_terminal() || is_dumb {
        return Err(Error::NoScreen);
    }
    daemon.ask(&Request::Status)?;
    let failed = |source: io::Error| Error::Screen { source };
    // Before there is a second thread.
    let signals = signals().map_err(|errno| failed(errno.into()))?;
    let (signalled, signals_heard) = mpsc::channel();
    let (over, awaited) = mpsc::channel();
    let (waker, woken) = UnixStream::pair().map_err(failed)?;
    let made_ready = || {
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)
    };
    made_ready().map_err(failed)?;
    let (news, heard) = mpsc::channel();
    let (wishes, wished) = mpsc::channel();
    let asker = Asker {
        daemon: daemon.clone(),
        post: Post { news, waker },
    };
    let bell = asker.post.second().map_err(failed)?.waker;
    // Both end with the process, which waits for none of their questions.
    thread::spawn(move || asker.ask_again_and_again(&wished));
    thread::spawn(move || pass_on(&signals, &signalled, bell, &awaited));
    let mut screen = Screen {
        screen: ratatui::try_init().map_err(failed)?,
        signals: signals_heard,
        woken,
        heard,
        wishes,
        state: Shown::default(),
    };
    let done = screen.stay();
    let restored = screen.screen.show_cursor().and(ratatui::try_restore());
    // It would show the cursor once more, and panic where that cannot be said.
    std::mem::forget(screen.screen);
    drop(over);
    match done {
        Ok(End::Asked) => restored.map_err(failed),
        // There is nothing left to restore.
        Ok(End::Gone) => Ok(()),
        Err(source) => Err(Error::Screen { source }),
    }
}

/// The signals that are answered, by descriptor: all that would end it and leave the
/// terminal as it is then, but those that a fault of its own raises; and two more.
fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
        Signal::SIGXCPU,
        Signal::SIGIO,
        Signal::SIGPWR,
        Signal::SIGTSTP,
        Signal::SIGWINCH,
    ] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)
}

/// Tells of each signal, and lets one that is to end us do so by itself where the
/// terminal takes nothing: the thread that draws waits for it, and `awaited` ends too late.
fn pass_on(
    signals: &SignalFd,
    signalled: &Sender<Signal>,
    mut bell: UnixStream,
    awaited: &Receiver<()>,
) {
    loop {
        let signal = match signals.read_signal() {
            Ok(Some(taken)) => i32::try_from(taken.ssi_signo).map(Signal::try_from),
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        let Ok(Ok(signal)) = signal else { continue };
        let _ = signalled.send(signal);
        // Where it is full, that wakes as well.
        let _ = bell.write(&[0]);
        if matches!(signal, Signal::SIGWINCH | Signal::SIGTSTP) {
            continue;
        }
        if awaited.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
            let _ = disable_raw_mode();
            let _ = SigSet::from(signal).thread_unblock();
            let _ = raise(signal);
        }
        return;
    }
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Asked,
    /// The terminal is not there any more.
    Gone,
}

struct Screen {
    screen: DefaultTerminal,
    signals: Receiver<Signal>,
    woken: UnixStream,
    heard: Receiver<News>,
    wishes: Sender<Request>,
    state: Shown,
}

impl Screen {
    fn stay(&mut self) -> io::Result<End> {
        let palette = Palette {
            has_colors: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        };
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        loop {
            let state = &self.state;
            if self
                .screen
                .draw(|frame| draw(frame, state, palette))
                .is_err()
            {
                return Ok(End::Gone);
            }
            let input = stdin();
            let mut polled = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let came = polled.map(|it| it.revents().unwrap_or(PollFlags::empty()));
            if came[0].intersects(gone) {
                return Ok(End::Gone);
            }
            // First, so that what comes from here on wakes again. Full or empty, it has woken.
            let _ = self.woken.read(&mut [0; 64]);
            while let Ok(signal) = self.signals.try_recv() {
                match signal {
                    // It is drawn anew in any case, at the size that it has.
                    Signal::SIGWINCH => {}
                    Signal::SIGTSTP => self.suspend()?,
                    Signal::SIGHUP => return Ok(End::Gone),
                    _ => return Ok(End::Asked),
                }
            }
            for news in self.heard.try_iter() {
                self.state.take_in(news, &parent_of);
            }
            if came[0].contains(PollFlags::POLLIN) && self.take_keys()? == Some(End::Asked) {
                return Ok(End::Asked);
            }
        }
    }

    fn take_keys(&mut self) -> io::Result<Option<End>> {
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else {
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            self.state.said.clear();
            match self.state.press(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(Some(End::Asked)),
                Wish::Suspend => self.suspend()?,
                // It is there as long as we are.
                Wish::Ask(request) => drop(self.wishes.send(request)),
            }
        }
        Ok(None)
    }

    /// Gives the terminal back, and stops until SIGCONT.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen.show_cursor()?;
        ratatui::try_restore()?;
        raise(Signal::SIGSTOP)?;
        self.screen = ratatui::try_init()?;
        Ok(())
    }
}

/// Of a process that is there.
fn parent_of(pid: u32) -> Option<u32> {
    let path = Path::new(PROC).join(pid.to_string()).join("status");
    let text = fs::read(path).ok()?;
    // The name, on its first line, may hold any byte.
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent?.trim().parse().ok()
}

/// Where news goes.
struct Post {
    news: Sender<News>,
    waker: UnixStream,
}

impl Post {
    /// Whether anybody still hears it.
    fn send(&mut self, news: News) -> bool {
        let is_heard = self.news.send(news).is_ok();
        // Where it is full, that wakes as well.
        let _ = self.waker.write(&[0]);
        is_heard
    }

    fn second(&self) -> io::Result<Self> {
        Ok(Self {
            news: self.news.clone(),
            waker: self.waker.try_clone()?,
        })
    }
}

struct Asker {
    daemon: DaemonPlaces,
    post: Post,
}

impl Asker {
    fn ask_again_and_again(mut self, wished: &Receiver<Request>) {
        let mut listener: Option<JoinHandle<()>> = None;
        loop {
            let due = Instant::now() + INTERVAL;
            let is_there = self.ask_how_it_is();
            if is_there && listener.as_ref().is_none_or(JoinHandle::is_finished) {
                listener = self.listen().ok();
            }
            loop {
                match wished.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(request) => self.ask_for(&request),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Whether the daemon answers.
    fn ask_how_it_is(&mut self) -> bool {
        match self.daemon.ask(&Request::Status) {
            Ok(Reply::Status(status)) => {
                self.post.send(News::Status(Box::new(status), full_avg10()));
            }
            Ok(_) => {}
            Err(err) => {
                self.post.send(News::Silent(terminal::chain(&err)));
                return false;
            }
        }
        let level = Condition::Warn;
        // While memory is short there is no plan, and what there was stays.
        if let Ok(Reply::Plan(plan)) = self.daemon.ask(&Request::Plan { level }) {
            self.post.send(News::Plan(Box::new(plan)));
        }
        true
    }

    fn ask_for(&mut self, request: &Request) {
        let answer = match self.daemon.ask(request) {
            Ok(reply) => told(&reply),
            Err(err) => terminal::chain(&err),
        };
        self.post.send(News::Answer(answer));
        self.ask_how_it_is();
    }

    /// Has a thread hear what happens, until the daemon ends.
    fn listen(&self) -> io::Result<JoinHandle<()>> {
        let (daemon, mut post) = (self.daemon.clone(), self.post.second()?);
        Ok(thread::spawn(move || {
            let Ok(mut events) = daemon.subscribe() else {
                return;
            };
            while let Ok(event) = events.next() {
                if !post.send(News::Event(Box::new(event))) {
                    return;
                }
            }
        }))
    }
}

/// In percent; 0 where the kernel has none.
fn full_avg10() -> f64 {
    let text = fs::read_to_string(Path::new(PROC).join("pressure/memory")).unwrap_or_default();
    let pressure = psi::Pressure::parse(&text);
    pressure.map_or(0.0, |it| f64::from(it.full.avg10.hundredths()) / 100.0)
}
