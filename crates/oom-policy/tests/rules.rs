//! One rule a test, on snapshots made by hand.

pub mod machine;

use std::time::Duration;

use machine::{
    Driven, GIB, MIB, Machine, Snapshot, Task, chosen, holding, process, registered, system,
};
use oom_policy::{
    Action, Ask, Candidate, Cause, Class, Cost, Decision, Dossier, EndedBy, Event, Level, Memory,
    NextKill, Preference, Process, ProcessId, Protection, Refusal, Seen, SessionId, Settings,
    Verdict,
};

const SECOND: Duration = Duration::from_secs(1);
const TOTAL: u64 = 100 * GIB;

/// 100 GiB of memory, no swap.
fn seen(available_percent: u64, processes: Vec<Process>) -> Snapshot {
    Snapshot {
        memory: Memory {
            total_bytes: TOTAL,
            available_bytes: available_percent * GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    }
}

fn asked(ask: Ask, snapshot: Snapshot) -> Snapshot {
    Snapshot { ask, ..snapshot }
}

fn policy() -> Driven {
    Driven::new(Settings::default(), 16)
}

fn candidate<'a>(decision: &'a Decision, name: &str) -> &'a Candidate {
    decision
        .candidates
        .iter()
        .find(|candidate| candidate.name.to_string() == name)
        .unwrap_or_else(|| panic!("no candidate {name}"))
}

fn pending(decision: &Decision) -> u64 {
    match decision.verdict {
        Verdict::Refused(Refusal::Pending { bytes }) => bytes,
        other => panic!("{other:?} is no promise"),
    }
}

/// What the policy chooses of `processes` at the kill level, each being the
/// first table it sees.
#[track_caller]
fn check_chosen(settings: Settings, processes: Vec<Process>, want: &[&str]) {
    let mut policy = Driven::new(settings, 16);
    let decision = policy.step(SECOND, &seen(5, processes));
    assert_eq!(chosen(decision), want);
}

mod signals {
    use super::*;

    fn job() -> Process {
        registered(100, "job", 1, 20 * GIB)
    }

    #[test]
    fn at_warn_a_victim_is_asked_to_end() {
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(10, vec![job()]));
        assert_eq!(decision.cause, Some(Cause::Level(Level::Warn)));
        assert_eq!(decision.verdict, Verdict::Chosen);
        assert_eq!(decision.actions, [Action::Terminate(job().id)]);
        assert_eq!(decision.wake_after, Some(5 * SECOND));
    }

    #[test]
    fn a_victim_that_stays_is_killed_when_its_grace_is_over() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        let decision = policy.step(3 * SECOND, &seen(10, vec![job()]));
        assert!(decision.actions.is_empty());
        assert_eq!(decision.wake_after, Some(3 * SECOND));
        let decision = policy.step(6 * SECOND, &seen(10, vec![job()]));
        assert_eq!(decision.actions, [Action::Kill(job().id)]);
        assert_eq!(decision.wake_after, Some(SECOND));
    }

    #[test]
    fn who_is_protected_before_its_grace_is_over_is_not_killed() {
        let protected = Process {
            seen: Seen {
                oom_score_adj: -1000,
                ..job().seen
            },
            ..job()
        };
        let other = registered(200, "other", 9, 20 * GIB);
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job(), other]));
        let decision = policy.step(6 * SECOND, &seen(10, vec![protected, other]));
        assert_eq!(decision.actions, [Action::Terminate(other.id)]);
    }

    #[test]
    fn its_grace_ends_whatever_the_memory() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        let plenty = seen(60, vec![job()]);
        let look = policy.look(2 * SECOND, &plenty.memory, Ask::None);
        assert!(look.wake_after <= 4 * SECOND);
        let look = policy.look(6 * SECOND, &plenty.memory, Ask::None);
        assert!(look.wants_table);
        let decision = policy.step(6 * SECOND, &plenty);
        assert_eq!(decision.verdict, Verdict::Idle);
        assert_eq!(decision.actions, [Action::Kill(job().id)]);
    }

    #[test]
    fn its_grace_ends_at_once_when_the_level_becomes_kill() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        let decision = policy.step(2 * SECOND, &seen(5, vec![job()]));
        assert_eq!(decision.actions, [Action::Kill(job().id)]);
        assert_eq!(pending(decision), 20 * GIB);
    }

    #[test]
    fn at_kill_a_victim_is_killed_at_once() {
        let decision = policy().step(SECOND, &seen(5, vec![job()])).clone();
        assert_eq!(decision.actions, [Action::Kill(job().id)]);
        assert_eq!(decision.wake_after, Some(SECOND));
    }

    #[test]
    fn without_a_grace_warn_kills_too() {
        let settings = Settings {
            grace: Duration::ZERO,
            ..Settings::default()
        };
        let mut policy = Driven::new(settings, 16);
        let decision = policy.step(SECOND, &seen(10, vec![job()]));
        assert_eq!(decision.actions, [Action::Kill(job().id)]);
    }

    #[test]
    fn a_victim_that_is_gone_is_left_in_peace() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        policy.learn(2 * SECOND, Event::Gone(job().id));
        let decision = policy.step(20 * SECOND, &seen(60, vec![]));
        assert!(decision.actions.is_empty());
        assert_eq!(decision.wake_after, None);
    }

    #[test]
    fn one_that_vanished_unheard_of_is_too() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        let decision = policy.step(20 * SECOND, &seen(60, vec![]));
        assert!(decision.actions.is_empty());
        assert_eq!(decision.wake_after, None);
    }

    #[test]
    fn a_pid_used_again_is_somebody_else() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, vec![job()]));
        let other = Process {
            seen: Seen {
                id: ProcessId {
                    start_ticks: 999_999,
                    ..job().id
                },
                ..job().seen
            },
            ..job()
        };
        let decision = policy.step(20 * SECOND, &seen(60, vec![other]));
        assert!(decision.actions.is_empty());
        let decision = policy.step(21 * SECOND, &seen(10, vec![other]));
        assert_eq!(decision.actions, [Action::Terminate(other.id)]);
    }

    #[test]
    fn the_largest_unit_and_in_it_the_leader_and_elders_come_first() {
        let started = |pid, start_ticks, process: Process| Process {
            seen: Seen {
                id: ProcessId { pid, start_ticks },
                parent: 50,
                ..process.seen
            },
            ..process
        };
        let processes = vec![
            registered(10, "small", 1, GIB),
            started(20, 9000, holding(0, "late", 5 * GIB)),
            started(30, 8000, holding(0, "early", 5 * GIB)),
            registered(50, "leader", 2, GIB),
        ];
        let decision = policy().step(SECOND, &seen(3, processes)).clone();
        let pids: Vec<u32> = decision
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Terminate(id) | Action::Kill(id) => Some(id.pid),
                _ => None,
            })
            .collect();
        assert_eq!(pids, [50, 30, 20, 10]);
    }
}

mod promises {
    use super::*;

    fn two() -> Vec<Process> {
        vec![
            registered(100, "first", 1, 20 * GIB),
            registered(200, "second", 2, 20 * GIB),
        ]
    }

    #[test]
    fn nobody_else_dies_while_a_victim_is_awaited() {
        let mut policy = policy();
        assert_eq!(chosen(policy.step(SECOND, &seen(10, two()))), ["first"]);
        for tenth in 11..50 {
            let decision = policy.step(tenth * SECOND / 10, &seen(8, two()));
            assert_eq!(pending(decision), 20 * GIB);
            assert!(decision.candidates.is_empty() && decision.actions.is_empty());
        }
    }

