//! What users and their programs are told over D-Bus and on terminals.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};
use support::{Daemon, Process, Running, Stage, TOTAL_MIB, until};
use zbus::blocking::{Connection, connection};
use zbus::zvariant::OwnedValue;

const PLENTY: u64 = TOTAL_MIB / 2;
const SHORT: u64 = 350;
/// A user without a name here; root has no desktop.
const USER: u32 = 65_534;

/// Whether this can be tried here; says why not.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn can_be_tried() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return false;
    }
    let found = Command::new("dbus-daemon").arg("--version").output();
    if found.is_err() {
        println!("skipped: there is no dbus-daemon; install package dbus");
    }
    found.is_ok()
}

/// A bus that any user may connect to, and its address.
fn bus(stage: &Stage) -> (Daemon, String) {
    let address = format!("unix:path={}", stage.path("bus").display());
    let configuration = format!(
        "<busconfig><type>session</type><listen>{address}</listen>\
         <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
         <allow send_destination=\"*\"/><allow send_type=\"signal\"/>\
         <allow eavesdrop=\"true\"/></policy></busconfig>"
    );
    let path = stage.path("bus.conf");
    fs::write(&path, configuration).expect("the folder is ours");
    let mut bus = Daemon::start(
        Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--config-file={}", path.display())),
    );
    bus.line_with(&address);
    (bus, address)
}

fn connect(address: &str) -> connection::Builder<'_> {
    connection::Builder::address(address).expect("it is an address")
}

/// What a desktop was asked to show: which of its notifications that replaces, what
/// it says, and its buttons.
type Shown = (u32, String, String, Vec<String>);

/// A desktop that numbers its notifications from 1.
struct DesktopStub {
    shown: Sender<Shown>,
    count: u32,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl DesktopStub {
    fn get_capabilities(&self) -> Vec<String> {
        ["body", "actions"].map(str::to_owned).to_vec()
    }

    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &mut self,
        _app_name: &str,
        replaces_id: u32,
        _app_icon: &str,
        summary: &str,
        body: &str,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _expire_timeout: i32,
    ) -> u32 {
        let shown = (replaces_id, summary.to_owned(), body.to_owned(), actions);
        self.shown.send(shown).expect("the test waits for it");
        if replaces_id != 0 {
            return replaces_id;
        }
        self.count += 1;
        self.count
    }
}

fn desktop(address: &str) -> (Connection, Receiver<Shown>) {
    let (shown, heard) = mpsc::channel();
    let stub = DesktopStub { shown, count: 0 };
    let served = connect(address)
        .name("org.freedesktop.Notifications")
        .and_then(|builder| builder.serve_at("/org/freedesktop/Notifications", stub))
        .and_then(connection::Builder::build);
    (served.expect("it is a bus"), heard)
}

/// A process of [`USER`]'s, with an entry of theirs.
fn theirs(stage: &Stage, daemon: &mut Daemon) -> Process {
    fs::set_permissions(stage.registry(), Permissions::from_mode(0o1777)).expect("ours");
    let process = stage.process_of(5, Some(USER));
    let entry = stage.entry(process.pid());
    fs::write(&entry, "5\n").expect("the registry is ours");
    std::os::unix::fs::chown(&entry, Some(USER), Some(USER)).expect("root may");
    daemon.line_with(&format!("process {} is registered", process.pid()));
    process
}

/// `user-oomctl notify` as `uid`, which hears what happens.
fn notify(stage: &Stage, uid: u32, address: &str) -> Running {
    let mut command = Command::new(stage.copy("user-oomctl", "user-oomctl"));
    command
        .args(["--socket".as_ref(), stage.socket().as_os_str()])
        .arg("notify")
        .env("DBUS_SESSION_BUS_ADDRESS", address)
        .uid(uid)
        .gid(uid);
    Running::start(&mut command)
}

