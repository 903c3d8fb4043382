//! `/proc/oom_notifier`, the file of our kernel module. What it says and how it
//! is answered stands in `kmod/memory_info_uapi.h`, which the tests hold this
//! reader against.

use std::fmt::Arguments;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, write};

use crate::error::{ReadError, beginning};
use crate::file::read_whole;
use crate::number::decimal;
use crate::plausible::{self, Implausible, Notified, NotifierFindings};

/// The text is shorter than this: `MEMORY_INFO_TEXT_MAX`.
const TEXT_BYTES: usize = 1024;

/// Percentages of memory and of swap, whole, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentages {
    /// Of MemTotal − Hugetlb.
    pub memory: u8,
    /// Of SwapTotal.
    pub swap: u8,
}

/// The module's listener: the kernel waits for its answer before it kills.
///
/// Its descriptor becomes ready (POLLPRI) at each change of level and each
/// last call, until it is read.
#[derive(Debug)]
pub struct Notifier {
    path: PathBuf,
    file: OwnedFd,
    buffer: Box<[u8; TEXT_BYTES]>,
    findings: NotifierFindings,
}

impl Notifier {
    /// Becomes the listener at `path`; `None` where the module is not loaded.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`]: it is there and cannot be opened: not by others than
    /// root (EACCES), by a root without CAP_SYS_RESOURCE (EPERM: a container's),
    /// nor while another listens (EBUSY).
    pub fn open(path: &Path) -> Result<Option<Self>, ReadError> {
        match openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(Self {
                path: path.to_owned(),
                file,
                buffer: Box::new([0; TEXT_BYTES]),
                findings: NotifierFindings::default(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(ReadError::Open {
                path: path.to_owned(),
                source: errno.into(),
            }),
        }
    }

    /// Reads what the module says: one or two pread(2), no heap, here or in
    /// the kernel.
    ///
    /// # Errors
    ///
    /// [`ReadError::Read`].
    pub fn read(&mut self) -> Result<Notified, ReadError> {
        let len =
            read_whole(&self.file, &mut self.buffer[..]).map_err(|errno| ReadError::Read {
                path: self.path.clone(),
                source: errno.into(),
            })?;
        Ok(plausible::notified(&self.buffer[..len], &mut self.findings))
    }

    /// What was implausible in the last reading and was not yet asked for here.
    /// Each is told once, until it was right in between.
    pub fn next_implausible(&mut self) -> Option<Implausible> {
        self.findings.next_unsaid()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Claims the last call `sequence`: what follows is for it. Before anything
    /// is killed, and without taking memory, as what follows.
    ///
    /// # Errors
    ///
    /// ETIME: the call is over, or memory is back, and nothing need be killed.
    /// ESTALE: there has been another call since; read it.
    pub fn claim(&self, sequence: u64) -> Result<(), Errno> {
        self.say(format_args!("{sequence} claim\n"))
    }

    /// Answers the last call `sequence`: memory will come.
    ///
    /// # Errors
    ///
    /// As [`Notifier::claim`].
    pub fn answer(&self, sequence: u64) -> Result<(), Errno> {
        self.say(format_args!("{sequence}\n"))
    }

    /// Answers the last call `sequence`: none will, the kernel need not wait.
    ///
    /// # Errors
    ///
    /// As [`Notifier::claim`].
    pub fn decline(&self, sequence: u64) -> Result<(), Errno> {
        self.say(format_args!("{sequence} none\n"))
    }

    fn say(&self, words: Arguments<'_>) -> Result<(), Errno> {
        // 2^64 has twenty digits.
        let mut text = [0; 32];
        let mut rest = &mut text[..];
        let _ = rest.write_fmt(words);
        let left = rest.len();
        write(&self.file, &text[..text.len() - left]).map(|_| ())
    }

    /// The pid of the process that listens at `path`, if any does and the module
    /// says so.
    #[must_use]
    pub fn listener(path: &Path) -> Option<u32> {
        let text = fs::read_to_string(path).ok()?;
        let mut lines = text.lines();
        let pid = lines.find_map(|line| line.strip_prefix("ListenerPid: "))?;
        pid.parse().ok().filter(|&pid| pid != 0)
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The module's parameters.
#[derive(Clone, Debug)]
pub struct NotifierParameters {
    directory: PathBuf,
}

impl NotifierParameters {
    /// The parameters in `directory`, which is
    /// `/sys/module/memory_info/parameters` or looks like it.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// How long a last call waits, in milliseconds.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`] and [`ReadError::Malformed`].
    pub fn grace_millis(&self) -> Result<u64, ReadError> {
        let path = self.directory.join("grace_ms");
        let text = fs::read_to_string(&path).map_err(|source| ReadError::Open {
            path: path.clone(),
            source,
        })?;
        decimal(text.trim_ascii().as_bytes()).ok_or_else(|| ReadError::Malformed {
            path,
            line: 1,
            expected: "milliseconds",
            found: beginning(text.as_bytes()),
        })
    }

    /// Has the module wake us at these levels.
    ///
    /// # Errors
    ///
    /// [`ReadError::Write`]: the module refuses them, or we are not root.
    pub fn set_levels(&self, warn: Percentages, kill: Percentages) -> Result<(), ReadError> {
        // Neither may be above the other at any moment between.
        let nothing = Percentages { memory: 0, swap: 0 };
        self.set("kill_percent", nothing)?;
        self.set("warn_percent", warn)?;
        self.set("kill_percent", kill)
    }

    fn set(&self, parameter: &str, percentages: Percentages) -> Result<(), ReadError> {
        let path = self.directory.join(parameter);
        let text = format!("{},{}\n", percentages.memory, percentages.swap);
        fs::write(&path, text).map_err(|source| ReadError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    use model::Memory;

    use super::*;
    use crate::plausible::{NOTIFIER_KEYS, NotifierLevel};

    fn parse(text: &[u8]) -> Notified {
        plausible::notified(text, &mut NotifierFindings::default())
    }

    /// The header's own example, every line of it with ` *\t` before.
    fn example() -> String {
        let header = include_str!("../../../kmod/memory_info_uapi.h");
        let lines = header.lines().filter_map(|line| line.strip_prefix(" *\t"));
        let mut text = String::new();
        for line in lines {
            let is_level = line == "1";
            if is_level || (!text.is_empty() && line.contains(": ")) {
                text.push_str(line);
                text.push('\n');
            }
            if line.starts_with("ListenerPid") {
                break;
            }
        }
        text
    }

    #[test]
    fn the_headers_example_is_understood() {
        let notified = parse(example().as_bytes());
        assert_eq!(notified.level, Some(NotifierLevel::Warn));
        assert_eq!(notified.total_bytes, Some(501_006_336));
        assert_eq!(notified.available_bytes, Some(48_177_152));
        assert_eq!(notified.sequence, Some(0));
    }

    #[test]
    fn the_headers_names_are_ours() {
        let header = include_str!("../../../kmod/memory_info_uapi.h");
        // The level, on the first line, has no key.
        for (key, _) in &NOTIFIER_KEYS[..6] {
            let quoted = format!("\"{key}\"");
            assert!(header.contains(&quoted), "{quoted}");
        }
        assert!(header.contains(&format!("MEMORY_INFO_TEXT_MAX {TEXT_BYTES}")));
        for (name, level) in [("OK", 0), ("WARN", 1), ("KILL", 2), ("LAST_CALL", 3)] {
            assert!(
                header.contains(&format!("MEMORY_INFO_{name} = {level},")),
                "{name}"
            );
        }
    }

    #[test]
    fn keys_of_a_later_version_are_passed_over() {
        let text = example() + "Colour: blue\nno key at all\n";
        assert_eq!(parse(text.as_bytes()), parse(example().as_bytes()));
    }

    #[test]
    fn a_field_that_cannot_be_true_costs_that_field() {
        let whole = parse(example().as_bytes());
        let check = |from: &str, to: &str, want: Notified| {
            let text = example().replacen(from, to, 1);
            assert_ne!(text, example(), "{from}");
            assert_eq!(parse(text.as_bytes()), want, "{to}");
        };
        let without_level = Notified {
            level: None,
            ..whole
        };
        check("1\n", "7\n", without_level);
        check("1\n", "\n", without_level);
        check("1\n", "1\r\n", whole);
        check("501006336", "000501006336", whole);
        let without_available = Notified {
            available_bytes: None,
            ..whole
        };
        for available in ["-1", "501006337", "18446744073709551411", "many", ""] {
            check("48177152", available, without_available);
        }
        let without_total = Notified {
            total_bytes: None,
            ..whole
        };
        check("501006336", "-1", without_total);
        check("501006336", "0", without_total);
    }

    #[test]
    fn what_the_module_does_not_say_is_as_it_was_but_for_available_memory_and_swap() {
        let before = Memory {
            total_bytes: 600_000_000,
            hugetlb_bytes: 7,
            swap_total_bytes: 9,
            swap_free_bytes: 9,
            ..Memory::default()
        };
        let text = example()
            .replace("MemTotalBytes: 501006336", "MemTotalBytes: ?")
            .replace("HugetlbBytes: 0", "HugetlbBytes: ?")
            .replace("SwapTotalBytes: 0", "SwapTotalBytes: 4096")
            .replace("SwapFreeBytes: 0", "SwapFreeBytes: 1024");
        let memory = parse(text.as_bytes())
            .updated(before)
            .expect("available memory and swap are told");
        assert_eq!(memory.total_bytes, 600_000_000);
        assert_eq!(memory.hugetlb_bytes, 7);
        assert_eq!(memory.available_bytes, 48_177_152);
        assert_eq!(
            (memory.swap_total_bytes, memory.swap_free_bytes),
            (4096, 1024)
        );
        let without_swap = |from: &str, to: &str| {
            let text = text.replace(from, to);
            assert_eq!(parse(text.as_bytes()).updated(before), None, "{to}");
        };
        without_swap("SwapTotalBytes: 4096\n", "");
        without_swap("SwapTotalBytes: 4096", "SwapTotalBytes: 0");
        without_swap("SwapFreeBytes: 1024\n", "");
        without_swap("SwapFreeBytes: 1024", "SwapFreeBytes: 4097");
        without_swap("SwapFreeBytes: 1024", "SwapFreeBytes: 18446744073709551411");
        assert_eq!(parse(b"3\n").updated(before), None);
        assert_eq!(parse(b"3\n").level, Some(NotifierLevel::LastCall));
    }

    /// As it is while the module cannot read meminfo.
    #[test]
    fn swap_whose_total_is_not_known_is_no_fault() {
        let mut findings = NotifierFindings::default();
        let text = example()
            .replace("SwapTotalBytes: 0\n", "")
            .replace("SwapFreeBytes: 0", "SwapFreeBytes: 4096");
        let notified = plausible::notified(text.as_bytes(), &mut findings);
        assert_eq!(notified.swap_free_bytes, None);
        assert_eq!(findings.next_unsaid().map(|found| found.to_string()), None);
    }

    #[test]
    fn what_was_set_aside_before_leaves_room_for_what_is_available_now() {
        let before = Memory {
            total_bytes: 600_000_000,
            hugetlb_bytes: 500_000_000,
            ..Memory::default()
        };
        let text = example().replace("HugetlbBytes: 0", "HugetlbBytes: ?");
        let memory = parse(text.as_bytes())
            .updated(before)
            .expect("available is told");
        assert_eq!(memory.available_bytes, 48_177_152);
        assert_eq!(memory.usable_bytes(), 48_177_152);
        let small = Memory {
            total_bytes: 48_177_151,
            ..before
        };
        let text = text.replace("MemTotalBytes: 501006336", "MemTotalBytes: ?");
        assert_eq!(parse(text.as_bytes()).updated(small), None);
    }

    #[test]
    fn each_fault_is_told_once_until_it_was_right_in_between() {
        let mut findings = NotifierFindings::default();
        let good = example();
        let bad = good.replace("48177152", "many");
        let mut told = |text: &str| {
            plausible::notified(text.as_bytes(), &mut findings);
            findings.next_unsaid().map(|found| found.to_string())
        };
        let want = ", line 4: expected `MemAvailableBytes: <number>`, found `many`; ignored";
        assert_eq!(told(&good), None);
        assert_eq!(told(&bad).as_deref(), Some(want));
        assert_eq!(told(&bad), None);
        assert_eq!(told(&good), None);
        assert_eq!(told(&bad).as_deref(), Some(want));
    }

    #[test]
    fn the_file_says_which_process_listens() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("oom_notifier");
        let check = |pid: &str, want| {
            let text = example().replace("ListenerPid: 0", &format!("ListenerPid: {pid}"));
            fs::write(&file, text).expect("ours");
            assert_eq!(Notifier::listener(&file), want, "{pid}");
        };
        check("812", Some(812));
        check("0", None);
        check("init", None);
        assert_eq!(Notifier::listener(folder.path()), None);
    }

    #[test]
    fn a_machine_without_the_module_has_no_notifier() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let notifier = Notifier::open(&folder.path().join("oom_notifier"));
        assert!(matches!(notifier, Ok(None)));
    }

    #[test]
    fn levels_are_set_so_that_kill_is_never_above_warn_and_answers_are_numbers() {
        let folder = tempfile::TempDir::new().expect("a folder");
        fs::write(folder.path().join("grace_ms"), "500\n").expect("ours");
        let parameters = NotifierParameters::at(folder.path());
        let percent = |memory, swap| Percentages { memory, swap };
        parameters
            .set_levels(percent(10, 100), percent(5, 100))
            .expect("ours");
        let read = |name| fs::read_to_string(folder.path().join(name)).expect("written");
        assert_eq!(read("warn_percent"), "10,100\n");
        assert_eq!(read("kill_percent"), "5,100\n");
        assert_eq!(parameters.grace_millis().expect("a number"), 500);

        let file = folder.path().join("notifier");
        fs::write(&file, example()).expect("ours");
        let mut notifier = Notifier::open(&file).expect("ours").expect("there");
        assert_eq!(
            notifier.read().expect("good").level,
            Some(NotifierLevel::Warn)
        );
        let check_says = |say: &dyn Fn(u64) -> Result<(), Errno>, want: &str| {
            fs::write(&file, "").expect("ours");
            say(u64::MAX).expect("a file takes it");
            let written = fs::read_to_string(&file).expect("ours");
            assert_eq!(written.trim_start_matches('\0'), want);
        };
        check_says(&|n| notifier.claim(n), "18446744073709551615 claim\n");
        check_says(&|n| notifier.answer(n), "18446744073709551615\n");
        check_says(&|n| notifier.decline(n), "18446744073709551615 none\n");
    }
}
