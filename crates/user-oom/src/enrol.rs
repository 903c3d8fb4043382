//! Entries that are written for those that ask over the control socket: what
//! they could write to the registry themselves, and with no more rights.

use std::fs;
use std::path::{Path, PathBuf};

use control::{Denial, Peer, Reply, Request};
use nix::unistd::{Uid, setfsuid};
use oom_policy::{PauseWord, ProcessId};
use sensors::{ProcRoot, status_numbers};
use terminal::chain;
use value_registry::{Slip, check_entry};

/// No process is followed further up.
const DEEPEST_LINE: u32 = 256;

/// Writes to one registry.
#[derive(Debug)]
pub(crate) struct Enroller {
    pub(crate) proc_root: PathBuf,
    pub(crate) registry: PathBuf,
    pub(crate) own_uid: u32,
}

/// What `status` of a process says.
struct Standing {
    uid: u32,
    parent: u32,
    /// Its pid in each pid namespace, from ours to its own.
    pids: Vec<u32>,
}

impl Enroller {
    /// Does what `peer` asks for.
    pub(crate) fn carry_out(&self, peer: Peer, request: &Request) -> Result<Reply, Denial> {
        let (pid, entry) = match request {
            Request::Register { pid, entry } => (pid, Some(checked(entry)?)),
            Request::Unregister { pid } | Request::Saved { pid } => (pid, None),
            _ => return Err(no_entry("this is no request for an entry".to_owned())),
        };
        let pid = self.target(peer, *pid)?;
        if entry.is_some() {
            self.may_have_one(pid)?;
        }
        let registry = self.registry.as_path();
        let done = self.with_rights_of(peer.uid, || match (request, entry) {
            (Request::Register { .. }, Some(entry)) => value_registry::write(registry, pid, entry)
                .map(|written| {
                    written.keep();
                    true
                }),
            (Request::Saved { .. }, _) => value_registry::saved(registry, pid),
            _ => value_registry::withdraw(registry, pid),
        })?;
        match done {
            Ok(true) => Ok(Reply::Entry { pid }),
            Ok(false) => Err(no_entry(format!("process {pid} has no entry"))),
            Err(err) => Err(no_entry(chain(&err))),
        }
    }

    /// Does what opens and removes files with that user's rights: setfsuid(2) is
    /// of one thread. Nothing is done where it would be with more.
    fn with_rights_of<T>(&self, uid: u32, act: impl FnOnce() -> T) -> Result<T, Denial> {
        // For root, this daemon's rights are none too many.
        if uid == 0 || uid == self.own_uid {
            return Ok(act());
        }
        let user = Uid::from_raw(uid);
        setfsuid(user);
        let done = (fsuid() == user).then(act);
        setfsuid(Uid::from_raw(self.own_uid));
        done.ok_or_else(|| {
            no_entry(format!(
                "nothing was written: the daemon cannot do it with the rights of uid {uid} \
                 (setfsuid); give it CAP_SETUID, or write to the registry yourself"
            ))
        })
    }

    /// Whether that process is still there.
    pub(crate) fn runs(&self, id: ProcessId) -> bool {
        let start_ticks = ProcRoot::at(&self.proc_root).start_ticks(id.pid);
        matches!(start_ticks, Ok(Some(start_ticks)) if start_ticks == id.start_ticks)
    }

    /// The process that `peer` means by `pid`, where it is its own or `peer` is root.
    pub(crate) fn process(&self, peer: Peer, pid: u32) -> Result<ProcessId, Denial> {
        let pid = self.target(peer, Some(pid))?;
        let start_ticks = ProcRoot::at(&self.proc_root).start_ticks(pid);
        let start_ticks = start_ticks.ok().flatten().ok_or_else(|| gone(pid))?;
        Ok(ProcessId { pid, start_ticks })
    }

    /// The process that `peer` means by `pid`, as we see it; its own where that
    /// is left out.
    fn target(&self, peer: Peer, pid: Option<u32>) -> Result<u32, Denial> {
        let own = peer
            .pid
            .ok_or_else(|| no_entry("the caller has no pid here".to_owned()))?;
        let asks = self.standing(own).ok_or_else(|| gone(own))?;
        let found = match pid {
            None => own,
            Some(pid) if asks.pids.len() <= 1 => pid,
            Some(pid) => self
                .seen_by(own, asks.pids.len(), pid)
                .ok_or_else(|| gone(pid))?,
        };
        let target = self.standing(found).ok_or_else(|| gone(found))?;
        // A user's daemon writes as that user, and such an entry counts for no other.
        let is_ours = self.own_uid == 0 || target.uid == self.own_uid;
        if !is_ours || (peer.uid != 0 && target.uid != peer.uid) {
            return Err(Denial::NotPermitted {
                expected: "the process's own user, or root".to_owned(),
            });
        }
        Ok(found)
    }

