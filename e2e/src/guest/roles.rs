//! What the helper programs do: take memory, and answer for it.
//!
//! | words | does |
//! |---|---|
//! | `hold MIB` | takes it, says `holding`, waits |
//! | `bomb` | says `ready`; told to go, takes memory at full speed for ever |
//! | `leak MIB` | says `ready`; told to go, takes so much each second for ever |
//! | `creep MIB [MIB]` | takes so much each second at once, for ever; or up to the second, says `holding`, waits |
//! | `swarm COUNT` | has so many others creep, each in a session of its own, says `swarming`, waits |
//! | `hold MIB locked`, `bomb locked` | the same, in memory that cannot be swapped |
//! | `take MIB` | says `ready`; told to go, takes it, says `holding`, waits |
//! | `terminal MIB MIB` | takes the first, and has another hold the second on a terminal of which it holds the master side; says `job` and its pid, then `holding` |
//! | `stuck MIB FILE` | takes it, says `holding`; told to go, writes to the file |
//! | `churn MIB` | takes it, frees it, and again |
//! | `walk MIB` | fills it with noise, says `walking`, and touches all of it for ever |
//! | `work MIB PASSES` | the same so many times, and reads all of it each time |
//! | `brood MIB` | as `walk`, and has children all the while |
//! | `build JOBS STEPS MIB` | runs so many steps, some at a time; says `built` |
//! | `step MIB` | takes it and reads it, and ends: a compiler |
//! | `write DIRECTORY` | told to go, writes small files there without end |
//! | `exec FILE TEXT` | a thread writes the text to the file; told to go, execs |
//! | `watch` | says every level that poll announces |
//! | `job JSON` | one of the arena: see [`super::job`] |
//! | `listen …` | see [`super::listener`] |

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::files::MIB;
use super::{job, listener, module};

/// Plays the role that the words name.
///
/// # Errors
///
/// There is no such role, or it could not go on.
pub fn run(mut words: impl Iterator<Item = String>) -> Result<()> {
    let role = words.next().unwrap_or_default();
    // So that the kernel's log tells one from another.
    fs::write("/proc/self/comm", &role).context("cannot take the name")?;
    match role.as_str() {
        "hold" => {
            let mebibytes = number(words.next())?;
            lock_if_asked(words.next())?;
            hold(mebibytes)
        }
        "take" => {
            let mebibytes = number(words.next())?;
            say("ready")?;
            wait_for_go()?;
            hold(mebibytes)
        }
        "terminal" => terminal(number(words.next())?, number(words.next())?),
        "stuck" => stuck(number(words.next())?, &words.next().context("where?")?),
        "bomb" => {
            lock_if_asked(words.next())?;
            bomb()
        }
        "leak" => {
            say("ready")?;
            wait_for_go()?;
            creep(number(words.next())?)
        }
        "creep" => {
            let mebibytes = number(words.next())?;
            match words.next() {
                None => creep(mebibytes),
                most => creep_up_to(mebibytes, number(most)?),
            }
        }
        "swarm" => swarm(number(words.next())?),
        "churn" => churn(number(words.next())?),
        "walk" => walk(number(words.next())?),
        "work" => work(number(words.next())?, number(words.next())?),
        "brood" => brood(number(words.next())?),
        "build" => build(
            number(words.next())?,
            number(words.next())?,
            &words.next().context("how much?")?,
        ),
        "step" => step(number(words.next())?),
        "write" => write_files(&words.next().context("where?")?),
        "job" => job::run(&words.next().context("which job?")?),
        "exec" => exec(
            words.next().context("where?")?,
            words.next().context("what?")?,
        ),
        "watch" => watch(),
        "listen" => listener::run(words),
        other => bail!("`{other}` is no role"),
    }
}

