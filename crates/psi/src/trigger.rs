//! The line that asks the kernel to wake a waiting process.

use std::fmt;
use std::time::Duration;

use crate::Share;

/// Asks the kernel to report when tasks have waited too long.
///
/// Written to a pressure file ([`Trigger::line`]), it makes poll(2) on that
/// descriptor return `POLLPRI`, at most once a window, for as long as the
/// descriptor stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    share: Share,
    stall: Duration,
    window: Duration,
}

/// A trigger that no kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// The window is too short or too long.
    #[error("a window of {window:?} is not from 500 ms to 10 s")]
    Window {
        /// As asked for.
        window: Duration,
    },
    /// The stall is nothing, or longer than the window.
    #[error("a stall of {stall:?} is not from 1 µs to the window of {window:?}")]
    Stall {
        /// As asked for.
        stall: Duration,
        /// As asked for.
        window: Duration,
    },
}

impl Trigger {
    /// The shortest window the kernel takes.
    pub const MIN_WINDOW: Duration = Duration::from_millis(500);
    /// The longest window the kernel takes.
    pub const MAX_WINDOW: Duration = Duration::from_secs(10);
    /// Without CAP_SYS_RESOURCE the window is a multiple of this (kernel 6.4
    /// and later; before, there are no triggers without it).
    pub const UNPRIVILEGED_STEP: Duration = Duration::from_secs(2);

    /// Fires once tasks have stalled for `stall` within `window`, both taken
    /// to the microsecond.
    ///
    /// # Errors
    ///
    /// - [`TriggerError::Window`]: `window` is shorter than
    ///   [`Self::MIN_WINDOW`] or longer than [`Self::MAX_WINDOW`].
    /// - [`TriggerError::Stall`]: `stall` is under 1 µs or longer than `window`.
    pub fn new(share: Share, stall: Duration, window: Duration) -> Result<Self, TriggerError> {
        if window < Self::MIN_WINDOW || Self::MAX_WINDOW < window {
            return Err(TriggerError::Window { window });
        }
        if stall < Duration::from_micros(1) || window < stall {
            return Err(TriggerError::Stall { stall, window });
        }
        Ok(Self {
            share,
            stall,
            window,
        })
    }

    /// Which tasks have to wait.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// Within which time, and at most how often, it fires.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Whether the kernel takes it only with CAP_SYS_RESOURCE.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        !self
            .window
            .as_micros()
            .is_multiple_of(Self::UNPRIVILEGED_STEP.as_micros())
    }

    /// The same share of the next longer window that the kernel takes from
    /// anybody; the trigger itself if it is such a one.
    #[must_use]
    pub fn unprivileged(&self) -> Self {
        if !self.is_privileged() {
            return *self;
        }
        // Ends: the longest window is a multiple of the step.
        let mut window = Self::UNPRIVILEGED_STEP;
        while window < self.window {
            window += Self::UNPRIVILEGED_STEP;
        }
        let stall = self.stall.mul_f64(window.div_duration_f64(self.window));
        Self {
            share: self.share,
            stall: stall.min(window),
            window,
        }
    }

    /// What is written to the pressure file, made without the heap.
    #[must_use]
    pub fn line(&self) -> TriggerLine {
        let mut line = TriggerLine {
            bytes: [0; TriggerLine::CAPACITY],
            len: 0,
        };
        line.push(match self.share {
            Share::Some => b"some ",
            Share::Full => b"full ",
        });
        line.push_number(self.stall.as_micros());
        line.push(b" ");
        line.push_number(self.window.as_micros());
        // The kernel overwrites the last byte that it is given with a NUL.
        line.push(b"\0");
        line
    }
}

impl fmt::Display for Trigger {
    /// The line without its end: `full 500000 1000000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line();
        let text = line.as_bytes().strip_suffix(b"\0").unwrap_or_default();
        f.pad(str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

/// A trigger as the kernel reads it: `some` or `full`, stall and window in
/// microseconds, a NUL at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerLine {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl TriggerLine {
    /// As much as the kernel reads of a write; `full 10000000 10000000` and
    /// its NUL are 23.
    const CAPACITY: usize = 32;

    /// What to write, in one write(2).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, text: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(text) {
            *to = *from;
            self.len += 1;
        }
    }

    fn push_number(&mut self, number: u128) {
        let mut scale = 1;
        while scale <= number / 10 {
            scale *= 10;
        }
        while scale > 0 {
            let digit = usize::try_from(number / scale % 10).unwrap_or(0);
            self.push(&b"0123456789"[digit..=digit]);
            scale /= 10;
        }
    }
}
