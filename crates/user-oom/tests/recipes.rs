//! The recipes of `docs/recipes.md` that take no machine of their own: each block of code
//! is run as it stands there, but for where the registry is. (Those for systemd, tmux, ssh,
//! cron and containers are run by scenarios of `e2e`.)

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Running, Stage, TOTAL_MIB, until};

const PAGE: &str = include_str!("../../../docs/recipes.md");
/// At or below 10 % (400 of 4000 MiB) it warns.
const SHORT: u64 = 350;

/// What a job of ours does: nothing, in a child, until the test is over.
const WAIT: &str = "tail -f --pid=$TEST /dev/null";

/// All code of the recipe below this heading, for a registry on this stage.
fn recipe(heading: &str, language: &str, stage: &Stage) -> String {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .expect("the page has it");
    let section = section.split("\n## ").next().expect("it has a part");
    let code: String = section
        .split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the block ends").0)
        .collect();
    assert!(code.contains("/tmp/user_processes/"), "{code}");
    let registry = stage.registry();
    code.replace("/tmp/user_processes", registry.to_str().expect("plain"))
}

/// A stage with the daemon's answers, and a directory to work in.
fn stage() -> (Stage, PathBuf) {
    let stage = Stage::new();
    let directory = stage.path("work");
    fs::create_dir(&directory).expect("the folder is ours");
    (stage, directory)
}

fn shell(script: &str, directory: &Path) -> Running {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(directory);
    command.env("TEST", std::process::id().to_string());
    command.env("CARGO_TARGET_DIR", directory.join("target"));
    Running::start(&mut command)
}

/// Waits until the only candidate is a program of this name and value, and at least one
/// child of it.
#[track_caller]
fn is_listed(stage: &Stage, name: &str, value: u32) {
    let mut command = Command::new(stage.program("user-oomctl"));
    command.arg("--socket").arg(stage.socket());
    command.args(["list", "--json"]);
    let (name, value) = (format!(r#""name":"{name}""#), format!(r#""value":{value}"#));
    until(&format!("{name} has {value}"), || {
        let output = command.output().expect("it was built");
        let json = String::from_utf8_lossy(&output.stdout);
        let alone = r#""processes":1,"#;
        (json.contains(&name) && json.contains(&value) && !json.contains(alone)).then_some(())
    });
}

/// What builds, in place of `make -j8`.
#[track_caller]
fn a_build_is_worth_2(command: &str, name: &str, files: &[(&str, &str)]) {
    let (stage, directory) = stage();
    for (file, text) in files {
        fs::write(directory.join(file), text).expect("the folder is ours");
    }
    let mut daemon = stage.daemon(&["--dryrun"]);
    daemon.line_with("socket");
    let script = recipe("make, ninja, cargo", "sh", &stage);
    assert!(script.contains("make -j8"), "{script}");
    let _build = shell(&script.replace("make -j8", command), &directory);
    is_listed(&stage, name, 2);
}

#[test]
fn make() {
    let makefile = format!("all:\n\t{}\n", WAIT.replace('$', "$$"));
    a_build_is_worth_2("make -j8", "make", &[("Makefile", &makefile)]);
}

#[test]
fn ninja() {
    if Command::new("ninja").arg("--version").output().is_err() {
        println!("skipped: no ninja; `cargo xtask test` installs it as root");
        return;
    }
    let rules = format!(
        "rule wait\n  command = {}\nbuild all: wait\n",
        WAIT.replace('$', "$$")
    );
    a_build_is_worth_2("ninja", "ninja", &[("build.ninja", &rules)]);
}

#[test]
fn cargo() {
    let manifest = "[package]\nname = \"a\"\nedition = \"2024\"\n\
                    [lib]\npath = \"build.rs\"\n[workspace]\n";
    let build = format!(
        "#![allow(dead_code)]\n\
         fn main() {{ std::process::Command::new(\"sh\").args([\"-c\", {WAIT:?}]).status().unwrap(); }}\n"
    );
    let files = [("Cargo.toml", manifest), ("build.rs", &build)];
    a_build_is_worth_2("cargo build --offline", "cargo", &files);
}

#[test]
fn a_job_of_a_ci_runner() {
    let (stage, directory) = stage();
    let mut daemon = stage.daemon(&["--dryrun"]);
    daemon.line_with("socket");
    let script = recipe("A CI runner", "sh", &stage);
    let job = shell(&format!("set -e\n{script}\n{WAIT}\ntrue\n"), &directory);
    let pid = job.pid();
    daemon.line_with(&format!("process {pid} is registered: value 3 (bash, uid "));
    is_listed(&stage, "bash", 3);
}

#[test]
fn a_job_of_a_ci_runner_runs_where_there_is_no_registry() {
    let stage = Stage::new();
    let script = recipe("A CI runner", "sh", &stage);
    let nowhere = stage.path("nowhere");
    let registry = stage.registry();
    let script = script.replace(
        registry.to_str().expect("plain"),
        nowhere.to_str().expect("plain"),
    );
    for shell in ["sh", "bash"] {
        let job = Command::new(shell)
            .args(["-ec", &format!("{script}\necho done")])
            .output()
            .expect("there is a shell");
        assert!(job.status.success(), "{shell}: {job:?}");
        assert_eq!(job.stdout, b"done\n", "{shell}");
    }
}

#[test]
fn a_training_run_in_a_venv() {
    let (stage, directory) = stage();
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip", "venv"])
        .current_dir(&directory)
        .status();
    assert!(made.expect("python3").success());
    let train = format!(
        "import subprocess, sys\n\
         print('in the venv:', sys.prefix != sys.base_prefix, flush=True)\n\
         subprocess.run(['sh', '-c', {WAIT:?}])\n"
    );
    fs::write(directory.join("train.py"), train).expect("the folder is ours");
    let mut daemon = stage.daemon(&["--dryrun"]);
    daemon.line_with("socket");
    let script = recipe("Training in conda or a venv", "sh", &stage);
    let mut job = shell(&script, &directory);
    job.line_with("in the venv: True");
    let pid = job.pid();
    daemon.line_with(&format!("process {pid} is registered: value 30 +5/h ("));
    is_listed(&stage, "python3", 30);
}

/// One that has what runs a notebook's cells.
fn python_with_jupyter() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut command = Command::new(python);
        let output = command.args(["-c", "import ipykernel, tornado"]).output();
        output.is_ok_and(|output| output.status.success())
    })
}

