//! Writes the man pages and the completions into a directory: `manual DIRECTORY`.
//!
//! What programs take is rendered from their own definitions, what `docs/` describes
//! from there, so that a page says what the programs do.

mod markdown;
mod pages;

use std::fs;
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

/// Under the names by which each shell looks for them. A program that prints its own is
/// asked where the shell can take it from there: what it prints is thirty times as long.
fn write_completions(directory: &Path, name: &str, mut command: clap::Command) -> Result<()> {
    for (shell, folder, file) in [
        (Shell::Bash, "bash", name.to_owned()),
        (Shell::Zsh, "zsh", format!("_{name}")),
        (Shell::Fish, "fish", format!("{name}.fish")),
    ] {
        let path = made(directory.join(folder))?.join(file);
        let script = completions(shell, name, &mut command);
        fs::write(&path, script).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

fn completions(shell: Shell, name: &str, command: &mut clap::Command) -> Vec<u8> {
    let prints_its_own = command.find_subcommand("completions").is_some();
    let mut script = Vec::new();
    match shell {
        Shell::Bash if prints_its_own => {
            script.extend(format!("source <({name} completions bash)\n").bytes());
        }
        Shell::Fish if prints_its_own => {
            script.extend(format!("{name} completions fish | source\n").bytes());
        }
        _ => clap_complete::generate(shell, command, name, &mut script),
    }
    script
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shell: Shell, name: &str, want: &str) {
        let mut command = (PROGRAMS.iter())
            .find(|program| program.name == name)
            .map(|program| (program.command)())
            .unwrap();
        let script = String::from_utf8(completions(shell, name, &mut command)).unwrap();
        assert!(script.contains(want), "{script}");
        // What a program is asked with, it takes.
        if script.lines().count() == 1 {
            let arguments = script.trim_start_matches("source <(");
            let words = arguments.split([')', ' ']).skip(1).take(2);
            let taken = command.try_get_matches_from(words);
            assert!(taken.is_ok(), "{script}");
        }
    }

    #[test]
    fn a_program_that_prints_its_own_completions_is_asked() {
        check(
            Shell::Bash,
            "user-oomctl",
            "source <(user-oomctl completions bash)",
        );
        check(
            Shell::Fish,
            "user-oomctl",
            "user-oomctl completions fish | source",
        );
        check(Shell::Zsh, "user-oomctl", "#compdef user-oomctl");
        check(Shell::Bash, "user-oom", "--dryrun");
        check(Shell::Fish, "psi-monitor", "complete -c psi-monitor");
    }
}
