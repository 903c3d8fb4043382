//! The command lines of the processes that may be told of next: what would be
//! killed, victims, and registered processes, as far as there is room.
//!
//! Reading one takes its process's mmap lock, so the surveyor does it, ahead of
//! the kill. Until an answer is there, a line has the process's name alone.

use oom_policy::{Name, Process, ProcessId};
use sensors::{CommandLine, Survey};

/// As many as the watchdog may kill, and as many more. All of it is kept in
/// memory.
const ROOM: usize = 64;

/// Of fixed size: takes no memory once it is made. The default is without room.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    list: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    id: ProcessId,
    /// When it was asked about: another name is another program.
    name: Name,
    is_wanted: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Due,
    Asked,
    Known(CommandLine),
}

impl Commands {
    pub(crate) fn new() -> Self {
        Self {
            list: Vec::with_capacity(ROOM),
        }
    }

    /// Keeps those of `processes`, the first ones where there are too many, and
    /// no others.
    pub(crate) fn want<'a>(&mut self, processes: impl Iterator<Item = &'a Process> + Clone) {
        for slot in &mut self.list {
            slot.is_wanted = false;
        }
        for process in processes.clone().take(ROOM) {
            if let Some(slot) = self.find(process.id) {
                slot.is_wanted = true;
                if slot.name != process.name {
                    slot.name = process.name;
                    slot.state = State::Due;
                }
            }
        }
        self.list.retain(|slot| slot.is_wanted);
        for process in processes.take(ROOM) {
            if self.list.len() < ROOM && self.find(process.id).is_none() {
                self.list.push(Slot {
                    id: process.id,
                    name: process.name,
                    is_wanted: true,
                    state: State::Due,
                });
            }
        }
    }

    /// Has those asked for that are not known, as far as `ask` takes them.
    pub(crate) fn ask(&mut self, mut ask: impl FnMut(ProcessId) -> bool) {
        for slot in &mut self.list {
            if matches!(slot.state, State::Due) && ask(slot.id) {
                slot.state = State::Asked;
            }
        }
    }

    /// Takes in what was found, where it is a command line.
    pub(crate) fn learn(&mut self, survey: &Survey) {
        if let Some((id, line)) = survey.command_line()
            && let Some(slot) = self.find(id)
        {
            slot.state = State::Known(line);
        }
    }

    /// What was asked for does not come: it can be asked for again.
    pub(crate) fn forget_asked(&mut self) {
        for slot in &mut self.list {
            if matches!(slot.state, State::Asked) {
                slot.state = State::Due;
            }
        }
    }

    pub(crate) fn get(&self, id: ProcessId) -> Option<CommandLine> {
        let slot = self.list.iter().find(|slot| slot.id == id)?;
        match slot.state {
            State::Known(line) => Some(line),
            State::Due | State::Asked => None,
        }
    }

    fn find(&mut self, id: ProcessId) -> Option<&mut Slot> {
        self.list.iter_mut().find(|slot| slot.id == id)
    }
}

#[cfg(test)]
mod tests {
    use sensors::{Inquiry, What};

    use super::*;
    use crate::rehearsal::made_up;
    use crate::stand_in::{Waiter, root};

    fn survey(id: ProcessId) -> Survey {
        let request = Inquiry {
            id,
            what: What::CommandLine,
            rss_bytes: 0,
        };
        sensors::survey(
            root().path(),
            &request,
            &sensors::Scopes::default(),
            &mut |_| {},
            &|_, _| false,
        )
    }

    #[test]
    fn a_command_line_is_kept_while_its_process_is_wanted_and_is_the_same_program() {
        let waiter = Waiter::new();
        let mut process = made_up(1)[0];
        process.seen.id = waiter.id();
        let mut commands = Commands::new();
        let asked = |commands: &mut Commands| {
            let mut ids = Vec::new();
            commands.ask(|id| {
                ids.push(id);
                true
            });
            ids
        };
        commands.learn(&survey(process.id));
        assert!(commands.get(process.id).is_none(), "it was not wanted");

        commands.want([process].iter());
        assert_eq!(asked(&mut commands), [process.id]);
        assert!(asked(&mut commands).is_empty(), "once");
        commands.forget_asked();
        assert_eq!(asked(&mut commands), [process.id]);
        commands.learn(&survey(process.id));
        let said = commands.get(process.id).expect("it runs").to_string();
        assert!(!said.is_empty());

        process.seen.name = Name::new(b"another");
        commands.want([process].iter());
        assert_eq!(asked(&mut commands), [process.id], "it executes another");
        commands.want([].iter());
        commands.learn(&survey(process.id));
        assert!(commands.get(process.id).is_none());
    }

    #[test]
    fn of_too_many_the_first_are_kept() {
        let crowd = made_up(2 * ROOM);
        let mut commands = Commands::new();
        commands.want(crowd.iter());
        commands.want(crowd[ROOM / 2..].iter());
        assert_eq!(commands.list.len(), ROOM);
        let mut kept: Vec<_> = commands.list.iter().map(|slot| slot.id).collect();
        kept.sort_unstable();
        let want = crowd[ROOM / 2..]
            .iter()
            .take(ROOM)
            .map(|process| process.id);
        assert!(kept.into_iter().eq(want));
    }
}
