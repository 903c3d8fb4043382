//! A job of a contest: a process that holds memory, as its line of the file says.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::files::MIB;
use super::roles::noise;
use crate::arena::{Holds, Job};

/// Where values are given.
pub(super) const REGISTRY: &str = "/tmp/user_processes";

/// Where each job says how far it is, in a file that is named after its process.
pub(super) const PROGRESS: &str = "/run/arena";

/// The tmpfs that is filled.
pub(super) const FILLED: &str = "/run/filled";

/// Between two rounds.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// One that was paused does not catch up.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

/// How a job is started: one that ignores SIGTERM inherits that from a shell.
pub(super) fn command(job: &Job) -> Result<Command> {
    let text = serde_json::to_string(job).context("cannot write a job down")?;
    let mut command = if job.ignores_term {
        let mut shell = Command::new("/usr/bin/busybox");
        shell.args(["sh", "-c", r#"trap "" TERM; exec "$@""#, "sh", "/init"]);
        shell
    } else {
        Command::new("/init")
    };
    command.args(["role", "job", &text]).stdin(Stdio::piped());
    Ok(command)
}

/// The role `job JSON`.
pub(super) fn run(text: &str) -> Result<()> {
    let job: Job = serde_json::from_str(text).context("that is no job")?;
    fs::write("/proc/self/comm", &job.name).context("cannot take the name")?;
    if job.session {
        rustix::process::setsid().context("cannot have a session")?;
    }
    if let Some(adj) = job.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", adj.to_string()).context("cannot be adjusted")?;
    }
    let pid = std::process::id();
    if let Some(value) = job.value {
        fs::write(format!("{REGISTRY}/{pid}"), format!("{value}\n")).context("cannot register")?;
    }
    let progress = File::create(format!("{PROGRESS}/{pid}")).context("cannot tell how far")?;
    let mut children = children(&job)?;
    let mut memory = Memory::new(&job)?;
    let mut wanted = f64::from(job.start_mib);
    let most = job
        .max_mib
        .map_or(f64::INFINITY, |max| f64::from(max.max(job.start_mib)));
    let mut passes = 0_u64;
    let mut last = Instant::now();
    loop {
        memory.grow_to(wanted)?;
        if job.touching || job.holds == Holds::File {
            memory.touch()?;
            passes += 1;
            progress
                .write_all_at(&passes.to_le_bytes(), 0)
                .context("cannot tell how far")?;
        }
        for child in &mut children {
            let ended = child.try_wait().context("cannot look at a child")?;
            ensure!(ended.is_none() || !job.needs_children, "a child has ended");
        }
        if job.passes.is_some_and(|all| all <= passes) || parent_is_gone()? {
            black_box((memory, children));
            return Ok(());
        }
        let now = Instant::now();
        let round = (now - last).min(LONGEST_ROUND);
        last = now;
        wanted = (wanted + job.growth_mib_s * round.as_secs_f64()).min(most);
    }
}

/// Pauses, too: nothing is ever written to what we read from.
fn parent_is_gone() -> Result<bool> {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&PAUSE)) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        outcome => Ok(outcome.context("cannot pause")? > 0),
    }
}

fn children(job: &Job) -> Result<Vec<Child>> {
    let child = Job {
        name: format!("{}-child", job.name),
        value: None,
        start_mib: job.child_mib,
        children: 0,
        needs_children: false,
        growth_mib_s: 0.0,
        max_mib: None,
        passes: None,
        session: false,
        ..job.clone()
    };
    let start = |_| {
        let mut command = command(&child)?;
        command.spawn().context("cannot start a child")
    };
    (0..job.children).map(start).collect()
}

/// What it holds.
enum Memory {
    Own(Vec<Box<[u64]>>),
    Tmpfs(File, f64),
    File(File, Vec<u8>),
}

impl Memory {
    fn new(job: &Job) -> Result<Self> {
        let pid = std::process::id();
        Ok(match job.holds {
            Holds::Memory => Self::Own(Vec::new()),
            Holds::Tmpfs => {
                let file = File::create(format!("{FILLED}/{pid}"));
                Self::Tmpfs(file.context("cannot fill a tmpfs")?, 0.0)
            }
            Holds::File => {
                let path = format!("/var/tmp/{pid}");
                let mut file = File::create_new(&path).context("cannot make a file")?;
                for _ in 0..job.start_mib {
                    file.write_all(&block()).context("cannot write a file")?;
                }
                file.sync_all().context("cannot write a file")?;
                Self::File(File::open(&path).context("cannot read a file")?, block())
            }
        })
    }

    fn grow_to(&mut self, wanted_mib: f64) -> Result<()> {
        match self {
            Self::Own(pages) =>
            {
                #[expect(clippy::cast_precision_loss, reason = "pages are few")]
                while pages.len() as f64 / 256.0 + 1.0 <= wanted_mib {
                    pages.extend(noise(1));
                }
            }
            Self::Tmpfs(file, written_mib) => {
                while *written_mib + 1.0 <= wanted_mib {
                    // One that is full stays so.
                    if file.write_all(&block()).is_err() {
                        break;
                    }
                    *written_mib += 1.0;
                }
            }
            Self::File(..) => {}
        }
        Ok(())
    }

    fn touch(&mut self) -> Result<()> {
        match self {
            Self::Own(pages) => {
                for page in pages {
                    page[0] = black_box(page[0].wrapping_add(1));
                }
            }
            Self::Tmpfs(..) => {}
            Self::File(file, block) => {
                let mut at = 0;
                loop {
                    let len = file.read_at(block, at).context("cannot read a file")?;
                    if len == 0 {
                        break;
                    }
                    at += u64::try_from(len)?;
                }
            }
        }
        Ok(())
    }
}

fn block() -> Vec<u8> {
    vec![1; usize::try_from(MIB).unwrap_or_default()]
}
