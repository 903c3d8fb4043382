//! What we ask of the kernel for ourselves.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reaper::{Code, ReapError, protect_ourselves, trim_memory};
use rustix::process::getpriority_process;

/// On a thread of its own: a nice value is a thread's, and the test's other
/// threads shall keep theirs.
fn on_its_own_thread(test: impl FnOnce() + Send + 'static) {
    thread::spawn(test).join().expect("the test panicked");
}

#[test]
fn we_ask_to_be_spared_in_the_root_we_are_given() {
    on_its_own_thread(|| {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("self/oom_score_adj");
        fs::create_dir(root.path().join("self")).unwrap();
        fs::write(&file, "0").unwrap();

        protect_ourselves(root.path()).oom_score_adj.unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "-1000");
    });
}

#[test]
fn a_file_that_is_not_there_is_named_and_not_made() {
    on_its_own_thread(|| {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("self")).unwrap();
        let file = root.path().join("self/oom_score_adj");

        let protection = protect_ourselves(root.path());
        let err = protection.oom_score_adj.as_ref().unwrap_err();
        assert_eq!(
            err.to_string(),
            format!("cannot write `{}`", file.display())
        );
        assert!(!file.exists());
        assert!(
            protection
                .failures()
                .any(|err| matches!(err, ReapError::OomScoreAdj { .. }))
        );
    });
}

#[test]
fn the_priority_is_what_we_say_it_is() {
    on_its_own_thread(|| {
        let before = getpriority_process(None).unwrap();
        let protection = protect_ourselves(Path::new("/nowhere"));
        let now = getpriority_process(None).unwrap();
        match protection.priority {
            Ok(()) => assert_eq!(now, -20),
            Err(err) => {
                assert_eq!(now, before);
                assert_eq!(err.to_string(), "cannot set our nice value to -20");
            }
        }
    });
}

/// Of the files at paths that `is_meant`, in KiB.
fn mapped_kib(is_meant: impl Fn(&str) -> bool) -> u64 {
    let mut sum = 0;
    let mut counts = false;
    let smaps = fs::read_to_string("/proc/self/smaps").expect("it is ours");
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Rss:", kib, _] if counts => sum += kib.parse::<u64>().unwrap_or(0),
            // Only what is not written to.
            [_, permissions, _, _, _, path] => {
                counts = !permissions.contains('w') && is_meant(path);
            }
            [_, _, _, _, _] => counts = false,
            _ => {}
        }
    }
    sum
}

/// In the writable part of the program, which may not be lost.
static TOUCHED: AtomicUsize = AtomicUsize::new(1);

#[test]
fn code_that_only_the_start_needed_does_not_stay_in_memory() {
    let ours = std::env::current_exe().unwrap();
    let is_ours = |path: &str| Path::new(path) == ours;
    let is_library = |path: &str| path.contains(".so") && !is_ours(path);
    TOUCHED.store(2, Ordering::Relaxed);

    let (program_kib, libraries_kib) = (mapped_kib(is_ours), mapped_kib(is_library));
    assert!(0 < program_kib && 0 < libraries_kib);
    trim_memory(Code::OfLibraries);
    let left_kib = mapped_kib(is_library);
    assert!(
        left_kib < libraries_kib,
        "{left_kib} of {libraries_kib} KiB"
    );
    trim_memory(Code::All);
    let left_kib = mapped_kib(is_ours);
    assert!(left_kib < program_kib, "{left_kib} of {program_kib} KiB");

    assert_eq!(TOUCHED.load(Ordering::Relaxed), 2);
}
