//! Tells users what is done to their processes, where they look: by notifications of
//! their desktop, and without one on their terminals.

mod desktop;
mod terminals;

use control::{EventKind, Happened, Signal};
use nix::unistd::{Uid, geteuid};

use self::desktop::Desktop;
use crate::error::Error;
use crate::places::DaemonPlaces;
use crate::printer::{AnswerPrinter, plain};

/// What a user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    /// What it is about: a newer one takes its place.
    pid: u32,
    /// Whose process that is.
    uid: u32,
    summary: String,
    /// Empty where there is no more to say.
    body: String,
    /// It is not done yet, and a higher value keeps it from being done.
    is_warning: bool,
}

/// Tells what happens until the daemon ends.
///
/// # Errors
///
/// As [`DaemonPlaces::subscribe`].
pub(crate) fn notify(daemon: &DaemonPlaces, printer: &mut AnswerPrinter) -> Result<(), Error> {
    let user = geteuid();
    let mut events = daemon.subscribe()?;
    let mut desktop = None;
    if user.is_root() {
        printer.write("notices go to the terminals of all users\n")?;
    } else {
        match Desktop::find(daemon) {
            Ok(found) => {
                desktop = Some(found);
                printer.write("notices are sent as desktop notifications\n")?;
            }
            Err(err) => {
                let why = terminal::chain(&err);
                printer.write(&format!("notices go to your terminals: {why}\n"))?;
            }
        }
    }
    loop {
        let event = events.next()?;
        let Some(notice) = Notice::of(&event).filter(|notice| is_for(user, notice)) else {
            continue;
        };
        printer.event(&event)?;
        let shown = desktop.as_mut().map(|desktop| desktop.show(&notice));
        match shown {
            Some(Ok(())) => {}
            // The desktop may have ended; the user has not.
            Some(Err(_)) | None => terminals::tell(&notice),
        }
    }
}

/// Root tells all users, and there is no desktop of root's.
fn is_for(user: Uid, notice: &Notice) -> bool {
    user.is_root() || user.as_raw() == notice.uid
}

impl Notice {
    fn of(event: &Happened) -> Option<Self> {
        let (pid, uid) = (event.pid?, event.uid?);
        let name = match &event.name {
            Some(name) => plain(name),
            None => format!("process {pid}"),
        };
        let value = match event.value {
            Some(value) => format!("value {value}"),
            None => "no value of its own".to_owned(),
        };
        let held = event.held_bytes.unwrap_or_default() >> 20;
        let why = event.why.as_deref().map_or_else(String::new, plain);
        let seconds = event.after.unwrap_or_default().as_secs();
        let (summary, body) = match event.what {
            EventKind::Forecast => (
                format!("Memory will be full in about {seconds} s"),
                format!("{name} ({value}) would be killed first."),
            ),
            EventKind::Signal => {
                let verb = match event.signal {
                    Some(Signal::Kill) => "was killed",
                    Some(Signal::Command) => "is being ended by its rule's command",
                    Some(Signal::Term) | None => "was asked to exit",
                };
                (
                    format!("{name} {verb}: {why}"),
                    format!("It has {value} and held {held} MiB."),
                )
            }
            EventKind::Paused => (
                format!("{name} is paused: {why}"),
                format!(
                    "It has {value} and held {held} MiB. It resumes when there is room; \
                     `user-oomctl thaw {pid}` resumes it now."
                ),
            ),
            EventKind::Thawed => (format!("{name} resumed after {seconds} s"), String::new()),
            EventKind::Gone => (format!("{name} is gone"), String::new()),
            EventKind::Level | EventKind::Stays | EventKind::Continued | EventKind::Lost => {
                return None;
            }
        };
        Some(Self {
            pid,
            uid,
            summary,
            body,
            is_warning: event.what == EventKind::Forecast,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(what: EventKind) -> Happened {
        Happened {
            pid: Some(740),
            uid: Some(1000),
            name: Some("train\u{1b}[2J".to_owned()),
            value: Some(5),
            why: Some("low memory (warn)".to_owned()),
            held_bytes: Some(300 << 20),
            after: Some(Duration::from_secs(40)),
            ..Happened::now(what)
        }
    }

    #[track_caller]
    fn check(event: &Happened, summary: &str, body: &str) {
        let notice = Notice::of(event).unwrap();
        assert_eq!((&*notice.summary, &*notice.body), (summary, body));
    }

    #[test]
    fn what_is_done_and_why_and_what_that_comes_to_is_told() {
        let train = "train?[2J";
        check(
            &Happened {
                signal: Some(Signal::Kill),
                ..event(EventKind::Signal)
            },
            &format!("{train} was killed: low memory (warn)"),
            "It has value 5 and held 300 MiB.",
        );
        check(
            &event(EventKind::Forecast),
            "Memory will be full in about 40 s",
            &format!("{train} (value 5) would be killed first."),
        );
        check(
            &event(EventKind::Paused),
            &format!("{train} is paused: low memory (warn)"),
            "It has value 5 and held 300 MiB. It resumes when there is room; \
             `user-oomctl thaw 740` resumes it now.",
        );
        check(
            &event(EventKind::Thawed),
            &format!("{train} resumed after 40 s"),
            "",
        );
    }

    #[test]
    fn what_is_about_no_process_is_for_nobody() {
        assert_eq!(Notice::of(&Happened::now(EventKind::Forecast)), None);
        assert_eq!(Notice::of(&event(EventKind::Level)), None);
    }

    #[test]
    fn a_user_is_told_of_their_own_processes_and_root_tells_all() {
        let notice = Notice::of(&event(EventKind::Gone)).unwrap();
        let told = [0, 1000, 1001].map(|uid| is_for(Uid::from_raw(uid), &notice));
        assert_eq!(told, [true, true, false]);
    }
}