    #[test]
    fn a_worse_level_chooses_for_what_is_not_promised() {
        let mut policy = policy();
        let mut processes = two();
        policy.step(SECOND, &seen(10, processes.clone()));
        // The first one gave back almost all it had, and it was taken again.
        processes[0].seen.anon_bytes = GIB;
        let decision = policy.step(2 * SECOND, &seen(4, processes.clone()));
        assert_eq!(chosen(decision), ["second"]);
        assert_eq!(
            decision.actions,
            [Action::Kill(processes[0].id), Action::Kill(processes[1].id)]
        );
        assert_eq!(decision.need_bytes, 10 * GIB);
    }

    #[test]
    fn one_whose_memory_is_being_taken_down_is_awaited_though_it_shows_none() {
        let mut policy = policy();
        let mut processes = two();
        policy.step(SECOND, &seen(10, processes.clone()));
        // Past exit_mm, and not gone: its memory is on its way, while the
        // level has become worse.
        processes[0].seen.anon_bytes = 0;
        processes[0].seen.rss_bytes = 0;
        let decision = policy.step(2 * SECOND, &seen(4, processes.clone()));
        assert_eq!(pending(decision), 20 * GIB);
        assert_eq!(decision.actions, [Action::Kill(processes[0].id)]);
        // Gone, and its memory with it to somebody else.
        policy.learn(2 * SECOND, Event::Gone(processes[0].id));
        processes.remove(0);
        let decision = policy.step(2 * SECOND, &seen(4, processes));
        assert_eq!(chosen(decision), ["second"]);
    }

    #[test]
    fn one_that_outlives_its_deadline_is_passed_over_for_the_next_best() {
        let mut policy = policy();
        policy.step(SECOND, &seen(4, two()));
        let decision = policy.step(SECOND * 19 / 10, &seen(4, two()));
        assert_eq!(pending(decision), 20 * GIB);
        let decision = policy.step(2 * SECOND, &seen(4, two()));
        assert_eq!(chosen(decision), ["second"]);
        assert_eq!(decision.candidates.len(), 1);
        assert_eq!(decision.actions, [Action::Kill(two()[1].id)]);
        // And never chosen again, even when nobody else is left.
        policy.learn(3 * SECOND, Event::Gone(two()[1].id));
        let left = vec![two()[0]];
        let decision = policy.step(10 * SECOND, &seen(4, left));
        assert_eq!(
            decision.verdict,
            Verdict::Refused(Refusal::NothingHelps { eligible_bytes: 0 })
        );
    }

    /// The kernel takes a large one down in more than its deadline.
    #[test]
    fn one_whose_memory_comes_back_is_awaited_beyond_its_deadline() {
        let mut policy = policy();
        let per_mille = |per_mille| {
            let mut snapshot = seen(0, two());
            snapshot.memory.available_bytes = TOTAL * per_mille / 1000;
            snapshot
        };
        policy.step(SECOND, &per_mille(30));
        // 0.5 % of all in half a second.
        for step in 1..8 {
            let now = SECOND + SECOND / 2 * step;
            let decision = policy.step(now, &per_mille(30 + 5 * u64::from(step)));
            assert_eq!(pending(decision), 20 * GIB, "{step}");
            assert_eq!(decision.actions, []);
        }
        // No more comes back.
        let decision = policy.step(SECOND * 5, &per_mille(65));
        assert_eq!(pending(decision), 20 * GIB);
        let decision = policy.step(SECOND * 6, &per_mille(65));
        assert_eq!(chosen(decision), ["second"]);
    }

    #[test]
    fn one_that_may_not_be_signalled_is_passed_over_too() {
        let mut policy = policy();
        policy.step(SECOND, &seen(10, two()));
        policy.learn(SECOND, Event::Refused(two()[0].id));
        let look = policy.look(SECOND, &seen(10, vec![]).memory, Ask::None);
        assert!(look.wants_table);
        assert_eq!(chosen(policy.step(SECOND, &seen(10, two()))), ["second"]);
    }

    #[test]
    fn a_last_call_waits_for_no_longer_than_the_module_does() {
        let mut policy = policy();
        let call = |processes| asked(Ask::LastCall, seen(1, processes));
        assert_eq!(chosen(policy.step(SECOND, &call(two()))), ["first"]);
        let decision = policy.step(SECOND + SECOND / 4, &call(two()));
        assert_eq!(pending(decision), 20 * GIB);
        let decision = policy.step(SECOND + SECOND / 2, &call(two()));
        assert_eq!(chosen(decision), ["second"]);
    }
}

mod wills {
    use super::*;

    fn will(policy: &mut Driven, snapshot: &Snapshot) -> Vec<NextKill> {
        let mut will = Vec::with_capacity(8);
        policy.will(&snapshot.processes, &mut will);
        will
    }

    fn names(will: &[NextKill], snapshot: &Snapshot) -> Vec<String> {
        let name = |kill: &NextKill| {
            let mut processes = snapshot.processes.iter();
            let process = processes.find(|process| process.id == kill.id);
            process.map_or_else(String::new, |process| process.name.to_string())
        };
        will.iter().map(name).collect()
    }

    #[test]
    fn the_most_for_its_value_goes_first_and_what_is_never_killed_is_left_out() {
        let mut worker = holding(310, "worker", 2 * GIB);
        worker.seen.parent = 300;
        let protected = Process {
            seen: Seen {
                oom_score_adj: -1000,
                ..registered(400, "protected", 0, 30 * GIB).seen
            },
            ..registered(400, "protected", 0, 30 * GIB)
        };
        let snapshot = seen(
            50,
            vec![
                registered(100, "nine", 9, 20 * GIB),
                registered(200, "five", 5, 20 * GIB),
                registered(300, "one", 1, 18 * GIB),
                worker,
                protected,
                system(500, "service", 20 * GIB),
            ],
        );
        let mut policy = policy();
        policy.step(SECOND, &snapshot);
        let will = will(&mut policy, &snapshot);
        let want = ["one", "worker", "five", "nine", "service"];
        assert_eq!(names(&will, &snapshot), want);
        let places: Vec<u32> = will.iter().map(|kill| kill.place).collect();
        assert_eq!(places, [1, 1, 2, 3, 4]);
        let lost: Vec<u64> = will.iter().map(|kill| kill.lost.rounded_up()).collect();
        assert_eq!(lost, [1, 0, 5, 9, 1]);
    }

    #[test]
    fn the_system_class_is_left_alone_where_it_could_not_cover_the_need_either() {
        let snapshot = seen(
            50,
            vec![
                registered(100, "job", 9, 2 * GIB),
                system(500, "service", 2 * GIB),
            ],
        );
        let mut policy = policy();
        policy.step(SECOND, &snapshot);
        let will = will(&mut policy, &snapshot);
        assert_eq!(names(&will, &snapshot), ["job"]);
    }

    #[test]
    fn victims_in_their_grace_come_first_and_those_already_killed_not_at_all() {
        let mut snapshot = seen(
            10,
            vec![
                registered(100, "job", 1, 20 * GIB),
                registered(200, "other", 9, 20 * GIB),
            ],
        );
        let mut policy = policy();
        policy.step(SECOND, &snapshot);
        let asked = will(&mut policy, &snapshot);
        assert_eq!(names(&asked, &snapshot), ["job", "other"]);
        assert_eq!(asked[0].place, 0);
        snapshot.memory.available_bytes = 5 * GIB;
        policy.step(SECOND, &snapshot);
        let killed = will(&mut policy, &snapshot);
        assert_eq!(names(&killed, &snapshot), ["other"]);
    }

