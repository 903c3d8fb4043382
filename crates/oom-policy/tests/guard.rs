//! The guard from outside: what it wants done, in which order, for what it is
//! told.

pub mod machine;

use std::time::Duration;

use machine::{GIB, at, registered};
use oom_policy::{
    Action, Answer, Ask, Depth, Effect, Effects, EndedBy, Event, Gates, Guard, Memory, Process,
    ProcessId, Refusal, Settings, Surroundings,
};

const SECOND: Duration = Duration::from_secs(1);
const TOTAL: u64 = 100 * GIB;

/// 100 GiB of memory, no swap.
fn memory(available_percent: u64) -> Memory {
    Memory {
        total_bytes: TOTAL,
        available_bytes: available_percent * GIB,
        ..Memory::default()
    }
}

fn job() -> Process {
    registered(100, "job", 1, 20 * GIB)
}

fn other() -> Process {
    registered(200, "other", 9, 20 * GIB)
}

/// A guard, and what it wanted done so far.
struct Watched {
    guard: Guard,
    effects: Effects,
    now: Duration,
}

impl Watched {
    fn new(surroundings: Surroundings) -> Self {
        Self {
            guard: Guard::new(Settings::default(), Gates::default(), surroundings, 16),
            effects: Effects::default(),
            now: SECOND,
        }
    }

    fn tell(&mut self, event: Event<'_>) -> Vec<Effect> {
        self.guard.handle(at(self.now), event, &mut self.effects);
        self.effects.by_ref().collect()
    }

    fn table(&mut self, depth: Depth, processes: &[Process]) -> Vec<Effect> {
        self.tell(Event::Table { depth, processes })
    }

    /// Everything was read once while memory was plentiful.
    fn settled(surroundings: Surroundings, processes: &[Process]) -> Self {
        let mut watched = Self::new(surroundings);
        let wanted = watched.tell(Event::Memory(memory(60)));
        assert!(
            wanted.contains(&Effect::ReadTable(Depth::Full)),
            "{wanted:?}"
        );
        watched.table(Depth::Full, processes);
        watched.now += SECOND;
        watched
    }
}

fn asking_kernel() -> Surroundings {
    Surroundings {
        kernel_asks: true,
        ..Surroundings::default()
    }
}

fn dry_run() -> Surroundings {
    Surroundings {
        dry_run: true,
        ..Surroundings::default()
    }
}

fn granted(signals: usize, bytes: u64) -> Effect {
    Effect::Answer(Answer::Granted { signals, bytes })
}

fn without_looks(effects: Vec<Effect>) -> Vec<Effect> {
    let looks = |effect: &Effect| matches!(effect, Effect::LookAgain { .. });
    effects
        .into_iter()
        .filter(|effect| !looks(effect))
        .collect()
}

#[test]
fn a_quiet_round_reads_everything_tells_and_rests() {
    let mut watched = Watched::new(Surroundings::default());
    let wanted = watched.tell(Event::Memory(memory(60)));
    assert_eq!(without_looks(wanted), [Effect::ReadTable(Depth::Full)]);
    let wanted = watched.table(Depth::Full, &[job()]);
    assert_eq!(wanted, [Effect::Tell, Effect::LeaveWill, Effect::Rest]);
    watched.now += SECOND;
    let wanted = watched.tell(Event::Memory(memory(60)));
    assert_eq!(without_looks(wanted), []);
}

#[test]
fn where_the_kernel_asks_everything_is_held_ahead() {
    let mut watched = Watched::new(asking_kernel());
    watched.tell(Event::Memory(memory(60)));
    let wanted = watched.table(Depth::Full, &[job()]);
    let (tell, will) = (Effect::Tell, Effect::LeaveWill);
    assert_eq!(wanted, [tell, will, Effect::HoldAhead, Effect::Rest]);
}

#[test]
fn first_the_signals_then_memory_then_the_answers_then_the_report() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    let wanted = watched.tell(Event::Memory(memory(4)));
    assert_eq!(without_looks(wanted), [Effect::ReadTable(Depth::Fast)]);
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Kill(job().id))]);
    let wanted = watched.tell(Event::Sent(job().id));
    assert_eq!(
        wanted,
        [
            Effect::Free,
            granted(1, 20 * GIB),
            Effect::Tell,
            Effect::LeaveWill,
            Effect::LookAgain { after: SECOND },
        ]
    );
}

