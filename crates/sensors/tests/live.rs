//! The process table on the machine's own `/proc`, beside what the procfs crate
//! makes of it. All processes started here end here.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use model::Memory;
use procfs::ProcResult;
use procfs::process::Process;
use sensors::{Depth, Executable, Scopes, survey};
use support::Table;

const MIB: u64 = 1 << 20;

/// A shell that runs `script` and lives until its standard input is closed.
struct Shell {
    child: Child,
    input: Option<ChildStdin>,
}

impl Shell {
    /// Starts it, and waits for `lines` lines of it.
    fn start(script: &str, lines: usize) -> (Self, Vec<String>) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("it is piped");
        let told = BufReader::new(output)
            .lines()
            .take(lines)
            .collect::<Result<_, _>>()
            .expect("it tells");
        (Self { child, input }, told)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.end();
    }
}

/// Its first thread ends; of the others each starts the next, and ends.
const HANDS_OVER: &str = "
import ctypes, threading
held = bytearray(b'x' * (8 << 20))
def pass_on():
    threading.Thread(target=pass_on).start()
threading.stack_size(64 << 10)
threading.Thread(target=pass_on).start()
print(flush=True)
ctypes.CDLL(None).pthread_exit(None)
";

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_whose_threads_hand_over_to_each_other_stays_in_sight() {
    let python = Command::new("python3")
        .args(["-c", "import ctypes"])
        .status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: python3 with ctypes is not installed");
        return;
    }
    let child = Command::new("python3")
        .args(["-c", HANDS_OVER])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.unwrap());
    let pid = child.0.id();
    let output = child.0.stdout.take().unwrap();
    let told = BufReader::new(output).lines().next();
    let has_lost_its_first = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('Z')
    };
    while !has_lost_its_first() {
        std::thread::yield_now();
    }
    let mut table = Table::of(Path::new("/proc"));
    let mut lost = None;
    for round in 0..300 {
        let depth = [Depth::Fast, Depth::Held, Depth::Full][round % 3];
        // What else runs here may vanish, or not be ours to read.
        let _ = table.try_scan(depth);
        if table.table.get(pid).is_none() {
            lost = Some((round, depth));
            break;
        }
    }
    drop(child);
    assert!(told.is_some());
    assert_eq!(lost, None);
    table.scan(Depth::Fast);
    assert!(table.table.get(pid).is_none(), "it is gone now");
}

fn check_against_procfs(table: &Table, pid: u32) -> ProcResult<()> {
    let ours = table.get(pid);
    let theirs = Process::new(pid.cast_signed())?;
    let stat = theirs.stat()?;
    let status = theirs.status()?;
    let bytes = |kib: Option<u64>| kib.unwrap_or_default() * 1024;
    assert_eq!(ours.id.start_ticks, stat.starttime);
    assert_eq!(ours.parent, stat.ppid.cast_unsigned());
    assert_eq!(ours.group, stat.pgrp.cast_unsigned());
    assert_eq!(ours.name.as_bytes(), stat.comm.as_bytes());
    assert_eq!(ours.uid, status.ruid);
    assert_eq!(ours.swap_bytes, bytes(status.vmswap));
    assert_eq!(ours.oom_score_adj, theirs.oom_score_adj()?);
    // The kernel counts pages by CPU and tells them roughly.
    assert!(ours.rss_bytes > MIB, "{ours:?}");
    assert!(
        ours.rss_bytes.abs_diff(bytes(status.vmrss)) < 4 * MIB,
        "{ours:?}"
    );
    assert!(
        ours.anon_bytes.abs_diff(bytes(status.rssanon)) < 4 * MIB,
        "{ours:?}"
    );
    assert!(!ours.is_kernel_thread);
    Ok(())
}

#[test]
fn a_child_and_we_are_as_procfs_sees_us() {
    let (child, _) = Shell::start("echo ready; read line", 1);
    let mut table = Table::of(Path::new("/proc"));
    let scan = table.scan(Depth::Full);
    assert!(scan.processes >= 2);
    check_against_procfs(&table, std::process::id()).unwrap();
    check_against_procfs(&table, child.pid()).unwrap();
    assert_eq!(table.get(child.pid()).parent, std::process::id());
    let in_order = table.pids().windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order, "{:?}", table.pids());
}

#[test]
fn an_executable_is_told_with_its_owner() {
    let mut told = None;
    let (child, _) = Shell::start("echo ready; read line", 1);
    let mut table = Table::of(Path::new("/proc"));
    table.survey(Depth::Fast);
    let mut asked = table.asked.iter();
    let request = asked.find(|request| request.id.pid == child.pid());
    let mut recognise = |executable: &Executable<'_>| {
        let path = executable.path().map(<[u8]>::to_vec);
        told = Some((path, executable.is_roots()));
    };
    let root = Path::new("/proc");
    let _ = survey(
        root,
        request.unwrap(),
        &Scopes::default(),
        &mut recognise,
        &|_, _| false,
    );
    let exe = fs::canonicalize(format!("/proc/{}/exe", child.pid())).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&exe).unwrap());
    let path = exe.into_os_string().into_encoded_bytes();
    assert_eq!(told, Some((Some(path), owner == 0)));
}

