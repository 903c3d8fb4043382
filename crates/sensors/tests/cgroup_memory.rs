//! What a cgroup may use, by directories of files as the kernel has them.

use std::fs;
use std::path::{Path, PathBuf};

use model::Memory;
use sensors::{Cgroup, CgroupError, CgroupMemory, ReadError};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A machine with more memory than any cgroup here may use.
const MACHINE: Memory = Memory {
    total_bytes: 16_000 * MIB,
    available_bytes: 9_000 * MIB,
    at_least_bytes: 8_000 * MIB,
    hugetlb_bytes: 0,
    swap_total_bytes: 4_000 * MIB,
    swap_free_bytes: 3_000 * MIB,
    anon_bytes: 0,
    shmem_bytes: 0,
    unreclaimable_slab_bytes: 0,
    worthless_swap_bytes: 0,
    zram_bytes: 0,
    swap_cached_bytes: 0,
};

#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

/// A hierarchy of cgroups, and a procfs that tells where it is mounted.
struct Hierarchy {
    folder: TempDir,
    version: Version,
}

impl Hierarchy {
    fn new(version: Version) -> Self {
        let hierarchy = Self {
            folder: tempfile::tempdir().expect("it is ours"),
            version,
        };
        fs::create_dir_all(hierarchy.proc().join("self")).expect("it is ours");
        fs::create_dir(hierarchy.mount()).expect("it is ours");
        hierarchy.mount_of("/");
        if version == Version::One {
            hierarchy.write("", "memory.limit_in_bytes", "9223372036854771712");
            hierarchy.write("", "memory.usage_in_bytes", "0");
            hierarchy.write("", "memory.stat", "");
        }
        hierarchy
    }

    /// Has it be mounted from `root` down.
    fn mount_of(&self, root: &str) {
        let kind = match self.version {
            Version::One => "cgroup cgroup rw,memory",
            Version::Two => "cgroup2 cgroup2 rw",
        };
        let mount = self.mount();
        let line = format!("31 25 0:26 {root} {} rw - {kind}\n", mount.display());
        fs::write(self.proc().join("self/mountinfo"), line).expect("it is ours");
    }

    fn proc(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn write(&self, cgroup: &str, file: &str, text: &str) {
        let directory = self.mount().join(cgroup);
        fs::create_dir_all(&directory).expect("it is ours");
        fs::write(directory.join(file), format!("{text}\n")).expect("it is ours");
    }

    /// A cgroup of version 2 with this limit and use, page cache and swap.
    fn cgroup(&self, path: &str, max: &str, current_mib: u64) {
        self.write(path, "memory.max", max);
        self.write(path, "memory.high", "max");
        self.write(path, "memory.current", &(current_mib * MIB).to_string());
        self.write(path, "memory.swap.max", "max");
        self.write(path, "memory.swap.current", "0");
        self.write(path, "memory.events", "oom 0\noom_kill 0\noom_group_kill 0");
        self.stat(path, 0, 0);
    }

    fn stat(&self, path: &str, active_mib: u64, inactive_mib: u64) {
        let text = format!(
            "anon {}\nfile 7\nshmem {}\ninactive_anon 3\ninactive_file {}\nactive_file {}\n\
             slab_reclaimable {}\nslab_unreclaimable {}",
            40 * MIB,
            MIB,
            inactive_mib * MIB,
            active_mib * MIB,
            2 * MIB,
            3 * MIB
        );
        self.write(path, "memory.stat", &text);
    }

    fn open(&self, path: &str) -> Result<CgroupMemory, CgroupError> {
        CgroupMemory::open(Cgroup::find(&self.proc(), Path::new(path))?)
    }

    #[track_caller]
    fn read(&self, path: &str) -> Memory {
        let mut memory = self.open(path).expect("it is ours");
        let read = memory.read(&MACHINE).expect("it is ours");
        assert_eq!(told(&mut memory), [""; 0]);
        read
    }
}

fn told(memory: &mut CgroupMemory) -> Vec<String> {
    std::iter::from_fn(|| memory.next_implausible())
        .map(|(path, found)| format!("{}{found}", path.file_name().expect("a file").display()))
        .collect()
}

#[test]
fn what_a_cgroup_may_use_is_its_limit_and_what_it_has_left_of_it() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 700);
    hierarchy.stat("a", 40, 60);
    let memory = hierarchy.read("/a");
    assert_eq!(memory.total_bytes, 1000 * MIB);
    // Half of the page cache counts at least, and half of slab.
    let reclaimable = 100 * MIB - 50 * MIB + MIB;
    assert_eq!(memory.available_bytes, 300 * MIB + reclaimable);
    assert_eq!(memory.at_least_bytes, 300 * MIB);
    let parts = [
        memory.anon_bytes,
        memory.shmem_bytes,
        memory.unreclaimable_slab_bytes,
    ];
    assert_eq!(parts, [40 * MIB, MIB, 3 * MIB]);
    // Without a limit of its own it may take all of the machine's swap.
    let swap = [memory.swap_total_bytes, memory.swap_free_bytes];
    assert_eq!(swap, [4_000 * MIB, 3_000 * MIB]);
}