#[test]
fn at_a_last_call_the_kernel_is_answered_before_anything_that_may_wait() {
    let mut watched = Watched::settled(asking_kernel(), &[job(), other()]);
    let call = Event::LastCall {
        sequence: 7,
        memory: memory(1),
    };
    assert_eq!(watched.tell(call), [Effect::ReadTable(Depth::Held)]);
    let wanted = watched.table(Depth::Held, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Kill(job().id))]);
    let wanted = watched.tell(Event::Sent(job().id));
    assert_eq!(
        without_looks(wanted),
        [
            Effect::AnswerKernel { sequence: 7 },
            Effect::Free,
            granted(1, 20 * GIB),
            Effect::Tell,
        ]
    );
}

#[test]
fn a_last_call_is_not_answered_for_a_victim_that_was_gone_and_the_next_is_chosen() {
    let mut watched = Watched::settled(asking_kernel(), &[job(), other()]);
    watched.tell(Event::LastCall {
        sequence: 7,
        memory: memory(1),
    });
    watched.table(Depth::Held, &[job(), other()]);
    let wanted = watched.tell(Event::Unsent(job().id));
    assert!(!wanted.contains(&Effect::AnswerKernel { sequence: 7 }));
    assert_eq!(wanted.last(), Some(&Effect::ReadTable(Depth::Held)));
    let wanted = watched.table(Depth::Held, &[other()]);
    assert_eq!(wanted, [Effect::Act(Action::Kill(other().id))]);
    let wanted = watched.tell(Event::Sent(other().id));
    assert_eq!(wanted[0], Effect::AnswerKernel { sequence: 7 });
}

#[test]
fn a_last_call_that_cannot_be_helped_is_tried_eight_times() {
    let mut watched = Watched::settled(asking_kernel(), &[]);
    let mut wanted = watched.tell(Event::LastCall {
        sequence: 7,
        memory: memory(1),
    });
    let mut tries = 0;
    while wanted.contains(&Effect::ReadTable(Depth::Held)) {
        tries += 1;
        let pid = 1000 + tries;
        let next = registered(pid, "vanishing", 1, 20 * GIB);
        watched.table(Depth::Held, &[next]);
        wanted = watched.tell(Event::Refused(next.id));
    }
    assert_eq!(tries, 8);
    let after = Duration::from_millis(10);
    assert_eq!(wanted.last(), Some(&Effect::LookAgain { after }));
}

#[test]
fn a_last_call_without_a_candidate_is_left_to_the_kernel() {
    let mut watched = Watched::settled(asking_kernel(), &[]);
    watched.tell(Event::LastCall {
        sequence: 7,
        memory: memory(1),
    });
    let wanted = watched.table(Depth::Held, &[]);
    assert_eq!(
        wanted,
        [
            Effect::DeclineKernel { sequence: 7 },
            Effect::Answer(Answer::Refused(Refusal::NothingHelps { eligible_bytes: 0 })),
            Effect::Tell,
            Effect::LookAgain {
                after: Duration::from_millis(10)
            },
        ]
    );
}

#[test]
fn one_that_could_not_be_signalled_is_not_chosen_again() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    watched.tell(Event::Memory(memory(4)));
    watched.table(Depth::Fast, &[job(), other()]);
    watched.tell(Event::Refused(job().id));
    watched.now += SECOND;
    watched.tell(Event::Memory(memory(4)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Kill(other().id))]);
}

#[test]
fn relief_that_is_refused_is_answered_with_the_reason() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    assert_eq!(watched.tell(Event::Asked), []);
    let wanted = watched.tell(Event::Memory(memory(60)));
    assert_eq!(without_looks(wanted), [Effect::ReadTable(Depth::Fast)]);
    let wanted = watched.table(Depth::Fast, &[job()]);
    let refused = Effect::Answer(Answer::Refused(Refusal::EnoughAvailable));
    assert_eq!(wanted, [refused, Effect::Tell, Effect::LeaveWill]);
}

#[test]
fn relief_is_asked_for_once() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    watched.tell(Event::Asked);
    watched.tell(Event::Memory(memory(12)));
    let wanted = watched.table(Depth::Fast, &[job()]);
    assert_eq!(wanted, [Effect::Act(Action::Terminate(job().id))]);
    watched.tell(Event::Sent(job().id));
    watched.tell(Event::Gone(job().id));
    watched.now += 60 * SECOND;
    watched.tell(Event::Memory(memory(12)));
    let wanted = watched.table(Depth::Fast, &[other()]);
    assert!(!wanted.iter().any(|effect| matches!(effect, Effect::Act(_))));
}

#[test]
fn three_stalled_windows_in_a_row_ask_for_relief() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    for window in 1..=3 {
        watched.now += SECOND;
        watched.tell(Event::Stalled(Ask::Relief));
        watched.tell(Event::Memory(memory(12)));
        let wanted = watched.table(Depth::Fast, &[job()]);
        let acts = wanted.contains(&Effect::Act(Action::Terminate(job().id)));
        assert_eq!(acts, window == 3, "window {window}: {wanted:?}");
    }
}

