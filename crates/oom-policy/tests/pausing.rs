//! Pausing: which units, when, and that each goes on again.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, MIB, Machine, Snapshot, Task, at, chosen, holding, registered, system};
use oom_policy::{
    Action, Ask, Cause, Cost, Depth, Dossier, Effect, Effects, EndedBy, Event, Memory, PauseAnswer,
    PauseRefusal, Pausing, Process, Refusal, Seen, Settings, Unpausable, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);
const KIB: u64 = 1 << 10;

/// A machine like that of a small guest: 1 GiB, and half as much swap.
fn small() -> Machine {
    Machine::new(Settings::default(), GIB, 512 * MIB)
}

/// The same with as much swap as any working set needs.
fn roomy() -> Machine {
    Machine::new(Settings::default(), GIB, 4 * GIB)
}

/// The same process, of which it is known that it may be paused.
fn pausable(process: Process) -> Process {
    labelled(process, Pausing::Allowed)
}

fn labelled(process: Process, pause: Pausing) -> Process {
    Process {
        dossier: Dossier {
            pause,
            ..process.dossier
        },
        ..process
    }
}

fn job(pid: u32, name: &str, value: u32, mebibytes: u64) -> Process {
    pausable(registered(pid, name, value, mebibytes * MIB))
}

fn actions(machine: &Machine) -> Vec<Action> {
    let made = machine.made.iter();
    made.flat_map(|made| made.actions.iter().copied()).collect()
}

fn any_signal(machine: &Machine) -> bool {
    let is_signal = |action: &Action| matches!(action, Action::Terminate(_) | Action::Kill(_));
    actions(machine).iter().any(is_signal)
}

fn was_frozen(machine: &Machine, pid: u32) -> bool {
    let freezes = |action: &Action| matches!(action, Action::Freeze(id) if id.pid == pid);
    actions(machine).iter().any(freezes)
}

#[test]
fn of_two_jobs_that_do_not_fit_the_cheaper_waits_until_the_other_is_done() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)).ending(20 * SECOND))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.run_for(20 * SECOND);
    assert_eq!(machine.frozen(), [""; 0]);
    assert_eq!(machine.alive(), ["second"]);
    assert!(!any_signal(&machine));
}

#[test]
fn of_three_no_more_are_paused_than_is_needed() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 420)))
        .with(Task::steady(job(20, "second", 5, 420)))
        .with(Task::steady(job(30, "third", 2, 200)));
    machine.run_for(20 * SECOND);
    assert_eq!(machine.frozen(), ["third"]);
}

#[test]
fn page_tables_cannot_be_paged_out() {
    let mut tables = job(10, "tables", 1, 0);
    tables.seen.page_table_bytes = 300 * MIB;
    let snapshot = Snapshot {
        memory: Memory {
            total_bytes: GIB,
            available_bytes: 50 * MIB,
            swap_total_bytes: GIB,
            swap_free_bytes: GIB,
            ..Memory::default()
        },
        ask: Ask::Pause,
        processes: vec![tables, job(20, "other", 5, 300)],
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let decision = policy.step(SECOND, &snapshot);
    assert_eq!(decision.verdict, Verdict::Paused);
    assert_eq!(chosen(decision), ["other"]);
}

#[test]
fn while_one_is_paged_out_no_steady_one_is_paused_as_well() {
    let three = |machine: Machine| {
        let mut machine = machine
            .with(Task::steady(job(10, "first", 9, 900)))
            .with(Task::steady(job(20, "second", 5, 300)))
            .with(Task::steady(job(30, "third", 2, 200)));
        machine.run_for(3 * SECOND);
        machine.frozen()
    };
    assert_eq!(three(roomy().paging_out_for(4 * SECOND)), ["second"]);
    assert_eq!(three(roomy()), ["second", "third"]);
}

/// What is paused does not grow, and is worth no more for it.
#[test]
fn a_leak_is_not_let_go_on_at_once_in_place_of_what_it_was_paused_for() {
    for (mebibytes, swap) in [(4, 4 * GIB), (15, 4 * GIB), (15, GIB), (60, 512 * MIB)] {
        let mut machine = Machine::new(Settings::default(), GIB, swap)
            .with(Task::steady(job(10, "db", 5, 600)))
            .with(Task::growing(job(20, "leak", 9, 20), mebibytes * MIB));
        machine.run_for(180 * SECOND);
        let is_of_leak = |action: &&Action| matches!(action, Action::Freeze(id) if id.pid == 20);
        let pauses = actions(&machine).iter().filter(is_of_leak).count();
        // At first, and once more after each turn.
        assert!((2..=6).contains(&pauses), "{mebibytes} MiB/s: {pauses}");
        let ran = machine.tasks[0].ran;
        assert!(ran > 120 * SECOND, "{mebibytes} MiB/s: {ran:?}");
        assert!(
            !any_signal(&machine),
            "{mebibytes} {swap} {:#?}",
            actions(&machine)
        );
    }
}

/// But where it has loaded, it runs at its value.
#[test]
fn what_was_paused_while_it_loaded_goes_on_in_place_of_what_is_worth_less() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "other", 5, 600)))
        .with(Task::growing(job(20, "loader", 9, 20), 20 * MIB).up_to(440 * MIB));
    machine.run_for(120 * SECOND);
    assert_eq!(machine.frozen(), ["other"]);
    machine.run_for(10 * SECOND);
    assert!(!any_signal(&machine));
}

#[test]
fn for_a_time_slice_nothing_much_dearer_is_paused() {
    for (value, is_paused) in [(3, false), (9, true)] {
        let mut machine = roomy()
            .with(Task::steady(job(10, "giant", 50, 600)))
            .with(Task::steady(job(20, "small", value, 450)));
        machine.run_for(120 * SECOND);
        assert!(was_frozen(&machine, 20));
        assert_eq!(was_frozen(&machine, 10), is_paused, "{value}");
    }
}

/// What is much cheaper than all that runs keeps no other from its time slice.
#[test]
fn of_two_that_wait_the_one_has_its_slice_that_may_take_it() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "giant", 50, 600)))
        .with(Task::steady(job(20, "small", 3, 450)))
        .with(Task::steady(job(30, "other", 9, 450)));
    machine.run_for(200 * SECOND);
    let thaws = actions(&machine).into_iter();
    let thawed: Vec<_> = thaws
        .filter_map(|action| match action {
            Action::Thaw(unit) => Some(unit.pid),
            _ => None,
        })
        .collect();
    assert!(thawed.contains(&30), "{thawed:?}");
    assert!(!thawed.contains(&20), "{thawed:?}");
}

/// 9 that grows counts as much as 5 that grows and 2 that does not.
#[test]
fn where_all_load_and_it_is_even_by_halves_the_lesser_value_waits() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "two", 2, 480)))
        .with(Task::growing(job(20, "five", 5, 10), 20 * MIB))
        .with(Task::growing(job(30, "nine", 9, 10), 80 * MIB));
    while actions(&machine).is_empty() {
        machine.run_for(SECOND / 10);
    }
    assert_eq!(machine.frozen(), ["two", "five"]);
}

#[test]
fn a_leak_is_let_run_only_where_it_could_for_a_while() {
    let mut machine = small()
        .with(Task::steady(job(10, "train", 9, 400)))
        .with(Task::growing(job(20, "leak", 5, 10), 80 * MIB));
    machine.run_for(120 * SECOND);
    assert_eq!(machine.frozen(), ["leak"]);
    assert!(!any_signal(&machine));
}

/// The kernel keeps it there, and does not call it available, until it is wanted.
#[test]
fn what_is_paged_out_and_in_memory_as_well_is_room_to_go_on_in() {
    let mut machine = Machine::new(Settings::default(), GIB, GIB).caching_swap();
    machine.add(Task::steady(job(10, "editor", 9, 300)));
    for (pid, name) in [(20, "one"), (30, "two"), (40, "three")] {
        machine.add(Task::growing(job(pid, name, 2, 10), 60 * MIB).up_to(260 * MIB));
    }
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["two", "three"]);
    machine.run_for(30 * SECOND);
    // Of them, two fit beside it.
    assert_eq!(machine.frozen().len(), 1);
    assert!(!any_signal(&machine));
}

