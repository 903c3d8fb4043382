//! What is known of the containers that processes are in, for the rules that look
//! at it.
//!
//! A runtime is asked once about each container, and again only where it did not
//! say. It may take seconds for an answer, on a machine that is short of memory or
//! where it has to be started for it, so a thread asks that nothing waits for: it
//! is started when something is first asked, and without such rules nothing is.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use containers::{AskError, Container, ContainerId};
use sensors::{ContainerCgroup, Labelled, Portrait};

/// The surveyor waits so long for an answer, since most come at once; one that is
/// later counts when it is there. What fails once is mostly busy,
pub(crate) const PATIENCE: RuntimePatience = RuntimePatience {
    wait: Duration::from_millis(200),
    failures: 2,
};
/// and a person waits for the answer of each runtime, and asks once.
pub(crate) const PERSONS_PATIENCE: RuntimePatience = RuntimePatience {
    wait: Duration::from_secs(10),
    failures: 1,
};
/// How long a runtime may take over one container.
const DEADLINE: Duration = Duration::from_secs(5);
/// What did not say is asked again after so long, the second time after twice
/// that, and so on,
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// at most so often.
const DOUBLINGS: u32 = 6;
/// So many containers are known at once; beyond that, those looked at longest ago
/// are asked about anew.
const KNOWN: usize = 512;
/// What taking an answer apart needs.
const STACK_BYTES: usize = 128 << 10;

/// How many lines about them wait to be written at most.
pub(crate) const LINES: usize = 4;

/// With what does not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuntimePatience {
    /// How long [`ContainerFacts::of`] waits.
    wait: Duration,
    /// After so many in a row, that is said.
    failures: u32,
}

/// The containers, and what runs them.
#[derive(Debug)]
pub(crate) struct ContainerFacts {
    shared: Arc<Shared>,
    patience: RuntimePatience,
    /// Until it is the thread's.
    asker: Mutex<Option<Asker>>,
}

/// What both threads look at.
#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    /// Something is wanted,
    wanted: Condvar,
    /// or there.
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Board {
    known: Vec<Known>,
    /// How often something was looked up, and by which edition of the rules.
    looks: u64,
    edition: u32,
    /// The last answer did not come while it was waited for.
    is_slow: bool,
    is_over: bool,
    remarks: Vec<String>,
}

#[derive(Debug)]
struct Known {
    cgroup: ContainerCgroup,
    fact: Fact,
    /// What was said of it last, which counts until something else is. `None` too
    /// where all that could be asked know nothing of it.
    container: Option<Arc<Container>>,
    /// While [`Fact::Unsaid`].
    waits: Waits,
    /// When it was last looked up, in [`Board::looks`].
    looked: u64,
}

#[derive(Debug)]
enum Fact {
    Wanted,
    Asked,
    /// Not all have said.
    Unsaid,
    /// This has the same id.
    Answered(Container),
    Known,
}

/// What is not asked for a while.
#[derive(Debug, Default)]
struct Waits {
    times: u32,
    until: Option<Instant>,
}

/// What asks, on a thread of its own.
#[derive(Debug)]
struct Asker {
    runtimes: Vec<Runtime>,
    /// Below which bundles are.
    root: PathBuf,
    /// After so many, it is said that something fails.
    failures: u32,
    /// How often in a row there was nothing at all to ask.
    absences: u32,
    edition: u32,
}

#[derive(Debug)]
struct Runtime {
    socket: PathBuf,
    waits: Waits,
}

impl Waits {
    fn are_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn again(&mut self, now: Instant) {
        let doubled = FIRST_RETRY * 2_u32.pow(self.times.min(DOUBLINGS));
        self.times = self.times.saturating_add(1);
        self.until = now.checked_add(doubled);
    }
}

impl ContainerFacts {
    /// Asks at these sockets, and looks for bundles below `root`.
    pub(crate) fn new(sockets: Vec<PathBuf>, root: PathBuf, patience: RuntimePatience) -> Self {
        let runtimes = sockets.into_iter().map(|socket| Runtime {
            socket,
            waits: Waits::default(),
        });
        Self {
            shared: Arc::default(),
            patience,
            asker: Mutex::new(Some(Asker {
                runtimes: runtimes.collect(),
                root,
                failures: patience.failures,
                absences: 0,
                edition: 0,
            })),
        }
    }

