//! The ring of files, and what becomes of lines where a disk is full.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use journal::{
    Error, Folder, JournalReader, Line, Machine, Parting, Preface, ReadLine, Replay, Simulation,
    Step, VERSION, Writer,
};
use oom_policy::{
    Event, Gates, Guard, Memory, Moment, Process, ProcessId, Seen, Settings, Surroundings,
};

fn time() -> String {
    "2026-11-26T12:00:00.000Z".to_owned()
}

fn guard() -> Guard {
    let surroundings = Surroundings::default();
    Guard::new(Settings::default(), Gates::default(), surroundings, 8)
}

fn writer(path: &Path, limit: u64) -> Writer {
    let folder = Folder::open(path, limit).expect("it is ours");
    let mut writer = Writer::new(folder, "a test".to_owned(), Machine::default());
    state(&mut writer, 0, false).expect("there is room");
    writer
}

fn state(writer: &mut Writer, millis: u64, follows: bool) -> Result<(), Error> {
    let at = Moment::from(millis * 1_000_000);
    writer.state(at, time(), follows, Box::new(guard().checkpoint()))
}

fn memory(number: u64) -> Line {
    let memory = Memory {
        total_bytes: 1 << 30,
        available_bytes: number,
        ..Memory::default()
    };
    Line::of(Moment::from(number), Event::Memory(memory)).expect("it is no table")
}

/// Something that is worth keeping, with what led to it.
fn last_call(sequence: u64) -> Line {
    let memory = Memory::default();
    let event = Event::LastCall { sequence, memory };
    Line::of(Moment::from(sequence), event).expect("it is no table")
}

fn lines(path: &Path) -> Vec<ReadLine> {
    let mut reader = JournalReader::open(path).expect("it is there");
    std::iter::from_fn(|| reader.read().expect("it can be read")).collect()
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("it is there").file_name().into_string())
        .map(|name| name.expect("plain"))
        .collect();
    names.sort();
    names
}

fn size(path: &Path) -> u64 {
    let sizes = names(path).into_iter().map(|name| {
        let found = fs::metadata(path.join(name)).expect("it is there");
        found.len()
    });
    sizes.sum()
}

/// The available bytes of each memory line.
fn numbers(lines: &[ReadLine]) -> Vec<u64> {
    let number = |line: &ReadLine| match line {
        ReadLine::Line(line) => match &**line {
            Line::Memory { memory, .. } => Some(memory.available_bytes),
            _ => None,
        },
        ReadLine::Damaged(_) => None,
    };
    lines.iter().filter_map(number).collect()
}

/// How many lines are said to be missing, each time.
fn missing(lines: &[ReadLine]) -> Vec<u64> {
    let missing = |line: &ReadLine| match line {
        ReadLine::Line(line) => match &**line {
            Line::Lost { lines } => Some(*lines),
            _ => None,
        },
        ReadLine::Damaged(why) => panic!("{why}"),
    };
    lines.iter().filter_map(missing).collect()
}

fn states(lines: &[ReadLine]) -> usize {
    let is_state = |line: &&ReadLine| match line {
        ReadLine::Line(line) => matches!(**line, Line::State { .. }),
        ReadLine::Damaged(_) => false,
    };
    lines.iter().filter(is_state).count()
}

#[test]
fn nothing_is_written_before_something_happens_and_then_what_led_to_it_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a/journal");
    let mut writer = writer(&path, 1 << 20);
    writer.take(&memory(1), time).expect("there is room");
    state(&mut writer, 1, true).expect("there is room");
    writer.take(&memory(2), time).expect("there is room");
    state(&mut writer, 2, true).expect("there is room");
    writer.take(&memory(3), time).expect("there is room");
    assert_eq!(names(&path), [""; 0]);
    writer.take(&last_call(4), time).expect("there is room");
    writer.take(&memory(5), time).expect("there is room");
    // The first state is too long ago.
    assert_eq!(numbers(&lines(&path)), [2, 3, 5]);
    // After a state in which nothing has happened it waits again.
    for millis in 6..8 {
        state(&mut writer, millis, true).expect("there is room");
        writer.take(&memory(millis), time).expect("there is room");
    }
    assert_eq!(numbers(&lines(&path)), [2, 3, 5, 6]);
    let mode = fs::metadata(path.join("00000001.jsonl")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o7777, 0o640);
}

