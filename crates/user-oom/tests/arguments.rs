//! Command lines: what people type, and what they have in
//! `/etc/default/earlyoom`, by the built daemon.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Daemon, Stage, TOTAL_MIB};

/// The daemon with `arguments` on `stage`, and nothing else that it is told.
fn daemon(stage: &Stage, arguments: &[&str]) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    stage
        .set(&mut command)
        .arg("--registered-only")
        .args(arguments);
    Daemon::start(&mut command)
}

/// Starts it, waits for `line` and ends it.
#[track_caller]
fn accepts(arguments: &[&str], line: &str) {
    let stage = Stage::new();
    let mut daemon = daemon(&stage, arguments);
    // The last line of its introduction; the two streams come in any order.
    daemon.line_with("  socket");
    daemon.says(line);
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{status}: {heard:#?}");
}

fn output(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_user-oom"))
        .args(arguments)
        .output()
        .expect("it was built")
}

/// It is not started, for the reason given.
#[track_caller]
fn refuses(arguments: &[&str], why: &str) {
    let stage = Stage::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    let output = stage.set(&mut command).args(arguments).output();
    let output = output.expect("it was built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
}

#[test]
fn a_cap_that_is_no_value_is_refused_with_what_would_be_right() {
    for cap in [
        "",
        "-1",
        "-0",
        "+8",
        "0x10",
        "1e9",
        "nan",
        "5,",
        "1000001",
        "99999999999",
    ] {
        let why = format!("`{cap}` is not a value (expected a whole number, 0 to 1000000)");
        refuses(&["--user-value-cap", cap], &why);
    }
}

mod earlyooms_lines {
    use super::*;

    #[test]
    fn r_m() {
        accepts(
            &["-r", "15", "-m", "20,15"],
            "SIGTERM at 800 MiB (20.00 %), SIGKILL at 600 MiB (15.00 %)",
        );
    }

    #[test]
    fn debians_default() {
        accepts(&["-r", "3600"], "SIGTERM at 400 MiB (10.00 %)");
    }

    #[test]
    fn fedoras_default() {
        accepts(
            &[
                "-r",
                "0",
                "-m",
                "4",
                "-M",
                "409600",
                "--prefer",
                "^(Web Content|Isolated Web Co)$",
                "--avoid",
                "^(dnf|packagekitd|gnome-shell|gnome-session-c|Xorg|systemd|dbus-broker)$",
            ],
            // 4 % of 4000 MiB, which is below 400.
            "SIGTERM at 160 MiB (4.00 %), SIGKILL at 80 MiB (2.00 %)",
        );
    }

    #[test]
    fn m_with_a_lower_size() {
        accepts(&["-m", "4", "-M", "102400"], "SIGTERM at 100 MiB (2.50 %)");
    }

    #[test]
    fn s_with_a_lower_size() {
        let stage = Stage::new();
        let meminfo = fs::read_to_string(stage.path("meminfo")).unwrap();
        let kib = TOTAL_MIB << 10;
        let meminfo = meminfo
            .replace("SwapTotal: 0", &format!("SwapTotal: {kib}"))
            .replace("SwapFree: 0", &format!("SwapFree: {kib}"));
        fs::write(stage.path("meminfo"), meminfo).unwrap();
        let mut daemon = daemon(&stage, &["-s", "10", "-S", "102400,51200"]);
        daemon.line_with("and swap    SIGTERM at 100 MiB (2.50 %), SIGKILL at 50 MiB (1.25 %)");
    }

    #[test]
    fn s_that_ignores_swap() {
        accepts(&["-s", "100"], "SIGTERM at 400 MiB (10.00 %)");
    }

    #[test]
    fn p() {
        accepts(&["-p"], "`-p` has no effect");
    }

    #[test]
    fn k() {
        accepts(&["-k"], "`-k` has no effect");
    }

    #[test]
    fn i() {
        accepts(&["-i"], "`-i` has no effect");
    }

    #[test]
    fn sort_by_rss() {
        accepts(&["--sort-by-rss"], "the choice is by value");
    }

    #[test]
    fn g() {
        accepts(&["-g"], "socket");
    }

    #[test]
    fn dryrun_debug() {
        accepts(&["--dryrun", "--debug"], "dry run: no signal is sent");
    }

    #[test]
    fn kernel_oom() {
        refuses(&["--kernel-oom"], "psi-monitor --action sysrq");
    }

    #[test]
    fn v_and_h() {
        for letter in ["-v", "-V", "--version"] {
            let said = output(&[letter]);
            assert!(said.status.success());
            assert!(said.stdout.starts_with(b"user-oom "), "{said:?}");
        }
        for word in ["-h", "--help"] {
            let said = output(&[word]);
            assert!(said.status.success());
            let text = String::from_utf8(said.stdout).unwrap();
            assert!(text.contains("Usage: user-oom"), "{text}");
        }
    }

    #[test]
    fn n() {
        if Command::new("dbus-daemon")
            .arg("--version")
            .output()
            .is_err()
        {
            eprintln!("skipped: there is no dbus-daemon to carry a notification");
            return;
        }
        let stage = Stage::new();
        let address = format!("unix:path={}", stage.path("bus").display());
        let mut bus = Daemon::start(
            Command::new("dbus-daemon")
                .args(["--session", "--nofork", "--nopidfile", "--print-address"])
                .arg(format!("--address={address}")),
        );
        bus.line_with(&address);
        let mut monitor = Daemon::start(
            Command::new("stdbuf")
                .args(["-oL", "dbus-monitor", "--address", &address])
                .arg("type='signal'"),
        );
        // It hears everything once it is not an ordinary peer any more.
        monitor.line_with("NameLost");

        let program = std::path::Path::new(env!("CARGO_BIN_EXE_user-oom"));
        let mut command = stage.command(program, &["-n", "--grace", "0.1"]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &address);
        let mut daemon = Daemon::start(&mut command);
        let process = stage.process(1);
        daemon.line_with("is registered");
        stage.set_available(350);
        monitor.line_with("interface=net.nuetzlich.SystemNotifications; member=Notify");
        monitor.line_with("string \"user-oom\"");
        let pid = process.pid();
        monitor.line_with(&format!("\"Low memory! Killing process {pid} test_proc1\""));
    }

    #[test]
    fn n_without_dbus() {
        let stage = Stage::new();
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_user-oom"));
        let mut command = stage.command(program, &["-n"]);
        command.env("PATH", stage.path("empty"));
        let mut daemon = Daemon::start(&mut command);
        daemon.says("`-n` has no effect: dbus-send is not in PATH");
        daemon.says("  socket");
    }

    #[test]
    fn syslog() {
        let stage = Stage::new();
        let path = stage.path("log");
        let log = UnixDatagram::bind(&path).unwrap();
        log.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut daemon = stage.daemon(&[
            &format!("--syslog={}", path.display()),
            "--grace",
            "0.1",
            "-p",
        ]);
        let pid = daemon.pid();
        // Notes and introduction come in either order.
        let mut heard: Vec<String> = Vec::new();
        let mut line_with = |text: &str| {
            let mut buffer = [0; 1000];
            loop {
                if let Some(found) = heard.iter().position(|line| line.contains(text)) {
                    return heard.remove(found);
                }
                let len = log.recv(&mut buffer).unwrap();
                let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
                assert!(line.contains(&format!("user-oom[{pid}]: ")), "{line}");
                heard.push(line);
            }
        };
        let logged = line_with("`-p` has no effect");
        assert!(logged.starts_with("<30>"), "{logged}");
        line_with("  socket");
        let process = stage.process(1);
        line_with("is registered");
        stage.set_available(350);
        line_with(&format!(
            "kill pid={} signal=SIGTERM name=test_proc1",
            process.pid()
        ));
        assert!(daemon.is_running());
        let (status, heard) = daemon.end_by(Signal::SIGTERM);
        assert!(status.success());
        assert_eq!(heard, [""; 0], "nothing goes to the terminal");
    }

    #[test]
    fn syslog_without_a_log_daemon() {
        accepts(
            &["--syslog=/nonexistent/log"],
            "no log daemon listens at `/nonexistent/log`",
        );
    }

    #[test]
    fn ignore_root_user() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root's daemon has processes of root's to leave alone");
            return;
        }
        let stage = Stage::new();
        let mut daemon = stage.daemon(&["--ignore-root-user"]);
        let mut process = stage.process(1);
        daemon.line_with("is registered");
        stage.set_available(100);
        daemon.line_with("no kill: ");
        assert!(process.lives());
    }
}

