//! The keeper: a tiny process that thaws what is paused when the daemon is gone,
//! however it went.
//!
//! It is the daemon's own program, started with an argument that makes it
//! [`keep`]. On a socket pair it is given a pidfd, or the `cgroup.freeze`, of
//! whatever is to be frozen, before it is frozen, and answers that it has them.
//! When the daemon is gone it continues all it holds, and ends. Of three signs
//! of that, one is enough: the socket has no other end; the daemon's pidfd is
//! readable; the daemon's first thread has ended. The third is for a daemon that
//! was killed while another of its threads waits in the kernel for a lock of a
//! process that is paused: its descriptors are not closed until that process
//! runs again.

use std::ffi::{CStr, OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::ProcessId;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use rustix::process::{PidfdFlags, Signal, chdir, getpid, pidfd_open, pidfd_send_signal, setsid};
use rustix::thread::set_name;

use crate::cgroup;
use crate::held::is_readable;
use crate::leftover;
use crate::process_reader::ProcessReader;
use crate::protection::{Code, trim_memory};

/// How many descriptors go with one message; the kernel takes 253.
const AT_ONCE: usize = 64;

/// How long the keeper may take to answer. It waits for nothing, and its pages
/// are locked; longer than that it is stopped or ill.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often it looks whether the daemon's first thread is there, while it
/// holds something.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How the keeper is started: a program that calls [`keep`] when it is given
/// `argument` and the leftover file's path.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// The program: the daemon's own.
    pub executable: PathBuf,
    /// What makes it the keeper.
    pub argument: OsString,
    /// The file that says what is paused, in a directory that only we can write
    /// to.
    pub leftover: PathBuf,
}

impl Keeper {
    /// What the process is called, in `ps` and in its `comm`; at most 15 bytes.
    pub const NAME: &CStr = c"user-oom-keeper";
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    /// To the keeper: with the pidfd of the daemon `id`.
    Hello,
    /// With pidfds of members of the unit `id`.
    Processes,
    /// With the `cgroup.freeze` of the unit `id`.
    Cgroup,
    /// The unit `id` was thawed.
    LetGo,
    /// The keeper's answer: the descriptors came with the message.
    Held,
    /// They did not all come.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    topic: Topic,
    id: ProcessId,
}

impl Message {
    const BYTES: usize = 16;

    const TOPICS: [Topic; 6] = [
        Topic::Hello,
        Topic::Processes,
        Topic::Cgroup,
        Topic::LetGo,
        Topic::Held,
        Topic::Lost,
    ];

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.topic as u8;
        bytes[4..8].copy_from_slice(&self.id.pid.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.id.start_ticks.to_ne_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let (head, start_ticks) = bytes.split_last_chunk()?;
        let (_, pid) = head.split_last_chunk()?;
        Some(Self {
            topic: *Self::TOPICS.get(usize::from(bytes[0]))?,
            id: ProcessId {
                pid: u32::from_ne_bytes(*pid),
                start_ticks: u64::from_ne_bytes(*start_ticks),
            },
        })
    }
}

/// A keeper that runs, as the daemon sees it. Dropped, it ends: its socket does.
#[derive(Debug)]
pub(crate) struct RunningKeeper {
    child: Child,
    socket: OwnedFd,
    started: Instant,
}

