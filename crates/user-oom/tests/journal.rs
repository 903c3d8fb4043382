//! The journal of the built daemon: what it was told, and the same decisions made
//! of it once more.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
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
    let (folder, [_, _, one]) = recorded_of_three(stage, arguments);
    (folder, one)
}

/// The same, and the pids of those that were worth 9, 5 and 1.
fn recorded_of_three(stage: &Stage, arguments: &[&str]) -> (PathBuf, [u32; 3]) {
    let folder = stage.path("journal");
    let mut all = vec!["--journal", folder.to_str().expect("plain"), "--grace", "1"];
    all.extend(arguments);
    let mut daemon = stage.daemon(&all);
    let nine = stage.process(9);
    let [five, one] = ["5 bob bert\n", "1 alice \"resnet\"\n"].map(|entry| {
        let process = stage.unregistered();
        fs::write(stage.entry(process.pid()), entry).expect("the registry is ours");
        process
    });
    for process in [&nine, &five, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    // Before it is gone, or another would be next.
    stage.set_available(PLENTY);
    daemon.line_with(&format!("kill pid={} signal=SIGKILL", one.pid()));
    daemon.line_with("freed");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    (folder, [nine.pid(), five.pid(), one.pid()])
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
fn the_labels_of_all_that_a_decision_was_about_are_there_once_after_a_state() {
    let stage = Stage::new();
    let (folder, [nine, five, one]) = recorded_of_three(&stage, &[]);
    let lines = text(&folder);
    let of_kind = |kind| lines.iter().filter(move |line| line.starts_with(kind));
    let labels = |pid: u32| -> Vec<&str> {
        let of_pid = |line| {
            let (_, rest) = str::split_once(line, &format!("[[{pid},"))?;
            let (_, rest) = rest.split_once("],")?;
            Some(rest.split_once(']')?.0)
        };
        let lines = of_kind("{\"labels\"");
        lines.filter_map(|line| of_pid(line)).collect()
    };
    let states = of_kind("{\"state\"").count();
    for (pid, words) in [(five, r#""bob bert""#), (one, r#""alice \\\"resnet\\\"""#)] {
        let labels = labels(pid);
        assert!((1..=states).contains(&labels.len()), "{labels:?}");
        assert!(labels.iter().all(|it| *it == words), "{labels:?}");
    }
    assert!(labels(nine).is_empty(), "it has none");
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
    let labels = r#""labels":"alice \\\"resnet\\\"""#;
    for part in ["\"user\":", labels] {
        assert!(lines[signal].contains(part), "{}", lines[signal]);
    }
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

    // What comes after another is not replayed, until there is a state again.
    let is_event = |line: &&String| {
        let kinds = ["{\"memory\"", "{\"table\"", "{\"sent\"", "{\"gone\""];
        kinds.iter().any(|kind| line.starts_with(kind))
    };
    assert!(lines.iter().filter(is_event).count() > 4, "{whole}");
    for (place, event) in lines.iter().enumerate().filter(|(_, line)| is_event(line)) {
        let mut damaged = lines.clone();
        damaged[place] = event.replacen('"', "'", 1);
        let (_, said) = replayed(&stage, &(damaged.join("\n") + "\n"));
        let named = format!("altered.jsonl:{}: not a line of a journal", place + 1);
        assert!(said.contains(&named), "{said}");
        assert!(!said.contains("is not what was recorded"), "{said}");
    }

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

/// What a simulation says of the journal in `folder`, with these arguments beside
/// those that the daemon had.
fn simulated(stage: &Stage, folder: &Path, arguments: &[&str]) -> String {
    let folder = folder.to_str().expect("plain");
    let mut all = vec!["--simulate", folder, "--grace", "1"];
    all.extend(arguments);
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    let output = stage.command(program, &all).output().expect("it was built");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_simulation_says_what_another_configuration_would_have_done_and_where_it_parts() {
    let stage = Stage::new();
    let (folder, [nine, five, one]) = recorded_of_three(&stage, &[]);
    let with = |arguments: &[&str]| simulated(&stage, &folder, arguments);

    let same = with(&[]);
    assert!(same.contains("what is done is what was recorded"), "{same}");
    assert!(!same.contains("departs from the record"), "{same}");

    // With another value the next goes in its place, and 5 is lost rather than 1.
    let value = format!("{one}=20");
    let other = with(&["--with-value", &value]);
    let recorded = format!("  recorded   kill {one} test_proc1: value lost 1, kept 14");
    let simulated = format!("  simulated  kill {five} test_proc1: value lost 5, kept 29");
    for part in [
        ".jsonl:",
        "here it departs from the record",
        &recorded,
        &simulated,
    ] {
        assert!(other.contains(part), "no `{part}` in {other}");
    }
    assert!(
        other.contains("the record does not show what would have happened after that"),
        "{other}"
    );

    // A threshold below what was available has nothing killed.
    let lower = with(&["-m", "5,2", "--recover", "6"]);
    assert!(lower.contains(&recorded), "{lower}");
    assert!(lower.contains("  simulated  nothing is done"), "{lower}");
    assert!(
        lower.contains("0 units killed, value lost 0, as far as"),
        "{lower}"
    );

    // What needs more has two killed.
    let more = with(&["--recover", "17"]);
    let line = more
        .lines()
        .find(|line| line.starts_with("  simulated  kill"));
    let line = line.unwrap_or_else(|| panic!("nothing is killed: {more}"));
    assert!(
        line.contains(&one.to_string()) && line.contains(&five.to_string()),
        "{line}"
    );
    assert!(!line.contains(&nine.to_string()), "{line}");
    assert!(line.contains("value lost 6, kept 9"), "{line}");

    // What a record has only the outcome of is named.
    let names = with(&["--avoid", "^ssh"]);
    assert!(
        names.contains("not simulated") && names.contains("avoid"),
        "{names}"
    );
}

/// The fields of a message in systemd's native protocol.
fn fields(message: &[u8]) -> std::collections::BTreeMap<String, String> {
    let mut fields = std::collections::BTreeMap::new();
    let mut rest = message;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let name = String::from_utf8(rest[..end].to_vec()).expect("a name");
        let (length, value) = rest[end + 1..].split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let length = usize::try_from(length).expect("short");
        let value_text = String::from_utf8(value[..length].to_vec()).expect("text");
        assert_eq!(value[length], b'\n', "{name}");
        fields.insert(name, value_text);
        rest = &value[length + 1..];
    }
    assert!(rest.is_empty(), "{rest:?}");
    fields
}

#[test]
fn systemds_journal_is_told_of_decisions_and_signals_with_their_fields() {
    let stage = Stage::new();
    let path = stage.path("journald");
    let socket = UnixDatagram::bind(&path).expect("the folder is ours");
    let limit = Some(std::time::Duration::from_secs(60));
    socket.set_read_timeout(limit).expect("it is a socket");
    let (_, victim) = recorded(&stage, &["--journald", path.to_str().expect("plain")]);
    let mut message = [0; 1 << 16];
    let mut next_of = |kind: &str| loop {
        let length = socket.recv(&mut message).expect("it is told");
        let fields = fields(&message[..length]);
        assert_eq!(fields["SYSLOG_IDENTIFIER"], "user-oom");
        assert_eq!(fields["MESSAGE_ID"].len(), 32);
        if fields.contains_key(kind) {
            return fields;
        }
    };
    let decision = next_of("USER_OOM_VERDICT");
    let named = format!("Chose 1 of 3 candidates ({victim} test_proc1)");
    assert!(decision["MESSAGE"].contains(&named), "{decision:?}");
    assert_eq!(decision["USER_OOM_CANDIDATES"], "3");
    let signal = next_of("USER_OOM_SIGNAL");
    assert_ne!(decision["MESSAGE_ID"], signal["MESSAGE_ID"]);
    for (name, value) in [
        ("USER_OOM_SIGNAL", "SIGTERM"),
        ("USER_OOM_NAME", "test_proc1"),
        ("USER_OOM_LABELS", "alice \\\"resnet\\\""),
        ("USER_OOM_VALUE", "1"),
        ("PRIORITY", "4"),
    ] {
        assert_eq!(signal[name], value, "{signal:?}");
    }
}

#[test]
fn a_report_is_one_page_in_which_a_strangers_words_are_text() {
    let stage = Stage::new();
    let (folder, [nine, _, one]) = recorded_of_three(&stage, &[]);
    // Names are the processes' own to choose, and so are command lines.
    let hostile = text(&folder).into_iter().map(|line| {
        let line = line.replace("\"test_proc1\"", "\"<script>x()</s>\"");
        // Whether it is known in time depends on how busy the machine is.
        let command = line.split_once("\"command\":");
        let parts = command.and_then(|(head, rest)| {
            let (_, tail) = rest.split_once(",\"labels\"")?;
            Some((head, tail))
        });
        let words = r#""command":"<img src=x onerror=y> & ' \"","labels""#;
        let line = parts.map_or_else(
            || line.clone(),
            |(head, tail)| format!("{head}{words}{tail}"),
        );
        // When a state was written is not when the daemon began to count.
        let state = line.strip_prefix("{\"state\"").and_then(|rest| {
            let (head, rest) = rest.split_once("\"time\":\"")?;
            let (_, tail) = rest.split_once('"')?;
            Some(format!(
                "{{\"state\"{head}\"time\":\"2001-01-01T00:00:00Z\"{tail}"
            ))
        });
        state.unwrap_or(line) + "\n"
    });
    let hostile: String = hostile.collect();
    let path = stage.path("hostile.jsonl");
    fs::write(&path, hostile).expect("the folder is ours");
    let report = |arguments: &[&Path]| {
        let mut command = Command::new(stage.program("user-oomctl"));
        command.arg("report").args(arguments);
        command.output().expect("it was built")
    };
    let output = report(&[&path]);
    let page = said(&output);
    assert!(output.status.success(), "{page}");
    for part in [
        "<!DOCTYPE html>",
        "<svg",
        "Memory available",
        "warn 400 MiB",
        "prefers-color-scheme: dark",
        "1 process killed, 0 paused; value lost 1, kept 14.",
        "&lt;script&gt;x()&lt;/s&gt;",
        "&lt;img src=x onerror=y&gt; &amp; &#39;",
        "[alice",
        "[bob bert]",
        &format!("{nine} &lt;script"),
        &format!("kill {one} &lt;script"),
    ] {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
    for part in ["<script", "<img", "http:", "https:", "url(", "2001-"] {
        assert!(!page.contains(part), "`{part}` in {page}");
    }
    // Each element that is opened is closed.
    for name in ["svg", "table", "tr", "td", "div", "text", "tspan"] {
        let opened = [" ", ">"].map(|end| page.matches(&format!("<{name}{end}")).count());
        let opened: usize = opened.iter().sum();
        let closed = page.matches(&format!("</{name}>")).count();
        assert_eq!(opened, closed, "{name} in {page}");
    }

    let to = stage.path("page.html");
    assert!(report(&[&path, Path::new("-o"), &to]).status.success());
    assert_eq!(fs::read_to_string(&to).expect("it is written"), page);
    let output = report(&[&stage.path("nothing")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("cannot read the journal: "),
        "{output:?}"
    );
}