    /// Whether an entry of that name counts: else it would be refused, and removed with
    /// what was there before.
    fn may_have_one(&self, pid: u32) -> Result<(), Denial> {
        let runner = ProcRoot::at(&self.proc_root).runner(pid);
        let runner = runner.map_err(|err| no_entry(chain(&err)))?;
        let runner = runner.ok_or_else(|| gone(pid))?;
        let why = if runner.is_kernel_thread {
            format!("{pid} is a kernel thread, which has no value and is never killed")
        } else if runner.process != pid {
            let process = runner.process;
            format!("{pid} is a thread of process {process}: give the value to that, `{process}`")
        } else if runner.has_ended {
            format!("process {pid} has exited, and its parent has not waited for it yet")
        } else {
            return Ok(());
        };
        Err(no_entry(why))
    }

    /// The process that has `pid` in the pid namespace of `own`, which is so deep:
    /// one that descends from the same first process. What has entered a namespace
    /// from outside (nsenter(1)) descends from none.
    fn seen_by(&self, own: u32, depth: usize, pid: u32) -> Option<u32> {
        let first = self.first_above(own, depth)?;
        let names = fs::read_dir(&self.proc_root).ok()?;
        let mut pids = names.filter_map(|name| name.ok()?.file_name().to_str()?.parse().ok());
        pids.find(|found| {
            let named = self.standing(*found).map(|it| it.pids);
            let is_named =
                named.is_some_and(|pids| pids.len() == depth && pids.last() == Some(&pid));
            is_named && self.first_above(*found, depth) == Some(first)
        })
    }

    /// The first process of a namespace so deep, of which `pid` is or descends.
    fn first_above(&self, mut pid: u32, depth: usize) -> Option<u32> {
        for _ in 0..DEEPEST_LINE {
            let it = self.standing(pid).filter(|it| it.pids.len() == depth)?;
            if it.pids.last() == Some(&1) {
                return Some(pid);
            }
            pid = it.parent;
        }
        None
    }

    fn standing(&self, pid: u32) -> Option<Standing> {
        // The name, on its first line, may hold any byte.
        let status = fs::read(self.file(pid, "status")).ok()?;
        Some(Standing {
            uid: *status_numbers(&status, b"Uid:")?.first()?,
            parent: *status_numbers(&status, b"PPid:")?.first()?,
            // Kernels before 4.1 do not say.
            pids: status_numbers(&status, b"NSpid:").unwrap_or_default(),
        })
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        Path::new(&self.proc_root).join(pid.to_string()).join(name)
    }
}

/// Of this thread. setfsuid(2) does not say whether it failed, and returns what
/// was: of this id, which no user has, nothing else.
fn fsuid() -> Uid {
    setfsuid(Uid::from_raw(u32::MAX))
}

fn gone(pid: u32) -> Denial {
    no_entry(format!("there is no process {pid}"))
}

fn no_entry(why: String) -> Denial {
    Denial::NoEntry { why }
}

