//! What a session or the machine cannot be used without, and how much memory
//! that takes.
//!
//! A program is known by its executable, which a user who runs it can fill with
//! anything (`LD_PRELOAD`). So it is critical only while it holds less than
//! such a program needs: [`critical_below_bytes`]. And what the programs of one
//! user may hold, they may hold together, or many would take what one cannot:
//! [`Critical`]. `docs/protection.md` says how the allowances were measured.

use model::Process;

use crate::buffer::{at, reserve_to};

const MIB: u64 = 1 << 20;

/// Each list of programs, with the allowance of each program in it.
const PROGRAMS: &[(u64, &[&[u8]])] = &[
    (DAEMON_BYTES, DAEMONS),
    (512 * MIB, DISPLAYS),
    (2048 * MIB, SHELLS),
];

const DAEMON_BYTES: u64 = 64 * MIB;

/// The allowance of a process that hides its executable from us: what does that
/// (`PR_SET_DUMPABLE`, as sshd-session, ssh-agent and polkit's agent do) has
/// secrets and is small.
pub const HIDDEN_BELOW_BYTES: u64 = DAEMON_BYTES;

/// Programs whose end takes a session, every login, or the machine with it, and
/// that need little themselves.
const DAEMONS: &[&[u8]] = &[
    // The first process and its kin.
    b"init",
    b"openrc-init",
    b"runit",
    b"runsvdir",
    b"s6-svscan",
    b"systemd",
    b"upstart",
    b"systemd-executor",
    b"systemd-journald",
    b"systemd-logind",
    b"systemd-machined",
    b"systemd-networkd",
    b"systemd-resolved",
    b"systemd-udevd",
    b"systemd-userdbd",
    b"systemd-userwork",
    b"udevd",
    b"elogind",
    b"seatd",
    b"launchd",
    // The bus.
    b"dbus-broker",
    b"dbus-broker-launch",
    b"dbus-daemon",
    // Logins.
    b"agetty",
    b"dropbear",
    b"fgetty",
    b"getty",
    b"login",
    b"mingetty",
    b"sshd",
    b"sshd-auth",
    b"sshd-session",
    // Display managers.
    b"gdm",
    b"gdm-session-worker",
    b"gdm-wayland-session",
    b"gdm-x-session",
    b"gdm3",
    b"greetd",
    b"kdm",
    b"lightdm",
    b"lxdm",
    b"ly",
    b"plasmalogin",
    b"sddm",
    b"sddm-helper",
    b"slim",
    b"xdm",
    b"Xwrapper",
    // What starts a desktop and holds it together.
    b"cinnamon-session",
    b"cosmic-session",
    b"gnome-session-binary",
    b"gnome-session-service",
    b"kwin_wayland_wrapper",
    b"lxqt-session",
    b"lxsession",
    b"mate-session",
    b"plasma_session",
    b"startplasma-wayland",
    b"startplasma-x11",
    b"xfce4-session",
];

/// What draws the windows, and holds their pictures.
const DISPLAYS: &[&[u8]] = &[
    // Display servers.
    b"X",
    b"Xorg",
    b"Xwayland",
    // Compositors and window managers.
    b"Hyprland",
    b"awesome",
    b"bspwm",
    b"cage",
    b"fluxbox",
    b"i3",
    b"icewm",
    b"labwc",
    b"marco",
    b"metacity",
    b"niri",
    b"openbox",
    b"phoc",
    b"river",
    b"sway",
    b"wayfire",
    b"weston",
    b"xfwm4",
    b"xmonad",
];

/// Desktops: compositors with a shell in them, written in a language with a
/// heap of its own.
const SHELLS: &[&[u8]] = &[
    b"cinnamon",
    b"cosmic-comp",
    b"enlightenment",
    b"gala",
    b"gnome-kiosk",
    b"gnome-shell",
    b"kwin",
    b"kwin_wayland",
    b"kwin_x11",
    b"muffin",
    b"mutter",
    b"plasmashell",
];

/// Where packages and administrators install; only root can write there.
const SYSTEM_DIRECTORIES: &[&[u8]] = &[
    b"/bin/",
    b"/gnu/store/",
    b"/lib/",
    b"/lib64/",
    b"/nix/store/",
    b"/sbin/",
    b"/usr/",
];

