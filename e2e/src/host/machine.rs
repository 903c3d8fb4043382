//! One boot of one virtual machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::kernel::{Kernel, Ready};
use crate::scenarios::{Debian, Machine};
use crate::words::{PATIENCE_VARIABLE, SCENARIOS_VARIABLE, SYSTEM_VARIABLE, Word};

/// From power-on to the first word, on a busy machine.
const BOOT: Duration = Duration::from_secs(120);

/// Without what is fast on hardware and slow where it is emulated byte by byte:
/// the kernel clears each page with it.
const CPU: &str = "max,-erms,-fsrm";

/// How many times as long anything may take on a kernel that looks for mistakes.
const PATIENCE: u32 = 8;

/// How a boot ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// What the guest said.
    pub(crate) words: Vec<Word>,
    /// For those that it said nothing of.
    pub(crate) how: String,
    /// The guest's log.
    pub(crate) console: PathBuf,
}

/// What a machine is booted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot<'a> {
    /// What its logs are named after.
    pub(crate) name: &'a str,
    /// The scenarios, separated by commas.
    pub(crate) scenarios: &'a str,
    /// What it is like.
    pub(crate) machine: Machine,
    /// In which all of them have to end.
    pub(crate) limit: Duration,
}

/// Boots the kernel for these scenarios, and waits until the machine ends.
/// Calls `begun` with the name of each that the guest begins.
///
/// The emulator emulates: some hosts' virtualization hangs an unmodified
/// kernel, and a test shall run everywhere alike.
pub(crate) fn run(
    kernel: &Ready,
    initramfs: &Path,
    debian: Option<&Path>,
    logs: &Path,
    boot: Boot<'_>,
    begun: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Ended> {
    let console = logs.join(format!("{}.console", boot.name));
    let words = logs.join(format!("{}.words", boot.name));
    for old in [&console, &words] {
        fs::write(old, "").with_context(|| format!("cannot write `{}`", old.display()))?;
    }
    let limit = BOOT + boot.limit;
    let checked = kernel.kernel.is_built_here();
    let (machine, patience) = match checked {
        true => (boot.machine.for_a_debug_kernel(), PATIENCE),
        false => (boot.machine, 1),
    };
    let limit = limit * patience;

    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-M",
        "q35",
        "-cpu",
        CPU,
        "-smp",
        "2,sockets=2",
    ]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs);
    qemu.arg("-serial").arg(file_of("file:", &console));
    qemu.arg("-serial").arg(file_of("file:", &words));
    qemu.args([
        "-append",
        &command_line(kernel.kernel, boot.scenarios, machine, patience),
    ]);
    if let Some(image) = debian {
        // Nothing that a guest writes gets into the image.
        let drive = file_of("if=virtio,format=raw,cache=unsafe,snapshot=on,file=", image);
        qemu.arg("-drive").arg(drive);
    }
    let disks = add_machine(&mut qemu, machine, &console)?;
    let qemu = qemu
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start QEMU")?;

    let mut announced = 0;
    let mut announce = || -> Result<Vec<Word>> {
        let said = read_words(&words)?;
        let begins = said.iter().filter_map(|word| match word {
            Word::Begin(name) => Some(name),
            _ => None,
        });
        for name in begins.skip(announced) {
            announced += 1;
            begun(name)?;
        }
        Ok(said)
    };
    let how = wait(qemu, limit, || announce().map(|_| ()));
    for disk in disks {
        fs::remove_file(disk).context("cannot remove the machine's disk")?;
    }
    let how = how?;
    Ok(Ended {
        words: announce()?,
        how,
        console,
    })
}

fn file_of(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(prefix);
    word.push(path);
    word
}

