//! Real files of a real machine, changed at random: every reader takes them or
//! refuses them, and no level is reached that the rest of the text denies.

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use model::{Level, Memory, Moment};
use oom_policy::{Effects, Event, Gates, Guard, Settings, Surroundings};
use proptest::prelude::*;
use sensors::{Cgroup, CgroupMemory, Depth, Meminfo, Notifier, PressureFile, ProcRoot, Zoneinfo};
use support::{Copy, tree};

/// One change to a text. Places and lines are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Mutation {
    Flip {
        place: usize,
        bit: u8,
    },
    Cut {
        place: usize,
    },
    Drop {
        line: usize,
    },
    Repeat {
        line: usize,
    },
    Swap {
        line: usize,
        other: usize,
    },
    Overlong {
        line: usize,
    },
    LineEnds,
    /// A number of a line becomes this.
    Number {
        line: usize,
        nth: usize,
        with: String,
    },
    NoUnit {
        line: usize,
    },
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        (1_u64 << 45..1 << 54).prop_map(|number| number.to_string()),
        (0..100_u64).prop_map(|number| number.to_string()),
        (0..30_000_000_u64).prop_map(|number| number.to_string()),
        (0..30_000_000_u64).prop_map(|number| format!("{number:030}")),
        (1..1000_u64).prop_map(|number| format!("-{number}")),
        (1..1000_u64).prop_map(|number| (u64::MAX - number).to_string()),
        (1..1000_u64).prop_map(|number| format!("{number}.5")),
        Just(u128::MAX.to_string()),
        Just(String::new()),
        Just("0".to_owned()),
        Just("nan".to_owned()),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let line = || any::<usize>();
    prop_oneof![
        2 => (line(), 0..8_u8).prop_map(|(place, bit)| Mutation::Flip { place, bit }),
        1 => line().prop_map(|place| Mutation::Cut { place }),
        2 => line().prop_map(|line| Mutation::Drop { line }),
        1 => line().prop_map(|line| Mutation::Repeat { line }),
        1 => (line(), line()).prop_map(|(line, other)| Mutation::Swap { line, other }),
        1 => line().prop_map(|line| Mutation::Overlong { line }),
        1 => Just(Mutation::LineEnds),
        4 => (line(), 0..3_usize, number())
            .prop_map(|(line, nth, with)| Mutation::Number { line, nth, with }),
        1 => line().prop_map(|line| Mutation::NoUnit { line }),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    proptest::collection::vec(mutation(), 0..6)
}

fn mutate(text: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut text = text.to_vec();
    for mutation in mutations {
        if text.is_empty() {
            break;
        }
        let mut lines: Vec<Vec<u8>> = text
            .split_inclusive(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let count = lines.len();
        match mutation {
            Mutation::Flip { place, bit } => {
                let place = place % text.len();
                text[place] ^= 1 << bit;
                continue;
            }
            Mutation::Cut { place } => {
                text.truncate(place % text.len());
                continue;
            }
            Mutation::Drop { line } => {
                lines.remove(line % count);
            }
            Mutation::Repeat { line } => {
                let again = lines[line % count].clone();
                lines.push(again);
            }
            Mutation::Swap { line, other } => lines.swap(line % count, other % count),
            Mutation::Overlong { line } => {
                lines.insert(line % count, vec![b'x'; 5000]);
            }
            Mutation::LineEnds => {
                for line in &mut lines {
                    if line.ends_with(b"\n") {
                        line.insert(line.len() - 1, b'\r');
                    }
                }
            }
            Mutation::Number { line, nth, with } => {
                let line = &mut lines[line % count];
                let begins = |&place: &usize| {
                    line[place].is_ascii_digit()
                        && (place == 0 || !line[place - 1].is_ascii_digit())
                };
                let starts: Vec<usize> = (0..line.len()).filter(begins).collect();
                if let Some(&start) = starts.get(nth % starts.len().max(1)) {
                    let digits = line[start..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit());
                    let end = start + digits.count();
                    line.splice(start..end, with.bytes());
                }
            }
            Mutation::NoUnit { line } => {
                let line = &mut lines[line % count];
                if line.ends_with(b" kB\n") {
                    line.truncate(line.len() - b" kB\n".len());
                    line.push(b'\n');
                }
            }
        }
        text = lines.concat();
    }
    text
}

fn real(name: &str) -> Vec<u8> {
    fs::read(tree("real").join(name)).expect("it is there")
}

/// The same machine with nothing left, by its own numbers.
fn exhausted() -> Vec<u8> {
    let text = String::from_utf8(real("meminfo")).expect("the kernel's");
    let lines = text.lines().map(|line| {
        let (key, rest) = line.split_once(':').expect("the kernel's");
        match key {
            "MemTotal" | "Hugepagesize" => line.to_owned(),
            "AnonPages" => "AnonPages: 24200000 kB".to_owned(),
            _ if rest.ends_with(" kB") => format!("{key}: 40000 kB"),
            _ => line.to_owned(),
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    let text = text.replace("Hugetlb: 40000 kB", "Hugetlb: 0 kB");
    let text = text.replace("SwapTotal: 40000 kB", "SwapTotal: 0 kB");
    text.replace("SwapFree: 40000 kB", "SwapFree: 0 kB")
        .into_bytes()
}

fn read(text: &[u8]) -> Option<Memory> {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), text).expect("there is room for a file");
    let mut meminfo = Meminfo::open(file.path()).expect("it is there");
    let memory = meminfo.read().ok()?;
    while let Some(implausible) = meminfo.next_implausible() {
        assert!(!implausible.to_string().is_empty());
    }
    Some(memory)
}

thread_local! {
    /// Its level goes by memory alone.
    static GUARD: RefCell<Guard> = RefCell::new(Guard::new(
        Settings::default(),
        Gates::default(),
        Surroundings::default(),
        0,
    ));
}

fn level(memory: &Memory) -> Level {
    GUARD.with_borrow_mut(|guard| {
        guard.handle(
            Moment::ORIGIN,
            Event::Memory(*memory),
            &mut Effects::default(),
        );
        guard.level()
    })
}

/// What the first line with `key` says in kB, read in the plainest way, where
/// that can be true on a machine of `total` kB.
fn field(text: &[u8], key: &str, total: u64) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    let value = text.split('\n').find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == key).then(|| value.trim().to_owned())
    })?;
    let digits = value.strip_suffix(" kB")?.trim().to_owned();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| digits.parse().ok()).flatten()?;
    (number <= total).then_some(number)
}