#[test]
fn the_nearest_limit_on_the_way_up_counts() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 980);
    hierarchy.cgroup("a/b", "max", 300);
    hierarchy.cgroup("a/b/c", &(600 * MIB).to_string(), 200);
    let memory = hierarchy.read("/a/b/c");
    // The smallest limit is all there is; what is left above is less.
    assert_eq!(memory.total_bytes, 600 * MIB);
    assert_eq!(memory.available_bytes, 20 * MIB + MIB);
    // One without a limit has that of the one above.
    assert_eq!(hierarchy.read("/a/b").total_bytes, 1000 * MIB);
    assert_eq!(hierarchy.read("a/b/").available_bytes, 21 * MIB);
    let directory = hierarchy.mount().join("a");
    assert_eq!(
        hierarchy
            .read(directory.to_str().expect("it is ours"))
            .total_bytes,
        1000 * MIB
    );
}

#[test]
fn above_memory_high_nothing_is_available_and_the_machine_has_no_more_than_it_has() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 850);
    hierarchy.write("a", "memory.high", &(800 * MIB).to_string());
    let memory = hierarchy.read("/a");
    assert_eq!(memory.total_bytes, 800 * MIB);
    assert_eq!(memory.available_bytes, MIB, "reclaimable slab");

    hierarchy.cgroup("b", &(15_000 * MIB).to_string(), 10);
    let memory = hierarchy.read("/b");
    assert_eq!(memory.available_bytes, MACHINE.available_bytes);
    hierarchy.cgroup("c", &(20_000 * MIB).to_string(), 10);
    let memory = hierarchy.read("/c");
    assert_eq!(memory.total_bytes, MACHINE.total_bytes);
}

#[test]
fn swap_is_what_the_cgroup_may_yet_take_of_the_machines() {
    let hierarchy = Hierarchy::new(Version::Two);
    let swap = |max: &str, current_mib: u64| {
        hierarchy.cgroup("a", &(1000 * MIB).to_string(), 700);
        hierarchy.write("a", "memory.swap.max", max);
        hierarchy.write("a", "memory.swap.current", &(current_mib * MIB).to_string());
        let memory = hierarchy.read("/a");
        [memory.swap_total_bytes / MIB, memory.swap_free_bytes / MIB]
    };
    assert_eq!(swap(&(500 * MIB).to_string(), 100), [500, 400]);
    assert_eq!(swap("0", 0), [0, 0]);
    assert_eq!(swap(&(9_000 * MIB).to_string(), 100), [4_000, 3_000]);
    // A kernel without accounting of swap.
    fs::remove_file(hierarchy.mount().join("a/memory.swap.max")).expect("it is ours");
    fs::remove_file(hierarchy.mount().join("a/memory.swap.current")).expect("it is ours");
    assert_eq!(hierarchy.read("/a").swap_total_bytes, 4_000 * MIB);
}

#[test]
fn a_limit_of_swap_counts_where_memory_has_none_too() {
    let hierarchy = Hierarchy::new(Version::Two);
    let swap = |path: &str| {
        let memory = hierarchy.read(path);
        assert_eq!(memory.total_bytes, 1000 * MIB);
        assert_eq!(memory.available_bytes, 6 * MIB);
        [memory.swap_total_bytes / MIB, memory.swap_free_bytes / MIB]
    };
    // Below the one with the limit.
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 995);
    hierarchy.cgroup("a/b", "max", 995);
    assert_eq!(swap("/a/b"), [4_000, 3_000]);
    hierarchy.write("a/b", "memory.swap.max", "0");
    assert_eq!(swap("/a/b"), [0, 0]);
    // Above it.
    hierarchy.cgroup("c", "max", 995);
    hierarchy.write("c", "memory.swap.max", &(100 * MIB).to_string());
    hierarchy.write("c", "memory.swap.current", &(40 * MIB).to_string());
    hierarchy.cgroup("c/d", &(1000 * MIB).to_string(), 995);
    assert_eq!(swap("/c/d"), [100, 60]);
    // It is no limit of memory.
    assert!(matches!(
        hierarchy.open("/c"),
        Err(CgroupError::NoLimit { .. })
    ));
}

