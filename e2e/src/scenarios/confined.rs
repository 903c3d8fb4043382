//! What the shipped unit of systemd's lets the daemon do, and does not let users do
//! through it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::guest::daemon::knows_of;
use crate::guest::files::{exists, mebibytes_down_to, text, write};
use crate::guest::program::output_of;
use crate::guest::{Report, wait};
use crate::scenarios::service::{
    OPEN, REGISTRY, SERVICE, Unit, drop_in, journal, open_pipe, property, run, show_journal,
};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// Of all memory, what is left available: below the recovery threshold that
/// [`ARGUMENTS`] has, and above where the daemon kills, in percent.
const SHORT_PERCENT: u64 = 20;
const ARGUMENTS: &str = "--force --registered-only --pressure off --memory 4 --recover 40";

/// As the user, who has no name.
const BECOMES_USER: [&str; 4] = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];

/// A process that holds some MiB and may lower what it has raised by itself, as
/// browsers do.
const LOWERS: [&str; 3] = [
    "sh",
    "-c",
    "x=$(head -c 4000000 /dev/zero | tr '\\0' x); echo 300 > /proc/self/oom_score_adj; \
     echo ready; read line; echo 0 > /proc/self/oom_score_adj && echo lowered; read line",
];

/// Over the control socket, a user writes entries that are the user's own and touches
/// none of root's. A process that was raised may lower its `oom_score_adj` afterwards.
/// Where the unit denies what that takes, nothing is written, and nothing raised.
pub(super) fn a_user_registers_with_no_more_rights_than_its_own(_: &mut Report) -> Result<()> {
    let _open = open_pipe()?;
    let outcome = (|| {
        start_with("")?;
        let job = Unit::start("job", &[&BECOMES_USER[..], &LOWERS].concat())?;
        job.says("ready")?;
        let pid = job.property("MainPID")?;
        let entry = format!("{REGISTRY}/{pid}");
        let set = |value| ["user-oomctl", "set", &pid, value];

        as_user(&set("8"))?;
        ensure!(owner_and_mode(&entry)?.0 == 1000, "it is not the user's");
        ensure!(text(&entry)? == "8\n");
        run(&set("50"))?;
        let unset = ["user-oomctl", "unset", &pid];
        let saved = ["user-oomctl", "saved", &pid];
        for words in [&set("100")[..], &unset, &saved] {
            ensure!(as_user(words).is_err(), "{words:?} is done");
            ensure!(owner_and_mode(&entry)?.0 == 0, "{words:?}: not root's");
            ensure!(text(&entry)? == "50\n", "{words:?}: it is changed");
        }

        // It holds little, and comes first because it costs nothing.
        run(&set("0"))?;
        let valuable = Unit::holding("valuable", mebibytes_down_to(SHORT_PERCENT)?)?;
        valuable.give_value(50)?;
        knows_of(2)?;
        until_adj(&pid, "1000")?;
        run(&["systemctl", "stop", "valuable"])?;
        until_adj(&pid, "300")?;
        wait::until("what was raised is forgotten", LIMIT, || {
            Ok(!exists("/run/user-oom/control.aligned"))
        })?;
        write(OPEN, "\n")?;
        job.says("lowered")?;
        until_adj(&pid, "0")?;

        start_with("SystemCallFilter=~setfsuid capset\n")?;
        let before = (owner_and_mode(&entry)?, text(&entry)?);
        let refused = as_user(&set("100")).err().context("it is written")?;
        ensure!(format!("{refused:#}").contains("CAP_SETUID"), "{refused:#}");
        ensure!((owner_and_mode(&entry)?, text(&entry)?) == before);
        let said = "is not raised: cannot drop CAP_SYS_RESOURCE";
        wait::until(said, LIMIT, || Ok(journal()?.contains(said)))?;
        run(&["systemctl", "stop", "job", SERVICE])
    })();
    show_journal();
    outcome
}