/// Whether, by all fields still present, next to nothing is left: nothing free,
/// no page cache, no slab to reclaim, no swap.
fn nothing_is_left(text: &[u8], memory: &Memory) -> bool {
    let total = memory.total_bytes >> 10;
    let little = (memory.usable_bytes() / 100) >> 10;
    let is_little = |key| field(text, key, total).is_none_or(|kib| kib <= little);
    let file = |key| field(text, key, total);
    let has_free = file("MemFree").is_some_and(|kib| kib <= little);
    let listed = file("Active(file)").zip(file("Inactive(file)"));
    let cached = file("Cached").is_some_and(|kib| kib <= little) && is_little("Buffers");
    let no_cache = match listed {
        Some((active, inactive)) => active + inactive <= little,
        None => cached,
    };
    let swap_total = field(text, "SwapTotal", u64::MAX >> 20).unwrap_or(0);
    let swap_free = field(text, "SwapFree", u64::MAX >> 20).unwrap_or(0);
    has_free
        && no_cache
        && is_little("SReclaimable")
        && is_little("KReclaimable")
        && swap_free.min(swap_total) <= swap_total / 20
}

/// Whether more is free than the kill level and what the kernel keeps back for
/// itself (8 %) come to.
fn much_is_free(text: &[u8], memory: &Memory) -> bool {
    let total = memory.total_bytes >> 10;
    let free = field(text, "MemFree", total).unwrap_or(0);
    free > total / 100 * 13 + 1024
}

/// The whole lines of `text` among its first 8 KiB: what a meminfo, a quarter of
/// that, is read to.
fn read_part(text: &[u8]) -> &[u8] {
    match text.get(..8192) {
        Some(part) => {
            let end = part.iter().rposition(|&byte| byte == b'\n');
            &part[..end.unwrap_or(0)]
        }
        None => text,
    }
}

fn check(text: &[u8]) -> Result<(), TestCaseError> {
    let Some(memory) = read(text) else {
        return Ok(());
    };
    let text = read_part(text);
    let level = level(&memory);
    prop_assert!(memory.total_bytes > 0);
    prop_assert!(memory.available_bytes <= memory.total_bytes + memory.total_bytes / 64);
    prop_assert!(memory.swap_free_bytes <= memory.swap_total_bytes);
    prop_assert!(memory.total_bytes.max(memory.swap_total_bytes) <= 1 << 56);
    if much_is_free(text, &memory) {
        prop_assert_ne!(level, Level::Kill, "{:?}", memory);
        let total = memory.total_bytes >> 10;
        let available = field(text, "MemAvailable", total).unwrap_or(0);
        if available == 0 || available > total / 100 * 12 {
            prop_assert_eq!(level, Level::Ok, "{:?}", memory);
        }
    }
    if nothing_is_left(text, &memory) {
        prop_assert_ne!(level, Level::Ok, "{:?}", memory);
    }
    Ok(())
}

