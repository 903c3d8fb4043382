//! How soon what is killed for its memory is signalled, and how much comes back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::guest::daemon::{daemon, give_value, knows_of};
use crate::guest::files::{
    self, MIB, available_bytes, kernel_kills, mebibytes_down_to, meminfo_bytes,
};
use crate::guest::program::{Program, busybox};
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// Freeing what the first holds does not hold up the signal for the last.
pub(super) fn ten_large_victims_are_signalled_at_once(report: &mut Report) -> Result<()> {
    // The registry is the daemon's to make; the next finds all of them in it.
    let first = daemon(&["--registered-only"])?;
    let mut large = Vec::new();
    for _ in 0..10 {
        let program = Program::holding(200)?;
        give_value(&program, 1)?;
        large.push(program);
    }
    knows_of(10)?;
    first.end(Signal::TERM)?;
    let kills = kernel_kills()?;
    let mut steady = Program::holding(10)?;
    // The machine is at its kill level from the start.
    let arguments = [
        "--registered-only",
        "--horizon",
        "0",
        "-m",
        "92,91",
        "--recover",
        "93",
    ];
    let mut daemon = Program::start(std::process::Command::new("/bin/user-oom").args(arguments))?;
    let mut signalled = vec![None; large.len()];
    wait::until("all are signalled", LIMIT, || {
        // Without a pause, as soon as there is something to see.
        loop {
            for (when, program) in signalled.iter_mut().zip(&large) {
                if when.is_none() && is_signalled(program.pid()) {
                    *when = Some(Instant::now());
                }
            }
            let seen = signalled.iter().flatten().count();
            if seen == 0 || seen == large.len() {
                return Ok(seen > 0);
            }
        }
    })?;
    let first = signalled
        .iter()
        .flatten()
        .min()
        .context("none was signalled")?;
    let last = signalled
        .iter()
        .flatten()
        .max()
        .context("none was signalled")?;
    for program in &mut large {
        program.ends_within(LIMIT)?;
    }
    report.figure(
        "from the first signal to the last",
        format!("{:?}", last.duration_since(*first)),
    )?;
    report.figure("until all are gone", format!("{:?}", first.elapsed()))?;
    daemon.mentions("freed ")?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    steady.has_to_live("one without a value")?;
    daemon.end(Signal::TERM)
}

/// Whether SIGKILL is pending for a process, or it has ended.
fn is_signalled(pid: u32) -> bool {
    let Ok(status) = files::text(format!("/proc/{pid}/status")) else {
        return true;
    };
    let pending = |key: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(key));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or(0) & 1 << 8 != 0
    };
    let is_zombie = status.contains("State:\tZ") || status.contains("State:\tX");
    is_zombie || !status.contains("VmRSS:") || pending("SigPnd:") || pending("ShdPnd:")
}

/// Perl, which every Debian has, maps memory as asked: by the numbers of x86-64's
/// calls. `taken` has BYTES of memory of its own or of the others that FLAGS say, and
/// writes to all of it.
const PERL: &str = r#"
    $| = 1;
    sub taken { my ($bytes, $flags) = @_;
        my $at = syscall(9, 0, $bytes, 3, $flags, -1, 0);
        open my $zero, '<', '/dev/zero';
        syscall(0, fileno($zero), $at + $_ * (1 << 20), 1 << 20) for 0 .. ($bytes >> 20) - 1;
        return $at;
    }
    sub look { my ($at, $bytes, $step) = @_;
        open my $sink, '>', '/dev/shm/sink';
        for (my $i = 0; $i < $bytes; $i += $step) { syscall(18, fileno($sink), $at + $i, 1, 0) }
    }
    sub half_random { my ($at, $bytes) = @_;
        open my $random, '<', '/dev/urandom';
        for (my $i = 0; $i < $bytes; $i += 4096) { syscall(0, fileno($random), $at + $i, 2048) }
    }
    $bytes = 100 << 20;
"#;

/// Private, anonymous; shared with what is forked.
const KINDS: [(&str, &str); 7] = [
    ("private pages", "taken($bytes, 0x22);"),
    (
        // 24 GiB of which nothing is written, a page table for each 2 MiB.
        "page tables",
        "$at = syscall(9, 0, 24 << 30, 1, 0x4022, -1, 0); look($at, 24 << 30, 2 << 20);",
    ),
    (
        "pages of a forked family",
        "$at = taken($bytes, 0x22); if (!fork) { look($at, $bytes, 4096); print \"holding\\n\"; sleep }",
    ),
    (
        "shared memory of a unit",
        "$at = taken($bytes, 0x21); if (!fork) { look($at, $bytes, 4096); print \"holding\\n\"; sleep }",
    ),
    (
        "a file in tmpfs that stays",
        "taken(20 << 20, 0x22); open F, '>', '/dev/shm/file'; syswrite F, 'x' x (1 << 20) for 1 .. 60; close F;",
    ),
    (
        "a file in tmpfs that only it has open",
        "taken(20 << 20, 0x22); open F, '>', '/dev/shm/file'; syswrite F, 'x' x (1 << 20) for 1 .. 60; \
         unlink '/dev/shm/file';",
    ),
    (
        // By madvise(2), MADV_PAGEOUT.
        IN_ZRAM,
        "$at = taken($bytes, 0x22); half_random($at, $bytes); syscall(28, $at, $bytes, 21);",
    ),
];