impl RunningKeeper {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(how: &Keeper, reader: &dyn ProcessReader) -> io::Result<Self> {
        let (ours, its) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let child = Command::new(&how.executable)
            .arg0(OsStr::from_bytes(Keeper::NAME.to_bytes()))
            .arg(&how.argument)
            .arg(&how.leftover)
            .stdin(Stdio::from(its))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut keeper = Self {
            child,
            socket: ours,
            started: Instant::now(),
        };
        let pid = std::process::id();
        let start_ticks = reader.state(pid)?.map_or(0, |(start_ticks, _)| start_ticks);
        let daemon = ProcessId { pid, start_ticks };
        // Without pidfds, the socket's end tells.
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).ok();
        let pidfd: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
        match keeper.tell(Topic::Hello, daemon, &pidfd) {
            Ok(()) => Ok(keeper),
            Err(err) => {
                keeper.end();
                Err(err.into())
            }
        }
    }

    /// Has it hold the members of `unit` behind these descriptors.
    pub(crate) fn hold_processes(
        &self,
        unit: ProcessId,
        members: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        let mut chunks = members.chunks(AT_ONCE);
        chunks.try_for_each(|chunk| self.tell(Topic::Processes, unit, chunk))
    }

    /// Has it hold the cgroup of `unit` by its `cgroup.freeze`.
    pub(crate) fn hold_cgroup(&self, unit: ProcessId, freeze: BorrowedFd<'_>) -> Result<(), Errno> {
        self.tell(Topic::Cgroup, unit, &[freeze])
    }

    /// Tells it that `unit` was thawed.
    pub(crate) fn let_go(&self, unit: ProcessId) -> Result<(), Errno> {
        self.tell(Topic::LetGo, unit, &[])
    }

    /// For how long it has run.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Kills it if it runs, and reaps it.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it end by itself, which takes it no time, and reaps it.
    pub(crate) fn dismiss(self) {
        let Self {
            mut child, socket, ..
        } = self;
        drop(socket);
        let pidfd = rustix::process::Pid::from_child(&child);
        let is_over = pidfd_open(pidfd, PidfdFlags::empty())
            .is_ok_and(|pidfd| is_readable(pidfd.as_fd(), ANSWER_WITHIN));
        if !is_over {
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    /// Sends, and waits for the answer. [`Errno::MFILE`]: the keeper could not
    /// take all descriptors. Anything else: it is gone, or as good as gone.
    fn tell(&self, topic: Topic, id: ProcessId, with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        send(self.socket.as_fd(), Message { topic, id }, with)?;
        if !is_readable(self.socket.as_fd(), ANSWER_WITHIN) {
            return Err(Errno::TIMEDOUT);
        }
        match receive(self.socket.as_fd())? {
            Some((answer, _)) if answer.topic == Topic::Held => Ok(()),
            Some((answer, _)) if answer.topic == Topic::Lost => Err(Errno::MFILE),
            _ => Err(Errno::PIPE),
        }
    }
}

/// The socket, to be polled: the keeper says nothing unasked, so it is readable
/// when the keeper is gone.
impl AsFd for RunningKeeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send(socket: BorrowedFd<'_>, message: Message, with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(Errno::MSGSIZE);
    }
    let bytes = message.to_bytes();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)).map(drop)
}

/// What came, and whether all of its descriptors did; `None` at the end.
/// [`Errno::AGAIN`]: nothing came yet.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Came)>, Errno> {
    let mut bytes = [0; Message::BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        flags,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut came = Came {
        descriptors: Vec::new(),
        is_all: !received.flags.contains(ReturnFlags::CTRUNC),
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            came.descriptors.extend(descriptors);
        }
    }
    if received.bytes != Message::BYTES {
        return Err(Errno::BADMSG);
    }
    let message = Message::from_bytes(bytes).ok_or(Errno::BADMSG)?;
    Ok(Some((message, came)))
}

/// The descriptors of a message.
struct Came {
    descriptors: Vec<OwnedFd>,
    is_all: bool,
}

/// What the keeper holds.
struct Holding {
    unit: ProcessId,
    descriptor: OwnedFd,
    is_cgroup: bool,
}

impl Holding {
    /// What cannot be continued is gone, or was never ours to stop.
    fn thaw(&self) {
        if self.is_cgroup {
            let _ = cgroup::thaw(self.descriptor.as_fd());
        } else {
            let _ = pidfd_send_signal(&self.descriptor, Signal::CONT);
        }
    }
}