/// The kernel is killed by the daemon, and started again as Jupyter does it.
#[test]
fn a_notebook_and_why_its_kernel_was_killed() {
    let Some(python) = python_with_jupyter() else {
        println!("skipped: no python3 with ipykernel; `cargo xtask test` installs it as root");
        return;
    };
    let (stage, directory) = stage();
    let cell = directory.join("cell");
    fs::write(&cell, recipe("Jupyter", "python", &stage)).expect("the folder is ours");
    // The recipe asks the machine's daemon.
    let ctl = stage.program("user-oomctl");
    let ask = format!(
        "exec {} --socket {} \"$@\"",
        ctl.display(),
        stage.socket().display()
    );
    stage.script("work/user-oomctl", &ask);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");

    let path = std::env::var("PATH").expect("cargo has it");
    let path = format!("{}:{path}", directory.display());
    let mut notebook = Command::new(python);
    notebook
        .arg("-u")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/notebook.py"
        ))
        .arg(&cell)
        .current_dir(&directory)
        .env("HOME", &directory)
        .env("JUPYTER_RUNTIME_DIR", &directory)
        .env("PATH", path);
    let mut notebook = Running::start(&mut notebook);
    let pid = notebook.line_with("ran in process ");
    let pid = pid
        .strip_prefix("ran in process ")
        .expect("its pid follows");
    daemon.line_with(&format!("process {pid} is registered: value 30 +5/h ("));

    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={pid} signal=SIGTERM"));
    stage.set_available(TOTAL_MIB / 2);
    let said = notebook.line_with(&format!("{pid} (value 30): SIGTERM"));
    assert!(said.contains("low memory"), "{said}");
    notebook.line_with("ran in process ");
}
