//! Where the pressure gates get their windows from: a trigger of the kernel's,
//! or a file given in its stead, whose averages are looked at.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::epoll::EpollFlags;
use oom_policy::{Ask, Gate, Gates, Moment};
use psi::{Percent, Share, Trigger, TriggerError};
use sensors::{Cgroup, PressureFile, PressureTrigger, ReadError};
use terminal::chain;

use crate::wait::{Wait, WakeSource};

/// Fires when all tasks have stalled for `percent` of the gate's window.
///
/// # Errors
///
/// [`TriggerError`] where `percent` is 0.
pub(crate) fn trigger(percent: Percent) -> Result<Trigger, TriggerError> {
    let stall = Gate::WINDOW * u32::from(percent.hundredths()) / 10_000;
    Trigger::new(Share::Full, stall, Gate::WINDOW)
}

/// How many windows of this length are at least as long as so many of the gate's.
fn in_a_row(windows: u32, window: Duration) -> u32 {
    let gate = Gate::WINDOW * windows;
    u32::try_from(gate.as_nanos().div_ceil(window.as_nanos())).unwrap_or(windows)
}

/// Between two tries to watch what the kernel has dropped.
const WATCH_REST: Duration = Duration::from_secs(1);

/// What feeds both gates; `None` where one is off.
#[derive(Debug, Default)]
pub(crate) struct PressureWatches {
    pub(crate) pause: Option<PressureWatch>,
    pub(crate) relief: Option<PressureWatch>,
    /// What of a cgroup is to be watched.
    gates: PressureGates,
    /// Some of that was, and no longer is: when it is tried again.
    next: Option<Moment>,
}

impl PressureWatches {
    /// Of what is always there.
    pub(crate) fn new(relief: Option<PressureWatch>, pause: Option<PressureWatch>) -> Self {
        Self {
            pause,
            relief,
            ..Self::default()
        }
    }

    /// The kernel has dropped the trigger for `gate`.
    pub(crate) fn lose(&mut self, gate: Ask) {
        // Closing it ends its watch.
        *self.of(gate) = None;
        if self.gates != PressureGates::default() {
            self.next = Some(Moment::ORIGIN);
        }
    }

    /// Watches `cgroup` as before, where that was lost and is due to be tried again;
    /// whether it does now.
    pub(crate) fn regain(&mut self, now: Moment, cgroup: &Cgroup) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let again = self.gates.watches(cgroup, |_, _| {});
        let has = |gate: Option<Percent>, watch: &Option<_>| gate.is_some() == watch.is_some();
        let is_whole = has(self.gates.pause, &again.pause) && has(self.gates.relief, &again.relief);
        match is_whole {
            true => *self = again,
            false => self.next = Some(now + WATCH_REST),
        }
        is_whole
    }

    /// Watches `cgroup`, which was made anew and has other files than the one before;
    /// whether anything is to be watched.
    pub(crate) fn renew(&mut self, cgroup: &Cgroup) -> bool {
        let is_any = self.gates != PressureGates::default();
        if is_any {
            *self = self.gates.watch(cgroup);
        }
        is_any
    }

    /// For how long nothing is due to be tried again.
    pub(crate) fn rest(&self, now: Moment) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.since(now))
    }

    /// The gates that count the stalled windows.
    pub(crate) fn gates(&self) -> Gates {
        let gate = |watch: Option<&PressureWatch>, windows| {
            let window = watch.map_or(Gate::WINDOW, PressureWatch::window);
            Gate::new(window, in_a_row(windows, window))
        };
        Gates {
            pause: gate(self.pause.as_ref(), Gate::PAUSE_IN_A_ROW),
            relief: gate(self.relief.as_ref(), Gate::IN_A_ROW),
        }
    }

    /// What feeds the gate to `gate`.
    pub(crate) fn of(&mut self, gate: Ask) -> &mut Option<PressureWatch> {
        match gate {
            Ask::Pause => &mut self.pause,
            _ => &mut self.relief,
        }
    }
}

/// By how much pressure of a cgroup the gates open, where it is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PressureGates {
    pub(crate) pause: Option<Percent>,
    pub(crate) relief: Option<Percent>,
}

impl PressureGates {
    /// Watches the pressure of `cgroup`, as far as the kernel keeps it.
    pub(crate) fn watch(self, cgroup: &Cgroup) -> PressureWatches {
        self.watches(cgroup, |what, err| {
            log::warn!("cgroup {cgroup}: {what} by pressure is off: {}", chain(err));
        })
    }

    /// Watches nothing of a cgroup that is not there yet.
    pub(crate) fn unwatched(self) -> PressureWatches {
        PressureWatches {
            gates: self,
            ..PressureWatches::default()
        }
    }

