//! What the tasks need beyond Rust and a C compiler.

use std::path::Path;

use anyhow::{Result, bail};

use crate::chore::{Chore, say};

/// A program that is not ours.
struct Tool {
    /// What proves that it is there.
    proof: Chore,
    /// What it is for, to finish the sentence "… is needed".
    purpose: &'static str,
    /// What installs it, in order.
    installation: Vec<Chore>,
    /// Whether only root may install it.
    root_only: bool,
}

/// Installs what is missing.
///
/// # Errors
///
/// What is missing and cannot be installed, with the commands that would.
pub(crate) fn provide(root: &Path) -> Result<()> {
    let missing: Vec<Tool> = tools()
        .into_iter()
        .filter(|tool| !tool.proof.succeeds(root))
        .collect();
    for tool in missing {
        let Tool {
            proof,
            purpose,
            installation,
            root_only,
        } = tool;
        let commands: Vec<String> = installation.iter().map(Chore::to_string).collect();
        if root_only && !we_are_root(root) {
            bail!(
                "`{proof}` does not run, and it is needed {purpose}; install it as root: {}",
                commands.join(" && ")
            );
        }
        say(format_args!(
            "── `{proof}` does not run, and it is needed {purpose}"
        ))?;
        for command in &installation {
            command.run(&command.to_string(), root)?;
        }
        if !proof.succeeds(root) {
            bail!(
                "`{proof}` does not run even after: {}",
                commands.join(" && ")
            );
        }
    }
    Ok(())
}

fn tools() -> Vec<Tool> {
    let component = |proof, purpose, name| Tool {
        proof,
        purpose,
        installation: vec![Chore::new("rustup", ["component", "add", name])],
        root_only: false,
    };
    vec![
        component(
            Chore::new("cargo", ["fmt", "--version"]),
            "to check the formatting",
            "rustfmt",
        ),
        component(
            Chore::new("cargo", ["clippy", "--version"]),
            "to check the code",
            "clippy",
        ),
        debian_package(
            Chore::new("shellcheck", ["--version"]),
            "to check the shell scripts",
            "shellcheck",
        ),
        debian_package(
            Chore::new("python3", ["--version"]),
            "to test the machine-learning jobs",
            "python3",
        ),
    ]
}

fn debian_package(proof: Chore, purpose: &'static str, package: &'static str) -> Tool {
    let install = ["install", "--yes", "--no-install-recommends", package];
    Tool {
        proof,
        purpose,
        installation: vec![
            Chore::new("apt-get", ["update"]),
            Chore::new("apt-get", install).env("DEBIAN_FRONTEND", "noninteractive"),
        ],
        root_only: true,
    }
}

fn we_are_root(root: &Path) -> bool {
    Chore::new("id", ["--user"])
        .output(root)
        .is_ok_and(|uid| uid.trim() == "0")
}
