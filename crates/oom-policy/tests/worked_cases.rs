//! The worked cases of the model, each by its name.

pub mod machine;

use std::time::Duration;

use machine::{
    Driven, GIB, MIB, Machine, Snapshot, Task, chosen, holding, process, registered, system,
};
use oom_policy::{
    Amount, Ask, Cause, Cost, Dossier, Event, Gain, Level, Memory, Per, Process, ProcessId,
    Protection, Rate, Refusal, Seen, SessionId, Settings, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);

fn registered_only() -> Settings {
    Settings {
        registered_only: true,
        ..Settings::default()
    }
}

/// 1 GiB of memory and 512 MiB of swap, 200 MiB of it the system's. The two
/// that learn have loaded before the two that leak are started.
fn ancestors_four(settings: Settings, learning_bytes: u64) -> Machine {
    let learning = |process| Task::growing(process, 100 * MIB).up_to(learning_bytes);
    let mut machine = Machine::new(settings, GIB, 512 * MIB)
        .kernel(200 * MIB)
        .with(learning(registered(100, "ml1", 9, 0)))
        .with(learning(registered(200, "ml2", 7, 0)));
    machine.run_for(10 * SECOND);
    machine
        .with(Task::growing(registered(300, "proc1", 8, 0), 40 * MIB).ignoring_term())
        .with(Task::growing(registered(400, "proc2", 5, 0), 80 * MIB).ignoring_term())
}

#[test]
fn the_ancestors_four_where_both_ml_fit() {
    for settings in [Settings::default(), registered_only()] {
        let mut machine = ancestors_four(settings, 300 * MIB);
        machine.run_for(120 * SECOND);
        assert_eq!(machine.victims(), ["proc2", "proc1"]);
        assert_eq!(machine.alive(), ["ml1", "ml2"]);
        assert!(!machine.kernel_would_kill);
    }
}

#[test]
fn the_ancestors_four_where_one_ml_fits() {
    let mut machine = ancestors_four(registered_only(), 600 * MIB);
    machine.run_for(120 * SECOND);
    assert_eq!(machine.alive(), ["ml1"]);
    let mut others = machine.victims();
    others.sort();
    assert_eq!(others, ["ml2", "proc1", "proc2"]);
    assert!(!machine.kernel_would_kill);
}

#[test]
fn the_ancestors_four_thrashing_with_swap_free() {
    let process = |pid, name, value, resident: u64, swap| Process {
        seen: Seen {
            swap_bytes: swap * MIB,
            ..registered(pid, name, value, resident * MIB).seen
        },
        ..registered(pid, name, value, resident * MIB)
    };
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: GIB,
            available_bytes: 10 * MIB,
            swap_total_bytes: 2 * GIB,
            swap_free_bytes: GIB,
            ..Memory::default()
        },
        ask: Ask::Relief,
        processes: vec![
            process(100, "ml1", 9, 180, 100),
            process(200, "ml2", 7, 200, 90),
            process(300, "proc1", 8, 160, 140),
            process(400, "proc2", 5, 313, 290),
        ],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot);
    assert_eq!(decision.cause, Some(Cause::Relief));
    assert_eq!(chosen(decision), ["proc2"]);

    // And with a minute of their growth in mind: 40 and 80 MiB/s.
    let mut policy = Driven::new(Settings::default(), 8);
    let mut now = SECOND;
    for step in 0..60 {
        let mut before = snapshot.clone();
        before.ask = Ask::None;
        before.memory.swap_free_bytes += (60 - step) * 2 * MIB;
        before.processes[2].seen.swap_bytes -= (60 - step) * 40 * MIB / 60;
        before.processes[3].seen.swap_bytes -= (60 - step) * 80 * MIB / 60;
        let decision = policy.step(now, &before);
        assert_eq!(decision.verdict, Verdict::Idle);
        now += SECOND;
    }
    assert_eq!(chosen(policy.step(now, &snapshot)), ["proc2"]);
}

fn giant_among_leaks(worth: u32) -> Machine {
    let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
        .with(Task::steady(registered(100, "giant", worth, 9 * GIB)));
    for leak in 0..6 {
        machine.add(Task::growing(
            registered(200 + leak, "leak", 3, 0),
            u64::from(20 + leak) * MIB,
        ));
    }
    machine
}

#[test]
fn a_giant_among_six_leaks_stays() {
    for worth in [50, 10] {
        let mut machine = giant_among_leaks(worth);
        machine.run_for(600 * SECOND);
        assert_eq!(machine.victims(), ["leak"; 6], "giant worth {worth}");
        assert_eq!(machine.alive(), ["giant"]);
        let most = machine.made.iter().map(|made| made.chosen.len()).max();
        assert!(most <= Some(2), "one after another, not {most:?} at once");
        assert!(!machine.kernel_would_kill);
    }
}

#[test]
fn roots_unregistered_bomb_goes_alone() {
    let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
        .with(Task::steady(registered(100, "nine", 9, 12 * GIB / 10)))
        .with(Task::steady(registered(200, "six", 6, 3 * GIB / 10)))
        .with(Task::steady(system(300, "service", 200 * MIB)))
        .with(Task::growing(system(400, "bomb", 0), 400 * MIB).up_to(13 * GIB));
    machine.run_for(120 * SECOND);
    assert_eq!(machine.victims(), ["bomb"]);
    assert_eq!(machine.alive(), ["nine", "six", "service"]);
}

#[test]
fn where_all_is_roots_stress_goes_alone() {
    let roots = |process: Process| Process {
        seen: Seen {
            uid: 0,
            login: false,
            ..process.seen
        },
        ..process
    };
    for login in [false, true] {
        let stress = Process {
            seen: Seen {
                login,
                ..system(300, "stress", 0).seen
            },
            ..system(300, "stress", 0)
        };
        let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
            .with(Task::steady(roots(registered(100, "nine", 9, 2 * GIB))))
            .with(Task::steady(roots(registered(200, "five", 5, GIB))))
            .with(Task::growing(stress, 700 * MIB));
        machine.run_for(60 * SECOND);
        assert_eq!(machine.victims(), ["stress"]);
        assert_eq!(machine.alive(), ["nine", "five"]);
    }
}