/// One line that counts as an entry.
fn checked(entry: &str) -> Result<&str, Denial> {
    let wrong = |found: String| Denial::NotUnderstood {
        expected: "an entry such as `8`, `8 +3/h` or `8 nopause`".to_owned(),
        found,
    };
    if entry.chars().any(char::is_control) {
        return Err(wrong("a control character or a second line".to_owned()));
    }
    match check_entry(entry) {
        Ok(None) => Ok(entry),
        Ok(Some(Slip::Both)) => Err(wrong("both `pause` and `nopause`".to_owned())),
        Ok(Some(Slip::Near(word))) => {
            let word = match word {
                PauseWord::Pause => "pause",
                PauseWord::NoPause => "nopause",
            };
            let found = format!("a word that nearly is `{word}` and would have no effect");
            Err(wrong(found))
        }
        Err(reason) => Err(wrong(format!("one that does not count: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::thread;

    use nix::unistd::geteuid;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use tempfile::TempDir;

    use super::*;

    const USER: u32 = 65534;
    const REGISTERED_BY_ROOT: u32 = 100;
    const UNREGISTERED: u32 = 101;

    /// Two processes of [`USER`]'s, and a registry in which root has registered one.
    struct Office {
        folder: TempDir,
        enroller: Enroller,
    }

    impl Office {
        fn new() -> Self {
            let folder = TempDir::new().expect("a folder");
            let open = |path: &Path| {
                let mode = fs::Permissions::from_mode(0o1777);
                fs::set_permissions(path, mode).expect("it is ours");
            };
            open(folder.path());
            let (proc_root, registry) =
                (folder.path().join("proc"), folder.path().join("registry"));
            for pid in [REGISTERED_BY_ROOT, UNREGISTERED] {
                let process = proc_root.join(pid.to_string());
                fs::create_dir_all(&process).expect("the folder is ours");
                let status = format!(
                    "Tgid:\t{pid}\nPPid:\t1\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n\
                     NSpid:\t{pid}\nVmRSS:\t8 kB\n"
                );
                fs::write(process.join("status"), status).expect("the folder is ours");
                fs::write(process.join("stat"), stat(pid, 'S', 0)).expect("the folder is ours");
            }
            fs::create_dir(&registry).expect("the folder is ours");
            open(&registry);
            fs::write(registry.join(REGISTERED_BY_ROOT.to_string()), "90\n").expect("ours");
            let enroller = Enroller {
                proc_root,
                registry,
                own_uid: geteuid().as_raw(),
            };
            Self { folder, enroller }
        }

        /// The process of that pid asks.
        fn asks(&self, pid: u32, request: &Request) -> Result<Reply, Denial> {
            let peer = Peer {
                uid: USER,
                pid: Some(pid),
            };
            self.enroller.carry_out(peer, request)
        }

        /// Whose entry that is, and what it says.
        fn entry(&self, pid: u32) -> Option<(u32, String)> {
            let path = self.enroller.registry.join(pid.to_string());
            let text = fs::read_to_string(&path).ok()?;
            Some((fs::metadata(&path).ok()?.uid(), text))
        }
    }

    /// Of a process with one thread: proc_pid_stat(5).
    fn stat(pid: u32, state: char, flags: u32) -> String {
        let after = "0 0 0 0 0 0 0 0 20 0 1 0 77 0 0";
        format!("{pid} (job) {state} 1 {pid} {pid} 0 -1 {flags} 0 {after}\n")
    }

    /// Runs it on a thread of its own, without that capability.
    fn without<T: Send>(capability: CapabilitySet, act: impl FnOnce() -> T + Send) -> T {
        let drop_it = || {
            let mut sets = capabilities(None).expect("ours");
            sets.effective.remove(capability);
            set_capabilities(None, sets).expect("one may do with less");
        };
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                drop_it();
                act()
            });
            thread.join().expect("it returns")
        })
    }

    fn is_root(what: &str) -> bool {
        let is_root = geteuid().is_root();
        if !is_root {
            eprintln!("not run, needs root: {what}");
        }
        is_root
    }

    fn register() -> Request {
        Request::Register {
            pid: None,
            entry: "100".to_owned(),
        }
    }

    #[test]
    fn an_entry_is_the_users_own_and_the_word_of_root_stays() {
        if !is_root("writes as another user") {
            return;
        }
        let office = Office::new();
        assert!(office.asks(UNREGISTERED, &register()).is_ok());
        let entry = Some((USER, "100\n".to_owned()));
        assert_eq!(office.entry(UNREGISTERED), entry);

        let roots = Some((0, "90\n".to_owned()));
        for request in [register(), Request::Unregister { pid: None }] {
            let denial = office.asks(REGISTERED_BY_ROOT, &request);
            let said = denial.expect_err("it is root's").to_string();
            assert!(said.contains("cannot remove the earlier entry"), "{said}");
            assert_eq!(office.entry(REGISTERED_BY_ROOT), roots, "{request:?}");
        }
        assert_eq!(fsuid(), geteuid(), "the daemon's rights are its own again");
        drop(office.folder);
    }

    /// That root's request is refused so, and what is registered stays.
    #[track_caller]
    fn check_refused(office: &Office, entry: &str, want: &str) {
        let request = Request::Register {
            pid: Some(REGISTERED_BY_ROOT),
            entry: entry.to_owned(),
        };
        let root = Peer {
            uid: 0,
            pid: Some(UNREGISTERED),
        };
        let denial = office.enroller.carry_out(root, &request);
        let said = denial.expect_err("it would not count").to_string();
        assert!(said.contains(want), "no `{want}` in {said}");
        let stays = office.entry(REGISTERED_BY_ROOT);
        assert_eq!(stays.map(|(_, text)| text).as_deref(), Some("90\n"));
    }

    #[test]
    fn an_entry_that_would_not_count_is_refused_and_the_earlier_one_stays() {
        let office = Office::new();
        let too_long = format!("8 {}", "x".repeat(254));
        for (entry, want) in [
            (
                "8 +3/hour",
                "found one that does not count: what unsaved work",
            ),
            ("8 alice +3/h", "right after the value"),
            ("8 -3/h", "can only grow"),
            ("8.0", "its first word is not a whole number"),
            ("\u{feff}8", "it begins with a byte order mark"),
            ("1000001", "its value is above 1000000"),
            ("", "it is empty"),
            ("8\n9", "a second line"),
            ("8 nopauze", "a word that nearly is `nopause`"),
            ("8 do not pause", "a word that nearly is `nopause`"),
            ("8 pause nopause", "both `pause` and `nopause`"),
            (&too_long, "it holds 257 bytes, more than 256"),
        ] {
            check_refused(&office, entry, want);
        }
    }

    #[test]
    fn an_entry_of_what_takes_none_is_refused_and_the_earlier_one_stays() {
        const KERNEL_THREAD: u32 = 0x0020_0000;

        let office = Office::new();
        let process = office.enroller.proc_root.join("100");
        let write = |name, text: &str| {
            fs::write(process.join(name), text).expect("the folder is ours");
        };
        write("stat", &stat(REGISTERED_BY_ROOT, 'S', KERNEL_THREAD));
        check_refused(&office, "8", "100 is a kernel thread");
        write("stat", &stat(REGISTERED_BY_ROOT, 'Z', 0));
        check_refused(&office, "8", "process 100 has exited");
        write("stat", &stat(REGISTERED_BY_ROOT, 'S', 0));
        write(
            "status",
            "Tgid:\t99\nPPid:\t1\nUid:\t7\t7\t7\t7\nNSpid:\t100\n",
        );
        let want = "100 is a thread of process 99: give the value to that, `99`";
        check_refused(&office, "8", want);
    }

    #[test]
    fn where_it_cannot_take_the_users_rights_it_writes_and_removes_nothing() {
        if !is_root("is root without CAP_SETUID") {
            return;
        }
        let office = Office::new();
        let roots = Some((0, "90\n".to_owned()));
        let requests = [
            register(),
            Request::Unregister { pid: None },
            Request::Saved { pid: None },
        ];
        for request in requests {
            for pid in [REGISTERED_BY_ROOT, UNREGISTERED] {
                let denial = without(CapabilitySet::SETUID, || office.asks(pid, &request));
                let said = denial.expect_err("it has no right to").to_string();
                assert!(said.contains("give it CAP_SETUID"), "{said}");
            }
            assert_eq!(office.entry(REGISTERED_BY_ROOT), roots, "{request:?}");
            assert_eq!(office.entry(UNREGISTERED), None, "{request:?}");
        }
    }

    #[test]
    fn a_process_may_call_itself_what_it_likes() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = b"PPid:\t1\nUid:\t1000\t1000\t1000\t1000\nNSpid:\t31\n";
        for name in [&b"plain"[..], b"\xff", b"cut in \xe4\xb8", b"a\\nUid:\t0"] {
            let status = [b"Name:\t", name, b"\n", &numbers[..]].concat();
            fs::create_dir_all(folder.path().join("31")).unwrap();
            fs::write(folder.path().join("31/status"), status).unwrap();
            let enroller = Enroller {
                proc_root: folder.path().to_owned(),
                registry: PathBuf::new(),
                own_uid: 0,
            };
            let standing = enroller.standing(31).unwrap();
            assert_eq!((standing.uid, standing.parent), (1000, 1));
            assert_eq!(standing.pids, [31]);
            let owner = Peer {
                pid: Some(31),
                uid: 1000,
            };
            assert_eq!(enroller.target(owner, Some(31)), Ok(31));
        }
    }
}
