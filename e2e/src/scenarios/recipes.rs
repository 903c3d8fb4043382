//! The recipes of `docs/recipes.md`, as they stand there, under systemd, sshd, cron and
//! tmux. (Those that take no machine of their own are tried by a test of the daemon.)

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::program::{Program, output_of};
use crate::guest::{Report, wait};
use crate::scenarios::groups::{add_ada, make_image};
use crate::scenarios::service;

const PAGE: &str = include_str!("../../../docs/recipes.md");

/// On a machine that is emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// What each program but `hold` does: its child has no value of its own.
const PROGRAM: &str = "#!/bin/sh\nsleep infinity &\nwait\n";

/// Under these names, each has the value that its recipe gives. Two of Ada's agents run:
/// one in a window of tmux, one over ssh. `hold` runs in three containers: two of root's,
/// with Docker and with Compose, and one of hers with Podman.
const VALUES: [(&str, u64); 8] = [
    ("agent", 8),
    ("agent", 8),
    ("assistant", 8),
    ("backup", 20),
    ("database", 50),
    ("hold", 30),
    ("hold", 30),
    ("hold", 30),
];

/// A Compose file's line.
const LABELS: &str = r#"labels: { user-oom.value: "30" }"#;

/// The blocks of code below this heading that are in this language.
pub(super) fn blocks(heading: &str, language: &str) -> Result<Vec<&'static str>> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("there is no recipe for `{heading}`"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks: Vec<_> = section
        .split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .collect();
    ensure!(!blocks.is_empty(), "`{heading}` has no `{language}`");
    Ok(blocks)
}

/// The only such block.
fn block(heading: &str, language: &str) -> Result<&'static str> {
    let blocks = blocks(heading, language)?;
    ensure!(blocks.len() == 1, "`{heading}` has more than one block");
    Ok(blocks[0])
}

/// All in one boot; `user-oomctl list` has the values at last.
pub(super) fn recipes_give_the_values_they_promise(report: &mut Report) -> Result<()> {
    add_ada()?;
    make_image()?;
    for name in ["backup", "assistant", "database"] {
        write(&format!("/usr/local/bin/{name}"), PROGRAM)?;
    }
    write("/home/ada/agent", PROGRAM)?;
    run("chmod 755 /usr/local/bin/* /home/ada/agent")?;
    service::configure(&blocks("Docker, Podman", "toml")?.concat())?;
    // Half a minute later, it is due.
    run("date --set 02:59:25")?;
    write("/run/crontab", block("cron", "crontab")?)?;
    run("crontab /run/crontab && systemctl start cron user-oom")?;
    let begun = Instant::now();

    let mut over_ssh = None;
    let outcome = (|| {
        service_of_systemd()?;
        users_service()?;
        over_ssh = Some(agents()?);
        users_container()?;
        roots_containers()?;
        let mut last = Vec::new();
        let outcome = wait::until("each has its value", LIMIT, || {
            last = values()?;
            Ok(last
                .iter()
                .map(|(name, value)| (&**name, *value))
                .eq(VALUES))
        });
        outcome.with_context(|| format!("the values are {last:?}"))?;
        report.figure(
            "all values are there",
            format!("after {} s", begun.elapsed().as_secs()),
        )?;
        let pid = service::property("database.service", "MainPID")?;
        let explained = output_of(&["user-oomctl", "explain", &pid])?;
        ensure!(explained.contains("value 50"), "{explained}");
        // As the first process of its container it ignores the machine's SIGTERM.
        run("pkill --signal KILL --exact hold")
    })();
    service::show_journal();
    outcome
}

/// Of another user, and with a `/tmp` of its own.
fn service_of_systemd() -> Result<()> {
    let unit = "/etc/systemd/system/database.service";
    let text = "[Service]\nUser=ada\nPrivateTmp=yes\nExecStart=/usr/local/bin/database\n";
    write(unit, text)?;
    write(
        &format!("{unit}.d/override.conf"),
        block("A service of systemd", "ini")?,
    )?;
    run("systemctl daemon-reload && systemctl start database")?;
    starts_without_a_registry(text)
}

