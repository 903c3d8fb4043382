//! `/proc/swaps` and `/sys/block/zram<n>/mm_stat`: good, old, absent, empty, cut
//! short, malformed, and changing.

mod support;

use std::fs;
use std::path::PathBuf;

use model::Memory;
use sensors::{ReadError, Zram};
use support::chain;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

/// A machine whose files say what it is told to say.
struct Machine(TempDir);

impl Machine {
    /// With these lines of swaps, in MiB: name, size, used.
    fn new(swaps: &[(&str, u64, u64)]) -> Self {
        let machine = Self(tempfile::tempdir().expect("it can be had"));
        machine.set_swaps(swaps);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set_swaps(&self, swaps: &[(&str, u64, u64)]) {
        let lines = swaps.iter().map(|(name, size, used)| {
            let (size, used) = (size << 10, used << 10);
            format!("{name}                              partition\t{size}\t\t{used}\t\t100\n")
        });
        let text: String = [HEADER.to_owned()].into_iter().chain(lines).collect();
        fs::write(self.path("swaps"), text).expect("it can be had");
    }

    /// In place, as in sysfs.
    fn write(&self, device: &str, text: &str) {
        fs::create_dir_all(self.path(device)).expect("it can be had");
        fs::write(self.path(device).join("mm_stat"), text).expect("it can be had");
    }

    /// In MiB, as Linux 6.1 writes it.
    fn set_stored(&self, device: &str, original: u64, used: u64, limit: u64) {
        let [original, used, limit] = [original, used, limit].map(|mib| mib * MIB);
        let compressed = used / 2;
        let text = format!(
            "{original:>8} {compressed:>8} {used:>8} {limit:>8} {used:>8} {:>8} {:>8} {:>8} {:>8}\n",
            3, 0, 5, 7
        );
        self.write(device, &text);
    }

    fn open(&self) -> Zram {
        Zram::open(&self.path("swaps"), self.0.path()).expect("it can be had")
    }

    fn measure(&self) -> (Result<(), ReadError>, Memory) {
        let mut zram = self.open();
        let measured = zram.measure();
        (measured, of(&zram))
    }

    /// What the free swap is worth, in MiB, and what zram holds.
    #[track_caller]
    fn worth(&self) -> (u64, u64) {
        let (measured, memory) = self.measure();
        measured.expect("it can be had");
        (memory.free_swap_bytes() / MIB, memory.zram_bytes / MIB)
    }

    /// How what is measured fails; it counts as compressed by half.
    #[track_caller]
    fn check_guessed(&self, want: &str) {
        let (measured, memory) = self.measure();
        let told = chain(&measured.expect_err("it makes no sense"));
        assert!(told.contains(want), "{told}");
        assert_eq!(memory.free_swap_bytes() / MIB, 300);
    }
}

/// On a machine of which 600 MiB of 1000 MiB of swap are free.
fn of(zram: &Zram) -> Memory {
    let mut memory = Memory {
        total_bytes: 2000 * MIB,
        swap_total_bytes: 1000 * MIB,
        swap_free_bytes: 600 * MIB,
        ..Memory::default()
    };
    zram.count(&mut memory);
    memory
}

#[test]
fn free_swap_in_zram_is_worth_as_much_as_compressing_gains() {
    let machine = Machine::new(&[("/dev/zram0", 1000, 400)]);
    for (used, want) in [
        (0, 578..600),
        (100, 439..450),
        (200, 300..301),
        (300, 150..158),
        // A gain of up to an eighth counts as none, of a quarter in full.
        (325, 70..90),
        (350, 0..10),
        (355, 0..1),
        (400, 0..1),
    ] {
        machine.set_stored("zram0", 400, used, 0);
        let (worth, holds) = machine.worth();
        assert!(want.contains(&worth), "{worth} of {used}");
        assert_eq!(holds, used);
    }
    // Its pools may take more than is stored in them.
    machine.set_stored("zram0", 400, 420, 0);
    assert_eq!(machine.worth(), (0, 420));
}

#[test]
fn of_an_empty_one_the_half_is_promised() {
    let machine = Machine::new(&[("/dev/zram0", 1000, 400)]);
    machine.set_stored("zram0", 0, 0, 0);
    assert_eq!(machine.worth(), (300, 0));
    // Three pages of noise say nothing yet.
    machine.write("zram0", "12288 12288 12288 0 12288 0 0 3\n");
    assert_eq!(machine.worth().0, 299);
}

#[test]
fn where_its_memory_is_limited_no_more_is_worth_anything_than_fits() {
    let machine = Machine::new(&[("/dev/zram0", 1000, 400)]);
    machine.set_stored("zram0", 400, 200, 300);
    // 100 MiB more, in which 200 find room.
    assert_eq!(machine.worth().0, 100);
    machine.set_stored("zram0", 400, 200, 200);
    assert_eq!(machine.worth().0, 0);
}

#[test]
fn swap_on_a_disk_is_worth_all_of_it() {
    let machine = Machine::new(&[("/dev/vda2", 500, 0), ("/swap\\040zram1", 500, 400)]);
    assert_eq!(machine.worth(), (600, 0));
    let machine = Machine::new(&[("/dev/zram0", 500, 400), ("/dev/vda2", 500, 0)]);
    machine.set_stored("zram0", 400, 400, 0);
    let (worth, _) = machine.worth();
    assert!((500..504).contains(&worth), "{worth}");
}

#[test]
fn several_devices_are_added_up_and_those_that_are_too_many_are_as_the_others() {
    let names: Vec<String> = (0..20).map(|number| format!("/dev/zram{number}")).collect();
    let swaps: Vec<_> = names.iter().map(|name| (name.as_str(), 50, 20)).collect();
    let machine = Machine::new(&swaps);
    for number in 0..20 {
        machine.set_stored(&format!("zram{number}"), 20, 5, 0);
    }
    let (worth, _) = machine.worth();
    assert!((435..450).contains(&worth), "{worth}");
}

#[test]
fn what_is_added_later_is_seen_in_the_next_quiet_round_and_what_is_removed_is_not() {
    let machine = Machine::new(&[]);
    machine.set_stored("zram0", 400, 400, 0);
    let mut zram = machine.open();
    zram.measure().expect("it can be had");
    assert_eq!(of(&zram).free_swap_bytes(), 600 * MIB);

    machine.set_swaps(&[("/dev/zram0", 1000, 400)]);
    zram.refresh();
    zram.measure().expect("it can be had");
    assert!(of(&zram).free_swap_bytes() < 23 * MIB);
    // What changes meanwhile is read anew.
    machine.set_stored("zram0", 400, 0, 0);
    zram.measure().expect("it can be had");
    assert!(of(&zram).free_swap_bytes() > 570 * MIB);

    machine.set_swaps(&[]);
    zram.refresh();
    zram.measure().expect("it can be had");
    assert_eq!(of(&zram).free_swap_bytes(), 600 * MIB);
}

#[test]
fn an_old_kernels_seven_numbers_are_enough() {
    let machine = Machine::new(&[("/dev/zram0", 1000, 400)]);
    let half = 200 * MIB;
    machine.write("zram0", &format!("{} 1 {half} 0 {half} 0 0\n", 2 * half));
    assert_eq!(machine.worth(), (300, 200));
}

#[test]
fn what_makes_no_sense_counts_as_compressed_by_half() {
    let machine = Machine::new(&[("/dev/zram0", 1000, 400)]);
    machine.check_guessed("zram0/mm_stat`: ");
    for text in [
        "",
        "\n",
        "419430400 1 209715200",
        "419430400 1 209715200 0",
        "many 1 209715200 0 0\n",
        "419430400 1 -4 0 0\n",
        "18446744073709551615 1 209715200 0 0\n",
        // More than the device has.
        "1048576001 1 209715200 0 0\n",
        "419430400 1 2097152001 0 0\n",
    ] {
        machine.write("zram0", text);
        machine.check_guessed("zram0/mm_stat`, line 1: expected `<stored> <compressed> ");
    }
}

#[test]
fn swaps_that_make_no_sense_cost_their_line() {
    let machine = Machine::new(&[]);
    machine.set_stored("zram0", 400, 400, 0);
    for text in [
        "",
        "Filename",
        HEADER,
        "/dev/zram0 partition 1024000\n",
        "/dev/zram0 partition many 409600 100\n",
        "/dev/zram0 partition 18446744073709551615 409600 100\n",
        "/dev/zram99999999999 partition 1024000 409600 100\n",
        "/dev/zram partition 1024000 409600 100\n",
        "/dev/zram0p1 partition 1024000 409600 100\n",
    ] {
        fs::write(machine.path("swaps"), text).expect("it can be had");
        assert_eq!(machine.worth(), (600, 0), "{text}");
    }
    // More used than there is: nothing of it is free.
    machine.set_swaps(&[("/dev/zram0", 1000, 2000)]);
    assert_eq!(machine.worth(), (600, 400));
    // No more is worthless than meminfo says is free.
    machine.set_swaps(&[("/dev/zram0", 9000, 400)]);
    assert_eq!(machine.worth().0, 0);
}

#[test]
fn a_kernel_without_swap_has_no_such_file() {
    let machine = Machine::new(&[]);
    fs::remove_file(machine.path("swaps")).expect("it can be had");
    let opened = Zram::open(&machine.path("swaps"), machine.0.path());
    let told = chain(&opened.expect_err("it is not there"));
    assert!(told.starts_with("cannot open `"), "{told}");
}

#[test]
fn this_machines_can_be_read() {
    let Ok(mut zram) = Zram::open("/proc/swaps".as_ref(), "/sys/block".as_ref()) else {
        eprintln!("skipped: this kernel has no swap");
        return;
    };
    zram.measure().expect("it can be had");
}
