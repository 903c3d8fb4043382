//! A cgroup (v2) for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use reaper::ProcessReader;

use super::reader::{Reader, cgroup_root};
use super::{Child, LIMIT};

/// A cgroup of the test's own, removed at its end.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`, with the reason printed, where none can be made.
    #[expect(clippy::print_stdout, reason = "a skip says why")]
    pub(crate) fn new(name: &str) -> Option<Self> {
        let Some(root) = cgroup_root() else {
            println!("skipped: no cgroup v2 is mounted here");
            return None;
        };
        let path = root.join(format!("user-oom-test-{}-{name}", std::process::id()));
        if let Err(err) = fs::create_dir(&path) {
            println!("skipped: cannot make a cgroup here: {err}");
            return None;
        }
        let cgroup = Self(path);
        if !cgroup.0.join("cgroup.freeze").exists() {
            println!("skipped: no cgroup.freeze here; would run since Linux 5.2");
            return None;
        }
        Some(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn take(&self, child: &Child) {
        self.take_pid(child.id().pid);
    }

    pub(crate) fn take_pid(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it is ours");
    }

    pub(crate) fn is_frozen(&self) -> bool {
        let events = fs::read(self.0.join("cgroup.events")).expect("it is ours");
        Reader.says_frozen(&events)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes are reaped by now, but may not have left it yet.
        let began = Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed() < LIMIT {
            thread::yield_now();
        }
    }
}
