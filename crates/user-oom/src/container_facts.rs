//! What is known of the containers that processes are in, for the rules that look
//! at it.
//!
//! A runtime is asked once about each container, and again only where it did not
//! say. On the surveyor's thread; without such rules nothing is asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use containers::{AskError, Container};
use sensors::{ContainerCgroup, Labelled, Portrait};

/// How long a runtime may take over one container, where other readings wait for
/// it,
pub(crate) const DEADLINE: Duration = Duration::from_millis(200);
/// and where only a person does: a runtime may have to be started for it.
pub(crate) const PATIENT_DEADLINE: Duration = Duration::from_secs(5);
/// What did not say is asked again after so long, the second time after twice
/// that, and so on,
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// at most so often.
const DOUBLINGS: u32 = 6;
/// After so many times in vain that is said. Podman's service is started by the
/// first, which comes too early then.
const SAID_AFTER: u32 = 2;
/// So many containers are known at once; beyond that, those asked about longest ago
/// are asked about anew.
const KNOWN: usize = 512;

/// How many lines about them wait to be written at most.
pub(crate) const LINES: usize = 4;

/// The containers, and what runs them.
#[derive(Debug)]
pub(crate) struct ContainerFacts {
    runtimes: Vec<Runtime>,
    /// Below which bundles are.
    root: PathBuf,
    deadline: Duration,
    known: Vec<Known>,
    /// How often something was looked up, and by which edition of the rules.
    looks: u64,
    edition: u32,
    /// How often there was nothing at all to ask.
    absences: u32,
    remarks: Vec<String>,
}

#[derive(Debug)]
struct Runtime {
    socket: PathBuf,
    waits: Waits,
}

/// What is not asked for a while.
#[derive(Debug, Default)]
struct Waits {
    times: u32,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    cgroup: ContainerCgroup,
    fact: Fact,
    /// When it was last asked for, in [`ContainerFacts::looks`].
    looked: u64,
}

#[derive(Debug)]
enum Fact {
    /// `None`: all that could be asked know nothing of it.
    Said(Option<Arc<Container>>),
    Awaited(Waits),
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
    pub(crate) fn new(sockets: Vec<PathBuf>, root: PathBuf, deadline: Duration) -> Self {
        let runtimes = sockets.into_iter().map(|socket| Runtime {
            socket,
            waits: Waits::default(),
        });
        Self {
            runtimes: runtimes.collect(),
            root,
            deadline,
            known: Vec::new(),
            looks: 0,
            edition: 0,
            absences: 0,
            remarks: Vec::new(),
        }
    }

    /// The container that a process is in, as far as that is known, and whether
    /// that is all there will be. `edition`: of the rules that ask.
    pub(crate) fn of(
        &mut self,
        portrait: &Portrait<'_>,
        edition: u32,
    ) -> (Option<Arc<Container>>, Labelled) {
        if std::mem::replace(&mut self.edition, edition) != edition {
            // It may have been renamed, and a runtime may have come.
            self.known.clear();
            for runtime in &mut self.runtimes {
                runtime.waits = Waits::default();
            }
        }
        match portrait.container() {
            Some(cgroup) => self.look(cgroup, &|pid| portrait.container_of(pid)),
            None => (None, Labelled::ForGood),
        }
    }

