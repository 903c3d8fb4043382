//! Has the kernel agree with us (`--align-kernel`): should it kill after all,
//! it begins with what is worth least.
//!
//! The kernel's choice is by size and by `oom_score_adj`, so that is raised for
//! registered processes, the more the less they are worth, and never lowered.
//! What it was is written down first, and put back when the daemon ends, or
//! when the next one starts should this one not come to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use oom_policy::ProcessId;
use sensors::ProcRoot;

/// What the least valuable of many is raised to; 1000 would have it killed
/// before anything of any size.
const HIGHEST: usize = 900;

/// Raised processes, and what they were before.
#[derive(Debug)]
pub(crate) struct Aligner {
    root: ProcRoot,
    /// Where what they were is written down.
    memo: PathBuf,
    raised: BTreeMap<ProcessId, Raised>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    was: i16,
    now: i16,
}

impl Aligner {
    /// Puts back what an earlier daemon left in `memo`.
    ///
    /// # Errors
    ///
    /// `memo` cannot be read, or not as what we write.
    pub(crate) fn new(root: ProcRoot, memo: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&memo) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(err) => return Err(err),
        };
        let mut raised = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let (id, was_and_now) = parse(line).ok_or_else(|| {
                io::Error::other(format!(
                    "`{}`, line {number}: expected `<pid> <start> <was> <now>`, found `{line}`",
                    memo.display()
                ))
            })?;
            raised.insert(id, was_and_now);
        }
        let mut aligner = Self { root, memo, raised };
        aligner.put_back();
        Ok(aligner)
    }

    /// Raises each of `registered` by what it is worth; for quiet rounds. Who
    /// is no longer among them is put back.
    ///
    /// # Errors
    ///
    /// What they were cannot be written down, so nobody was raised.
    pub(crate) fn align(
        &mut self,
        registered: impl Iterator<Item = (ProcessId, u32)>,
    ) -> io::Result<()> {
        let registered: BTreeMap<ProcessId, u32> = registered.collect();
        let mut values: Vec<u32> = registered.values().copied().collect();
        values.sort_unstable();
        values.dedup();

        let mut next = BTreeMap::new();
        for (&id, value) in &registered {
            let Some(is) = self.read(id) else { continue };
            let was = match self.raised.get(&id) {
                Some(raised) if raised.now == is => raised.was,
                // Not ours, or set by somebody else since.
                _ => is,
            };
            let now = was.max(target(&values, *value));
            next.insert(id, Raised { was, now });
        }
        if next == self.raised {
            return Ok(());
        }
        let gone: Vec<ProcessId> = self
            .raised
            .keys()
            .filter(|id| !next.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.lower(id);
        }
        self.raised = next;
        self.write_down()?;
        for (&id, raised) in &self.raised {
            self.write(id, raised.now);
        }
        Ok(())
    }

    fn put_back(&mut self) {
        while let Some((&id, _)) = self.raised.first_key_value() {
            self.lower(id);
        }
        // What is not there need not be removed.
        let _ = fs::remove_file(&self.memo);
    }

    /// Puts one back, unless somebody else has set it since.
    fn lower(&mut self, id: ProcessId) {
        if let Some(raised) = self.raised.remove(&id)
            && self.read(id) == Some(raised.now)
        {
            self.write(id, raised.was);
        }
    }

    fn write_down(&self) -> io::Result<()> {
        let mut text = String::new();
        for (id, Raised { was, now }) in &self.raised {
            let ProcessId { pid, start_ticks } = id;
            let _ = writeln!(text, "{pid} {start_ticks} {was} {now}");
        }
        let new = self.memo.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, &self.memo)
    }

    /// Its `oom_score_adj`, or `None` once it is gone.
    fn read(&self, id: ProcessId) -> Option<i16> {
        let mut text = String::new();
        self.open(id)?.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    fn write(&self, id: ProcessId, oom_score_adj: i16) {
        if let Some(mut file) = self.open(id) {
            // Where it is not permitted the kernel's choice stays its own.
            let _ = file
                .rewind()
                .and_then(|()| file.write_all(oom_score_adj.to_string().as_bytes()));
        }
    }

    /// The file of the process that `id` names, and of no later one: what is
    /// open cannot become another's, so its start time is asked after.
    fn open(&self, id: ProcessId) -> Option<File> {
        let path = self.root.path().join(id.pid.to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.join("oom_score_adj"))
            .ok()?;
        let start_ticks = self.root.start_ticks(id.pid).ok()??;
        (start_ticks == id.start_ticks).then_some(file)
    }
}

