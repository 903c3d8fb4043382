//! What we ask of the kernel for ourselves.

use std::fs;
use std::path::Path;
use std::thread;

use reaper::{ReapError, protect_ourselves};
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
