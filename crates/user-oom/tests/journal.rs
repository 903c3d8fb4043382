//! The journal of the built daemon: what it was told, and the same decisions made
//! of it once more.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use support::{Daemon, Stage, TOTAL_MIB};

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT_OF_ONE: u64 = 350;
const PLENTY: u64 = 2000;

/// The journal's files, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("ours").path()).collect();
    files.sort();
    files
}

fn replay(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    let output = command.arg("--replay").arg(path).output();
    output.expect("it was built")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A daemon with a journal kills one of three; the journal's folder.
fn recorded(stage: &Stage, arguments: &[&str]) -> (PathBuf, u32) {
    let folder = stage.path("journal");
    let mut all = vec!["--journal", folder.to_str().expect("plain"), "--grace", "1"];
    all.extend(arguments);
    let mut daemon = stage.daemon(&all);
    let [nine, five, one] = [9, 5, 1].map(|value| stage.process(value));
    for process in [&nine, &five, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    daemon.line_with(&format!("kill pid={} signal=SIGKILL", one.pid()));
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    (folder, one.pid())
}

#[test]
fn what_was_decided_is_decided_again_from_the_journal() {
    let stage = Stage::new();
    let (folder, victim) = recorded(&stage, &[]);
    let files = files(&folder);
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = fs::metadata(&files[0]).expect("ours").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let output = replay(&folder);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("are as they were recorded"), "{said}");
    assert!(
        said.contains(&format!("kill pid={victim} signal=SIGTERM")),
        "{said}"
    );
    assert!(
        said.contains(&format!("kill pid={victim} signal=SIGKILL")),
        "{said}"
    );
}

/// The lines of the one file in `folder`.
fn text(folder: &Path) -> Vec<String> {
    let files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).expect("it is ours");
    text.lines().map(ToOwned::to_owned).collect()
}

/// What a replay says of these lines, the last with or without its line feed.
fn replayed(stage: &Stage, text: &str) -> (Option<i32>, String) {
    let path = stage.path("altered.jsonl");
    fs::write(&path, text).expect("the folder is ours");
    let output = replay(&path);
    (output.status.code(), said(&output))
}

#[test]
fn what_is_wrong_with_a_journal_is_named_and_a_decision_that_is_another_fails_the_replay() {
    let stage = Stage::new();
    let (folder, _) = recorded(&stage, &[]);
    let lines = text(&folder);
    let whole = lines.join("\n") + "\n";
    assert_eq!(replayed(&stage, &whole).0, Some(0));

    // A signal is for readers: a replay does without it.
    let signal = lines
        .iter()
        .position(|line| line.starts_with("{\"signal\""));
    let signal = signal.expect("one was sent");
    assert!(lines[signal].contains("\"user\":"), "{}", lines[signal]);
    let mut damaged = lines.clone();
    damaged[signal] = damaged[signal].replace("\"time\"", "\"ti");
    let (status, said) = replayed(&stage, &(damaged.join("\n") + "\n"));
    let named = format!("altered.jsonl:{}: not a line of a journal", signal + 1);
    assert!(said.contains(&named), "{said}");
    assert_eq!(status, Some(0), "{said}");

    let (status, said) = replayed(&stage, &whole[..whole.len() - 5]);
    let named = format!("altered.jsonl:{}: not a line", lines.len());
    assert!(said.contains(&named) && said.contains("cut off"), "{said}");
    assert_eq!(status, Some(0), "{said}");

    let newer = whole.replacen("\"version\":1", "\"version\":99", 1);
    let (status, said) = replayed(&stage, &newer);
    assert!(
        said.contains("version 99") && said.contains("up to version 1"),
        "{said}"
    );
    assert_eq!(status, Some(1), "{said}");

    // As of a machine with more memory than it had.
    let available = format!("[{},{},", TOTAL_MIB << 20, SHORT_OF_ONE << 20);
    assert!(whole.contains(&available), "{whole}");
    let more = whole.replace(
        &available,
        &format!("[{},{},", TOTAL_MIB << 20, PLENTY << 20),
    );
    let (status, said) = replayed(&stage, &more);
    assert!(
        said.contains("the decision is not what was recorded"),
        "{said}"
    );
    assert_eq!(status, Some(1), "{said}");

    // Without a state to begin with.
    let rest: Vec<_> = lines
        .iter()
        .filter(|line| !line.starts_with("{\"state\""))
        .collect();
    let rest: String = rest.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let (status, said) = replayed(&stage, &rest);
    assert!(said.contains("nothing was replayed"), "{said}");
    assert_eq!(status, Some(1), "{said}");
}

#[test]
fn where_no_file_may_grow_the_daemon_kills_all_the_same_and_says_that_lines_are_missing() {
    let stage = Stage::new();
    let folder = stage.path("journal");
    // In blocks of 512 bytes: less than a state.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 2 && exec \"$@\"", "sh"]);
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    let arguments = ["--journal", folder.to_str().expect("plain"), "--grace", "1"];
    let daemon = stage.command(program, &arguments);
    limited.arg(daemon.get_program()).args(daemon.get_args());
    let mut daemon = Daemon::start(&mut limited);
    let one = stage.process(1);
    daemon.line_with(&format!("process {} is registered", one.pid()));
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    let (_, said) = daemon.end_by(Signal::SIGTERM);
    let has_gaps = |line: &String| line.contains("the journal has gaps: cannot write");
    assert!(said.iter().any(has_gaps), "{said:#?}");
}