    /// What there is to say since it was called last.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn look(
        &mut self,
        cgroup: ContainerCgroup,
        cgroup_of: &dyn Fn(u32) -> Option<ContainerCgroup>,
    ) -> (Option<Arc<Container>>, Labelled) {
        self.looks += 1;
        let now = Instant::now();
        let place = self.known.iter().position(|known| known.cgroup == cgroup);
        let place = place.unwrap_or_else(|| self.make_room(cgroup));
        let known = &mut self.known[place];
        known.looked = self.looks;
        match &known.fact {
            Fact::Said(said) => return (said.clone(), Labelled::ForGood),
            Fact::Awaited(waits) if waits.are_on(now) => return (None, Labelled::ForNow),
            Fact::Awaited(_) => {}
        }
        let said = self.ask(place, now);
        let known = &mut self.known[place];
        let said = match said {
            // It is about to start.
            Some(Some(container)) if container.pid == 0 => None,
            // A cgroup can be called after a container that it is not.
            Some(Some(container)) => {
                let is_it = cgroup_of(container.pid).as_ref() == Some(&known.cgroup);
                Some(is_it.then(|| Arc::new(container)))
            }
            said => said.map(|_| None),
        };
        match (said, &mut known.fact) {
            (Some(said), fact) => {
                *fact = Fact::Said(said.clone());
                (said, Labelled::ForGood)
            }
            (None, fact) => {
                if let Fact::Awaited(waits) = fact {
                    waits.again(now);
                }
                (None, Labelled::ForNow)
            }
        }
    }

    /// Where a container has its place of which nothing is known.
    fn make_room(&mut self, cgroup: ContainerCgroup) -> usize {
        let known = Known {
            cgroup,
            fact: Fact::Awaited(Waits::default()),
            looked: self.looks,
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
    }

    /// Asks all that there is about the container at this place; `None`: some
    /// did not say.
    fn ask(&mut self, place: usize, now: Instant) -> Option<Option<Container>> {
        let id = self.known[place].cgroup.id;
        if let Some(container) = containers::bundles(&self.root, &id) {
            return Some(Some(container));
        }
        let (mut is_silent, mut is_absent) = (false, true);
        for runtime in &mut self.runtimes {
            if runtime.waits.are_on(now) {
                (is_silent, is_absent) = (true, false);
                continue;
            }
            match containers::ask(&runtime.socket, &id, Instant::now() + self.deadline) {
                Ok(said) => {
                    runtime.waits = Waits::default();
                    is_absent = false;
                    if said.is_some() {
                        return Some(said);
                    }
                }
                Err(err) if err.is_absent() => {}
                Err(err) => {
                    (is_silent, is_absent) = (true, false);
                    runtime.waits.again(now);
                    if runtime.waits.times == SAID_AFTER {
                        self.remarks.push(remark(&runtime.socket, &err));
                    }
                }
            }
        }
        if is_absent {
            self.absences = self.absences.saturating_add(1);
            if self.absences == SAID_AFTER {
                self.remarks.push(self.nothing_to_ask());
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
            "no container runtime listens at {}: rules match no container by its name, image or \
             labels until one does",
            sockets.join(" or ")
        )
    }
}

fn remark(socket: &std::path::Path, err: &AskError) -> String {
    format!(
        "the container runtime at `{}` does not say what its containers are: {}; rules match \
         none of them by its name, image or labels until it does",
        socket.display(),
        terminal::chain(err)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
        (root, ContainerFacts::new(Vec::new(), path, DEADLINE))
    }

    fn in_it(pid: u32) -> Option<ContainerCgroup> {
        (pid == 7).then(|| cgroup(1))
    }

    #[test]
    fn what_was_said_of_a_container_is_kept() {
        let (root, mut facts) = facts();
        let (web, labelled) = facts.look(cgroup(1), &in_it);
        assert_eq!(labelled, Labelled::ForGood);
        assert_eq!(&*web.unwrap().name, "web");
        drop(root);
        assert!(facts.look(cgroup(1), &|_| None).0.is_some());
    }

    #[test]
    fn a_cgroup_elsewhere_that_is_called_after_it_is_another() {
        let (_root, mut facts) = facts();
        let named = ContainerCgroup {
            path: b"/mine/docker-1.scope".as_slice().into(),
            ..cgroup(1)
        };
        let look = facts.look(named, &in_it);
        assert_eq!(look, (None, Labelled::ForGood));
        assert!(facts.look(cgroup(1), &in_it).0.is_some());
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
    fn where_there_is_nothing_to_ask_that_is_said_once() {
        let (root, mut facts) = facts();
        facts.runtimes.push(Runtime {
            socket: root.path().join("none"),
            waits: Waits::default(),
        });
        for number in 2..6 {
            let look = facts.look(cgroup(number), &|_| None);
            assert_eq!(look, (None, Labelled::ForNow));
        }
        let said = facts.take_remarks();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("no container runtime listens at `"));
    }

    #[test]
    fn those_asked_about_longest_ago_make_room() {
        let (_root, mut facts) = facts();
        facts.look(cgroup(1), &in_it);
        for number in 2..KNOWN + 2 {
            facts.look(cgroup(1), &in_it);
            facts.look(cgroup(number), &|_| None);
        }
        assert_eq!(facts.known.len(), KNOWN);
        let is_kept = |number| facts.known.iter().any(|it| it.cgroup == cgroup(number));
        assert!(is_kept(1) && !is_kept(2) && is_kept(3));
    }
}