/// 1 GiB, and half of as much swap free; the recovery threshold is at 154 MiB.
fn shown(available_mib: u64, ask: Ask, processes: &[Process]) -> Snapshot {
    Snapshot {
        memory: Memory {
            total_bytes: GIB,
            available_bytes: available_mib * MIB,
            swap_total_bytes: GIB,
            swap_free_bytes: GIB / 2,
            ..Memory::default()
        },
        ask,
        processes: processes.to_vec(),
    }
}

/// The process, all paged out.
fn in_swap(process: Process) -> Process {
    Process {
        seen: Seen {
            anon_bytes: 0,
            swap_bytes: process.seen.anon_bytes,
            ..process.seen
        },
        ..process
    }
}

/// What is frozen and thawed at the `second`.
fn turns(policy: &mut Driven, second: u64, snapshot: &Snapshot) -> Vec<Action> {
    let now = Duration::from_secs(1000 + second);
    let actions = policy.step(now, snapshot).actions.iter();
    let is_turn = |action: &&Action| matches!(action, Action::Freeze(_) | Action::Thaw(_));
    actions.filter(is_turn).copied().collect()
}

/// It is faulted in over seconds, and the memory for that is available until then.
#[test]
fn what_is_thawed_takes_what_it_has_in_swap_before_another_goes_on() {
    let (one, two) = (job(20, "one", 9, 100), job(30, "two", 5, 100));
    let editor = job(10, "editor", 50, 300);
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, available_mib, ask, processes: [Process; 3]| {
        turns(&mut policy, second, &shown(available_mib, ask, &processes))
    };
    let both = [Action::Freeze(one.id), Action::Freeze(two.id)];
    assert_eq!(at(0, 10, Ask::Pause, [editor, one, two]), both);
    let paged_out = [editor, in_swap(one), in_swap(two)];
    assert_eq!(at(1, 300, Ask::None, paged_out), []);
    assert_eq!(at(6, 300, Ask::None, paged_out), [Action::Thaw(one.id)]);
    assert_eq!(at(8, 300, Ask::None, paged_out), []);
    let there = [editor, one, in_swap(two)];
    assert_eq!(at(10, 300, Ask::None, there), [Action::Thaw(two.id)]);
}

/// The process, which holds so much, and has so much of it in swap.
fn holds(process: Process, held_mib: u64, in_swap_mib: u64) -> Process {
    Process {
        seen: Seen {
            anon_bytes: (held_mib - in_swap_mib) * MIB,
            swap_bytes: in_swap_mib * MIB,
            ..process.seen
        },
        ..process
    }
}

/// It looked like a leak, and took what it had from swap for as long as it was let run.
#[test]
fn what_was_paused_while_it_loaded_has_its_time_slice_once_it_has_loaded() {
    let (other, loader) = (job(10, "other", 9, 500), job(20, "loader", 5, 0));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, available_mib, ask, held_mib, in_swap_mib| {
        let processes = [other, holds(loader, held_mib, in_swap_mib)];
        turns(&mut policy, second, &shown(available_mib, ask, &processes))
    };
    let (freeze, thaw) = (Action::Freeze(loader.id), Action::Thaw(loader.id));
    for second in 0..3 {
        assert_eq!(at(second, 400, Ask::None, 20 + 60 * second, 0), []);
    }
    assert_eq!(at(3, 10, Ask::Pause, 200, 0), [freeze]);
    for second in 4..33 {
        assert_eq!(at(second, 360, Ask::None, 200, 200), [], "{second}");
    }
    // There is room for what it had.
    assert_eq!(at(34, 360, Ask::None, 200, 200), [thaw]);
    assert_eq!(at(35, 350, Ask::None, 200, 180), []);
    assert_eq!(at(38, 40, Ask::None, 200, 40), [freeze]);
    for second in 39..68 {
        assert_eq!(at(second, 200, Ask::None, 200, 200), [], "{second}");
    }
    let exchanged = [Action::Freeze(other.id), thaw];
    assert_eq!(at(69, 200, Ask::None, 200, 200), exchanged);
}

/// Not all of those could be paged out, and tasks stall on what is left.
#[test]
fn one_in_its_time_slice_is_paused_before_any_is_killed_of_those_that_were_for_it() {
    let (dear, cheap) = (job(10, "dear", 9, 400), job(20, "cheap", 5, 400));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second: u64, available_mib, ask, processes: [Process; 2]| {
        let now = Duration::from_secs(1000 + second);
        let snapshot = shown(available_mib, ask, &processes);
        let actions = policy.step(now, &snapshot).actions.iter();
        let is_paged_out = |action: &&Action| !matches!(action, Action::PageOut { .. });
        actions
            .filter(is_paged_out)
            .copied()
            .collect::<Vec<Action>>()
    };
    let (freeze, thaw) = (Action::Freeze(cheap.id), Action::Thaw(cheap.id));
    assert_eq!(at(0, 10, Ask::Pause, [dear, cheap]), [freeze]);
    assert_eq!(at(9, 200, Ask::None, [dear, in_swap(cheap)]), []);
    let exchanged = [Action::Freeze(dear.id), thaw];
    let slice = at(31, 200, Ask::None, [dear, in_swap(cheap)]);
    assert_eq!(slice, exchanged);
    let is_left = holds(dear, 400, 150);
    assert_eq!(at(55, 10, Ask::Relief, [is_left, cheap]), [freeze]);
    let both = [is_left, in_swap(cheap)];
    assert_eq!(at(61, 400, Ask::None, both), [Action::Thaw(dear.id)]);
}

/// Others have filled swap meanwhile, and memory would be full in two seconds.
#[test]
fn what_is_on_trial_is_stopped_wherever_its_memory_goes() {
    let (other, leak) = (job(10, "other", 9, 500), job(20, "leak", 5, 0));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, ask, available_mib, free_swap_mib, held_mib, in_swap_mib| {
        let processes = [other, holds(leak, held_mib, in_swap_mib)];
        let mut snapshot = shown(available_mib, ask, &processes);
        snapshot.memory.swap_free_bytes = free_swap_mib * MIB;
        turns(&mut policy, second, &snapshot)
    };
    let (freeze, thaw) = (Action::Freeze(leak.id), Action::Thaw(leak.id));
    for second in 0..3 {
        assert_eq!(at(second, Ask::None, 400, 512, 20 + 60 * second, 0), []);
    }
    assert_eq!(at(3, Ask::Pause, 10, 512, 200, 0), [freeze]);
    for second in 4..33 {
        assert_eq!(at(second, Ask::None, 360, 512, 200, 200), [], "{second}");
    }
    assert_eq!(at(34, Ask::None, 360, 512, 200, 200), [thaw]);
    assert_eq!(at(35, Ask::None, 250, 110, 300, 150), []);
    assert_eq!(at(36, Ask::Pause, 140, 110, 400, 50), [freeze]);
}

/// Memory is short by then for another reason, and nothing stalls.
#[test]
fn nothing_is_paused_for_a_trial_that_is_over() {
    let (other, leak) = (job(10, "other", 9, 500), job(20, "leak", 5, 0));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, ask, available_mib, held_mib, in_swap_mib| {
        let processes = [other, holds(leak, held_mib, in_swap_mib)];
        turns(&mut policy, second, &shown(available_mib, ask, &processes))
    };
    let (freeze, thaw) = (Action::Freeze(leak.id), Action::Thaw(leak.id));
    for second in 0..3 {
        assert_eq!(at(second, Ask::None, 400, 20 + 60 * second, 0), []);
    }
    assert_eq!(at(3, Ask::Pause, 10, 200, 0), [freeze]);
    for second in 4..33 {
        assert_eq!(at(second, Ask::None, 360, 200, 200), [], "{second}");
    }
    assert_eq!(at(34, Ask::None, 360, 200, 200), [thaw]);
    assert_eq!(at(35, Ask::None, 160, 400, 0), []);
    assert_eq!(at(65, Ask::None, 90, 400, 0), []);
}