#[test]
fn of_four_hundred_forks_train_and_db_only_forks_go() {
    let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
        .with(Task::steady(registered(100, "train", 9, 6 * GIB)))
        .with(Task::steady(registered(200, "db", 8, 25 * GIB / 10)));
    for fork in 0..400 {
        let born = Duration::from_millis(20 * u64::from(fork));
        let process = Process {
            seen: Seen {
                session: SessionId(7),
                ..process(1000 + fork, "fork").seen
            },
            ..process(1000 + fork, "fork")
        };
        machine.add(
            Task::growing(process, 100 * MIB)
                .up_to(25 * MIB)
                .starting(born),
        );
    }
    machine.run_for(60 * SECOND);
    let victims = machine.victims();
    assert!(!victims.is_empty());
    assert!(victims.iter().all(|name| name == "fork"));
    let alive = machine.alive();
    assert!(alive.contains(&"train".to_owned()) && alive.contains(&"db".to_owned()));
    assert!(!machine.kernel_would_kill);
}

/// 2 GiB, of which two registered jobs hold 400 MiB; a process each 50 ms, each
/// with a session of its own and 4 MiB to come.
fn beside_forks_that_leave_their_session(fork: impl Fn(u32) -> Process) -> Machine {
    let mut machine = Machine::new(Settings::default(), 2 * GIB, 0)
        .with(Task::steady(registered(100, "train", 9, 250 * MIB)))
        .with(Task::steady(registered(200, "db", 8, 150 * MIB)))
        .with(Task::steady(system(300, "crond", 10 * MIB)))
        .with(Task::steady(below(300, system(400, "sh", 10 * MIB))));
    machine.run_for(70 * SECOND);
    for number in 0..300 {
        let born = Duration::from_millis(50 * u64::from(number));
        let fork = fork(1000 + number);
        let growing = Task::growing(fork, 20 * MIB).up_to(6 * MIB);
        machine.add(growing.starting(born));
    }
    machine.run_for(60 * SECOND);
    machine
}

fn below(parent: u32, process: Process) -> Process {
    let seen = Seen {
        parent,
        ..process.seen
    };
    Process { seen, ..process }
}

/// As many as there are live on, and so does the shell that they come from.
#[test]
fn of_three_hundred_forks_of_roots_each_with_setsid_only_forks_go() {
    let roots = |pid| system(pid, "fork", 0);
    let users = |pid| {
        let seen = Seen {
            login: false,
            ..process(pid, "fork").seen
        };
        Process {
            seen,
            ..process(pid, "fork")
        }
    };
    let children = |pid| below(400, roots(pid));
    let each_forks_the_next = |pid| below(if pid == 1000 { 400 } else { pid - 1 }, roots(pid));
    let forks: [(&str, &dyn Fn(u32) -> Process); 4] = [
        ("orphans of root's", &roots),
        ("a user's orphans", &users),
        ("a shell's children", &children),
        ("children of each other", &each_forks_the_next),
    ];
    for (whose, fork) in forks {
        let machine = beside_forks_that_leave_their_session(fork);
        let victims = machine.victims();
        assert!(!victims.is_empty(), "{whose}");
        assert!(
            victims.iter().all(|name| name == "fork"),
            "{whose}: {victims:?}"
        );
        assert!(!machine.kernel_would_kill, "{whose}");
    }
}

/// Root's, without a login session: registered 50 (300 MiB), and a hog (250 MiB)
/// that is not, started by cron, in a container, or by a command over ssh.
#[test]
fn a_value_does_not_make_roots_process_the_first_to_go() {
    let job = |pid, name, bytes| below(30, system(pid, name, bytes));
    let of_value = |value, process: Process| Process {
        dossier: Dossier {
            value: Some(value),
            ..process.dossier
        },
        ..process
    };
    let below_init = |name| vec![system(1, "init", 0), system(20, name, MIB)];
    let in_container = vec![system(1, "sleep", 0)];
    for (mut processes, above_shell) in [
        (below_init("crond"), 20),
        (below_init("sshd"), 20),
        (in_container, 1),
    ] {
        processes.extend([
            below(above_shell, system(30, "sh", MIB)),
            of_value(50, job(40, "fifty", 300 * MIB)),
            job(50, "hog", 250 * MIB),
        ]);
        for available_bytes in [90, 40] {
            let snapshot = Snapshot {
                memory: Memory {
                    total_bytes: 1000 * MIB,
                    available_bytes: available_bytes * MIB,
                    ..Memory::default()
                },
                ask: Ask::None,
                processes: processes.clone(),
            };
            let mut policy = Driven::new(Settings::default(), 8);
            let decision = policy.step(SECOND, &snapshot);
            assert_eq!(chosen(decision), ["hog"], "{available_bytes} MiB");
        }
    }
}

/// 16 GiB. Others take 1 GiB a minute and stop below warn for ten minutes, or go
/// on; a registered job grows a little, or not at all.
#[test]
fn where_others_than_the_registered_take_the_memory_none_goes_before_kill_and_they_are_named() {
    for (up_to, rate) in [(137 * GIB / 20, 8 * MIB), (7 * GIB, 0)] {
        let other = |pid, name| Task::growing(process(pid, name), 8 * MIB).up_to(up_to);
        let mut machine = Machine::new(registered_only(), 16 * GIB, 0)
            .with(Task::growing(registered(100, "fifty", 50, GIB / 2), rate).up_to(600 * MIB))
            .with(other(200, "one"))
            .with(other(300, "other"))
            .with(Task::growing(system(400, "service", 0), MIB).up_to(64 * MIB))
            .ticking(Duration::from_millis(100));
        machine.run_for(30 * 60 * SECOND);
        assert_eq!(machine.victims(), [""; 0]);
        let refusals = machine.refusals();
        assert!(refusals.contains(&Refusal::TakenByOthers), "{refusals:?}");
        let blame = machine.policy.guard.decision().blame.expect("blame");
        let takers = blame.takers.iter().flatten();
        let names: Vec<String> = takers.map(|taker| taker.name.to_string()).collect();
        assert_eq!(names[..2], ["one", "other"], "{blame:?}");

        machine.add(Task::growing(process(500, "third"), 100 * MIB));
        machine.run_for(30 * SECOND);
        assert_eq!(machine.victims(), ["fifty"]);
        let killed = machine.made.iter().find(|made| !made.chosen.is_empty());
        assert_eq!(killed.map(|made| made.level), Some(Level::Kill));
    }
}

