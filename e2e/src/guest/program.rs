//! Programs that a scenario starts, and that end with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{files, wait};

/// In which a helper has to say its line: the machine is emulated, and short
/// of memory.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that was started, ended at the latest when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts any program; what it prints can be read with [`Self::says`].
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output is not ours")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .with_context(|| format!("cannot hold `{name}`"))?;
        Ok(Self {
            name,
            child,
            pidfd,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Starts a helper of ours: see [`super::roles`].
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn role(words: &[impl AsRef<OsStr>]) -> Result<Self> {
        Self::start(Command::new("/init").arg("role").args(words))
    }

    /// One that holds so much memory, and does nothing more.
    ///
    /// # Errors
    ///
    /// It could not be started, or did not get its memory.
    pub fn holding(mebibytes: u64) -> Result<Self> {
        let mut program = Self::role(&["hold", &mebibytes.to_string()])?;
        program.says("holding")?;
        Ok(program)
    }

    /// One that takes memory at full speed once it is told to [`Self::go`].
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn bomb() -> Result<Self> {
        let mut program = Self::role(&["bomb"])?;
        program.says("ready")?;
        Ok(program)
    }

    /// Waits for a line of its output that begins so, and returns the line.
    ///
    /// # Errors
    ///
    /// It ended or was silent before.
    pub fn says(&mut self, beginning: &str) -> Result<String> {
        self.line_where(|line| line.starts_with(beginning))
    }

    /// The same, of a line that has `words` anywhere: some begin with the time.
    ///
    /// # Errors
    ///
    /// It ended or was silent before.
    pub fn mentions(&mut self, words: &str) -> Result<String> {
        self.line_where(|line| line.contains(words))
    }

    fn line_where(&mut self, is_it: impl Fn(&str) -> bool) -> Result<String> {
        loop {
            let line = self.line()?;
            if is_it(&line) {
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.buffer().is_empty() {
            let limit = Timespec::try_from(LIMIT * wait::patience())?;
            let mut fds = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
            let ready = poll(&mut fds, Some(&limit)).context("cannot wait for a line")?;
            ensure!(ready > 0, "`{}` says nothing", self.name);
        }
        let len = self.stdout.read_line(&mut line)?;
        ensure!(len > 0, "`{}` ended without a word", self.name);
        self.echo(&line);
        Ok(line)
    }

    /// What it said belongs on the console too, which the host keeps.
    fn echo(&self, line: &str) {
        // A console that takes nothing is no reason to fail.
        let _ = write!(std::io::stderr(), "{} {}: {line}", self.name, self.pid());
    }

    /// What it said and no one waited for: all that is in the pipe, though a
    /// child of its own may still hold the other end.
    fn echo_the_rest(&mut self) {
        let mut rest = Vec::new();
        loop {
            let buffered = self.stdout.buffer();
            rest.extend_from_slice(buffered);
            let taken = buffered.len();
            self.stdout.consume(taken);
            let mut fds = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let is_ready = poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
            if !is_ready || self.stdout.fill_buf().map_or(true, <[u8]>::is_empty) {
                break;
            }
        }
        for line in String::from_utf8_lossy(&rest).lines() {
            self.echo(&format!("{line}\n"));
        }
    }

    /// Lets a helper that waits for it begin.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin
            .write_all(b"go\n")
            .with_context(|| format!("`{}` is gone", self.name))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    ///
    /// # Errors
    ///
    /// The kernel would not say.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// That it runs; `what` it is, for the error.
    ///
    /// # Errors
    ///
    /// It has ended: how is said.
    pub fn has_to_live(&mut self, what: &str) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let (name, pid) = (&self.name, self.child.id());
            bail!("{what} (`{name}`, {pid}) has ended: {status}");
        }
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// It still runs when `limit` is over.
    pub fn ends_within(&mut self, limit: Duration) -> Result<()> {
        let what = format!("`{}` ({}) ends", self.name, self.pid());
        wait::until(&what, limit, || Ok(!self.is_alive()?))
    }

    /// Whether SIGKILL ended it.
    ///
    /// # Errors
    ///
    /// The kernel would not say.
    pub fn was_killed(&mut self) -> Result<bool> {
        let ended = self.child.try_wait()?;
        Ok(ended.and_then(|status| status.signal()) == Some(Signal::KILL.as_raw()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.pidfd, signal)
            .with_context(|| format!("cannot signal `{}`", self.name))
    }

    /// Sends a signal and waits until it has ended.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn end(mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        self.ends_within(LIMIT)
    }

    /// Makes the kernel's OOM killer choose it, or never choose it.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn set_oom_score_adj(&self, value: i16) -> Result<()> {
        files::write(
            format!("/proc/{}/oom_score_adj", self.pid()),
            &value.to_string(),
        )
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Gone is what we want; there is nobody to tell of anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.echo_the_rest();
    }
}

/// Runs an applet of busybox to its end.
///
/// # Errors
///
/// It could not be started, or failed.
pub fn busybox(words: &[&str]) -> Result<()> {
    let status = Command::new("/bin/busybox")
        .args(words)
        .stdout(Stdio::null())
        .status()
        .context("cannot start busybox")?;
    ensure!(status.success(), "`{}` failed: {status}", words.join(" "));
    Ok(())
}

/// Runs a program to its end, and returns what it printed, without space around.
///
/// # Errors
///
/// It could not be started, or failed; with what it complained of.
pub fn output_of(words: &[&str]) -> Result<String> {
    let [program, arguments @ ..] = words else {
        bail!("no program is named");
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{}` failed: {complaint}",
        words.join(" ")
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
