//! What the pauser reads, in the simplest way that is right for children of
//! tests.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use model::ProcessId;
use reaper::{Paging, ProcessReader, RunState};

/// Of the signals that are pending.
const SIGKILL: u64 = 1 << 8;
const SIGSTOP: u64 = 1 << 18;

/// PF_SIGNALED of the kernel's sched.h.
const SIGNALED: u64 = 0x400;

/// Where the children are.
const PROC: &str = "/proc";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader;

impl ProcessReader for Reader {
    fn proc_root(&self) -> &Path {
        Path::new(PROC)
    }

    fn state(&self, pid: u32) -> io::Result<Option<(u64, RunState)>> {
        Ok(stat(pid).map(|stat| (stat.start_ticks, stat.state)))
    }

    fn stop_is_answered(&self, pid: u32) -> io::Result<bool> {
        let status = fs::read_to_string(format!("{PROC}/{pid}/status")).unwrap_or_default();
        let is_untraced = status.lines().any(|line| line == "TracerPid:\t0");
        let Some(stat) = stat(pid) else {
            return Ok(false);
        };
        let parent = fs::read_to_string(format!("{PROC}/{}/comm", stat.parent));
        let parent = parent.unwrap_or_default();
        Ok(!is_untraced || stat.leads_a_terminal || parent == "runuser\n")
    }

    fn first_thread_has_ended(&self, pid: u32) -> io::Result<bool> {
        Ok(stat(pid).is_none_or(|stat| stat.state == RunState::Ended))
    }

    fn owner(&self, _: u32) -> io::Result<Option<u32>> {
        Ok(None)
    }

    fn children(&self, parents: &[u32], each: &mut dyn FnMut(ProcessId)) -> io::Result<()> {
        // Few system calls, where the kernel keeps these lists.
        if Path::new("/proc/thread-self/children").exists() {
            let lists = parents.iter().flat_map(|parent| {
                let tasks = fs::read_dir(format!("{PROC}/{parent}/task"));
                tasks.into_iter().flatten().flatten()
            });
            for task in lists {
                let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                list.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .for_each(|pid| tell(pid, stat(pid), each));
            }
            return Ok(());
        }
        for entry in fs::read_dir(PROC)? {
            let name = entry?.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid {
                let stat = stat(pid).filter(|stat| parents.contains(&stat.parent));
                tell(pid, stat, each);
            }
        }
        Ok(())
    }

    fn cgroup(&self, pid: u32) -> io::Result<Option<PathBuf>> {
        let text = fs::read_to_string(format!("{PROC}/{pid}/cgroup")).unwrap_or_default();
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        Ok(cgroup_root().zip(path).map(|(root, path)| root.join(path)))
    }

    fn processes_below(&self, cgroup: &Path, each: &mut dyn FnMut(u32)) -> io::Result<()> {
        let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        text.lines()
            .filter_map(|line| line.parse().ok())
            .for_each(each);
        Ok(())
    }

    fn says_frozen(&self, events: &[u8]) -> bool {
        String::from_utf8_lossy(events).contains("frozen 1")
    }

    fn swapped_bytes(&self, _: u32) -> io::Result<Option<u64>> {
        Ok(Some(0))
    }

    fn swapped_bytes_in(&self, _: &Path) -> Option<u64> {
        None
    }

    fn private_ranges(&self, pid: u32, each: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        let maps = fs::read_to_string(format!("{PROC}/{pid}/maps"))?;
        let heap = maps.lines().find(|line| line.ends_with("[heap]"));
        let addresses = heap.and_then(|line| line.split_once(' ')?.0.split_once('-'));
        let address = |text| u64::from_str_radix(text, 16).ok();
        if let Some((start, end)) = addresses {
            each(address(start).unwrap_or(0)..address(end).unwrap_or(0));
        }
        Ok(())
    }

    fn paging(&self) -> io::Result<Paging> {
        Ok(Paging {
            writeback_bytes: 0,
            swap_total_bytes: 1 << 30,
            swap_free_bytes: 1 << 30,
            in_zram_bytes: 0,
            zram_bytes: 0,
        })
    }
}

fn tell(pid: u32, stat: Option<Stat>, each: &mut dyn FnMut(ProcessId)) {
    if let Some(Stat { start_ticks, .. }) = stat {
        each(ProcessId { pid, start_ticks });
    }
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string(format!("{PROC}/self/mounts")).ok()?;
    let mount = mounts.lines().find(|line| line.contains(" cgroup2 "))?;
    mount.split(' ').nth(1).map(PathBuf::from)
}

struct Stat {
    state: RunState,
    parent: u32,
    leads_a_terminal: bool,
    start_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    // Asked first: a stop is pending until the process is seen stopped.
    let pending = pending_signals(pid);
    let text = fs::read_to_string(format!("{PROC}/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let is_dying = fields.get(6)?.parse::<u64>().ok()? & SIGNALED != 0;
    Some(Stat {
        state: match *fields.first()? {
            _ if is_dying || pending & SIGKILL != 0 => RunState::Ended,
            "T" | "t" => RunState::Stopped,
            "Z" | "X" => RunState::Ended,
            _ if pending & SIGSTOP != 0 => RunState::Stopping,
            _ => RunState::Runs,
        },
        parent: fields.get(1)?.parse().ok()?,
        leads_a_terminal: fields.get(3)?.parse() == Ok(pid) && *fields.get(4)? != "0",
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

fn pending_signals(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("{PROC}/{pid}/status")).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:");
        mask.or_else(|| line.strip_prefix("ShdPnd:"))
    });
    masks
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .fold(0, |all, mask| all | mask)
}
