//! What pausing reads, of children of the test on the machine's own `/proc`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::{Paging, ProcessId, RunState};
use sensors::{PauseFiles, ProcRoot, ReadError};

const LIMIT: Duration = Duration::from_secs(30);

/// A shell, killed when dropped.
struct Shell(Child);

impl Shell {
    /// Starts `script`, and waits for one line of it.
    fn start(script: &str) -> (Self, String) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut said)
            .expect("it tells");
        (Self(child), said.trim().to_owned())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of a machine in a folder.
fn files_of(folder: &tempfile::TempDir) -> PauseFiles {
    PauseFiles::new(ProcRoot::at(folder.path()), folder.path().join("block"))
}

fn files() -> PauseFiles {
    PauseFiles::new(ProcRoot::at("/proc"), "/sys/block".into())
}

fn state(pid: u32) -> Option<RunState> {
    let state = files().run_state(pid).expect("it can be read");
    state.map(|(_, state)| state)
}

#[track_caller]
fn wait_for(pid: u32, want: RunState) {
    let began = Instant::now();
    while state(pid) != Some(want) {
        assert!(began.elapsed() < LIMIT, "{:?}", state(pid));
        std::thread::yield_now();
    }
}

#[test]
fn a_process_runs_is_stopped_has_ended_or_is_gone() {
    let (shell, _) = Shell::start("echo ready; read line");
    assert_eq!(state(shell.pid()), Some(RunState::Runs));
    let (shell, _) = Shell::start("echo ready; kill -STOP $$");
    wait_for(shell.pid(), RunState::Stopped);
    let (shell, _) = Shell::start("echo ready");
    wait_for(shell.pid(), RunState::Ended);
    let pid = shell.pid();
    drop(shell);
    assert_eq!(state(pid), None);
}

/// What is found of a process whose first thread is in state `first`, a second in
/// state `second`, and for which these signals are pending.
#[track_caller]
fn check_threads(first: &str, second: &str, pending: &str, want: RunState) {
    check_files(first, second, 0, pending, want);
}

/// The same for two threads in one state, whose flags are these.
#[track_caller]
fn check_flagged(state: &str, flags: u64, want: RunState) {
    check_files(state, state, flags, "0000000000000000", want);
}

#[track_caller]
fn check_files(first: &str, second: &str, flags: u64, pending: &str, want: RunState) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let process = folder.path().join("100");
    let stat =
        |state| format!("100 (a) {state} 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 2 0 7 0 0\n");
    for (thread, state) in [("100", first), ("101", second)] {
        let task = process.join("task").join(thread);
        fs::create_dir_all(&task).expect("it is ours");
        fs::write(task.join("stat"), stat(state)).expect("it is ours");
    }
    fs::write(process.join("stat"), stat(first)).expect("it is ours");
    let status = format!("Tgid:\t100\nShdPnd:\t{pending}\n");
    fs::write(process.join("status"), status).expect("it is ours");
    let found = files_of(&folder).run_state(100);
    assert_eq!(found.expect("it makes sense"), Some((7, want)));
    let has_ended = files_of(&folder).first_thread_has_ended(100);
    assert_eq!(has_ended.expect("it makes sense"), first == "Z");
}

#[test]
fn a_stop_shows_in_any_thread_or_is_pending() {
    const NONE: &str = "0000000000000000";
    const SIGSTOP: &str = "0000000000040000";
    check_threads("S", "S", NONE, RunState::Runs);
    check_threads("T", "S", NONE, RunState::Stopped);
    check_threads("t", "S", NONE, RunState::Stopped);
    // The first sleeps in the kernel, or has ended.
    check_threads("D", "T", NONE, RunState::Stopped);
    check_threads("Z", "T", NONE, RunState::Stopped);
    check_threads("Z", "S", NONE, RunState::Runs);
    check_threads("D", "D", SIGSTOP, RunState::Stopping);
    check_threads("D", "D", NONE, RunState::Runs);
}

