//! A table that runs short of descriptors. A program of its own: the limit is
//! the whole process's.

mod support;

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sensors::Depth;
use support::Copy;

#[test]
fn without_descriptors_processes_are_read_without_holding_them() {
    let copy = Copy::of("good");
    let limit = getrlimit(Resource::Nofile);
    let set = |current| {
        let maximum = limit.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("it is lowered");
    };
    for pid in 5000..5192 {
        copy.duplicate(1204, pid);
    }

    // A table that learns the limit at its start takes half of it, and leaves
    // enough for all else.
    set(Some(100));
    let mut modest = copy.table();
    let scan = modest.scan(Depth::Full);
    assert_eq!((scan.processes, scan.unheld, scan.unread), (200, 164, 0));
    copy.change("5191/statm", "100000", "150000");
    copy.change("1/statm", "2500", "2600");
    let scan = modest.scan(Depth::Fast);
    assert_eq!((scan.processes, scan.unheld, scan.gone), (200, 164, 0));
    assert!(modest.get(5191).rss_bytes > modest.get(5190).rss_bytes);
    // Nobody it does not hold is lost from a held scan.
    assert_eq!(modest.scan(Depth::Held).processes, 200);
    // Another process behind a pid that is not held is found out.
    copy.change("5190/stat", " 20150 ", " 99999 ");
    let scan = modest.scan(Depth::Fast);
    assert_eq!((scan.gone, scan.newcomers), (1, 1));
    assert_eq!(modest.get(5190).id.start_ticks, 99_999);
    drop(modest);

    // One that started with more finds out, and lets go of some.
    set(Some(1000));
    let mut table = copy.table();
    assert_eq!(table.scan(Depth::Full).unheld, 0);
    copy.duplicate(1204, 6000);
    set(Some(150));
    let scan = table.scan(Depth::Fast);
    assert_eq!((scan.processes, scan.newcomers, scan.unread), (201, 1, 0));
    assert!(scan.unheld >= 64, "{scan:?}");

    // Somebody else takes all there are; what is known stays known.
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let scan = table.scan(Depth::Fast);
    assert_eq!((scan.processes, scan.gone), (201, 0));
    drop(hoard);
    let scan = table.scan(Depth::Full);
    assert_eq!((scan.processes, scan.gone, scan.unread), (201, 0, 0));
}