/// The memory in bytes below which the program at `executable`, the target of
/// `/proc/<pid>/exe`, is session-critical; 0 for one that is not: a session or
/// the machine can be used without it. Critical are systemd, the message bus,
/// sshd, login, a display server or manager, a compositor.
///
/// The path must be in a directory of the system, and `owned_by_root` say that
/// the file is root's: a name that a process gives itself, or a program that a
/// user calls `sshd`, protects nothing. The mark that the kernel puts after the
/// path of a file replaced meanwhile (` (deleted)`, proc_pid_exe(5)) is looked
/// past, or an upgrade would make every running daemon unknown.
#[must_use]
pub fn critical_below_bytes(executable: &[u8], owned_by_root: bool) -> u64 {
    let path = executable.strip_suffix(b" (deleted)").unwrap_or(executable);
    let in_system = SYSTEM_DIRECTORIES
        .iter()
        .any(|directory| path.starts_with(directory));
    if !(owned_by_root && in_system) {
        return 0;
    }
    let program = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    // NixOS starts programs through wrappers that rename them.
    let program = program
        .strip_prefix(b".")
        .and_then(|program| program.strip_suffix(b"-wrapped"))
        .unwrap_or(program);
    PROGRAMS
        .iter()
        .find(|(_, programs)| programs.contains(&program))
        .map_or(0, |(bytes, _)| *bytes)
}

/// Which processes are critical now, in buffers kept from one snapshot to the
/// next.
#[derive(Debug, Default)]
pub(crate) struct Critical {
    /// Per process.
    is_critical: Vec<bool>,
    /// Those that are within their own allowance: by user, allowance and size.
    order: Vec<u32>,
}

impl Critical {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.is_critical, processes);
        reserve_to(&mut self.order, processes);
    }

    /// Whether the process at `index` of the snapshot last weighed is critical.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.is_critical[at(index)]
    }

    /// Weighs each process against its allowance. Those of one user and one
    /// allowance share it, the smallest first; root's have one each.
    pub(crate) fn weigh(&mut self, processes: &[Process]) {
        self.is_critical.clear();
        self.is_critical.resize(processes.len(), false);
        self.order.clear();
        for (index, process) in (0..).zip(processes) {
            if process.held_bytes() < process.dossier.critical_below_bytes {
                self.order.push(index);
            }
        }
        self.order.sort_unstable_by_key(|index| {
            let process = &processes[at(*index)];
            (
                process.uid,
                process.dossier.critical_below_bytes,
                process.held_bytes(),
            )
        });
        let mut sharers = (0, 0);
        let mut sum_bytes: u64 = 0;
        for &index in &self.order {
            let process = &processes[at(index)];
            let below_bytes = process.dossier.critical_below_bytes;
            if process.uid == 0 || sharers != (process.uid, below_bytes) {
                sharers = (process.uid, below_bytes);
                sum_bytes = 0;
            }
            sum_bytes = sum_bytes.saturating_add(process.held_bytes());
            self.is_critical[at(index)] = sum_bytes < below_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(executable: &str, owned_by_root: bool, want: bool) {
        let below_bytes = critical_below_bytes(executable.as_bytes(), owned_by_root);
        assert_eq!(below_bytes > 0, want, "{below_bytes}");
    }

    #[test]
    fn a_program_is_allowed_what_its_kind_needs() {
        let allowed = |executable: &str| critical_below_bytes(executable.as_bytes(), true);
        assert_eq!(allowed("/usr/bin/dbus-daemon"), 64 * MIB);
        assert_eq!(allowed("/usr/lib/xorg/Xorg"), 512 * MIB);
        assert_eq!(allowed("/usr/bin/gnome-shell"), 2048 * MIB);
        assert_eq!(allowed("/usr/bin/python3"), 0);
    }

    #[test]
    fn what_a_session_needs_is_critical_wherever_a_distribution_puts_it() {
        check("/usr/lib/systemd/systemd", true, true);
        check("/lib/systemd/systemd-logind", true, true);
        check("/usr/bin/dbus-broker-launch", true, true);
        check("/usr/sbin/sshd", true, true);
        check("/usr/lib/openssh/sshd-session", true, true);
        check("/usr/libexec/gdm-session-worker", true, true);
        check("/usr/lib/xorg/Xorg", true, true);
        check("/bin/login", true, true);
        check(
            "/nix/store/abc-gnome-shell-48/bin/.gnome-shell-wrapped",
            true,
            true,
        );
        check("/usr/local/bin/sway", true, true);
    }

    #[test]
    fn a_daemon_whose_file_was_upgraded_stays_critical() {
        check("/usr/sbin/sshd (deleted)", true, true);
    }

    #[test]
    fn a_name_alone_protects_nothing() {
        check("/home/eve/sshd", true, false);
        check("/tmp/usr/sbin/sshd", true, false);
        check("/usr/sbin/sshd", false, false);
        check("sshd", true, false);
        check("", true, false);
        check("/usr/bin/", true, false);
    }

    #[test]
    fn ordinary_programs_are_not_critical() {
        check("/usr/bin/bash", true, false);
        check("/usr/bin/python3.13", true, false);
        check("/usr/sbin/sshd-keygen", true, false);
    }
}