fn command_line(kernel: Kernel, names: &str, machine: Machine, patience: u32) -> String {
    // Lest it run out of huge pages, the kernel moves small ones beforehand, tens
    // of thousands where Debian runs, and interrupts the other processor for each:
    // where processors are emulated, nothing else goes on for seconds.
    let pages = if machine.debian.is_some() {
        " transparent_hugepage=never sysctl.vm.compaction_proactiveness=0"
    } else {
        ""
    };
    let more = machine.parameters;
    let system = match machine.debian {
        Some(Debian::System | Debian::ArenaSystem) => format!(" {SYSTEM_VARIABLE}=1"),
        Some(Debian::Jobs | Debian::Arena | Debian::ArenaRay) | None => String::new(),
    };
    let checks = kernel.parameters;
    format!(
        "console=ttyS0 quiet panic=-1 psi=1 printk.time=1{pages}{checks} {more} \
         {PATIENCE_VARIABLE}={patience} {SCENARIOS_VARIABLE}={names}{system}"
    )
}

/// Returns the disks that it makes, which are to be removed in the end.
fn add_machine(qemu: &mut Command, machine: Machine, console: &Path) -> Result<Vec<PathBuf>> {
    let memory = format!("{}M", machine.memory_mebibytes);
    match machine.added_mebibytes {
        0 => qemu.arg("-m").arg(memory),
        added => qemu
            .arg("-m")
            .arg(format!("{memory},slots=1,maxmem=4G"))
            .arg("-object")
            .arg(format!("memory-backend-ram,id=added,size={added}M"))
            .args(["-device", "pc-dimm,memdev=added"]),
    };
    if machine.nodes > 1 {
        let each = machine.memory_mebibytes / machine.nodes;
        for node in 0..machine.nodes {
            qemu.arg("-object")
                .arg(format!("memory-backend-ram,id=m{node},size={each}M"));
            qemu.arg("-numa")
                .arg(format!("node,nodeid={node},memdev=m{node},cpus={node}"));
        }
    }
    let disks = [
        ("disk", machine.disk_mebibytes),
        ("second-disk", machine.second_disk_mebibytes),
    ];
    let mut made = Vec::new();
    for (name, mebibytes) in disks {
        let Some(mebibytes) = mebibytes else {
            continue;
        };
        let disk = console.with_extension(name);
        let file = File::create(&disk).context("cannot make the disk")?;
        file.set_len(u64::from(mebibytes) << 20)
            .context("cannot make the disk")?;
        let speed = machine.disk_mib_s.map_or_else(String::new, |mib_s| {
            format!(",throttling.bps-total={}", u64::from(mib_s) << 20)
        });
        let drive = format!("if=virtio,format=raw,cache=unsafe{speed},file=");
        let drive = file_of(&drive, &disk);
        qemu.arg("-drive").arg(drive);
        made.push(disk);
    }
    Ok(made)
}

/// What the guest has said in whole lines.
fn read_words(path: &Path) -> Result<Vec<Word>> {
    let said = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let said = String::from_utf8_lossy(&said);
    let whole = said.rfind('\n').map_or("", |end| &said[..=end]);
    Ok(whole.lines().filter_map(Word::parse).collect())
}

/// Waits for the emulator, looks each second, and ends it when the time is
/// over.
fn wait(mut qemu: Child, limit: Duration, mut look: impl FnMut() -> Result<()>) -> Result<String> {
    let pidfd =
        pidfd_open(Pid::from_child(&qemu), PidfdFlags::empty()).context("cannot wait for QEMU")?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let second = Timespec::try_from(Duration::from_secs(1))?;
    let began = Instant::now();
    let in_time = loop {
        match poll(&mut fds, Some(&second)) {
            Ok(0) if limit <= began.elapsed() => break false,
            Ok(0) => look()?,
            Ok(_) => break true,
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err).context("cannot wait for QEMU"),
        }
    };
    if !in_time {
        qemu.kill().context("cannot end QEMU")?;
    }
    let status = qemu.wait().context("cannot wait for QEMU")?;
    Ok(match in_time {
        true if status.success() => "the machine ended".to_owned(),
        true => format!("QEMU failed ({status})"),
        false => format!("the machine was ended after {} s", limit.as_secs()),
    })
}
