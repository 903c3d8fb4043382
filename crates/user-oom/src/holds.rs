//! The processes that are held by a descriptor, and why each is.
//!
//! A pidfd tells of its process's end, and signals that process and no other,
//! whatever becomes of the pid.

use std::os::fd::AsFd;

use nix::sys::epoll::EpollFlags;
use nix::sys::resource::{Resource, getrlimit};
use oom_policy::{Moment, NextKill, Process, ProcessId};
use reaper::{Calls, ReapError};
use sensors::{ProcRoot, ProcessTable};

use crate::buffer::reserve_to;
use crate::tell::episode::Ending;
use crate::tell::record::Victim;
use crate::wait::{Wait, WakeSource};
use crate::watchdog::Heir;

/// What is left of the descriptors, however many could be held ahead.
const SPARE_DESCRIPTORS: usize = 64;

/// What is held, by ascending id: registered processes, so that their end is
/// noticed; victims; what the last will names; and where the kernel asks before
/// it kills, everything that may be killed, since nothing can be opened then.
#[derive(Debug)]
pub(crate) struct Holds {
    root: ProcRoot,
    list: Vec<Hold>,
    /// So many are held ahead: the process table takes half of the
    /// descriptors, and without any left nothing can be read.
    ahead_at_most: usize,
    next_number: u64,
}

/// One process held by a descriptor.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) process: reaper::Held,
    /// What stands for it in the loop's wait, once that watches it.
    number: Option<u64>,
    pub(crate) registered: bool,
    /// Held for a last call, like everything that may be killed.
    present: bool,
    /// The reaper is yet to free its memory.
    pub(crate) killed: bool,
    /// Since its first signal.
    pub(crate) ending: Option<Ending>,
    /// What it would be, were it killed by the watchdog.
    pub(crate) next: Option<Ending>,
    /// It has ended, but not all of its memory is back.
    is_late: bool,
}

