//! Metrics: on the control interface and in a file, read by Prometheus' own programs.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Daemon, Running, Stage, TOTAL_MIB, until};

const PLENTY: u64 = TOTAL_MIB / 2;
/// Below 5 % it kills at once.
const VERY_SHORT: u64 = 150;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn metrics(stage: &Stage) -> String {
    let mut command = Command::new(stage.program("user-oomctl"));
    command.arg("--socket").arg(stage.socket()).arg("metrics");
    let output = command.output().expect("it was built");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// Whether `program` is there; where it is not, the test is skipped.
#[expect(clippy::print_stdout, reason = "a skip says why")]
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: no {program}; `cargo xtask test` installs it as root");
    }
    found
}

/// A daemon that writes a file, under the umask of a service that is kept tight.
fn with_file(stage: &Stage) -> (Daemon, PathBuf) {
    let folder = stage.path("textfile");
    fs::create_dir(&folder).expect("the folder is ours");
    let file = folder.join("user-oom.prom");
    stage.set_available(PLENTY);
    let arguments = ["--metrics-file", file.to_str().expect("it is plain")];
    let daemon = stage.command(Path::new(env!("CARGO_BIN_EXE_user-oom")), &arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .env_remove("RUST_LOG");
    let daemon = Daemon::start(&mut command);
    until("it is written", || file.exists().then_some(()));
    (daemon, file)
}

/// What it says to `input`, having succeeded.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is there");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_control_interface_has_figures_in_open_metrics() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    let before = metrics(&stage);
    for line in [
        "# TYPE user_oom_memory_available_bytes gauge\n",
        "user_oom_memory_available_bytes 2097152000.0\n",
        "user_oom_memory_warn_threshold_bytes 419430400.0\n",
        "user_oom_level 0.0\n",
        "user_oom_registered_processes 1.0\n",
        "user_oom_kills_total 0\n",
        "user_oom_build_info{version=",
    ] {
        assert!(before.contains(line), "no `{line}` in {before}");
    }
    assert!(before.ends_with("# EOF\n"), "{before}");
    stage.set_available(VERY_SHORT);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    until("it is counted", || {
        metrics(&stage)
            .contains("user_oom_kills_total 1\n")
            .then_some(())
    });
}

#[test]
fn the_file_is_written_whole_for_all_to_read_and_removed_at_the_end() {
    let stage = Stage::new();
    let (daemon, file) = with_file(&stage);
    let text = fs::read_to_string(&file).expect("it is there");
    assert!(text.contains("\nuser_oom_level 0"), "{text}");
    assert!(!text.contains("# EOF") && text.ends_with('\n'), "{text}");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    daemon.end_by(Signal::SIGTERM);
    let folder = file.parent().expect("it is in one");
    assert_eq!(fs::read_dir(folder).expect("it is there").count(), 0);
}

#[test]
fn that_the_file_cannot_be_written_is_said_and_it_guards_all_the_same() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let file = stage.path("no-such-folder/user-oom.prom");
    let mut daemon = stage.daemon(&["--metrics-file", file.to_str().expect("it is plain")]);
    daemon.line_with("cannot write the metrics to");
    assert!(metrics(&stage).contains("user_oom_level 0"));
}

#[test]
fn promtool_and_node_exporter_read_the_file() {
    if !is_there("promtool") || !is_there("prometheus-node-exporter") {
        return;
    }
    let stage = Stage::new();
    let (_daemon, file) = with_file(&stage);
    let text = fs::read_to_string(&file).expect("it is there");
    let said = promtool(&["check", "metrics"], &text);
    assert!(said.is_empty(), "{said}");

    let mut exporter = Command::new("prometheus-node-exporter");
    exporter
        .args(["--collector.disable-defaults", "--collector.textfile"])
        .arg("--collector.textfile.directory")
        .arg(file.parent().expect("it is in one"))
        .args(["--web.listen-address", "127.0.0.1:0"]);
    let mut exporter = Running::start(&mut exporter);
    let line = exporter.line_with("msg=\"Listening on\"");
    let (_, address) = line.split_once("address=").expect("it says where");
    let mut stream = TcpStream::connect(address.trim()).expect("it listens");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("it is a socket");
    let get = "GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(get.as_bytes()).expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    for line in [
        "\nnode_textfile_scrape_error 0\n",
        "\nuser_oom_memory_available_bytes 2.097152e+09\n",
        "\n# TYPE user_oom_kills_total counter\n",
    ] {
        assert!(page.contains(line), "no `{line}` in {page}");
    }
}

#[test]
fn the_alerts_come_when_they_should() {
    if !is_there("promtool") {
        return;
    }
    let rules = project("dist/prometheus/user-oom.rules.yml");
    let rules = rules.to_str().expect("it is plain");
    promtool(&["check", "rules", rules], "");
    let stage = Stage::new();
    let tests = include_str!("rules.test.yml").replace("RULES", rules);
    stage.replace("rules.test.yml", &tests);
    let tests = stage.path("rules.test.yml");
    promtool(&["test", "rules", tests.to_str().expect("it is plain")], "");
}

#[test]
fn rules_dashboard_and_documentation_name_metrics_that_there_are() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let there = metrics(&stage);
    for path in [
        "dist/prometheus/user-oom.rules.yml",
        "dist/grafana/user-oom.json",
        "docs/monitoring.md",
    ] {
        let text = fs::read_to_string(project(path)).expect("it is there");
        let word = |char: char| !(char.is_ascii_lowercase() || char == '_');
        let names = text.split(word).filter(|it| it.starts_with("user_oom_"));
        let mut count = 0;
        for name in names {
            // That one is there only while memory falls.
            let is_told =
                there.contains(&format!("\n{name} ")) || there.contains(&format!("\n{name}{{"));
            assert!(
                is_told || name == "user_oom_memory_full_in_seconds",
                "{path}: {name}"
            );
            count += 1;
        }
        assert!(count > 5, "{path}");
    }
}
