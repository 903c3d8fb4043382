//! The daemon's lock and sockets, made again where they are missing.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::listener::Listener;
use crate::place::{Door, InstanceLock, Place, PlaceError};

/// A file of ours is removed, moved, or has something else put in its place.
const REMOVED: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// What a daemon has at its [`Place`]. Anybody may clear `/run`; whatever is
/// missing is made by the next [`Station::restore`].
#[derive(Debug)]
pub struct Station {
    private: Option<Listener>,
    public: Option<Listener>,
    /// Dropped after the sockets: until then no other daemon may bind there.
    lock: Option<InstanceLock>,
    place: Place,
    /// Not there where the kernel gives no more of them.
    removals: Option<Inotify>,
}

impl Station {
    /// Nothing is there yet.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self {
            private: None,
            public: None,
            lock: None,
            place,
            removals: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Makes what is missing; whether anything was.
    ///
    /// # Errors
    ///
    /// - [`PlaceError::Held`]: another daemon is there. That can happen at any
    ///   call: if the lock file is removed, another daemon can take it.
    /// - Otherwise what cannot be made. Try again later.
    pub fn restore(&mut self) -> Result<bool, PlaceError> {
        if let Some(removals) = &self.removals {
            // What it was is seen below.
            let _ = removals.read_events();
        }
        let mut made = false;
        if !(self.lock.as_ref()).is_some_and(|lock| lock.is_there(&self.place)) {
            // The old one is kept until then.
            self.lock = Some(InstanceLock::take(&self.place)?);
            notice_removal_of(self.place.lock(), &mut self.removals);
            made = true;
        }
        for door in [Door::Private, Door::Public] {
            if self.listener(door).is_some_and(Listener::is_there) {
                continue;
            }
            if let Some(lock) = &self.lock {
                let listener = Listener::bind(&self.place, door, lock)?;
                *self.slot(door) = Some(listener);
                notice_removal_of(self.place.door(door), &mut self.removals);
                made = true;
            }
        }
        Ok(made)
    }

    /// Takes the sockets away, and keeps the lock.
    pub fn close(&mut self) {
        self.private = None;
        self.public = None;
    }

    /// Where clients come in, where that could be made.
    #[must_use]
    pub fn listener(&self, door: Door) -> Option<&Listener> {
        match door {
            Door::Public => self.public.as_ref(),
            Door::Private => self.private.as_ref(),
        }
    }

    /// Readable once something of ours was removed. `None` where the kernel
    /// does not say so: then [`Station::restore`] is to be called more often.
    #[must_use]
    pub fn removals(&self) -> Option<BorrowedFd<'_>> {
        self.removals.as_ref().map(AsFd::as_fd)
    }

    fn slot(&mut self, door: Door) -> &mut Option<Listener> {
        match door {
            Door::Public => &mut self.public,
            Door::Private => &mut self.private,
        }
    }
}

/// Where one cannot be noticed at once, none is, and all are looked for by the
/// next restore.
fn notice_removal_of(path: &Path, removals: &mut Option<Inotify>) {
    let watched = removals.as_ref().map(|all| all.add_watch(path, REMOVED));
    if let Some(Err(_)) = watched {
        *removals = None;
    }
}