#[test]
fn a_child_that_was_waited_for_is_gone_from_a_held_scan() {
    let (mut child, _) = Shell::start("echo ready; read line", 1);
    let mut table = Table::of(Path::new("/proc"));
    table.scan(Depth::Full);
    table.scan(Depth::Held);
    assert!(table.table.get(child.pid()).is_some());
    child.end();
    let scan = table.scan(Depth::Held);
    assert!(scan.gone >= 1);
    assert!(table.table.get(child.pid()).is_none());
}

#[test]
fn a_zombie_is_there_and_holds_nothing() {
    let (mut child, _) = Shell::start("echo ready; read line", 1);
    let mut table = Table::of(Path::new("/proc"));
    table.scan(Depth::Fast);
    assert!(table.get(child.pid()).rss_bytes > 0);
    // Its exit closes its output; it stays a zombie until it is waited for.
    let stat = format!("/proc/{}/stat", child.pid());
    drop(child.input.take());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    table.scan(Depth::Full);
    assert_eq!(table.get(child.pid()).rss_bytes, 0);
}

#[test]
fn a_child_whose_program_changes_is_introduced_again() {
    let script = "echo ready; read line; exec cat";
    let (mut child, _) = Shell::start(script, 1);
    let mut table = Table::of(Path::new("/proc"));
    table.scan(Depth::Full);
    assert!(table.introduced.contains(&child.pid()));
    let comm = format!("/proc/{}/comm", child.pid());
    std::io::Write::write_all(child.input.as_mut().unwrap(), b"go\n").unwrap();
    while fs::read_to_string(&comm).unwrap() != "cat\n" {
        std::thread::yield_now();
    }
    table.scan(Depth::Full);
    assert!(table.introduced.contains(&child.pid()));
    assert_eq!(table.get(child.pid()).name.as_bytes(), b"cat");
}

#[test]
fn held_and_fast_scans_of_the_machine_allocate_nothing() {
    // A tree of this process alone: others may start newcomers meanwhile.
    let tree = tempfile::tempdir().unwrap();
    link(tree.path(), std::process::id());
    let mut table = Table::of(tree.path());
    table.scan(Depth::Full);
    for depth in [Depth::Held, Depth::Fast, Depth::Full] {
        let counted = allocation_counter::measure(|| {
            table.table.scan(depth).unwrap();
        });
        assert_eq!(counted.count_total, 0, "{depth:?}");
    }
}

/// Puts the kernel's files of `pid` into a tree.
fn link(tree: &Path, pid: u32) {
    symlink(format!("/proc/{pid}"), tree.join(pid.to_string())).expect("it is not there yet");
}

#[test]
fn pages_that_forked_children_share_count_once() {
    // 48 MiB in a shell and in three children that never write to it.
    let script = "memory=$(head -c 50331648 /dev/zero | tr '\\0' x); exec 3<&0; \
        for child in 1 2 3; do ( echo; read line <&3 ) & echo $!; done; wait";
    let (family, told) = Shell::start(script, 6);
    let children = told.iter().filter_map(|line| line.parse().ok());
    let pids: Vec<u32> = children.chain([family.pid()]).collect();
    assert_eq!(pids.len(), 4, "{told:?}");
    let tree = tempfile::tempdir().unwrap();
    for &pid in &pids {
        link(tree.path(), pid);
    }
    let mut table = Table::of(tree.path());
    table.survey(Depth::Full);
    let sum = |table: &Table| {
        pids.iter()
            .map(|&pid| table.get(pid).anon_bytes)
            .sum::<u64>()
    };
    assert!(sum(&table) > 4 * 48 * MIB, "{:?}", table.table);

    let memory = Memory {
        anon_bytes: 60 * MIB,
        ..Memory::default()
    };
    let path = format!("/proc/{}/smaps_rollup", family.pid());
    let rollup = fs::read_to_string(path).unwrap_or_default();
    if !rollup.contains("Pss_Anon:") {
        println!("skipped, runs since kernel 5.4: no Pss_Anon in smaps_rollup");
        return;
    }
    assert_eq!(table.correct_families(&memory), 4);
    let corrected = sum(&table);
    assert!(corrected > 48 * MIB && corrected < 100 * MIB, "{corrected}");
    table.scan(Depth::Fast);
    assert!(sum(&table).abs_diff(corrected) < 4 * MIB);
}
