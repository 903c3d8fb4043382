//! What user-oomctl asks the built daemon, and other programs that speak
//! Varlink.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::{Daemon, HELD_MIB, Process, Running, Stage, TOTAL_MIB, until};

const PLENTY: u64 = TOTAL_MIB / 2;
/// At or below 10 % (400 MiB) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;

fn run(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(stage.program("user-oomctl"));
    command.arg("--socket").arg(stage.socket()).args(arguments);
    command.output().expect("it was built")
}

/// What it prints, having succeeded.
#[track_caller]
fn said(stage: &Stage, arguments: &[&str]) -> String {
    let output = run(stage, arguments);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("it is text");
    assert!(
        arguments.contains(&"--json") || said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
    said
}

/// It ends with this status and this error.
#[track_caller]
fn fails(stage: &Stage, arguments: &[&str], status: i32, with: &str) {
    let output = run(stage, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(error.contains(with), "no `{with}` in {error}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn registered(stage: &Stage, daemon: &mut Daemon, value: u32) -> Process {
    let process = stage.process(value);
    daemon.line_with(&format!("process {} is registered", process.pid()));
    process
}

#[test]
fn status_says_how_things_are_in_words_and_in_json() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let status = said(&stage, &["status"]);
    let pid = format!("{}", daemon.pid());
    for part in [
        &pid,
        "level ok",
        "2000 of 4000 MiB available",
        "warns at 400 MiB",
    ] {
        assert!(status.contains(part), "no `{part}` in {status}");
    }
    let json = said(&stage, &["status", "--json"]);
    assert!(json.contains(r#""level":"ok""#), "{json}");
    assert!(json.contains(&format!(r#""pid":{pid},"#)), "{json}");
}

#[test]
fn explain_says_what_was_done_to_a_victim() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let one = registered(&stage, &mut daemon, 1);
    let pid = one.pid().to_string();
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={pid} signal=SIGTERM"));
    let told = until("it is gone", || {
        let told = said(&stage, &["explain", &pid]);
        told.contains("gone after").then_some(told)
    });
    assert!(told.contains("(value 1): SIGTERM"), "{told}");
    assert!(
        told.contains("cheapest without it  no choice frees"),
        "{told}"
    );
    assert!(told.contains("low memory (warn)"), "{told}");
}

#[test]
fn relief_is_refused_with_the_reason() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    fails(
        &stage,
        &["relieve"],
        1,
        "refused: 50 % of memory is available",
    );
}

#[test]
fn without_a_daemon_one_sentence_says_so() {
    let stage = Stage::new();
    let socket = stage.socket();
    let with = format!(
        "user-oomctl: no user-oom answers at `{}`: start one",
        socket.display()
    );
    for command in ["status", "relieve"] {
        fails(&stage, &[command], 3, &with);
    }
    fails(&stage, &["explain", "7"], 3, &with);
}

#[test]
fn arguments_that_make_no_sense_are_refused_and_help_says_the_exit_statuses() {
    let stage = Stage::new();
    fails(&stage, &["sing"], 2, "unrecognized subcommand");
    fails(&stage, &["explain", "0"], 2, "0");
    fails(&stage, &[], 2, "Usage");
    assert!(said(&stage, &["--help"]).contains("3 if no user-oom answers"));
    let completions = run(&stage, &["completions", "bash"]).stdout;
    let completions = String::from_utf8_lossy(&completions);
    assert!(completions.contains("user-oomctl"), "{completions}");
}

/// What it answers to this, said as it stands. On a busy machine a stranger's
/// time may be over before it has said it; then it is said again.
fn answer(stage: &Stage, message: &[u8]) -> String {
    until("an answer", || {
        let mut stream = UnixStream::connect(stage.socket()).expect("it listens");
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("it is a socket");
        stream.write_all(message).ok()?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).ok()? > 0 {
            if byte == [0] {
                return String::from_utf8(answer).ok();
            }
            answer.extend(byte);
        }
        None
    })
}

#[test]
fn a_bad_call_is_answered_with_what_was_expected() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let told = answer(&stage, b"status\0");
    assert!(told.contains("io.user-oom.Control.NotUnderstood"), "{told}");
    assert!(told.contains("a Varlink call such as"), "{told}");
    let told = answer(
        &stage,
        b"{\"method\":\"io.user-oom.Control.Fate\",\"parameters\":{\"pid\":-1}}\0",
    );
    assert!(told.contains("pid: a process's number"), "{told}");
    let told = answer(&stage, &[b' '; 5000]);
    assert!(told.contains("fewer than 4096 bytes"), "{told}");
    // And it answers the next.
    said(&stage, &["status"]);
}

/// systemd's own client: this machine's, or Debian 13's as `cargo xtask test` fetches
/// it, which needs the libraries of that release.
fn varlinkctl() -> Option<Command> {
    let is_here = Command::new("varlinkctl").arg("--version").output();
    if is_here.is_ok() {
        return Some(Command::new("varlinkctl"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/trixie/usr");
    let libraries = root.join("lib/x86_64-linux-gnu");
    let loader = libraries.join("ld-linux-x86-64.so.2");
    loader.exists().then(|| {
        let systemd = libraries.join("systemd");
        let mut command = Command::new(loader);
        command.arg("--library-path");
        command.arg(format!("{}:{}", libraries.display(), systemd.display()));
        command.arg(root.join("bin/varlinkctl"));
        command
    })
}

#[test]
fn varlinkctl_can_introspect_and_call_it() {
    if varlinkctl().is_none() {
        println!(
            "skipped: no varlinkctl; it comes with systemd 255 (Debian 13), and `cargo xtask \
             test` fetches it"
        );
        return;
    }
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["--dryrun"]);
    let both = two(&stage, &mut daemon);
    let [nine, one] = both.each_ref().map(Process::pid);
    let command = |arguments: &[&str]| {
        let mut command = varlinkctl().expect("it was there");
        command.args(arguments);
        command
    };
    let socket = stage.socket();
    let socket = socket.to_str().expect("the folder's name is UTF-8");
    let run = |arguments: &[&str]| command(arguments).output().expect("it was there");
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let method = |name: &str| format!("io.user-oom.Control.{name}");
    let call =
        |name: &str, parameters: &str| said(&["call", "-j", socket, &method(name), parameters]);

    assert!(said(&["info", socket]).contains("io.user-oom.Control"));
    let description = said(&["introspect", socket, "io.user-oom.Control"]);
    assert!(description.contains("method Status"), "{description}");
    // What it makes of the description holds together.
    let copy = stage.path("description");
    fs::write(&copy, description).expect("the folder is ours");
    said(&["validate-idl", copy.to_str().expect("as the folder")]);

    assert!(call("Status", "{}").contains(r#""level":"ok""#));
    // For each candidate.
    let plan = call("Plan", r#"{"level":"warn"}"#);
    assert_eq!(plan.matches(r#""chosen":true"#).count(), 1, "{plan}");
    assert_eq!(plan.matches(r#""chosen":false"#).count(), 1, "{plan}");
    for pid in [nine, one] {
        assert!(plan.contains(&format!(r#""pid":{pid},"#)), "{plan}");
    }
    let told = call("Explain", &format!(r#"{{"pid":{nine}}}"#));
    assert!(
        told.contains("would be kept at the warn threshold"),
        "{told}"
    );
    assert!(call("History", "{}").contains(r#""victims":[]"#));
    let fails = |name: &str, parameters: &str, error: &str| {
        let output = run(&["call", socket, &method(name), parameters]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(told.contains(error), "no `{error}` in {told}");
    };
    fails("Relief", "{}", "io.user-oom.Control.EnoughAvailable");
    fails("Fate", r#"{"pid":-1}"#, "io.user-oom.Control.NotUnderstood");
    fails("Sing", "{}", "org.varlink.service.MethodNotFound");
    fails("Subscribe", "{}", "io.user-oom.Control.NotUnderstood");

    let subscribe = ["call", "--more", "-j", socket, &method("Subscribe"), "{}"];
    let mut events = Running::start(&mut command(&subscribe));
    events.line_with(r#""what":"level""#);
    stage.set_available(SHORT);
    events.line_with(r#""level":"warn""#);
    fails("Plan", "{}", "io.user-oom.Control.Busy");
}

/// Two that hold as much, the cheaper of which would do; it is told once the
/// table has been read with both, and with all that they hold.
fn two(stage: &Stage, daemon: &mut Daemon) -> [Process; 2] {
    let both = [9, 1].map(|value| registered(stage, daemon, value));
    until("both are candidates", || {
        let list = said(stage, &["list"]);
        let has = |value: &str| list.contains(value);
        let is_counted = has("= value 9") && has("= value 1");
        let held = |process: &Process| held_mib(&list, process.pid());
        let hold_all = both.iter().all(|process| held(process) >= HELD_MIB);
        (is_counted && hold_all).then_some(())
    });
    both
}

/// What `list` says that `pid` holds: the column behind its name.
fn held_mib(list: &str, pid: u32) -> u64 {
    let rows = list.lines().map(str::split_whitespace);
    let mut row = rows.map(|mut row| (row.next(), row.nth(1)));
    let found = row.find(|row| row.0 == Some(&pid.to_string()));
    let held = found.and_then(|row| row.1?.parse().ok());
    held.unwrap_or(0)
}

#[test]
fn plan_and_explain_say_what_would_be_killed_and_what_another_choice_would_cost() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    let [mut nine, mut one] = two(&stage, &mut daemon);
    // 12 % is enough again: 80 MiB more than the 400 at which it warns.
    let plan = said(&stage, &["plan"]);
    let flat = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("would need 80 MiB and kill these (SIGTERM)"),
        "{plan}"
    );
    let instead = |cost: &str| format!("instead: kill {} test_proc1: cost {cost}", nine.pid());
    // One that is counted as growing costs half.
    let either = |one: String, other: String| flat.contains(&one) || flat.contains(&other);
    assert!(either(instead("9"), instead("4.5")), "{plan}");
    let (killed, kept) = flat.split_once("It would keep:").expect("both are told");
    assert!(
        killed.contains(&format!("{} test_proc1", one.pid())),
        "{plan}"
    );
    assert!(
        kept.contains(&format!("{} test_proc1", nine.pid())),
        "{plan}"
    );
    assert!(said(&stage, &["plan", "--kill"]).contains("SIGKILL"));
    let json = said(&stage, &["plan", "--json"]);
    assert!(json.contains(r#""need_bytes":83886080"#), "{json}");

    let explain = |pid: u32| {
        let told = said(&stage, &["explain", &pid.to_string()]);
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = explain(nine.pid());
    assert!(
        told.contains("would be kept at the warn threshold"),
        "{told}"
    );
    let (pid_one, pid_nine) = (one.pid(), nine.pid());
    let names_both = |which: &str, told: &str| {
        let costs = [("1", "9"), ("1", "4.5"), ("0.5", "9"), ("0.5", "4.5")];
        costs.iter().any(|(less, more)| {
            told.contains(&format!(
                "cheapest choice kill {pid_one} test_proc1: cost {less} cheapest {which} kill \
                 {pid_nine} test_proc1: cost {more}"
            ))
        })
    };
    assert!(names_both("with it", &told), "{told}");
    let told = explain(one.pid());
    assert!(
        told.contains("would be killed at the warn threshold"),
        "{told}"
    );
    assert!(names_both("without it", &told), "{told}");
    let other = std::process::id().to_string();
    fails(&stage, &["explain", &other], 1, "is not a candidate");
    // Nothing was done.
    assert!(nine.lives() && one.lives());
    for question in ["history", "explain"] {
        assert!(said(&stage, &[question]).contains("has signalled no process"));
    }
}

#[test]
fn history_tells_of_the_last_victims_and_plan_of_none_while_memory_is_short() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    // Memory stays short: were the first gone, the other would be next.
    let mut daemon = stage.daemon(&["--grace", "600"]);
    let [nine, one] = two(&stage, &mut daemon);
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={} ", one.pid()));
    until("it is told", || {
        let history = said(&stage, &["history"]);
        history
            .contains(&format!("{} test_proc1 (value 1)", one.pid()))
            .then_some(())
    });
    let last = said(&stage, &["explain"]);
    assert!(last.contains(&format!("{} (value 1)", one.pid())), "{last}");
    let without = format!("cheapest without it  kill {} test_proc1: cost", nine.pid());
    assert!(last.contains(&without), "{last}");
    let json = said(&stage, &["history", "--json"]);
    assert!(json.starts_with(r#"{"victims":[{"#), "{json}");
    until("memory is short", || {
        let output = run(&stage, &["plan"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        error.contains("memory is short").then_some(())
    });
    // What was kept is explained by what was decided.
    let kept = said(&stage, &["explain", &nine.pid().to_string()]);
    assert!(kept.contains("was kept"), "{kept}");
    let with = format!("cheapest with it     kill {} test_proc1: cost", nine.pid());
    assert!(kept.contains(&with), "{kept}");
}

#[test]
fn what_would_not_count_is_refused_and_the_earlier_entry_stays() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let process = stage.process(8);
    let pid = process.pid().to_string();
    daemon.line_with(&format!("process {pid} is registered"));
    let with = "what unsaved work adds is not a whole number";
    fails(&stage, &["set", &pid, "9", "+3/hour"], 1, with);
    let entry = fs::read_to_string(stage.entry(process.pid())).expect("it stays");
    assert_eq!(entry, "8\n");

    // A test is a thread of its own.
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let with = format!(
        "{thread} is a thread of process {}: give",
        std::process::id()
    );
    fails(&stage, &["set", &thread, "8"], 1, &with);
    let mut exits = Command::new("true").spawn().expect("coreutils");
    let zombie = exits.id().to_string();
    let stat = format!("/proc/{zombie}/stat");
    until("it has exited", || {
        let stat = fs::read_to_string(&stat).ok()?;
        stat.contains(") Z ").then_some(())
    });
    let with = format!("process {zombie} has exited");
    fails(&stage, &["set", &zombie, "8"], 1, &with);
    exits.wait().expect("it is ours");
}

#[test]
fn set_unset_and_run_write_what_the_caller_could_write() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let process = stage.unregistered();
    let pid = process.pid().to_string();
    fails(&stage, &["unset", &pid], 1, "has no entry");
    fails(&stage, &["saved", &pid], 1, "has no entry");
    let told = said(&stage, &["set", &pid, "8", "+3/h", "nopause"]);
    assert_eq!(told, format!("process {pid} has its value\n"));
    daemon.line_with(&format!("process {pid} is registered"));
    let entry = std::fs::read_to_string(stage.entry(process.pid())).expect("it is there");
    assert_eq!(entry, "8 +3/h nopause\n");
    said(&stage, &["saved", &pid]);
    let json = said(&stage, &["unset", &pid, "--json"]);
    assert_eq!(json, format!("{{\"pid\":{pid}}}\n"));
    assert!(!stage.entry(process.pid()).exists());
    fails(&stage, &["set", &pid, "eight"], 1, "an entry such as");
    fails(&stage, &["set", &pid, "8\n9"], 1, "a second line");
    fails(
        &stage,
        &["set", "4194304", "8"],
        1,
        "there is no process 4194304",
    );

    let entry = format!("cat {}/$$", stage.registry().display());
    let told = said(
        &stage,
        &[
            "run", "--value", "7", "--pause", "--name", "resnet", "--", "sh", "-c", &entry,
        ],
    );
    assert_eq!(told, "7 pause resnet\n");
    let output = run(&stage, &["run", "--value", "7", "--", "sh", "-c", "exit 5"]);
    assert_eq!(output.status.code(), Some(5));
    fails(
        &stage,
        &["run", "--value", "7", "--", "no-such-command"],
        127,
        "cannot run",
    );
    fails(
        &stage,
        &["run", "--value", "7", "--", "/dev/null"],
        126,
        "cannot run",
    );
}

#[test]
fn in_a_pid_namespace_a_pid_is_what_the_caller_sees() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can make a pid namespace; run it as root");
        return;
    }
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let script = r#""$1" --socket "$2" --json set 1 8 && cat "$3"/*"#;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]);
    command
        .arg(stage.program("user-oomctl"))
        .arg(stage.socket());
    let output = command.arg(stage.registry()).output().expect("util-linux");
    let told = String::from_utf8_lossy(&output.stdout);
    // The pid is the daemon's, and the entry is there while the process is.
    let (json, entry) = told.split_once('\n').expect("two lines");
    assert!(json.starts_with(r#"{"pid":"#), "{output:?}");
    assert_ne!(json, r#"{"pid":1}"#);
    assert_eq!(entry, "8\n");
}

#[test]
fn another_user_sees_no_names_and_writes_only_for_its_own_processes() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    const USER: u32 = 65_534;
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    let [nine, _one] = two(&stage, &mut daemon);
    let theirs = stage.process_of(5, Some(USER));
    let program = stage.copy("user-oomctl", "user-oomctl");
    let ask = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(&program);
        command.arg("--socket").arg(stage.socket()).args(arguments);
        let output = command.uid(USER).gid(USER).output().expect("it was built");
        let [said, error] = [output.stdout, output.stderr].map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        (output.status.success(), said, error)
    };
    let (_, plan, error) = ask(&["plan"]);
    assert!(
        plan.contains(&format!("{} - ", nine.pid())),
        "{plan} {error}"
    );
    assert!(!plan.contains("test_proc1"), "{plan}");
    let (_, told, _) = ask(&["explain", &nine.pid().to_string()]);
    assert!(told.starts_with(&format!("{} - ", nine.pid())), "{told}");
    let not_permitted = |arguments: &[&str]| {
        let (is_done, _, error) = ask(arguments);
        assert!(!is_done && error.contains("not permitted"), "{error}");
    };
    not_permitted(&["set", &nine.pid().to_string(), "1"]);
    not_permitted(&["unset", &nine.pid().to_string()]);
    not_permitted(&["reload"]);
    not_permitted(&["relieve"]);
    std::fs::set_permissions(
        stage.registry(),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .expect("it is ours");
    let (is_done, _, error) = ask(&["set", &theirs.pid().to_string(), "6"]);
    assert!(is_done, "{error}");
    daemon.line_with(&format!("process {} is registered", theirs.pid()));
    let entry = std::fs::metadata(stage.entry(theirs.pid())).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&entry), USER);
}

#[test]
fn reload_says_what_has_changed_or_why_nothing_has() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let told = said(&stage, &["reload"]);
    assert!(told.contains("no key has changed"), "{told}");
    stage.replace("config.toml", "no-such-key = 1\n");
    fails(&stage, &["reload"], 1, "the configuration is unchanged");
    fails(&stage, &["reload"], 1, "lists them\n1 | no-such-key = 1\n");
}

#[test]
fn doctor_says_what_is_there_and_what_mends_the_rest() {
    let stage = Stage::new();
    let output = run(&stage, &["doctor"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no user-oom answers"), "{told}");
    assert!(told.contains("systemctl enable --now user-oom"), "{told}");

    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let told = run(&stage, &["doctor", "--json"]).stdout;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains(&format!("(pid {})", daemon.pid())), "{told}");
    for what in [
        "pressure",
        "swap",
        "module",
        "registry",
        "tmpfiles",
        "daemon",
        "privileges",
    ] {
        assert!(told.contains(&format!("\"what\":\"{what}\"")), "{told}");
    }
}

#[test]
fn a_refused_entry_is_listed_with_its_reason_for_its_writer() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let process = stage.unregistered();
    std::fs::write(stage.entry(process.pid()), "eight\n").expect("the registry is ours");
    daemon.line_with("is ignored");
    let list = until("it is listed", || {
        let list = said(&stage, &["list"]);
        list.contains("Entries that do not count").then_some(list)
    });
    let (_, refused) = list.split_once("Entries that").expect("it is there");
    assert!(refused.contains(&process.pid().to_string()), "{list}");
    let json = said(&stage, &["list", "--json"]);
    assert!(json.contains(r#""refused":[{"#), "{json}");
    std::fs::write(stage.entry(process.pid()), "8\n").expect("the registry is ours");
    daemon.line_with("is registered");
    until("it is listed no more", || {
        let list = said(&stage, &["list"]);
        (!list.contains("Entries that do not count")).then_some(())
    });
}

#[test]
fn watch_tells_what_happens_as_it_happens() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    // The only one: memory stays short when it is gone.
    let mut one = registered(&stage, &mut daemon, 1);
    let watch = |arguments: &[&str]| {
        let mut command = Command::new(stage.program("user-oomctl"));
        command.arg("--socket").arg(stage.socket()).args(arguments);
        Running::start(&mut command)
    };
    let (mut words, mut json) = (watch(&["watch"]), watch(&["watch", "--json"]));
    // Once that is told, all that comes is.
    words.line_with("Z level ok, 2000 MiB available");
    json.line_with(r#""what":"level""#);
    stage.set_available(SHORT);
    words.line_with("Z level warn, 350 MiB available");
    let kill = words.line_with("Z kill ");
    let victim = format!("kill {} test_proc1 (value 1) SIGTERM", one.pid());
    assert!(kill.contains(&victim), "{kill}");
    words.line_with(&format!("Z gone {} test_proc1", one.pid()));
    one.killed_by();
    let gone = json.line_with(r#""what":"gone""#);
    assert!(gone.contains(&format!(r#""pid":{},"#, one.pid())), "{gone}");
    daemon.end_by(nix::sys::signal::Signal::SIGTERM);
    words.line_with("hung up");
}

#[test]
fn a_plan_that_is_asked_for_again_is_told_without_another_table() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    two(&stage, &mut daemon);
    let mut stream = UnixStream::connect(stage.path("socket.private")).expect("it listens");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("it is a socket");
    let plan = b"{\"method\":\"io.user-oom.Control.Plan\",\"parameters\":{}}\0";
    // The table is read five times a second at most: these would take 20 s.
    let began = std::time::Instant::now();
    for _ in 0..100 {
        stream.write_all(plan).expect("it is heard");
        let mut bytes = [0; 65_536];
        loop {
            let count = stream.read(&mut bytes).expect("an answer");
            assert!(count > 0, "it hung up");
            if bytes[count - 1] == 0 {
                break;
            }
        }
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}