    #[test]
    fn of_more_than_there_is_room_for_the_first_are_named() {
        let jobs = |pid| registered(pid, "job", pid, 2 * GIB);
        let snapshot = seen(50, (100..140).map(jobs).collect());
        let mut policy = policy();
        policy.step(SECOND, &snapshot);
        let will = will(&mut policy, &snapshot);
        let pids: Vec<u32> = will.iter().map(|kill| kill.id.pid).collect();
        assert_eq!(pids, (100..108).collect::<Vec<_>>());
    }

    #[test]
    fn it_leaves_no_trace() {
        let mut machines = [0, 1].map(|_| policy());
        let mut named = 0;
        for second in 0..60 {
            let snapshot = seen(
                [50, 20, 9, 8, 4, 3][usize::try_from(second / 10).expect("small")],
                vec![
                    registered(100, "leak", 8, (second + 1) * 250 * MIB),
                    registered(200, "cheap", 2, 6 * GIB),
                    holding(300, "shell", 3 * GIB),
                    system(500, "service", 5 * GIB),
                ],
            );
            let now = Duration::from_secs(second);
            let [plain, asked] = &mut machines;
            let look = |policy: &mut Driven| policy.look(now, &snapshot.memory, Ask::None);
            assert_eq!(look(plain), look(asked));
            plain.step(now, &snapshot);
            asked.step(now, &snapshot);
            named += will(asked, &snapshot).len();
            assert_eq!(
                format!("{:?}", plain.guard.decision()),
                format!("{:?}", asked.guard.decision())
            );
        }
        assert!(named > 60, "{named}");
    }

    #[test]
    fn what_was_killed_by_it_is_awaited_and_charged_like_a_victim() {
        let mut policy = policy();
        let job = registered(100, "job", 1, 20 * GIB);
        let other = registered(200, "other", 9, 20 * GIB);
        let snapshot = seen(50, vec![job, other]);
        policy.step(SECOND, &snapshot);
        let first = will(&mut policy, &snapshot)[0];
        assert_eq!(first.id, job.id);
        let process = &job;
        let lost = first.lost;
        policy.learn(
            2 * SECOND,
            Event::Killed {
                process,
                lost,
                by: EndedBy::Kill,
            },
        );
        assert!(policy.guard.awaits(job.id));
        let decision = policy.step(2 * SECOND, &seen(5, vec![job, other]));
        assert_eq!(pending(decision), 20 * GIB);
        // It outlives its deadline.
        let decision = policy.step(3 * SECOND, &seen(5, vec![job, other]));
        assert_eq!(chosen(decision), ["other"]);
    }
}

mod asks {
    use super::*;

    #[test]
    fn at_ok_and_unasked_nobody_dies() {
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(11, vec![registered(100, "job", 0, GIB)]));
        assert_eq!(decision.verdict, Verdict::Idle);
        assert_eq!(decision.cause, None);
        assert!(decision.actions.is_empty() && decision.candidates.is_empty());
    }

    #[test]
    fn relief_asks_to_end_what_covers_memory_up_to_recovery() {
        let processes = vec![
            registered(100, "small", 1, GIB),
            registered(200, "large", 2, 8 * GIB),
        ];
        let mut policy = policy();
        let decision = policy.step(SECOND, &asked(Ask::Relief, seen(12, processes)));
        assert_eq!(decision.cause, Some(Cause::Relief));
        // Three are missing to recovery, but a twentieth is the least.
        assert_eq!(decision.need_bytes, 5 * GIB);
        assert_eq!(
            decision.actions,
            [Action::Terminate(ProcessId {
                pid: 200,
                start_ticks: 20_000,
            })]
        );
    }

    #[test]
    fn relief_that_may_not_signal_its_victim_is_followed_by_no_interval() {
        let processes = vec![
            registered(100, "first", 1, 8 * GIB),
            registered(200, "second", 2, 8 * GIB),
        ];
        let relief = asked(Ask::Relief, seen(12, processes));
        let mut policy = policy();
        assert_eq!(chosen(policy.step(SECOND, &relief)), ["first"]);
        policy.learn(SECOND, Event::Refused(relief.processes[0].id));
        assert_eq!(chosen(policy.step(SECOND, &relief)), ["second"]);
    }

    #[test]
    fn after_relief_an_interval_passes_before_the_next() {
        let processes = |pid| vec![registered(pid, "job", 1, 8 * GIB)];
        let relief = |pid| asked(Ask::Relief, seen(12, processes(pid)));
        let mut policy = policy();
        assert_eq!(policy.step(SECOND, &relief(100)).verdict, Verdict::Chosen);
        policy.learn(2 * SECOND, Event::Gone(processes(100)[0].id));
        let refusal = Refusal::RecoveryInterval {
            remaining: 10 * SECOND,
        };
        assert_eq!(
            policy.step(6 * SECOND, &relief(200)).verdict,
            Verdict::Refused(refusal)
        );
        // It holds back relief only, never a level.
        let decision = policy.step(7 * SECOND, &seen(10, processes(200)));
        assert_eq!(decision.verdict, Verdict::Chosen);
        policy.learn(8 * SECOND, Event::Gone(processes(200)[0].id));
        assert_eq!(
            policy.step(16 * SECOND, &relief(300)).verdict,
            Verdict::Chosen
        );
    }

    #[test]
    fn relief_takes_the_best_there_is_where_all_together_are_not_enough() {
        let mut policy = policy();
        let processes = vec![
            registered(100, "small", 1, 100 * MIB),
            registered(200, "job", 2, GIB),
            system(300, "service", GIB),
        ];
        let snapshot = asked(Ask::Relief, seen(12, processes));
        let decision = policy.step(SECOND, &snapshot);
        assert_eq!(chosen(decision), ["job"]);
        assert!(!decision.covers_need);
        assert_eq!(
            decision.actions,
            [Action::Terminate(snapshot.processes[1].id)]
        );
    }

    #[test]
    fn relief_where_nothing_may_be_chosen_ends_nobody() {
        let mut policy = policy();
        let processes = vec![system(300, "service", GIB)];
        let decision = policy.step(SECOND, &asked(Ask::Relief, seen(12, processes)));
        assert_eq!(
            decision.verdict,
            Verdict::Refused(Refusal::NothingHelps { eligible_bytes: 0 })
        );
        assert!(decision.actions.is_empty());
    }

    #[test]
    fn an_idle_units_swap_relieves_nothing() {
        let idle = Process {
            seen: Seen {
                swap_bytes: 20 * GIB,
                ..registered(100, "idle", 1, GIB).seen
            },
            ..registered(100, "idle", 1, GIB)
        };
        let faulting = |major_faults| Process {
            seen: Seen {
                swap_bytes: 20 * GIB,
                major_faults,
                ..registered(200, "faulting", 2, GIB).seen
            },
            ..registered(200, "faulting", 2, GIB)
        };
        let mut policy = policy();
        let mut snapshot = seen(12, vec![idle, faulting(7)]);
        policy.step(SECOND, &snapshot);
        snapshot.processes[1] = faulting(8);
        let decision = policy.step(2 * SECOND, &asked(Ask::Relief, snapshot));
        assert_eq!(chosen(decision), ["faulting"]);
        assert_eq!(candidate(decision, "idle").frees_bytes, GIB);
        assert_eq!(candidate(decision, "faulting").frees_bytes, 21 * GIB);
    }

    #[test]
    fn a_last_call_kills_at_once_for_memory_alone() {
        let swapped = Process {
            seen: Seen {
                swap_bytes: 50 * GIB,
                ..registered(100, "swapped", 1, 0).seen
            },
            ..registered(100, "swapped", 1, 0)
        };
        let processes = vec![swapped, registered(200, "resident", 2, 3 * GIB)];
        let mut policy = policy();
        let call = asked(Ask::LastCall, seen(50, processes));
        assert!(policy.look(SECOND, &call.memory, Ask::LastCall).wants_table);
        let decision = policy.step(SECOND, &call);
        assert_eq!(decision.cause, Some(Cause::LastCall));
        assert_eq!(decision.level, Level::Ok);
        assert_eq!(decision.need_bytes, 2 * GIB);
        assert_eq!(chosen(decision), ["resident"]);
        assert!(matches!(decision.actions[..], [Action::Kill(_)]));
    }
}