#[test]
fn all_files_together_stay_below_the_limit_and_the_last_lines_are_there() {
    const LIMIT: u64 = 64 << 10;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, LIMIT);
    writer.take(&last_call(1), time).expect("there is room");
    for number in 0..2000 {
        writer.take(&memory(number), time).expect("there is room");
        assert!(size(&path) <= LIMIT, "{}", size(&path));
    }
    let kept = numbers(&lines(&path));
    let first = kept[0];
    assert_eq!(kept, (first..2000).collect::<Vec<_>>());
    assert!(LIMIT / 2 < size(&path) && 0 < first);
    let names = names(&path);
    assert!(names[0] != "00000001.jsonl" && names.len() > 2, "{names:?}");
}

#[test]
fn a_daemon_that_starts_anew_begins_a_new_file_and_a_second_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    for number in 1..3 {
        let mut writer = writer(&path, 1 << 20);
        writer
            .take(&last_call(number), time)
            .expect("there is room");
        let second = Folder::open(&path, 1 << 20);
        assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
    }
    assert_eq!(names(&path), ["00000001.jsonl", "00000002.jsonl"]);
}

#[test]
fn a_directory_that_others_can_write_to_and_a_link_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fs::create_dir(&path).expect("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).expect("ours");
    let refused = Folder::open(&path, 1 << 20);
    assert!(matches!(refused, Err(Error::Unsafe { .. })), "{refused:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("ours");
    let link = folder.path().join("link");
    symlink(&path, &link).expect("ours");
    let refused = Folder::open(&link, 1 << 20);
    assert!(matches!(refused, Err(Error::Open { .. })), "{refused:?}");
    Folder::open(&path, 1 << 20).expect("it is safe");
}

#[test]
fn a_line_that_is_not_written_is_counted_where_it_would_be_and_costs_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, 32 << 10);
    writer.take(&last_call(1), time).expect("there is room");
    for _ in 0..2 {
        let refused = writer.take(&table_of(500), time);
        assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
    }
    writer.take(&memory(4), time).expect("there is room");
    let found = lines(&path);
    assert_eq!((numbers(&found), missing(&found)), (vec![4], vec![2]));
}

#[test]
fn what_there_is_no_room_for_before_an_incident_is_counted_and_a_state_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, 16 << 20);
    let mut taken = 0;
    while !writer.lacks_state() {
        writer.take(&memory(taken), time).expect("there is room");
        taken += 1;
    }
    for number in 0..5 {
        writer.take(&memory(number), time).expect("there is room");
    }
    assert!(!writer.lacks_state(), "that was said");
    writer.take(&last_call(1), time).expect("there is room");
    let found = lines(&path);
    // The state, too.
    assert_eq!(missing(&found), [taken + 5 + 1]);
    assert_eq!((numbers(&found), states(&found)), (vec![], 0));

    // What was dropped before the next state is not missed.
    state(&mut writer, 1, true).expect("there is room");
    state(&mut writer, 2, true).expect("there is room");
    while !writer.lacks_state() {
        writer.take(&memory(7), time).expect("there is room");
    }
    state(&mut writer, 3, true).expect("there is room");
    writer.take(&memory(8), time).expect("there is room");
    writer.take(&last_call(2), time).expect("there is room");
    let found = lines(&path);
    assert_eq!(missing(&found).len(), 1);
    assert_eq!((numbers(&found), states(&found)), (vec![8], 2));
}