mod sizes {
    use super::*;

    #[test]
    fn one_without_its_suffix_is_refused_with_the_one_that_was_meant() {
        refuses(&["-M", "500"], "did you mean `500M`?");
        refuses(&["-S", "500"], "did you mean `500M`?");
        refuses(&["-M", "2048"], "give at least 4 MiB");
    }
}

mod hooks {
    use super::*;

    #[test]
    fn one_that_cannot_run_or_that_others_can_change_is_refused() {
        let stage = Stage::new();
        refuses(&["-P", "/nonexistent"], "No such file");
        refuses(&["-N", "notify.sh"], "give an absolute path");
        let script = stage.path("hook.sh");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o777)).unwrap();
        let path = script.to_str().unwrap();
        refuses(&["-P", path], "chmod go-w");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
        refuses(&["-N", path], "chmod +x");
    }
}

mod patterns {
    use super::*;

    #[test]
    fn one_that_matches_nothing_is_named_with_a_reason() {
        accepts(
            &["--ignore", "train.py"],
            "`--ignore train.py` matches no running process: a script started as \
             `python3 train.py` has the name `python3`",
        );
        accepts(
            &["--prefer", "/opt/no-such-program/bin/program"],
            "a name is without directories and at most 15 bytes long: try `^program$`",
        );
    }

    #[test]
    fn one_that_matches_every_name_is_refused() {
        for option in ["--ignore", "--avoid", "--prefer"] {
            for pattern in ["", ".*", "postgres|"] {
                refuses(&[option, pattern], "matches every name");
            }
        }
    }

    #[test]
    fn names_are_text_and_what_is_protected_is_said() {
        let stage = Stage::new();
        let copy = stage.copy("test_proc1", "微信");
        let mut command = Command::new(copy);
        command
            .args(["--max-mib", "200", "--rate-mib-s", "2000", "--value", "1"])
            .arg("--registry")
            .arg(stage.registry());
        let mut process = support::Process::start(&mut command);
        let mut daemon = stage.daemon(&["-d", "--ignore", "^微信$"]);
        daemon.line_with(&format!("`--ignore ^微信$` applies to {}", process.pid()));
        stage.set_available(100);
        daemon.line_with("no kill: ");
        assert!(process.lives());
    }
}