/// A cgroup of version 1 that may use 1000 MiB, and 1400 with swap.
fn version_1() -> Hierarchy {
    let hierarchy = Hierarchy::new(Version::One);
    let bytes = |mib: u64| (mib * MIB).to_string();
    hierarchy.write("a", "memory.limit_in_bytes", &bytes(1000));
    hierarchy.write("a", "memory.usage_in_bytes", &bytes(700));
    hierarchy.write("a", "memory.memsw.limit_in_bytes", &bytes(1400));
    hierarchy.write("a", "memory.memsw.usage_in_bytes", &bytes(850));
    let stat = format!(
        "cache 7\nrss 7\ninactive_file 7\nhierarchical_memory_limit 7\ntotal_rss {}\n\
         total_shmem {}\ntotal_inactive_file {}\ntotal_active_file 0",
        600 * MIB,
        MIB,
        90 * MIB
    );
    hierarchy.write("a", "memory.stat", &stat);
    hierarchy.write(
        "a",
        "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 4",
    );
    hierarchy
}

#[test]
fn of_version_1_swap_and_memory_are_limited_together() {
    let hierarchy = version_1();
    let memory = hierarchy.read("/a");
    assert_eq!(memory.total_bytes, 1000 * MIB);
    assert_eq!(memory.available_bytes, 345 * MIB);
    assert_eq!(memory.anon_bytes, 600 * MIB);
    assert_eq!(memory.swap_total_bytes, 400 * MIB);
    assert_eq!(memory.swap_free_bytes, 250 * MIB);
    // Without swap of its own it has none.
    let bytes = (1000 * MIB).to_string();
    hierarchy.write("a", "memory.memsw.limit_in_bytes", &bytes);
    assert_eq!(hierarchy.read("/a").swap_total_bytes, 0);
}

#[test]
fn of_version_1_there_is_no_swap_without_swappiness() {
    let hierarchy = version_1();
    for (swappiness, want) in [("60", [400, 250]), ("0", [0, 0]), ("1", [400, 250])] {
        hierarchy.write("a", "memory.swappiness", swappiness);
        let memory = hierarchy.read("/a");
        let swap = [memory.swap_total_bytes / MIB, memory.swap_free_bytes / MIB];
        assert_eq!(swap, want, "{swappiness}");
        assert_eq!(memory.available_bytes, 345 * MIB);
    }
}

#[test]
fn what_cannot_be_guarded_is_refused_with_what_would_be_right() {
    let check = |hierarchy: &Hierarchy, path: &str, wants: &[&str]| {
        let said = hierarchy.open(path).expect_err("refused").to_string();
        for want in wants {
            assert!(said.contains(want), "{said}");
        }
    };
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", "max", 300);
    fs::create_dir(hierarchy.mount().join("b")).expect("it is ours");
    check(
        &hierarchy,
        "/a",
        &["`/a` has no memory limit", "a/memory.max", "2G"],
    );
    check(
        &hierarchy,
        "/b",
        &["b/memory.current` does not exist", "`+memory`"],
    );
    check(
        &hierarchy,
        "/x",
        &["no cgroup `/x`", "/user.slice", "mount`"],
    );
    check(&hierarchy, "/../x", &["no cgroup `/../x`"]);
    let old = version_1();
    old.write("c", "memory.limit_in_bytes", "9223372036854771712");
    old.write("c", "memory.usage_in_bytes", "0");
    old.write("c", "memory.stat", "");
    check(
        &old,
        "/c",
        &["`/c` has no memory limit", "memory.limit_in_bytes"],
    );
    fs::write(old.proc().join("self/mountinfo"), "").expect("it is ours");
    check(
        &old,
        "/a",
        &["no cgroups with the memory controller", "mountinfo"],
    );
}