/// Writes a line for our parent.
///
/// # Errors
///
/// It is gone.
pub fn say(line: &str) -> Result<()> {
    let mut stdout = stdout();
    stdout.write_all(line.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

fn number(word: Option<String>) -> Result<u64> {
    let word = word.context("how much?")?;
    word.parse()
        .with_context(|| format!("`{word}` is no number"))
}

fn wait_for_go() -> Result<()> {
    let len = stdin().read_line(&mut String::new())?;
    ensure!(len > 0, "nobody is there any more");
    Ok(())
}

/// One byte a page is enough to have the page.
fn one_mebibyte() -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut bytes = vec![0; usize::try_from(MIB).unwrap_or(usize::MAX)];
    for first in bytes.iter_mut().step_by(PAGE) {
        *first = 1;
    }
    black_box(bytes)
}

fn hold(mebibytes: u64) -> Result<()> {
    let held: Vec<_> = (0..mebibytes).map(|_| one_mebibyte()).collect();
    say("holding")?;
    // Until whoever started us is gone.
    let _ = stdin().read(&mut [0])?;
    black_box(held);
    Ok(())
}

/// The job's terminal is its controlling one: it is hung up when we end.
fn terminal(mebibytes: u64, jobs_mebibytes: u64) -> Result<()> {
    let held: Vec<_> = (0..mebibytes).map(|_| one_mebibyte()).collect();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    let job = Command::new("/bin/busybox")
        .args(["setsid", "-c", "/init", "role", "hold"])
        .arg(jobs_mebibytes.to_string())
        .stdin(terminal.try_clone()?)
        .stdout(terminal)
        .spawn()
        .context("cannot start the job")?;
    let mut lines = BufReader::new(fs::File::from(master)).lines();
    let said = lines.next().context("the job is silent")??;
    ensure!(said.trim_end() == "holding", "the job says `{said}`");
    say(&format!("job {}", job.id()))?;
    say("holding")?;
    let _ = stdin().read(&mut [0])?;
    black_box((held, lines, job));
    Ok(())
}

/// Where the file's filesystem is frozen, the write ends when it is not.
fn stuck(mebibytes: u64, path: &str) -> Result<()> {
    let held: Vec<_> = (0..mebibytes).map(|_| one_mebibyte()).collect();
    let mut file = fs::File::create(path).with_context(|| format!("cannot make `{path}`"))?;
    say("holding")?;
    wait_for_go()?;
    file.write_all(&[1; 4096])?;
    black_box(held);
    Ok(())
}

fn bomb() -> Result<()> {
    say("ready")?;
    wait_for_go()?;
    let mut held = Vec::new();
    loop {
        held.push(one_mebibyte());
    }
}

fn creep(mebibytes: u64) -> Result<()> {
    creep_up_to(mebibytes, u64::MAX)
}

fn creep_up_to(mebibytes: u64, most: u64) -> Result<()> {
    let pause = Timespec::try_from(Duration::from_secs(1) / u32::try_from(mebibytes)?)?;
    let mut held = Vec::new();
    for _ in 0..most {
        held.push(one_mebibyte());
        poll(&mut [], Some(&pause))?;
    }
    say("holding")?;
    wait_for_go()
}

fn lock_if_asked(word: Option<String>) -> Result<()> {
    match word.as_deref() {
        None => Ok(()),
        Some("locked") => mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
            .context("cannot lock our pages"),
        Some(other) => bail!("`{other}` means nothing here"),
    }
}

fn churn(mebibytes: u64) -> Result<()> {
    say("churning")?;
    loop {
        let held: Vec<_> = (0..mebibytes).map(|_| one_mebibyte()).collect();
        black_box(held);
    }
}

/// A file in memory that is a byte longer for each time that this process has gone
/// through what it holds.
#[must_use]
pub fn passes(pid: u32) -> PathBuf {
    format!("/tmp/{pid}.passes").into()
}

fn walk(mebibytes: u64) -> Result<()> {
    let mut pages = noise(mebibytes);
    let mut passed = fs::File::create(passes(std::process::id()))?;
    say("walking")?;
    loop {
        for page in &mut pages {
            page[0] = black_box(page[0].wrapping_add(1));
        }
        passed.write_all(b".")?;
    }
}

fn work(mebibytes: u64, passes_wanted: u64) -> Result<()> {
    let mut pages = noise(mebibytes);
    let mut passed = fs::File::create(passes(std::process::id()))?;
    say("working")?;
    for _ in 0..passes_wanted {
        for page in &mut pages {
            let sum = page
                .iter()
                .fold(0, |sum: u64, word| sum.wrapping_add(*word));
            page[0] = black_box(sum);
        }
        passed.write_all(b".")?;
    }
    Ok(())
}

/// There are some children at any time, and others a moment later.
/// As a fork bomb does that a group cannot be told by its session.
fn swarm(count: u64) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..count {
        let mut child = Command::new("/bin/busybox");
        child.args(["setsid", "/init", "role", "creep", "1"]);
        children.push(child.stdin(Stdio::null()).spawn()?);
    }
    say("swarming")?;
    let _ = stdin().read(&mut [0])?;
    Ok(())
}