#[test]
fn a_desktop_shows_its_users_what_is_done_and_a_button_keeps_a_process() {
    if !can_be_tried() {
        return;
    }
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["--grace", "60"]);
    let process = theirs(&stage, &mut daemon);
    let (_bus, address) = bus(&stage);
    let (desktop, shown) = desktop(&address);
    let mut notifier = notify(&stage, USER, &address);
    notifier.line_with("desktop notifications");

    stage.set_available(SHORT);
    let (replaces, summary, body, buttons) = shown.recv().expect("it is shown");
    assert_eq!(replaces, 0);
    assert_eq!(summary, "test_proc1 was asked to exit: low memory (warn)");
    assert!(body.starts_with("It has value 5 and held 2"), "{body}");
    assert_eq!(buttons, [""; 0], "it is too late to keep it");

    let pressed = desktop.emit_signal(
        None::<&str>,
        "/org/freedesktop/Notifications",
        "org.freedesktop.Notifications",
        "ActionInvoked",
        &(1_u32, "keep"),
    );
    pressed.expect("it is a bus");
    let (replaces, summary, ..) = shown.recv().expect("it is shown");
    let pid = process.pid();
    assert_eq!(replaces, 1);
    assert_eq!(summary, format!("Process {pid} has a value of 1000 now"));
    let entry = fs::read_to_string(stage.entry(pid)).expect("it is there");
    assert_eq!(entry, "1000\n");
}

#[test]
fn without_a_desktop_terminals_that_take_messages_are_told() {
    if !can_be_tried() {
        return;
    }
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["--grace", "60"]);
    let _process = theirs(&stage, &mut daemon);
    let [mut takes, mut silent] = [0o620, 0o600].map(terminal);
    let mut notifier = notify(&stage, USER, "unix:path=/nonexistent");
    notifier.line_with("notices go to your terminals: cannot find a desktop on the session bus");

    stage.set_available(SHORT);
    let mut told = Vec::new();
    until("the terminal is told", || {
        read_what_is_there(&mut takes.0, &mut told);
        let told = String::from_utf8_lossy(&told);
        let want = "user-oom: test_proc1 was asked to exit: low memory (warn). It has value 5";
        told.contains(want).then_some(())
    });
    let mut told = Vec::new();
    read_what_is_there(&mut silent.0, &mut told);
    assert!(told.is_empty(), "{told:?}");
}

/// A terminal of [`USER`]'s: our end, and theirs.
fn terminal(mode: u32) -> (fs::File, OwnedFd) {
    let pty = nix::pty::openpty(None, None).expect("there are terminals");
    let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
    fchown(pty.slave.as_fd(), Some(uid), Some(gid)).expect("root may");
    fchmod(pty.slave.as_fd(), Mode::from_bits_truncate(mode)).expect("root may");
    rustix::io::ioctl_fionbio(pty.master.as_fd(), true).expect("it is a terminal");
    (fs::File::from(pty.master), pty.slave)
}

fn read_what_is_there(terminal: &mut fs::File, into: &mut Vec<u8>) {
    // Nothing there is an error, after what was.
    let _ = terminal.read_to_end(into);
}

#[test]
fn programs_are_warned_that_memory_is_low() {
    if !can_be_tried() {
        return;
    }
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["--grace", "60"]);
    daemon.line_with("socket");
    let (_bus, address) = bus(&stage);
    let mut listener = Daemon::start(
        Command::new("stdbuf")
            .args(["-oL", "dbus-monitor", "--address", &address])
            .arg("type='signal',interface='org.freedesktop.LowMemoryMonitor'"),
    );
    // It hears everything once it is not an ordinary peer any more.
    listener.line_with("NameLost");
    let start = || {
        let mut command = Command::new(stage.program("user-oomctl"));
        command
            .args(["--socket".as_ref(), stage.socket().as_os_str()])
            .arg("low-memory-monitor")
            .env("DBUS_SYSTEM_BUS_ADDRESS", &address);
        Running::start(&mut command)
    };
    let mut monitor = start();
    monitor.line_with("org.freedesktop.LowMemoryMonitor is on the system bus");
    let mut second = start();
    second.line_with("cannot be org.freedesktop.LowMemoryMonitor on the system bus");

    stage.set_available(SHORT);
    listener.line_with("member=LowMemoryWarning");
    listener.line_with("byte 100");
    stage.set_available(SHORT / 3);
    listener.line_with("byte 255");
}
