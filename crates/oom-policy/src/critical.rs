//! What a session or the machine cannot be used without.

/// Programs whose end takes a session, every login, or the machine with it.
const PROGRAMS: &[&[u8]] = &[
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
    // Display servers.
    b"X",
    b"Xorg",
    b"Xwayland",
    b"Xwrapper",
    // Compositors, window managers and what holds a session together.
    b"Hyprland",
    b"awesome",
    b"bspwm",
    b"cage",
    b"cinnamon",
    b"cinnamon-session",
    b"cosmic-comp",
    b"cosmic-session",
    b"enlightenment",
    b"fluxbox",
    b"gala",
    b"gnome-kiosk",
    b"gnome-session-binary",
    b"gnome-session-service",
    b"gnome-shell",
    b"i3",
    b"icewm",
    b"kwin",
    b"kwin_wayland",
    b"kwin_wayland_wrapper",
    b"kwin_x11",
    b"labwc",
    b"lxqt-session",
    b"lxsession",
    b"marco",
    b"mate-session",
    b"metacity",
    b"muffin",
    b"mutter",
    b"niri",
    b"openbox",
    b"phoc",
    b"plasma_session",
    b"plasmashell",
    b"river",
    b"startplasma-wayland",
    b"startplasma-x11",
    b"sway",
    b"wayfire",
    b"weston",
    b"xfce4-session",
    b"xfwm4",
    b"xmonad",
];

/// Where packages and administrators install; nobody else can write there.
const SYSTEM_DIRECTORIES: &[&[u8]] = &[
    b"/bin/",
    b"/gnu/store/",
    b"/lib/",
    b"/lib64/",
    b"/nix/store/",
    b"/sbin/",
    b"/usr/",
];

/// Whether a session or the machine cannot be used without the program at
/// `executable`, the target of `/proc/<pid>/exe`: systemd, the message bus,
/// sshd, login, a display server or manager, a compositor.
///
/// The path must be in a directory of the system, and `owned_by_root` say that
/// the file is root's: a name that a process gives itself, or a program that a
/// user calls `sshd`, protects nobody. The mark that the kernel puts after the
/// path of a file replaced meanwhile (` (deleted)`, proc_pid_exe(5)) is looked
/// past, or an upgrade would make every running daemon unknown.
#[must_use]
pub fn is_session_critical(executable: &[u8], owned_by_root: bool) -> bool {
    let path = executable.strip_suffix(b" (deleted)").unwrap_or(executable);
    let in_system = SYSTEM_DIRECTORIES
        .iter()
        .any(|directory| path.starts_with(directory));
    let program = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    // NixOS starts programs through wrappers that rename them.
    let program = program
        .strip_prefix(b".")
        .and_then(|program| program.strip_suffix(b"-wrapped"))
        .unwrap_or(program);
    owned_by_root && in_system && PROGRAMS.contains(&program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(executable: &str, owned_by_root: bool, want: bool) {
        assert_eq!(
            is_session_critical(executable.as_bytes(), owned_by_root),
            want
        );
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
    fn a_name_alone_protects_nobody() {
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