#[test]
fn no_process_holds_more_than_there_is() {
    let copy = Copy::of("real");
    copy.write("1204/statm", "99999999999 88888888888 7 1 0 1 0\n");
    copy.change("1204/status", "VmSwap:\t       0", "VmSwap:\t 9999999");
    let mut table = copy.table();
    table.scan(Depth::Full);
    let mut process = table.get(1204);
    let memory = Memory {
        total_bytes: 1000,
        swap_total_bytes: 100,
        ..Memory::default()
    };
    assert!(sensors::bound(&mut process, &memory));
    let held = [process.rss_bytes, process.anon_bytes, process.swap_bytes];
    assert_eq!(held, [1000, 1000, 100]);
    assert!(!sensors::bound(&mut process, &memory), "a second time");
}

#[test]
fn the_seeds_are_what_they_are_meant_to_be() {
    let memory = read(&real("meminfo")).expect("it is the kernel's");
    assert_eq!(level(&memory), Level::Ok);
    assert!(much_is_free(&real("meminfo"), &memory));
    let memory = read(&exhausted()).expect("it says all");
    assert_eq!(level(&memory), Level::Kill);
    assert!(nothing_is_left(&exhausted(), &memory));
}

/// Three machines that were seen in the field.
#[test]
fn none_available_with_half_free_is_ok_fifteen_times_all_is_short_and_wrapped_swap_is_none() {
    let machine = |available: &str, free_kib: u64, swap: &str| {
        let text = format!(
            "MemTotal: 8000000 kB\nMemFree: {free_kib} kB\nMemAvailable: {available} kB\n\
             Buffers: 0 kB\nCached: 400000 kB\nActive(file): 200000 kB\n\
             Inactive(file): 200000 kB\nAnonPages: 3000000 kB\nShmem: 0 kB\n{swap}"
        );
        read(text.as_bytes()).expect("it says enough")
    };
    let none = "SwapTotal: 0 kB\nSwapFree: 0 kB\n";
    assert_eq!(level(&machine("0", 4_240_000, none)), Level::Ok);
    assert_eq!(level(&machine("120000000", 240_000, none)), Level::Warn);
    // 2^64 - 205, as lxcfs serves it.
    let wrapped = "SwapTotal: 1000000 kB\nSwapFree: 18446744073709551411 kB\n";
    let memory = machine("300000", 100_000, wrapped);
    assert_eq!(memory.swap_free_bytes, 0);
    assert_eq!(level(&memory), Level::Kill);
    let memory = machine("4600000", 4_240_000, wrapped);
    assert_eq!(level(&memory), Level::Ok);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_changed_meminfo_of_an_idle_machine_reaches_no_level_that_it_denies(
        mutations in mutations(),
    ) {
        check(&mutate(&real("meminfo"), &mutations))?;
    }

    #[test]
    fn a_changed_meminfo_of_an_exhausted_machine_reaches_no_level_that_it_denies(
        mutations in mutations(),
    ) {
        check(&mutate(&exhausted(), &mutations))?;
    }

    /// The one field that is known to lie.
    #[test]
    fn whatever_is_said_to_be_available_is_held_against_the_rest(
        available in prop_oneof![any::<u64>(), 0..30_000_000_u64, Just(0)],
        is_exhausted: bool,
        mutations in mutations(),
    ) {
        let seed = if is_exhausted { exhausted() } else { real("meminfo") };
        let lines: Vec<String> = String::from_utf8_lossy(&seed)
            .lines()
            .map(|line| match line.starts_with("MemAvailable:") {
                true => format!("MemAvailable: {available} kB\n"),
                false => format!("{line}\n"),
            })
            .collect();
        check(lines.concat().as_bytes())?;
        check(&mutate(lines.concat().as_bytes(), &mutations))?;
    }
}

/// Writes a changed copy of one file of the real tree.
fn changed(name: &str, mutations: &[Mutation]) -> Copy {
    let copy = Copy::of("real");
    fs::write(copy.path().join(name), mutate(&real(name), mutations)).expect("it is ours");
    copy
}

fn at(copy: &Copy, name: &str) -> PathBuf {
    copy.path().join(Path::new(name))
}

