//! The thread that writes: terminal, log and hooks.
//!
//! A terminal may be stopped, a disk may be full, a hook may hang; the loop
//! must not. So it puts [`Record`]s into a bounded queue that drops and counts
//! rather than waits, and this thread takes its time. The queue is a wait-free
//! ring: the standard library's channel takes a lock to wake its reader.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::hook::{Hooks, RunningHooks};
use crate::page;
use crate::record::Record;

/// How many records wait at most. A decision is some dozens.
const QUEUE: usize = 256;
/// What the thread needs to format and to start a hook.
const STACK_BYTES: usize = 256 * 1024;
/// The loop's end of the queue. The thread ends, having written all that
/// waits, when this is dropped.
#[derive(Debug)]
pub(crate) struct Scribe {
    queue: Option<rtrb::Producer<Record>>,
    bell: Arc<EventFd>,
    dropped: u64,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the kernel says of another thread or eventfd.
    pub(crate) fn spawn(hooks: Hooks) -> io::Result<Self> {
        let (mut queue, mut records) = rtrb::RingBuffer::new(QUEUE);
        // All of the ring is written to once, so that it is there.
        while queue.push(Record::Dropped(0)).is_ok() {}
        while records.pop().is_ok() {}
        let bell = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let thread = thread::Builder::new()
            .name("scribe".to_owned())
            .stack_size(STACK_BYTES)
            .spawn({
                let bell = Arc::clone(&bell);
                move || write_all(records, &bell, hooks)
            })?;
        Ok(Self {
            queue: Some(queue),
            bell,
            dropped: 0,
            thread: Some(thread),
        })
    }

    /// Hands `record` over, or drops and counts it. Takes no lock and no memory.
    pub(crate) fn tell(&mut self, record: Record) {
        let Some(queue) = &mut self.queue else { return };
        if self.dropped > 0 && queue.push(Record::Dropped(self.dropped)).is_ok() {
            self.dropped = 0;
        }
        if self.dropped > 0 || queue.push(record).is_err() {
            self.dropped += 1;
        }
        // Fails only where the bell has rung 2^64 − 2 times unheard.
        let _ = self.bell.write(1);
    }

    /// Counts a line that is not even told.
    pub(crate) fn lose(&mut self) {
        self.dropped += 1;
    }

    /// Says something from a quiet round.
    pub(crate) fn note(&mut self, level: log::Level, text: impl fmt::Display) {
        if level <= log::max_level() {
            self.tell(Record::Note(level, text.to_string().into_boxed_str()));
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.queue = None;
        let _ = self.bell.write(1);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn write_all(mut records: rtrb::Consumer<Record>, bell: &EventFd, hooks: Hooks) {
    let mut out = anstream::stdout();
    let mut hooks = RunningHooks::new(hooks);
    loop {
        // Asked before the queue is emptied, so nothing told before the end is lost.
        let over = records.is_abandoned();
        while let Ok(record) = records.pop() {
            hooks.follow(&record);
            // A terminal that is gone is no reason to stop guarding the machine.
            let _ = page::write(&mut out, &record);
        }
        let _ = out.flush();
        hooks.reap();
        if over {
            return;
        }
        let mut bells = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut bells, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
        let _ = bell.read();
    }
}