mod choice {
    use super::*;

    #[test]
    fn the_least_value_that_covers_the_need_goes() {
        // Ten are missing: 3 + 4 cover them for 7, biggest-first takes 9.
        check_chosen(
            Settings::default(),
            vec![
                registered(100, "nine", 9, 30 * GIB),
                registered(200, "three", 3, 5 * GIB),
                registered(300, "four", 4, 6 * GIB),
                registered(400, "eight", 8, 9 * GIB),
            ],
            &["four", "three"],
        );
    }

    #[test]
    fn of_the_same_value_the_fewest_go() {
        check_chosen(
            Settings::default(),
            vec![
                registered(100, "one", 1, 5 * GIB),
                registered(200, "other", 1, 5 * GIB),
                registered(300, "both", 2, 10 * GIB),
            ],
            &["both"],
        );
    }

    #[test]
    fn of_the_same_value_and_number_what_gives_back_the_most_goes() {
        check_chosen(
            Settings::default(),
            vec![
                registered(100, "less", 3, 11 * GIB),
                registered(200, "more", 3, 15 * GIB),
            ],
            &["more"],
        );
    }

    #[test]
    fn of_those_alike_in_all_that_the_youngest_goes() {
        let started = |pid, name, start_ticks| Process {
            seen: Seen {
                id: ProcessId { pid, start_ticks },
                ..registered(pid, name, 3, 12 * GIB).seen
            },
            ..registered(pid, name, 3, 12 * GIB)
        };
        check_chosen(
            Settings::default(),
            vec![
                started(100, "middle", 200),
                started(200, "youngest", 300),
                started(300, "oldest", 100),
            ],
            &["youngest"],
        );
    }

    #[test]
    fn the_youngest_is_not_preferred_where_it_would_not_be_enough() {
        let started = |pid, name, start_ticks, bytes| Process {
            seen: Seen {
                id: ProcessId { pid, start_ticks },
                ..registered(pid, name, 3, bytes).seen
            },
            ..registered(pid, name, 3, bytes)
        };
        check_chosen(
            Settings::default(),
            vec![
                started(100, "old", 100, 10 * GIB),
                started(200, "young", 300, 10 * GIB - 8192),
            ],
            &["old"],
        );
    }

    #[test]
    fn what_is_worth_nothing_goes_first_but_never_needlessly() {
        check_chosen(
            Settings::default(),
            vec![
                registered(100, "nothing", 0, 12 * GIB),
                registered(200, "little", 0, GIB),
                registered(300, "something", 1, 12 * GIB),
            ],
            &["nothing"],
        );
    }

    #[test]
    fn a_judged_unit_goes_before_the_systems() {
        check_chosen(
            Settings::default(),
            vec![
                system(100, "service", 20 * GIB),
                registered(200, "job", 9, 12 * GIB),
            ],
            &["job"],
        );
    }

    #[test]
    fn the_system_adds_the_least_it_must_and_nobody_dies_whom_that_makes_needless() {
        // Eleven judged, and fourteen missing: the system adds at least three,
        // and its smallest that does gives enough to spare the dear one.
        let processes = vec![
            system(100, "large", 12 * GIB),
            system(200, "tiny", GIB),
            registered(300, "dear", 9, GIB),
            registered(400, "cheap", 1, 10 * GIB),
        ];
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(1, processes));
        assert_eq!(decision.need_bytes, 14 * GIB);
        assert_eq!(chosen(decision), ["cheap", "large"]);
        assert!(decision.covers_need);
    }

    #[test]
    fn at_warn_the_system_is_left_alone() {
        let processes = vec![
            system(100, "service", 50 * GIB),
            registered(200, "job", 1, GIB),
        ];
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(8, processes.clone()));
        assert_eq!(
            decision.verdict,
            Verdict::Refused(Refusal::NothingHelps {
                eligible_bytes: GIB
            })
        );
        let decision = policy.step(2 * SECOND, &seen(5, processes));
        assert_eq!(chosen(decision), ["service"]);
    }

    #[test]
    fn where_nothing_helps_kill_takes_one_unit_and_looks_again() {
        let processes = vec![
            registered(100, "dear", 9, GIB),
            registered(200, "cheap", 1, GIB / 2),
            registered(300, "also", 1, GIB / 4),
        ];
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(2, processes.clone()));
        assert_eq!(chosen(decision), ["cheap"]);
        assert!(!decision.covers_need);
        let decision = policy.step(2 * SECOND - SECOND / 10, &seen(2, processes.clone()));
        assert_eq!(pending(decision), GIB / 2);
        policy.learn(2 * SECOND, Event::Gone(processes[1].id));
        let left = vec![processes[0], processes[2]];
        let decision = policy.step(2 * SECOND, &seen(2, left));
        assert_eq!(chosen(decision), ["also"]);
    }

    #[test]
    fn forty_thousand_processes_are_no_more_trouble_than_four() {
        let mut processes: Vec<Process> = (0..40_000)
            .map(|fork| Process {
                seen: Seen {
                    session: SessionId(3),
                    ..holding(1000 + fork, "fork", 2 * MIB).seen
                },
                ..holding(1000 + fork, "fork", 2 * MIB)
            })
            .collect();
        processes.push(registered(100_000, "job", 9, 8 * GIB));
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(5, processes));
        assert!(decision.covers_need);
        assert!(chosen(decision).iter().all(|name| name == "fork"));
        assert_eq!(chosen(decision).len(), 5 * 1024);
        assert!(decision.lost.rounded_up() <= 1);
    }
}

mod worth {
    use super::*;

