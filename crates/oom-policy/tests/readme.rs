//! Each line of README's "How it decides" is an example that runs here.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, Snapshot, chosen, holding, registered, system};
use oom_policy::{
    Action, Ask, Decision, Memory, Process, Refusal, Seen, SessionId, Settings, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);

/// What the README says, and what shows it.
const EXAMPLES: [(&str, fn()); 10] = [
    (
        "With 10 GiB available, a victim gets SIGTERM, and SIGKILL 5 s later if it is still \
         running.",
        a_victim_gets_sigterm_and_then_sigkill,
    ),
    (
        "With 5 GiB available, a victim gets SIGKILL at once.",
        a_victim_gets_sigkill_at_once,
    ),
    (
        "With 4 GiB available but half of the swap free, nothing is killed.",
        free_swap_spares_all,
    ),
    (
        "Short, with two 20 GiB jobs of value 9 and 5: the job of value 5 is killed.",
        the_least_value_goes,
    ),
    (
        "Short, with two 6 GiB jobs of value 2 and 3 and a 12 GiB job of value 6: the two small \
         jobs are killed, because together they cost 5.",
        two_may_cost_less_than_one,
    ),
    (
        "Short, with a steady 20 GiB job of value 5 and a growing job of value 8: the growing \
         job is killed, because growing halves its cost, to 4.",
        what_grows_counts_half,
    ),
    (
        "Short, with a 20 GiB job of value 2 and forty unregistered 0.5 GiB browser tabs in one \
         session: tabs are killed, because the whole session has a value of 1.",
        a_session_is_worth_one,
    ),
    (
        "Short, with a 20 GiB job of value 2 and an unregistered 20 GiB system service: the job \
         is killed, because unregistered services come last.",
        services_come_last,
    ),
    (
        "Short, while a 20 GiB victim is still exiting: nothing else is killed.",
        pending_memory_counts,
    ),
    (
        "Short, with `oom_score_adj` −1000 on the only large process: nothing is killed.",
        minus_1000_is_never_killed,
    ),
];

#[test]
fn each_line_of_how_it_decides_is_so() {
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("## How it decides\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another after it");
    let (_, lines) = section.split_once("\n\n- ").expect("a list");
    let (lines, _) = lines.split_once("\n\n").expect("its end");
    let lines: Vec<String> = lines
        .split("\n- ")
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let told: Vec<&str> = EXAMPLES.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, told);
    for (line, check) in EXAMPLES {
        eprintln!("{line}");
        check();
    }
}

/// 100 GiB of memory, no swap.
fn seen(available_gib: u64, processes: Vec<Process>) -> Snapshot {
    Snapshot {
        memory: Memory {
            total_bytes: 100 * GIB,
            available_bytes: available_gib * GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    }
}

fn policy() -> Driven {
    Driven::new(Settings::default(), 64)
}

fn first(snapshot: &Snapshot) -> Decision {
    policy().step(SECOND, snapshot).clone()
}

#[track_caller]
fn check_short(processes: Vec<Process>, want: &[&str]) {
    assert_eq!(chosen(&first(&seen(4, processes))), want);
}

fn job() -> Process {
    registered(100, "job", 9, 20 * GIB)
}

fn a_victim_gets_sigterm_and_then_sigkill() {
    let mut policy = policy();
    let decision = policy.step(SECOND, &seen(10, vec![job()]));
    assert_eq!(decision.actions, [Action::Terminate(job().id)]);
    let decision = policy.step(6 * SECOND, &seen(10, vec![job()]));
    assert_eq!(decision.actions, [Action::Kill(job().id)]);
}

fn a_victim_gets_sigkill_at_once() {
    let decision = first(&seen(5, vec![job()]));
    assert_eq!(decision.actions, [Action::Kill(job().id)]);
}

fn free_swap_spares_all() {
    let mut snapshot = seen(4, vec![job()]);
    snapshot.memory.swap_total_bytes = 20 * GIB;
    snapshot.memory.swap_free_bytes = 10 * GIB;
    assert_eq!(first(&snapshot).verdict, Verdict::Idle);
}

fn the_least_value_goes() {
    let five = registered(200, "five", 5, 20 * GIB);
    check_short(vec![job(), five], &["five"]);
}

fn two_may_cost_less_than_one() {
    let jobs = vec![
        registered(100, "two", 2, 6 * GIB),
        registered(200, "three", 3, 6 * GIB),
        registered(300, "six", 6, 12 * GIB),
    ];
    check_short(jobs, &["three", "two"]);
}

fn what_grows_counts_half() {
    let mut policy = policy();
    let at = |second: u64| {
        let leak = registered(100, "leak", 8, second * GIB);
        seen(
            24 - second,
            vec![leak, registered(200, "steady", 5, 20 * GIB)],
        )
    };
    for second in 1..20 {
        let decision = policy.step(Duration::from_secs(second), &at(second));
        if decision.verdict == Verdict::Chosen {
            assert_eq!(chosen(decision), ["leak"], "in second {second}");
            return;
        }
    }
    panic!("nothing was chosen");
}

fn a_session_is_worth_one() {
    let tabs = (200..240).map(|pid| Process {
        seen: Seen {
            session: SessionId(7),
            ..holding(pid, "tab", GIB / 2).seen
        },
        ..holding(pid, "tab", GIB / 2)
    });
    let two = registered(100, "two", 2, 20 * GIB);
    let decision = first(&seen(4, std::iter::once(two).chain(tabs).collect()));
    assert_eq!(chosen(&decision), ["tab"; 22]);
    assert!(decision.lost.rounded_up() <= 1);
}

fn services_come_last() {
    let two = registered(100, "two", 2, 20 * GIB);
    check_short(vec![two, system(200, "service", 20 * GIB)], &["two"]);
}

fn pending_memory_counts() {
    let processes = vec![job(), registered(200, "victim", 1, 20 * GIB)];
    let mut policy = policy();
    assert_eq!(
        chosen(policy.step(SECOND, &seen(4, processes.clone()))),
        ["victim"]
    );
    let decision = policy.step(SECOND * 3 / 2, &seen(4, processes));
    assert!(matches!(
        decision.verdict,
        Verdict::Refused(Refusal::Pending { .. })
    ));
    assert!(decision.actions.is_empty());
}

fn minus_1000_is_never_killed() {
    let spared = Process {
        seen: Seen {
            oom_score_adj: -1000,
            ..holding(100, "spared", 60 * GIB).seen
        },
        ..holding(100, "spared", 60 * GIB)
    };
    check_short(vec![spared], &[]);
}