#[test]
fn the_first_table_waits_however_many_processes_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, 16 << 20);
    writer.take(&memory(1), time).expect("there is room");
    for line in [&table_of(6000), &memory(2), &last_call(3)] {
        writer.take(line, time).expect("there is room");
    }
    assert!(!writer.lacks_state());
    let found = lines(&path);
    assert_eq!((numbers(&found), states(&found)), (vec![1, 2], 1));
}

#[test]
fn a_file_that_does_not_continue_another_is_not_replayed_from_the_state_of_that() {
    let begins = |continues| {
        Line::Journal(Preface {
            version: VERSION,
            program: "a test".to_owned(),
            time: time(),
            machine: Machine::default(),
            settings: None,
            continues,
        })
    };
    let state = Line::State {
        at: Moment::ORIGIN,
        time: time(),
        follows: false,
        guard: guard().checkpoint().into(),
    };
    for continues in [true, false] {
        let mut replay = Replay::default();
        let mut simulation = Simulation::new(std::collections::BTreeMap::new());
        for line in [&begins(false), &state, &memory(1), &begins(continues)] {
            assert!(matches!(replay.take(line), Step::Quiet));
            assert!(matches!(simulation.take(line), Parting::Quiet));
        }
        let is_skipped = matches!(replay.take(&memory(2)), Step::Skipped);
        assert_eq!(is_skipped, !continues);
        let is_skipped = matches!(simulation.take(&memory(2)), Parting::Skipped);
        assert_eq!(is_skipped, !continues);
    }
}

#[test]
fn where_its_file_was_deleted_another_is_begun_and_without_the_folder_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, 1 << 20);
    writer.take(&last_call(1), time).expect("there is room");
    // Nothing happens for long.
    for millis in 1..3 {
        state(&mut writer, millis, true).expect("there is room");
    }
    fs::remove_file(path.join("00000001.jsonl")).expect("ours");
    writer.take(&last_call(2), time).expect("there is room");
    writer.take(&memory(3), time).expect("there is room");
    let found = lines(&path);
    assert_eq!((numbers(&found), states(&found)), (vec![3], 1));
    let [ReadLine::Line(first), ..] = &*found else {
        panic!("{found:?}");
    };
    let Line::Journal(preface) = &**first else {
        panic!("{first:?}");
    };
    assert!(!preface.continues);

    fs::remove_dir_all(&path).expect("ours");
    let refused = writer.take(&memory(4), time);
    assert!(matches!(refused, Err(Error::Write { .. })), "{refused:?}");
}

#[test]
fn files_of_earlier_daemons_make_room_for_lines_too_and_not_only_for_files() {
    const LIMIT: u64 = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fs::create_dir(&path).expect("ours");
    for number in 1..5 {
        let file = path.join(format!("0000000{number}.jsonl"));
        fs::write(file, vec![b'\n'; 257_144]).expect("ours");
    }
    let mut writer = writer(&path, LIMIT);
    writer.take(&last_call(1), time).expect("there is room");
    for number in 0..1000 {
        writer.take(&memory(number), time).expect("there is room");
        assert!(size(&path) <= LIMIT, "{} after {number}", size(&path));
    }
    assert_eq!(names(&path).len(), 4);
}

/// Where the test below has a file system of 64 KiB.
const SMALL_DISK: &str = "JOURNAL_TEST_SMALL_DISK";