/// Both take as much: at warn, the registered pay for what they took, no more.
#[test]
fn what_the_registered_took_themselves_they_pay_for_at_warn() {
    let mut machine = Machine::new(registered_only(), 16 * GIB, 0);
    for job in 0..8 {
        let process = registered(100 + job, "job", 5, GIB);
        machine.add(Task::growing(process, 2 * MIB));
    }
    machine = machine
        .with(Task::growing(holding(300, "other", 5 * GIB), 16 * MIB))
        .ticking(Duration::from_millis(100));
    while machine.made.iter().all(|made| made.chosen.is_empty()) {
        machine.run_for(SECOND);
    }
    let made = machine.made.iter().find(|made| !made.chosen.is_empty());
    let made = made.expect("a choice");
    assert_eq!(made.level, Level::Warn);
    // Not the 5 % that are missing.
    assert!(made.need_bytes < 16 * GIB / 25, "{}", made.need_bytes >> 20);
    assert_eq!(made.chosen, ["job"]);
}

/// Four compilers of 1 GiB at any time, each for two seconds.
#[test]
fn others_that_come_and_go_are_not_blamed_for_what_the_registered_took() {
    let mut machine = Machine::new(registered_only(), 16 * GIB, 0)
        .with(Task::growing(registered(100, "job", 5, GIB), 64 * MIB))
        .ticking(Duration::from_millis(50));
    for number in 0..600 {
        let starts = Duration::from_millis(500 * u64::from(number));
        let compiler = Task::steady(holding(1000 + number, "cc", GIB));
        machine.add(compiler.starting(starts).ending(starts + 2 * SECOND));
    }
    machine.run_for(240 * SECOND);
    let killed = machine.made.iter().find(|made| !made.chosen.is_empty());
    let killed = killed.expect("a choice");
    assert_eq!(
        (killed.level, killed.chosen.as_slice()),
        (Level::Warn, ["job".to_owned()].as_slice())
    );
    assert!(!machine.refusals().contains(&Refusal::TakenByOthers));
}

/// 64 GiB. All are a user's, in the scope of one terminal, and not registered.
#[test]
fn of_twenty_agents_in_one_terminal_only_the_tool_that_grows_goes() {
    const SCOPE: SessionId = SessionId(1 << 63);
    let member = |parent, process: Process| {
        let seen = Seen {
            parent,
            session: SCOPE,
            ..process.seen
        };
        Process { seen, ..process }
    };
    for gibibytes_per_minute in [10, 60] {
        let mut machine = Machine::new(Settings::default(), 64 * GIB, 0)
            .with(Task::steady(member(1, holding(100, "tmux", 20 * MIB))))
            .with(Task::steady(member(100, holding(101, "shell", 5 * MIB))));
        for agent in 0..20 {
            let leader = 1000 + agent * 100;
            let process = member(101, holding(leader, "agent", 300 * MIB));
            machine.add(Task::steady(process));
            for tool in 1..100 {
                let process = member(leader, holding(leader + tool, "small", 2 * MIB));
                machine.add(Task::steady(process));
            }
        }
        machine = machine.ticking(Duration::from_millis(500));
        machine.run_for(10 * SECOND);
        for tool in 0..2 {
            let process = member(1500, holding(5000 + tool, "tool", 10 * MIB));
            let rate = gibibytes_per_minute * GIB / 60 / 2;
            machine.add(Task::growing(process, rate).up_to(26 * GIB));
        }
        machine.run_for(60 * 60 / u32::try_from(gibibytes_per_minute).unwrap() * SECOND);
        let mut victims = machine.victims();
        victims.dedup();
        assert_eq!(victims, ["tool"], "{gibibytes_per_minute} GiB a minute");
    }
}

#[test]
fn thrashing_by_a_leak_most_of_which_is_in_swap() {
    let memory = |swapped: u64| Memory {
        total_bytes: GIB,
        available_bytes: 30 * MIB,
        swap_total_bytes: 2 * GIB,
        swap_free_bytes: 2 * GIB - swapped,
        ..Memory::default()
    };
    let snapshot = |leaked: u64, ask| Snapshot {
        memory: memory(leaked),
        ask,
        processes: vec![
            Process {
                seen: Seen {
                    swap_bytes: leaked,
                    ..registered(100, "leak", 2, 90 * MIB).seen
                },
                ..registered(100, "leak", 2, 90 * MIB)
            },
            registered(200, "db", 8, 250 * MIB),
            registered(300, "job", 9, 400 * MIB),
        ],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    for second in 0..25 {
        let leaked = second * 20 * MIB;
        policy.step(Duration::from_secs(second), &snapshot(leaked, Ask::None));
    }
    let decision = policy.step(25 * SECOND, &snapshot(500 * MIB, Ask::Relief));
    assert_eq!(chosen(decision), ["leak"]);
}

#[test]
fn a_slow_leak_beside_steady_jobs_takes_a_few_of_them_and_goes() {
    let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
        .with(Task::growing(registered(100, "leak", 8, 4 * GIB), 10 * MIB));
    for job in 0..20 {
        machine.add(Task::steady(registered(200 + job, "job", 1, 400 * MIB)));
    }
    machine.run_for(3600 * SECOND);
    let victims = machine.victims();
    assert_eq!(victims.last().map(String::as_str), Some("leak"));
    let jobs = victims.len() - 1;
    assert!((1..=8).contains(&jobs), "{jobs} jobs went before the leak");
    assert_eq!(machine.alive(), vec!["job"; 20 - jobs]);
}

#[test]
fn where_tmpfs_holds_the_memory_nobody_goes_at_warn_and_one_unit_at_kill() {
    for rate in [20 * MIB, 500 * MIB] {
        let mut machine = Machine::new(Settings::default(), 16 * GIB, 0)
            .with(Task::steady(registered(100, "train", 9, 400 * MIB)))
            .with(Task::steady(registered(200, "web", 9, 200 * MIB)))
            .with(Task::steady(system(300, "service", 200 * MIB)))
            .tmpfs_filling(rate, 142 * GIB / 10);
        machine.run_for(1000 * SECOND);
        assert_eq!(machine.victims(), ["train"]);
        assert_eq!(machine.alive(), ["web", "service"]);
        for made in &machine.made {
            assert!(made.chosen.is_empty() || made.level == Level::Kill);
        }
        let refusals = machine.refusals();
        assert!(
            refusals
                .iter()
                .any(|refusal| matches!(refusal, Refusal::NothingHelps { .. })),
        );

        // Fifteen of sixteen: one unit at a time, and never the system's.
        let mut machine = machine.tmpfs_filling(rate, 15 * GIB);
        machine.run_for(100 * SECOND);
        assert_eq!(machine.victims(), ["train", "web"]);
        assert_eq!(machine.alive(), ["service"]);
        assert!(machine.made.iter().all(|made| !made.covers_need));
    }
}

#[test]
fn a_cgroup_throttled_at_its_memory_high_is_no_relief() {
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 16 * GIB,
            available_bytes: 84 * 16 * GIB / 100,
            ..Memory::default()
        },
        ask: Ask::Relief,
        processes: vec![registered(100, "job", 1, GIB)],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    policy.step(
        SECOND,
        &Snapshot {
            ask: Ask::None,
            ..snapshot.clone()
        },
    );
    let decision = policy.step(2 * SECOND, &snapshot);
    assert_eq!(decision.verdict, Verdict::Refused(Refusal::EnoughAvailable));
    assert!(decision.actions.is_empty());
}

