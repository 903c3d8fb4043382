//! The loop: poll, print, act, hold still.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::debug;
use psi::{Percent, Pressure};
use sensors::{PressureFile, ReadError};
use terminal::chain;

use crate::arguments::Arguments;
use crate::error::Error;
use crate::remedy::{Remedy, RemedyOutcome};
use crate::screen::{Screen, Seconds};
use crate::signals::{Signals, Woken};

/// All there is to watching.
#[derive(Debug)]
pub(crate) struct Watch {
    threshold: Percent,
    interval: Duration,
    recovery: Duration,
    path: PathBuf,
    pressure: PressureFile,
    /// When it was last read.
    seen: Instant,
    remedy: Remedy,
}

impl Watch {
    /// `proc` is where the kernel's proc file system is.
    ///
    /// # Errors
    ///
    /// There is no pressure to be read.
    pub(crate) fn new(arguments: &Arguments, remedy: Remedy, proc: &Path) -> Result<Self, Error> {
        let (path, failed): (PathBuf, fn(ReadError) -> Error) = match &arguments.pressure_file {
            Some(path) => (path.clone(), Error::Pressure),
            None => (proc.join("pressure/memory"), Error::NoPressure),
        };
        let mut pressure = PressureFile::open(&path).map_err(failed)?;
        // What cannot be read now is better known now.
        pressure.read().map_err(failed)?;
        Ok(Self {
            threshold: arguments.threshold,
            interval: arguments.interval,
            recovery: arguments.recovery,
            path,
            pressure,
            seen: Instant::now(),
            remedy,
        })
    }

    /// Watches until a signal ends it.
    ///
    /// # Errors
    ///
    /// Standard output took no line, or signals could not be waited for.
    pub(crate) fn run<W: Write>(
        mut self,
        signals: &Signals,
        screen: &mut Screen<W>,
    ) -> Result<(), Error> {
        self.introduce(screen).map_err(print)?;
        loop {
            let polled = Instant::now();
            let pause = self.poll(signals, screen).map_err(print)?;
            loop {
                let woken = signals
                    .wait_until(polled + pause)
                    .map_err(|source| Error::Signals { source })?;
                match woken {
                    Woken::Due => break,
                    Woken::Child => self.say_how_it_ended(screen).map_err(print)?,
                    Woken::End(signal) => {
                        debug!("ended by {signal}");
                        return Ok(());
                    }
                }
            }
        }
    }

    fn introduce<W: Write>(&self, screen: &mut Screen<W>) -> io::Result<()> {
        screen.line(format_args!("psi-monitor watches {}", self.path.display()))?;
        screen.setting(
            "threshold, full avg10",
            format_args!("{:6} %", self.threshold),
        )?;
        screen.setting("poll interval", Seconds(self.interval))?;
        screen.setting("recovery interval", Seconds(self.recovery))?;
        screen.setting("above the threshold", &self.remedy)?;
        match self.remedy.hindrance() {
            Some(hindrance) => screen.alarm(hindrance),
            None => Ok(()),
        }
    }

    /// Looks once, acts where that is called for, and returns how long to wait
    /// before the next look.
    fn poll<W: Write>(
        &mut self,
        signals: &Signals,
        screen: &mut Screen<W>,
    ) -> io::Result<Duration> {
        let pressure = match self.pressure.read() {
            Ok(pressure) => pressure,
            // It could be read before, so it may be again: a cgroup is gone, or
            // a file is just being written.
            Err(err) => {
                screen.alarm(format_args!(
                    "full avg10 not readable for {} s: {}",
                    self.seen.elapsed().as_secs(),
                    chain(&err)
                ))?;
                return Ok(self.interval);
            }
        };
        self.seen = Instant::now();
        screen.poll(&pressure, self.threshold)?;
        if !self.is_alarming(&pressure) {
            return Ok(self.interval);
        }
        match self.remedy.apply(pressure.full.avg10, signals) {
            RemedyOutcome::Applied(said) => {
                screen.event(said)?;
                // While a command is started its end is not signalled to us.
                self.say_how_it_ended(screen)?;
                screen.event(format_args!(
                    "waiting {} s for recovery",
                    self.recovery.as_secs_f64()
                ))?;
                Ok(self.recovery)
            }
            RemedyOutcome::NotApplied(said) => {
                screen.alarm(said)?;
                Ok(self.interval)
            }
            RemedyOutcome::Nothing => Ok(self.interval),
        }
    }

    fn is_alarming(&self, pressure: &Pressure) -> bool {
        pressure.full.avg10 > self.threshold
    }

    fn say_how_it_ended<W: Write>(&mut self, screen: &mut Screen<W>) -> io::Result<()> {
        match self.remedy.ended() {
            Some(status) if status.success() => screen.event("the command succeeded"),
            Some(status) => screen.alarm(format_args!("the command failed: {status}")),
            None => Ok(()),
        }
    }
}

fn print(source: io::Error) -> Error {
    Error::Print { source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_pressure_is_said_in_one_sentence() {
        let proc = tempfile::tempdir().unwrap();
        let (arguments, _) = Arguments::parse_all(std::iter::empty()).unwrap();
        let err = Watch::new(&arguments, Remedy::None, proc.path()).unwrap_err();
        let said = chain(&err);
        assert!(said.contains("no pressure stall information"), "{said}");
        assert!(said.contains("pressure/memory"), "{said}");
    }

    #[test]
    fn a_file_that_is_named_and_missing_is_not_laid_to_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        let words = ["--pressure-file".into(), path.clone().into_os_string()];
        let (arguments, _) = Arguments::parse_all(words.into_iter()).unwrap();
        let err = Watch::new(&arguments, Remedy::None, folder.path()).unwrap_err();
        let said = chain(&err);
        assert!(
            said.contains("that `--pressure-file` names: give one"),
            "{said}"
        );
        let want = format!("cannot open `{}`: No such file", path.display());
        assert!(said.contains(&want), "{said}");
    }
}
