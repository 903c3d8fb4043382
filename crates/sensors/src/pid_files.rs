//! The text of the files of one process: `stat`, `status`, `statm` and the
//! rest of proc_pid(5).

use std::ffi::CStr;
use std::fmt::{self, Write as _};

use model::Name;

use crate::number::decimal;
use crate::plausible;

/// `<pid>/<file>` or `<pid>/task/<thread>/<file>`, made on the stack.
#[derive(Clone, Copy)]
pub(crate) struct PidPath {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl PidPath {
    /// `4294967295/task/4294967295/oom_score_adj` and its NUL are 42.
    const CAPACITY: usize = 48;

    pub(crate) fn new(pid: u32, file: &str) -> Self {
        Self::formatted(format_args!("{pid}/{file}"))
    }

    pub(crate) fn of_thread(pid: u32, thread: Option<u32>, file: &str) -> Self {
        match thread {
            Some(thread) => Self::formatted(format_args!("{pid}/task/{thread}/{file}")),
            None => Self::new(pid, file),
        }
    }

    fn formatted(text: fmt::Arguments<'_>) -> Self {
        let mut path = Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        };
        // Longer than CAPACITY is none; it would be cut, and not be found.
        let _ = path.write_fmt(text);
        path
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for PidPath {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        // One byte stays for the NUL.
        if end >= Self::CAPACITY {
            return Err(fmt::Error);
        }
        self.bytes[self.len..end].copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// What we use of `/proc/<pid>/stat`, proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: Name,
    pub(crate) state: FirstThread,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// Its controlling terminal, as the kernel numbers devices; 0: none.
    pub(crate) terminal: u32,
    /// The process group in the foreground of its terminal; 0: none.
    pub(crate) foreground: u32,
    pub(crate) is_kernel_thread: bool,
    /// Its first thread is ending, or has ended.
    pub(crate) is_exiting: bool,
    /// The process is on its way out, and not only its first thread.
    pub(crate) is_dying: bool,
    pub(crate) major_faults: u64,
    pub(crate) threads: u64,
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// What [`Stat::parse`] expects.
    pub(crate) const EXPECTED: &str = "`<pid> (<name>) <state> …` with 22 fields or more";

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        // PF_KTHREAD, PF_EXITING and PF_SIGNALED of the kernel's sched.h. The last is
        // set on a thread that ends by a fatal signal, or since its whole process
        // does.
        const KERNEL_THREAD: u64 = 0x0020_0000;
        const EXITING: u64 = 0x0000_0004;
        const SIGNALED: u64 = 0x0000_0400;

        // A name may hold any byte, parentheses and spaces among them; what
        // follows it holds no parenthesis.
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let name = Name::new(text.get(open + 1..close)?);
        let mut fields = text[close + 1..].split(u8::is_ascii_whitespace).skip(1);
        // From here on numbered as in the man page.
        let state = fields.next()?; // 3
        let parent = id(fields.next()?)?; // 4
        let group = id(fields.next()?)?; // 5
        let session = id(fields.next()?)?; // 6
        let terminal = id(fields.next()?).unwrap_or(0); // 7
        let foreground = id(fields.next()?).unwrap_or(0); // 8
        let flags = decimal(fields.next()?)?; // 9
        let major_faults = decimal(fields.nth(2)?)?; // 12
        let threads = decimal(fields.nth(7)?)?; // 20
        // A text that is cut short within a number must not pass for another
        // process: a field or the end of the line follows.
        let start_ticks = decimal(fields.nth(1)?)?; // 22
        fields.next()?;
        Some(Self {
            name,
            state: match state {
                b"Z" | b"X" | b"x" => FirstThread::Zombie,
                b"D" => FirstThread::Uninterruptible,
                b"T" | b"t" => FirstThread::Stopped,
                _ => FirstThread::Running,
            },
            parent,
            group,
            session,
            terminal,
            foreground,
            is_kernel_thread: flags & KERNEL_THREAD != 0,
            is_exiting: flags & EXITING != 0,
            is_dying: flags & SIGNALED != 0,
            major_faults,
            threads,
            start_ticks,
        })
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal != 0
    }