/// A link to `/etc` that a user has put in the registry's place leads the daemon
/// nowhere, and no more does a mount; what is removed while it runs is made again. A
/// mount on an entry is seen as such.
pub(super) fn what_a_user_put_in_the_registrys_place_leads_nowhere(_: &mut Report) -> Result<()> {
    const PRECIOUS: &str = "/run/precious";
    let _open = open_pipe()?;
    let outcome = (|| {
        let etc = owner_and_mode("/etc")?;
        let is_registry = || Ok::<_, anyhow::Error>(owner_and_mode(REGISTRY)? == (0, 0o41777));
        let clear = || run(&["rm", "-rf", REGISTRY]);
        let removed = "removed a symbolic link of uid 1000";
        let taken_over = "took over the registry's directory from uid 1000";
        let notes = format!("{REGISTRY}/notes");
        let plants = [
            (&["ln", "-s", "/etc", REGISTRY][..], removed),
            (&["ln", "-s", "/nowhere", REGISTRY], removed),
            (&["mkdir", "-p", &notes], taken_over),
        ];
        for (plant, said) in plants {
            clear()?;
            as_user(plant)?;
            run(&["systemctl", "start", SERVICE])?;
            ensure!(owner_and_mode("/etc")? == etc, "{plant:?}: /etc is changed");
            ensure!(is_registry()?, "{plant:?}: it is no registry");
            wait::until(said, LIMIT, || Ok(journal()?.contains(said)))?;
            run(&["systemctl", "stop", SERVICE])?;
        }

        start_with("")?;
        clear()?;
        wait::until("the registry is made again", LIMIT, || {
            Ok(exists(REGISTRY) && is_registry()?)
        })?;
        let job = Unit::taking("job", 20)?;
        job.give_value(8)?;
        knows_of(1)?;
        let replaced = "the registry's directory was removed or replaced";
        ensure!(journal()?.matches(replaced).count() == 1, "said again");

        let entry = format!("{REGISTRY}/{}", job.property("MainPID")?);
        write("/run/value", "100\n")?;
        run(&["mount", "--bind", "/run/value", &entry])?;
        write("/run/value", "99\n")?;
        run(&["systemctl", "restart", SERVICE])?;
        let said = "something is mounted on it";
        wait::until(said, LIMIT, || Ok(journal()?.contains(said)))?;
        run(&["umount", &entry])?;
        run(&["systemctl", "stop", "job", SERVICE])?;

        clear()?;
        run(&["mkdir", "--mode=755", PRECIOUS, REGISTRY])?;
        write(format!("{PRECIOUS}/passwd"), "")?;
        let precious = owner_and_mode(PRECIOUS)?;
        run(&["mount", "--bind", PRECIOUS, REGISTRY])?;
        run(&["systemctl", "start", SERVICE])?;
        let said = "cannot be the registry: it holds `passwd`";
        wait::until(said, LIMIT, || Ok(journal()?.contains(said)))?;
        ensure!(property(SERVICE, "ActiveState")? == "active", "no guard");
        ensure!(owner_and_mode(PRECIOUS)? == precious, "it is opened");
        run(&["umount", REGISTRY])?;
        wait::until("its place is free", LIMIT, is_registry)?;
        run(&["systemctl", "stop", SERVICE])
    })();
    show_journal();
    outcome
}

/// Restarts the service with these lines beside its own.
fn start_with(lines: &str) -> Result<()> {
    drop_in(&format!(
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/user-oom {ARGUMENTS}\n{lines}"
    ))?;
    run(&["systemctl", "restart", SERVICE])
}

/// Runs a program of the user's to its end.
fn as_user(words: &[&str]) -> Result<String> {
    output_of(&[&BECOMES_USER[..], words].concat())
}

/// Follows no link. The mode has the kind of file, as the kernel gives it.
fn owner_and_mode(path: &str) -> Result<(u32, u32)> {
    let found = fs::symlink_metadata(path).with_context(|| format!("cannot look at `{path}`"))?;
    Ok((found.uid(), found.mode()))
}

fn until_adj(pid: &str, adj: &str) -> Result<()> {
    let what = format!("oom_score_adj of the user's process is {adj}");
    let path = format!("/proc/{pid}/oom_score_adj");
    wait::until(&what, LIMIT, || Ok(text(&path)?.trim() == adj))
}
