//! The configuration file, its drop-ins, and what is printed of them, by the
//! built daemon.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use support::{Daemon, Process, Stage, until};

fn daemon(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    stage.set(&mut command).args(arguments);
    command
}

/// What it prints and how it ends, on `stage` with this in its file.
fn run(stage: &Stage, file: &str, arguments: &[&str]) -> Output {
    fs::write(stage.path("config.toml"), file).expect("the folder is ours");
    daemon(stage, arguments).output().expect("it was built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it is text")
}

/// The line of `--check-config` about `key`, without its padding.
#[track_caller]
fn in_force(output: &Output, key: &str) -> String {
    let said = stdout(output);
    let line = said.lines().find(|line| {
        line.trim_start_matches('#')
            .starts_with(&format!("{key} ="))
    });
    let line = line.unwrap_or_else(|| panic!("no `{key}` in {said}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// It does not start so, and says why: each of `whys`.
#[track_caller]
fn refuses(file: &str, whys: &[&str]) {
    let stage = Stage::new();
    for (arguments, code) in [(&[][..], 2), (&["--check-config"][..], 1)] {
        let output = run(&stage, file, arguments);
        let said = stderr(&output);
        for why in whys {
            assert!(said.contains(why), "{said}\nnot {why}");
        }
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[test]
fn an_argument_counts_before_a_drop_in_before_the_file_before_the_default() {
    let stage = Stage::new();
    fs::create_dir(stage.path("config.d")).unwrap();
    fs::write(stage.path("config.d/10.toml"), "horizon = 3\ngrace = 3\n").unwrap();
    fs::write(
        stage.path("config.d/20.toml"),
        "grace = \"4 s\"\ndryrun = false\n",
    )
    .unwrap();
    fs::write(stage.path("config.d/30.toml.bak"), "grace = 9\n").unwrap();
    fs::write(stage.path("config.d/.40.toml"), "grace = 9\n").unwrap();
    let file = "grace = 2\nhorizon = 2\nreport = 2\ndryrun = true\nmemory = \"12 %\"\n";
    let output = run(&stage, file, &["--check-config", "-r", "7", "-m", "11"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = stage.path("config.toml").display().to_string();
    let drop_in = |name: &str| stage.path("config.d").join(name).display().to_string();
    for (key, value, source) in [
        ("grace", "\"4 s\"", drop_in("20.toml:1")),
        ("horizon", "3", drop_in("10.toml:1")),
        ("report", "7", "argument".to_owned()),
        ("dryrun", "false", drop_in("20.toml:2")),
        ("memory", "11", "argument".to_owned()),
        ("pressure", "\"50 %\"", "default".to_owned()),
        ("swap", "\"10 %, 5 %\"", "default".to_owned()),
    ] {
        let want = format!("{key} = {value} # {source}");
        assert_eq!(in_force(&output, key), want);
    }
    assert_eq!(in_force(&output, "prefer"), "#prefer = # default");
    for read in [&file, &drop_in("10.toml"), &drop_in("20.toml")] {
        assert!(stdout(&output).contains(&format!("# Read `{read}`.")));
    }
    assert!(!stdout(&output).contains("40.toml"));
}

#[test]
fn what_the_file_says_is_done() {
    let stage = Stage::new();
    let text = "memory = \"20 %, 600 MiB\"\n";
    refuses(
        text,
        &["config.toml:1:10: `memory`: `600 MiB` is not a percentage"],
    );
    let text = "memory = \"20 %, 15 %\"\nreport = 0\nregistered-only = true\ndryrun = true\n";
    fs::write(stage.path("config.toml"), text).unwrap();
    let mut daemon = Daemon::start(&mut daemon(&stage, &[]));
    daemon.says("SIGTERM at 800 MiB (20.00 %), SIGKILL at 600 MiB (15.00 %)");
    daemon.says("dry run: no signal is sent");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
}

#[test]
fn a_number_may_have_its_unit_and_an_argument_takes_the_same() {
    let stage = Stage::new();
    for (key, argument, same, wrong) in [
        ("memory", "--memory", ["12", "12 %", "12%,6 %"], "12 MiB"),
        ("memory-size", "-M", ["524288", "512M", "512 MiB"], "512 MB"),
        ("recover", "--recover", ["15", "15 %", "600 MiB"], "15 s"),
        ("grace", "--grace", ["90", "90 s", "1 min 30 s"], "90 %"),
        ("pressure", "--pressure", ["40", "40%", "40 %"], "40 s"),
    ] {
        for value in same {
            let output = run(&stage, &format!("{key} = \"{value}\""), &["--check-config"]);
            assert!(output.status.success(), "{key} {}", stderr(&output));
            let output = run(&stage, "", &[argument, value, "--check-config"]);
            assert!(output.status.success(), "{key} {}", stderr(&output));
        }
        let file = format!("\n {key} = \"{wrong}\"");
        let said = stderr(&run(&stage, &file, &["--check-config"]));
        let place = format!(
            "config.toml:2:{}: `{key}`: `{wrong}` is not a ",
            key.len() + 5
        );
        assert!(said.contains(&place), "{said}");
        let said = stderr(&run(&stage, "", &[argument, wrong]));
        assert!(said.contains(&format!("`{wrong}` is not a ")), "{said}");
    }
}

#[test]
fn a_mistake_is_refused_with_its_place_its_line_and_what_would_be_right() {
    let whys = [
        "config.toml:2:1: `graze` is not a key: did you mean `grace`?\n2 | graze = 5\n  | ^^^^^",
        "config.toml:3:10: `dryrun` takes `true` or `false`, not a string",
        "config.toml:4:10: `source`: `prok` is none of: auto, proc, module; did you mean `proc`?",
        "config.toml:5:9: `grace`: `5 parsecs` is not a time (expected seconds such as 5",
        "5 | grace = \"5 parsecs\"\n  |         ^^^^^^^^^^^",
        "config.toml:6:10: `before`: give an absolute path",
    ];
    let file = "# comment\ngraze = 5\ndryrun = \"yes\"\nsource = \"prok\"\n\
                grace = \"5 parsecs\"\nbefore = \"x.sh\"\n";
    refuses(file, &whys);
    refuses("grace = 5 s\n", &["config.toml:1:9: this is not TOML"]);
    refuses(
        "grace = 5\ngrace = 6\n",
        &["config.toml:2:1", "duplicate key"],
    );
    refuses("[rules]\n", &["`rules` is not a key"]);
    let file = "registry = \"\"\nsocket = ''\ngrace = 99999999999999999999\nhorizon = 99999999\n";
    let whys = [
        "config.toml:1:12: `registry`: it is empty: give DIR such as `/tmp/user_processes`, or remove",
        "config.toml:2:10: `socket`: it is empty: give PATH, or remove the line",
        "config.toml:3:9: `grace`: `99999999999999999999` is too long a time (expected at most a year",
        "config.toml:4:11: `horizon`: `99999999` is too long a time",
    ];
    refuses(file, &whys);
    // Not an argument's to say, though it is one.
    refuses(
        "force = true\n",
        &["`force` is not a key, but an argument only: `--force`"],
    );
    refuses(
        "pause = true\n",
        &["config.toml:1:9: `pause`: `true` is none of: "],
    );
    refuses("[[rules]]\n", &["did you mean `rule`?"]);
    refuses("sort-by-rss = true\n", &["`sort-by-rss` is not a key"]);
}

#[test]
fn what_cannot_be_meant_together_is_refused_with_the_place() {
    refuses(
        "\nrecover = 9\n",
        &[
            "`--recover` is not between",
            "`recover` is set at ",
            "config.toml:2)",
        ],
    );
}

#[test]
fn a_file_that_others_could_write_is_refused_with_the_reason() {
    let stage = Stage::new();
    let path = stage.path("config.toml");
    let said = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = daemon(&stage, &["--check-config"]).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    assert_eq!(said(0o644).0, Some(0));
    for mode in [0o664, 0o646] {
        let (code, said) = said(mode);
        assert_eq!(code, Some(1));
        assert!(
            said.contains(&format!("`chmod go-w {}`", path.display())),
            "{said}"
        );
    }
    let (_, said) = {
        fs::create_dir(stage.path("config.d")).unwrap();
        fs::write(stage.path("config.d/1.toml"), "").unwrap();
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(stage.path("config.d/1.toml"), open).unwrap();
        said(0o644)
    };
    assert!(said.contains("config.d/1.toml` is not trusted"), "{said}");
}

#[test]
fn a_drop_in_that_is_linked_to_dev_null_is_left_out() {
    let stage = Stage::new();
    fs::create_dir(stage.path("config.d")).unwrap();
    symlink("/dev/null", stage.path("config.d/1.toml")).unwrap();
    let output = run(&stage, "grace = 3\n", &["--check-config"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(in_force(&output, "grace").starts_with("grace = 3 "));
    symlink("/dev/zero", stage.path("config.d/2.toml")).unwrap();
    let said = stderr(&daemon(&stage, &[]).output().unwrap());
    let want = "config.d/2.toml` is not a regular file: write one, or link it to /dev/null";
    assert!(said.contains(want), "{said}");
}

#[test]
fn a_directory_that_others_may_add_drop_ins_to_is_warned_of_and_read() {
    let stage = Stage::new();
    let drop_ins = stage.path("config.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("1.toml"), "grace = 3\n").unwrap();
    let shown = drop_ins.display();
    let check = |want: &str| {
        let output = run(&stage, "", &["--check-config"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(in_force(&output, "grace").starts_with("grace = 3 "));
        let said = stdout(&output);
        let is_warned = said.contains("# Warning: ");
        assert_eq!(is_warned, !want.is_empty(), "{said}");
        assert!(said.contains(want), "{said}");
    };
    let set_mode = |mode| fs::set_permissions(&drop_ins, fs::Permissions::from_mode(mode)).unwrap();
    check("");
    for mode in [0o777, 0o1777] {
        set_mode(mode);
        let want = format!("`{shown}` is writable by all (mode {mode:o}): any user may add a file");
        check(&want);
    }
    let mut started = Daemon::start(&mut daemon(&stage, &[]));
    started.says(&format!("again: `chmod go-w {shown}`"));
    drop(started);
    set_mode(0o755);
    if nix::unistd::geteuid().is_root() {
        chown(&drop_ins, Some(65_533), None).unwrap();
        check(&format!(
            "uid 65533 owns `{shown}` and may add a file there"
        ));
        check(&format!("again: `chown 0 {shown}`"));
    }
}

#[test]
fn a_metrics_file_that_node_exporter_does_not_read_is_warned_of() {
    let stage = Stage::new();
    for (name, is_warned) in [("user-oom.txt", true), ("user-oom.prom", false)] {
        let path = stage.path(name);
        let file = format!("metrics-file = '{}'\n", path.display());
        let output = run(&stage, &file, &["--check-config"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let right = stage.path("user-oom.prom");
        let want = format!("must end with `.prom`, such as `{}`", right.display());
        assert_eq!(stdout(&output).contains(&want), is_warned);
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    let stage = Stage::new();
    chown(stage.path("config.toml"), Some(65_533), None).unwrap();
    let said = stderr(&daemon(&stage, &[]).output().unwrap());
    assert!(said.contains("it belongs to uid 65533"), "{said}");
    assert!(said.contains("`chown 0 "), "{said}");
}

#[test]
fn a_file_that_is_named_and_missing_or_is_none_is_refused() {
    let stage = Stage::new();
    for (path, why) in [
        ("missing.toml", "missing.toml`: No such file"),
        ("registry", "registry` is not a regular file"),
    ] {
        let path = stage.path(path);
        let output = daemon(&stage, &["--config", path.to_str().unwrap()]).output();
        let output = output.unwrap();
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
    }
    fs::write(stage.path("config.toml"), b"# x\n# \xff\n").unwrap();
    let said = stderr(&daemon(&stage, &[]).output().unwrap());
    assert!(said.contains("is not UTF-8 text: see line 2"), "{said}");
}

#[test]
fn what_would_kill_at_once_is_refused_with_the_figures_unless_it_is_forced() {
    let stage = Stage::new();
    stage.set_available(1000);
    let file = "memory = \"30 %\"\nregistered-only = true\n";
    for (arguments, code) in [(&[][..], 2), (&["--check-config"][..], 1)] {
        let output = run(&stage, file, arguments);
        assert_eq!(output.status.code(), Some(code));
        let said = stderr(&output);
        let figures = "1000 MiB of memory are available, and it acts at or below 1200 MiB";
        assert!(said.contains(figures), "{said}");
        assert!(said.contains("config.toml:1)"), "{said}");
        assert!(said.contains("`--force`"), "{said}");
    }
    assert!(
        run(&stage, file, &["--check-config", "--force"])
            .status
            .success()
    );
    let starts = |socket: &str, arguments: &[&str]| {
        // The lock of one that was killed is released a moment later.
        let socket = stage.path(socket);
        let mut command = daemon(&stage, &["--socket", socket.to_str().unwrap()]);
        Daemon::start(command.args(arguments)).says("  socket");
    };
    starts("forced", &["--force"]);
    starts("dry", &["--dryrun"]);
    // What is typed is meant, and a machine that is short needs its guard.
    starts("typed", &["-m", "30"]);
    stage.set_available(300);
    starts("short", &[]);
}

#[test]
fn the_printed_file_changes_nothing_and_neither_do_its_defaults() {
    let stage = Stage::new();
    let printed = Command::new(env!("CARGO_BIN_EXE_user-oom"))
        .args(["--config", "/nonexistent", "--print-config"])
        .output()
        .unwrap();
    assert!(printed.status.success());
    let printed = stdout(&printed);
    let values = |file: &str| {
        let output = run(&stage, file, &["--check-config"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        let lines = said.lines().filter(|line| !line.starts_with("# "));
        let lines = lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    let without = values("");
    assert_eq!(values(&printed), without);
    // Nor does what is installed.
    assert_eq!(values(include_str!("../../../dist/config.toml")), without);

    let is_default =
        |line: &&str| line.starts_with('#') && !line.starts_with("# ") && !line.contains("not set");
    let defaults = printed.lines().filter(is_default);
    let defaults: String = defaults
        .map(|line| line.replacen('#', "", 1) + "\n")
        .collect();
    assert!(defaults.contains("grace = \"5 s\"\n"), "{defaults}");
    assert_eq!(values(&defaults), without);
    // Each key is there.
    for key in without {
        let key = key.trim_start_matches('#').split(' ').next().unwrap();
        assert!(printed.contains(&format!("\n#{key} =")), "{key}");
    }
}

#[test]
fn the_page_about_the_file_has_what_is_printed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let printed = Command::new(env!("CARGO_BIN_EXE_user-oom"))
        .arg("--print-config")
        .output()
        .unwrap();
    let want = format!("```toml\n{}```\n", stdout(&printed));
    assert!(
        page.contains(&want),
        "docs/configuration.md is to contain what `user-oom --print-config` prints:\n{want}"
    );
}

mod rules {
    use super::*;

    /// Between the warn and the kill threshold, so that one is enough.
    const SHORT_OF_ONE: u64 = 350;

    /// A process that holds memory and is not registered, by a program of this
    /// name.
    fn unregistered(stage: &Stage, name: &str, environment: &str) -> Process {
        let program = stage.copy("test_proc1", name);
        let elsewhere = stage.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("ours");
        let mut command = Command::new(program);
        command
            .args(["--max-mib", "200", "--rate-mib-s", "2000", "--value", "1"])
            .arg("--registry")
            .arg(elsewhere)
            .env("OF_THE_TEST", environment);
        Process::start(&mut command)
    }

    fn daemon(stage: &Stage, rules: &str) -> Daemon {
        fs::write(stage.path("config.toml"), rules).expect("ours");
        stage.daemon(&[])
    }

    /// With `rules`, and a process that is registered at 5, which is killed:
    /// that one, or the other. Rules name the path of that, or they would match
    /// the processes of other tests.
    #[track_caller]
    fn kills_the_registered(rules: &str, entry: Option<&str>, want: bool) {
        let stage = Stage::new();
        let job = unregistered(&stage, "job", "yes");
        let registered = stage.process(5);
        if let Some(entry) = entry {
            fs::write(stage.entry(job.pid()), entry).expect("ours");
        }
        let path = stage.path("job").display().to_string();
        let mut daemon = daemon(&stage, &rules.replace("JOB", &path));
        daemon.says(&format!("process {} is registered", registered.pid()));
        if entry.is_some() {
            daemon.says(&format!("process {} is registered", job.pid()));
        }
        stage.set_available(SHORT_OF_ONE);
        let victim = if want { &registered } else { &job };
        let said = daemon.line_with("kill pid=");
        assert!(
            said.contains(&format!("kill pid={} ", victim.pid())),
            "{said}"
        );
    }

    #[test]
    fn a_rule_gives_a_value_to_what_is_not_registered() {
        for conditions in [
            "exe = 'JOB'",
            "exe = 'JOB', name = '^job$'",
            "exe = 'JOB', cmdline = 'job --max-mib 200 .*elsewhere$'",
            "exe = 'JOB', env = '^OF_THE_TEST=yes$'",
            "exe = 'JOB', ancestor = '.'",
        ] {
            let rule = format!("[[rule]]\nmatch = {{ {conditions} }}\nvalue = ");
            kills_the_registered(&format!("{rule}30"), None, true);
            kills_the_registered(&format!("{rule}2"), None, false);
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = "[[rule]]\nmatch = { exe = 'JOB', env = '^OF_THE_TEST=no$' }\nvalue = 30\n\
                     [[rule]]\nmatch = { exe = 'JOB' }\nvalue = 2\n\
                     [[rule]]\nmatch = { exe = 'JOB' }\nvalue = 30\n";
        kills_the_registered(rules, None, false);
    }

    #[test]
    fn an_entry_counts_before_a_rule_within_what_that_allows() {
        let rule = "[[rule]]\nmatch = { exe = 'JOB' }\nvalue = 1\n";
        kills_the_registered(rule, Some("9\n"), true);
        kills_the_registered(&format!("{rule}max-value = 3\n"), Some("9\n"), false);
    }

    #[test]
    fn what_a_rule_protects_is_not_killed() {
        let stage = Stage::new();
        let mut job = stage.process(1);
        let rule = "[[rule]]\nmatch = { exe = '**/test_proc1' }\nprotect = true\n";
        let mut daemon = daemon(&stage, rule);
        daemon.says("is registered");
        stage.set_available(100);
        daemon.line_with("no kill: ");
        assert!(job.lives());
    }

    #[test]
    fn a_rule_names_what_it_matches() {
        let stage = Stage::new();
        let job = stage.process(1);
        let rule = "[[rule]]\nmatch = { name = '^test_proc1$' }\nname = 'a job'\n";
        let mut daemon = daemon(&stage, rule);
        daemon.says("is registered");
        stage.set_available(SHORT_OF_ONE);
        let said = daemon.line_with(&format!("kill pid={} ", job.pid()));
        assert!(said.contains("a job"), "{said}");
    }

    #[test]
    fn a_rule_says_which_signal_is_first() {
        let stage = Stage::new();
        let job = stage.saving_at("USR1", "saved");
        let saved = stage.path("saved");
        let journal = stage.path("journal");
        let rule = format!(
            "journal = '{}'\n\
             [[rule]]\nmatch = {{ cmdline = '{} ' }}\nsignal = 'SIGUSR1'\ngrace = '1 h'\n",
            journal.display(),
            saved.display()
        );
        let mut daemon = daemon(&stage, &rule);
        daemon.says(&format!("process {} is registered", job.pid()));
        stage.set_available(SHORT_OF_ONE);
        daemon.line_with(&format!("kill pid={} signal=SIGUSR1 ", job.pid()));
        until("it saves", || saved.exists().then_some(()));
        daemon.line_with("gone pid=");
        until("it is told", || {
            let history = stage.told("History");
            history.contains(r#""term_signal":"SIGUSR1""#).then_some(())
        });
        let (status, heard) = daemon.end_by(Signal::SIGTERM);
        assert!(status.success(), "{heard:#?}");
        let files = fs::read_dir(journal).expect("it is kept");
        let lines: String = files
            .map(|file| fs::read_to_string(file.expect("ours").path()).expect("it is text"))
            .collect();
        assert!(lines.contains(r#""signal":"SIGUSR1""#), "{lines}");
    }

    #[test]
    fn a_rule_says_how_long_the_grace_is() {
        let stage = Stage::new();
        let job = stage.process(1);
        let rule = "[[rule]]\nmatch = { exe = '**/test_proc1' }\ngrace = 0\n";
        let mut daemon = daemon(&stage, rule);
        daemon.says("is registered");
        stage.set_available(SHORT_OF_ONE);
        daemon.line_with(&format!("kill pid={} signal=SIGKILL ", job.pid()));
    }

    #[test]
    fn a_rule_that_has_matched_nothing_is_named() {
        let stage = Stage::new();
        let _job = stage.process(1);
        let rules = "[[rule]]\nmatch = { name = '^no-such-thing$' }\nvalue = 5\n\
                     [[rule]]\nmatch = { name = '^test_proc1$' }\nvalue = 5\n";
        let path = stage.path("config.toml").display().to_string();
        let output = run(&stage, rules, &["--check-config"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        assert!(
            said.contains(&format!("# {path}:1 matches no process")),
            "{said}"
        );
        assert!(said.contains(&format!("# {path}:4 matches ")), "{said}");
        let mut daemon = stage.daemon(&["-r", "1"]);
        daemon.line_with(&format!("; 1 rule matched no process yet ({path}:1)"));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_where_it_stands() {
        let refused = |labels: &str, why: &str| {
            refuses(
                &format!("[[rule]]\nmatch = {{ name = 'a' }}\n{labels}\n"),
                &[why],
            );
        };
        refused("value = 'much'", "config.toml:3:9: `value`: `much`");
        refused("value = nan", "write `8` or `8 +3/h`");
        refused("value = '8 nopause'", "`pause = false` on a line");
        refused("value = '8 +3/hour'", "adds is not a whole number");
        refused("signal = 'sigintt'", "`signal`: `sigintt` is none of: SIG");
        refused("signal = 'sigkill'", "`signal`: SIGKILL cannot be first");
        refused(
            "signal = 'SIGINTT'",
            "config.toml:3:10: `signal`: `SIGINTT` is none of: SIGTERM, ",
        );
        refused("signal = 'SIGINTT'", "did you mean `SIGINT`?");
        refused("unit = 'proces'", "did you mean `process`?");
        refused("group-by = 'rules'", "did you mean `rule`?");
        refused(
            "grace = '5 parsecs'",
            "config.toml:3:9: `grace`: `5 parsecs`",
        );
        refused(
            "valeu = 5",
            "config.toml:3:1: `valeu` is not a key: did you mean `value`?",
        );
        refused(
            "command = { run = ['true'], time-limit = 0 }",
            "config.toml:3:42: `time-limit`: 0 leaves no time",
        );
        refused(
            "command = { run = ['true'], time-limit = '25 h' }",
            "config.toml:3:42: `time-limit`: memory does not stay short for that long",
        );
        refused(
            "command = { run = ['true'], time-limit = 'soon' }",
            "config.toml:3:42: `time-limit`: `soon` is not a time",
        );
        refused(
            "command = { run = ['no-such-program'], time-limit = 5 }",
            "config.toml:3:19: `run`: there is no program `no-such-program` in PATH",
        );
        refused(
            "command = { run = ['./systemctl'], time-limit = 5 }",
            "config.toml:3:19: `run`: `./systemctl`: give an absolute path",
        );
        refused(
            "command = { run = ['/etc/passwd'], time-limit = 5 }",
            "config.toml:3:19: `run`: `/etc/passwd`: not executable: run `chmod",
        );
        refuses(
            "[[rule]]\nmatch = { name = '(' }\nvalue = 1\n",
            &["config.toml:2:18: `name`: not a regular expression"],
        );
        refuses(
            "[[rule]]\nvalue = 1\n",
            &["config.toml:1:1: it would match every process"],
        );
    }
}