    #[test]
    fn a_group_shares_one_by_what_its_processes_hold() {
        let of = |session, process: Process| Process {
            seen: Seen {
                session: SessionId(session),
                ..process.seen
            },
            ..process
        };
        let processes = vec![
            of(7, holding(100, "tab", 3 * GIB)),
            of(7, holding(200, "window", GIB)),
            of(8, holding(300, "editor", 8 * GIB)),
        ];
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(4, processes));
        let counted = |name| candidate(decision, name).explanation.cost.parts();
        assert_eq!(counted("tab"), 3072);
        assert_eq!(counted("window"), 1024);
        assert_eq!(counted("editor"), 4096);
        assert_eq!(decision.lost.rounded_up(), 2);
    }

    #[test]
    fn a_value_beyond_the_most_counts_as_the_most() {
        let mut policy = policy();
        let decision = policy.step(
            SECOND,
            &seen(5, vec![registered(100, "job", u32::MAX, 20 * GIB)]),
        );
        assert_eq!(
            candidate(decision, "job").explanation.value(),
            Some(1_000_000)
        );
    }

    #[test]
    fn preferred_goes_first_and_avoided_last() {
        let said = |preference, process: Process| Process {
            dossier: Dossier {
                preference,
                ..process.dossier
            },
            ..process
        };
        let processes = vec![
            said(Preference::Prefer, holding(100, "preferred", 11 * GIB)),
            holding(200, "ordinary", 11 * GIB),
            said(Preference::Avoid, holding(300, "avoided", 30 * GIB)),
        ];
        check_chosen(Settings::default(), processes.clone(), &["preferred"]);
        check_chosen(Settings::default(), processes[1..].to_vec(), &["ordinary"]);
        check_chosen(Settings::default(), processes[2..].to_vec(), &["avoided"]);
    }

    #[test]
    fn a_word_about_names_does_not_change_what_is_registered() {
        let avoided = Process {
            dossier: Dossier {
                preference: Preference::Avoid,
                ..registered(100, "job", 1, 20 * GIB).dossier
            },
            ..registered(100, "job", 1, 20 * GIB)
        };
        check_chosen(
            Settings::default(),
            vec![avoided, registered(200, "other", 2, 20 * GIB)],
            &["job"],
        );
    }

    #[test]
    fn what_a_session_needs_is_last_of_the_last() {
        let critical = Process {
            dossier: Dossier {
                critical_below_bytes: u64::MAX,
                ..system(100, "sshd", 30 * GIB).dossier
            },
            ..system(100, "sshd", 30 * GIB)
        };
        check_chosen(
            Settings::default(),
            vec![critical, system(200, "database", 12 * GIB)],
            &["database"],
        );
    }

    /// What of `processes`, each allowed so many MiB, is left alone beside a job
    /// that is worth more and covers the need.
    #[track_caller]
    fn check_spared(allowed_mib: u64, processes: Vec<Process>, want: &[&str]) {
        let mut processes: Vec<Process> = processes
            .into_iter()
            .map(|process| Process {
                dossier: Dossier {
                    critical_below_bytes: allowed_mib * MIB,
                    ..process.dossier
                },
                ..process
            })
            .collect();
        let names = processes.clone();
        processes.push(registered(9000, "job", 2, 20 * GIB));
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(5, processes));
        let spared: Vec<String> = names
            .iter()
            .map(|process| process.name.to_string())
            .filter(|name| candidate(decision, name).class == Class::System)
            .collect();
        assert_eq!(spared, want);
    }

    #[test]
    fn what_a_session_needs_is_critical_up_to_what_it_needs() {
        let bus = |mib| vec![holding(100, "dbus-daemon", mib * MIB)];
        check_spared(64, bus(8), &["dbus-daemon"]);
        check_spared(64, bus(64), &[]);
        check_spared(64, bus(300), &[]);
        check_spared(
            2048,
            vec![holding(100, "gnome-shell", 600 * MIB)],
            &["gnome-shell"],
        );
        // What it has swapped and what it shares count too.
        let swapped = Process {
            seen: Seen {
                swap_bytes: 40 * MIB,
                shmem_bytes: 20 * MIB,
                ..holding(100, "dbus-daemon", 8 * MIB).seen
            },
            ..holding(100, "dbus-daemon", 8 * MIB)
        };
        check_spared(64, vec![swapped], &[]);
    }

    #[test]
    fn what_grows_past_its_allowance_is_critical_no_longer_and_again_once_it_shrinks() {
        let mut policy = policy();
        for (second, mib, want) in [
            (1, 8, Class::System),
            (20, 80, Class::Ordinary),
            (40, 8, Class::System),
        ] {
            let bus = Process {
                dossier: Dossier {
                    critical_below_bytes: 64 * MIB,
                    ..holding(100, "dbus-daemon", mib * MIB).dossier
                },
                ..holding(100, "dbus-daemon", mib * MIB)
            };
            let job = registered(9000 + second, "job", 2, 20 * GIB);
            let decision = policy.step(second * SECOND, &seen(5, vec![bus, job]));
            assert_eq!(candidate(decision, "dbus-daemon").class, want, "{mib} MiB");
            policy.learn(second * SECOND, Event::Gone(job.id));
        }
    }

    #[test]
    fn one_users_programs_share_an_allowance_and_the_smallest_come_first() {
        let of = |uid, pid, name| Process {
            seen: Seen {
                uid,
                ..holding(pid, name, 31 * MIB).seen
            },
            ..holding(pid, name, 31 * MIB)
        };
        let bus = holding(100, "bus", 3 * MIB);
        check_spared(
            64,
            vec![
                of(1000, 200, "first"),
                of(1000, 300, "second"),
                bus,
                of(1001, 400, "other"),
            ],
            &["first", "bus", "other"],
        );
        let roots = (1..5).map(|pid| of(0, pid * 100, "root")).collect();
        check_spared(64, roots, &["root"; 4]);
    }

    #[test]
    fn services_of_dynamic_users_are_the_systems() {
        let dynamic = Process {
            seen: Seen {
                uid: 61_500,
                login: false,
                ..holding(100, "service", 30 * GIB).seen
            },
            ..holding(100, "service", 30 * GIB)
        };
        let mut policy = policy();
        let decision = policy.step(SECOND, &seen(5, vec![dynamic]));
        assert_eq!(candidate(decision, "service").class, Class::System);
    }

    #[test]
    fn registered_only_leaves_the_rest_alone() {
        let settings = Settings {
            registered_only: true,
            ..Settings::default()
        };
        check_chosen(
            settings,
            vec![
                holding(100, "ordinary", 50 * GIB),
                system(200, "service", 50 * GIB),
                registered(300, "job", 9, 12 * GIB),
            ],
            &["job"],
        );
    }

    #[test]
    fn the_protected_are_never_chosen() {
        let protected = |pid, protection| Process {
            dossier: Dossier {
                protection: Some(protection),
                ..registered(pid, "protected", 0, 50 * GIB).dossier
            },
            ..registered(pid, "protected", 0, 50 * GIB)
        };
        let kernel_thread = Process {
            seen: Seen {
                is_kernel_thread: true,
                ..registered(10, "kworker", 0, 50 * GIB).seen
            },
            ..registered(10, "kworker", 0, 50 * GIB)
        };
        let exempt = Process {
            seen: Seen {
                oom_score_adj: -1000,
                ..registered(60, "exempt", 0, 50 * GIB).seen
            },
            ..registered(60, "exempt", 0, 50 * GIB)
        };
        check_chosen(
            Settings::default(),
            vec![
                registered(1, "init", 0, 50 * GIB),
                kernel_thread,
                protected(20, Protection::Ours),
                protected(30, Protection::Ancestor),
                protected(40, Protection::Ignored),
                protected(50, Protection::NotPermitted),
                exempt,
                registered(100, "job", 1_000_000, 12 * GIB),
            ],
            &["job"],
        );
    }
}

mod units {
    use super::*;

    fn child(parent: u32, process: Process) -> Process {
        Process {
            seen: Seen {
                parent,
                ..process.seen
            },
            ..process
        }
    }