fn brood(mebibytes: u64) -> Result<()> {
    const AT_ONCE: usize = 20;
    const BETWEEN: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    thread::spawn(|| -> Result<()> {
        let mut children = VecDeque::new();
        loop {
            poll(&mut [], Some(&BETWEEN))?;
            children.push_back(Command::new("/bin/busybox").args(["sleep", "2"]).spawn()?);
            if children.len() == AT_ONCE
                && let Some(mut eldest) = children.pop_front()
            {
                eldest.wait()?;
            }
        }
    });
    walk(mebibytes)
}

/// As `make -j` does; a step that fails ends it.
fn build(jobs: u64, steps: u64, mebibytes: &str) -> Result<()> {
    say("ready")?;
    wait_for_go()?;
    let mut running = Vec::new();
    for number in 0..steps {
        let mut step = Command::new("/init");
        step.args(["role", "step", mebibytes]).stdin(Stdio::null());
        running.push(step.spawn().context("cannot start a step")?);
        if number + 1 >= jobs {
            ensure!(running.remove(0).wait()?.success(), "a step failed");
        }
    }
    for mut step in running {
        ensure!(step.wait()?.success(), "a step failed");
    }
    say("built")
}

fn step(mebibytes: u64) -> Result<()> {
    let mut pages = noise(mebibytes);
    for _ in 0..20 {
        for page in &mut pages {
            page[0] = black_box(page[0].wrapping_add(1));
        }
    }
    Ok(())
}

/// Which no swap in memory could make smaller.
pub(super) fn noise(mebibytes: u64) -> Vec<Box<[u64]>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut pages = Vec::new();
    for _ in 0..mebibytes * 256 {
        let mut page = vec![0_u64; 512].into_boxed_slice();
        for word in &mut page {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state;
        }
        pages.push(page);
    }
    pages
}

fn write_files(directory: &str) -> Result<()> {
    say("ready")?;
    wait_for_go()?;
    let block = vec![1; 256 * 1024];
    for number in 0_u64.. {
        let path = format!("{directory}/{}-{number}", std::process::id());
        // A full disk is no reason to stop: the names take memory too.
        if fs::write(&path, &block).is_err() {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// The kernel kills the other thread on behalf of the one that execs.
fn exec(path: String, text: String) -> Result<()> {
    thread::spawn(move || fs::write(path, text));
    say("ready")?;
    wait_for_go()?;
    Err(Command::new("/bin/busybox").arg("true").exec()).context("cannot exec")
}

fn watch() -> Result<()> {
    let file = fs::File::open(module::PATH).context("cannot open the notifier")?;
    say("watching")?;
    loop {
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        poll(&mut fds, None)?;
        let mut text = [0; 1024];
        let len = rustix::io::pread(&file, &mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..len]);
        say(&format!(
            "level {}",
            text.lines().next().unwrap_or_default()
        ))?;
    }
}
