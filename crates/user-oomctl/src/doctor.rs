//! What a machine lacks for user-oom, each with the command that fixes it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use control::{Reply, Request};
use serde_json::json;
use value_registry::DEFAULT_DIRECTORY;

use crate::error::Error;
use crate::places::DaemonPlaces;
use crate::printer::AnswerPrinter;

/// The kernel's view of processes.
pub(crate) const PROC: &str = "/proc";

/// Other daemons that kill when memory is short, and what ends each for good.
const OTHER_GUARDS: [(&str, &str); 3] = [
    ("earlyoom", "systemctl disable --now earlyoom"),
    ("nohang", "systemctl disable --now nohang nohang-desktop"),
    (
        "systemd-oomd",
        "systemctl disable --now systemd-oomd.service systemd-oomd.socket",
    ),
];

/// What a daemon that guards all users needs: a capability's number and name, and
/// what is missing without it; capabilities(7).
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (5, "CAP_KILL", "kill other users' processes"),
    (19, "CAP_SYS_PTRACE", "see what other users' processes are"),
    (23, "CAP_SYS_NICE", "page out what it pauses, or run first"),
    (
        24,
        "CAP_SYS_RESOURCE",
        "be spared by the kernel, or hear of stalls within a second",
    ),
];

/// Where systemd-tmpfiles finds what is made at boot.
const TMPFILES: [&str; 4] = [
    "etc/tmpfiles.d/user-oom.conf",
    "run/tmpfiles.d/user-oom.conf",
    "usr/local/lib/tmpfiles.d/user-oom.conf",
    "usr/lib/tmpfiles.d/user-oom.conf",
];

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
    let proc = Path::new(PROC);
    let pid = match daemon.ask(&Request::Status) {
        Ok(Reply::Status(status)) => Some(status.pid),
        Ok(_) | Err(_) => None,
    };
    let mut findings = vec![pressure(proc), swap(proc), module(proc, pid)];
    findings.push(registry(Path::new(DEFAULT_DIRECTORY)));
    findings.push(tmpfiles(Path::new("/")));
    findings.extend(others(proc));
    findings.push(answering(pid));
    findings.extend(pid.map(|pid| capabilities(proc, pid)));
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

/// Whether the module is loaded, and the daemon, which is `pid`, listens to it.
fn module(root: &Path, pid: Option<u32>) -> Finding {
    let modules = fs::read_to_string(root.join("modules")).unwrap_or_default();
    let is_loaded = modules.lines().any(|line| line.starts_with("memory_info "));
    let said = fs::read_to_string(root.join("oom_notifier"));
    let listens = |pid| {
        let own = format!("ListenerPid: {pid}");
        said.as_ref()
            .is_ok_and(|said| said.lines().any(|line| line == own))
    };
    let (found, mend) = if !is_loaded {
        (
            "memory_info.ko is not loaded (optional): the kernel does not ask",
            None,
        )
    } else if said.is_err() {
        (
            "memory_info.ko is loaded; only root can see whether user-oom listens to it",
            None,
        )
    } else if pid.is_some_and(listens) {
        ("the kernel asks before it kills (memory_info)", None)
    } else {
        (
            "memory_info.ko is loaded, but user-oom does not listen to it: the kernel does not ask",
            // Where no daemon answers, that is to be mended.
            pid.map(|_| "systemctl restart user-oom"),
        )
    };
    Finding {
        what: "module",
        found: found.to_owned(),
        mend,
    }
}

/// Where users leave values: anyone may write there, and remove what is its own.
fn registry(directory: &Path) -> Finding {
    const OPEN_AND_STICKY: u32 = 0o1777;
    let shown = directory.display();
    let found = match fs::symlink_metadata(directory) {
        Ok(it) if !it.is_dir() => Err(format!("`{shown}` is not a directory")),
        Ok(it) if it.uid() != 0 => Err(format!("`{shown}` belongs to uid {}, not root", it.uid())),
        Ok(it) if it.mode() & 0o7777 != OPEN_AND_STICKY => {
            let mode = it.mode() & 0o7777;
            Err(format!(
                "`{shown}` has mode {mode:o}, not {OPEN_AND_STICKY:o}"
            ))
        }
        Ok(_) => Ok(format!("users may leave values in `{shown}`")),
        Err(err) => Err(format!("`{shown}`: {err}")),
    };
    Finding {
        what: "registry",
        // A daemon of root's makes it so when it starts.
        mend: found.is_err().then_some("systemctl restart user-oom"),
        found: found.unwrap_or_else(|why| why),
    }
}

/// Whether the registry is there before a user can put something in its place, and
/// is not swept.
fn tmpfiles(root: &Path) -> Finding {
    let line = TMPFILES.iter().map(|path| root.join(path));
    let is_there = line.into_iter().any(|path| path.exists());
    Finding {
        what: "tmpfiles",
        found: match is_there {
            true => "systemd makes the registry at boot, and does not sweep it".to_owned(),
            false => "systemd does not know the registry: after 10 days it removes entries, and \
                      a user can put something in the registry's place at boot"
                .to_owned(),
        },
        mend: (!is_there).then_some(
            "install -m 644 dist/tmpfiles.d/user-oom.conf /usr/lib/tmpfiles.d/ && \
             systemd-tmpfiles --create user-oom.conf",
        ),
    }
}