    #[track_caller]
    fn check_units(settings: Settings, processes: Vec<Process>, want: &[(&str, u32, Option<u32>)]) {
        let mut policy = Driven::new(settings, 16);
        let decision = policy.step(SECOND, &seen(5, processes));
        let mut units: Vec<(String, u32, Option<u32>)> = decision
            .candidates
            .iter()
            .map(|unit| {
                let value = unit.explanation.value();
                (unit.name.to_string(), unit.processes, value)
            })
            .collect();
        units.sort();
        let want: Vec<(String, u32, Option<u32>)> = want
            .iter()
            .map(|(name, processes, value)| ((*name).to_owned(), *processes, *value))
            .collect();
        assert_eq!(units, want);
    }

    #[test]
    fn a_registered_process_takes_its_descendants_with_it() {
        check_units(
            Settings::default(),
            vec![
                registered(100, "train", 9, GIB),
                child(100, holding(200, "loader", GIB)),
                child(200, holding(300, "worker", GIB)),
                holding(400, "other", GIB),
            ],
            &[("other", 1, None), ("train", 3, Some(9))],
        );
    }

    #[test]
    fn all_of_a_unit_is_signalled() {
        let mut policy = policy();
        let processes = vec![
            registered(100, "train", 9, 6 * GIB),
            child(100, holding(200, "loader", 6 * GIB)),
        ];
        let ids = [processes[0].id, processes[1].id];
        let decision = policy.step(SECOND, &seen(5, processes));
        assert_eq!(decision.actions, ids.map(Action::Kill));
        assert_eq!(decision.frees_bytes, 12 * GIB);
    }

    #[test]
    fn a_child_that_its_owner_may_not_signal_is_its_own() {
        let roots = |process: Process| Process {
            seen: Seen {
                uid: 0,
                ..process.seen
            },
            ..process
        };
        check_units(
            Settings::default(),
            vec![
                registered(100, "shell", 9, GIB),
                child(100, roots(holding(200, "sudo", GIB))),
                roots(registered(300, "manager", 5, GIB)),
                child(300, holding(400, "job", GIB)),
            ],
            &[
                ("manager", 2, Some(5)),
                ("shell", 1, Some(9)),
                ("sudo", 1, None),
            ],
        );
    }

    #[test]
    fn above_an_entry_that_does_not_cover_a_child_another_may() {
        let roots = |process: Process| Process {
            seen: Seen {
                uid: 0,
                ..process.seen
            },
            ..process
        };
        check_units(
            Settings::default(),
            vec![
                roots(registered(100, "manager", 5, GIB)),
                child(100, registered(200, "job", 9, GIB)),
                child(200, roots(holding(300, "setuid", GIB))),
            ],
            &[("job", 1, Some(9)), ("manager", 2, Some(5))],
        );
    }

    #[test]
    fn an_entry_of_what_is_never_ended_counts_for_its_descendants() {
        let shell = Process {
            dossier: Dossier {
                protection: Some(Protection::Ancestor),
                ..registered(100, "shell", 8, GIB).dossier
            },
            ..registered(100, "shell", 8, GIB)
        };
        check_units(
            Settings::default(),
            vec![
                shell,
                child(100, holding(200, "make", GIB)),
                child(200, holding(300, "cc", GIB)),
            ],
            &[("make", 2, Some(8))],
        );
    }

    #[test]
    fn an_entry_for_the_first_process_makes_no_unit_of_the_machine() {
        check_units(
            Settings::default(),
            vec![registered(1, "init", 9, GIB), holding(100, "job", GIB)],
            &[("job", 1, None)],
        );
    }

    #[test]
    fn a_session_does_not_die_with_the_program_that_registered_it() {
        let shell = Process {
            dossier: Dossier {
                critical_below_bytes: u64::MAX,
                ..holding(200, "gnome-shell", GIB).dossier
            },
            ..holding(200, "gnome-shell", GIB)
        };
        check_units(
            Settings::default(),
            vec![
                registered(100, "session", 9, GIB),
                child(100, shell),
                child(100, holding(300, "app", GIB)),
            ],
            &[("gnome-shell", 1, None), ("session", 2, Some(9))],
        );
    }

    #[test]
    fn a_parent_younger_than_its_child_is_a_pid_used_again() {
        let young = Process {
            seen: Seen {
                id: ProcessId {
                    pid: 100,
                    start_ticks: 999_999,
                },
                ..registered(100, "young", 9, GIB).seen
            },
            ..registered(100, "young", 9, GIB)
        };
        check_units(
            Settings::default(),
            vec![young, child(100, holding(200, "orphan", GIB))],
            &[("orphan", 1, None), ("young", 1, Some(9))],
        );
    }

    #[test]
    fn parents_in_a_circle_are_nobodys_descendants() {
        let same_age = |pid, parent| Process {
            seen: Seen {
                id: ProcessId {
                    pid,
                    start_ticks: 5,
                },
                parent,
                ..holding(pid, "circle", GIB).seen
            },
            ..holding(pid, "circle", GIB)
        };
        check_units(
            Settings::default(),
            vec![same_age(100, 200), same_age(200, 300), same_age(300, 100)],
            &[
                ("circle", 1, None),
                ("circle", 1, None),
                ("circle", 1, None),
            ],
        );
    }

    #[test]
    fn by_group_a_group_is_one_unit_worth_the_sum_of_its_entries() {
        let settings = Settings {
            by_group: true,
            ..Settings::default()
        };
        let of = |group, process: Process| Process {
            seen: Seen {
                group,
                ..process.seen
            },
            ..process
        };
        let protected = Process {
            dossier: Dossier {
                protection: Some(Protection::Ancestor),
                ..holding(250, "shell", GIB).dossier
            },
            ..holding(250, "shell", GIB)
        };
        check_units(
            settings,
            vec![
                of(200, registered(100, "wrapped", 2, GIB)),
                registered(200, "leader", 3, GIB),
                of(200, protected),
                // Its group has no entry, but it descends from one that has.
                child(200, holding(300, "batch", GIB)),
                of(300, holding(310, "member", GIB)),
                of(400, holding(400, "pipe", GIB)),
                of(400, holding(500, "line", GIB)),
            ],
            &[("leader", 4, Some(5)), ("pipe", 2, None)],
        );
    }
}

mod growth {
    use super::*;

    /// Steps `seconds` times, a second apart, from plenty down to the kill
    /// level; `at` gives what is held after so many seconds. All that processes
    /// take is missing from memory.
    fn watch(seconds: u64, at: impl Fn(u64) -> Vec<Process>) -> Decision {
        let held = |processes: &[Process]| -> u64 {
            processes.iter().map(|process| process.anon_bytes).sum()
        };
        let at_last = held(&at(seconds));
        let mut policy = policy();
        for second in 0..seconds {
            let mut snapshot = seen(5, at(second));
            // Not short before the end, by the size of the machine.
            snapshot.memory.total_bytes = GIB;
            let more = at_last.saturating_sub(held(&snapshot.processes));
            snapshot.memory.available_bytes += more;
            let decision = policy.step(Duration::from_secs(second), &snapshot);
            assert_eq!(decision.verdict, Verdict::Idle);
        }
        let mut snapshot = seen(5, at(seconds));
        snapshot.memory.available_bytes = 5 * GIB;
        policy.step(Duration::from_secs(seconds), &snapshot).clone()
    }

