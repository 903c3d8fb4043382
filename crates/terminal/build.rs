//! Which commit a release build was made of, for `--version`.
//!
//! A debug build does not say, so that a commit compiles nothing anew.

#![allow(clippy::print_stdout, reason = "that is how Cargo is told")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // For a source without a repository.
    println!("cargo::rerun-if-env-changed=USER_OOM_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = std::env::var("USER_OOM_COMMIT").ok();
    let commit = commit.or_else(|| is_release.then(commit_of_repository).flatten());
    match commit {
        Some(commit) => println!("cargo::rustc-env=USER_OOM_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=USER_OOM_VERSION={version}"),
    }
}

fn commit_of_repository() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["describe", "--always", "--dirty", "--exclude=*"])
}

fn git(words: &[&str]) -> Option<String> {
    let done = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    (done.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