/// By any program, or by the kernel, which does where it finds no memory.
#[test]
fn what_is_killed_has_ended_though_it_may_run_for_long_yet() {
    const SIGKILL: &str = "0000000000000100";
    check_threads("R", "T", SIGKILL, RunState::Ended);
    check_threads("D", "S", SIGKILL, RunState::Ended);
    // It is pending no more, and its thread is marked by that.
    check_flagged("R", 0x40_0400, RunState::Ended);
    check_flagged("D", 0x40_0404, RunState::Ended);
    // Its first thread ends by itself, and others run on.
    check_flagged("R", 0x40_0004, RunState::Runs);
}

/// Whether a stop is answered of process 100, which has these in `stat` from the
/// parent on and this tracer, where process 99 has this name.
#[track_caller]
fn check_answer(ties: &str, tracer: u32, parent: &str, want: bool) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let rest = "4194304 0 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0";
    for (pid, stat) in [
        ("100", format!("100 (a) S {ties} -1 {rest}\n")),
        ("99", format!("99 ({parent}) S 1 99 99 0 -1 {rest}\n")),
    ] {
        let process = folder.path().join(pid);
        fs::create_dir(&process).expect("it is ours");
        fs::write(process.join("stat"), stat).expect("it is ours");
        let status = format!("Tgid:\t{pid}\nTracerPid:\t{tracer}\n");
        fs::write(process.join("status"), status).expect("it is ours");
    }
    let found = files_of(&folder).stop_is_answered(100);
    assert_eq!(found.expect("it makes sense"), want, "{ties} of {parent}");
}

#[test]
fn a_stop_is_answered_by_a_tracer_a_terminal_and_a_parent_that_stops_too() {
    const PTY: u32 = 136 << 8;
    const CONSOLE: u32 = 4 << 8;
    check_answer("99 100 90 0", 0, "bash", false);
    check_answer("99 100 90 0", 31, "bash", true);
    check_answer(&format!("99 100 100 {PTY}"), 0, "tmux: server", true);
    check_answer(&format!("99 100 90 {PTY}"), 0, "bash", false);
    check_answer(&format!("99 100 100 {CONSOLE}"), 0, "login", false);
    check_answer("99 100 100 0", 0, "sh", false);
    for parent in ["su", "runuser", "sudo", "script", "nsenter", "sg"] {
        check_answer("99 100 90 0", 0, parent, true);
    }
    check_answer("99 100 90 0", 0, "sum", false);
    // The parent has gone.
    check_answer("98 100 90 0", 0, "su", false);
}

/// Whether a stop of the child of `program` is answered; `None` where it starts
/// none.
fn is_childs_stop_answered(program: &str, arguments: &[&str]) -> Option<bool> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let parent = Shell(command.spawn().ok()?);
    let began = Instant::now();
    loop {
        let mut child = None;
        let files = files();
        files
            .children(&[parent.pid()], &mut |found| child = Some(found.pid))
            .expect("they can be read");
        // Once it is what it was started as: before, script(1) gives it its terminal.
        let comm = child.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        if let Some(pid) = child.filter(|_| comm.as_deref() == Some("cat\n")) {
            return Some(files.stop_is_answered(pid).expect("it can be read"));
        }
        if state(parent.pid()) == Some(RunState::Ended) {
            return None;
        }
        assert!(began.elapsed() < LIMIT, "{program} has not started it");
        std::thread::yield_now();
    }
}

#[test]
fn what_stops_with_its_child_on_this_machine_is_known() {
    let ourselves = std::process::id().to_string();
    let parents: [(&str, &[&str]); 5] = [
        ("runuser", &["-u", "root", "--", "cat"]),
        ("su", &["root", "-c", "exec cat"]),
        ("nsenter", &["-t", &ourselves, "-p", "cat"]),
        ("sg", &["root", "-c", "exec cat"]),
        ("script", &["-qc", "exec cat", "/dev/null"]),
    ];
    for (program, arguments) in parents {
        if program != "script" && !rustix::process::geteuid().is_root() {
            println!("skipped: {program} would ask for a password, except as root");
            continue;
        }
        match is_childs_stop_answered(program, arguments) {
            Some(is_answered) => assert!(is_answered, "{program}"),
            None => println!("skipped: {program} is not installed, or fails here"),
        }
    }
    let said = is_childs_stop_answered("sh", &["-c", "exec 3<&0; cat <&3 & wait"]);
    assert_eq!(said, Some(false));
}