#[test]
fn what_has_recovered_needs_nothing_whoever_asks() {
    for available_percent in 0..=100 {
        for swap_total_bytes in [0, 100 * GIB] {
            let memory = Memory {
                total_bytes: 100 * GIB,
                available_bytes: available_percent * GIB,
                swap_total_bytes,
                ..Memory::default()
            };
            let mut policy = Driven::new(Settings::default(), 8);
            let needs_exact = policy.guard.needs_exact(&memory);
            let asked = Snapshot {
                memory,
                ask: Ask::Relief,
                processes: vec![registered(100, "job", 1, GIB)],
            };
            let verdict = policy.step(SECOND, &asked).verdict;
            let is_enough = verdict == Verdict::Refused(Refusal::EnoughAvailable);
            assert_eq!(needs_exact, !is_enough, "{memory:?}");
        }
    }
}

#[test]
fn hugetlb_takes_80_percent_without_swap_and_idle() {
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 100 * GIB,
            available_bytes: 9 * GIB,
            hugetlb_bytes: 80 * GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes: vec![registered(100, "job", 1, GIB)],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    assert_eq!(policy.step(SECOND, &snapshot).level, Level::Ok);
}

#[test]
fn swap_ignored_acts_on_memory_alone() {
    let mut settings = Settings::default();
    settings.warn.swap = Amount::percent(100);
    settings.kill.swap = Amount::percent(100);
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 100 * GIB,
            available_bytes: 9 * GIB,
            swap_total_bytes: 8 * GIB,
            swap_free_bytes: 8 * GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes: vec![
            // All of it in swap: gives back no memory.
            Process {
                seen: Seen {
                    swap_bytes: 7 * GIB,
                    ..registered(100, "swapped", 1, 0).seen
                },
                ..registered(100, "swapped", 1, 0)
            },
            registered(200, "resident", 2, 7 * GIB),
        ],
    };
    let mut policy = Driven::new(settings, 8);
    let decision = policy.step(SECOND, &snapshot);
    assert_eq!(decision.level, Level::Warn);
    assert_eq!(decision.need_bytes, 6 * GIB);
    assert_eq!(chosen(decision), ["resident"]);
}

#[test]
fn a_registered_shell_and_a_registered_child_are_two_units() {
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 10 * GIB,
            available_bytes: GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes: vec![
            registered(100, "shell", 2, 300 * MIB),
            Process {
                seen: Seen {
                    parent: 100,
                    ..registered(200, "train.py", 9, 5 * GIB).seen
                },
                ..registered(200, "train.py", 9, 5 * GIB)
            },
            Process {
                seen: Seen {
                    parent: 100,
                    ..holding(300, "make", 400 * MIB).seen
                },
                ..holding(300, "make", 400 * MIB)
            },
            Process {
                seen: Seen {
                    parent: 200,
                    ..holding(400, "loader", GIB).seen
                },
                ..holding(400, "loader", GIB)
            },
        ],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot);
    let mut units: Vec<(String, u32, Option<u32>)> = decision
        .candidates
        .iter()
        .map(|candidate| {
            (
                candidate.name.to_string(),
                candidate.processes,
                candidate.explanation.value(),
            )
        })
        .collect();
    units.sort();
    assert_eq!(
        units,
        [
            ("shell".into(), 2, Some(2)),
            ("train.py".into(), 2, Some(9))
        ]
    );
    assert_eq!(chosen(decision), ["shell"]);
    assert_eq!(decision.frees_bytes, 700 * MIB);
}

#[test]
fn on_a_node_the_best_effort_pod_goes_at_warn_already() {
    // Root's, each in a container of its own.
    let pod = |pid, name, oom_score_adj, bytes| Process {
        seen: Seen {
            uid: 0,
            oom_score_adj,
            session: SessionId(1 << 63 | u64::from(pid)),
            ..holding(pid, name, bytes).seen
        },
        ..holding(pid, name, bytes)
    };
    let kubelet = Process {
        seen: Seen {
            oom_score_adj: -999,
            ..system(100, "kubelet", GIB / 10).seen
        },
        ..system(100, "kubelet", GIB / 10)
    };
    let pods = vec![
        kubelet,
        pod(200, "guaranteed", -997, 6 * GIB),
        pod(300, "burstable", 900, 26 * GIB / 10),
        pod(400, "best-effort", 1000, 25 * GIB / 10),
    ];
    // Recovery is at 15 % of 16 GiB.
    let snapshot = |available_bytes, processes| Snapshot {
        memory: Memory {
            total_bytes: 16 * GIB,
            available_bytes,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(4 * GIB / 10, pods.clone()));
    assert_eq!(decision.need_bytes.div_ceil(GIB), 2);
    assert_eq!(chosen(decision), ["best-effort"]);
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(GIB, pods.clone()));
    assert_eq!(decision.cause, Some(Cause::Level(Level::Warn)));
    assert_eq!(chosen(decision), ["best-effort"]);
    // What is at −900 and below is left alone at warn, and comes last at kill.
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(GIB, pods[..2].to_vec()));
    assert!(
        matches!(
            decision.verdict,
            Verdict::Refused(Refusal::NothingHelps { .. })
        ),
        "{:?}",
        decision.verdict
    );
    let mut service = system(50, "service", 7 * GIB);
    service.seen.oom_score_adj = -899;
    let mut policy = Driven::new(Settings::default(), 8);
    let all = [vec![service], pods[..2].to_vec()].concat();
    let decision = policy.step(SECOND, &snapshot(GIB / 10, all));
    assert_eq!(chosen(decision), ["service"]);
}