#[test]
fn a_container_has_a_limit_at_the_top_and_a_machine_has_none() {
    let hierarchy = Hierarchy::new(Version::Two);
    assert!(Cgroup::of_container(&hierarchy.proc()).is_none());
    hierarchy.cgroup("", "max", 300);
    assert!(Cgroup::of_container(&hierarchy.proc()).is_none());
    hierarchy.cgroup("", &(512 * MIB).to_string(), 300);
    let topmost = Cgroup::of_container(&hierarchy.proc()).expect("it has a limit");
    assert_eq!(topmost.to_string(), "/");
    let mut memory = CgroupMemory::open(topmost).expect("it is ours");
    assert_eq!(
        memory.read(&MACHINE).expect("it is ours").total_bytes,
        512 * MIB
    );

    // Without a namespace of its own, of version 1.
    let old = version_1();
    assert!(Cgroup::of_container(&old.proc()).is_none());
    old.mount_of("/docker/01");
    let bytes = (256 * MIB).to_string();
    old.write("", "memory.limit_in_bytes", &bytes);
    let topmost = Cgroup::of_container(&old.proc()).expect("it has a limit");
    assert_eq!(topmost.to_string(), "/docker/01");
}

#[test]
fn a_container_that_sees_the_cgroups_of_the_machine_is_known_by_its_first_process() {
    for version in [Version::One, Version::Two] {
        let hierarchy = Hierarchy::new(version);
        let prefix = if version == Version::One {
            "4:memory:"
        } else {
            "0::"
        };
        let proc = hierarchy.proc();
        let container = |ours: &str, first: &str| {
            for (pid, path) in [("self", ours), ("1", first)] {
                fs::create_dir_all(proc.join(pid)).expect("it is ours");
                let lines = format!("9:cpu:/x\n{prefix}{path}\n");
                fs::write(proc.join(pid).join("cgroup"), lines).expect("it is ours");
            }
            Cgroup::of_container(&proc).map(|cgroup| cgroup.to_string())
        };
        let known = |path: &str| Some(path.to_owned());
        assert_eq!(container("/docker/01", "/docker/01"), known("/docker/01"));
        // Its own service manager is the first process.
        let (ours, first) = (
            "/docker/01/system.slice/user-oom.service",
            "/docker/01/init",
        );
        assert_eq!(container(ours, first), known("/docker/01"));
        // A machine, whose limits for the daemon are not those of what it guards.
        let ours = "/system.slice/user-oom.service";
        for first in ["/init.scope", "/", "/system.slice2"] {
            assert_eq!(container(ours, first), None);
        }
        assert_eq!(container("/", "/"), None);
        // With the machine's process identifiers, the machine is meant.
        assert_eq!(container("/", "/../../init.scope"), None);
        assert_eq!(Cgroup::hidden_by(&proc), None);
        hierarchy.mount_of("/../..");
        assert_eq!(container("/", "/../../init.scope"), None);
        assert_eq!(Cgroup::hidden_by(&proc), None);
        // They are mounted from outside of the namespace that both are in.
        assert_eq!(container("/", "/init"), None);
        assert_eq!(Cgroup::hidden_by(&proc), Some(hierarchy.mount()));
    }
}

#[test]
fn a_field_that_cannot_be_true_costs_that_field_and_is_told_once() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 700);
    hierarchy.stat("a", 40, 60);
    let mut memory = hierarchy.open("/a").expect("it is ours");
    let sound = memory.read(&MACHINE).expect("it is ours");
    let mut check = |file: &str, text: &str, want: Memory, says: &str| {
        let path = hierarchy.mount().join("a").join(file);
        let before = fs::read(&path).expect("it is ours");
        hierarchy.write("a", file, text);
        assert_eq!(memory.read(&MACHINE).expect("it is ours"), want, "{text}");
        let said = told(&mut memory);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(says), "{said:?}");
        memory.read(&MACHINE).expect("it is ours");
        assert_eq!(told(&mut memory), [""; 0]);
        fs::write(path, before).expect("it is ours");
        assert_eq!(memory.read(&MACHINE).expect("it is ours"), sound);
    };
    let stat = |line: &str| {
        format!(
            "anon {}\nshmem {}\nslab_unreclaimable {}\n{line}",
            40 * MIB,
            MIB,
            3 * MIB
        )
    };
    let without_inactive = Memory {
        available_bytes: 300 * MIB + 20 * MIB,
        ..sound
    };
    check(
        "memory.stat",
        &stat(&format!(
            "active_file {}\ninactive_file 18446744073709551411",
            40 * MIB
        )),
        without_inactive,
        "memory.stat, line 5: inactive_file cannot be `18446744073709551411`",
    );
    check(
        "memory.stat",
        &stat(&format!("active_file {}", 40 * MIB)),
        without_inactive,
        "memory.stat: there is no line `inactive_file <number>`; using 0 bytes",
    );
    check(
        "memory.max",
        "lots",
        sound,
        "memory.max, line 1: expected `<number>`, found `lots`; using 1048576000 bytes, as before",
    );
    check(
        "memory.high",
        "-1",
        sound,
        "memory.high, line 1: memory.high cannot be `-1`",
    );
    check(
        "memory.swap.max",
        "some",
        sound,
        "memory.swap.max, line 1: expected `<number>`, found `some`; ignored",
    );
    check(
        "memory.current",
        "none",
        Memory {
            available_bytes: 1000 * MIB - 146 * MIB + 51 * MIB,
            at_least_bytes: 1000 * MIB - 146 * MIB,
            ..sound
        },
        "memory.current, line 1: expected `<number>`, found `none`; using 153092096 bytes, the sum",
    );
}

