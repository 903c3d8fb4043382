//! Writes the man pages and the completions into a directory: `manual DIRECTORY`.
//!
//! What programs take is rendered from their own definitions, what `docs/` describes
//! from there, so that a page says what the programs do.

mod markdown;
mod pages;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap_complete::Shell;

use crate::pages::{DOCUMENTS, PROGRAMS};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let directory = args.next().map(PathBuf::from);
    ensure!(args.next().is_none(), "usage: manual DIRECTORY");
    let directory = directory.context("usage: manual DIRECTORY")?;
    for program in PROGRAMS {
        write_page(&directory, program.name, program.section, &program.page()?)?;
        write_completions(&directory, program.name, (program.command)())?;
    }
    for document in DOCUMENTS {
        write_page(
            &directory,
            document.name,
            document.section,
            &document.page(),
        )?;
    }
    Ok(())
}

fn write_page(directory: &Path, name: &str, section: u8, text: &str) -> Result<()> {
    let folder = made(directory.join(format!("man/man{section}")))?;
    let path = folder.join(format!("{name}.{section}"));
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Under the names by which each shell looks for them.
fn write_completions(directory: &Path, name: &str, mut command: clap::Command) -> Result<()> {
    for (shell, folder, file) in [
        (Shell::Bash, "bash", name.to_owned()),
        (Shell::Zsh, "zsh", format!("_{name}")),
        (Shell::Fish, "fish", format!("{name}.fish")),
    ] {
        let path = made(directory.join(folder))?.join(file);
        let mut file =
            File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        clap_complete::generate(shell, &mut command, name, &mut file);
    }
    Ok(())
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}
