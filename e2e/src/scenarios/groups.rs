//! Many processes that are one matter: however many a group has, it is one.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::guest::daemon::{daemon, give_value, give_value_to, knows_of};
use crate::guest::files::kernel_kills;
use crate::guest::program::{Program, output_of};
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(180);

const SWARM: u64 = 300;
const AGENTS: usize = 20;
/// What each agent runs beside its tool.
const HELPERS: usize = 15;

/// 300 of root's, each in a session of its own, take memory; two registered jobs
/// are worth 9 and 8, and stand still: those stay.
pub(super) fn three_hundred_sessions_go_before_two_jobs(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut train = Program::holding(200)?;
    let mut database = Program::holding(120)?;
    let mut daemon = daemon(&["--grace", "2"])?;
    give_value(&train, 9)?;
    give_value(&database, 8)?;
    knows_of(2)?;
    let mut swarm = Program::role(&["swarm", &SWARM.to_string()])?;
    swarm.says("swarming")?;
    daemon.mentions("kill pid=")?;
    wait::until(
        "most of them are gone",
        LIMIT,
        || Ok(running("creep")? < 20),
    )?;
    let left = running("creep")?;
    train.has_to_live("the job worth 9")?;
    database.has_to_live("the job worth 8")?;
    daemon.has_to_live("the daemon")?;
    report.figure("left of the 300", left)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// A shell starts its worker again each time; after two kills it goes too. A steady
/// job stays.
pub(super) fn a_worker_that_comes_back_goes_with_its_shell(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut steady = Program::holding(60)?;
    let mut daemon = daemon(&["--registered-only", "--grace", "1", "--pause", "off"])?;
    let shell = "while :; do /bin/test_proc1 --value 3 --rate-mib-s 40; done";
    let mut supervisor =
        Program::start(std::process::Command::new("/bin/busybox").args(["sh", "-c", shell]))?;
    give_value(&steady, 5)?;
    let said = daemon.mentions("comes-back pid=")?;
    ensure!(
        said.contains(" kills=2"),
        "after more than two kills: {said}"
    );
    supervisor.ends_within(LIMIT)?;
    daemon.mentions("freed ")?;
    steady.has_to_live("the job")?;
    daemon.has_to_live("the daemon")?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// A user's tmux has 20 agents, each with a shell, helpers and a tool; one tool
/// takes all memory. It alone goes.
pub(super) fn of_twenty_agents_one_tool_goes(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    run("useradd --create-home --shell /bin/bash ada")?;
    // A session of hers, which tmux outlives.
    let start = format!(
        "su - ada -c 'tmux new-session -d -s fleet agent; \
         for i in $(seq 2 {AGENTS}); do tmux new-window -t fleet agent; done'"
    );
    let agent = format!(
        "#!/bin/bash\n\
         for i in $(seq {HELPERS}); do sleep 100000 & done\n\
         while :; do\n\
         if [ \"$TMUX_PANE\" = %7 ] && [ -e /tmp/go ] && [ ! -e /tmp/gone ]; then\n\
         touch /tmp/gone; /init role creep 200\n\
         fi\nsleep 1\ndone\n"
    );
    fs::write("/usr/local/bin/agent", agent).context("cannot write the agent")?;
    run("chmod 755 /usr/local/bin/agent")?;
    run(&start)?;
    let all = AGENTS * HELPERS;
    // Each agent waits by a sleep of its own, now and then between two of them.
    wait::until("all agents run", LIMIT, || {
        Ok(running("agent")? == AGENTS && running("sleep")? >= all)
    })?;
    let mut daemon = daemon(&["--grace", "2"])?;
    fs::write("/tmp/go", "").context("cannot write")?;
    let killed = daemon.mentions("kill pid=")?;
    ensure!(killed.contains("name=creep"), "not the tool: {killed}");
    wait::until("the tool is gone", LIMIT, || Ok(running("creep")? == 0))?;
    daemon.mentions("freed ")?;
    ensure!(running("agent")? == AGENTS, "an agent is gone");
    ensure!(running("sleep")? >= all, "a helper is gone");
    ensure!(running("tmux: server")? == 1, "tmux is gone");
    daemon.has_to_live("the daemon")?;
    report.figure("agents that live", running("agent")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// What root runs in a container of podman is no service of the machine.
pub(super) fn of_roots_containers_the_worthless_goes(report: &mut Report) -> Result<()> {
    set_up_podman()?;
    of_two_containers("", report)
}

/// For root.
pub(super) fn set_up_podman() -> Result<()> {
    // There is no overlay here.
    let storage = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n\
                   graphroot = \"/var/lib/containers/storage\"\n";
    fs::write("/etc/containers/storage.conf", storage).context("cannot configure podman")?;
    run("rm -rf /var/lib/containers")?;
    make_image()
}

/// Nor is what a user runs in one, who is root in there.
pub(super) fn of_a_users_containers_the_worthless_goes(report: &mut Report) -> Result<()> {
    add_ada()?;
    make_image()?;
    of_two_containers("ada", report)
}

/// A user with a service manager of her own.
pub(super) fn add_ada() -> Result<()> {
    run("useradd --create-home --shell /bin/bash ada && loginctl enable-linger ada")?;
    wait::until("her systemd runs", LIMIT, || {
        Ok(run("systemctl is-active user@$(id -u ada)").is_ok())
    })
}

/// What a container has for its root: us.
pub(super) fn make_image() -> Result<()> {
    run("mkdir -p /image && cp /init /image/init && chmod -R a+rwX /image")
}

/// Two containers, of which one takes all memory; the other is registered from
/// the outside.
fn of_two_containers(user: &str, report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let driver = match user {
        "" => "",
        _ => "--storage-driver=vfs",
    };
    let start = |name: &str, role: &str| {
        let command = format!(
            "podman {driver} run --detach --interactive --name {name} --network=none \
             --rootfs /image /init role {role}"
        );
        if user.is_empty() {
            return run(&command);
        }
        run(&format!(
            "cd / && XDG_RUNTIME_DIR=/run/user/$(id -u {user}) setpriv --reuid {user} --regid {user} \
             --init-groups env HOME=/home/{user} {command}"
        ))
    };
    start("valuable", "hold 150")?;
    wait::until("the first holds its memory", LIMIT, || {
        Ok(running("hold")? == 1)
    })?;
    let mut daemon = daemon(&["--grace", "2", "--horizon", "0"])?;
    let pid = pid_of("hold")?;
    give_value_to(pid, 50)?;
    knows_of(1)?;
    start("worthless", "creep 200")?;
    let killed = daemon.mentions("kill pid=")?;
    ensure!(killed.contains("name=creep"), "not that: {killed}");
    wait::until("it is gone", LIMIT, || Ok(running("creep")? == 0))?;
    daemon.mentions("freed ")?;
    ensure!(running("hold")? == 1, "the registered one is gone");
    daemon.has_to_live("the daemon")?;
    report.figure(
        "cgroup",
        fs::read_to_string(format!("/proc/{pid}/cgroup"))?.trim(),
    )?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    // As the first process of its container it ignores the machine's SIGTERM, which
    // is waited for.
    run("pkill --signal KILL --exact hold")
}

fn pid_of(name: &str) -> Result<u32> {
    let said = output_of(&["pgrep", "--exact", name])?;
    (said.parse()).with_context(|| format!("`{said}` is no pid"))
}

/// How many processes of this name there are.
fn running(name: &str) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let path = entry.context("cannot list processes")?.path();
        // One that has ended meanwhile has none.
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let is_zombie = stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'));
        count += usize::from(comm.trim_end() == name && !is_zombie);
    }
    Ok(count)
}

fn run(words: &str) -> Result<()> {
    output_of(&["/bin/sh", "-c", words]).map(|_| ())
}