const IN_ZRAM: &str = "pages in zram that compress to a half";

/// What a kill is planned to free, beside what came back, for each kind of memory.
pub(super) fn what_comes_back_is_what_was_planned(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    for (kind, script) in KINDS {
        if kind == IN_ZRAM {
            // So that the swap is as short as the memory.
            files::write("/sys/block/zram0/disksize", &(108 * MIB).to_string())?;
            busybox(&["mkswap", "/dev/zram0"])?;
            busybox(&["swapon", "/dev/zram0"])?;
        }
        let (planned, freed) = planned_and_freed(script).with_context(|| kind.to_owned())?;
        report.figure(kind, format!("planned {planned} MiB, freed {freed} MiB"))?;
        // But for what is open and not mapped, which is not seen.
        let is_seen = !kind.ends_with("only it has open");
        let near = planned / 10 + NOISE_MEBIBYTES;
        ensure!(
            !is_seen || planned.abs_diff(freed) <= near,
            "{kind}: planned {planned} MiB, freed {freed} MiB"
        );
        let _ = fs::remove_file("/dev/shm/file");
    }
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// By which available memory differs from one second to the next.
const NOISE_MEBIBYTES: u64 = 4;

/// In MiB, of one process and what it forks.
fn planned_and_freed(script: &str) -> Result<(u64, u64)> {
    let forks = script.contains("fork");
    let script = format!("{PERL}{script} print \"holding\\n\"; sleep");
    let mut holder = Program::start(std::process::Command::new("perl").args(["-e", &script]))?;
    holder.says("holding")?;
    if forks {
        holder.says("holding")?;
    }
    let arguments = ["--registered-only", "--horizon", "0", "--pause", "off"];
    let mut daemon = daemon(&[&arguments[..], &["-r", "1"]].concat())?;
    give_value(&holder, 1)?;
    knows_of(1)?;
    // What is shared is measured in the rounds that follow.
    for _ in 0..4 {
        daemon.mentions(" MiB available (")?;
    }
    let compression = Compression::now()?;
    let before = compression.settled_pool()?;
    let taken = mebibytes_down_to(4)?;
    let mut taking = Program::role(&["take", &taken.to_string()])?;
    taking.says("ready")?;
    taking.go()?;
    let kill = daemon.mentions("kill pid=")?;
    let (_, frees) = kill.split_once(" frees=").context("no `frees=`")?;
    let (frees, _) = frees.split_once("MiB").context("not in MiB")?;
    taking.says("holding")?;
    daemon.mentions("freed ")?;
    holder.ends_within(LIMIT)?;
    let after = compression.settled_pool()?;
    daemon.end(Signal::TERM)?;
    Ok((
        frees.parse()?,
        ((after >> 20) + taken).saturating_sub(before >> 20),
    ))
}

/// How much of what zram holds it takes of memory (`mm_stat`, admin-guide/blockdev/zram
/// of the kernel).
#[derive(Clone, Copy)]
struct Compression {
    swapped: u64,
    used: u64,
}

impl Compression {
    fn now() -> Result<Self> {
        let stat = files::text("/sys/block/zram0/mm_stat")?;
        let numbers: Vec<u64> = stat
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context("not a number in mm_stat")?;
        let [swapped, _, used, ..] = numbers[..] else {
            bail!("too few numbers in mm_stat: {stat}");
        };
        Ok(Self { swapped, used })
    }

    /// Available memory, once it has settled, and what filling the rest of the swap
    /// would gain.
    fn settled_pool(self) -> Result<u64> {
        let available = settled_available()?;
        let free = meminfo_bytes("SwapFree")?;
        let takes = free * self.used / self.swapped.max(1);
        Ok(available + free.saturating_sub(takes))
    }
}

/// Once it stays about the same: what has ended is torn down meanwhile.
fn settled_available() -> Result<u64> {
    let mut last = 0;
    wait::until("memory has settled", LIMIT, || {
        let now = available_bytes()?;
        let is_still = now.abs_diff(last) < 1 << 20;
        last = now;
        Ok(is_still)
    })?;
    Ok(last)
}
