//! What a kernel says when it finds a mistake.

/// What the lines of a report begin with, after the time.
const REPORTS: [&str; 14] = [
    "WARNING: ",
    "BUG: ",
    "watchdog: BUG: ",
    "kernel BUG at ",
    "ODEBUG: ",
    "INFO: task ",
    "INFO: rcu",
    "rcu: INFO: ",
    "INFO: trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON(",
    "turning off the locking correctness validator",
    "Oops: ",
    "general protection fault",
    "list_",
];

/// A scenario has the kernel choose this one while a frozen filesystem keeps it
/// from ending.
const ON_PURPOSE: &str = "INFO: task stuck:";

/// What the kernel says of the first of our modules.
const FIRST_OF_OURS: &str = "loading out-of-tree module";

/// The lines of a console that report a mistake, once there is a module of ours:
/// an emulated processor makes some at boot. The kernel's own begin with the
/// time; a program that says such a thing is none of its.
pub(crate) fn splats(console: &str) -> impl Iterator<Item = &str> {
    let ours = console
        .lines()
        .skip_while(|line| !line.contains(FIRST_OF_OURS));
    ours.filter(|line| {
        message(line).is_some_and(|message| {
            REPORTS.iter().any(|report| message.starts_with(report))
                && !message.starts_with(ON_PURPOSE)
        })
    })
}

fn message(line: &str) -> Option<&str> {
    let (_, message) = line.strip_prefix('[')?.split_once("] ")?;
    Some(message.trim())
}

#[cfg(test)]
mod tests {
    use super::splats;

    #[track_caller]
    fn is_one(message: &str) {
        let console = format!(
            "[    0.004404] BUG: at boot\r\n\
             [    1.000000] memory_info: loading out-of-tree module taints kernel.\r\n\
             [   12.345678] {message}\r\n"
        );
        let found: Vec<_> = splats(&console).collect();
        assert_eq!(found.len(), 1, "{message}");
        assert!(found[0].contains(message), "{found:?}");
    }

    #[track_caller]
    fn is_none(line: &str) {
        let console = format!("[    1.000000] x: loading out-of-tree module\r\n{line}\r\n");
        assert_eq!(splats(&console).count(), 0, "{line}");
    }

    #[test]
    fn what_each_checker_says_is_found() {
        for message in [
            "WARNING: CPU: 0 PID: 7 at mm/page_alloc.c:1234 get_page+0x1/0x2",
            "WARNING: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "WARNING: inconsistent lock state",
            "WARNING: suspicious RCU usage",
            "WARNING: bad unlock balance detected!",
            "BUG: KASAN: slab-use-after-free in show+0x5d/0x90 [memory_info]",
            "BUG: KCSAN: data-race in on_oom / show",
            "BUG: sleeping function called from invalid context at mm/page_alloc.c:1",
            "BUG: scheduling while atomic: bomb/77/0x00000002",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
            "BUG: MAX_LOCKDEP_CHAINS too low!",
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [bomb:77]",
            "kernel BUG at lib/list_debug.c:59!",
            "ODEBUG: free active (active state 0) object: 0000 object type: timer_list",
            "INFO: task bomb:77 blocked for more than 120 seconds.",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "INFO: trying to register non-static key.",
            "DEBUG_LOCKS_WARN_ON(lock->magic != lock)",
            "turning off the locking correctness validator.",
            "Oops: 0000 [#1] PREEMPT SMP KASAN",
            "general protection fault, probably for non-canonical address 0xdead",
            "list_del corruption. prev->next should be 0001, but was 0002",
        ] {
            is_one(message);
        }
    }

    #[test]
    fn what_is_said_on_purpose_or_by_a_program_is_none() {
        is_none("[  130.000000] INFO: task stuck:77 blocked for more than 120 seconds.");
        is_none("[    5.000000] memory_info: last call 1 of bomb: answered, memory is back");
        is_none("[    5.000000] Out of memory: Killed process 77 (bomb)");
        is_none("/init 77: WARNING: nothing");
        is_none("");
    }
}