/// Those that it has are counted once.
#[test]
fn what_is_on_trial_is_stopped_however_many_processes_it_has() {
    let (other, leak) = (job(10, "other", 9, 500), job(20, "leak", 5, 0));
    let mut policy = Driven::new(Settings::default(), 256);
    let mut at = |second, ask, available_mib, held_mib, in_swap_mib| {
        let mut processes = vec![other, holds(leak, held_mib, in_swap_mib)];
        processes.extend((100..240).map(|pid| {
            let mut child = pausable(holding(pid, "child", 0));
            child.seen.parent = 20;
            child
        }));
        turns(&mut policy, second, &shown(available_mib, ask, &processes)).len()
    };
    for second in 0..3 {
        assert_eq!(at(second, Ask::None, 400, 20 + 60 * second, 0), 0);
    }
    assert_eq!(at(3, Ask::Pause, 10, 200, 0), 141);
    for second in 4..33 {
        assert_eq!(at(second, Ask::None, 360, 200, 200), 0, "{second}");
    }
    assert_eq!(at(34, Ask::None, 360, 200, 200), 1, "it is on trial");
    assert_eq!(at(36, Ask::Pause, 140, 400, 50), 141);
}

/// Nor does it wait the longer for the turns in which it still loaded.
#[test]
fn what_loads_in_its_turns_waits_longer_for_each_until_it_has_loaded() {
    let (other, loader) = (job(10, "other", 9, 500), job(20, "loader", 5, 0));
    let mut policy = Driven::new(Settings::default(), 64);
    let (freeze, thaw) = (Action::Freeze(loader.id), Action::Thaw(loader.id));
    let mut second = 0;
    let mut held_mib = 0;
    // At once, then in three turns, the last of which it needs no more.
    for (waits, grows_mib) in [(0, 200), (30, 60), (30, 60), (60, 0)] {
        let mut at = |second, available_mib, ask, held_mib, in_swap_mib| {
            let processes = [other, holds(loader, held_mib, in_swap_mib)];
            turns(&mut policy, second, &shown(available_mib, ask, &processes))
        };
        // For what it has, and not for as much again.
        let room_mib = held_mib + 180;
        for waited in 1..waits {
            let acted = at(second + waited, room_mib, Ask::None, held_mib, held_mib);
            assert_eq!(acted, [], "{waited} of {waits} s");
        }
        second += waits;
        if waits > 0 {
            let acted = at(second + 1, room_mib, Ask::None, held_mib, held_mib);
            assert_eq!(acted, [thaw], "after {waits} s");
        }
        for part in 1..=3 {
            let held_mib = held_mib + grows_mib * part / 3;
            assert_eq!(at(second + part, 400, Ask::None, held_mib, 0), []);
        }
        second += 4;
        held_mib += grows_mib;
        assert_eq!(at(second, 10, Ask::Pause, held_mib, 0), [freeze]);
    }
    let mut at = |second| {
        let processes = [other, holds(loader, held_mib, held_mib)];
        turns(&mut policy, second, &shown(200, Ask::None, &processes))
    };
    for waited in 1..30 {
        assert_eq!(at(second + waited), [], "{waited} s");
    }
    assert_eq!(at(second + 31), [Action::Freeze(other.id), thaw]);
}

/// Where what goes on pages in as it can.
fn paging(machine: Machine) -> Machine {
    machine.kernel(124 * MIB).paging_in_at(150 * MIB)
}

fn loading(pid: u32, name: &str, value: u32, up_to_mib: u64, mib_per_second: u64) -> Task {
    Task::growing(job(pid, name, value, 1), mib_per_second * MIB).up_to(up_to_mib * MIB)
}

fn ran(machine: &Machine, pid: u32) -> u64 {
    let mut tasks = machine.tasks.iter();
    let task = tasks.find(|task| task.process.id.pid == pid);
    task.map_or(0, |task| task.ran.as_secs())
}

/// That it is no leak can only be seen where it has room.
#[test]
fn what_was_paused_while_it_loaded_takes_turns_with_others() {
    for rate in [60, 100] {
        let mut machine = paging(roomy())
            .with(loading(10, "nine", 9, 420, rate))
            .with(loading(20, "five", 5, 420, rate))
            .with(loading(30, "two", 2, 200, rate));
        machine.run_for(300 * SECOND);
        for pid in [10, 20, 30] {
            assert!(ran(&machine, pid) > 30, "{pid}: {} s", ran(&machine, pid));
        }
        assert!(!any_signal(&machine));
    }
    let mut machine = paging(roomy())
        .with(loading(10, "editor", 9, 250, 200))
        .with(loading(20, "make", 5, 720, 200).starting(2 * SECOND));
    machine.run_for(300 * SECOND);
    assert!(ran(&machine, 20) > 90, "{} s", ran(&machine, 20));
    assert!(!any_signal(&machine));
}

/// Nothing takes the place of one on trial before memory is short.
#[test]
fn what_loads_slowly_has_all_of_its_trial() {
    let mut machine = paging(roomy())
        .with(loading(10, "loader", 9, 700, 20))
        .with(Task::steady(job(20, "db", 5, 500)));
    machine.run_for(300 * SECOND);
    assert!(was_frozen(&machine, 10));
    assert!(ran(&machine, 10) > 120, "{} s", ran(&machine, 10));
    assert!(!any_signal(&machine));
}

/// It lasts for all of its trial, and is seen to grow when it is paused again.
#[test]
fn a_slow_leak_waits_longer_for_each_turn() {
    let mut machine = paging(roomy())
        .with(Task::growing(job(10, "leak", 10, 350), 2 * MIB))
        .with(Task::steady(job(20, "db", 10, 500)));
    machine.run_for(900 * SECOND);
    assert!(was_frozen(&machine, 10));
    assert!(ran(&machine, 20) > 700, "{} s", ran(&machine, 20));
    assert!(!any_signal(&machine));
}

#[test]
fn a_leak_that_takes_the_place_of_others_gives_it_back_at_once() {
    let leaks = [
        (1, 12, [(9, 300), (8, 200)]),
        (10, 15, [(20, 150), (30, 200)]),
        (9, 15, [(9, 300), (8, 200)]),
    ];
    for (value, rate, others) in leaks {
        let leak = Task::growing(job(30, "leak", value, 20), rate * MIB);
        for machine in [small(), roomy()] {
            let mut machine = paging(machine).with(leak.clone());
            for (pid, (value, up_to_mib)) in (10..).step_by(10).zip(others) {
                machine.add(loading(pid, "steady", value, up_to_mib, 200));
            }
            machine.run_for(300 * SECOND);
            assert!(was_frozen(&machine, 30), "{value}, {rate} MiB/s");
            for pid in [10, 20] {
                let ran = ran(&machine, pid);
                assert!(ran > 240, "{value}, {rate} MiB/s, {pid}: {ran} s");
            }
            assert!(!any_signal(&machine), "{value}, {rate} MiB/s");
        }
    }
}

/// Of two that do not fit together, one allocates a little while they stall.
#[test]
fn what_allocates_a_little_is_no_leak() {
    let (first, second) = (job(10, "first", 9, 600), job(20, "second", 6, 300));
    let chooses = |taken_kib: u64| {
        let mut policy = Driven::new(Settings::default(), 64);
        let mut at = |time, available_mib, ask, taken_kib| {
            let taken = holding(10, "first", 600 * MIB + taken_kib * KIB)
                .seen
                .anon_bytes;
            let mut first = first;
            first.seen.anon_bytes = taken;
            turns(
                &mut policy,
                time,
                &shown(available_mib, ask, &[first, second]),
            )
        };
        for time in 0..10 {
            assert_eq!(at(time, 400, Ask::None, taken_kib * time / 10), []);
        }
        at(10, 10, Ask::Pause, taken_kib)
    };
    assert_eq!(chooses(0), [Action::Freeze(second.id)]);
    assert_eq!(chooses(600), [Action::Freeze(second.id)]);
    assert_eq!(chooses(60 << 10), [Action::Freeze(first.id)]);
}

