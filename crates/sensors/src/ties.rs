//! What would suffer if a process were paused: what the process itself tells of
//! that, in its environment and by what it has open.

use model::Unpausable;

use crate::cgroup::unit_name;

/// What an environment tells that matters here: environ(7), of
/// `/proc/<pid>/environ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment<'a> {
    pressure_watch: Option<&'a [u8]>,
    watchdog_usec: Option<&'a [u8]>,
    watchdog_pid: Option<&'a [u8]>,
}

impl<'a> Environment<'a> {
    /// As getenv(3) does, takes the first of a name.
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let mut environment = Self::default();
        for variable in text.split(|byte| *byte == 0) {
            let Some(equals) = variable.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            let place = match name {
                b"MEMORY_PRESSURE_WATCH" => &mut environment.pressure_watch,
                b"WATCHDOG_USEC" => &mut environment.watchdog_usec,
                b"WATCHDOG_PID" => &mut environment.watchdog_pid,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        environment
    }

    /// Why its process may not be paused. `has_pid`: whether the process has
    /// this pid, as itself sees it. `is_in_unit`: whether it is in the systemd
    /// unit of this name.
    pub(crate) fn forbids(
        &self,
        has_pid: impl FnOnce(u32) -> bool,
        is_in_unit: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Unpausable> {
        // What a service starts inherits the variable: a terminal's shells and
        // all their jobs. It names the service's own cgroup, so it is meant for
        // those in that.
        let is_meant = |watch: &[u8]| match watched_unit(watch) {
            Some(unit) => is_in_unit(unit),
            None => !watch.is_empty() && watch != b"/dev/null",
        };
        // A watchdog's variables are the main process's alone: sd_watchdog_enabled(3).
        let is_watched = |pid: &[u8]| {
            let pid = str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
            pid.is_none_or(has_pid)
        };
        if self.pressure_watch.is_some_and(is_meant) {
            Some(Unpausable::PressureWatch)
        } else if self.watchdog_usec.is_some_and(|usec| !is_zero(usec))
            && self.watchdog_pid.is_none_or(is_watched)
        {
            Some(Unpausable::Watchdog)
        } else {
            None
        }
    }
}

/// Nothing, or 0: no watchdog.
fn is_zero(number: &[u8]) -> bool {
    number.iter().all(|digit| *digit == b'0')
}

/// The unit whose `memory.pressure` is to be watched, where it is one's.
fn watched_unit(watch: &[u8]) -> Option<&[u8]> {
    let cgroup = watch.strip_suffix(b"/memory.pressure")?;
    let last = cgroup.rsplit(|byte| *byte == b'/').next()?;
    unit_name(last)
}

/// Whether the link of an open file is that of a pty master: `/dev/ptmx`, or
/// `/dev/pts/ptmx` where that is mounted anew, in a container or a chroot too.
pub(crate) fn is_pty_master(link: &[u8]) -> bool {
    link.first() == Some(&b'/') && link.ends_with(b"/ptmx")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of process 31 in the unit `train.service`.
    #[track_caller]
    fn check(text: &str, want: Option<Unpausable>) {
        let environment = Environment::parse(text.as_bytes());
        let found = environment.forbids(|pid| pid == 31, |unit| unit == b"train.service");
        assert_eq!(found, want, "{text:?}");
    }

    #[test]
    fn most_environments_tell_nothing() {
        check("", None);
        check("HOME=/root\0PATH=/bin\0", None);
        check(
            "XMEMORY_PRESSURE_WATCH=/x\0MEMORY_PRESSURE_WRITE=/x\0",
            None,
        );
        check("MEMORY_PRESSURE_WATCH\0=\0WATCHDOG_PID=31\0", None);
    }

    #[test]
    fn what_watches_memory_pressure_is_told_where() {
        let watches = Some(Unpausable::PressureWatch);
        check("A=b\0MEMORY_PRESSURE_WATCH=/run/pressure\0", watches);
        check("MEMORY_PRESSURE_WATCH=/proc/pressure/memory", watches);
        check("MEMORY_PRESSURE_WATCH=/dev/null\0", None);
        check("MEMORY_PRESSURE_WATCH=\0", None);
        check(
            "MEMORY_PRESSURE_WATCH=/dev/null\0MEMORY_PRESSURE_WATCH=/x\0",
            None,
        );
    }

    #[test]
    fn a_watch_inherited_from_another_unit_is_not_its_own() {
        let cgroup = |name: &str| format!("MEMORY_PRESSURE_WATCH=/cg/a.slice/{name}\0");
        let watches = Some(Unpausable::PressureWatch);
        check(&cgroup("train.service/memory.pressure"), watches);
        check(&cgroup("terminal.service/memory.pressure"), None);
        // Of a cgroup that is no unit nothing more is known.
        check(&cgroup("terminal.service/sub/memory.pressure"), watches);
    }

    #[test]
    fn a_watchdog_watches_the_process_it_names_or_all() {
        let watchdog = Some(Unpausable::Watchdog);
        check("WATCHDOG_USEC=30000000\0", watchdog);
        check("WATCHDOG_USEC=30000000\0WATCHDOG_PID=31\0", watchdog);
        check("WATCHDOG_PID=30\0WATCHDOG_USEC=30000000\0", None);
        check("WATCHDOG_USEC=0\0", None);
        check("WATCHDOG_USEC=\0", None);
        check("WATCHDOG_USEC=30000000\0WATCHDOG_PID=x\0", watchdog);
    }

    #[test]
    fn a_pty_master_is_known_wherever_its_file_is() {
        for link in ["/dev/ptmx", "/dev/pts/ptmx", "/srv/jail/dev/ptmx"] {
            assert!(is_pty_master(link.as_bytes()), "{link}");
        }
        for link in ["/dev/pts/3", "ptmx", "socket:[31]", "/dev/ptmx (deleted)"] {
            assert!(!is_pty_master(link.as_bytes()), "{link}");
        }
    }
}
