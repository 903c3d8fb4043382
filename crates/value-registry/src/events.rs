//! What the kernel tells of the directory, by inotify(7).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::directory::Directory;
use crate::entry::parse_pid;
use crate::limits::Queue;

/// Events taken at once: some milliseconds at most.
const EVENTS: usize = 4096;

/// Names that wait to be looked at. Beyond them everything is.
const WAITING: usize = 16_384;

/// What there is no need to ask for: the last two come with any watch.
const ASTRAY: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_Q_OVERFLOW)
    .union(AddWatchFlags::IN_UNMOUNT)
    .union(AddWatchFlags::IN_IGNORED);

/// Tells of changes, where the kernel has the means to spare.
#[derive(Debug)]
pub(crate) struct Events {
    /// Made once and kept, whatever becomes of the directory, so that a caller
    /// that waits for it need not wait for another. `None` where there is none
    /// to have: the directory is read now and then.
    inotify: Option<Inotify>,
    watch: Option<WatchDescriptor>,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// There is more to be asked for at once.
    pub(crate) more: bool,
    /// More happened than is remembered.
    pub(crate) overflowed: bool,
    /// The directory may have another path now, or none.
    pub(crate) astray: bool,
}

impl Events {
    /// # Errors
    ///
    /// Also: the user has as many as `fs.inotify.max_user_instances` says.
    pub(crate) fn new() -> (Self, Option<Errno>) {
        let made = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let err = made.as_ref().err().copied();
        let events = Self {
            inotify: made.ok(),
            watch: None,
        };
        (events, err)
    }

    /// Whether it is told of a directory that is moved.
    pub(crate) fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches `directory` and nothing else. By path, for inotify(7) takes no
    /// descriptor: whether it is still at its path must be asked afterwards.
    ///
    /// # Errors
    ///
    /// Also: the user has as many as `fs.inotify.max_user_watches` says.
    pub(crate) fn watch(&mut self, directory: &Directory) -> Result<(), Errno> {
        let Some(inotify) = &self.inotify else {
            return Ok(());
        };
        let events = AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        let earlier = self.watch.take();
        let watch = inotify.add_watch(directory.path(), events);
        if let Some(earlier) = earlier
            && watch != Ok(earlier)
        {
            // It is gone already if the directory is.
            let _ = inotify.rm_watch(earlier);
        }
        self.watch = Some(watch?);
        Ok(())
    }

    /// Adds to `changed` the pids by whose name something changed.
    pub(crate) fn read(&mut self, changed: &mut Queue) -> Told {
        let mut told = Told::default();
        let Some(inotify) = &self.inotify else {
            return told;
        };
        let mut taken = 0;
        while taken < EVENTS {
            let events = match inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return told,
                Err(Errno::EINTR) => continue,
                Err(_) => {
                    told.overflowed = true;
                    return told;
                }
            };
            taken += events.len();
            for event in events {
                // From an earlier watch, it costs no more than a look.
                let name = event.name.as_ref().map(|name| name.as_bytes());
                told.astray |= event.mask.intersects(ASTRAY);
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    told.overflowed = true;
                } else if let Some(pid) = name.and_then(parse_pid) {
                    if changed.len() < WAITING {
                        changed.push(pid);
                    } else {
                        told.overflowed = true;
                    }
                }
            }
        }
        told.more = true;
        told
    }
}