/// It may be in another cgroup than the one that is guarded, and none would let it go on.
#[test]
fn what_is_paused_and_no_longer_among_what_is_guarded_goes_on() {
    let (stays, leaves) = (job(10, "stays", 9, 500), job(20, "leaves", 5, 300));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at =
        |second, ask, processes: &[Process]| turns(&mut policy, second, &shown(10, ask, processes));
    let freeze = [Action::Freeze(leaves.id)];
    assert_eq!(at(0, Ask::Pause, &[stays, leaves]), freeze);
    assert_eq!(at(1, Ask::None, &[stays]), [Action::Thaw(leaves.id)]);
    assert_eq!(at(2, Ask::None, &[stays, leaves]), []);
}

/// Paging out stalls tasks, and MemAvailable rises by none of what stays in the
/// swap cache.
#[test]
fn for_what_is_in_memory_as_well_as_in_swap_no_other_is_paused() {
    let (one, two) = (job(20, "one", 2, 150), job(30, "two", 5, 200));
    let editor = job(10, "editor", 50, 300);
    let is_paused_as_well = |ask: Ask, cached_mib: u64| {
        let mut policy = Driven::new(Settings::default(), 64);
        let first = shown(10, Ask::Pause, &[editor, one, two]);
        assert_eq!(turns(&mut policy, 0, &first), [Action::Freeze(one.id)]);
        policy.learn(Duration::from_secs(1001), Event::PagedOut(one.id));
        let mut then = shown(60, ask, &[editor, in_swap(one), two]);
        then.memory.swap_cached_bytes = cached_mib * MIB;
        turns(&mut policy, 2, &then) == [Action::Freeze(two.id)]
    };
    for ask in [Ask::Pause, Ask::Relief] {
        assert!(is_paused_as_well(ask, 0));
        assert!(!is_paused_as_well(ask, 150));
    }
}

/// What was swapped out before may not compress, and what is paused may.
#[test]
fn free_swap_in_zram_is_no_reason_to_kill_until_the_first_of_what_is_paused_is_paged_out() {
    let (one, two) = (job(20, "one", 2, 250), job(30, "two", 5, 100));
    let editor = job(10, "editor", 50, 300);
    let decided = |is_paged_out: bool, millis: u64| {
        let mut policy = Driven::new(Settings::default(), 64);
        let first = shown(10, Ask::Pause, &[editor, one, two]);
        assert_eq!(turns(&mut policy, 0, &first), [Action::Freeze(one.id)]);
        if is_paged_out {
            policy.learn(Duration::from_secs(1000), Event::PagedOut(one.id));
        }
        let mut then = shown(60, Ask::None, &[editor, one, two]);
        then.memory.worthless_swap_bytes = then.memory.swap_free_bytes;
        let now = Duration::from_millis(1_000_000 + millis);
        policy.step(now, &then).actions.clone()
    };
    let ended = [Action::Terminate(one.id), Action::Thaw(one.id)];
    assert_eq!(decided(false, 1500), []);
    assert_eq!(decided(true, 1500), ended);
    assert_eq!(decided(false, 2000), ended);
}

/// What zram gains is found out while there is memory left, before tasks stall.
#[test]
fn where_memory_is_low_and_swap_in_zram_was_never_used_the_cheapest_tries_it_for_a_moment() {
    let (one, two) = (job(20, "one", 2, 250), job(30, "two", 5, 100));
    let zram = |available_mib: u64, total_mib: u64, free_mib: u64, worthless_percent: u64| {
        let mut shown = shown(available_mib, Ask::None, &[one, two]);
        shown.memory.swap_total_bytes = total_mib * MIB;
        shown.memory.swap_free_bytes = free_mib * MIB;
        shown.memory.worthless_swap_bytes = free_mib * MIB / 100 * worthless_percent;
        shown
    };
    let low = zram(50, 512, 510, 50);
    let steps = |settings: Settings, then: Snapshot| {
        let mut policy = Driven::new(settings, 64);
        assert_eq!(turns(&mut policy, 0, &zram(60, 512, 510, 50)), []);
        let first = policy.step(Duration::from_secs(1001), &low).actions.clone();
        policy.learn(Duration::from_secs(1001), Event::PagedOut(one.id));
        let second = policy.step(Duration::from_secs(1002), &then);
        (first, second.actions.clone())
    };
    let (freeze, thaw) = (Action::Freeze(one.id), Action::Thaw(one.id));
    let (unit, mebibytes) = (one.id, 32);
    let tries = vec![freeze, Action::PageOut { unit, mebibytes }];
    let then = |shown| steps(Settings::default(), shown);
    // It compresses: all run on.
    let gains = zram(66, 512, 480, 50);
    assert_eq!(then(gains.clone()), (tries.clone(), vec![thaw]));
    // It does not: that is as if there were no swap.
    let gains_nothing = zram(60, 512, 490, 100);
    let ended = vec![Action::Terminate(one.id), thaw];
    assert_eq!(then(gains_nothing), (tries, ended));
    let unpaused = Settings {
        pause: false,
        ..Settings::default()
    };
    assert_eq!(steps(unpaused, gains), (vec![], vec![]));

    let first_of = |shown: Snapshot| turns(&mut Driven::new(Settings::default(), 64), 0, &shown);
    assert_eq!(first_of(zram(50, 512, 490, 50)), [], "some of it is used");
    assert_eq!(first_of(zram(50, 160, 160, 50)), [freeze], "it is small");
    assert_eq!(first_of(zram(50, 30, 30, 50)), [], "it is too small");
}

/// On a machine that runs on with so little memory.
#[test]
fn swap_in_zram_is_not_tried_again_and_again_where_all_that_went_there_comes_back() {
    let (one, two) = (job(20, "one", 2, 250), job(30, "two", 5, 100));
    let mut low = shown(45, Ask::None, &[one, two]);
    low.memory.swap_free_bytes = GIB;
    low.memory.worthless_swap_bytes = GIB / 2;
    let mut policy = Driven::new(Settings::default(), 64);
    let mut turned = Vec::new();
    for second in 0..1300 {
        for action in turns(&mut policy, second, &low) {
            if action == Action::Freeze(one.id) {
                policy.learn(Duration::from_secs(1000 + second), Event::PagedOut(one.id));
            }
            turned.push((second, action));
        }
    }
    let (freeze, thaw) = (Action::Freeze(one.id), Action::Thaw(one.id));
    let want = [0, 600, 1200].map(|second| [(second, freeze), (second + 1, thaw)]);
    assert_eq!(turned, want.concat());
}

#[test]
fn where_one_cannot_be_stopped_another_tries_swap_in_zram() {
    let (one, two) = (job(20, "one", 2, 250), job(30, "two", 5, 100));
    let mut low = shown(45, Ask::None, &[one, two]);
    low.memory.swap_free_bytes = GIB;
    low.memory.worthless_swap_bytes = GIB / 2;
    let mut policy = Driven::new(Settings::default(), 64);
    assert_eq!(turns(&mut policy, 0, &low), [Action::Freeze(one.id)]);
    policy.learn(Duration::from_secs(1000), Event::Unfrozen(one.id));
    assert_eq!(turns(&mut policy, 1, &low), [Action::Freeze(two.id)]);
}

/// At the rate at which it falls, where that is known.
#[test]
fn where_memory_alone_is_full_within_seconds_swap_in_zram_is_tried_before() {
    let first_pause = |mebibytes_a_second: u64, is_zram: bool| {
        let leak = job(20, "leak", 2, 250);
        let mut policy = Driven::new(Settings::default(), 64);
        (0..60).find_map(|second| {
            let available_mib = 300 - mebibytes_a_second * second;
            let mut shown = shown(available_mib, Ask::None, &[leak]);
            shown.memory.worthless_swap_bytes = if is_zram { 512 * MIB } else { 0 };
            shown.memory.swap_free_bytes = GIB;
            let paused = turns(&mut policy, second, &shown);
            (!paused.is_empty()).then_some(available_mib)
        })
    };
    assert_eq!(first_pause(4, false), None);
    // 51 MiB is the kill threshold.
    assert_eq!(first_pause(4, true), Some(88));
    assert_eq!(first_pause(10, true), Some(150));
}

