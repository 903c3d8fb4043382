//! The thread that answers at the control sockets.
//!
//! It answers from a copy of what the loop has to show, which the loop renews
//! each round; only what is to be done is handed to the loop. The loop waits for
//! nothing here: it writes to one of two copies while the thread may read the
//! other, and passes a turn where it cannot.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use control::{Denial, Place, PlaceError, Relief, Reply, Request, Status};
use oom_policy::Moment;

use crate::peers::{Peers, Wanted};
use crate::tell::bell::Bell;
use crate::tell::fates::Fates;
use crate::tell::lane::Lane;

/// Messages between the loop and the thread that wait to be read.
const QUEUE: usize = 16;
/// Lines that wait to be written.
pub(crate) const LINES: usize = 16;
/// To read and write JSON of a few levels.
const STACK_BYTES: usize = 128 * 1024;
/// How long the end waits for the sockets to be taken away.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the loop has to show.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) status: Status,
    pub(crate) fates: Fates,
}

/// What the thread has to tell the loop.
#[derive(Debug)]
pub(crate) enum FromClerk {
    /// Relief is asked for, for the so many-th time.
    Relief(u64),
    /// Another daemon has our lock.
    Displaced(PlaceError),
}

/// What came of the last so many requests for relief.
#[derive(Debug)]
pub(crate) struct ReliefOutcome {
    pub(crate) until: u64,
    pub(crate) told: Result<Relief, Denial>,
}

/// Two copies; `current` is the one that counts, and the loop writes to the
/// other.
#[derive(Debug)]
struct Shared {
    copies: [Mutex<Picture>; 2],
    current: AtomicUsize,
    /// There is something to show.
    is_drawn: AtomicBool,
    to_clerk: Bell,
    to_loop: Bell,
}

/// The loop's side. The sockets are taken away when it is dropped.
#[derive(Debug)]
pub(crate) struct Clerk {
    shared: Arc<Shared>,
    outcomes: rtrb::Producer<ReliefOutcome>,
    wishes: rtrb::Consumer<FromClerk>,
    /// The last request for relief that was heard of.
    asked: u64,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
    /// Where there is no thread, what keeps a second daemon away.
    _lock: Option<Peers>,
}