/// With the same line, but for where the registry is.
fn starts_without_a_registry(text: &str) -> Result<()> {
    let line = block("A service of systemd", "ini")?.replace("/tmp/user_processes", "/nowhere");
    ensure!(line.contains("/nowhere/"), "the line has another registry");
    let unit = "/etc/systemd/system/unvalued.service";
    write(unit, text)?;
    write(&format!("{unit}.d/override.conf"), &line)?;
    run("systemctl daemon-reload && systemctl start unvalued")?;
    ensure!(service::property("unvalued.service", "ActiveState")? == "active");
    run("systemctl stop unvalued")
}

fn users_service() -> Result<()> {
    let unit = "/home/ada/.config/systemd/user/assistant.service";
    write(unit, "[Service]\nExecStart=/usr/local/bin/assistant\n")?;
    write(
        &format!("{unit}.d/override.conf"),
        block("A user's service", "ini")?,
    )?;
    run("chown --recursive ada: /home/ada/.config")?;
    let start = "export XDG_RUNTIME_DIR=/run/user/$(id -u); \
                 systemctl --user daemon-reload && systemctl --user start assistant";
    output_of(&["su", "-", "ada", "-c", start]).map(|_| ())
}

/// Of podman's, without root.
fn users_container() -> Result<()> {
    let start = "cd / && podman --storage-driver=vfs run --detach --interactive --network=none \
                 --env OOM_VALUE=30 --rootfs /image /init role hold 1";
    output_of(&["su", "-", "ada", "-c", start]).map(|_| ())
}

/// Of Docker's: there is no bridge here, no overlay, nor what loads a profile of AppArmor's.
fn roots_containers() -> Result<()> {
    let daemon = r#"{"bridge": "none", "iptables": false, "storage-driver": "vfs"}"#;
    write("/etc/docker/daemon.json", daemon)?;
    run("systemctl start docker && tar --create --directory=/image . | docker import - image")?;
    run(
        "docker run --detach --interactive --network=none --security-opt apparmor=unconfined \
         --label user-oom.value=30 image /init role hold 1",
    )?;
    ensure!(PAGE.contains(&format!("`{LABELS}`")), "the page has others");
    let hold = "image: image, command: /init role hold 1, network_mode: none, stdin_open: true, \
                security_opt: [\"apparmor=unconfined\"]";
    let services = format!("version: \"3\"\nservices: {{ hold: {{ {hold}, {LABELS} }} }}\n");
    write("/run/compose/docker-compose.yml", &services)?;
    run("cd /run/compose && docker-compose up --detach")
}

/// What is returned holds the connection.
fn agents() -> Result<Program> {
    let lines = block("Agents in tmux, or over ssh", "sh")?;
    let line = |command: &str| {
        let mut lines = lines.lines();
        let line = lines.find(|line| line.starts_with(command));
        line.with_context(|| format!("no line begins with `{command}`"))
    };
    output_of(&["su", "-", "ada", "-c", "tmux new-session -d"])?;
    output_of(&["su", "-", "ada", "-c", line("tmux ")?])?;

    write(
        "/home/ada/.ssh/config",
        "Host host\nHostName localhost\nStrictHostKeyChecking accept-new\n",
    )?;
    run(
        "cd /home/ada/.ssh && ssh-keygen -q -t ed25519 -N '' -f id_ed25519 && \
         cp id_ed25519.pub authorized_keys && chown --recursive ada: . && systemctl start ssh",
    )?;
    Program::start(Command::new("su").args(["-", "ada", "-c", line("ssh ")?]))
}

/// The names and values of all candidates that have a value, in order.
fn values() -> Result<Vec<(String, u64)>> {
    let json = output_of(&["user-oomctl", "list", "--json"])?;
    let plan: Value = serde_json::from_str(&json).with_context(|| json.clone())?;
    let rows = plan["candidates"].as_array();
    let rows = rows.with_context(|| format!("no candidates in {json}"))?;
    let mut values: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["value"].as_u64()?)))
        .collect();
    values.sort();
    Ok(values)
}

/// Makes the directories above it too.
fn write(path: &str, text: &str) -> Result<()> {
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{path}`"))
}

fn run(words: &str) -> Result<()> {
    output_of(&["/bin/sh", "-c", words]).map(|_| ())
}