    fn watches(self, cgroup: &Cgroup, failed: impl Fn(&str, &ReadError)) -> PressureWatches {
        let watch = |percent: Option<Percent>, what| {
            let trigger = trigger(percent?).ok()?;
            let path = cgroup.pressure()?;
            PressureWatch::of_kernel(&path, &trigger)
                .inspect_err(|err| failed(what, err))
                .ok()
        };
        PressureWatches {
            pause: watch(self.pause, "pausing"),
            relief: watch(self.relief, "relief"),
            ..self.unwatched()
        }
    }
}

/// Has the kernel's triggers wake the loop; one that cannot is done without.
pub(crate) fn watch_triggers(watches: &mut PressureWatches, wait: &Wait, scope: usize) {
    for (gate, source, what) in [
        (Ask::Relief, WakeSource::Pressure(scope), "relief"),
        (Ask::Pause, WakeSource::Stall(scope), "pausing"),
    ] {
        let watch = watches.of(gate);
        let Some(trigger) = watch.as_ref().and_then(PressureWatch::trigger) else {
            continue;
        };
        if let Err(errno) = wait.add(trigger, EpollFlags::EPOLLPRI, source) {
            log::warn!(
                "{what} by pressure is off: its trigger cannot be waited for: {}",
                errno.desc()
            );
            *watch = None;
        }
    }
}

/// What feeds a gate.
#[derive(Debug)]
pub(crate) struct PressureWatch {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The kernel says when a window has stalled.
    Trigger {
        trigger: PressureTrigger,
        window: Duration,
    },
    /// A file in the kernel's stead cannot: its full avg10 is read once a
    /// window.
    File {
        file: PressureFile,
        path: PathBuf,
        percent: Percent,
        next: Moment,
        /// Whether it could be read last.
        last: Last,
    },
}

/// How the last look at a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Read,
    Failed,
    /// After one that failed.
    ReadAgain,
}

impl PressureWatch {
    /// Has the kernel say when tasks have all stalled for `percent`, above 0,
    /// of a window.
    ///
    /// # Errors
    ///
    /// What [`PressureTrigger::arm`] says of a kernel without PSI.
    pub(crate) fn of_kernel(path: &Path, trigger: &Trigger) -> Result<Self, ReadError> {
        let (trigger, armed) = match PressureTrigger::arm(path, trigger) {
            Err(ReadError::TriggerNotPermitted { .. }) => {
                let trigger = trigger.unprivileged();
                let armed = PressureTrigger::arm(path, &trigger)?;
                (trigger, armed)
            }
            armed => (*trigger, armed?),
        };
        Ok(Self {
            source: Source::Trigger {
                trigger: armed,
                window: trigger.window(),
            },
        })
    }

    /// Reads a file in the kernel's stead. What it says is for each look to
    /// tell: it may be just being written.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where it cannot be opened.
    pub(crate) fn of_file(path: &Path, percent: Percent) -> Result<Self, ReadError> {
        let file = PressureFile::open(path)?;
        Ok(Self {
            source: Source::File {
                file,
                path: path.to_owned(),
                percent,
                next: Moment::ORIGIN,
                last: Last::Read,
            },
        })
    }

    /// What becomes ready (POLLPRI) when a window has stalled.
    pub(crate) fn trigger(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Trigger { trigger, .. } => Some(trigger.as_fd()),
            Source::File { .. } => None,
        }
    }

    /// How long a window is.
    fn window(&self) -> Duration {
        match &self.source {
            Source::Trigger { window, .. } => *window,
            Source::File { .. } => Gate::WINDOW,
        }
    }

    /// Looks at the file, once a window: whether it has stalled. `None` where no
    /// look was due; a trigger needs none.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where the file cannot be read or makes no sense.
    pub(crate) fn look(&mut self, now: Moment) -> Result<Option<bool>, ReadError> {
        match &mut self.source {
            Source::File {
                file,
                percent,
                next,
                last,
                ..
            } if *next <= now => {
                *next = now + Gate::WINDOW;
                let before = std::mem::replace(last, Last::Failed);
                let stalled = *percent <= file.read()?.full.avg10;
                *last = match before {
                    Last::Failed => Last::ReadAgain,
                    _ => Last::Read,
                };
                Ok(Some(stalled))
            }
            _ => Ok(None),
        }
    }

    /// The file, where it could be read after it could not be; once.
    pub(crate) fn read_again(&mut self) -> Option<&Path> {
        match &mut self.source {
            Source::File { path, last, .. } if *last == Last::ReadAgain => {
                *last = Last::Read;
                Some(path)
            }
            _ => None,
        }
    }

    /// How long no look is due.
    pub(crate) fn pause(&self, now: Moment) -> Duration {
        match &self.source {
            Source::Trigger { .. } => Duration::MAX,
            Source::File { next, .. } => next.since(now),
        }
    }
}