    #[test]
    fn a_rate_is_what_was_taken_lately() {
        let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
            .with(Task::growing(registered(100, "hog", 5, 0), 500 * MIB))
            .with(Task::steady(registered(200, "job", 9, GIB)));
        machine.run_for(10 * SECOND);
        let snapshot = machine.snapshot();
        let decision = machine
            .policy
            .step(machine.now, &asked(Ask::LastCall, snapshot));
        let rate = candidate(decision, "hog").growth_bytes_per_second;
        assert!((490 * MIB..=510 * MIB).contains(&rate), "{rate}");
        assert_eq!(candidate(decision, "job").growth_bytes_per_second, 0);
    }

    #[test]
    fn what_grows_counts_half_and_what_stays_takes_more() {
        let at = |second: u64| {
            vec![
                registered(100, "leak", 8, GIB + second * GIB),
                registered(200, "job", 5, 50 * GIB),
            ]
        };
        let decision = watch(20, at);
        let leak = candidate(&decision, "leak");
        assert!(leak.explanation.growing && !leak.explanation.outgrows);
        assert_eq!(leak.explanation.cost, Cost::of_value(4));
        assert_eq!(leak.growth_bytes_per_second, GIB);
        assert_eq!(leak.frees_bytes, 21 * GIB + 5 * GIB);
        assert_eq!(decision.need_bytes, 10 * GIB + 5 * GIB);
        assert_eq!(chosen(&decision), ["leak"]);
    }

    /// It takes 45 GiB in as many seconds, and all that could be freed is 35.
    #[test]
    fn what_outgrows_memory_counts_a_thirty_second() {
        let at = |second: u64| {
            vec![
                registered(100, "leak", 32, GIB + second * GIB),
                registered(200, "job", 2, 30 * GIB),
            ]
        };
        let decision = watch(20, at);
        let leak = candidate(&decision, "leak");
        assert!(leak.explanation.outgrows);
        assert_eq!(leak.explanation.cost, Cost::of_value(1));
        assert_eq!(chosen(&decision), ["leak"]);
    }

    /// The same rate, but for some seconds only: a load.
    #[test]
    fn a_burst_does_not_outgrow_memory() {
        let at = |second: u64| {
            vec![
                registered(100, "load", 32, GIB + second.saturating_sub(12) * GIB),
                registered(200, "job", 2, 38 * GIB),
            ]
        };
        let decision = watch(20, at);
        let load = candidate(&decision, "load").explanation;
        assert!(load.growing && !load.outgrows);
        assert_eq!(load.cost, Cost::of_value(16));
        assert_eq!(chosen(&decision), ["job"]);
    }

    #[test]
    fn what_was_loading_and_has_loaded_counts_in_full() {
        let at = |second: u64| {
            vec![
                registered(100, "loaded", 8, second.min(14) * GIB),
                registered(200, "leak", 8, second * GIB / 2),
            ]
        };
        let decision = watch(20, at);
        assert!(!candidate(&decision, "loaded").explanation.growing);
        assert!(candidate(&decision, "leak").explanation.growing);
    }

    #[test]
    fn without_a_horizon_growth_counts_for_nothing_more() {
        let settings = Settings {
            horizon: Duration::ZERO,
            ..Settings::default()
        };
        let mut policy = Driven::new(settings, 16);
        for second in 0..10 {
            let mut snapshot = seen(15, vec![registered(100, "leak", 8, (second + 1) * GIB)]);
            snapshot.memory.available_bytes -= second * GIB;
            snapshot.ask = Ask::None;
            let decision = policy.step(Duration::from_secs(second), &snapshot);
            for leak in &decision.candidates {
                assert_eq!(leak.frees_bytes, leak.held_bytes);
            }
        }
    }

    #[test]
    fn forks_share_their_parents_pages_and_grew_by_none() {
        let fork = |pid| Process {
            seen: Seen {
                parent: 100,
                ..holding(pid, "child", 10 * GIB).seen
            },
            ..holding(pid, "child", 10 * GIB)
        };
        let at = |second: u64| {
            let mut processes = vec![holding(100, "parent", 10 * GIB)];
            if second == 3 {
                processes.extend([fork(200), fork(300), fork(400)]);
            }
            processes
        };
        let mut policy = policy();
        for second in 0..3 {
            policy.step(Duration::from_secs(second), &seen(5, at(second)));
        }
        let call = asked(Ask::LastCall, seen(5, at(3)));
        let decision = policy.step(3 * SECOND, &call);
        assert!(!decision.candidates.is_empty());
        for child in &decision.candidates {
            assert_eq!(child.growth_bytes_per_second, 0);
            assert!(!child.explanation.growing);
        }
    }

    #[test]
    fn a_pool_of_workers_that_come_and_go_is_no_leak() {
        let at = |second: u32| {
            let worker = |pid| Process {
                seen: Seen {
                    parent: 100,
                    ..holding(pid, "worker", 5 * GIB).seen
                },
                ..holding(pid, "worker", 5 * GIB)
            };
            vec![
                registered(100, "pool", 3, GIB),
                worker(1000 + 2 * second),
                worker(1001 + 2 * second),
            ]
        };
        let mut policy = policy();
        for second in 0..15 {
            policy.step(Duration::from_secs(second.into()), &seen(50, at(second)));
        }
        let decision = policy.step(15 * SECOND, &seen(5, at(15)));
        let pool = candidate(decision, "pool");
        assert!(!pool.explanation.growing);
        assert_eq!(pool.growth_bytes_per_second, 0);
    }

    #[test]
    fn a_system_process_that_grew_like_a_bomb_is_judged_with_the_rest() {
        let bomb = |bytes| vec![system(100, "bomb", bytes)];
        let class = |grown: u64| {
            let mut policy = policy();
            policy.step(SECOND, &seen(5 + grown, bomb(GIB)));
            let decision = policy.step(11 * SECOND, &seen(5, bomb((grown + 1) * GIB)));
            candidate(decision, "bomb").class
        };
        assert_eq!(class(5), Class::Ordinary);
        assert_eq!(class(4), Class::System);
    }

    #[test]
    fn growth_in_an_old_table_is_spread_over_the_time_since() {
        let mut policy = policy();
        policy.step(SECOND, &seen(25, vec![system(100, "slow", GIB)]));
        let decision = policy.step(1201 * SECOND, &seen(5, vec![system(100, "slow", 21 * GIB)]));
        let slow = candidate(decision, "slow");
        assert_eq!(slow.class, Class::System);
        assert_eq!(slow.growth_bytes_per_second, 20 * GIB / 1200);
    }

    #[test]
    fn who_grew_is_charged_by_its_share_with_what_others_gave_up() {
        let mut policy = policy();
        let leak = |bytes| registered(100, "leak", 8, bytes);
        let cheap = registered(200, "cheap", 2, 15 * GIB);
        let steady = registered(300, "steady", 6, 9 * GIB);
        for second in 0..20 {
            let processes = vec![leak((second + 1) * 250 * MIB), cheap, steady];
            policy.step(
                Duration::from_secs(second),
                &seen(50 - second / 4, processes),
            );
        }
        let mut snapshot = seen(5, vec![leak(5 * GIB), cheap, steady]);
        let decision = policy.step(20 * SECOND, &snapshot);
        assert_eq!(chosen(decision), ["cheap"]);
        assert_eq!(decision.lost.rounded_up(), 2);
        policy.learn(21 * SECOND, Event::Gone(cheap.id));
        snapshot.processes.remove(1);
        snapshot.memory.available_bytes = 4 * GIB;
        let decision = policy.step(22 * SECOND, &snapshot);
        let leak = candidate(decision, "leak").explanation;
        let charged = leak.penalty.parts();
        assert!((2 * 4096 - 16..=2 * 4096).contains(&charged), "{charged}");
        let full = if leak.growing { 4 * 4096 } else { 8 * 4096 };
        assert_eq!(leak.cost.parts(), full - charged);
        assert_eq!(
            candidate(decision, "steady").explanation.penalty,
            Cost::ZERO
        );
    }