/// Is the keeper until the daemon is gone, and thaws then what the daemon had
/// paused. Standard input is the socket; `leftover` is the file to remove.
///
/// # Errors
///
/// What the kernel says where standard input is no such socket.
pub fn keep(reader: &dyn ProcessReader, leftover: &Path) -> io::Result<()> {
    // What ends the daemon must not end the keeper before it: ^C and SIGTERM
    // reach both where both are of one terminal or service.
    let _ = SigSet::all().thread_block();
    // Inherited, unless it leads a group already.
    let _ = setsid();
    let _ = chdir("/");
    let _ = set_name(Keeper::NAME);
    trim_memory(Code::All);
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);

    let socket = io::stdin();
    let mut keeping = Keeping {
        socket: socket.as_fd(),
        daemon: None,
        pidfd: None,
        held: Vec::new(),
    };
    let kept = keeping.until_the_end(reader);
    for holding in &keeping.held {
        holding.thaw();
    }
    if let Some(daemon) = keeping.daemon {
        leftover::remove_of(leftover, daemon.pid);
    }
    kept.map_err(io::Error::from)
}

struct Keeping<'a> {
    socket: BorrowedFd<'a>,
    daemon: Option<ProcessId>,
    pidfd: Option<OwnedFd>,
    held: Vec<Holding>,
}

impl Keeping<'_> {
    fn until_the_end(&mut self, reader: &dyn ProcessReader) -> Result<(), Errno> {
        loop {
            // Asked first, and what came before the end is taken in after.
            let is_over = self.wait(reader);
            if self.take()? || is_over {
                return Ok(());
            }
        }
    }

    /// Waits until something came; whether the daemon is gone.
    fn wait(&self, reader: &dyn ProcessReader) -> bool {
        let pidfd = self.pidfd.as_ref();
        let mut polled: Vec<_> = std::iter::once(self.socket)
            .chain(pidfd.map(AsFd::as_fd))
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let timeout = (!self.held.is_empty())
            .then(|| Timespec::try_from(LOOK_AGAIN).ok())
            .flatten();
        let ready = poll(&mut polled, timeout.as_ref());
        let is_over = polled
            .get(1)
            .is_some_and(|pidfd| !pidfd.revents().is_empty());
        is_over || (ready == Ok(0) && self.daemon_has_ended(reader))
    }

    fn daemon_has_ended(&self, reader: &dyn ProcessReader) -> bool {
        let Some(daemon) = self.daemon else {
            return false;
        };
        // A later process of its pid is not it.
        let is_another = match reader.state(daemon.pid) {
            Ok(Some((start_ticks, _))) => start_ticks != daemon.start_ticks,
            Ok(None) => true,
            Err(_) => false,
        };
        is_another || reader.first_thread_has_ended(daemon.pid).unwrap_or(false)
    }

    /// Takes in all that came; whether that was the last.
    fn take(&mut self) -> Result<bool, Errno> {
        loop {
            let (message, came) = match receive(self.socket) {
                Ok(Some(received)) => received,
                Ok(None) | Err(Errno::CONNRESET) => return Ok(true),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(err) => return Err(err),
            };
            match message.topic {
                Topic::Hello => {
                    self.daemon = Some(message.id);
                    self.pidfd = came.descriptors.into_iter().next();
                }
                Topic::Processes | Topic::Cgroup => {
                    let is_cgroup = message.topic == Topic::Cgroup;
                    self.held
                        .extend(came.descriptors.into_iter().map(|descriptor| Holding {
                            unit: message.id,
                            descriptor,
                            is_cgroup,
                        }));
                }
                Topic::LetGo => self.held.retain(|holding| holding.unit != message.id),
                Topic::Held | Topic::Lost => return Err(Errno::BADMSG),
            }
            let topic = if came.is_all {
                Topic::Held
            } else {
                Topic::Lost
            };
            // A daemon that is gone needs no answer; the end comes next.
            let _ = send(self.socket, Message { topic, ..message }, &[]);
        }
    }
}
