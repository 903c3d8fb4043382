//! The journals that the daemon kept in a scenario: it has to decide about each
//! event as it did then.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Report, files, say_on_console};

/// Where the daemon keeps one by default, and beside it one for each further scope.
pub const JOURNAL: &str = "/var/lib/user-oom/journal";

/// Replays all journals, and removes them: the next scenario has its own.
///
/// # Errors
///
/// Something was decided otherwise, or nothing could be decided at all.
pub(super) fn all(report: &mut Report) -> Result<()> {
    let mut outcome = Ok(());
    for journal in journals()? {
        let replayed = replay(&journal, report);
        fs::remove_dir_all(&journal).context("cannot remove a journal")?;
        outcome = outcome.and(replayed);
    }
    outcome
}

/// The directory of each.
fn journals() -> Result<Vec<PathBuf>> {
    let parent = Path::new(JOURNAL).parent().context("it has a parent")?;
    let entries = match fs::read_dir(parent) {
        // No daemon ran.
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("cannot list the journals")?,
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry.context("cannot list the journals")?.path();
        if path.to_string_lossy().starts_with(JOURNAL) {
            journals.push(path);
        }
    }
    journals.sort();
    Ok(journals)
}

fn replay(journal: &Path, report: &mut Report) -> Result<()> {
    let mut written = fs::read_dir(journal).context("cannot list a journal")?;
    if written.next().is_none() {
        // Nothing was decided in which something is done.
        return Ok(());
    }
    let replayed = Command::new("/bin/user-oom")
        .arg("--replay")
        .arg(journal)
        .output()
        .context("cannot start a replay")?;
    let said = String::from_utf8_lossy(&replayed.stderr);
    for line in said.lines() {
        report.figure("replay", line.trim_start_matches("user-oom: "))?;
    }
    if replayed.status.success() {
        return Ok(());
    }
    show(journal)?;
    bail!("a replay of `{}` differs: {said}", journal.display())
}

/// It belongs on the console, which the host keeps: the machine's end is its own.
fn show(journal: &Path) -> Result<()> {
    for entry in fs::read_dir(journal).context("cannot list a journal")? {
        let path = entry.context("cannot list a journal")?.path();
        let text = files::text(&path)?;
        say_on_console(&format!("--- {0}\n{text}--- end of {0}", path.display()));
    }
    Ok(())
}
