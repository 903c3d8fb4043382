//! The journal of the built daemon: what it was told, and the same decisions made
//! of it once more.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use support::Stage;

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