#[test]
fn a_dry_run_reports_a_choice_and_then_keeps_quiet() {
    let mut watched = Watched::settled(dry_run(), &[job(), other()]);
    watched.tell(Event::Memory(memory(4)));
    watched.table(Depth::Fast, &[job(), other()]);
    // Whoever carries out a dry run sends nothing.
    let wanted = watched.tell(Event::Unsent(job().id));
    assert_eq!(
        without_looks(wanted),
        [
            Effect::Answer(Answer::DryRun),
            Effect::Tell,
            Effect::LeaveWill
        ]
    );
    watched.now += SECOND;
    let wanted = watched.tell(Event::Memory(memory(4)));
    assert_eq!(without_looks(wanted), []);
    watched.tell(Event::Asked);
    let wanted = watched.tell(Event::Memory(memory(4)));
    assert_eq!(without_looks(wanted), [Effect::Answer(Answer::DryRun)]);
    watched.now += 10 * SECOND;
    let wanted = watched.tell(Event::Memory(memory(4)));
    assert_eq!(without_looks(wanted), [Effect::ReadTable(Depth::Fast)]);
}

#[test]
fn the_end_of_a_process_that_was_not_chosen_concludes_nothing() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    let stranger = ProcessId {
        pid: 4711,
        start_ticks: 1,
    };
    assert_eq!(watched.tell(Event::Gone(stranger)), []);
    assert_eq!(watched.tell(Event::Refused(stranger)), []);
}

#[test]
fn pages_in_the_lists_of_each_cpu_matter_only_when_memory_is_short_or_awaited() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    assert!(!watched.guard.needs_exact(&memory(15)));
    assert!(watched.guard.needs_exact(&memory(14)));
    watched.tell(Event::Memory(memory(4)));
    watched.table(Depth::Fast, &[job(), other()]);
    watched.tell(Event::Sent(job().id));
    assert!(watched.guard.needs_exact(&memory(60)));
}

#[test]
fn one_signal_is_wanted_at_a_time() {
    let jobs: Vec<Process> = (1..=3)
        .map(|number| registered(100 * number, "job", number, 5 * GIB))
        .collect();
    let mut watched = Watched::settled(Surroundings::default(), &jobs);
    watched.tell(Event::Memory(memory(0)));
    let mut wanted = watched.table(Depth::Fast, &jobs);
    let mut killed = Vec::new();
    while let [Effect::Act(Action::Kill(id))] = wanted[..] {
        killed.push(id.pid);
        wanted = watched.tell(Event::Sent(id));
    }
    assert_eq!(killed, [100, 200, 300]);
    assert_eq!(wanted[0], Effect::Free);
    assert_eq!(wanted[1], granted(3, 15 * GIB));
}

#[test]
fn relief_that_reached_nothing_is_chosen_again_before_it_is_answered() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    watched.tell(Event::Asked);
    watched.tell(Event::Memory(memory(12)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Terminate(job().id))]);
    let again = Effect::LookAgain {
        after: Duration::ZERO,
    };
    assert_eq!(
        watched.tell(Event::Refused(job().id)),
        [Effect::Tell, again]
    );
    let wanted = watched.tell(Event::Memory(memory(12)));
    assert!(wanted.contains(&Effect::ReadTable(Depth::Fast)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Terminate(other().id))]);
    let wanted = watched.tell(Event::Sent(other().id));
    assert_eq!(wanted[1], granted(1, 20 * GIB));
}

#[test]
fn a_table_that_did_not_come_is_wanted_again_for_the_same_reason() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    watched.tell(Event::Asked);
    for _ in 0..2 {
        let wanted = watched.tell(Event::Memory(memory(12)));
        assert!(wanted.contains(&Effect::ReadTable(Depth::Fast)));
    }
    let wanted = watched.table(Depth::Fast, &[job()]);
    assert_eq!(wanted, [Effect::Act(Action::Terminate(job().id))]);
}

#[test]
fn without_a_reading_of_memory_no_level_is_reached_and_nothing_is_read() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    let again = Effect::LookAgain { after: SECOND };
    let last = memory(4);
    assert_eq!(watched.tell(Event::Unreadable { last }), [again]);
}