/// While tasks thrash, it holds what is on its way to swap and back.
#[test]
fn for_the_swap_cache_of_what_runs_again_stalls_are_not_left_alone() {
    let (one, two) = (job(20, "one", 9, 300), job(30, "two", 5, 200));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, available_mib, ask, cached_mib: u64, processes: [Process; 2]| {
        let mut shown = shown(available_mib, ask, &processes);
        shown.memory.swap_cached_bytes = cached_mib * MIB;
        turns(&mut policy, second, &shown)
    };
    // The one that is worth more has nothing in swap.
    assert_eq!(
        at(0, 10, Ask::Relief, 0, [one, two]),
        [Action::Freeze(two.id)]
    );
    let both = [one, in_swap(two)];
    assert_eq!(at(6, 600, Ask::None, 0, both), [Action::Thaw(two.id)]);
    assert_eq!(at(9, 5, Ask::Pause, 200, both), [Action::Freeze(one.id)]);
}

/// Though it has waited for longer.
#[test]
fn none_takes_the_place_of_one_that_is_worth_more() {
    let (cheap, dear) = (job(20, "cheap", 5, 300), job(30, "dear", 9, 300));
    let other = job(10, "other", 2, 20);
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, available_mib, ask, processes: [Process; 3]| {
        turns(&mut policy, second, &shown(available_mib, ask, &processes))
    };
    let first = at(0, 10, Ask::Pause, [other, cheap, dear]);
    assert_eq!(first, [Action::Freeze(cheap.id)]);
    let dear_grows = Process {
        seen: Seen {
            anon_bytes: 400 * MIB,
            ..dear.seen
        },
        ..dear
    };
    let then = at(2, 10, Ask::Relief, [other, in_swap(cheap), dear_grows]);
    assert_eq!(then, [Action::Freeze(dear.id)]);
    let both = [other, in_swap(cheap), in_swap(dear_grows)];
    assert_eq!(at(6, 170, Ask::None, both), []);
    assert!(at(8, 170, Ask::None, both).contains(&Action::Thaw(dear.id)));
}

/// Where swap was full it was not paged out.
#[test]
fn what_has_nothing_in_swap_goes_on_once_memory_is_not_short() {
    let (one, editor) = (job(20, "one", 2, 150), job(10, "editor", 50, 300));
    let mut policy = Driven::new(Settings::default(), 64);
    let mut at = |second, available_mib, ask| {
        turns(
            &mut policy,
            second,
            &shown(available_mib, ask, &[editor, one]),
        )
    };
    assert_eq!(at(0, 10, Ask::Pause), [Action::Freeze(one.id)]);
    assert_eq!(at(8, 100, Ask::None), []);
    assert_eq!(at(10, 160, Ask::None), [Action::Thaw(one.id)]);
}

/// It could not be paused a second time.
#[test]
fn a_leak_that_swap_has_no_room_for_again_waits() {
    let mut machine = Machine::new(Settings::default(), GIB, 300 * MIB)
        .with(Task::steady(job(10, "train", 9, 600)).ending(10 * SECOND))
        .with(Task::growing(job(20, "leak", 5, 10), 40 * MIB));
    machine.run_for(60 * SECOND);
    assert_eq!(machine.frozen(), ["leak"]);
    assert!(!any_signal(&machine));
}

/// Until it stands still it may take as much again.
#[test]
fn what_grows_is_paged_out_with_what_it_takes_meanwhile() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "train", 9, 700)))
        .with(Task::growing(job(20, "step", 2, 10), 100 * MIB));
    machine.run_for(5 * SECOND);
    let paged_out = actions(&machine)
        .into_iter()
        .find_map(|action| match action {
            Action::PageOut { mebibytes, .. } => Some(mebibytes),
            _ => None,
        });
    // It held some 300.
    assert!(paged_out > Some(600), "{paged_out:?}");
}

/// While it loads it looks like a leak that would fill all there is.
#[test]
fn what_loaded_fast_is_let_run_once_there_is_room() {
    let mut machine = Machine::new(Settings::default(), GIB, GIB)
        .with(Task::steady(job(10, "editor", 9, 60)))
        .with(Task::steady(job(20, "train", 9, 640)).ending(10 * SECOND))
        .with(Task::growing(job(30, "build", 5, 10), 150 * MIB).up_to(400 * MIB));
    machine.run_for(9 * SECOND);
    assert_eq!(machine.frozen(), ["build"]);
    machine.run_for(25 * SECOND);
    assert_eq!(machine.frozen(), [""; 0]);
    assert!(!any_signal(&machine));
}

#[test]
fn the_ancestors_four_all_live_while_swap_has_room() {
    let mut machine = small()
        .with(Task::steady(job(10, "ml1", 9, 180)))
        .with(Task::steady(job(20, "ml2", 7, 200)))
        .with(Task::growing(job(30, "proc1", 8, 10), 40 * MIB).ignoring_term())
        .with(Task::growing(job(40, "proc2", 5, 10), 80 * MIB).ignoring_term());
    machine.run_for(25 * SECOND);
    assert_eq!(machine.frozen(), ["proc1", "proc2"]);
    assert!(!any_signal(&machine));
}

/// What loads fast is taken for a bomb at first, and stalls come a second apart.
#[test]
fn what_fills_memory_too_fast_is_paused_as_soon_as_it_does_so_no_more() {
    let mut machine = Machine::new(Settings::default(), GIB, GIB)
        .with(Task::steady(job(10, "editor", 9, 300)))
        .with(Task::growing(job(20, "load", 5, 10), 400 * MIB).up_to(760 * MIB));
    let first = |machine: &Machine, is: fn(&Machine) -> bool| is(machine).then_some(machine.now);
    let (mut stalled, mut paused) = (None, None);
    for _ in 0..600 {
        machine.run_for(SECOND / 100);
        stalled = stalled.or(first(&machine, Machine::stalls));
        paused = paused.or(first(&machine, |machine| !machine.frozen().is_empty()));
    }
    let (stalled, paused) = stalled.zip(paused).expect("it is paused");
    let waited = paused - stalled;
    assert!(waited < SECOND, "{waited:?}");
    assert_eq!(machine.frozen(), ["load"]);
    assert!(!any_signal(&machine));
}

#[test]
fn a_bomb_is_killed_and_not_paused() {
    let mut machine = small()
        .with(Task::steady(job(10, "train", 9, 300)))
        .with(Task::growing(job(20, "bomb", 1, 0), 200 * MIB));
    machine.run_for(10 * SECOND);
    assert!(!was_frozen(&machine, 20));
    assert_eq!(machine.alive(), ["train"]);
    assert!(!machine.kernel_would_kill);
}

#[test]
fn where_swap_has_no_room_relief_kills_as_ever() {
    let mut machine = Machine::new(Settings::default(), GIB, 64 * MIB)
        .with(Task::steady(job(10, "first", 9, 460)))
        .with(Task::steady(job(20, "second", 5, 460)));
    machine.ask(Ask::Relief);
    machine.run_for(2 * SECOND);
    assert_eq!(actions(&machine).len(), 1);
    assert_eq!(machine.alive(), ["first"]);
}

#[test]
fn relief_that_a_person_asks_for_pauses_and_need_not_wait_for_the_interval() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 300)))
        .with(Task::steady(job(20, "second", 5, 300)))
        .with(Task::steady(job(30, "third", 2, 290)));
    machine.run_for(SECOND);
    assert_eq!(machine.frozen(), [""; 0], "it fits");
    machine.ask(Ask::Relief);
    machine.run_for(SECOND);
    assert_eq!(machine.frozen(), ["third"]);
}

#[test]
fn with_pausing_off_nothing_is_paused() {
    let settings = Settings {
        pause: false,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings, GIB, 4 * GIB)
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(20 * SECOND);
    assert!(actions(&machine).is_empty());
}

#[test]
fn each_has_its_time_slice() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(300 * SECOND);
    for task in &machine.tasks {
        let name = task.process.name;
        assert!(task.ran > 100 * SECOND, "{name} ran for {:?}", task.ran);
        assert!(task.ran < 200 * SECOND, "{name} ran for {:?}", task.ran);
    }
    let slices = machine
        .made
        .iter()
        .filter(|made| made.cause == Some(Cause::TimeSlice))
        .count();
    assert!((7..=10).contains(&slices), "{slices}");
    assert!(!any_signal(&machine));
}

