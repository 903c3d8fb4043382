//! A cgroup (v2) of a scenario's own.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::program::Program;
use crate::guest::{files, wait};

/// For the last of its processes to be gone, on a machine that is emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// One below the root, or below another.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
}

impl Cgroup {
    /// Makes it, with `controller`.
    ///
    /// # Errors
    ///
    /// The kernel does not have it.
    pub fn make(name: &str, controller: &str) -> Result<Self> {
        files::write(
            "/sys/fs/cgroup/cgroup.subtree_control",
            &format!("+{controller}"),
        )?;
        Self::made(format!("/sys/fs/cgroup/{name}"))
    }

    /// Makes one in it, with the memory controller. Then no program can be put into
    /// this one.
    ///
    /// # Errors
    ///
    /// The kernel does not let it.
    pub fn below(&self, name: &str) -> Result<Self> {
        files::write(self.file("cgroup.subtree_control"), "+memory")?;
        Self::made(self.file(name))
    }

    fn made(path: String) -> Result<Self> {
        std::fs::create_dir(&path).with_context(|| format!("cannot make `{path}`"))?;
        Ok(Self { path })
    }

    /// How many processes the kernel has killed in it and below, at a limit.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn kernel_kills(&self) -> Result<u64> {
        let events = files::text(self.file("memory.events"))?;
        let kills = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        let kills = kills.context("`memory.events` has no `oom_kill`")?;
        kills.parse().context("`oom_kill` is no number")
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Puts a program into it.
    ///
    /// # Errors
    ///
    /// The kernel does not let it.
    pub fn take(&self, program: &Program) -> Result<()> {
        files::write(self.file("cgroup.procs"), &program.pid().to_string())
    }

    /// Removes it, once all in it have ended.
    ///
    /// # Errors
    ///
    /// They do not.
    pub fn remove(self) -> Result<()> {
        wait::until("the cgroup is removed", LIMIT, || {
            Ok(std::fs::remove_dir(&self.path).is_ok())
        })
    }
}
