//! A job of a contest: a process that holds memory, as its line of the file says.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags};
use serde::{Deserialize, Serialize};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::files::{self, MIB, PAGE};
use super::roles::noise;
use crate::arena::{Holds, Job};

/// Where values are given.
pub(super) const REGISTRY: &str = "/tmp/user_processes";

/// Where each job says how far it is: in a directory that is named after its process, it
/// and each of its children in a file that is.
pub(super) const PROGRESS: &str = "/run/arena";

const KIB: u64 = 1 << 10;

/// The tmpfs that is filled.
pub(super) const FILLED: &str = "/run/filled";

/// Between two rounds.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// One that was paused does not catch up.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

/// A job, and where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) job: Job,
    /// The directory of the cgroup that it is to be in, if that is not ours.
    pub(super) cgroup: Option<PathBuf>,
    /// What it maps.
    pub(super) file: Option<PathBuf>,
    /// How long an hour takes.
    pub(super) hour_s: f64,
    /// Whose child it is.
    pub(super) parent: Option<u32>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How often it has touched all of its memory.
    pub(super) passes: u64,
    /// How long after its start it saved last.
    pub(super) saved: Duration,
    /// How much memory it went through: took, wrote to or read.
    pub(super) worked_kib: u64,
}

impl Progress {
    /// Of a process that may never have come so far.
    pub(super) fn of(pid: u32) -> Self {
        let directory = Path::new(PROGRESS).join(pid.to_string());
        let mut own = Self::read(&directory.join(pid.to_string()));
        let files = fs::read_dir(&directory).into_iter().flatten().flatten();
        own.worked_kib = files.map(|file| Self::read(&file.path()).worked_kib).sum();
        own
    }