    /// The number of its terminal, where that is a pty: pts(4). Majors from 136 on
    /// are theirs, of which the kernel uses the first.
    pub(crate) fn pty(&self) -> Option<u32> {
        let (major, minor) = (
            (self.terminal >> 8) & 0xfff,
            (self.terminal & 0xff) | ((self.terminal >> 12) & 0x000f_ff00),
        );
        (major == 136).then_some(minor)
    }

    /// Whether the first thread has ended and others run on. The kernel then
    /// shows the process without memory, in all files but those of its
    /// threads.
    pub(crate) fn outlived_its_first_thread(&self) -> bool {
        self.state == FirstThread::Zombie && self.threads > 1
    }
}

/// What a process's first thread does, as far as we tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstThread {
    /// It runs, or in a sleep that a signal ends.
    Running,
    /// In a sleep that no signal ends.
    Uninterruptible,
    /// By a signal or a tracer.
    Stopped,
    /// It has ended.
    Zombie,
}

/// A pid; −1, as the kernel writes for one that is just being reaped, is 0.
fn id(text: &[u8]) -> Option<u32> {
    match text {
        b"-1" => Some(0),
        _ => u32::try_from(decimal(text)?).ok(),
    }
}

/// What we use of `/proc/<pid>/statm`, proc_pid_statm(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statm {
    /// Of all its mappings.
    pub(crate) size_pages: u64,
    pub(crate) resident_pages: u64,
    /// Of them, pages of files and of shared memory.
    pub(crate) shared_pages: u64,
    /// Of the code of what it executes, which is never unmapped or grown: other
    /// pages are another executable.
    pub(crate) code_pages: u64,
}

impl Statm {
    /// Pages of neither files nor shared memory.
    pub(crate) fn anon_pages(&self) -> u64 {
        self.resident_pages.saturating_sub(self.shared_pages)
    }

    /// What [`Statm::parse`] expects.
    pub(crate) const EXPECTED: &str = "`<size> <resident> <shared> <code> …`, in pages";

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(u8::is_ascii_whitespace);
        let size_pages = decimal(fields.next()?)?;
        let resident_pages = decimal(fields.next()?)?;
        let shared_pages = decimal(fields.next()?)?;
        let code_pages = decimal(fields.next()?)?;
        // Cut short within a number, otherwise.
        fields.next()?;
        let resident_pages = plausible::resident_pages(size_pages, resident_pages);
        Some(Self {
            size_pages,
            resident_pages,
            shared_pages: shared_pages.min(resident_pages),
            code_pages,
        })
    }
}

/// What we use of `/proc/<pid>/status`, proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStatus {
    /// The process it is a thread of; `None` until its line has been seen.
    pub(crate) process: Option<u32>,
    /// The real user id; `None` until its line has been seen.
    pub(crate) uid: Option<u32>,
    /// 0 for what has no memory: a zombie, a kernel thread.
    pub(crate) swap_bytes: u64,
    /// Resident shared memory: tmpfs files, System V, anonymous.
    pub(crate) shmem_bytes: u64,
    pub(crate) page_table_bytes: u64,
    /// It ignores SIGHUP.
    pub(crate) ignores_hangup: bool,
    /// It is in a pid namespace that is not ours,
    pub(crate) is_nested: bool,
    /// and is the first process of that.
    pub(crate) is_first: bool,
    /// Another process traces it: a debugger, strace(1).
    pub(crate) is_traced: bool,
    /// The signals that wait for the process or its first thread, the lowest bit
    /// being signal 1.
    pub(crate) pending_signals: u64,
}

