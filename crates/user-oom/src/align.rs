//! Has the kernel agree with us (`--align-kernel`): should it kill after all,
//! it begins with the lowest value.
//!
//! The kernel's choice is by size and by `oom_score_adj`, so that is raised for
//! registered processes, the more the lower their value, and never lowered.
//! What it was is written down first, and put back when the daemon exits, or
//! when the next one starts should this one not come to it.

//!
//! Where that is written lies beside the socket, in a directory that others may
//! perhaps write to. So it is made anew each time, through no link, and what is
//! found is believed only where no other user can have written it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use oom_policy::ProcessId;
use sensors::ProcRoot;

/// What the least valuable of many is raised to; 1000 would have it killed
/// before anything of any size.
const HIGHEST: usize = 900;

/// As much of a memo is read: more than any machine has processes.
const LONGEST_BYTES: u64 = 16 << 20;

/// Raised processes, and what they were before.
#[derive(Debug)]
pub(crate) struct Aligner {
    root: ProcRoot,
    /// Where what they were is written down.
    memo: PathBuf,
    /// The memo there is ours.
    is_written: bool,
    raised: BTreeMap<ProcessId, Raised>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    was: i16,
    now: i16,
}

/// Why what processes were is not known, or cannot be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "`{}` is not ours: expected a regular file of uid {uid}, with one name, that others may not write",
        path.display()
    )]
    NotOurs { path: PathBuf, uid: u32 },
    #[error("`{}`, line {line}: expected `<pid> <start> <was> <now>`, found {found:?}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        found: String,
    },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Aligner {
    /// Raises nothing yet. What is raised is written to `memo` first.
    pub(crate) fn new(root: ProcRoot, memo: PathBuf) -> Self {
        Self {
            root,
            memo,
            is_written: false,
            raised: BTreeMap::new(),
        }
    }

    /// Puts back what a daemon that did not end well has left in the memo.
    ///
    /// # Errors
    ///
    /// [`MemoError`]: it cannot be read, or cannot be believed. It is left as
    /// it is, and replaced by the next that is written.
    pub(crate) fn put_back_earlier(&mut self) -> Result<(), MemoError> {
        let Some(text) = read_ours(&self.memo)? else {
            return Ok(());
        };
        let mut raised = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let (id, was_and_now) = parse(text).ok_or_else(|| MemoError::Malformed {
                path: self.memo.clone(),
                line,
                found: text.chars().take(60).collect(),
            })?;
            raised.insert(id, was_and_now);
        }
        self.raised = raised;
        self.is_written = true;
        self.put_back();
        Ok(())
    }

    /// Raises each of `registered` according to its value; for quiet rounds.
    /// What is no longer among them is put back.
    ///
    /// # Errors
    ///
    /// [`MemoError::Write`]: what they were cannot be written down, so nothing
    /// more was raised.
    pub(crate) fn align(
        &mut self,
        registered: impl Iterator<Item = (ProcessId, u32)>,
    ) -> Result<(), MemoError> {
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
        self.write_down(&next)?;
        self.raised = next;
        for (&id, raised) in &self.raised {
            self.write(id, raised.now);
        }
        Ok(())
    }

    fn put_back(&mut self) {
        while let Some((&id, _)) = self.raised.first_key_value() {
            self.lower(id);
        }
        if std::mem::take(&mut self.is_written) {
            // What is not there need not be removed.
            let _ = fs::remove_file(&self.memo);
        }
    }

    /// Puts one back, unless something else has set it since.
    fn lower(&mut self, id: ProcessId) {
        if let Some(raised) = self.raised.remove(&id)
            && self.read(id) == Some(raised.now)
        {
            self.write(id, raised.was);
        }
    }

    fn write_down(&mut self, raised: &BTreeMap<ProcessId, Raised>) -> Result<(), MemoError> {
        let mut text = String::new();
        for (id, Raised { was, now }) in raised {
            let ProcessId { pid, start_ticks } = id;
            let _ = writeln!(text, "{pid} {start_ticks} {was} {now}");
        }
        let mut new = self.memo.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = replace(&new, &self.memo, text.as_bytes());
        if written.is_err() {
            // Half of one says nothing.
            let _ = fs::remove_file(&new);
        }
        written.map_err(|source| MemoError::Write { path: new, source })?;
        self.is_written = true;
        Ok(())
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

/// Writes `text` to `new`, which is made, and moves it to `path`, in place of
/// what is there. Neither follows a link.
fn replace(new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let make = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)
    };
    let mut file = match make() {
        // An earlier daemon's, or somebody else's trap.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(new)?;
            make()?
        }
        made => made?,
    };
    file.write_all(text)?;
    fs::rename(new, path)
}