#[test]
fn what_an_entry_says_counts_whatever_the_kernels_score_is_adjusted_by() {
    let job = |pid, name, value, oom_score_adj| {
        let mut job = registered(pid, name, value, 4 * GIB);
        job.seen.oom_score_adj = oom_score_adj;
        job
    };
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 16 * GIB,
            available_bytes: GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes: vec![job(100, "eight", 8, 1000), job(200, "seven", 7, -999)],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    assert_eq!(chosen(policy.step(SECOND, &snapshot)), ["seven"]);
}

/// A job of `2 +7/h` that saved so many minutes ago.
fn unsaved(pid: u32, name: &str, minutes: u64, bytes: u64) -> Process {
    let gain = Gain {
        base: 2,
        rate: Rate {
            points: 7,
            per: Per::Hour,
        },
        unsaved_millis: minutes * 60_000,
        most: 1000,
    };
    Process {
        dossier: Dossier {
            value: Some(gain.value()),
            gain: Some(gain),
            ..Dossier::default()
        },
        ..holding(pid, name, bytes)
    }
}

#[test]
fn of_9_saved_a_minute_ago_and_8_without_saving_the_first_goes() {
    let snapshot = |first| Snapshot {
        memory: Memory {
            total_bytes: 16 * GIB,
            available_bytes: GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes: vec![
            unsaved(100, "first", first, 4 * GIB),
            registered(200, "second", 8, 4 * GIB),
        ],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(1));
    assert_eq!(chosen(decision), ["first"]);
    let first = &decision.candidates[0];
    assert_eq!(
        first.explanation.to_string(),
        "cost 2 = value 2 (2 + 7/h × 0.0 h)"
    );
    // After an hour without, it is the 9.
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(60));
    assert_eq!(chosen(decision), ["second"]);
    let first = &decision.candidates[0];
    assert_eq!(
        first.explanation.to_string(),
        "cost 9 = value 9 (2 + 7/h × 1.0 h)"
    );
}

#[test]
fn on_a_desktop_a_registered_leak_outweighs_what_is_not_registered() {
    let desktop = |settings| {
        let mut machine = Machine::new(settings, 16 * GIB, 0)
            .with(Task::growing(registered(100, "leak", 5, 0), 5 * MIB))
            .with(Task::growing(registered(110, "other", 9, 0), 100 * MIB).up_to(3 * GIB));
        for tab in 0..40 {
            machine.add(Task::steady(Process {
                seen: Seen {
                    session: SessionId(7),
                    ..holding(200 + tab, "browser", 100 * MIB).seen
                },
                ..holding(200 + tab, "browser", 100 * MIB)
            }));
        }
        machine.with(Task::steady(Process {
            seen: Seen {
                session: SessionId(8),
                ..holding(300, "ide", 3 * GIB).seen
            },
            ..holding(300, "ide", 3 * GIB)
        }))
    };
    // Everything that is not registered is worth 1 a session: less than the
    // leak, even as it counts half.
    let mut machine = desktop(Settings::default());
    while machine.victims().is_empty() {
        machine.run_for(SECOND);
    }
    let victims = machine.victims();
    assert!(!victims.contains(&"leak".to_owned()));
    assert!(!victims.contains(&"other".to_owned()));

    let mut machine = desktop(registered_only());
    while machine.victims().is_empty() {
        machine.run_for(SECOND);
    }
    assert_eq!(machine.victims(), ["leak"]);
}

/// Who is killed beside six steady jobs worth 100, while a hog of another
/// user's with this value grows.
fn beside_a_hog_worth(value: u32) -> Vec<String> {
    let mut machine = Machine::new(registered_only(), 8 * GIB, 0);
    for job in 0..6 {
        machine.add(Task::steady(registered(100 + job, "steady", 100, GIB)));
    }
    machine.run_for(10 * SECOND);
    machine.add(Task::growing(registered(200, "hog", value, 0), 40 * MIB));
    machine.run_for(600 * SECOND);
    assert!(!machine.kernel_would_kill);
    machine.victims()
}

#[test]
fn a_hog_at_a_users_cap_pays_for_those_killed_for_it_and_goes_before_all_are() {
    let killed = beside_a_hog_worth(1000);
    let before = killed.iter().take_while(|name| *name != "hog").count();
    assert!(before <= 4 && before < killed.len(), "{killed:?}");
    // What the cap is for: all that they are worth does not pay for it.
    let killed = beside_a_hog_worth(1_000_000);
    assert_eq!(killed[..6], ["steady"; 6]);
}

/// Available 0.2 %, swap 63 % free, full 72 %, one candidate of 900 MiB.
#[test]
fn a_stall_is_relieved_by_less_than_is_needed_where_that_is_all_there_is() {
    const KIB: u64 = 1 << 10;
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: 8_024_064 * KIB,
            available_bytes: 18_000 * KIB,
            swap_total_bytes: 8_388_604 * KIB,
            swap_free_bytes: 5_300_000 * KIB,
            ..Memory::default()
        },
        ask: Ask::Relief,
        processes: vec![registered(100, "job", 8, 900 * MIB)],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot);
    assert_eq!(decision.level, Level::Ok);
    assert_eq!(decision.cause, Some(Cause::Relief));
    assert_eq!((decision.need_bytes + MIB / 2) / MIB, 1158);
    assert_eq!(chosen(decision), ["job"]);
    assert!(!decision.covers_need);
}

/// 468 MiB, of which 120 are taken at once by two that then stand still; two
/// that grow begin at once, or a little later.
#[test]
fn those_that_have_just_loaded_outlive_those_that_grow() {
    let settings = Settings {
        grace: SECOND,
        ..registered_only()
    };
    let loading = |process| Task::growing(process, 1000 * MIB).up_to(60 * MIB);
    for later in 0..40 {
        let mut machine = Machine::new(settings.clone(), 468 * MIB, 0).kernel(48 * MIB);
        machine.run_for(Duration::from_millis(20));
        machine.add(loading(registered(100, "loaded", 20, 0)));
        machine.add(loading(registered(200, "loaded too", 15, 0)));
        machine.run_for(Duration::from_millis(60 + 50 * later));
        machine.add(Task::growing(registered(300, "proc1", 8, 0), 40 * MIB).ignoring_term());
        machine.add(Task::growing(registered(400, "proc2", 5, 0), 80 * MIB).ignoring_term());
        machine.run_for(30 * SECOND);
        assert_eq!(machine.alive(), ["loaded", "loaded too"], "{later}");
        assert!(!machine.kernel_would_kill);
    }
}