/// A tmux(1) server of the test's own, killed when dropped.
struct Tmux(tempfile::TempDir);

impl Tmux {
    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.0.path().join("socket"));
        command
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

#[test]
fn tmux_answers_a_stop_of_the_first_process_of_a_pane_alone() {
    let tmux = Tmux(tempfile::TempDir::new().expect("a folder"));
    let new = "new-session -d -P -F #{pane_pid}".split(' ');
    let mut command = tmux.command();
    command
        .args(["-f", "/dev/null"])
        .args(new)
        .arg("cat | cat; true");
    let Ok(started) = command.output() else {
        println!("skipped: tmux is not installed");
        return;
    };
    let pane = String::from_utf8_lossy(&started.stdout);
    let pane: u32 = pane.trim().parse().expect("the pid of the pane's process");
    let files = files();
    assert!(files.stop_is_answered(pane).expect("it can be read"));
    let began = Instant::now();
    let mut jobs = Vec::new();
    while jobs.len() < 2 {
        assert!(began.elapsed() < LIMIT, "{jobs:?}");
        jobs.clear();
        files
            .children(&[pane], &mut |child| jobs.push(child.pid))
            .expect("they can be read");
    }
    for pid in jobs {
        assert!(!files.stop_is_answered(pid).expect("it can be read"));
    }
}

#[test]
fn children_are_found_with_their_start() {
    let (shell, said) = Shell::start("exec 3<&0; cat <&3 & echo $!; wait");
    let child: u32 = said.parse().expect("a pid");
    let mut found = Vec::new();
    let files = files();
    files
        .children(&[shell.pid(), u32::MAX], &mut |child| found.push(child))
        .expect("they can be read");
    let started = files.run_state(child).expect("it can be read");
    let (start_ticks, _) = started.expect("it is there");
    let pid = child;
    assert_eq!(found, [ProcessId { pid, start_ticks }]);
}

#[test]
fn a_process_has_its_real_user() {
    let owner = |pid| files().owner(pid).expect("it can be read");
    let ourselves = rustix::process::getuid().as_raw();
    assert_eq!(owner(std::process::id()), Some(ourselves));
    assert_eq!(owner(u32::MAX), None);
}

#[test]
fn private_memory_and_swap_are_found() {
    let (shell, _) = Shell::start("echo ready; read line");
    let mut bytes = 0;
    files()
        .private_ranges(shell.pid(), &mut |range| bytes += range.end - range.start)
        .expect("they can be read");
    assert!(0 < bytes, "a shell has a stack and a heap");
    let swapped = files().swapped_bytes(shell.pid()).expect("it can be read");
    assert!(swapped.is_some_and(|swapped| swapped <= bytes));
    files().paging().expect("the kernel tells");
    let gone = files().swapped_bytes(u32::MAX).expect("it can be read");
    assert_eq!(gone, None);
}

#[test]
fn what_a_cgroup_has_in_swap_is_read_where_the_kernel_tells() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let read = || PauseFiles::swapped_bytes_in(folder.path());
    assert_eq!(read(), None);
    for (text, want) in [("4096\n", Some(4096)), ("", None), ("max\n", None)] {
        let path = folder.path().join("memory.swap.current");
        fs::write(path, text).expect("it is ours");
        assert_eq!(read(), want, "{text}");
    }
}

/// What is found to be free of swap where meminfo says this of it.
#[track_caller]
fn check_swap(swap_total: &str, swap_free: &str, want_kib: u64) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let text = format!("SwapTotal: {swap_total} kB\nSwapFree: {swap_free} kB\nWriteback: 8 kB\n");
    fs::write(folder.path().join("meminfo"), text).expect("it is ours");
    let paging = files_of(&folder).paging().expect("it makes sense");
    assert_eq!(paging.writeback_bytes, 8 << 10);
    assert_eq!(paging.swap_free_bytes, want_kib << 10);
}

