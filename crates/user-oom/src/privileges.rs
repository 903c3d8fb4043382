//! What the daemon may do, whether it is root or has been given capabilities:
//! capabilities(7).

use std::fs;
use std::path::Path;

use nix::unistd::geteuid;
use reaper::SelfProtection;

const KILL: u32 = 5;
const SYS_PTRACE: u32 = 19;

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Privileges(u64);

impl Privileges {
    /// As `self/status` of the `/proc` at `proc_root` has them; where that says
    /// nothing, root has all and others have none.
    pub(crate) fn read(proc_root: &Path) -> Self {
        let status = fs::read_to_string(proc_root.join("self/status")).unwrap_or_default();
        let by_user = if geteuid().is_root() { u64::MAX } else { 0 };
        Self(effective(&status).unwrap_or(by_user))
    }

    /// Whether we may signal other users' processes.
    pub(crate) fn may_signal_all(self) -> bool {
        self.has(KILL)
    }

    fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 == 1
    }

    /// What the daemon cannot do for want of privileges, and what would mend
    /// that, in one line; `None` where it can do all.
    pub(crate) fn shortfall(
        self,
        own_uid: u32,
        is_locked: bool,
        protection: &SelfProtection,
    ) -> Option<String> {
        let kills_own = format!("can kill processes of uid {own_uid} only");
        let wants = [
            (!self.has(KILL), "CAP_KILL", kills_own.as_str()),
            (
                self.has(KILL) && !self.has(SYS_PTRACE),
                "CAP_SYS_PTRACE",
                "cannot recognise other users' session-critical programs",
            ),
            (!is_locked, "CAP_IPC_LOCK", "may be swapped out"),
            (
                protection.priority.is_err(),
                "CAP_SYS_NICE",
                "has no raised priority",
            ),
            (
                protection.oom_score_adj.is_err(),
                "CAP_SYS_RESOURCE",
                "is not protected from the kernel's OOM killer",
            ),
        ];
        let wanting: Vec<_> = wants.iter().filter(|(wanting, ..)| *wanting).collect();
        let capabilities: Vec<&str> = wanting.iter().map(|(_, name, _)| *name).collect();
        let lacks: Vec<&str> = wanting.iter().map(|(.., lack)| *lack).collect();
        let mend = match own_uid {
            0 => "give it",
            _ => "run it as root or with",
        };
        (!wanting.is_empty()).then(|| {
            format!(
                "running as uid {own_uid}, user-oom {}; {mend} {}",
                lacks.join(", "),
                capabilities.join(", ")
            )
        })
    }
}

/// The set that `CapEff:` says: proc_pid_status(5).
fn effective(status: &str) -> Option<u64> {
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_counts() {
        let set = effective("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000004020\n");
        assert_eq!(set, Some(1 << 5 | 1 << 14));
        assert!(Privileges(set.unwrap()).may_signal_all());
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tall\n"), None);
    }

    #[test]
    fn what_is_wanting_is_said_with_what_would_mend_it() {
        let full = SelfProtection {
            oom_score_adj: Ok(()),
            priority: Ok(()),
        };
        assert_eq!(Privileges(u64::MAX).shortfall(0, true, &full), None);
        let said = Privileges(0).shortfall(1000, false, &full).unwrap();
        assert_eq!(
            said,
            "running as uid 1000, user-oom can kill processes of uid 1000 only, may be swapped out; \
             run it as root or with CAP_KILL, CAP_IPC_LOCK"
        );
        let said = Privileges(!(1 << KILL)).shortfall(0, true, &full);
        let said = said.expect("root in a container");
        assert!(said.ends_with("uid 0 only; give it CAP_KILL"), "{said}");
        let said = Privileges(1 << KILL).shortfall(1000, true, &full).unwrap();
        assert!(said.ends_with("with CAP_SYS_PTRACE"), "{said}");
    }
}
