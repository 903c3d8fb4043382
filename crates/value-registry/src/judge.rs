//! Whether an entry counts.

use crate::Reason;
use crate::entry::Given;
use crate::file::Traits;
use crate::occupant::Occupant;
use crate::own_group::OwnGroups;

/// What a file gives the process that has its pid, or why it gives nothing.
/// `has_counted`: this file has, for that process, as it was last written to.
pub(crate) fn verdict(
    pid: u32,
    content: Result<Given, Reason>,
    file: &Traits,
    runner: &Occupant,
    has_counted: bool,
    groups: &mut OwnGroups,
) -> Result<Given, Reason> {
    if let Err(reason @ (Reason::Symlink | Reason::Directory | Reason::Special)) = content {
        return Err(reason);
    }
    // Said rather than that it is another user's: these are root's.
    if runner.is_kernel_thread {
        return Err(Reason::KernelThread);
    }
    if runner.process != pid {
        let process = runner.process;
        return Err(Reason::Thread { process });
    }
    if file.owner != 0 && file.owner != runner.uid {
        return Err(Reason::Foreign {
            owner: file.owner,
            runner: runner.uid,
        });
    }
    // A second name of a file of root's would speak with root's word. A
    // second name given to an entry that counts already changes nothing:
    // else any user could end it so, where `fs.protected_hardlinks` is 0.
    if file.links != 1 && !has_counted {
        return Err(Reason::HardLinked);
    }
    if file.others_may_write(groups) {
        let mode = file.mode;
        return Err(Reason::Writable { mode });
    }
    content
}
