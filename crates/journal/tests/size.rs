//! How large a record of a decision is.

use journal::{Account, Digest, Line, ProcessRow};
use oom_policy::{
    Basis, Candidate, Cause, Class, Cost, Decision, Depth, Dossier, Explanation, Level, Moment,
    Name, Process, ProcessId, Seen, SessionId, Verdict,
};

const PROCESSES: u32 = 500;
/// Of what was chosen the daemon names so many.
const NAMED: u32 = 32;

fn id(number: u32) -> ProcessId {
    ProcessId {
        pid: 100_000 + number * 7,
        start_ticks: 12_345_678 + u64::from(number) * 13,
    }
}

/// As on a machine with users: each tenth is registered, each third is a job of a
/// shell, the others services and their children.
fn process(number: u32) -> Process {
    let bytes = (1 + u64::from(number)) * 4_567_040;
    let shell = id(number - number % 3).pid;
    Process {
        seen: Seen {
            parent: shell,
            session: SessionId(u64::from(shell)),
            kernel_session: if number.is_multiple_of(3) {
                shell
            } else {
                id(number).pid
            },
            login: true,
            uid: 1000 + number % 4,
            name: Name::new(b"python3.11"),
            oom_score: Some(667),
            rss_bytes: bytes,
            anon_bytes: bytes - 1_048_576,
            page_table_bytes: 204_800,
            major_faults: u64::from(number % 50),
            ..Seen::new(id(number))
        },
        dossier: Dossier {
            value: number.is_multiple_of(10).then_some(100),
            ..Dossier::default()
        },
    }
}

fn candidate(number: u32) -> Candidate {
    Candidate {
        leader: id(number),
        name: Name::new(b"python3.11"),
        processes: 3,
        class: Class::Ordinary,
        explanation: Explanation::new(Basis::Share(Cost::from_parts(47)), true, Cost::ZERO),
        held_bytes: 1_234_567_168,
        growth_bytes_per_second: 12_345_678,
        frees_bytes: 1_234_567_168,
        ends_with: None,
        ends: 0,
        is_paused: false,
        chosen: true,
    }
}

#[test]
fn a_record_of_a_decision_with_500_processes_takes_60_kib_at_most() {
    let at = Moment::after_origin(std::time::Duration::from_nanos(987_654_321_987_654));
    let table = Line::Table {
        at,
        depth: Depth::Fast,
        rows: (0..PROCESSES).map(|it| ProcessRow(process(it))).collect(),
        gone: Vec::new(),
        decision: Digest::of(&Decision::idle()),
    };
    let decision = Line::Decision(Account {
        at,
        time: "2026-11-26T20:36:28.123Z".to_owned(),
        level: Level::Warn,
        cause: Some(Cause::Level(Level::Warn)),
        verdict: Verdict::Chosen,
        need_bytes: 12_345_678_901,
        frees_bytes: 12_345_678_901,
        lost: Cost::of_value(100),
        gap: Cost::ZERO,
        covers_need: true,
        candidates: PROCESSES,
        chosen: NAMED,
        first: (0..NAMED).map(candidate).collect(),
    });
    let registered = (0..PROCESSES).filter(|it| it.is_multiple_of(10));
    let labels = Line::Labels {
        of: registered
            .map(|it| (id(it), "alice resnet50".to_owned()))
            .collect(),
    };
    let bytes = |line: &Line| serde_json::to_vec(line).expect("it has no odd keys").len();
    let parts = [&table, &decision, &labels].map(bytes);
    println!("table, decision, labels: {parts:?} bytes");
    assert!(parts.iter().sum::<usize>() <= 60 << 10, "{parts:?} bytes");
}
