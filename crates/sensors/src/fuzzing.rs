//! The readers of a process's and a cgroup's files, for the fuzz targets.
//!
//! They are private, and what they read is up to any user who names a process,
//! its cgroup or what it maps, or sets a cgroup's limits. `cargo fuzz` sets `cfg(fuzzing)`, and nothing
//! else does.

use std::convert::Infallible;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use model::{Memory, Name, SessionId};

use crate::cgroup::{TRANSIENT_UNITS, container_of_line, unit_of_line};
use crate::file;
use crate::pid_files::{ProcessStatus, Stat, Statm, signed};
use crate::plausible::{self, CgroupFindings, CgroupTexts, V1_KEYS, V2_KEYS};
use crate::share::OwnShare;
use crate::smaps::Nameless;
use crate::ties::Environment;

/// Name; parent, group and session; major faults, threads and start.
#[must_use]
pub fn stat(text: &[u8]) -> Option<(Name, [u32; 3], [u64; 3])> {
    let stat = Stat::parse(text)?;
    Some((
        stat.name,
        [stat.parent, stat.group, stat.session],
        [stat.major_faults, stat.threads, stat.start_ticks],
    ))
}

/// Whether an environment forbids to pause its process, which has no pid that it
/// may name, and `watches` memory pressure or does not.
#[must_use]
pub fn environment(text: &[u8], watches: bool) -> bool {
    let environment = Environment::parse(text);
    let forbids = environment.forbids(|_| false, || Ok::<_, Infallible>(watches));
    forbids.is_ok_and(|why| why.is_some())
}

/// Resident pages, and of them those of files and of shared memory.
#[must_use]
pub fn statm(text: &[u8]) -> Option<(u64, u64)> {
    Statm::parse(text).map(|statm| (statm.resident_pages, statm.shared_pages))
}

/// Process and real user; bytes in swap and in shared memory.
///
/// # Errors
///
/// What would have been right.
pub fn status(text: &[u8]) -> Result<([Option<u32>; 2], [u64; 2]), &'static str> {
    let mut status = ProcessStatus::default();
    for line in text.split(|&byte| byte == b'\n') {
        status.take(line)?;
    }
    Ok((
        [status.process, status.uid],
        [status.swap_bytes, status.shmem_bytes],
    ))
}

/// `oom_score` and `oom_score_adj`.
#[must_use]
pub fn score(text: &[u8]) -> Option<i16> {
    signed(text)
}

/// The session that a line of `cgroup` names, and whether a user logged in to it.
#[must_use]
pub fn unit(line: &[u8]) -> Option<(SessionId, bool)> {
    container_of_line(line)
        .or_else(|| unit_of_line(line, Path::new(TRANSIENT_UNITS)))
        .map(|unit| (unit.session, unit.login))
}

/// What of `machine` is left to a cgroup with these files: the limit, the one that
/// slows down, use, the limit of swap and its use, `memory.stat`. Then what is told of
/// it.
///
/// # Errors
///
/// What is told of files that do not say enough.
pub fn cgroup(
    machine: &Memory,
    is_version_1: bool,
    files: [&[u8]; 6],
) -> (Result<Memory, String>, Vec<String>) {
    let [max, high, usage, swap_max, swap_usage, stat] = files;
    let texts = CgroupTexts {
        max,
        high: Some(high),
        usage,
        swap_max: Some(swap_max),
        swap_usage: Some(swap_usage),
        stat,
    };
    let keys = if is_version_1 { &V1_KEYS } else { &V2_KEYS };
    let mut findings = CgroupFindings::default();
    let room = plausible::room(keys, &texts, None, &mut findings);
    let told = std::iter::from_fn(|| findings.next_unsaid()).map(|found| found.to_string());
    let told = told.collect();
    let memory = room.map(|room| {
        let mut memory = *machine;
        plausible::narrow(&mut memory, &room);
        memory
    });
    (memory.map_err(|unfit| format!("{unfit:?}")), told)
}

/// By `smaps`: a process's parts of nameless shared memory.
#[must_use]
pub fn nameless_bytes(smaps: &File) -> Option<u64> {
    let nameless = Nameless::read(smaps)?;
    let parts = nameless.segments.iter().map(|segment| segment.part_bytes);
    Some(parts.fold(nameless.rest_bytes, u64::saturating_add))
}

/// What of these many bytes, anonymous and in swap, is a process's own by its
/// `smaps_rollup`.
#[must_use]
pub fn own_bytes(rollup: &File, anon_bytes: u64, swap_bytes: u64) -> Option<(u64, u64)> {
    let share = OwnShare::read(rollup)?;
    Some((share.anon.apply(anon_bytes), share.swap.apply(swap_bytes)))
}

/// What is read line by line, by a buffer of `capacity`.
#[must_use]
pub fn lines(file: &File, capacity: usize) -> Option<Vec<(usize, Vec<u8>)>> {
    let mut lines = Vec::new();
    file::for_each_line(file, &mut vec![0; capacity], |line, text| {
        lines.push((line, text.to_vec()));
        ControlFlow::Continue(())
    })
    .ok()?;
    Some(lines)
}