#[test]
fn without_a_reading_of_memory_relief_is_granted_and_victims_are_followed() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    let last = memory(60);
    watched.tell(Event::Asked);
    let wanted = watched.tell(Event::Unreadable { last });
    assert!(wanted.contains(&Effect::ReadTable(Depth::Fast)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Terminate(job().id))]);
    watched.tell(Event::Sent(job().id));
    // Its grace is over, and it is still there.
    watched.now += 6 * SECOND;
    let wanted = watched.tell(Event::Unreadable { last });
    assert!(wanted.contains(&Effect::ReadTable(Depth::Fast)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert_eq!(wanted, [Effect::Act(Action::Kill(job().id))]);
}

#[test]
fn a_changed_value_leaves_a_new_will_at_once() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    let at_once = Effect::LookAgain {
        after: Duration::ZERO,
    };
    assert_eq!(watched.tell(Event::Revalued), [at_once]);
    let wanted = watched.tell(Event::Memory(memory(60)));
    assert_eq!(without_looks(wanted), [Effect::ReadTable(Depth::Fast)]);
    let wanted = watched.table(Depth::Fast, &[job()]);
    assert_eq!(wanted, [Effect::Tell, Effect::LeaveWill]);
}

#[test]
fn values_that_change_without_end_leave_a_new_will_five_times_a_second() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    let mut wills = 0;
    for _ in 0..300 {
        watched.tell(Event::Revalued);
        let wanted = watched.tell(Event::Memory(memory(60)));
        if wanted.contains(&Effect::ReadTable(Depth::Fast)) {
            let wanted = watched.table(Depth::Fast, &[job()]);
            wills += usize::from(wanted.contains(&Effect::LeaveWill));
        }
        watched.now += SECOND / 100;
    }
    assert_eq!(wills, 15);
}

#[test]
fn a_victim_that_is_gone_is_in_the_next_will_no_longer() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    watched.tell(Event::Memory(memory(4)));
    watched.table(Depth::Fast, &[job(), other()]);
    watched.tell(Event::Sent(job().id));
    // Memory is back before it is gone.
    watched.now += SECOND;
    watched.tell(Event::Memory(memory(60)));
    watched.table(Depth::Fast, &[other()]);
    watched.now += SECOND;
    watched.tell(Event::Gone(job().id));
    let wanted = watched.tell(Event::Memory(memory(60)));
    assert!(
        wanted.contains(&Effect::ReadTable(Depth::Fast)),
        "{wanted:?}"
    );
    let wanted = watched.table(Depth::Fast, &[other()]);
    assert!(wanted.contains(&Effect::LeaveWill), "{wanted:?}");
}

#[test]
fn what_the_watchdog_killed_is_awaited_and_not_killed_again() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    let process = &job();
    let lost = oom_policy::Cost::of_value(1);
    assert_eq!(
        watched.tell(Event::Killed {
            process,
            lost,
            by: EndedBy::Kill
        }),
        []
    );
    assert!(watched.guard.awaits(job().id));
    watched.tell(Event::Memory(memory(4)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    let acts = |effect: &Effect| matches!(effect, Effect::Act(_));
    assert!(!wanted.iter().any(acts), "{wanted:?}");
}

#[test]
fn a_victim_of_another_scope_is_awaited_and_killed_here_where_that_is_urgent() {
    let mut watched = Watched::settled(Surroundings::default(), &[job(), other()]);
    let process = &job();
    let signalled = |by| Event::Killed {
        process,
        lost: oom_policy::Cost::ZERO,
        by,
    };
    assert_eq!(watched.tell(signalled(EndedBy::Terminate)), []);
    assert!(watched.guard.awaits(job().id));
    watched.tell(Event::Memory(memory(8)));
    let acts = |effect: &Effect| matches!(effect, Effect::Act(_));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    assert!(!wanted.iter().any(acts), "it frees enough: {wanted:?}");
    watched.tell(Event::Memory(memory(4)));
    let wanted = watched.table(Depth::Fast, &[job(), other()]);
    let kill = Effect::Act(Action::Kill(job().id));
    assert!(wanted.contains(&kill), "{wanted:?}");
    watched.tell(Event::Sent(job().id));
    // What the other scope does about it then is no news.
    watched.tell(signalled(EndedBy::Terminate));
    watched.tell(signalled(EndedBy::Kill));
    assert!(watched.guard.awaits(job().id));
}

#[test]
fn memory_that_will_be_full_within_a_minute_is_said_to_be() {
    let mut watched = Watched::settled(Surroundings::default(), &[job()]);
    let mut said = Vec::new();
    // 1 GiB/s, from 90 down to the warn threshold at 10.
    for second in 0..80 {
        watched.now += SECOND;
        let wanted = watched.tell(Event::Memory(memory(90 - second)));
        let full_in = wanted.into_iter().find_map(|effect| match effect {
            Effect::Forewarn { full_in } => Some(full_in),
            _ => None,
        });
        said.extend(full_in.map(|full_in| (second, full_in)));
    }
    // At 64 GiB 59 are left to the kill threshold.
    assert_eq!(said, [(26, 59 * SECOND)]);
}
