//! What a kept run puts into the documents: the picture, and the transcripts.
//!
//! A transcript stands in a page as a block of code behind a comment that says
//! which it is; all the rest of the page is left as it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::{Chore, say};
use crate::picture;
use crate::timeline::Timeline;
use crate::transcript::Walk;
use crate::walk_log;

/// What runs the walk, and where it leaves its console.
const SCENARIO: &str = "one_job_fits_and_lives";
const CONSOLE: &str = "e2e/target/logs/6.1/one_job_fits_and_lives.console";

const README: &str = "README.md";
const WALKTHROUGH: &str = "docs/walkthrough.md";

/// Runs the walk in a virtual machine, and keeps its log.
///
/// # Errors
///
/// It did not pass, or its console is not that of a whole walk.
pub(crate) fn run_and_keep(root: &Path) -> Result<()> {
    Chore::new("cargo", ["xtask", "e2e", "--", SCENARIO]).run("the walk", root)?;
    keep(root, &root.join(CONSOLE))
}

/// Keeps the log of the run with this console.
///
/// # Errors
///
/// It could not be read, or is not that of a whole walk.
pub(crate) fn keep(root: &Path, console: &Path) -> Result<()> {
    let name = console.display();
    let bytes = fs::read(console).with_context(|| format!("cannot read `{name}`"))?;
    let log = walk_log::of_console(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("`{name}` is not the console of a whole walk"))?;
    write(root, walk_log::PATH, &log)
}

/// Draws the picture, and fills in the transcripts, from the kept log.
///
/// # Errors
///
/// The log or a page could not be read or written, or is not what it should be.
pub(crate) fn make(root: &Path) -> Result<()> {
    for (path, text) in made(root)? {
        write(root, path, &text)?;
        say(format_args!("{path}: from {}", walk_log::PATH))?;
    }
    Ok(())
}

/// What [`make`] writes, and where.
fn made(root: &Path) -> Result<[(&'static str, String); 3]> {
    let log = read(root, walk_log::PATH).context("`cargo xtask picture --run` makes it")?;
    let timeline = Timeline::parse(&log)?;
    let walk = Walk::parse(&log).context(walk_log::PATH)?;
    let picture = picture::draw(&timeline, &walk).context(walk_log::PATH)?;

    let readme = read(root, README)?;
    let readme = filled(&readme, "first kill", &walk.first_kill()?).context(README)?;
    let mut pages = read(root, WALKTHROUGH)?;
    for (name, transcript) in ["daemon", "monitor", "testproc"]
        .iter()
        .zip(&walk.transcripts)
    {
        pages = filled(&pages, name, &transcript.to_string()).context(WALKTHROUGH)?;
    }
    Ok([
        (picture::PATH, picture),
        (README, readme),
        (WALKTHROUGH, pages),
    ])
}

/// The page with this text in the block of this name.
fn filled(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- cargo xtask picture: {name} -->\n```text\n");
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("there is no block that begins with `{}`", begin.trim_end()))?;
    let (_, after) = rest
        .split_once("\n```\n")
        .with_context(|| format!("the block `{name}` has no end"))?;
    let text = text.trim_end();
    Ok(format!("{before}{begin}{text}\n```\n{after}"))
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read `{path}`"))
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    fs::write(root.join(path), text).with_context(|| format!("cannot write `{path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn the_documents_show_what_the_kept_log_gives() {
        for (path, text) in made(root()).unwrap() {
            let kept = read(root(), path).unwrap();
            assert!(
                kept == text,
                "{path} is not what {} gives: run `cargo xtask picture`",
                walk_log::PATH
            );
        }
    }

    #[test]
    fn a_block_is_filled_and_the_rest_of_the_page_stays() {
        let page = "a\n<!-- cargo xtask picture: b -->\n```text\nold\n```\nc\n```text\nd\n```\n";
        assert_eq!(
            filled(page, "b", "new\nlines\n").unwrap(),
            page.replace("old", "new\nlines")
        );
        let err = filled(page, "d", "").unwrap_err().to_string();
        assert!(err.contains("cargo xtask picture: d"), "{err}");
        let err = filled(&page.replace("\n```\n", "\n"), "b", "");
        assert!(err.unwrap_err().to_string().contains("has no end"));
    }

    #[test]
    fn a_log_that_is_not_there_is_named_with_the_command_that_makes_it() {
        let root = tempfile::tempdir().unwrap();
        let err = format!("{:#}", make(root.path()).unwrap_err());
        assert!(
            err.contains(walk_log::PATH) && err.contains("--run"),
            "{err}"
        );
    }

    #[test]
    fn a_console_that_is_cut_off_is_named_and_the_kept_log_stays() {
        let root = tempfile::tempdir().unwrap();
        let console = root.path().join("walk.console");
        fs::write(&console, "--- timeline\r\nsome").unwrap();
        let err = format!("{:#}", keep(root.path(), &console).unwrap_err());
        assert!(
            err.contains("walk.console") && err.contains("cut off"),
            "{err}"
        );
        assert!(!root.path().join(walk_log::PATH).exists());
    }
}
