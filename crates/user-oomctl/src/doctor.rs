//! What a machine lacks for user-oom, each with the command that mends it.

use std::fs;
use std::path::Path;

use control::{Reply, Request};
use serde_json::json;

use crate::error::Error;
use crate::places::DaemonPlaces;
use crate::printer::AnswerPrinter;

/// The kernel's view of processes.
const PROC: &str = "/proc";

/// Other daemons that kill when memory is short.
const OTHER_GUARDS: [&str; 3] = ["earlyoom", "nohang", "systemd-oomd"];

/// What the kernel has of a name: the first 15 bytes, proc_pid_comm(5).
const NAME_BYTES: usize = 15;

/// One thing that is looked at.
struct Finding {
    what: &'static str,
    found: String,
    /// `None`: it is well.
    mend: Option<&'static str>,
}

/// Prints what is there and what is missing.
///
/// # Errors
///
/// - [`Error::Lacking`]: something is missing.
/// - [`Error::Print`].
pub(crate) fn examine(daemon: &DaemonPlaces, printer: &mut AnswerPrinter) -> Result<(), Error> {
    let root = Path::new(PROC);
    let mut findings = vec![pressure(root), swap(root), module(root)];
    findings.extend(others(root));
    findings.push(answering(daemon, root));
    let is_well = findings.iter().all(|finding| finding.mend.is_none());
    if printer.json {
        let list: Vec<_> = findings
            .iter()
            .map(|it| json!({ "what": it.what, "found": it.found, "mend": it.mend }))
            .collect();
        printer.write_unfolded(&format!("{}\n", json!({ "findings": list })))?;
    } else {
        for finding in &findings {
            let mark = if finding.mend.is_none() { "ok " } else { "-- " };
            printer.write(&format!("{mark}{:<12}{}\n", finding.what, finding.found))?;
            if let Some(mend) = finding.mend {
                printer.write_unfolded(&format!("     {mend}\n"))?;
            }
        }
    }
    match is_well {
        true => Ok(()),
        false => Err(Error::Lacking),
    }
}

fn pressure(root: &Path) -> Finding {
    let is_there = fs::read_to_string(root.join("pressure/memory")).is_ok();
    Finding {
        what: "pressure",
        found: match is_there {
            true => "the kernel says when tasks stall on memory (PSI)".to_owned(),
            false => "the kernel does not say when tasks stall: no pausing, no relief".to_owned(),
        },
        mend: (!is_there).then_some("boot with psi=1 on the kernel's command line"),
    }
}

fn swap(root: &Path) -> Finding {
    let swaps = fs::read_to_string(root.join("swaps")).unwrap_or_default();
    let is_there = swaps.lines().count() > 1;
    Finding {
        what: "swap",
        found: match is_there {
            true => "there is swap, so what is paused can be paged out".to_owned(),
            false => "no swap: nothing is paused, it can only kill".to_owned(),
        },
        mend: (!is_there).then_some(
            "fallocate -l 4G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile",
        ),
    }
}

fn module(root: &Path) -> Finding {
    let modules = fs::read_to_string(root.join("modules")).unwrap_or_default();
    let is_there = modules.lines().any(|line| line.starts_with("memory_info "));
    Finding {
        what: "module",
        found: match is_there {
            true => "the kernel asks before it kills (memory_info)".to_owned(),
            false => "memory_info.ko is not loaded (optional): the kernel does not ask".to_owned(),
        },
        // It is optional.
        mend: None,
    }
}

/// Other guards that run.
fn others(root: &Path) -> Vec<Finding> {
    let pids = fs::read_dir(root).into_iter().flatten().flatten();
    let names: Vec<_> = pids
        .filter_map(|pid| fs::read_to_string(pid.path().join("comm")).ok())
        .collect();
    let runs = |guard: &&&str| {
        let shown = &guard[..guard.len().min(NAME_BYTES)];
        names.iter().any(|name| name.trim_end() == shown)
    };
    let found = OTHER_GUARDS.iter().filter(runs).map(|guard| Finding {
        what: "other guard",
        found: format!("{guard} runs: two guards kill more than one would"),
        mend: Some(match *guard {
            "earlyoom" => "systemctl disable --now earlyoom",
            "nohang" => "systemctl disable --now nohang",
            _ => "systemctl disable --now systemd-oomd",
        }),
    });
    found.collect()
}

/// Whether a daemon answers, and what it may do.
fn answering(daemon: &DaemonPlaces, root: &Path) -> Finding {
    let pid = match daemon.ask(&Request::Status) {
        Ok(Reply::Status(status)) => status.pid,
        Ok(_) | Err(_) => {
            return Finding {
                what: "daemon",
                found: "no user-oom answers".to_owned(),
                mend: Some("systemctl enable --now user-oom"),
            };
        }
    };
    /// To signal all users' processes: capabilities(7).
    const CAP_KILL: u32 = 5;
    let status = fs::read_to_string(root.join(format!("{pid}/status"))).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let may_kill_all = effective.is_none_or(|set| set >> CAP_KILL & 1 == 1);
    Finding {
        what: "daemon",
        found: match may_kill_all {
            true => format!("user-oom answers (pid {pid})"),
            false => format!("user-oom (pid {pid}) may kill its own user's processes only"),
        },
        mend: (!may_kill_all).then_some("run it as root, or with CAP_KILL"),
    }
}