/// A machine at warn that is `need_bytes` below its recovery threshold.
fn missing(need_bytes: u64, processes: Vec<Process>) -> Snapshot {
    Snapshot {
        memory: Memory {
            total_bytes: 5000 * MIB,
            available_bytes: 750 * MIB - need_bytes,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    }
}

/// 300 MiB of page tables, worth 3; other worth 50 (300 MiB); need 290.
#[test]
fn page_tables_count_as_what_their_process_frees() {
    let mut tables = registered(100, "tables", 3, 0);
    tables.seen.page_table_bytes = 300 * MIB;
    let other = registered(200, "other", 50, 300 * MIB);
    let snapshot = missing(290 * MIB, vec![tables, other]);
    for ask in [Ask::None, Ask::LastCall] {
        let mut policy = Driven::new(Settings::default(), 8);
        let decision = policy.step(
            SECOND,
            &Snapshot {
                ask,
                ..snapshot.clone()
            },
        );
        assert_eq!(decision.need_bytes, 290 * MIB);
        assert_eq!(chosen(decision), ["tables"]);
        assert_eq!(decision.frees_bytes, 300 * MIB);
    }
}

/// A parent worth 3 and its child share 500 MiB, which counts once: each shows its
/// part. Another holds 600 MiB and is worth 50; need 475.
fn beside_a_family(
    shares: impl Fn(Process, ProcessId) -> Process,
    child_value: Option<u32>,
) -> (Vec<String>, u64) {
    let parent = registered(100, "parent", 3, 0);
    let mut child = below(100, holding(200, "child", 0));
    child.dossier.value = child_value;
    let snapshot = missing(
        475 * MIB,
        vec![
            shares(parent, parent.id),
            shares(child, parent.id),
            registered(300, "other", 50, 600 * MIB),
        ],
    );
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot);
    (chosen(decision), decision.frees_bytes >> 20)
}

fn shares_pages_of_its_own(mut process: Process, _: ProcessId) -> Process {
    process.seen.anon_bytes = 250 * MIB;
    process
}

fn shares_shared_memory(mut process: Process, with: ProcessId) -> Process {
    process.seen.shmem_bytes = 250 * MIB;
    process.seen.common_bytes = 250 * MIB;
    process.seen.common_with = Some(with);
    process
}

#[test]
fn a_family_that_shares_memory_by_fork_frees_it_once_and_goes_before_another_of_more_value() {
    for shares in [shares_pages_of_its_own, shares_shared_memory] {
        let (names, frees_mib) = beside_a_family(shares, None);
        assert_eq!((names, frees_mib), (vec!["parent".to_owned()], 500));
    }
}

/// A child with an entry stays when its parent is killed, and so does what both map.
#[test]
fn shared_memory_that_another_unit_maps_too_is_not_counted_as_freed() {
    let (names, frees_mib) = beside_a_family(shares_shared_memory, Some(1));
    assert_eq!((names, frees_mib), (vec!["other".to_owned()], 600));
    // Nor where what maps it is not there to be seen.
    let gone = registered(150, "gone", 1, 0).id;
    let shares = |process, _| shares_shared_memory(process, gone);
    assert_eq!(beside_a_family(shares, None).0, ["other"]);
}

#[test]
fn two_processes_with_one_memory_end_together_and_cost_both_values() {
    let one = registered(200, "one", 1, 0);
    let snapshot = |other: u32| {
        missing(
            475 * MIB,
            vec![
                registered(100, "nine", 9, 500 * MIB),
                Process {
                    seen: Seen {
                        memory_of: Some(registered(100, "nine", 9, 0).id),
                        ..one.seen
                    },
                    ..one
                },
                registered(300, "other", other, 520 * MIB),
            ],
        )
    };
    let mut policy = Driven::new(Settings::default(), 8);
    assert_eq!(chosen(policy.step(SECOND, &snapshot(5))), ["other"]);

    // And they are chosen where the other costs more than both.
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot(11));
    assert_eq!(chosen(decision), ["nine"]);
    assert_eq!(decision.lost, Cost::of_value(10));
    assert_eq!(decision.frees_bytes, 500 * MIB);
    assert_eq!(decision.actions.len(), 2);
}

/// 999 that share its memory, each registered at the most that a user may.
#[test]
fn any_number_with_one_memory_is_worth_no_more_than_one_entry_may_say() {
    let settings = Settings {
        user_value_cap: 1000,
        ..Settings::default()
    };
    let chosen_of = |uid: u32, most: Option<u32>, highest: u32, other: u32| {
        let of_hog = |pid, value, bytes| {
            let mut process = registered(pid, "hog", value, bytes);
            process.seen.uid = uid;
            process.dossier.label.max_value = most;
            process
        };
        let hog = of_hog(100, highest, 500 * MIB);
        let value = most.unwrap_or(1000);
        let mut processes = vec![hog];
        processes.extend((101..1100).map(|pid| {
            let mut peer = of_hog(pid, value, 0);
            peer.seen.memory_of = Some(hog.id);
            peer
        }));
        processes.push(registered(2000, "other", other, 520 * MIB));
        let mut policy = Driven::new(settings.clone(), 1024);
        let snapshot = missing(475 * MIB, processes);
        chosen(policy.step(SECOND, &snapshot))
    };
    assert_eq!(chosen_of(1000, None, 1000, 1001), ["hog"]);
    assert_eq!(chosen_of(1000, None, 1000, 999), ["other"]);
    // A rule may allow it less, and root's word more.
    assert_eq!(chosen_of(1000, Some(50), 50, 51), ["hog"]);
    assert_eq!(chosen_of(1000, Some(50), 50, 49), ["other"]);
    assert_eq!(chosen_of(1000, None, 5000, 5001), ["hog"]);
    assert_eq!(chosen_of(1000, None, 5000, 4999), ["other"]);
    // Root's own count in full.
    assert_eq!(chosen_of(0, None, 1000, 900_000), ["other"]);
}