/// The daemon's clock stands still while the machine is suspended, but may jump
/// where a host has stopped a virtual machine.
#[test]
fn after_a_jump_of_the_clock_each_goes_on_in_its_turn() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(10 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.now += 3600 * SECOND;
    let ran_before: Vec<Duration> = machine.tasks.iter().map(|task| task.ran).collect();
    for _ in 0..120 {
        machine.run_for(SECOND);
        assert_eq!(machine.frozen().len(), 1, "{:?}", machine.frozen());
    }
    for (task, before) in machine.tasks.iter().zip(ran_before) {
        let (name, ran) = (task.process.name, task.ran - before);
        assert!(ran > 40 * SECOND, "{name} ran for {ran:?}");
    }
    assert!(!any_signal(&machine));
}

#[test]
fn a_leak_in_its_time_slice_is_paused_again_and_takes_nobodys_place() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "db", 30, 500)))
        .with(Task::growing(job(20, "leak", 10, 20), 15 * MIB));
    machine.run_for(120 * SECOND);
    assert!(was_frozen(&machine, 20));
    assert!(!was_frozen(&machine, 10));
    assert!(!any_signal(&machine));
}

#[test]
fn when_memory_and_swap_run_out_the_paused_are_killed_at_their_value() {
    let mut machine = small()
        .with(Task::steady(job(10, "train", 9, 400)))
        .with(Task::steady(job(20, "paused", 2, 400)))
        .with(Task::growing(job(30, "leak", 50, 100), 30 * MIB).starting(10 * SECOND));
    machine.run_for(9 * SECOND);
    machine.ask(Ask::Relief);
    machine.run_for(40 * SECOND);
    let first_signal = actions(&machine)
        .into_iter()
        .find(|action| matches!(action, Action::Terminate(_) | Action::Kill(_)));
    let Some(Action::Terminate(id) | Action::Kill(id)) = first_signal else {
        panic!("it ran out: {:?}", machine.made);
    };
    assert_eq!(id.pid, 20);
    // It can save its work only where it runs.
    let thaw = |action: &Action| matches!(action, Action::Thaw(id) if id.pid == 20);
    assert!(actions(&machine).iter().any(thaw));
}

#[test]
fn what_may_not_be_paused_or_is_not_known_is_not() {
    for pause in [
        Pausing::default(),
        Pausing::Forbidden(Unpausable::ForegroundJob),
    ] {
        let mut machine = roomy()
            .with(Task::steady(job(10, "first", 9, 665)))
            .with(Task::steady(labelled(job(20, "second", 5, 665), pause)));
        machine.run_for(20 * SECOND);
        assert!(!was_frozen(&machine, 20), "{pause:?}");
    }
}

#[test]
fn a_pause_waits_until_the_cheapest_is_known_too_and_not_for_ever() {
    for (is_found_out, want) in [(true, "second"), (false, "first")] {
        let unknown = labelled(job(20, "second", 5, 665), Pausing::default());
        let mut machine = roomy()
            .with(Task::steady(job(10, "first", 9, 665)))
            .with(Task::steady(unknown));
        machine.run_for(SECOND);
        assert_eq!(machine.frozen(), [""; 0]);
        if is_found_out {
            machine.tasks[1].process = job(20, "second", 5, 665);
        }
        machine.run_for(2 * SECOND);
        assert_eq!(machine.frozen(), [want]);
    }
}

/// As in a build, of which the steps at work are not known yet: what is much dearer
/// is left running for them, but not for one that never becomes known.
#[test]
fn an_editor_is_not_paused_for_what_has_just_started() {
    for (lives, is_paused) in [(4, false), (20, true)] {
        let mut machine = roomy().with(Task::steady(job(10, "editor", 9, 300)));
        for started in (0..20).filter(|started| started % lives == 0) {
            for pid in (100 + 10 * started..).take(8) {
                let unknown = labelled(holding(pid, "step", 90 * MIB), Pausing::default());
                let step = Task::steady(unknown).starting(started * SECOND);
                machine.add(step.ending((started + lives) * SECOND));
            }
        }
        machine.run_for(20 * SECOND);
        assert_eq!(was_frozen(&machine, 10), is_paused, "{lives}");
    }
}

/// Of a unit, as yet unknown.
fn newborn(pid: u32, parent: u32, bytes: u64) -> Process {
    let mut process = labelled(holding(pid, "cc1", bytes), Pausing::default());
    process.seen.parent = parent;
    process
}

#[test]
fn a_tree_is_paused_though_its_newborn_are_not_known_yet() {
    for (newborn_bytes, want) in [(2 * MIB, 20), (20 * MIB, 10)] {
        let mut machine = roomy()
            .with(Task::steady(job(10, "first", 9, 665)))
            .with(Task::steady(job(20, "make", 5, 665)));
        // There are some at any time, whatever becomes known of them.
        for pid in 30..33 {
            machine.add(Task::steady(newborn(pid, 20, newborn_bytes)));
        }
        machine.run_for(5 * SECOND);
        let frozen = [10, 20].map(|pid| was_frozen(&machine, pid));
        assert_eq!(frozen, [want == 10, want == 20], "{newborn_bytes}");
    }
}

#[test]
fn relief_does_not_kill_what_is_paged_out() {
    let settings = Settings {
        relief_interval: Duration::ZERO,
        horizon: Duration::ZERO,
        ..Settings::default()
    };
    let entry = Pausing::Forbidden(Unpausable::Entry);
    let mut machine = Machine::new(settings, GIB, 4 * GIB)
        .with(Task::steady(labelled(job(10, "db", 9, 300), entry)))
        .with(Task::growing(job(20, "leak", 1, 20), 60 * MIB))
        .with(Task::steady(labelled(job(30, "late", 5, 650), entry)).starting(12 * SECOND));
    machine.run_for(13 * SECOND);
    assert_eq!(machine.frozen(), ["leak"]);
    machine.ask(Ask::Relief);
    machine.run_for(SECOND);
    let last = machine.made.last().map(|made| made.chosen.clone());
    assert_eq!(last, Some(vec!["late".to_owned()]));
}

#[test]
fn services_of_the_machine_are_not_paused() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 300)))
        .with(Task::steady(pausable(system(20, "service", 900 * MIB))));
    machine.run_for(20 * SECOND);
    assert!(!was_frozen(&machine, 20));
}

#[test]
fn an_entry_that_forbids_it_later_ends_the_pause() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.tasks[1].process = labelled(
        machine.tasks[1].process,
        Pausing::Forbidden(Unpausable::Entry),
    );
    machine.run_for(2 * SECOND);
    assert!(!machine.frozen().contains(&"second".to_owned()));
}

#[test]
fn a_paused_process_that_is_given_a_higher_value_goes_on_when_nothing_of_more_value_runs() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.tasks[1].process.dossier.value = Some(50);
    machine.run_for(8 * SECOND);
    assert_eq!(machine.frozen(), ["first"]);
}

#[test]
fn what_a_person_lets_go_on_is_left_alone() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.let_go_on(20);
    machine.run_for(20 * SECOND);
    assert_eq!(machine.frozen(), ["first"]);
}

/// What a person lets go on may be paused for relief.
#[test]
fn relief_kills_what_cannot_be_paused_and_leaves_it_alone_until_then() {
    for (told, want) in [
        (Event::Unfrozen as fn(_) -> _, Verdict::Chosen),
        (Event::Continued, Verdict::Paused),
    ] {
        let (one, two) = (job(20, "one", 2, 400), job(30, "two", 9, 400));
        let low = shown(100, Ask::Relief, &[one, two]);
        let mut policy = Driven::new(Settings::default(), 64);
        let decision = policy.step(SECOND, &low);
        assert_eq!(decision.verdict, Verdict::Paused);
        assert_eq!(chosen(decision), ["one"]);
        policy.learn(SECOND, told(one.id));
        let labelled = labelled(two, Pausing::Forbidden(Unpausable::PtyMaster));
        let low = shown(100, Ask::Relief, &[one, labelled]);
        let decision = policy.step(20 * SECOND, &low);
        assert_eq!(decision.verdict, want);
        assert_eq!(chosen(decision), ["one"]);
    }
}