impl Clerk {
    /// Makes the sockets at `place`, and starts the thread, which tells `lane`.
    /// `origin`: of the loop's times. Without sockets, or without a thread, the
    /// daemon guards all the same.
    ///
    /// # Errors
    ///
    /// - [`ClerkError::Place`]: another daemon is running.
    /// - [`ClerkError::Bell`]: the kernel has no eventfd to give.
    pub(crate) fn spawn(
        place: Option<Place>,
        own_uid: u32,
        origin: Instant,
        lane: Lane,
    ) -> Result<Self, ClerkError> {
        let peers = Peers::open(place, own_uid).map_err(ClerkError::Place)?;
        let picture = Picture {
            status: Status::default(),
            fates: Fates::new(),
        };
        let shared = Arc::new(Shared {
            copies: [Mutex::new(picture.clone()), Mutex::new(picture)],
            current: AtomicUsize::new(0),
            is_drawn: AtomicBool::new(false),
            to_clerk: Bell::new().map_err(ClerkError::Bell)?,
            to_loop: Bell::new().map_err(ClerkError::Bell)?,
        });
        let (outcomes, outcomes_end) = rtrb::RingBuffer::new(QUEUE);
        let (wishes, wishes_end) = rtrb::RingBuffer::new(QUEUE);
        let (sender, ended) = mpsc::channel();
        let mut desk = Desk {
            shared: Arc::clone(&shared),
            origin,
            outcomes: outcomes_end,
            wishes,
            asked: 0,
            lane,
        };
        // What the thread is given is gone where it cannot be started.
        let (hand, handed) = mpsc::channel::<Peers>();
        let thread = thread::Builder::new()
            .name("clerk".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _sender = sender;
                if let Ok(mut peers) = handed.recv() {
                    desk.serve(&mut peers);
                }
            });
        let lock = match thread {
            Ok(_) => hand.send(peers).err().map(|err| err.0),
            Err(err) => {
                log::warn!("the control socket is off: cannot start its thread: {err}");
                Some(peers.close())
            }
        };
        Ok(Self {
            shared,
            outcomes,
            wishes: wishes_end,
            asked: 0,
            ended,
            _lock: lock,
        })
    }

    /// Readable when [`Clerk::next`] has something.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.to_loop.as_fd()
    }

    /// What the thread has to tell. Nothing more comes before the descriptor is
    /// readable again.
    pub(crate) fn next(&mut self) -> Option<FromClerk> {
        self.shared.to_loop.hush();
        let wish = self.wishes.pop().ok()?;
        if let FromClerk::Relief(number) = wish {
            self.asked = number;
        }
        Some(wish)
    }

    /// Tells all that have asked for relief until now what came of it.
    pub(crate) fn answer(&mut self, told: Result<Relief, Denial>) {
        // Were it full, the thread would have been told the same already.
        let until = self.asked;
        let _ = self.outcomes.push(ReliefOutcome { until, told });
        self.shared.to_clerk.ring();
    }

    /// Shows how things are now. Where the thread is reading the copy before the
    /// last, the last stays.
    pub(crate) fn show(&self, draw: impl FnOnce(&mut Picture)) {
        let other = 1 - self.shared.current.load(Ordering::SeqCst);
        let Ok(mut picture) = self.shared.copies[other].try_lock() else {
            return;
        };
        draw(&mut picture);
        drop(picture);
        self.shared.current.store(other, Ordering::SeqCst);
        if !self.shared.is_drawn.swap(true, Ordering::SeqCst) {
            self.shared.to_clerk.ring();
        }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.shared.to_clerk.ring_the_end();
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// Why the daemon cannot run.
#[derive(Debug)]
pub(crate) enum ClerkError {
    Place(PlaceError),
    Bell(std::io::Error),
}

/// The thread's side.
#[derive(Debug)]
struct Desk {
    shared: Arc<Shared>,
    origin: Instant,
    outcomes: rtrb::Consumer<ReliefOutcome>,
    wishes: rtrb::Producer<FromClerk>,
    asked: u64,
    lane: Lane,
}

impl Desk {
    fn serve(&mut self, peers: &mut Peers) {
        while !self.shared.is_drawn.load(Ordering::SeqCst) {
            let waited = self.shared.to_clerk.wait(std::iter::empty(), None);
            if self.shared.to_clerk.is_over() || waited.is_err() {
                return;
            }
        }
        loop {
            let now = Moment::after_origin(self.origin.elapsed());
            if self.shared.to_clerk.is_over() {
                return;
            }
            while let Ok(outcome) = self.outcomes.pop() {
                peers.answer(now, &outcome);
            }
            if let Err(err) = peers.restore(now, &mut self.lane) {
                self.tell(FromClerk::Displaced(err));
                return;
            }
            let pause = peers.tend(now);
            if peers.wait(&self.shared.to_clerk, now, pause).is_err() {
                return;
            }
            let now = Moment::after_origin(self.origin.elapsed());
            peers.hear_all(now, |call| self.answer(now, call));
        }
    }

    fn answer(&mut self, now: Moment, request: &Request) -> Wanted {
        Wanted::Reply(match request {
            Request::Relief => {
                self.asked += 1;
                let number = self.asked;
                if !self.tell(FromClerk::Relief(number)) {
                    // So many ask at once that one before it stands for it.
                    self.asked -= 1;
                }
                return Wanted::Relief(self.asked);
            }
            Request::Status => Reply::Status(self.look(|picture| picture.status)),
            Request::Fate { pid } => self.look(|picture| picture.fates.tell(now, *pid)),
            Request::Info => Reply::info(),
            Request::Description { interface } => Reply::description(interface),
        })
    }

    /// Whether the loop has room for it.
    fn tell(&mut self, wish: FromClerk) -> bool {
        let told = self.wishes.push(wish).is_ok();
        self.shared.to_loop.ring();
        told
    }

    fn look<T>(&self, at: impl FnOnce(&Picture) -> T) -> T {
        let current = self.shared.current.load(Ordering::SeqCst);
        let picture = self.shared.copies[current].lock();
        at(&picture.unwrap_or_else(PoisonError::into_inner))
    }
}