/// The one that has the same memory may not be signalled, or stays after SIGKILL: the
/// memory of the other does not come back.
#[test]
fn memory_of_which_a_process_cannot_be_killed_is_not_counted_as_freed() {
    let mut others = registered(200, "others", 1, 0);
    others.seen.memory_of = Some(registered(100, "one", 1, 0).id);
    others.dossier.protection = Some(Protection::NotPermitted);
    let processes = vec![
        registered(100, "one", 1, 500 * MIB),
        others,
        registered(300, "other", 50, 520 * MIB),
    ];
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &missing(475 * MIB, processes));
    assert_eq!(chosen(decision), ["other"]);
    assert_eq!(decision.frees_bytes, 520 * MIB);
}

/// Both are killed, and one has ended: what they have is pending until the other has
/// ended too, so no other process is killed meanwhile, even at the kill level.
#[test]
fn memory_is_pending_until_the_last_that_has_it_is_gone() {
    for gone in [100, 200] {
        let one = registered(100, "one", 1, 600 * MIB);
        let mut partner = registered(200, "partner", 1, 0);
        partner.seen.memory_of = Some(one.id);
        let other = registered(300, "other", 50, 620 * MIB);
        let mut snapshot = missing(475 * MIB, vec![one, partner, other]);
        let mut policy = Driven::new(Settings::default(), 8);
        assert_eq!(chosen(policy.step(SECOND, &snapshot)), ["one"]);

        policy.learn(2 * SECOND, Event::Gone(process(gone, "").id));
        snapshot.processes.retain(|process| process.id.pid != gone);
        // The kernel shows a process that is being taken down without memory.
        for process in &mut snapshot.processes {
            if process.id.pid <= 200 {
                process.seen.memory_of = None;
                process.seen.anon_bytes = 0;
            }
        }
        snapshot.memory.available_bytes = 240 * MIB;
        let decision = policy.step(2 * SECOND, &snapshot);
        assert_eq!(chosen(decision), [""; 0], "{gone}");
        assert_eq!(
            decision.verdict,
            Verdict::Refused(Refusal::Pending { bytes: 600 * MIB }),
            "{gone}"
        );
    }
}

fn ending_with(holder: &Process, process: Process) -> Process {
    Process {
        seen: Seen {
            ends_with: Some(holder.id),
            ..process.seen
        },
        ..process
    }
}

/// What is chosen among a holder worth 1 (500 MiB), what is worth 50 (20 MiB) and
/// ends with it, and another worth this (520 MiB); need 475.
fn beside_a_holder(other: u32) -> Vec<String> {
    let holder = registered(100, "holder", 1, 500 * MIB);
    let job = ending_with(&holder, registered(200, "job", 50, 20 * MIB));
    let other = registered(300, "other", other, 520 * MIB);
    let mut policy = Driven::new(Settings::default(), 8);
    let snapshot = missing(475 * MIB, vec![holder, job, other]);
    let decision = policy.step(SECOND, &snapshot);
    let of_chosen = decision.candidates.iter().filter(|it| it.chosen);
    let lost: Cost = of_chosen.map(oom_policy::Candidate::lost).sum();
    assert_eq!(decision.lost, lost);
    assert_eq!(decision.gap, Cost::ZERO);
    chosen(decision)
}

/// Be it the holder of a pty, or the first of a pid namespace: to kill it costs what
/// ends with it.
#[test]
fn a_holder_costs_what_ends_with_it() {
    assert_eq!(beside_a_holder(5), ["other"]);
    assert_eq!(beside_a_holder(50), ["other"]);
    assert_eq!(beside_a_holder(52), ["holder", "job"]);
}

#[test]
fn a_holder_of_what_is_never_killed_is_never_killed() {
    let holder = registered(100, "holder", 1, 500 * MIB);
    let job = ending_with(&holder, registered(200, "job", 50, 20 * MIB));
    let kept = Process {
        seen: Seen {
            oom_score_adj: -1000,
            ..process(300, "kept").seen
        },
        ..process(300, "kept")
    };
    let kept = ending_with(&job, kept);
    let other = registered(400, "other", 90, 520 * MIB);
    let mut policy = Driven::new(Settings::default(), 8);
    let snapshot = missing(475 * MIB, vec![holder, job, kept, other]);
    assert_eq!(chosen(policy.step(SECOND, &snapshot)), ["other"]);
}

#[test]
fn the_will_of_a_loop_that_hangs_counts_what_ends_with_a_holder() {
    let holder = registered(100, "holder", 1, 500 * MIB);
    let job = ending_with(&holder, registered(200, "job", 50, 20 * MIB));
    let other = registered(300, "other", 5, 520 * MIB);
    let mut policy = Driven::new(Settings::default(), 8);
    let snapshot = missing(0, vec![holder, job, other]);
    policy.step(SECOND, &snapshot);
    let mut will = Vec::with_capacity(8);
    policy.will(&snapshot.processes, &mut will);
    let said = will.iter().map(|next| (next.id.pid, next.lost));
    let want = [(300, 5), (100, 51), (200, 50)].map(|(pid, value)| (pid, Cost::of_value(value)));
    assert_eq!(said.collect::<Vec<_>>(), want);
}

/// A worker that grows, started again half a second after each of its ends.
fn respawning(settings: Settings, worker: Process, supervisor: Process, time: Duration) -> Machine {
    let worker = Task::growing(worker, 300 * MIB);
    let mut machine = Machine::new(settings, 4 * GIB, 0)
        .with(Task::steady(registered(50, "train", 9, GIB)))
        .with(Task::steady(registered(60, "db", 8, GIB / 2)))
        .with(Task::steady(supervisor))
        .with(worker.clone());
    let end = machine.now + time;
    let mut next = 1000;
    while machine.now < end {
        machine.run_for(SECOND / 2);
        let alive = machine.alive();
        let is_supervised = alive.contains(&"supervisor".to_owned());
        if is_supervised && !alive.contains(&"worker".to_owned()) {
            machine.add(worker.again(next));
            next += 1;
        }
    }
    machine
}