/// A cgroup of either version with a changed file, and what it may use of `machine`.
fn in_a_changed_cgroup(
    is_version_1: bool,
    changed: usize,
    mutations: &[Mutation],
    machine: &Memory,
) -> Option<Memory> {
    let (kind, seed) = match is_version_1 {
        true => ("cgroup cgroup rw,memory", "cgroup-v1"),
        false => ("cgroup2 cgroup2 rw", "cgroup-v2"),
    };
    let copy = Copy::of("real");
    let mount = copy.path().join(seed);
    fs::create_dir(copy.path().join("self")).expect("it is ours");
    let line = format!("31 25 0:26 / {} rw - {kind}\n", mount.display());
    copy.write("self/mountinfo", &line);
    let cgroup = Cgroup::find(copy.path(), Path::new("/a")).expect("it is there");
    let mut memory = CgroupMemory::open(cgroup).expect("it has a limit");
    let mut names: Vec<PathBuf> = fs::read_dir(mount.join("a"))
        .expect("it is there")
        .map(|entry| entry.expect("it is there").path())
        .collect();
    names.sort();
    let path = &names[changed % names.len()];
    let text = mutate(&fs::read(path).expect("it is there"), mutations);
    fs::write(path, text).expect("it is ours");
    let read = memory.read(machine).ok();
    while let Some((_, implausible)) = memory.next_implausible() {
        assert!(!implausible.to_string().is_empty());
    }
    memory.new_kills();
    read
}

proptest! {
    #[test]
    fn a_changed_file_of_a_cgroup_leaves_it_no_more_than_its_machine_has(
        is_version_1: bool,
        changed: usize,
        mutations in mutations(),
        available_mib in 0..20_000_u64,
    ) {
        let machine = Memory {
            total_bytes: 24_684_092 << 10,
            available_bytes: available_mib << 20,
            at_least_bytes: available_mib << 19,
            swap_total_bytes: 1 << 30,
            swap_free_bytes: 1 << 29,
            ..Memory::default()
        };
        let read = in_a_changed_cgroup(is_version_1, changed, &mutations, &machine);
        if let Some(memory) = read {
            prop_assert!(memory.total_bytes <= machine.total_bytes);
            let most = memory.total_bytes.min(machine.available_bytes);
            prop_assert!(memory.available_bytes <= most);
            prop_assert!(memory.at_least_bytes <= memory.available_bytes);
            prop_assert!(memory.swap_free_bytes <= memory.swap_total_bytes);
            prop_assert!(memory.swap_free_bytes <= machine.swap_free_bytes);
            prop_assert!(memory.anon_bytes.max(memory.shmem_bytes) <= memory.total_bytes);
        }
    }

    #[test]
    fn the_lists_of_each_cpu_never_hold_more_than_memory_allows(mutations in mutations()) {
        let copy = changed("zoneinfo", &mutations);
        let mut zoneinfo = Zoneinfo::open(&at(&copy, "zoneinfo")).expect("it is there");
        if let Ok(bytes) = zoneinfo.per_cpu_bytes(true) {
            prop_assert!(bytes <= 1 << 57);
        }
        while zoneinfo.next_implausible().is_some() {}
    }

    #[test]
    fn a_changed_pressure_file_is_read_or_refused(mutations in mutations()) {
        let copy = changed("pressure/memory", &mutations);
        let mut file = PressureFile::open(&at(&copy, "pressure/memory")).expect("it is there");
        if let Ok(pressure) = file.read() {
            prop_assert!(pressure.full.avg10.hundredths() <= 10_000);
        }
    }

    #[test]
    fn what_the_module_says_is_bounded_or_not_said(mutations in mutations()) {
        let copy = changed("oom_notifier", &mutations);
        let opened = Notifier::open(&at(&copy, "oom_notifier")).expect("it is ours");
        let mut notifier = opened.expect("it is there");
        let notified = notifier.read().expect("it is a file");
        let before = Memory { total_bytes: 501_006_336, ..Memory::default() };
        if let Some(memory) = notified.updated(before) {
            prop_assert!(memory.available_bytes <= memory.total_bytes);
            prop_assert!(memory.swap_free_bytes <= memory.swap_total_bytes);
        }
        while notifier.next_implausible().is_some() {}
    }

    #[test]
    fn a_changed_process_is_taken_in_or_left_out(
        file in prop_oneof![Just("stat"), Just("status"), Just("statm"),
            Just("oom_score_adj"), Just("cgroup")],
        mutations in mutations(),
    ) {
        let copy = changed(&format!("1204/{file}"), &mutations);
        let mut table = copy.table();
        let memory = Memory { total_bytes: 24_684_092 << 10, ..Memory::default() };
        for depth in [Depth::Full, Depth::Fast, Depth::Held] {
            // A fault of one process is no fault of the table's.
            let _ = table.try_scan(depth);
            for process in table.table.processes() {
                let mut process = *process;
                sensors::bound(&mut process, &memory);
                prop_assert!(process.anon_bytes <= memory.total_bytes);
                prop_assert_eq!(process.swap_bytes, 0);
            }
        }
    }

    #[test]
    fn a_changed_time_of_boot_is_read_or_refused(mutations in mutations()) {
        let copy = changed("stat", &mutations);
        let _ = ProcRoot::at(copy.path()).runner(1204);
    }
}