    /// The container that a process is in, as far as that is known, and whether
    /// that is all there will be. `edition`: of the rules that ask.
    pub(crate) fn of(
        &self,
        portrait: &Portrait<'_>,
        edition: u32,
    ) -> (Option<Arc<Container>>, Labelled) {
        self.adopt(edition);
        match portrait.container() {
            Some(cgroup) => self.look(&cgroup, &|pid| portrait.is_in(&cgroup, pid)),
            None => (None, Labelled::ForGood),
        }
    }

    /// Asks anew for another edition of the rules: a container may have been renamed,
    /// and a runtime may have come.
    fn adopt(&self, edition: u32) {
        let mut board = self.shared.board();
        if std::mem::replace(&mut board.edition, edition) == edition {
            return;
        }
        for known in &mut board.known {
            known.fact = Fact::Unsaid;
            known.waits = Waits::default();
        }
    }

    /// What there is to say since it was called last.
    pub(crate) fn take_remarks(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.board().remarks)
    }

    /// `is_it`: whether the process with this pid is in that cgroup; `None`: it is
    /// gone.
    fn look(
        &self,
        cgroup: &ContainerCgroup,
        is_it: &dyn Fn(u32) -> Option<bool>,
    ) -> (Option<Arc<Container>>, Labelled) {
        self.start();
        let began = Instant::now();
        let mut board = self.shared.board();
        board.looks += 1;
        loop {
            let now = Instant::now();
            let is_slow = board.is_slow;
            let known = board.find(cgroup);
            match &mut known.fact {
                Fact::Known => return (known.container.clone(), Labelled::ForGood),
                Fact::Unsaid if known.waits.are_on(now) => {
                    return (known.container.clone(), Labelled::ForNow);
                }
                Fact::Unsaid => known.fact = Fact::Wanted,
                Fact::Answered(container) => {
                    let container = std::mem::take(container);
                    // Nothing is held while that is read.
                    drop(board);
                    let is_it = is_it(container.pid);
                    board = self.shared.board();
                    let known = board.find(cgroup);
                    match is_it {
                        Some(is_it) => known.is(is_it.then_some(container)),
                        // It may have been started again since.
                        None => known.is_unsaid(),
                    }
                }
                Fact::Wanted | Fact::Asked => {
                    self.shared.wanted.notify_one();
                    let left = self.patience.wait.saturating_sub(now - began);
                    if is_slow || left.is_zero() {
                        let container = known.container.clone();
                        board.is_slow = true;
                        return (container, Labelled::ForNow);
                    }
                    let waited = self.shared.answered.wait_timeout(board, left);
                    board = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Starts the thread, if it is not.
    fn start(&self) {
        let mut asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut asker) = asker.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let patience = self.patience.wait;
        let started = thread::Builder::new()
            .name("oom-containers".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || asker.ask_all(&shared, patience));
        if let Err(err) = started {
            let said = format!(
                "rules match no container by its name, image or labels: cannot start the thread \
                 that asks for them: {err}"
            );
            self.shared.board().remarks.push(said);
        }
    }
}

impl Drop for ContainerFacts {
    fn drop(&mut self) {
        // It is not waited for.
        self.shared.board().is_over = true;
        self.shared.wanted.notify_one();
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// What is known of the container in this cgroup: nothing, where it is new.
    fn find(&mut self, cgroup: &ContainerCgroup) -> &mut Known {
        let looks = self.looks;
        let place = self.known.iter().position(|known| known.cgroup == *cgroup);
        let place = place.unwrap_or_else(|| {
            let known = Known {
                cgroup: cgroup.clone(),
                fact: Fact::Wanted,
                container: None,
                waits: Waits::default(),
                looked: looks,
            };
            if self.known.len() < KNOWN {
                self.known.push(known);
                return self.known.len() - 1;
            }
            let all = self.known.iter().enumerate();
            let oldest = all.min_by_key(|(_, known)| known.looked);
            let place = oldest.map_or(0, |(place, _)| place);
            self.known[place] = known;
            place
        });
        let known = &mut self.known[place];
        known.looked = looks;
        known
    }
}

impl Known {
    /// This is all that can be said of it.
    fn is(&mut self, container: Option<Container>) {
        self.container = container.map(Arc::new);
        self.fact = Fact::Known;
    }

    fn is_unsaid(&mut self) {
        self.fact = Fact::Unsaid;
        self.waits.again(Instant::now());
    }
}

impl Asker {
    /// Asks about what is wanted, one after the other, until all is over.
    fn ask_all(&mut self, shared: &Shared, patience: Duration) {
        let mut board = shared.board();
        while !board.is_over {
            let mut known = board.known.iter_mut();
            let wanted = known.find(|known| matches!(known.fact, Fact::Wanted));
            let Some(wanted) = wanted else {
                let waited = shared.wanted.wait(board);
                board = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            wanted.fact = Fact::Asked;
            let cgroup = wanted.cgroup.clone();
            if std::mem::replace(&mut self.edition, board.edition) != board.edition {
                self.absences = 0;
                for runtime in &mut self.runtimes {
                    runtime.waits = Waits::default();
                }
            }
            drop(board);
            let began = Instant::now();
            let mut remarks = Vec::new();
            let said = self.ask(&cgroup.id, &mut remarks);
            board = shared.board();
            board.is_slow = patience < began.elapsed();
            board.remarks.append(&mut remarks);
            // It may have been forgotten meanwhile.
            let mut known = board.known.iter_mut();
            if let Some(known) = known.find(|known| known.cgroup == cgroup) {
                match said {
                    // One without a process is about to start.
                    Some(Some(container)) if container.pid > 0 => {
                        known.fact = Fact::Answered(container);
                    }
                    Some(None) => known.is(None),
                    Some(Some(_)) | None => known.is_unsaid(),
                }
            }
            shared.answered.notify_all();
        }
    }

    /// Asks all that there is about one container; `None`: some did not say.
    fn ask(&mut self, id: &ContainerId, remarks: &mut Vec<String>) -> Option<Option<Container>> {
        if let Some(container) = containers::bundles(&self.root, id) {
            return Some(Some(container));
        }
        let (mut is_silent, mut is_absent) = (false, true);
        for runtime in &mut self.runtimes {
            let now = Instant::now();
            if runtime.waits.are_on(now) {
                (is_silent, is_absent) = (true, false);
                continue;
            }
            match containers::ask(&runtime.socket, id, DEADLINE) {
                Ok(said) => {
                    runtime.waits = Waits::default();
                    is_absent = false;
                    self.absences = 0;
                    if said.is_some() {
                        return Some(said);
                    }
                }
                Err(err) if err.is_absent() => {}
                Err(err) => {
                    (is_silent, is_absent) = (true, false);
                    runtime.waits.again(Instant::now());
                    if runtime.waits.times == self.failures {
                        remarks.push(runtime.remark(&err));
                    }
                }
            }
        }
        if is_absent {
            self.absences = self.absences.saturating_add(1);
            if self.absences == self.failures {
                remarks.push(self.nothing_to_ask());
            }
        }
        (!is_silent && !is_absent).then_some(None)
    }

    fn nothing_to_ask(&self) -> String {
        let sockets = self.runtimes.iter();
        let sockets: Vec<_> = sockets
            .map(|runtime| format!("`{}`", runtime.socket.display()))
            .collect();
        format!(
            "no container runtime listens at {}; until one does, rules match only containers \
             known before by their name, image or labels",
            sockets.join(" or ")
        )
    }
}

impl Runtime {
    fn remark(&self, err: &AskError) -> String {
        format!(
            "the container runtime at `{}` does not say what its containers are: {}; until it does, \
             rules match only those known before by their name, image or labels",
            self.socket.display(),
            terminal::chain(err)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A test that waits for an answer gets one.
    const LONG: Duration = Duration::from_secs(60);
    const PATIENT: RuntimePatience = RuntimePatience {
        wait: LONG,
        failures: 2,
    };

    fn cgroup(number: usize) -> ContainerCgroup {
        let mut id = [b'0'; 64];
        let digits = format!("{number:064x}");
        id.copy_from_slice(digits.as_bytes());
        ContainerCgroup {
            path: format!("/docker/{digits}").into_bytes().into(),
            id,
        }
    }

    /// With the bundle of container 1, whose first process is 7.
    fn facts() -> (tempfile::TempDir, ContainerFacts) {
        let root = tempfile::tempdir().unwrap();
        let bundle = root
            .path()
            .join("run/containerd/io.containerd.runtime.v2.task/k8s.io")
            .join(String::from_utf8_lossy(&cgroup(1).id).as_ref());
        std::fs::create_dir_all(&bundle).unwrap();
        let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"web"}}"#;
        std::fs::write(bundle.join("config.json"), config).unwrap();
        std::fs::write(bundle.join("init.pid"), "7").unwrap();
        let path = root.path().to_owned();
        (root, ContainerFacts::new(Vec::new(), path, PATIENT))
    }

    fn in_it(pid: u32) -> Option<bool> {
        Some(pid == 7)
    }

    #[test]
    fn what_was_said_of_a_container_is_kept() {
        let (root, facts) = facts();
        let (web, labelled) = facts.look(&cgroup(1), &in_it);
        assert_eq!(labelled, Labelled::ForGood);
        assert_eq!(&*web.unwrap().name, "web");
        drop(root);
        assert!(facts.look(&cgroup(1), &|_| None).0.is_some());
    }

    #[test]
    fn what_was_said_counts_until_something_else_is() {
        let (root, facts) = facts();
        facts.look(&cgroup(1), &in_it);
        // Nothing is there to answer when it is asked again.
        let there = root.path().join("run");
        let gone = root.path().join("gone");
        std::fs::rename(&there, &gone).unwrap();
        facts.adopt(1);
        let (web, labelled) = facts.look(&cgroup(1), &in_it);
        assert_eq!(labelled, Labelled::ForNow);
        assert_eq!(&*web.unwrap().name, "web");
        // It is another's by then.
        std::fs::rename(&gone, &there).unwrap();
        facts.adopt(2);
        let look = facts.look(&cgroup(1), &|_| Some(false));
        assert_eq!(look, (None, Labelled::ForGood));
    }

    #[test]
    fn one_whose_first_process_is_gone_is_asked_about_again() {
        let (_root, facts) = facts();
        let look = facts.look(&cgroup(1), &|_| None);
        assert_eq!(look, (None, Labelled::ForNow));
        facts.adopt(1);
        let (web, labelled) = facts.look(&cgroup(1), &in_it);
        assert_eq!((&*web.unwrap().name, labelled), ("web", Labelled::ForGood));
    }

    #[test]
    fn a_cgroup_elsewhere_that_is_called_after_it_is_another() {
        let (_root, facts) = facts();
        let named = ContainerCgroup {
            path: b"/mine/docker-1.scope".as_slice().into(),
            ..cgroup(1)
        };
        let look = facts.look(&named, &|_| Some(false));
        assert_eq!(look, (None, Labelled::ForGood));
        assert!(facts.look(&cgroup(1), &in_it).0.is_some());
    }

    #[test]
    fn what_does_not_say_is_asked_less_and_less_often() {
        let mut waits = Waits::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(!waits.are_on(now));
            waits.again(now);
            let until = waits.until.unwrap();
            assert!(waits.are_on(until - Duration::from_nanos(1)));
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn where_there_is_nothing_to_ask_that_is_said_once_in_each_edition() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("none");
        let path = root.path().to_owned();
        let facts = ContainerFacts::new(vec![socket], path, PATIENT);
        for edition in 1..3 {
            facts.adopt(edition);
            for number in 2..6 {
                let look = facts.look(&cgroup(number), &|_| None);
                assert_eq!(look, (None, Labelled::ForNow));
            }
            let said = facts.take_remarks();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with("no container runtime listens at `"));
        }
    }

    #[test]
    fn an_answer_that_is_late_counts_when_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("socket");
        let runtime = UnixListener::bind(&socket).unwrap();
        let path = root.path().to_owned();
        let impatient = RuntimePatience {
            wait: Duration::ZERO,
            ..PATIENT
        };
        let facts = ContainerFacts::new(vec![socket], path, impatient);
        let look = || facts.look(&cgroup(1), &in_it);
        assert_eq!(look(), (None, Labelled::ForNow));
        let (mut client, _) = runtime.accept().unwrap();
        // What is closed with something unread is reset.
        let asked = client.read(&mut [0; 512]).unwrap();
        assert!(asked > 0);
        assert_eq!(look(), (None, Labelled::ForNow));
        let id = String::from_utf8(cgroup(1).id.into()).unwrap();
        let body = format!(r#"{{"Id":"{id}","Name":"/web","State":{{"Pid":7}}}}"#);
        write!(client, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
        drop(client);
        let began = Instant::now();
        let web = loop {
            assert!(began.elapsed() < LONG);
            if let (Some(web), Labelled::ForGood) = look() {
                break web;
            }
            thread::yield_now();
        };
        assert_eq!(&*web.name, "web");
    }

    #[test]
    fn those_looked_at_longest_ago_make_room() {
        let mut board = Board::default();
        for number in 2..KNOWN + 2 {
            for number in [1, number] {
                board.looks += 1;
                board.find(&cgroup(number));
            }
        }
        assert_eq!(board.known.len(), KNOWN);
        let is_kept = |number| board.known.iter().any(|it| it.cgroup == cgroup(number));
        assert!(is_kept(1) && !is_kept(2) && is_kept(3));
    }
}