/// What stands in `path`, where only we can have written it; `None` where there
/// is nothing.
fn read_ours(path: &Path) -> Result<Option<String>, MemoError> {
    let uid = geteuid().as_raw();
    let not_ours = || MemoError::NotOurs {
        path: path.to_owned(),
        uid,
    };
    let failed = |source| MemoError::Read {
        path: path.to_owned(),
        source,
    };
    let opened = OpenOptions::new()
        .read(true)
        // A FIFO is not waited for.
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) if err.raw_os_error() == Some(libc::ELOOP) => return Err(not_ours()),
        Err(err) => return Err(failed(err)),
    };
    let found = file.metadata().map_err(failed)?;
    let is_ours = found.is_file()
        && found.uid() == uid
        // Under a second name it may have been kept, to be believed later.
        && found.nlink() == 1
        && found.mode() & 0o022 == 0;
    if !is_ours {
        return Err(not_ours());
    }
    let mut text = String::new();
    file.take(LONGEST_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(Some(text))
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
    let is_raised = -1000 <= raised.was && raised.was <= raised.now && raised.now <= 1000;
    (words.next().is_none() && is_raised).then_some((id, raised))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

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
        let mut aligner = Aligner::new(root(), memo.clone());
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
        let mut aligner = Aligner::new(root(), memo.clone());
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
        fs::set_permissions(&memo, fs::Permissions::from_mode(0o600)).expect("ours");

        let mut next = Aligner::new(root(), memo);
        next.put_back_earlier().expect("it is what we write");
        assert_eq!(oom_score_adj(&one), before);
    }

    /// A raised process, as left by a daemon that was killed, and the memo that
    /// says so.
    struct LeftRaised {
        process: Waiter,
        was: i16,
        now: i16,
        memo: String,
    }

    impl LeftRaised {
        fn new() -> Self {
            let process = Waiter::new();
            let ProcessId { pid, start_ticks } = process.id();
            let was = oom_score_adj(&process);
            let now = i16::midpoint(was, 1000);
            fs::write(format!("/proc/{pid}/oom_score_adj"), now.to_string()).expect("ours");
            let memo = format!("{pid} {start_ticks} {was} {now}\n");
            Self {
                process,
                was,
                now,
                memo,
            }
        }
    }

    #[track_caller]
    fn check_not_believed(left: &LeftRaised, memo: &Path, want: &str) {
        let mut aligner = Aligner::new(root(), memo.to_owned());
        let err = aligner.put_back_earlier().expect_err("it is not ours");
        let told = crate::error::chain(&err);
        assert!(told.contains(want), "{told}");
        drop(aligner);
        assert_eq!(oom_score_adj(&left.process), left.now);
        assert!(memo.symlink_metadata().is_ok(), "it is left as it is");
    }

    #[test]
    fn a_memo_is_believed_only_where_nobody_else_can_have_written_it() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let other = folder.path().join("other");
        let left = LeftRaised::new();
        let mode = |mode| fs::set_permissions(&memo, fs::Permissions::from_mode(mode));
        fs::write(&memo, &left.memo).expect("ours");
        for bits in [0o620, 0o602, 0o666] {
            mode(bits).expect("ours");
            check_not_believed(&left, &memo, "is not ours");
        }
        mode(0o644).expect("ours");
        fs::hard_link(&memo, &other).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        std::os::unix::fs::symlink(&other, &memo).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        nix::unistd::mkfifo(&memo, nix::sys::stat::Mode::S_IRWXU).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        fs::create_dir(&memo).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_dir(&memo).expect("ours");
        fs::rename(&other, &memo).expect("ours");
        if geteuid().is_root() {
            chown(&memo, Some(65_533), None).expect("we are root");
            check_not_believed(&left, &memo, "is not ours");
            chown(&memo, Some(0), None).expect("we are root");
        } else {
            println!("skipped in part: only root can give a file away");
        }

        let mut aligner = Aligner::new(root(), memo.clone());
        aligner.put_back_earlier().expect("it is ours");
        assert_eq!(oom_score_adj(&left.process), left.was);
        assert!(!memo.exists());
    }

    #[test]
    fn a_memo_that_makes_no_sense_is_refused_with_its_line() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let left = LeftRaised::new();
        // Cut short, and what no daemon raised: lower, or beyond the range.
        for line in ["1 2 3", "1 2 9 4", "1 2 -1001 4", "1 2 3 1001", "1 2 3 4 5"] {
            fs::write(&memo, format!("{}{line}\n", left.memo)).expect("ours");
            let want = format!("line 2: expected `<pid> <start> <was> <now>`, found \"{line}\"");
            check_not_believed(&left, &memo, &want);
        }
    }

    #[test]
    fn what_others_have_planted_is_replaced_and_not_written_through() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let new = folder.path().join("aligned.new");
        let precious = folder.path().join("precious");
        fs::write(&precious, "as it was").expect("ours");
        for planted in [&memo, &new] {
            std::os::unix::fs::symlink(&precious, planted).expect("ours");
        }
        let [one, nine] = [Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let mut aligner = Aligner::new(root(), memo.clone());
        aligner
            .align([(one.id(), 1), (nine.id(), 9)].into_iter())
            .expect("it can be written");
        assert_eq!(oom_score_adj(&one), 450.max(before));
        assert_eq!(fs::read_to_string(&precious).expect("ours"), "as it was");
        let written = memo.symlink_metadata().expect("it is there");
        assert!(written.is_file());
        assert_eq!(written.mode() & 0o777, 0o600);
        assert!(!new.exists());
    }

    #[test]
    fn nothing_is_raised_that_cannot_be_written_down() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("nowhere/aligned");
        let [one, nine] = [Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let mut aligner = Aligner::new(root(), memo);
        let registered = [(one.id(), 1), (nine.id(), 9)];
        for _ in 0..2 {
            let err = aligner.align(registered.into_iter());
            let told = crate::error::chain(&err.expect_err("there is no such folder"));
            assert!(
                told.contains("nowhere/aligned.new`: No such file"),
                "{told}"
            );
            assert_eq!(oom_score_adj(&one), before);
        }
    }

    #[test]
    fn nobody_is_ever_lowered() {
        assert_eq!(target(&[5], 5), 0);
        assert_eq!(target(&[], 5), 0);
        assert_eq!(target(&[1, 2], 1), 450);
    }
}