#[test]
fn relief_that_could_stop_nothing_kills_at_once() {
    let (one, two) = (job(20, "one", 2, 100), job(30, "two", 3, 100));
    let editor = labelled(
        job(10, "editor", 50, 300),
        Pausing::Forbidden(Unpausable::PtyMaster),
    );
    let low = shown(10, Ask::Relief, &[editor, one, two]);
    let after = |unfrozen: &[Process]| {
        let mut policy = Driven::new(Settings::default(), 64);
        let decision = policy.step(SECOND, &low);
        assert_eq!(decision.verdict, Verdict::Paused);
        assert_eq!(chosen(decision), ["one", "two"]);
        for process in unfrozen {
            policy.learn(SECOND, Event::Unfrozen(process.id));
        }
        policy.step(2 * SECOND, &low).verdict
    };
    let remaining = Settings::default().relief_interval - SECOND;
    let waits = Verdict::Refused(Refusal::RecoveryInterval { remaining });
    assert_eq!(after(&[one]), waits);
    assert_eq!(after(&[one, two]), Verdict::Chosen);
}

#[test]
fn what_could_not_be_frozen_is_tried_again_after_five_minutes() {
    let (one, two) = (job(20, "one", 2, 400), job(30, "two", 9, 400));
    let low = shown(100, Ask::Pause, &[one, two]);
    let mut policy = Driven::new(Settings::default(), 64);
    assert_eq!(turns(&mut policy, 0, &low), [Action::Freeze(one.id)]);
    policy.learn(Duration::from_secs(1000), Event::Unfrozen(one.id));
    assert_eq!(turns(&mut policy, 1, &low), [Action::Freeze(two.id)]);
    policy.learn(Duration::from_secs(1001), Event::Unfrozen(two.id));
    assert_eq!(turns(&mut policy, 299, &low), []);
    assert_eq!(turns(&mut policy, 300, &low), [Action::Freeze(one.id)]);
}

#[test]
fn a_unit_that_shows_no_stall_is_not_paused() {
    let mut machine = small()
        .with(Task::steady(job(10, "first", 9, 300)))
        .with(Task::steady(job(20, "second", 5, 300)));
    machine.run_for(60 * SECOND);
    assert!(actions(&machine).is_empty());
}

#[test]
fn an_unregistered_hog_is_paused_before_what_is_registered() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "train", 9, 300)))
        .with(Task::steady(job(20, "db", 8, 200)))
        .with(Task::growing(
            pausable(holding(30, "leaky", 20 * MIB)),
            60 * MIB,
        ));
    machine.run_for(20 * SECOND);
    assert_eq!(machine.frozen(), ["leaky"]);
}

#[test]
fn a_tree_is_stopped_with_its_leader_last() {
    let child = |pid| {
        let mut child = pausable(holding(pid, "loader", 100 * MIB));
        child.seen.parent = 20;
        child
    };
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 200)))
        .with(Task::steady(child(30)))
        .with(Task::steady(child(40)));
    machine.run_for(5 * SECOND);
    let pids: Vec<u32> = actions(&machine)
        .iter()
        .map(|action| match *action {
            Action::Freeze(id) => id.pid,
            Action::PageOut { unit, .. } => 1000 + unit.pid,
            _ => panic!("{action:?}"),
        })
        .collect();
    assert_eq!(pids, [40, 30, 20, 1020]);
    let verdicts: Vec<Verdict> = machine.made.iter().map(|made| made.verdict).collect();
    assert_eq!(verdicts, [Verdict::Paused]);
}

#[test]
fn a_unit_whose_processes_could_not_be_stopped_is_not_taken_for_paused() {
    for is_stopped in [true, false] {
        let mut machine = roomy()
            .with(Task::steady(job(10, "first", 9, 665)))
            .with(Task::steady(job(20, "second", 5, 665)));
        machine.run_for(5 * SECOND);
        let id = machine.tasks[1].process.id;
        if !is_stopped {
            machine.policy.learn(machine.now, Event::Unsent(id));
        }
        // Each candidate for a kill says whether it is paused.
        let mut snapshot = machine.snapshot();
        snapshot.memory.available_bytes = 0;
        snapshot.memory.swap_free_bytes = 0;
        let decision = machine.policy.step(machine.now, &snapshot);
        let second = decision.candidates.iter().find(|unit| unit.leader == id);
        assert_eq!(second.map(|unit| unit.is_paused), Some(is_stopped));
    }
}

#[test]
fn for_a_stall_nothing_is_killed_though_a_victim_is_stuck() {
    // It has room in swap, and nothing may be paused.
    let memory = Memory {
        total_bytes: 100 * GIB,
        available_bytes: 10 * GIB,
        swap_total_bytes: 50 * GIB,
        swap_free_bytes: 40 * GIB,
        ..Memory::default()
    };
    let processes = vec![
        registered(10, "one", 1, 3 * GIB),
        registered(20, "other", 1, 3 * GIB),
        registered(30, "dear", 9, 20 * GIB),
    ];
    let seen = |ask| Snapshot {
        memory,
        ask,
        processes: processes.clone(),
    };
    let mut policy = Driven::new(Settings::default(), 8);
    let victims = policy.step(SECOND, &seen(Ask::Relief)).actions.clone();
    assert_eq!(victims.len(), 2);
    let stuck = Event::Refused(processes[0].id);
    policy.learn(SECOND, stuck);
    let decision = policy.step(20 * SECOND, &seen(Ask::Pause));
    // The grace of the other is over.
    assert_eq!(decision.actions, [Action::Kill(processes[1].id)]);
    assert!(matches!(decision.verdict, Verdict::Refused(_)));
}

const USER: Option<u32> = Some(1000);

/// Where tasks never stall.
fn idle() -> Machine {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 100)))
        .with(Task::steady(job(20, "second", 5, 100)));
    for task in &mut machine.tasks {
        task.process.seen.uid = 1000;
    }
    machine
}

#[test]
fn what_a_person_pauses_waits_for_a_persons_word() {
    let mut machine = idle();
    machine.run_for(2 * SECOND);
    machine.pause_by_word(10, USER);
    machine.run_for(2 * SECOND);
    assert_eq!(machine.frozen(), ["first"]);
    let leader = machine.tasks[0].process.id;
    assert_eq!(machine.answered(), Some(PauseAnswer::Ordered(leader)));
    // There is room, nothing of as much value runs, and it has waited.
    machine.run_for(120 * SECOND);
    assert_eq!(machine.frozen(), ["first"]);
    machine.pause_by_word(10, USER);
    machine.run_for(2 * SECOND);
    assert_eq!(machine.answered(), Some(PauseAnswer::Stays(leader)));
    machine.let_go_on(10);
    machine.run_for(20 * SECOND);
    assert!(machine.frozen().is_empty());
}

#[test]
fn a_person_pauses_a_foreground_job_and_what_may_have_nothing_in_swap() {
    for why in [Unpausable::ForegroundJob, Unpausable::NoSwap] {
        let mut machine = idle();
        machine.tasks[0].process = labelled(machine.tasks[0].process, Pausing::Forbidden(why));
        machine.run_for(2 * SECOND);
        machine.pause_by_word(10, USER);
        machine.run_for(2 * SECOND);
        assert_eq!(machine.frozen(), ["first"], "{why:?}");
    }
}