    /// A leak that grew, `cheap` that was chosen for it, and `other`, the next.
    fn chosen_for_a_leak(policy: &mut Driven) -> (Process, Process, Snapshot) {
        let leak = |bytes| registered(100, "leak", 8, bytes);
        let cheap = registered(200, "cheap", 2, 15 * GIB);
        let other = registered(300, "other", 3, 15 * GIB);
        for second in 0..20 {
            let processes = vec![leak((second + 1) * 250 * MIB), cheap, other];
            policy.step(
                Duration::from_secs(second),
                &seen(50 - second / 4, processes),
            );
        }
        let snapshot = seen(5, vec![leak(5 * GIB), cheap, other]);
        assert_eq!(chosen(policy.step(20 * SECOND, &snapshot)), ["cheap"]);
        (cheap, other, snapshot)
    }

    #[test]
    fn an_end_that_did_not_happen_is_charged_to_nobody() {
        for outcome in [Event::Refused, Event::Unsent] {
            let mut policy = policy();
            let (cheap, other, mut snapshot) = chosen_for_a_leak(&mut policy);
            policy.learn(20 * SECOND, outcome(cheap.id));
            let Decision {
                frees_bytes, lost, ..
            } = *policy.guard.decision();
            assert_eq!((frees_bytes, lost.rounded_up()), (0, 0));
            let decision = policy.step(21 * SECOND, &snapshot);
            assert_eq!(candidate(decision, "leak").explanation.penalty, Cost::ZERO);
            policy.learn(21 * SECOND, outcome(cheap.id));
            policy.learn(21 * SECOND, outcome(other.id));
            // One day it ends by itself.
            snapshot.processes.remove(1);
            let decision = policy.step(22 * SECOND, &snapshot);
            assert_eq!(candidate(decision, "leak").explanation.penalty, Cost::ZERO);
        }
    }

    #[test]
    fn a_victim_that_outlives_its_deadline_is_charged_when_it_is_gone() {
        let mut policy = policy();
        let (cheap, other, mut snapshot) = chosen_for_a_leak(&mut policy);
        assert!(policy.guard.awaits(cheap.id));
        let decision = policy.step(21 * SECOND, &snapshot);
        assert_eq!(candidate(decision, "leak").explanation.penalty, Cost::ZERO);
        assert!(!policy.guard.awaits(cheap.id) && policy.guard.awaits(other.id));
        policy.learn(22 * SECOND, Event::Gone(cheap.id));
        snapshot.processes.remove(1);
        let decision = policy.step(22 * SECOND, &snapshot);
        let charged = candidate(decision, "leak").explanation.penalty.parts();
        assert!((2 * 4096 - 16..=2 * 4096).contains(&charged), "{charged}");
    }

    #[test]
    fn an_account_is_forgiven_after_a_minute_of_standing_still() {
        let mut policy = policy();
        let leak = |second: u64| registered(100, "leak", 8, second.min(20) * 250 * MIB + GIB);
        let cheap = registered(200, "cheap", 2, 15 * GIB);
        let charged = |decision: &Decision| candidate(decision, "leak").explanation.penalty;
        for second in 0..20 {
            let snapshot = seen(50 - second / 4, vec![leak(second), cheap]);
            policy.step(Duration::from_secs(second), &snapshot);
        }
        let decision = policy.step(20 * SECOND, &seen(5, vec![leak(20), cheap]));
        assert_eq!(chosen(decision), ["cheap"]);
        policy.learn(21 * SECOND, Event::Gone(cheap.id));
        let mut forgiven_at = None;
        for second in 21..200 {
            let snapshot = seen(8, vec![leak(second)]);
            let decision = policy.step(Duration::from_secs(second), &snapshot);
            if charged(decision) == Cost::ZERO {
                forgiven_at = Some(second);
                break;
            }
        }
        let forgiven_at = forgiven_at.expect("it stands still for three minutes");
        assert!((80..=140).contains(&forgiven_at), "{forgiven_at}");
    }
}

mod looks {
    use super::*;

    #[test]
    fn the_first_look_wants_a_table_and_a_quiet_one_does_not() {
        let mut policy = policy();
        let snapshot = seen(50, vec![process(100, "job")]);
        assert!(policy.look(SECOND, &snapshot.memory, Ask::None).wants_table);
        policy.step(SECOND, &snapshot);
        for minute in 1..60 {
            let look = policy.look(minute * 60 * SECOND, &snapshot.memory, Ask::None);
            assert_eq!(look.level, Level::Ok);
            assert!(!look.wants_table);
            assert!(look.wake_after >= SECOND);
        }
    }

    #[test]
    fn memory_that_moves_wants_a_table() {
        let mut policy = policy();
        policy.step(SECOND, &seen(50, vec![]));
        let look = policy.look(2 * SECOND, &seen(48, vec![]).memory, Ask::None);
        assert!(look.wants_table);
    }

    #[test]
    fn a_level_wants_a_table_until_it_is_known_that_nothing_helps() {
        let mut policy = policy();
        let snapshot = seen(8, vec![registered(100, "job", 1, GIB)]);
        policy.step(SECOND, &seen(50, vec![]));
        let look = |policy: &mut Driven, millis, percent| {
            policy
                .look(
                    Duration::from_millis(millis),
                    &seen(percent, vec![]).memory,
                    Ask::None,
                )
                .wants_table
        };
        assert!(look(&mut policy, 2000, 8));
        policy.step(2 * SECOND, &snapshot);
        assert!(!look(&mut policy, 2100, 8));
        assert!(look(&mut policy, 2200, 7));
        assert!(look(&mut policy, 3100, 8));
        assert!(look(&mut policy, 2200, 5));
    }
}

/// Memory is read first, and the victim ends before the table is.
#[test]
fn a_victim_that_ends_between_the_two_reads_is_followed_by_no_other() {
    let job = registered(100, "job", 9, 20 * GIB);
    let leak = registered(200, "leak", 1, 20 * GIB);
    for (percent, ask) in [
        (9, Ask::None),
        (4, Ask::None),
        (60, Ask::LastCall),
        (12, Ask::Relief),
    ] {
        let mut policy = policy();
        let before = asked(ask, seen(percent, vec![job, leak]));
        assert_eq!(chosen(policy.step(SECOND, &before)), ["leak"]);
        let now = SECOND + Duration::from_millis(50);
        let decision = policy.step(now, &asked(ask, seen(percent, vec![job])));
        assert_eq!(pending(decision), 20 * GIB);
        assert_eq!(decision.wake_after, Some(Duration::ZERO));
        // Where it did not help, the next look is not late.
        let memory = seen(percent, Vec::new()).memory;
        let still_short = policy.look(now, &memory, ask);
        assert!(still_short.wants_table, "{percent}");
    }
}