/// Supervisor restarts its worker each time: no more than two kills, then the
/// service as one.
#[test]
fn a_worker_that_comes_back_each_time_is_killed_with_its_supervisor() {
    for (value, settings) in [
        (None, Settings::default()),
        (Some(5), Settings::default()),
        (Some(5), registered_only()),
    ] {
        let mut worker = holding(110, "worker", 0);
        worker.seen.parent = 100;
        worker.dossier.value = value;
        let supervisor = holding(100, "supervisor", 5 * MIB);
        let machine = respawning(settings, worker, supervisor, 120 * SECOND);
        assert_eq!(machine.victims(), ["worker", "worker", "supervisor"]);
        assert_eq!(machine.alive(), ["train", "db"]);
        assert!(!machine.kernel_would_kill);
    }
}

/// JupyterHub, supervisord and cron are root's, and start what others run.
#[test]
fn a_users_worker_that_comes_back_takes_nothing_of_roots_or_of_others_along() {
    for (worker_uid, is_unit) in [(1000, false), (0, true)] {
        let mut worker = holding(110, "worker", 0);
        worker.seen.parent = 100;
        worker.seen.uid = worker_uid;
        worker.dossier.value = Some(1);
        let mut supervisor = holding(100, "supervisor", 5 * MIB);
        supervisor.seen.uid = 0;
        let mut of_another = holding(120, "another's", 50 * MIB);
        of_another.seen.parent = 100;
        of_another.seen.uid = 1001;
        let mut now = SECOND;
        let mut policy = Driven::new(Settings::default(), 8);
        for (times, pid) in [200, 300, 400].into_iter().enumerate() {
            let mut worker = worker;
            worker.seen.id = process(pid, "").id;
            worker.seen.anon_bytes = 600 * MIB;
            worker.seen.rss_bytes = 600 * MIB;
            let processes = vec![supervisor, of_another, worker];
            let mut snapshot = missing(490 * MIB, processes);
            snapshot.memory.available_bytes = 200 * MIB;
            let decision = policy.step(now, &snapshot);
            let told = decision.respawner.map(|it| it.is_unit);
            assert_eq!(told, (times == 2).then_some(is_unit), "{pid}");
            let chosen = decision.candidates.iter().filter(|it| it.chosen);
            let killed: Vec<_> = chosen.map(|it| (it.leader.pid, it.processes)).collect();
            let want = match (times, is_unit) {
                (2, true) => (100, 2),
                _ => (pid, 1),
            };
            assert_eq!(killed, [want], "uid {worker_uid}");
            policy.learn(now, Event::Gone(worker.id));
            now += 5 * SECOND;
        }
    }
}

/// One that pid 1 starts again, whose supervisor cannot be killed: nothing is
/// killed at warn any more.
#[test]
fn a_worker_whose_supervisor_may_not_be_killed_is_left_alone_at_warn() {
    let worker = |pid| {
        let mut worker = registered(pid, "worker", 5, 600 * MIB);
        worker.seen.parent = 1;
        worker.seen.session = SessionId(7);
        worker
    };
    let short = |pid| missing(490 * MIB, vec![worker(pid)]);
    let mut policy = Driven::new(registered_only(), 8);
    let mut now = SECOND;
    for pid in [100, 200] {
        let decision = policy.step(now, &short(pid));
        assert_eq!(chosen(decision), ["worker"], "{pid}");
        assert_eq!(decision.respawner, None);
        policy.learn(now, Event::Gone(worker(pid).id));
        now += 5 * SECOND;
    }
    let decision = policy.step(now, &short(300));
    assert_eq!(chosen(decision), [""; 0]);
    let told = decision.respawner.expect("it is told");
    assert_eq!((told.worker, told.supervisor), (worker(300).id, 1));
    assert_eq!((told.kills, told.is_unit), (2, false));
    // It is told once.
    now += 2 * SECOND;
    let decision = policy.step(now, &short(300));
    assert_eq!((chosen(decision).len(), decision.respawner), (0, None));
    // At the kill level the kernel would kill it.
    let mut at_kill = short(300);
    at_kill.memory.available_bytes = 200 * MIB;
    assert_eq!(chosen(policy.step(now + 2 * SECOND, &at_kill)), ["worker"]);
}

/// Start times are ticks of 10 ms: on a busy machine, something else has started in
/// the one in which the worker is back.
#[test]
fn what_starts_elsewhere_as_the_worker_comes_back_does_not_hide_it() {
    let mut policy = Driven::new(registered_only(), 8);
    let mut now = SECOND;
    let mut told = Vec::new();
    for pid in [200, 300, 400] {
        let mut worker = registered(pid, "worker", 5, 600 * MIB);
        worker.seen.parent = 100;
        let mut compiler = process(900, "cc");
        compiler.seen.id.start_ticks = process(pid + 100, "").id.start_ticks;
        let supervisor = process(100, "supervisor");
        let snapshot = missing(490 * MIB, vec![supervisor, worker, compiler]);
        let decision = policy.step(now, &snapshot);
        assert_eq!(chosen(decision).len(), 1, "{pid}");
        told.extend(decision.respawner.map(|it| (it.worker, it.kills)));
        policy.learn(now, Event::Gone(worker.id));
        now += 5 * SECOND;
    }
    assert_eq!(told, [(process(400, "").id, 2)]);
}

/// One that takes long to grow back was worth killing; so were two that ran side
/// by side.
#[test]
fn only_what_is_back_within_a_minute_counts_as_coming_back() {
    let worker = |pid| {
        let mut worker = registered(pid, "worker", 5, 600 * MIB);
        worker.seen.parent = 1;
        worker
    };
    let mut policy = Driven::new(registered_only(), 8);
    let mut now = SECOND;
    for pid in 1..20 {
        let decision = policy.step(now, &missing(490 * MIB, vec![worker(100 * pid)]));
        assert_eq!(chosen(decision), ["worker"], "{pid}");
        policy.learn(now, Event::Gone(worker(100 * pid).id));
        now += 90 * SECOND;
    }
    let mut policy = Driven::new(registered_only(), 8);
    let mut left: Vec<Process> = (1..6).map(|pid| worker(100 * pid)).collect();
    while !left.is_empty() {
        let decision = policy.step(now, &missing(490 * MIB, left.clone()));
        assert_eq!(chosen(decision), ["worker"], "{left:?}");
        let killed = decision.candidates.iter().find(|it| it.chosen);
        let killed = killed.expect("one is").leader;
        policy.learn(now, Event::Gone(killed));
        left.retain(|process| process.id != killed);
        now += 5 * SECOND;
    }
}
