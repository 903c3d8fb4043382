//! Pressure files: read from trees, and the machine's own armed.

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use psi::{Share, Trigger};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sensors::{PressureFile, PressureTrigger, ReadError};
use support::{Copy, chain, tree};

const PRESSURE: &str = "/proc/pressure/memory";

fn trigger() -> Trigger {
    let (stall, window) = (Duration::from_millis(500), Duration::from_secs(1));
    Trigger::new(Share::Full, stall, window).expect("the kernel takes it")
}

fn read(case: &str) -> Result<psi::Pressure, ReadError> {
    PressureFile::open(&tree(case).join("pressure/memory"))?.read()
}

#[track_caller]
fn check_refused(case: &str, want: &str) {
    let told = chain(&read(case).expect_err("it is refused"));
    assert!(told.contains(&format!("{case}/pressure/memory`")), "{told}");
    assert!(told.ends_with(want), "{told}");
}

#[test]
fn a_good_file_is_read() {
    let pressure = read("good").unwrap();
    assert_eq!(pressure.some.unwrap().avg10.hundredths(), 1_234);
    assert_eq!(pressure.full.total, Some(Duration::from_micros(98_765)));
}

#[test]
fn an_absent_file_says_that_the_kernel_has_no_pressure() {
    let err = read("absent").unwrap_err();
    assert!(matches!(err, ReadError::NoPressure { .. }), "{err:?}");
    assert!(chain(&err).contains("`psi=1`"));
}

#[test]
fn what_makes_no_sense_is_refused_with_file_and_line() {
    check_refused(
        "empty",
        ": there is no line `full avg10=<percent>` \
         (a cpu file has none before Linux 5.13; memory's has)",
    );
    check_refused(
        "cut",
        ": line 2: expected `avg10=<percent> avg60=<percent> …`, found `avg10=1.0`",
    );
}

#[test]
fn a_field_that_is_not_needed_costs_itself() {
    let pressure = read("malformed").unwrap();
    assert_eq!(pressure.full.avg10.hundredths(), 100);
    assert_eq!(pressure.full.avg60, None);
}

#[test]
fn a_file_replaced_by_rename_is_read_anew() {
    let copy = Copy::of("good");
    let path = copy.path().join("pressure/memory");
    let mut file = PressureFile::open(&path).unwrap();
    file.read().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    copy.write("new", &text.replace("1.00", "99.00"));
    fs::rename(copy.path().join("new"), &path).unwrap();
    assert_eq!(file.read().unwrap().full.avg10.hundredths(), 9_900);
}

#[test]
fn the_kernels_own_is_read_as_procfs_reads_it() {
    let mut file = match PressureFile::open(Path::new(PRESSURE)) {
        Ok(file) => file,
        Err(err @ ReadError::NoPressure { .. }) => {
            println!(
                "skipped, runs since kernel 4.20 with psi=1: {}",
                chain(&err)
            );
            return;
        }
        Err(err) => panic!("{}", chain(&err)),
    };
    // Totals never fall, so ours lies between two of theirs.
    let total = || procfs::MemoryPressure::current().unwrap().some.total;
    use procfs::Current;
    let before = total();
    let ours = file.read().unwrap().some.unwrap().total.unwrap();
    let after = total();
    let ours = u64::try_from(ours.as_micros()).unwrap();
    assert!(before <= ours && ours <= after, "{before} {ours} {after}");
}

#[test]
fn reading_the_kernels_own_allocates_nothing() {
    let Ok(mut file) = PressureFile::open(Path::new(PRESSURE)) else {
        println!("skipped, runs since kernel 4.20 with psi=1: no {PRESSURE}");
        return;
    };
    let counted = allocation_counter::measure(|| {
        file.read().unwrap();
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_trigger_is_written_in_one_piece() {
    let copy = Copy::of("good");
    let path = copy.path().join("pressure/memory");
    PressureTrigger::arm(&path, &trigger()).unwrap();
    let written = fs::read(path).unwrap();
    assert!(written.starts_with(b"full 500000 1000000\0"));
}

#[test]
fn what_is_no_pressure_file_is_armed_with_nothing() {
    // Where the kernel's is masked: it takes whatever is written to it.
    let err = PressureTrigger::arm(Path::new("/dev/null"), &trigger()).unwrap_err();
    let told = chain(&err);
    assert!(
        told.starts_with("cannot make sense of `/dev/null`: "),
        "{told}"
    );
    let copy = Copy::of("good");
    copy.write("pressure/memory", "12 apples\n");
    PressureTrigger::arm(&copy.path().join("pressure/memory"), &trigger()).unwrap_err();
    let left = fs::read_to_string(copy.path().join("pressure/memory")).unwrap();
    assert_eq!(left, "12 apples\n");
}

#[test]
fn a_trigger_at_an_absent_file_says_that_the_kernel_has_no_pressure() {
    let err = PressureTrigger::arm(&tree("absent").join("memory"), &trigger()).unwrap_err();
    assert!(matches!(err, ReadError::NoPressure { .. }), "{err:?}");
}

/// Waits for as long as `timeout` for the trigger; what poll(2) returned.
fn wait(armed: &PressureTrigger, timeout: Duration) -> PollFlags {
    let descriptor = armed.as_fd();
    let mut polled = [PollFd::new(&descriptor, PollFlags::PRI)];
    let timeout = Timespec::try_from(timeout).expect("it is short");
    poll(&mut polled, Some(&timeout)).expect("it can be polled");
    polled[0].revents()
}

#[test]
fn the_kernel_takes_our_triggers() {
    match PressureTrigger::arm(Path::new(PRESSURE), &trigger()) {
        // Whether it fires is up to the machine; that it is no error is not.
        Ok(armed) => {
            let seen = wait(&armed, Duration::ZERO);
            assert!(!seen.contains(PollFlags::ERR), "{seen:?}");
        }
        Err(err @ (ReadError::NoPressure { .. } | ReadError::TriggerNotPermitted { .. })) => {
            println!(
                "skipped, runs since kernel 5.2 with psi=1 and CAP_SYS_RESOURCE: {}",
                chain(&err)
            )
        }
        Err(err) => panic!("{}", chain(&err)),
    }
}

#[test]
fn the_kernel_takes_two_second_windows_from_anybody() {
    match PressureTrigger::arm(Path::new(PRESSURE), &trigger().unprivileged()) {
        Ok(armed) => {
            let seen = wait(&armed, Duration::ZERO);
            assert!(!seen.contains(PollFlags::ERR), "{seen:?}");
        }
        Err(err @ (ReadError::NoPressure { .. } | ReadError::TriggerNotPermitted { .. })) => {
            println!("skipped, runs since kernel 6.4 with psi=1: {}", chain(&err))
        }
        Err(err) => panic!("{}", chain(&err)),
    }
}