#[test]
fn swap_that_makes_no_sense_is_none_and_use_that_is_not_told_at_all_is_an_error() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("a", &(1000 * MIB).to_string(), 700);
    hierarchy.write("a", "memory.swap.max", &(500 * MIB).to_string());
    let mut memory = hierarchy.open("/a").expect("it is ours");
    hierarchy.write("a", "memory.swap.current", "x");
    assert_eq!(
        memory.read(&MACHINE).expect("it is ours").swap_free_bytes,
        0
    );
    hierarchy.write("a", "memory.current", "");
    hierarchy.write("a", "memory.stat", "");
    let err = memory.read(&MACHINE).expect_err("it says nothing");
    assert!(matches!(err, ReadError::Implausible { .. }), "{err}");
    assert!(
        err.to_string()
            .contains("a/memory.current`, line 1: expected"),
        "{err}"
    );
}

#[test]
fn a_cgroup_that_was_removed_is_found_again_when_it_is_back() {
    let hierarchy = Hierarchy::new(Version::Two);
    hierarchy.cgroup("above", &(2000 * MIB).to_string(), 700);
    hierarchy.cgroup("above/a", &(1000 * MIB).to_string(), 700);
    let mut memory = hierarchy.open("/above/a").expect("it is ours");
    fs::remove_dir_all(hierarchy.mount().join("above/a")).expect("it is ours");
    for _twice in 0..2 {
        let err = memory.read(&MACHINE).expect_err("it is gone").to_string();
        assert!(err.contains("above/a`"), "{err}");
    }
    hierarchy.cgroup("above/a", &(500 * MIB).to_string(), 100);
    assert_eq!(
        memory.read(&MACHINE).expect("it is ours").total_bytes,
        500 * MIB
    );
}

#[test]
fn what_the_kernel_kills_is_counted_from_the_start() {
    let hierarchy = version_1();
    let mut memory = hierarchy.open("/a").expect("it is ours");
    assert_eq!(memory.new_kills(), 0, "before the start");
    hierarchy.write(
        "a",
        "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 6",
    );
    assert_eq!(memory.new_kills(), 2);
    assert_eq!(memory.new_kills(), 0);
    hierarchy.write("a", "memory.oom_control", "");
    assert_eq!(memory.new_kills(), 0);
}

#[test]
fn a_kill_counts_where_its_limit_or_one_above_it_was_hit() {
    let hierarchy = Hierarchy::new(Version::Two);
    let bytes = (1000 * MIB).to_string();
    hierarchy.cgroup("above", &bytes, 700);
    hierarchy.cgroup("above/a", &bytes, 700);
    let write = |path: &str, file: &str, key: &str, count: u64| {
        hierarchy.write(path, file, &format!("low 0\n{key} {count}"));
    };
    let killed = |count| write("above/a", "memory.events", "oom_kill", count);
    let hit = |path, count| write(path, "memory.events.local", "oom", count);
    hit("above", 5);
    hit("above/a", 3);
    let mut memory = hierarchy.open("/above/a").expect("it is ours");
    assert_eq!(memory.new_kills(), 0, "before the start");
    // In a cgroup below it, at the limit of that.
    killed(2);
    assert_eq!(memory.new_kills(), 0);
    for (above, own, kills, want) in [(5, 4, 3, 1), (5, 4, 4, 0), (6, 4, 6, 2), (6, 4, 6, 0)] {
        hit("above", above);
        hit("above/a", own);
        killed(kills);
        assert_eq!(memory.new_kills(), want, "{above} {own} {kills}");
    }
    // It is hit a moment before.
    hit("above/a", 5);
    assert_eq!(memory.new_kills(), 0);
    killed(7);
    assert_eq!(memory.new_kills(), 1);
}