#[test]
fn a_disk_that_is_full_at_the_start_gets_room_by_the_oldest_file_and_never_by_our_own() {
    let Some(path) = std::env::var_os(SMALL_DISK) else {
        on_a_small_disk(
            "a_disk_that_is_full_at_the_start_gets_room_by_the_oldest_file_and_never_by_our_own",
        );
        return;
    };
    let folder = Path::new(&path);
    let path = folder.join("journal");
    fs::create_dir(&path).expect("ours");
    fs::write(path.join("00000001.jsonl"), vec![b'\n'; 30 << 10]).expect("there is room");
    let filler = folder.join("filler");
    assert!(
        fs::write(&filler, vec![0; 64 << 10]).is_err(),
        "it is large"
    );
    let mut writer = writer(&path, 1 << 20);
    writer.take(&last_call(1), time).expect("there is room");
    assert_eq!(names(&path), ["00000002.jsonl"]);
    assert_eq!(states(&lines(&path)), 1);

    // What led to the incident is worth more than what comes next.
    assert!(
        (0..1000).any(|number| writer.take(&memory(number), time).is_err()),
        "it is never full"
    );
    for number in 0..3 {
        assert!(writer.take(&memory(number), time).is_err());
    }
    assert_eq!(names(&path), ["00000002.jsonl"]);
}

/// Runs `test` once more, with a file system of its own.
#[expect(clippy::print_stdout, reason = "a skip says why")]
fn on_a_small_disk(test: &str) {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$1" || exit 42; shift; exec "$@""#;
    let disk = tempfile::tempdir().expect("a folder");
    let ran = command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(disk.path())
        .arg(std::env::current_exe().expect("procfs"))
        .args([test, "--exact"])
        .env(SMALL_DISK, disk.path())
        .output();
    let Ok(ran) = ran else {
        println!("skipped: needs unshare(1)");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    let may_not = ran.status.code() == Some(42)
        || String::from_utf8_lossy(&ran.stderr).starts_with("unshare: ");
    if may_not {
        println!("skipped: nothing may be mounted here");
        return;
    }
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
}

#[test]
fn what_is_no_file_is_not_read_and_what_a_stranger_wrote_is_said_without_its_escapes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut writer = writer(&path, 1 << 20);
    for line in [&last_call(1), &memory(2)] {
        writer.take(line, time).expect("there is room");
    }
    fs::create_dir(path.join("00000003.jsonl")).expect("ours");
    assert_eq!(numbers(&lines(&path)), [2]);

    let strange = folder.path().join("strange.jsonl");
    let text = "{\"a\\u001b[31mb\":1}\n{\"journal\":{\"version\":99,\"program\":\"x\\u001b]0;y\\u0007\"}}\n";
    fs::write(&strange, text).expect("ours");
    let mut reader = JournalReader::open(&strange).expect("it is there");
    let Ok(Some(ReadLine::Damaged(why))) = reader.read() else {
        panic!("it is no line");
    };
    assert!(why.contains("a?[31mb"), "{why:?}");
    let newer = reader.read().expect_err("it is of a later version");
    let newer = newer.to_string();
    assert!(newer.contains("(x?]0;y?)"), "{newer:?}");
}

#[test]
fn a_table_of_500_processes_takes_no_more_than_60_kib() {
    let text = serde_json::to_vec(&table_of(500)).expect("it can be written");
    assert!(text.len() <= 60 << 10, "{} bytes", text.len());
}

fn table_of(processes: u32) -> Line {
    let row = |number: u32| {
        journal::ProcessRow(Process {
            seen: Seen {
                parent: 1234 + number,
                session: oom_policy::SessionId(1_234_567),
                uid: 1000,
                name: oom_policy::Name::new(b"Isolated Web Co"),
                oom_score: Some(700),
                oom_score_adj: 200,
                rss_bytes: 1_234_567_168,
                anon_bytes: 1_134_567_168,
                page_table_bytes: 2_345_984,
                major_faults: 12_345,
                ..Seen::new(ProcessId {
                    pid: 123_456 + number,
                    start_ticks: 12_345_678,
                })
            },
            dossier: oom_policy::Dossier {
                value: number.is_multiple_of(10).then_some(80),
                pause: oom_policy::Pausing::Allowed,
                ..oom_policy::Dossier::default()
            },
        })
    };
    Line::Table {
        at: Moment::from(123_456_789_012),
        depth: oom_policy::Depth::Fast,
        rows: (0..processes).map(row).collect(),
        gone: Vec::new(),
        decision: journal::Digest::of(guard().decision()),
    }
}