    fn read(path: &Path) -> Self {
        let said = fs::read(path).unwrap_or_default();
        let number = |at: usize| {
            let bytes = said.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        Self {
            passes: number(0),
            saved: Duration::from_millis(number(8)),
            worked_kib: number(16),
        }
    }

    fn say(self, to: &File) -> Result<()> {
        let saved = u64::try_from(self.saved.as_millis())?;
        let numbers = [self.passes, saved, self.worked_kib];
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        to.write_all_at(&bytes, 0).context("cannot tell how far")
    }
}

/// How a job is started: one that ignores SIGTERM inherits that from a shell.
pub(super) fn command(place: &Place) -> Result<Command> {
    let text = serde_json::to_string(place).context("cannot write a job down")?;
    let mut command = if place.job.ignores_term {
        let mut shell = Command::new("/usr/bin/busybox");
        shell.args(["sh", "-c", r#"trap "" TERM; exec "$@""#, "sh", "/init"]);
        shell
    } else {
        Command::new("/init")
    };
    command.args(["role", "job", &text]).stdin(Stdio::piped());
    Ok(command)
}

/// The file that a job maps, of its start's size.
pub(super) fn make_file(job: &Job, path: &Path) -> Result<()> {
    let mut file = File::create_new(path).context("cannot make a file")?;
    let block = block();
    for _ in 0..job.start_mib {
        file.write_all(&block).context("cannot write a file")?;
    }
    file.sync_all().context("cannot write a file")
}

/// What a registry's entry of it says.
fn entry(job: &Job, hour_s: f64) -> Option<String> {
    let value = job.value?;
    Some(match job.hourly {
        Some(hourly) => format!("{value} +{:.0}/h\n", f64::from(hourly) * 3600.0 / hour_s),
        None => format!("{value}\n"),
    })
}

/// The role `job JSON`.
pub(super) fn run(text: &str) -> Result<()> {
    let place: Place = serde_json::from_str(text).context("that is no job")?;
    let job = &place.job;
    if let Some(cgroup) = &place.cgroup {
        files::write(cgroup.join("cgroup.procs"), "0")?;
    }
    fs::write("/proc/self/comm", &job.name).context("cannot take the name")?;
    if job.session {
        rustix::process::setsid().context("cannot have a session")?;
    }
    if let Some(adj) = job.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", adj.to_string()).context("cannot be adjusted")?;
    }
    let pid = std::process::id();
    let registered = Path::new(REGISTRY).join(pid.to_string());
    if let Some(entry) = entry(job, place.hour_s) {
        fs::write(&registered, entry).context("cannot register")?;
    }
    let directory = Path::new(PROGRESS).join(place.parent.unwrap_or(pid).to_string());
    fs::create_dir_all(&directory).context("cannot tell how far")?;
    let tell = File::create(directory.join(pid.to_string())).context("cannot tell how far")?;
    let mut progress = Progress::default();
    let began = Instant::now();
    let mut children = children(&place)?;
    let mut memory = Memory::new(&place)?;
    let mut wanted = f64::from(job.start_mib);
    let most = job
        .max_mib
        .map_or(f64::INFINITY, |max| f64::from(max.max(job.start_mib)));
    let mut last = Instant::now();
    loop {
        let mut worked_kib = memory.grow_to(wanted)?;
        if job.touching || job.holds == Holds::File {
            worked_kib += memory.touch()?;
            progress.passes += 1;
        }
        if worked_kib > 0 {
            progress.worked_kib += worked_kib;
            progress.say(&tell)?;
        }
        let age = began.elapsed();
        let every = job.saves_every_s.map(Duration::from_secs_f64);
        if every.is_some_and(|every| progress.saved + every <= age) {
            save(&registered)?;
            progress.saved = age;
            progress.say(&tell)?;
        }
        for child in &mut children {
            let ended = child.try_wait().context("cannot look at a child")?;
            ensure!(ended.is_none() || !job.needs_children, "a child has ended");
        }
        if job.passes.is_some_and(|all| all <= progress.passes) || parent_is_gone()? {
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

/// As `touch -c` does.
fn save(entry: &Path) -> Result<()> {
    let file = File::options().write(true).open(entry);
    let file = file.context("our entry is gone")?;
    let now = SystemTime::now();
    file.set_modified(now).context("cannot say that we saved")
}

fn children(place: &Place) -> Result<Vec<Child>> {
    let job = &place.job;
    let child = Job {
        name: format!("{}-child", job.name),
        value: job.child_value,
        start_mib: job.child_mib,
        children: 0,
        needs_children: false,
        growth_mib_s: 0.0,
        max_mib: None,
        passes: None,
        session: false,
        holds: Holds::Memory,
        oom_score_adj: job.child_oom_score_adj.or(job.oom_score_adj),
        hourly: None,
        saves_every_s: None,
        ..job.clone()
    };
    let child = Place {
        job: child,
        // They inherit it.
        cgroup: None,
        file: None,
        hour_s: place.hour_s,
        parent: Some(std::process::id()),
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
    File(MmapRegion),
}

impl Memory {
    fn new(place: &Place) -> Result<Self> {
        let pid = std::process::id();
        Ok(match place.job.holds {
            Holds::Memory => Self::Own(Vec::new()),
            Holds::Tmpfs => {
                let file = File::create(format!("{FILLED}/{pid}"));
                Self::Tmpfs(file.context("cannot fill a tmpfs")?, 0.0)
            }
            Holds::File => {
                let path = place.file.as_ref().context("it has no file")?;
                let file = File::open(path).context("cannot read its file")?;
                let size = usize::try_from(u64::from(place.job.start_mib) * MIB)?;
                let read = i32::try_from(ProtFlags::READ.bits())?;
                let shared = i32::try_from(MapFlags::SHARED.bits())?;
                let file = Some(FileOffset::new(file, 0));
                let map = MmapRegion::build(file, size, read, shared);
                Self::File(map.context("cannot map its file")?)
            }
        })
    }

    /// Returns how much it took, in KiB.
    fn grow_to(&mut self, wanted_mib: f64) -> Result<u64> {
        let mut taken_kib = 0;
        match self {
            Self::Own(pages) =>
            {
                #[expect(clippy::cast_precision_loss, reason = "pages are few")]
                while pages.len() as f64 / 256.0 + 1.0 <= wanted_mib {
                    pages.extend(noise(1));
                    taken_kib += MIB / KIB;
                }
            }
            Self::Tmpfs(file, written_mib) => {
                while *written_mib + 1.0 <= wanted_mib {
                    // One that is full stays so.
                    if file.write_all(&block()).is_err() {
                        break;
                    }
                    *written_mib += 1.0;
                    taken_kib += MIB / KIB;
                }
            }
            Self::File(..) => {}
        }
        Ok(taken_kib)
    }

    /// Returns how much it went through, in KiB.
    fn touch(&mut self) -> Result<u64> {
        let bytes = match self {
            Self::Own(pages) => {
                for page in pages.iter_mut() {
                    page[0] = black_box(page[0].wrapping_add(1));
                }
                u64::try_from(pages.len())? * PAGE
            }
            Self::Tmpfs(..) => 0,
            Self::File(map) => {
                for at in (0..map.len()).step_by(usize::try_from(PAGE)?) {
                    let byte = map.get_ref::<u8>(at).context("its file ends early")?;
                    black_box(byte.load());
                }
                u64::try_from(map.len())?
            }
        };
        Ok(bytes / KIB)
    }
}

fn block() -> Vec<u8> {
    vec![1; usize::try_from(MIB).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::entry;
    use crate::arena::Contest;

    #[test]
    fn an_entry_has_hours_of_the_contests_length() {
        let said = |hourly: &str| {
            let text = format!(
                "title = ''\nsays = ''\nmemory_mib = 1\nswap = 'none'\nseconds = 1\nhour_s = 6\n\
                 [[job]]\nname = 'a'\nvalue = 30\n{hourly}"
            );
            let contest = Contest::parse(&text).unwrap();
            entry(&contest.jobs[0], contest.hour_s)
        };
        assert_eq!(said("").unwrap(), "30\n");
        assert_eq!(said("hourly = 5").unwrap(), "30 +3000/h\n");
    }
}
