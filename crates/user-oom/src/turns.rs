//! Units that persons want paused or thawed, until that is done.

use std::collections::VecDeque;

use oom_policy::{PauseAnswer, PauseRefusal, ProcessId};

/// So many wait at once,
const ROOM: usize = 16;
/// of which so many may be what ordinary users want paused: root's find room, and so
/// does what is to go on.
const USERS_ROOM: usize = ROOM / 2;

/// What a person wants of the unit that a process is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitWish {
    /// Of the request.
    pub(crate) number: u64,
    pub(crate) id: ProcessId,
    /// The user whose unit it has to be; `None`: any.
    pub(crate) uid: Option<u32>,
}

/// What came of it: the unit's leader.
pub(crate) type WishOutcome = Result<ProcessId, NotTurned>;

/// Why it did not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotTurned {
    Refused(PauseRefusal),
    DryRun,
    NotPaused,
    /// What the kernel said.
    Failed(i32),
    /// Others wait for it already.
    Crowded,
}

/// Those that wait.
#[derive(Debug)]
pub(crate) struct Turns {
    /// To be paused, one after the other,
    queue: VecDeque<UnitWish>,
    /// of which the guard was told of this one.
    asked: Option<u64>,
    /// By the unit's leader.
    awaited: Vec<(u64, ProcessId)>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::with_capacity(ROOM),
            asked: None,
            awaited: Vec::with_capacity(ROOM),
        }
    }

    /// Whether there is room for one more to be paused.
    pub(crate) fn want_pause(&mut self, turn: UnitWish) -> bool {
        let room = match turn.uid {
            Some(_) => USERS_ROOM,
            None => ROOM,
        };
        let has_room = self.waiting() < room;
        if has_room {
            self.queue.push_back(turn);
        }
        has_room
    }

    fn waiting(&self) -> usize {
        self.queue.len() + self.awaited.len()
    }

    /// What the guard is told next, once it has answered the last.
    pub(crate) fn next(&mut self) -> Option<UnitWish> {
        if self.asked.is_some() {
            return None;
        }
        let turn = self.queue.pop_front()?;
        self.asked = Some(turn.number);
        Some(turn)
    }

    /// The guard has answered: what that request is told; `None` as long as it waits
    /// for the pauser.
    pub(crate) fn answered(&mut self, answer: PauseAnswer) -> Option<(u64, WishOutcome)> {
        let number = self.asked.take()?;
        let told = match answer {
            PauseAnswer::Ordered(unit) => {
                self.awaited.push((number, unit));
                return None;
            }
            PauseAnswer::Stays(unit) => Ok(unit),
            PauseAnswer::DryRun => Err(NotTurned::DryRun),
            PauseAnswer::Refused(refusal) => Err(NotTurned::Refused(refusal)),
        };
        Some((number, told))
    }

    /// The pauser was told that `unit` is to go on; whether there was room to wait.
    pub(crate) fn await_thaw(&mut self, number: u64, unit: ProcessId) -> bool {
        let has_room = self.waiting() < ROOM;
        if has_room {
            self.awaited.push((number, unit));
        }
        has_room
    }

    /// The next request that waits for `unit`, of which the pauser has reported.
    pub(crate) fn reported(&mut self, unit: ProcessId) -> Option<u64> {
        let found = self.awaited.iter().position(|(_, it)| *it == unit)?;
        let (number, _) = self.awaited.remove(found);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: ProcessId = ProcessId {
        pid: 10,
        start_ticks: 1,
    };

    fn wish(number: u64, uid: Option<u32>) -> UnitWish {
        let id = UNIT;
        UnitWish { number, id, uid }
    }

    #[test]
    fn however_many_a_user_asks_for_root_is_heard() {
        let mut turns = Turns::new();
        let of_users = (0..100).filter(|number| turns.want_pause(wish(*number, Some(1000))));
        assert_eq!(of_users.count(), USERS_ROOM);
        assert!(turns.want_pause(wish(101, None)));
        assert!(turns.await_thaw(102, UNIT));
    }

    #[test]
    fn nor_do_roots_take_more_than_there_is_room_for() {
        let mut turns = Turns::new();
        let of_root = (0..100).filter(|number| turns.want_pause(wish(*number, None)));
        assert_eq!(of_root.count(), ROOM);
    }
}