impl Drop for Aligner {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// The most valuable are left alone; below them, evenly spread by rank.
fn target(values: &[u32], value: u32) -> i16 {
    let above = values.len() - values.partition_point(|other| *other <= value);
    i16::try_from(HIGHEST * above / values.len().max(1)).unwrap_or(0)
}

fn parse(line: &str) -> Option<(ProcessId, Raised)> {
    let mut words = line.split(' ');
    let id = ProcessId {
        pid: words.next()?.parse().ok()?,
        start_ticks: words.next()?.parse().ok()?,
    };
    let raised = Raised {
        was: words.next()?.parse().ok()?,
        now: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some((id, raised))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in::{Waiter, root};

    fn oom_score_adj(of: &Waiter) -> i16 {
        let path = format!("/proc/{}/oom_score_adj", of.id().pid);
        let text = fs::read_to_string(path).expect("it runs");
        text.trim().parse().expect("a number")
    }

    #[test]
    fn the_less_a_process_is_worth_the_more_it_is_raised_and_all_is_put_back() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [one, five, nine] = [Waiter::new(), Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let registered = [(one.id(), 1), (five.id(), 5), (nine.id(), 9)];
        let mut aligner = Aligner::new(root(), memo.clone()).expect("nothing is there");
        aligner.align(registered.into_iter()).expect("ours");
        assert_eq!(oom_score_adj(&one), 600.max(before));
        assert_eq!(oom_score_adj(&five), 300.max(before));
        assert_eq!(oom_score_adj(&nine), before);

        // The least valuable is no longer registered.
        aligner.align(registered.into_iter().skip(1)).expect("ours");
        assert_eq!(oom_score_adj(&one), before);
        assert_eq!(oom_score_adj(&five), 450.max(before));

        drop(aligner);
        assert_eq!(oom_score_adj(&five), before);
        assert!(!memo.exists());
    }

    #[test]
    fn what_a_daemon_left_that_did_not_end_well_is_put_back_at_the_next_start() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [one, nine] = [Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let mut aligner = Aligner::new(root(), memo.clone()).expect("nothing is there");
        aligner
            .align([(one.id(), 1), (nine.id(), 9)].into_iter())
            .expect("ours");
        let raised = oom_score_adj(&one);
        assert!(before < raised);
        let text = fs::read_to_string(&memo).expect("written down");
        drop(aligner);
        // As if it had been killed: raised, and written down.
        let path = format!("/proc/{}/oom_score_adj", one.id().pid);
        fs::write(path, raised.to_string()).expect("ours");
        fs::write(&memo, text).expect("ours");

        drop(Aligner::new(root(), memo).expect("it is what we write"));
        assert_eq!(oom_score_adj(&one), before);
    }

    #[test]
    fn a_memo_that_is_not_ours_is_refused_with_its_line() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        fs::write(&memo, "1 2 3 4\n1 2 3\n").expect("ours");
        let said = Aligner::new(root(), memo)
            .expect_err("not ours")
            .to_string();
        assert!(said.contains("line 2") && said.contains("1 2 3"), "{said}");
    }

    #[test]
    fn nobody_is_ever_lowered() {
        assert_eq!(target(&[5], 5), 0);
        assert_eq!(target(&[], 5), 0);
        assert_eq!(target(&[1, 2], 1), 450);
    }
}