#[test]
fn no_more_is_paged_out_than_there_can_be_room_for_in_swap() {
    check_swap("1000", "700", 700);
    check_swap("1000", "7000", 1000);
    // As lxcfs has it: less than nothing.
    check_swap("1000", "18446744073709551411", 0);
    check_swap("0", "700", 0);
}

#[test]
fn a_cgroup_has_those_that_are_in_it() {
    let ourselves = std::process::id();
    let cgroup = files().cgroup(ourselves).expect("it can be read");
    let Some(cgroup) = cgroup.filter(|path| path.join("cgroup.procs").exists()) else {
        println!("skipped: no cgroup v2 that we are in is mounted here");
        return;
    };
    let mut found = Vec::new();
    PauseFiles::processes_below(&cgroup, &mut |pid| found.push(pid)).expect("they can be read");
    assert!(found.contains(&ourselves));
    let nowhere = Path::new("/proc/none");
    PauseFiles::processes_below(nowhere, &mut |pid| panic!("{pid}")).expect("it is gone");
}

/// What is told of a cgroup with one process and `depth` cgroups below it, one in
/// another, with a process in the last; by a thread whose stack is the pauser's.
fn told_of_nested(depth: usize) -> Result<Vec<u32>, ReadError> {
    const STACK_BYTES: usize = 128 * 1024;
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut paths = vec![folder.path().join("cgroup")];
    for _ in 0..depth {
        paths.push(paths.last().expect("there is one").join("a"));
    }
    for path in &paths {
        fs::create_dir(path).expect("it is ours");
    }
    fs::write(paths[0].join("cgroup.procs"), "31\n").expect("it is ours");
    fs::write(paths[depth].join("cgroup.procs"), "32\n").expect("it is ours");
    let cgroup = paths[0].clone();
    let look = move || {
        let mut found = Vec::new();
        PauseFiles::processes_below(&cgroup, &mut |pid| found.push(pid)).map(|()| found)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let told = thread.spawn(look).expect("there is a thread").join();
    // From the bottom: the temporary folder itself would recurse.
    for path in paths.iter().rev() {
        let _ = fs::remove_file(path.join("cgroup.procs"));
        fs::remove_dir(path).expect("it is ours");
    }
    told.expect("it does not panic")
}

#[test]
fn cgroups_that_a_user_has_nested_without_end_are_not_looked_at() {
    assert_eq!(told_of_nested(16).expect("they can be read"), [31, 32]);
    for depth in [900, 17] {
        let told = told_of_nested(depth);
        assert!(
            matches!(told, Err(ReadError::TooMany { .. })),
            "{depth}: {told:?}"
        );
    }
}

#[test]
fn no_more_than_1024_cgroups_are_looked_at() {
    let folder = tempfile::TempDir::new().expect("a folder");
    for number in 1..1024 {
        fs::create_dir(folder.path().join(number.to_string())).expect("it is ours");
    }
    let look = || PauseFiles::processes_below(folder.path(), &mut |_| {});
    look().expect("they can be read");
    fs::create_dir(folder.path().join("1024")).expect("it is ours");
    assert!(matches!(look(), Err(ReadError::TooMany { .. })));
}

#[test]
fn it_is_told_what_zram_holds_of_what_is_swapped_out_to_it() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in one")).expect("it is ours");
        fs::write(path, text).expect("it is ours");
    };
    let meminfo = "SwapTotal: 1000 kB\nSwapFree: 600 kB\nWriteback: 0 kB\n";
    write("meminfo", meminfo);
    write("swaps", "\n");
    let files = files_of(&folder);
    let paging = files.paging().expect("it makes sense");
    assert_eq!(paging.in_zram_bytes, 0, "there is none yet");
    write("swaps", "\n/dev/zram0 partition 1000 400 100\n");
    write("block/zram0/mm_stat", "409600 1 102400 0 0\n");
    let paging = files.paging().expect("it makes sense");
    let want = Paging {
        writeback_bytes: 0,
        swap_total_bytes: 1000 << 10,
        swap_free_bytes: 600 << 10,
        in_zram_bytes: 400 << 10,
        zram_bytes: 100 << 10,
    };
    assert_eq!(paging, want);
}