impl Holds {
    pub(crate) fn new(root: ProcRoot, capacity: usize) -> Self {
        Self {
            root,
            list: Vec::with_capacity(capacity),
            ahead_at_most: getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(limit, _)| {
                let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
                half.saturating_sub(SPARE_DESCRIPTORS)
            }),
            next_number: 0,
        }
    }

    /// Makes room for so many processes; for quiet rounds.
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.list, processes);
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Hold> {
        self.list.iter_mut()
    }

    /// What is known of each victim that is not gone.
    pub(crate) fn endings(&self) -> impl Iterator<Item = &Ending> {
        self.list.iter().filter_map(|hold| hold.ending.as_ref())
    }

    /// The victims that are still expected to end.
    pub(crate) fn pending(&self) -> impl Iterator<Item = ProcessId> {
        let is_pending = |hold: &&Hold| hold.ending.is_some_and(|ending| ending.is_pending);
        let pending = self.list.iter().filter(is_pending);
        pending.map(|hold| hold.process.id())
    }

    /// The hold on `id`, where there is one.
    pub(crate) fn get(&mut self, id: ProcessId) -> Option<&mut Hold> {
        let position = self.position(id).ok()?;
        Some(&mut self.list[position])
    }

    /// The hold on `id`, which is made and watched where it is not; `None` once
    /// the process is gone.
    ///
    /// # Errors
    ///
    /// No descriptor could be had.
    pub(crate) fn hold_and_watch(
        &mut self,
        id: ProcessId,
        wait: &Wait,
    ) -> Result<Option<&mut Hold>, ReapError> {
        let Some(position) = self.hold(id)? else {
            return Ok(None);
        };
        self.watch(position, wait);
        Ok(Some(&mut self.list[position]))
    }

    /// Where the hold on `id` is, which is made where there is none; `None`
    /// once it is gone.
    fn hold(&mut self, id: ProcessId) -> Result<Option<usize>, ReapError> {
        let position = match self.position(id) {
            Ok(position) => return Ok(Some(position)),
            Err(position) => position,
        };
        let root = &self.root;
        let start_ticks = |pid| root.start_ticks(pid).map_err(std::io::Error::other);
        let calls = Calls::available();
        let held = reaper::Held::hold_by(calls, root.path(), id, start_ticks)?;
        let Some(process) = held else {
            return Ok(None);
        };
        self.list.insert(
            position,
            Hold {
                process,
                number: None,
                registered: false,
                present: false,
                killed: false,
                ending: None,
                next: None,
                is_late: false,
            },
        );
        Ok(Some(position))
    }

    /// [`Self::hold`], as long as descriptors are left for what comes.
    fn hold_ahead(&mut self, id: ProcessId) -> Option<usize> {
        match self.position(id) {
            Ok(position) => Some(position),
            Err(_) if self.list.len() < self.ahead_at_most => self.hold(id).ok()?,
            Err(_) => None,
        }
    }

    /// Has `wait` say when the process held there is gone.
    fn watch(&mut self, position: usize, wait: &Wait) {
        let hold = &mut self.list[position];
        if hold.number.is_some() || hold.is_late {
            return;
        }
        let source = WakeSource::Held(self.next_number);
        // Where it cannot be watched, each round looks.
        if wait
            .add(hold.process.as_fd(), EpollFlags::EPOLLIN, source)
            .is_ok()
        {
            hold.number = Some(self.next_number);
            self.next_number += 1;
        }
    }

    /// Where `id` is held, or would be.
    fn position(&self, id: ProcessId) -> Result<usize, usize> {
        self.list
            .binary_search_by_key(&id, |hold| hold.process.id())
    }

    /// Holds and watches all that `registered` names; for quiet rounds.
    pub(crate) fn hold_registered(
        &mut self,
        registered: impl Iterator<Item = ProcessId>,
        wait: &Wait,
    ) {
        for hold in &mut self.list {
            hold.registered = false;
        }
        for id in registered {
            // What cannot be held now is held when it must be signalled.
            if let Some(position) = self.hold_ahead(id) {
                self.list[position].registered = true;
                self.watch(position, wait);
            }
        }
        self.let_go_of_unused(wait);
    }

    /// Holds all that may be killed, so that at a last call nothing need be
    /// opened; for quiet rounds.
    pub(crate) fn hold_all(&mut self, processes: &[Process], wait: &Wait) {
        for hold in &mut self.list {
            hold.present = false;
        }
        for process in processes {
            if process.dossier.protection.is_none() {
                // What cannot be held cannot be chosen at a last call.
                if let Some(position) = self.hold_ahead(process.id) {
                    self.list[position].present = true;
                }
            }
        }
        self.let_go_of_unused(wait);
    }

    /// Holds all that `will` names, for the watchdog; once all else is done.
    pub(crate) fn leave_will(
        &mut self,
        now: Moment,
        will: &[NextKill],
        processes: &[Process],
        table: &mut ProcessTable,
        wait: &Wait,
    ) {
        for hold in &mut self.list {
            hold.next = None;
        }
        for next in will {
            // What cannot be held is not in the will.
            if let Ok(Some(position)) = self.hold(next.id) {
                let process = Process::find(processes, next.id);
                let pid = next.id.pid;
                let score = table.get(pid).and_then(|entry| entry.oom_score);
                let score = score.or_else(|| table.refresh_score(pid).ok().flatten());
                let victim = Victim::new(next.id, process, score);
                self.list[position].next = Some(Ending::new(now, victim, process, next.lost, 0));
            }
        }
        self.let_go_of_unused(wait);
    }

    /// Whether half or more of those that the last will names have ended. A few
    /// microseconds.
    pub(crate) fn is_will_spent(&self) -> bool {
        let named = self.list.iter().filter(|hold| hold.next.is_some());
        let ended = reaper::count_gone(named.clone().map(|hold| &hold.process));
        0 < ended && named.count() <= 2 * ended
    }

    /// Victims and registered processes: what lines are about.
    pub(crate) fn told_of(&self) -> impl Iterator<Item = ProcessId> + Clone {
        let is_told_of = |hold: &&Hold| hold.ending.is_some() || hold.registered;
        let holds = self.list.iter().filter(is_told_of);
        holds.map(|hold| hold.process.id())
    }

    /// Those of `will` that are held for the watchdog, in its order.
    pub(crate) fn heirs(&self, will: &[NextKill]) -> impl Iterator<Item = Heir> {
        will.iter().filter_map(|next| {
            let hold = &self.list[self.position(next.id).ok()?];
            Some(Heir {
                held: hold.process.clone(),
                told: hold.next?.victim,
                place: next.place,
            })
        })
    }

    /// Lets go of those that are held for no reason any longer.
    fn let_go_of_unused(&mut self, wait: &Wait) {
        self.list.retain(|hold| {
            let stays =
                hold.registered || hold.present || hold.ending.is_some() || hold.next.is_some();
            if !stays && hold.number.is_some() {
                wait.remove(hold.process.as_fd());
            }
            stays
        });
    }

    /// Lets go of `id`, which has ended; what was held.
    pub(crate) fn let_go(&mut self, id: ProcessId, wait: &Wait) -> Option<Hold> {
        let position = self.position(id).ok()?;
        let hold = self.list.remove(position);
        // The reaper may keep the descriptor open, so it is taken out.
        wait.remove(hold.process.as_fd());
        Some(hold)
    }

    /// Watches the victims that were signalled while nothing could be added to
    /// `wait`.
    pub(crate) fn watch_signalled(&mut self, wait: &Wait) {
        for position in 0..self.list.len() {
            let hold = &self.list[position];
            if hold.ending.is_some() && hold.number.is_none() {
                self.watch(position, wait);
            }
        }
    }

    /// Which process `number` stands for, once that has ended.
    pub(crate) fn ended(&self, number: u64) -> Option<ProcessId> {
        let hold = self.list.iter().find(|hold| hold.number == Some(number))?;
        hold.process.is_gone().then(|| hold.process.id())
    }

    /// The memory of the victim `id`, which has ended, is to be back yet: so long nothing
    /// tells of its end but [`Self::late`]. Whether there is such a victim.
    pub(crate) fn put_off(&mut self, id: ProcessId, wait: &Wait) -> bool {
        let hold = self.get(id).filter(|hold| hold.ending.is_some());
        let Some(hold) = hold else { return false };
        hold.is_late = true;
        if hold.number.take().is_some() {
            wait.remove(hold.process.as_fd());
        }
        true
    }

    /// Those that were put off.
    pub(crate) fn late(&self) -> impl Iterator<Item = ProcessId> {
        let late = self.list.iter().filter(|hold| hold.is_late);
        late.map(|hold| hold.process.id())
    }

    /// One of the registered and signalled that has ended, and of which the
    /// loop's wait does not tell: it could not be watched, or the kernel has no
    /// pidfds.
    pub(crate) fn ended_untold(&self) -> Option<ProcessId> {
        let untold = |hold: &&Hold| {
            (hold.registered || hold.ending.is_some())
                && !hold.is_late
                && (hold.number.is_none() || !hold.process.tells_its_end())
                && hold.process.is_gone()
        };
        self.list.iter().find(untold).map(|hold| hold.process.id())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::{Cost, Depth, Dossier};

    use super::*;
    use crate::stand_in::{Waiter, ordinary, root};

    #[test]
    fn what_is_held_for_a_last_call_stays_held_when_the_registry_changes() {
        let wait = Wait::new().expect("epoll");
        let mut holds = Holds::new(root(), 8);
        let [one, two] = [Waiter::new(), Waiter::new()];
        let mut processes = [&one, &two].map(|waiter| Process {
            seen: ordinary(waiter.id(), 1),
            dossier: Dossier::default(),
        });
        processes.sort_unstable_by_key(|process| process.id);
        let [first, second] = processes.map(|process| process.id);

        holds.hold_all(&processes, &wait);
        holds.hold_registered([first].into_iter(), &wait);
        assert!(holds.position(first).is_ok() && holds.position(second).is_ok());

        // Out of the table, the registered one alone is of use.
        holds.hold_all(&[], &wait);
        assert!(holds.position(first).is_ok() && holds.position(second).is_err());
        holds.hold_registered(std::iter::empty(), &wait);
        assert!(holds.position(first).is_err());
    }

    #[test]
    fn nothing_tells_of_a_late_victim_until_it_is_let_go_of() {
        let wait = Wait::new().expect("epoll");
        let mut holds = Holds::new(root(), 8);
        let waiter = Waiter::new();
        let id = waiter.id();
        holds.hold_registered([id].into_iter(), &wait);
        assert!(!holds.put_off(id, &wait), "it is no victim");

        let hold = holds.get(id).expect("it is held");
        let victim = Victim::new(id, None, None);
        hold.ending = Some(Ending::new(Moment::ORIGIN, victim, None, Cost::ZERO, 0));
        drop(waiter);
        let tells = || wait.wait(Duration::ZERO).expect("epoll").count() > 0;
        assert!(tells());
        assert!(holds.put_off(id, &wait));
        holds.watch_signalled(&wait);
        assert!(!tells());
        assert_eq!(holds.ended_untold(), None);
        assert_eq!(holds.late().collect::<Vec<_>>(), [id]);
        assert!(holds.let_go(id, &wait).is_some());
        assert_eq!(holds.late().next(), None);
    }

    #[test]
    fn of_what_a_will_names_the_score_is_read() {
        let wait = Wait::new().expect("epoll");
        let mut holds = Holds::new(root(), 8);
        let waiter = Waiter::new();
        let id = waiter.id();
        let mut table = ProcessTable::new(root(), 8);
        // What goes meanwhile, or cannot be read, is none of ours.
        let _ = table.scan(Depth::Full);
        let will = [NextKill {
            id,
            place: 0,
            lost: Cost::ZERO,
        }];
        holds.leave_will(Moment::ORIGIN, &will, &[], &mut table, &wait);
        let heir = holds.heirs(&will).next().expect("it is held");
        assert!(heir.told.oom_score.is_some());
        assert_eq!(
            table.get(id.pid).and_then(|it| it.oom_score),
            heir.told.oom_score
        );
    }

    #[test]
    fn a_will_is_spent_once_half_of_those_it_names_have_ended() {
        let wait = Wait::new().expect("epoll");
        let mut holds = Holds::new(root(), 8);
        let mut table = ProcessTable::new(root(), 8);
        let mut waiters = vec![Waiter::new(), Waiter::new(), Waiter::new()];
        let will: Vec<NextKill> = (0..)
            .zip(&waiters)
            .map(|(place, waiter)| NextKill {
                id: waiter.id(),
                place,
                lost: Cost::ZERO,
            })
            .collect();
        assert!(!holds.is_will_spent(), "there is none");
        holds.leave_will(Moment::ORIGIN, &will, &[], &mut table, &wait);
        assert!(!holds.is_will_spent());
        waiters.pop();
        assert!(!holds.is_will_spent());
        waiters.pop();
        assert!(holds.is_will_spent());
        holds.leave_will(Moment::ORIGIN, &will[..1], &[], &mut table, &wait);
        assert!(!holds.is_will_spent(), "they are in it no longer");
    }
}
