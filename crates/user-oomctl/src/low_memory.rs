//! `org.freedesktop.LowMemoryMonitor`: what `GMemoryMonitor` of GLib listens to, so
//! that programs free what they can spare before any is paused or killed.
//!
//! The interface has one signal with one byte:
//! <https://hadess.pages.freedesktop.org/low-memory-monitor/>.

use control::{Condition, EventKind, Happened};
use zbus::blocking::connection::Builder;

use crate::error::Error;
use crate::places::DaemonPlaces;
use crate::printer::AnswerPrinter;

const NAME: &str = "org.freedesktop.LowMemoryMonitor";
const PATH: &str = "/org/freedesktop/LowMemoryMonitor";

/// Warns until the daemon ends.
///
/// # Errors
///
/// - [`Error::Bus`]: there is no system bus, or another owns the name.
/// - As [`DaemonPlaces::subscribe`].
pub(crate) fn warn(daemon: &DaemonPlaces, printer: &mut AnswerPrinter) -> Result<(), Error> {
    let failed = |task| {
        move |source| Error::Bus {
            task,
            bus: "system",
            source: Box::new(source),
        }
    };
    let mut events = daemon.subscribe()?;
    let bus = Builder::system()
        .and_then(|builder| builder.name(NAME))
        .map(|builder| builder.replace_existing_names(false))
        .and_then(Builder::build)
        .map_err(failed("be org.freedesktop.LowMemoryMonitor"))?;
    printer.write(&format!("{NAME} is on the system bus\n"))?;
    loop {
        let event = events.next()?;
        if let Some(level) = level(&event) {
            bus.emit_signal(None::<&str>, PATH, NAME, "LowMemoryWarning", &level)
                .map_err(failed("warn"))?;
            printer.event(&event)?;
        }
    }
}

/// The byte of the signal: 50, 100 and 255 are GLib's low, medium and critical.
fn level(event: &Happened) -> Option<u8> {
    match (event.what, event.level) {
        (EventKind::Forecast, _) => Some(50),
        (EventKind::Level, Some(Condition::Warn)) => Some(100),
        (EventKind::Level, Some(Condition::Kill)) => Some(255),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_is_the_least() {
        let of = |what, level| {
            let happened = Happened::now(what);
            super::level(&Happened { level, ..happened })
        };
        assert_eq!(of(EventKind::Forecast, None), Some(50));
        assert_eq!(of(EventKind::Level, Some(Condition::Warn)), Some(100));
        assert_eq!(of(EventKind::Level, Some(Condition::Kill)), Some(255));
        assert_eq!(of(EventKind::Level, Some(Condition::Ok)), None);
        assert_eq!(of(EventKind::Gone, Some(Condition::Kill)), None);
    }
}
