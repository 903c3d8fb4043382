//! What would suffer if a process were paused: what the process itself tells of
//! that, in its environment and by what it has open.

use model::Unpausable;

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
    /// this pid, as itself sees it. `watches`: whether it has a file of the kernel's
    /// open that tells of memory pressure.
    pub(crate) fn forbids<E>(
        &self,
        has_pid: impl FnOnce(u32) -> bool,
        watches: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Option<Unpausable>, E> {
        // Systemd tells every service where it could watch, and what a service starts
        // inherits that: a terminal's shells and all their jobs. Few do.
        let is_watching = match self.pressure_watch {
            None | Some(b"" | b"/dev/null") => false,
            Some(path) => !tells_of_pressure(path) || watches()?,
        };
        // A watchdog's variables are the main process's alone: sd_watchdog_enabled(3).
        let is_watched = |pid: &[u8]| {
            let pid = str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
            pid.is_none_or(has_pid)
        };
        let forbids = if is_watching {
            Some(Unpausable::PressureWatch)
        } else if self.watchdog_usec.is_some_and(|usec| !is_zero(usec))
            && self.watchdog_pid.is_none_or(is_watched)
        {
            Some(Unpausable::Watchdog)
        } else {
            None
        };
        Ok(forbids)
    }
}

/// Nothing, or 0: no watchdog.
fn is_zero(number: &[u8]) -> bool {
    number.iter().all(|digit| *digit == b'0')
}

/// Whether this is the kernel's file of memory pressure, of a cgroup or of the machine,
/// wherever its file system is mounted. (Anything else is a service manager's own:
/// whether a socket is used cannot be seen.)
pub(crate) fn tells_of_pressure(path: &[u8]) -> bool {
    path.ends_with(b"/memory.pressure") || path.ends_with(b"/pressure/memory")
}

/// Whether the link of an open file is that of a pty master: `/dev/ptmx`, or
/// `/dev/pts/ptmx` where that is mounted anew, in a container or a chroot too.
pub(crate) fn is_pty_master(link: &[u8]) -> bool {
    link.first() == Some(&b'/') && link.ends_with(b"/ptmx")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of process 31, which has no file of memory pressure open, or has one.
    #[track_caller]
    fn check_where(watches: bool, text: &str, want: Option<Unpausable>) {
        let environment = Environment::parse(text.as_bytes());
        let found = environment.forbids(|pid| pid == 31, || Ok::<_, ()>(watches));
        assert_eq!(found, Ok(want), "{text:?}");
    }

    #[track_caller]
    fn check(text: &str, want: Option<Unpausable>) {
        check_where(false, text, want);
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
        check("MEMORY_PRESSURE_WATCH=/dev/null\0", None);
        check("MEMORY_PRESSURE_WATCH=\0", None);
        check(
            "MEMORY_PRESSURE_WATCH=/dev/null\0MEMORY_PRESSURE_WATCH=/x\0",
            None,
        );
    }

    #[test]
    fn what_is_told_where_to_watch_and_does_not_may_be_paused() {
        let watches = Some(Unpausable::PressureWatch);
        for path in [
            "/cg/a.slice/train.service/memory.pressure",
            "/proc/pressure/memory",
        ] {
            let told = format!("MEMORY_PRESSURE_WATCH={path}\0");
            check(&told, None);
            check_where(true, &told, watches);
        }
        check_where(true, "MEMORY_PRESSURE_WATCH=/dev/null\0", None);
        check_where(true, "", None);
        let unread = Environment::parse(b"MEMORY_PRESSURE_WATCH=/proc/pressure/memory\0");
        assert_eq!(unread.forbids(|_| false, || Err(())), Err(()));
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
