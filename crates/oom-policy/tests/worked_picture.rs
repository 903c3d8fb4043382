//! The worked picture of `docs/cost.md`: what is drawn and counted there is what
//! the policy comes to.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, Snapshot, chosen, registered};
use oom_policy::{Action, Ask, Decision, Event, Level, Memory, Process, Settings, Verdict};

const PAGE: &str = include_str!("../../../docs/cost.md");

const TOTAL: u64 = 100 * GIB;
/// Of a letter of the picture.
const GIB_PER_LETTER: u64 = 2;
/// With the default thresholds, of 100 GiB.
const RECOVERY: u64 = 15 * GIB;

/// Pid, name, letter, value, GiB at the begin, and GiB in ten seconds.
const JOBS: [(u32, &str, char, u32, u64, u64); 4] = [
    (100, "train", 'T', 9, 40, 0),
    (200, "leak", 'L', 8, 5, 10),
    (300, "burst", 'B', 5, 10, 20),
    (400, "log", 'o', 3, 5, 1),
];

/// The jobs, and the policy that looks at them each second.
struct Run {
    policy: Driven,
    second: u64,
    gone: Vec<u32>,
    picture: String,
}

impl Run {
    fn new() -> Self {
        Self {
            policy: Driven::new(Settings::default(), 64),
            second: 0,
            gone: Vec::new(),
            picture: " second  0 GiB     20        40        60        80       100  available\n"
                .to_owned(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let runs = |pid: &u32| !self.gone.contains(pid);
        let processes: Vec<Process> = JOBS
            .iter()
            .filter(|(pid, ..)| runs(pid))
            .map(|&(pid, name, _, value, begin, in_ten)| {
                let bytes = begin * GIB + self.second * in_ten * GIB / 10;
                registered(pid, name, value, bytes)
            })
            .collect();
        let held: u64 = processes.iter().map(|process| process.anon_bytes).sum();
        Snapshot {
            memory: Memory {
                total_bytes: TOTAL,
                available_bytes: TOTAL - held,
                ..Memory::default()
            },
            ask: Ask::None,
            processes,
        }
    }

    /// Goes on to the next choice; the victims end at once. Draws the first second,
    /// every `every`th, and the last.
    fn next_choice(&mut self, every: u64) -> (Snapshot, Decision) {
        loop {
            let snapshot = self.snapshot();
            let now = Duration::from_secs(self.second);
            let decision = self.policy.step(now, &snapshot).clone();
            let has_chosen = decision.verdict == Verdict::Chosen;
            if has_chosen || self.second.is_multiple_of(every) {
                self.draw(&snapshot, &decision);
            }
            for action in &decision.actions {
                let (Action::Terminate(id) | Action::Kill(id)) = *action else {
                    panic!("nothing here may be paused: {action:?}");
                };
                self.policy.learn(now, Event::Gone(id));
                self.gone.push(id.pid);
            }
            self.second += 1;
            if has_chosen {
                return (snapshot, decision);
            }
            assert!(self.second < 100, "nothing was chosen");
        }
    }

    fn draw(&mut self, snapshot: &Snapshot, decision: &Decision) {
        let mut bar = String::new();
        for process in &snapshot.processes {
            let letters = process.anon_bytes / (GIB_PER_LETTER * GIB);
            bar.extend((0..letters).map(|_| letter(process.id.pid)));
        }
        let available = gib(snapshot.memory.available_bytes);
        self.picture += &format!("{:>7}  {bar:.<50}  {available:>9}", self.second);
        if decision.verdict == Verdict::Chosen {
            let names = chosen(decision).join(", ");
            assert_eq!(decision.level, Level::Warn);
            self.picture += &format!("  warn: {names}");
        }
        self.picture.push('\n');
    }
}

fn letter(pid: u32) -> char {
    let job = JOBS.iter().find(|job| job.0 == pid).expect("a job");
    job.2
}

/// The GiB that it takes in ten seconds.
fn in_ten(pid: u32) -> u64 {
    let job = JOBS.iter().find(|job| job.0 == pid).expect("a job");
    job.5
}

#[expect(
    clippy::cast_precision_loss,
    reason = "it is shown with one decimal place"
)]
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB as f64)
}

/// The need and each candidate's part in the choice.
fn table(snapshot: &Snapshot, decision: &Decision) -> String {
    let bare = RECOVERY - snapshot.memory.available_bytes;
    let to_come = decision.need_bytes - bare;
    let rates = decision.candidates.iter();
    let rates: u64 = rates.map(|one| one.growth_bytes_per_second).sum();
    // To the bytes that rounding of the rates may cost.
    assert!(to_come.abs_diff(5 * rates) < 1 << 20);
    let mut table = format!(
        "need {} = {} up to the recovery threshold + {} taken in the next 5 s\n\n    \
         process      last 10 s         frees\n",
        gib(decision.need_bytes),
        gib(bare),
        gib(to_come)
    );
    let mut candidates = decision.candidates.clone();
    candidates.sort_by_key(|candidate| candidate.leader.pid);
    let all: u64 = candidates.iter().map(|one| in_ten(one.leader.pid)).sum();
    for candidate in candidates {
        let took = in_ten(candidate.leader.pid);
        assert_eq!(candidate.explanation.growing, took * 10 >= all);
        table += &format!(
            "  {} {:<6} {:>9} {:>3} %  {:>10}  {:<6}  {}\n",
            letter(candidate.leader.pid),
            candidate.name.to_string(),
            gib(took * GIB),
            (took * 100 + all / 2) / all,
            gib(candidate.frees_bytes),
            if candidate.chosen { "killed" } else { "kept" },
            candidate.explanation
        );
    }
    table
}

#[test]
fn the_picture_and_its_numbers_are_what_the_policy_comes_to() {
    let mut run = Run::new();
    let (first, first_decision) = run.next_choice(2);
    let (second, second_decision) = run.next_choice(5);
    let blocks = [
        ("growth", run.picture),
        ("first choice", table(&first, &first_decision)),
        ("second choice", table(&second, &second_decision)),
    ]
    .map(|(name, text)| format!("<!-- worked_picture.rs: {name} -->\n```text\n{text}```\n"));
    let missing = blocks.iter().filter(|block| !PAGE.contains(*block));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    assert!(
        missing.is_empty(),
        "docs/cost.md should have:\n{}",
        missing.join("\n")
    );
}
