//! A live screen of what is short, what is held, and what would be done.
//!
//! One thread asks the daemon once a second, and for what a person wants; one hears
//! what happens. This one waits for a key, a signal or news, in one poll(2), and
//! draws: it never waits for the daemon.

mod draw;
mod state;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
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

use self::draw::{Palette, draw};
use self::state::{News, State, Wish, told};
use crate::error::Error;
use crate::places::DaemonPlaces;

const INTERVAL: Duration = Duration::from_secs(1);
const PRESSURE: &str = "/proc/pressure/memory";

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
    // It ends with the process, which waits for none of its questions.
    thread::spawn(move || asker.ask_again_and_again(&wished));
    let screen = ratatui::try_init().map_err(failed)?;
    let done = Screen {
        screen,
        signals,
        woken,
        heard,
        wishes,
        state: State::default(),
    }
    .stay();
    let restored = ratatui::try_restore();
    match done {
        Ok(End::Asked) => restored.map_err(failed),
        // There is nothing left to restore.
        Ok(End::Gone) => Ok(()),
        Err(source) => Err(Error::Screen { source }),
    }
}

/// The signals that are answered, by descriptor.
fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGWINCH,
    ] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
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
    signals: SignalFd,
    woken: UnixStream,
    heard: Receiver<News>,
    wishes: Sender<Request>,
    state: State,
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
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
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
            while let Some(signal) = self.signals.read_signal()? {
                let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
                match Signal::try_from(number) {
                    // It is drawn anew in any case, at the size that it has.
                    Ok(Signal::SIGWINCH) => {}
                    Ok(Signal::SIGTSTP) => self.suspend()?,
                    Ok(Signal::SIGHUP) => return Ok(End::Gone),
                    _ => return Ok(End::Asked),
                }
            }
            self.take_in();
            if came[0].contains(PollFlags::POLLIN) && self.take_keys()? == Some(End::Asked) {
                return Ok(End::Asked);
            }
        }
    }

    fn take_in(&mut self) {
        // Full or empty, it has woken.
        let _ = self.woken.read(&mut [0; 64]);
        for news in self.heard.try_iter() {
            self.state.take_in(news, &parent_of);
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
        ratatui::try_restore()?;
        raise(Signal::SIGSTOP)?;
        self.screen = ratatui::try_init()?;
        Ok(())
    }
}

/// Of a process that is there.
fn parent_of(pid: u32) -> Option<u32> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    u32::try_from(process.stat().ok()?.ppid).ok()
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
    let text = fs::read_to_string(PRESSURE).unwrap_or_default();
    let pressure = psi::Pressure::parse(&text);
    pressure.map_or(0.0, |it| f64::from(it.full.avg10.hundredths()) / 100.0)
}
