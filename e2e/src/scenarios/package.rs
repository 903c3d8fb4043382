//! Debian's package on a machine with systemd, as `cargo xtask dist` made it.
//!
//! What a user types and reads goes to the console: `docs/install.md` is made of it.

use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::guest::files::{MIB, exists, kernel_kills, meminfo_bytes, text};
use crate::guest::program::output_of;
use crate::guest::{Report, wait};

/// Where the package is, below the root, and the user.
pub(crate) const DIRECTORY: &str = "packages";

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

const CONFIGURATION: &str = "/etc/user-oom/config.toml";

/// It holds 150 MiB.
const JOB: &str =
    "systemd-run --quiet --unit job sh -c '(head -c 150M /dev/zero; sleep infinity) | tail'";
const GIVE_A_VALUE: &str = "user-oomctl set $(systemctl show -P MainPID job) 8";

/// It takes all memory, as fast as it can.
const HOG: &str = "systemd-run --wait --unit hog tail /dev/zero";

/// What README.md has a new user do: install it, give a value, see the plan, break the
/// machine, read what happened, and remove it.
pub(super) fn a_new_user_installs_it_and_reads_what_happened(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let begun = Instant::now();
    types("apt install --yes ./user-oom_*.deb")?;
    report.figure(
        "apt install",
        format!("{:.1} s", begun.elapsed().as_secs_f64()),
    )?;
    guards()?;
    types("user-oomctl status")?;
    start_job()?;
    types("user-oomctl list")?;
    types("user-oomctl plan")?;
    break_it(report)?;
    let history = types("user-oomctl history")?;
    let hog = history.split(' ').next().unwrap_or_default();
    types("user-oomctl explain")?;
    let killed = types("journalctl --unit user-oom --output cat --grep 'kill pid='")?;
    ensure!(killed.contains(&format!("kill pid={hog} ")), "{killed}");
    ensure!(kernel_kills()? == kills, "the kernel killed");
    types("apt purge --yes user-oom")?;
    for path in [
        "/usr/bin/user-oom",
        "/etc/user-oom",
        "/var/lib/user-oom",
        "/run/user-oom",
        "/tmp/user_processes",
    ] {
        ensure!(!exists(path), "`{path}` is left");
    }
    output_of(&["systemctl", "stop", "job"]).map(|_| ())
}

/// The version before, which differs in its number alone: what the user has changed and
/// given stays, and the new daemon guards.
pub(super) fn an_upgrade_keeps_what_was_configured_and_guards(report: &mut Report) -> Result<()> {
    types("dpkg-deb --raw-extract user-oom_*.deb before")?;
    types("sed -i 's/^Version: .*/Version: 0.1.0/' before/DEBIAN/control")?;
    types("dpkg-deb -Zgzip -z1 --build before before.deb")?;
    types("dpkg --install before.deb")?;
    ensure!(installed()? == "0.1.0");
    let before = main_pid()?;
    start_job()?;
    types(&format!("echo '# mine' >> {CONFIGURATION}"))?;
    let configuration = text(CONFIGURATION)?;
    types("apt install --yes ./user-oom_*.deb")?;
    ensure!(installed()? != "0.1.0");
    ensure!(text(CONFIGURATION)? == configuration, "it is overwritten");
    guards()?;
    ensure!(main_pid()? != before, "the daemon was not restarted");
    knows_of_the_job()?;
    types("user-oomctl list")?;
    break_it(report)?;
    output_of(&["systemctl", "stop", "job"])?;
    types("dpkg --purge user-oom").map(|_| ())
}

fn guards() -> Result<()> {
    let said = types("systemctl is-active user-oom")?;
    ensure!(said.trim() == "active", "the daemon is {said}");
    Ok(())
}

/// As a service of its own, with a value that the daemon knows of.
fn start_job() -> Result<()> {
    let before = meminfo_bytes("MemAvailable")?;
    types(JOB)?;
    wait::until("the job holds its memory", LIMIT, || {
        Ok(before.saturating_sub(meminfo_bytes("MemAvailable")?) > 140 * MIB)
    })?;
    types(GIVE_A_VALUE)?;
    knows_of_the_job()?;
    wait::until("the job has grown", LIMIT, || {
        Ok(!output_of(&["user-oomctl", "list"])?.contains("while it grows"))
    })
}

fn knows_of_the_job() -> Result<()> {
    wait::until("the daemon knows of the job", LIMIT, || {
        let said = output_of(&["user-oomctl", "status"])?;
        let registered = said.lines().find(|line| line.contains("registered"));
        Ok(registered.is_some_and(|line| line.ends_with(" 1")))
    })
}

/// The hog is killed, and the job is not.
fn break_it(report: &mut Report) -> Result<()> {
    // Whether that counts as a success depends on the signal.
    let Ran { printed, .. } = run(HOG)?;
    ensure!(printed.contains("code=killed"), "nothing has killed it");
    report.figure("the hog", printed.trim().replace('\n', "; "))?;
    let said = types("systemctl is-active job")?;
    ensure!(said.trim() == "active", "the job is {said}");
    Ok(())
}

/// As a user does in a shell, with what it prints on the console; what it prints.
fn types(line: &str) -> Result<String> {
    let Ran { success, printed } = run(line)?;
    ensure!(success, "`{line}` failed: {printed}");
    Ok(printed)
}

struct Ran {
    success: bool,
    printed: String,
}

fn run(line: &str) -> Result<Ran> {
    say(&format!("$ {line}\n"));
    let done = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(Path::new("/").join(DIRECTORY))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    say(&printed);
    Ok(Ran {
        success: done.status.success(),
        printed,
    })
}

fn say(text: &str) {
    // A console that takes nothing is no reason to fail.
    let _ = stderr().write_all(text.as_bytes());
}

fn installed() -> Result<String> {
    let version = "--showformat=${Version}";
    output_of(&["dpkg-query", "--show", version, "user-oom"])
}

fn main_pid() -> Result<String> {
    output_of(&["systemctl", "show", "-P", "MainPID", "user-oom"])
}