impl ProcessStatus {
    /// Takes in one line of the file; else what would have been right.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<(), &'static str> {
        // The name, on the first line, is escaped: it cannot pass for a line.
        if let Some(value) = line.strip_prefix(b"Uid:") {
            let expected = "`Uid: <real> <effective> <saved> <filesystem>`";
            let real = value
                .trim_ascii_start()
                .split(u8::is_ascii_whitespace)
                .next();
            let uid = real.and_then(decimal).and_then(|uid| uid.try_into().ok());
            self.uid = Some(uid.ok_or(expected)?);
        } else if let Some(value) = line.strip_prefix(b"Tgid:") {
            let process = decimal(value.trim_ascii()).and_then(|pid| pid.try_into().ok());
            self.process = Some(process.ok_or("`Tgid: <pid>`")?);
        } else if let Some(value) = line.strip_prefix(b"VmSwap:") {
            self.swap_bytes = plausible::quantity(value);
        } else if let Some(value) = line.strip_prefix(b"RssShmem:") {
            self.shmem_bytes = plausible::quantity(value);
        } else if let Some(value) = line.strip_prefix(b"VmPTE:") {
            self.page_table_bytes = plausible::quantity(value);
        } else if let Some(value) = line
            .strip_prefix(b"SigPnd:")
            .or_else(|| line.strip_prefix(b"ShdPnd:"))
        {
            self.pending_signals |= signals(value);
        } else if let Some(value) = line.strip_prefix(b"SigIgn:") {
            self.ignores_hangup = signals(value) & 1 == 1;
        } else if let Some(value) = line.strip_prefix(b"TracerPid:") {
            self.is_traced = value.trim_ascii() != b"0";
        } else if let Some(value) = line.strip_prefix(b"NSpid:") {
            // Its pid in each namespace that it is in, ours first.
            let pids = value.trim_ascii();
            self.is_nested = pids.contains(&b'\t');
            self.is_first = pids.ends_with(b"\t1");
        }
        Ok(())
    }
}

/// A set of signals, the lowest bit being signal 1.
fn signals(mask: &[u8]) -> u64 {
    let mask = str::from_utf8(mask.trim_ascii()).ok();
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.unwrap_or(0)
}