/// Other guards that run.
fn others(root: &Path) -> Vec<Finding> {
    let pids = fs::read_dir(root).into_iter().flatten().flatten();
    let names: Vec<_> = pids
        .filter_map(|pid| fs::read_to_string(pid.path().join("comm")).ok())
        .collect();
    let runs = |guard: &str| {
        let shown = &guard[..guard.len().min(NAME_BYTES)];
        names.iter().any(|name| name.trim_end() == shown)
    };
    let found = OTHER_GUARDS.iter().filter(|(guard, _)| runs(guard));
    found
        .map(|(guard, mend)| Finding {
            what: "other guard",
            found: format!("{guard} runs: two guards kill more than one would"),
            mend: Some(mend),
        })
        .collect()
}

/// Whether a daemon answers.
fn answering(pid: Option<u32>) -> Finding {
    Finding {
        what: "daemon",
        found: match pid {
            Some(pid) => format!("user-oom answers (pid {pid})"),
            None => "no user-oom answers".to_owned(),
        },
        mend: pid.is_none().then_some("systemctl enable --now user-oom"),
    }
}

/// What the daemon may not do.
fn capabilities(root: &Path, pid: u32) -> Finding {
    let status = fs::read_to_string(root.join(format!("{pid}/status"))).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    // What cannot be read is not complained of.
    let effective = effective.unwrap_or(u64::MAX);
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| effective >> number & 1 == 0)
        .map(|(_, name, what)| format!("cannot {what} ({name})"))
        .collect();
    Finding {
        what: "privileges",
        found: match missing.is_empty() {
            true => "it has every capability that it needs".to_owned(),
            false => format!("it {}", missing.join("; it ")),
        },
        mend: (!missing.is_empty()).then_some(
            "run it as root, or with dist/systemd/user-oom.service, which has these capabilities",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A `/` with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            let folder = path.parent().expect("it is in one");
            fs::create_dir_all(folder).expect("the folder is ours");
            fs::write(path, text).expect("the folder is ours");
        }
        root
    }

    #[test]
    fn the_kernel_asks_where_the_daemon_listens_to_the_module() {
        let loaded = ("modules", "memory_info 45056 1 - Live 0x0 (O)\n");
        let check = |files: &[(&str, &str)], pid, want: &str, is_to_be_mended| {
            let finding = module(tree(files).path(), pid);
            assert!(finding.found.contains(want), "{}", finding.found);
            assert_eq!(finding.mend.is_some(), is_to_be_mended, "{want}");
        };
        let of = |listener| [loaded, ("oom_notifier", listener)];
        check(&[("modules", "")], Some(812), "is not loaded", false);
        check(
            &of("0\nListenerPid: 812\n"),
            Some(812),
            "asks before",
            false,
        );
        for listener in ["0\nListenerPid: 0\n", "0\nListenerPid: 813\n"] {
            check(&of(listener), Some(812), "does not listen", true);
            check(&of(listener), None, "does not listen", false);
        }
        check(&[loaded], Some(812), "only root can see", false);
    }

    #[test]
    fn other_guards_are_found_by_their_name_and_each_has_what_ends_it() {
        let root = tree(&[
            ("1/comm", "systemd\n"),
            ("70/comm", "earlyoom\n"),
            ("71/comm", "nohang\n"),
            ("72/comm", "systemd-oomd\n"),
            ("73/comm", "not-earlyoom\n"),
        ]);
        let found = others(root.path());
        let mends: Vec<_> = found.iter().filter_map(|it| it.mend).collect();
        assert_eq!(found.len(), 3);
        for (guard, mend) in OTHER_GUARDS {
            assert!(
                found.iter().any(|it| it.found.starts_with(guard)),
                "{guard}"
            );
            assert!(mends.contains(&mend));
        }
        assert!(others(tree(&[("1/comm", "systemd\n")]).path()).is_empty());
    }

    #[test]
    fn a_daemon_without_a_capability_is_said_to_lack_it() {
        let check = |set: &str| {
            let status = format!("Name:\tuser-oom\nCapEff:\t{set}\n");
            let root = tree(&[("7/status", status.as_str())]);
            capabilities(root.path(), 7)
        };
        assert!(check("000001ffffffffff").mend.is_none());
        let none = check("0000000000000000");
        for (_, name, _) in CAPABILITIES {
            assert!(none.found.contains(name), "{}", none.found);
        }
        // CAP_KILL alone.
        let some = check("0000000000000020");
        assert!(!some.found.contains("CAP_KILL") && some.found.contains("CAP_SYS_NICE"));
        assert!(some.mend.is_some());
        // Another user's may be hidden.
        assert!(capabilities(tree(&[]).path(), 7).mend.is_none());
    }

    #[test]
    fn a_registry_that_is_missing_a_file_or_closed_is_to_be_mended() {
        let root = tree(&[("file", "")]);
        let missing = registry(&root.path().join("none"));
        assert!(missing.mend.is_some(), "{}", missing.found);
        let file = registry(&root.path().join("file"));
        assert!(file.found.contains("not a directory"), "{}", file.found);
        if !nix::unistd::geteuid().is_root() {
            println!("skipped from here: only root can have a registry of root's");
            return;
        }
        let check = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(root.path(), mode).expect("it is ours");
            registry(root.path())
        };
        let closed = check(0o700);
        assert!(closed.found.contains("mode 700"), "{}", closed.found);
        assert!(closed.mend.is_some() && check(0o1777).mend.is_none());
    }

    #[test]
    fn the_line_for_tmpfiles_is_looked_for_where_systemd_does() {
        assert!(tmpfiles(tree(&[]).path()).mend.is_some());
        for path in TMPFILES {
            assert!(
                tmpfiles(tree(&[(path, "")]).path()).mend.is_none(),
                "{path}"
            );
        }
    }
}