#[test]
fn what_was_paused_for_a_stall_and_then_by_a_person_waits_for_a_persons_word() {
    let mut machine = roomy()
        .with(Task::steady(job(10, "first", 9, 665)))
        .with(Task::steady(job(20, "second", 5, 665)));
    machine.run_for(5 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
    machine.pause_by_word(20, None);
    machine.run_for(120 * SECOND);
    assert_eq!(machine.frozen(), ["second"]);
}

#[test]
fn a_person_pauses_nothing_that_may_not_be_paused_or_is_another_users() {
    let refused = |machine: &Machine| match machine.answered() {
        Some(PauseAnswer::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let mut machine = idle();
    machine.pause_by_word(10, Some(1001));
    machine.run_for(SECOND);
    assert_eq!(refused(&machine), PauseRefusal::OfAnotherUser);
    let why = Unpausable::PtyMaster;
    machine.tasks[0].process = labelled(machine.tasks[0].process, Pausing::Forbidden(why));
    machine.pause_by_word(10, USER);
    machine.run_for(SECOND);
    assert_eq!(refused(&machine), PauseRefusal::Unpausable(why));
    let protected = &mut machine.tasks[1].process;
    protected.seen.oom_score_adj = -1000;
    machine.pause_by_word(20, USER);
    machine.run_for(SECOND);
    assert_eq!(refused(&machine), PauseRefusal::NotEligible);
    assert!(machine.frozen().is_empty());
    // It is waited for what is not known of it, and no longer.
    let unknown = Unpausable::Unknown;
    machine.tasks[0].process = labelled(machine.tasks[0].process, Pausing::Forbidden(unknown));
    machine.pause_by_word(10, USER);
    machine.run_for(SECOND);
    assert_eq!(refused(&machine), PauseRefusal::NotEligible, "the last");
    machine.run_for(60 * SECOND);
    assert_eq!(refused(&machine), PauseRefusal::Unpausable(unknown));
}

#[test]
fn a_paused_unit_that_another_scope_ends_goes_on_to_save_its_work() {
    for by in [EndedBy::Terminate, EndedBy::Command, EndedBy::Kill] {
        let mut machine = idle();
        machine.run_for(2 * SECOND);
        machine.pause_by_word(10, USER);
        machine.run_for(2 * SECOND);
        assert_eq!(machine.frozen(), ["first"]);
        let process = &machine.tasks[0].process;
        let ended = Event::Killed {
            process,
            lost: Cost::ZERO,
            by,
        };
        let mut effects = Effects::default();
        let guard = &mut machine.policy.guard;
        guard.handle(at(4 * SECOND), ended, &mut effects);
        let thaw = Effect::Act(Action::Thaw(process.id));
        assert_eq!(effects.collect::<Vec<_>>(), [thaw]);
        let guard = &mut machine.policy.guard;
        assert_eq!(guard.paused_as(process.id), None);
        // It goes on already.
        let mut effects = Effects::default();
        guard.handle(at(5 * SECOND), ended, &mut effects);
        assert_eq!(effects.count(), 0);
    }
}

/// What it is answered where nothing else is to be decided.
fn asked(policy: &mut Driven, processes: &[Process], pid: u32, uid: Option<u32>) -> PauseAnswer {
    let id = holding(pid, "", 0).id;
    policy.learn(SECOND, Event::PauseAsked { id, uid });
    policy.step(SECOND, &shown(900, Ask::None, processes));
    *policy.answers.last().expect("it is answered at once")
}

fn small_jobs(pids: std::ops::Range<u32>) -> Vec<Process> {
    pids.map(|pid| {
        let mut process = job(pid, "small", 1, 1);
        process.seen.uid = 1000;
        process
    })
    .collect()
}

#[test]
fn what_people_keep_paused_leaves_relief_its_pauses() {
    let mut processes = small_jobs(100..164);
    processes.extend([job(200, "one", 2, 400), job(210, "two", 9, 400)]);
    let mut policy = Driven::new(Settings::default(), 128);
    let answers = (100..164).map(|pid| asked(&mut policy, &processes, pid, None));
    let is_kept = |answer: &PauseAnswer| matches!(answer, PauseAnswer::Ordered(_));
    assert_eq!(answers.filter(is_kept).count(), 32);
    let low = shown(100, Ask::Relief, &processes);
    let decision = policy.step(20 * SECOND, &low);
    assert_eq!(decision.verdict, Verdict::Paused);
    assert_eq!(chosen(decision), ["one"]);
}

#[test]
fn one_user_keeps_only_some_paused() {
    let too_many = PauseAnswer::Refused(PauseRefusal::TooMany);
    let processes = small_jobs(100..117);
    let mut policy = Driven::new(Settings::default(), 128);
    for pid in 100..108 {
        let answer = asked(&mut policy, &processes, pid, USER);
        assert!(matches!(answer, PauseAnswer::Ordered(_)), "{answer:?}");
    }
    assert_eq!(asked(&mut policy, &processes, 108, USER), too_many);
    // It is root that keeps this one.
    let by_root = asked(&mut policy, &processes, 108, None);
    assert_eq!(by_root, PauseAnswer::Ordered(processes[8].id));
    let still = asked(&mut policy, &processes, 108, USER);
    assert_eq!(still, PauseAnswer::Stays(processes[8].id));
    assert_eq!(asked(&mut policy, &processes, 109, USER), too_many);
    // What goes on does not count, nor does it become the daemon's.
    for pid in 100..108 {
        policy.learn(SECOND, Event::Continued(holding(pid, "", 0).id));
    }
    for pid in 109..117 {
        let answer = asked(&mut policy, &processes, pid, USER);
        assert!(matches!(answer, PauseAnswer::Ordered(_)), "{answer:?}");
    }
    assert_eq!(asked(&mut policy, &processes, 100, USER), too_many);
}

#[test]
fn what_was_paused_for_a_stall_counts_once_a_person_keeps_it() {
    let mut processes = small_jobs(100..108);
    processes.extend([job(200, "one", 2, 400), job(210, "two", 9, 400)]);
    processes[8].seen.uid = 1000;
    let mut policy = Driven::new(Settings::default(), 128);
    for pid in 100..108 {
        asked(&mut policy, &processes, pid, USER);
    }
    let decision = policy.step(20 * SECOND, &shown(100, Ask::Pause, &processes));
    assert_eq!(chosen(decision), ["one"]);
    let answer = asked(&mut policy, &processes, 200, USER);
    assert_eq!(answer, PauseAnswer::Refused(PauseRefusal::TooMany));
    let by_root = asked(&mut policy, &processes, 200, None);
    assert_eq!(by_root, PauseAnswer::Stays(processes[8].id));
}

#[test]
fn what_is_paused_goes_on_when_the_cgroup_that_is_guarded_is_removed() {
    let processes = small_jobs(100..101);
    let mut policy = Driven::new(Settings::default(), 64);
    asked(&mut policy, &processes, 100, USER);
    let last = shown(900, Ask::None, &[]).memory;
    let mut effects = Effects::default();
    let unreadable = Event::Unreadable { last };
    policy
        .guard
        .handle(at(2 * SECOND), unreadable, &mut effects);
    let reads_table = Effect::ReadTable(Depth::Fast);
    assert!(effects.any(|effect| effect == reads_table));
    let decision = policy.decide(2 * SECOND, &[]);
    assert_eq!(decision.actions, [Action::Thaw(processes[0].id)]);
    assert!(!policy.guard.follows_paused());
}

/// A unit of two, the child of which was paused by itself.
fn adopted() -> (Driven, [Process; 2]) {
    let parent = pausable(holding(10, "parent", 20 * MIB));
    let mut child = pausable(holding(20, "child", 400 * MIB));
    child.seen.parent = 10;
    let before = [parent, child];
    let parent = job(10, "parent", 5, 20);
    let mut policy = Driven::new(Settings::default(), 64);
    let ordered = PauseAnswer::Ordered(child.id);
    assert_eq!(asked(&mut policy, &before, 20, None), ordered);
    (policy, [parent, child])
}

#[test]
fn what_is_paused_and_then_becomes_part_of_another_unit_is_stopped_anew_with_that() {
    let (mut policy, [parent, child]) = adopted();
    let answer = asked(&mut policy, &[parent, child], 10, None);
    assert_eq!(answer, PauseAnswer::Ordered(parent.id));
    let actions = &policy.guard.decision().actions;
    let want = [
        Action::Thaw(child.id),
        Action::Freeze(child.id),
        Action::Freeze(parent.id),
    ];
    assert_eq!(actions[..3], want);
    assert_eq!(policy.guard.paused_as(child.id), Some(parent.id));
}

#[test]
fn what_is_paused_in_part_goes_on_to_save_its_work() {
    let (mut policy, now) = adopted();
    let mut low = shown(20, Ask::None, &now);
    low.memory.swap_free_bytes = 60 * MIB;
    let actions = &policy.step(2 * SECOND, &low).actions;
    assert!(
        actions.contains(&Action::Terminate(now[1].id)),
        "{actions:?}"
    );
    assert!(actions.contains(&Action::Thaw(now[1].id)), "{actions:?}");
}