/// The number of `oom_score` (0 to 2000) or `oom_score_adj` (−1000 to 1000).
pub(crate) fn signed(text: &[u8]) -> Option<i16> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    match text.strip_prefix(b"-") {
        Some(digits) => i16::try_from(decimal(digits)?).ok().map(|number| -number),
        None => i16::try_from(decimal(text)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &[u8] = b"1204 (a) b( S) R 1 1204 1200 34816 1204 4194304 500 10 77 3 \
        12 34 0 0 20 0 4 0 987654 1000000 2500 18446744073709551615 1 1 0\n";

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(stat.name, Name::new(b"a) b( S"));
        assert_eq!(stat.parent, 1);
        assert_eq!(stat.group, 1204);
        assert_eq!(stat.session, 1200);
        assert!(stat.has_terminal());
        assert_eq!(stat.pty(), Some(0));
        assert_eq!(stat.foreground, 1204);
        assert!(!stat.is_kernel_thread);
        assert_eq!(stat.major_faults, 77);
        assert_eq!(stat.threads, 4);
        assert_eq!(stat.start_ticks, 987_654);
    }

    #[test]
    fn a_stat_cut_short_is_refused() {
        let needed = STAT
            .windows(7)
            .position(|bytes| bytes == b"987654 ")
            .unwrap()
            + 6;
        for end in 0..=needed {
            assert_eq!(Stat::parse(&STAT[..end]), None, "cut at {end}");
        }
        assert!(Stat::parse(&STAT[..=needed]).is_some());
    }

    #[test]
    fn a_statm_cut_short_is_refused() {
        let statm = b"1000 200 50 10 0 90 0\n";
        for end in 0..14 {
            assert_eq!(Statm::parse(&statm[..end]), None, "cut at {end}");
        }
        assert_eq!(
            Statm::parse(statm),
            Some(Statm {
                size_pages: 1000,
                resident_pages: 200,
                shared_pages: 50,
                code_pages: 10
            })
        );
    }

    #[test]
    fn no_more_is_resident_than_there_is_of_it() {
        let statm = Statm::parse(b"1000 18446744073709551411 2000 1 0 1 0\n").unwrap();
        assert_eq!((statm.resident_pages, statm.shared_pages), (1000, 1000));
    }

    #[test]
    fn the_real_user_is_the_first_of_four() {
        let mut status = ProcessStatus::default();
        status.take(b"Uid:\t1000\t0\t0\t0").unwrap();
        status.take(b"VmSwap:\t     12 kB").unwrap();
        status.take(b"Threads:\t1").unwrap();
        assert_eq!(status.uid, Some(1000));
        assert_eq!(status.swap_bytes, 12 * 1024);
        assert!(status.take(b"Uid:\t").is_err());
        assert!(status.take(b"Uid:\t-1").is_err());
        // What it has in swap is not known; all else is.
        assert_eq!(status.take(b"VmSwap:\t12"), Ok(()));
        assert_eq!(status.swap_bytes, 0);
    }

    #[test]
    fn what_is_pending_waits_for_the_process_or_a_thread() {
        let mut status = ProcessStatus::default();
        status.take(b"SigPnd:\t0000000000000100").unwrap();
        status.take(b"ShdPnd:\t0000000000040000").unwrap();
        assert_eq!(status.pending_signals, 1 << 8 | 1 << 18);
        let mut status = ProcessStatus::default();
        status.take(b"ShdPnd:\tx").unwrap();
        assert_eq!(status.pending_signals, 0);
    }

    #[test]
    fn the_first_process_of_a_namespace_is_1_in_the_innermost_but_for_ours() {
        for (text, want) in [
            ("NSpid:\t1", (false, false)),
            ("NSpid:\t31\t1", (true, true)),
            ("NSpid:\t31\t12\t1", (true, true)),
            ("NSpid:\t31\t1\t12", (true, false)),
            ("NSpid:\t", (false, false)),
        ] {
            let mut status = ProcessStatus::default();
            status.take(text.as_bytes()).unwrap();
            assert_eq!((status.is_nested, status.is_first), want, "{text}");
        }
    }

    #[test]
    fn what_has_a_tracer_is_traced() {
        for (text, want) in [("TracerPid:\t0", false), ("TracerPid:\t31", true)] {
            let mut status = ProcessStatus::default();
            status.take(text.as_bytes()).unwrap();
            assert_eq!(status.is_traced, want, "{text}");
        }
    }

    #[test]
    fn what_ignores_a_hangup_ignores_signal_1() {
        for (text, want) in [
            ("SigIgn:\t0000000000001001", true),
            ("SigIgn:\t0000000000001000", false),
            ("SigIgn:\tx", false),
        ] {
            let mut status = ProcessStatus::default();
            status.take(text.as_bytes()).unwrap();
            assert_eq!(status.ignores_hangup, want, "{text}");
        }
    }

    #[test]
    fn a_pty_is_told_from_other_terminals() {
        let pty = |terminal| {
            let stat = Stat {
                terminal,
                ..Stat::parse(STAT).unwrap()
            };
            stat.pty()
        };
        // makedev(136, 3), makedev(136, 300), makedev(4, 1), none.
        assert_eq!(pty(34_819), Some(3));
        assert_eq!(pty(34_816 | 0x2c | 1 << 20), Some(300));
        assert_eq!(pty(4 << 8 | 1), None);
        assert_eq!(pty(0), None);
    }

    #[test]
    fn scores_have_a_sign() {
        assert_eq!(signed(b"-1000\n"), Some(-1000));
        assert_eq!(signed(b"666\n"), Some(666));
        for text in ["", "-", "--1", "1 2", "40000"] {
            assert_eq!(signed(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_path_fits() {
        let path = PidPath::of_thread(u32::MAX, Some(u32::MAX), "oom_score_adj");
        assert_eq!(path.as_str(), "4294967295/task/4294967295/oom_score_adj");
        assert_eq!(path.as_c_str().to_bytes(), path.as_str().as_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            let _ = Stat::parse(&text);
            let _ = Statm::parse(&text);
            let _ = signed(&text);
            let _ = ProcessStatus::default().take(&text);
        }
    }
}
