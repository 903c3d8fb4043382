//! The programs of others that we need, and how to get them.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use super::say;

/// A program, and the Debian package that has it.
const TOOLS: [(&str, &str); 3] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
];

/// Sees to it that they are there: root's are installed, anyone else is told.
pub(crate) fn provide() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    if rustix::process::geteuid().is_root() {
        say(format_args!("installing {}", missing.join(", ")))?;
        // What the list of packages lacks shows in the next command.
        let _ = Command::new("apt-get").arg("update").status();
        let _ = Command::new("apt-get")
            .args(&install)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
    }
    match self::missing().is_empty() {
        true => Ok(()),
        false => bail!("these are missing; as root: apt-get {}", install.join(" ")),
    }
}

fn missing() -> Vec<&'static str> {
    TOOLS
        .iter()
        .filter(|(program, _)| !is_in_path(program))
        .map(|(_, package)| *package)
        .collect()
}

fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
