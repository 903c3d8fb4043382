//! `/proc/<pid>/cgroup`, proc_pid_cgroup(5): which of systemd's units, or which
//! container, a process belongs to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use model::SessionId;

/// Where systemd keeps the files of units that were started without one that is
/// installed, systemd.unit(5).
pub(crate) const TRANSIENT_UNITS: &str = "/run/systemd/transient";

/// Where systemd or a container's runtime keeps a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Its container, or else its leaf cgroup.
    pub(crate) session: SessionId,
    /// Whether it is not a service of the machine: a container; a scope or a
    /// transient service, which are made for a job; anything in `user.slice` (a login
    /// session, a service of a user's own).
    pub(crate) login: bool,
}

/// The unit that one line of the file names: the line of the hierarchy that
/// systemd runs (`0::` on cgroup v2, `name=systemd` on v1), if the path holds
/// a unit of its (`.slice`, `.scope`, `.service`). `None` otherwise: another line,
/// another init, or a process outside all units. What [`container_of_line`] knows
/// is asked first. `transient`: [`TRANSIENT_UNITS`].
pub(crate) fn unit_of_line(line: &[u8], transient: &Path) -> Option<Grouping> {
    let path = unit_path_of_line(line)?;
    Some(Grouping {
        session: hashed(path),
        login: !is_machines_own(path, transient),
    })
}

/// The container that the line names, of whichever hierarchy it is.
pub(crate) fn container_of_line(line: &[u8]) -> Option<Grouping> {
    let path = line.splitn(3, |&byte| byte == b':').nth(2)?;
    Some(Grouping {
        session: hashed(container(path)?),
        login: true,
    })
}

/// What tells the service from others that the line says the process is in, in one
/// of its cgroups, and in no other unit within.
pub(crate) fn service_of_line(line: &[u8]) -> Option<u64> {
    let path = unit_path_of_line(line)?;
    let is_slash = |byte: &u8| *byte == b'/';
    let mut end = path.len();
    loop {
        let start = path[..end].iter().rposition(is_slash)?;
        if let Some(unit) = unit_name(&path[start + 1..end]) {
            return unit
                .ends_with(b".service")
                .then(|| hash(&path[..end]).max(1));
        }
        end = start;
    }
}

/// `name`, where it is that of a unit of systemd's.
fn unit_name(name: &[u8]) -> Option<&[u8]> {
    [&b".slice"[..], b".scope", b".service"]
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
        .then_some(name)
}

fn innermost_unit(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|&byte| byte == b'/').find_map(unit_name)
}

/// Whether the unit that `path` leads to is of the machine's own: outside of
/// `user.slice` and of Kubernetes' pods, where only root can put a process, in whichever
/// slice it keeps its services; and no service with a file in `transient`, nor a scope
/// but that of a virtual machine (libvirt's, or Proxmox's in `qemu.slice`) or of a
/// container's monitor.
fn is_machines_own(path: &[u8], transient: &Path) -> bool {
    let topmost = topmost_name(path);
    let is_kept = |unit: &[u8]| {
        if unit.ends_with(b".service") {
            return !transient.join(OsStr::from_bytes(unit)).exists();
        }
        let holds = |part: &[u8]| unit.windows(part.len()).any(|window| window == part);
        !unit.ends_with(b".scope")
            || topmost == b"qemu.slice"
            || unit.starts_with(b"machine-")
            || holds(b"conmon-")
    };
    // The first is not always at the top: in a namespace, or below a service manager of
    // its own.
    let is_users = path
        .split(|&byte| byte == b'/')
        .any(|name| name == b"user.slice");
    let is_others = is_users || topmost.starts_with(b"kubepods");
    !is_others && innermost_unit(path).is_none_or(is_kept)
}

/// The first name in `path`; empty where that is the root.
fn topmost_name(path: &[u8]) -> &[u8] {
    let mut names = path.split(|&byte| byte == b'/');
    names.find(|name| !name.is_empty()).unwrap_or_default()
}

/// `path` without the `/..` for each cgroup between the root of our cgroup namespace
/// and the nearest that has the process in it, too. Seen from a container with the
/// host's pids, what is on the host has such a path: `/../../system.slice/ssh.service`.
/// What is left begins at the root if nothing else is above both, as most often.
#[must_use]
pub fn outside_namespace(path: &[u8]) -> &[u8] {
    let mut left = path;
    while let Some(rest) = left.strip_prefix(b"/..") {
        match rest.first() {
            None => return b"/",
            Some(b'/') => left = rest,
            Some(_) => break,
        }
    }
    left
}

/// The init's own. Where something else than systemd started all that runs, it is in
/// there, too: no unit, or one rule could have all of it killed together.
const INIT: &[u8] = b"/init.scope";

/// The path that a line of the file names, where that holds a unit.
fn unit_path_of_line(line: &[u8]) -> Option<&[u8]> {
    let mut parts = line.splitn(3, |&byte| byte == b':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_systemds = (number == b"0" && controllers.is_empty()) || controllers == b"name=systemd";
    let path = outside_namespace(path);
    if !is_systemds || path == INIT {
        return None;
    }
    let mut names = path.split(|&byte| byte == b'/');
    (names.any(|name| unit_name(name).is_some()) || is_lxc_monitor(path)).then_some(path)
}

/// Whether LXC's monitor of a container is in there, as root starts it; a user's is in
/// the cgroup of the user's login.
fn is_lxc_monitor(path: &[u8]) -> bool {
    let topmost = topmost_name(path);
    topmost == b"lxc.monitor" || topmost.starts_with(b"lxc.monitor.")
}

/// The path of the innermost container that `path` is in; what is below is the
/// container's own.
fn container(path: &[u8]) -> Option<&[u8]> {
    let mut end = path.len();
    for name in path.rsplit(|&byte| byte == b'/') {
        let above = &path[..end - name.len()];
        if is_container(above, name) {
            return Some(&path[..end]);
        }
        end = above.len().saturating_sub(1);
    }
    None
}

/// Whether the cgroup `name`, in `above`, is a container's: Docker, Podman,
/// containerd and CRI-O (so Kubernetes) name it after its id, LXC and
/// systemd-nspawn after its name. Their monitors (`conmon`) are outside.
fn is_container(above: &[u8], name: &[u8]) -> bool {
    if container_id(name).is_some() {
        return true;
    }
    let scope = name.strip_suffix(b".scope");
    let is_below = |parent: &[u8]| above.ends_with(parent) && !name.is_empty();
    let is_machine = scope.is_some_and(|scope| {
        scope.starts_with(b"machine-") && !scope.starts_with(br"machine-qemu\x2d")
    });
    is_machine
        || (name.starts_with(b"systemd-nspawn@") && name.ends_with(b".service"))
        || name.starts_with(b"lxc.payload.")
        || is_below(b"/lxc/")
        || is_below(b"/lxc.payload/")
}

/// The id of the container whose cgroup is called `name`.
fn container_id(name: &[u8]) -> Option<&[u8; 64]> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (prefix, id) = name.split_last_chunk::<64>()?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_monitor = prefix.ends_with(b"conmon-");
    let is_apart = prefix.is_empty() || prefix.ends_with(b"-") || prefix.ends_with(b":");
    (is_apart && !is_monitor && id.iter().all(is_hex)).then_some(id)
}

/// A container of this machine's, as the cgroup of what runs in it names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// Its path.
    pub path: Box<[u8]>,
    /// What the runtime calls it.
    pub id: [u8; 64],
}

/// The container that the process with these lines is in: the outermost that has
/// an id, for what is inside is for the container to name. `None` where a user's
/// own service manager runs it: below that a user can name what it likes.
pub(crate) fn outermost_container(lines: &[u8]) -> Option<ContainerCgroup> {
    let of_line = |line: &[u8]| {
        let path = line.splitn(3, |&byte| byte == b':').nth(2)?;
        let mut end = 0;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len();
            if name.starts_with(b"user@") && name.ends_with(b".service") {
                return None;
            }
            if let Some(id) = container_id(name) {
                return Some(ContainerCgroup {
                    path: path[..end].into(),
                    id: *id,
                });
            }
            end += 1;
        }
        None
    };
    lines.split(|&byte| byte == b'\n').find_map(of_line)
}

/// A process without a unit has the number of its session, at most 31 bits
/// wide; the topmost bit keeps the two apart.
fn hashed(path: &[u8]) -> SessionId {
    SessionId(hash(path) | 1 << 63)
}

/// FNV-1a: the same in every run, so that records can be compared.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Option<bool>) {
        let got = unit_of(line).map(|unit| unit.login);
        assert_eq!(got, want, "of {line:?}");
    }

    /// Where all units are installed.
    fn unit_of(line: &str) -> Option<Grouping> {
        let line = line.as_bytes();
        container_of_line(line).or_else(|| unit_of_line(line, Path::new("/nonexistent")))
    }

    #[test]
    fn a_login_session_is_under_user_slice() {
        check("0::/user.slice/user-1000.slice/session-3.scope", Some(true));
        check(
            "1:name=systemd:/user.slice/user-0.slice/session-1.scope",
            Some(true),
        );
        check("0::/system.slice/ssh.service", Some(false));
        check(
            "0::/system.slice/system-getty.slice/getty@tty1.service",
            Some(false),
        );
        check("0::/init.scope", None);
        check("1:name=systemd:/init.scope", None);
    }

    #[test]
    fn an_administrators_scopes_are_no_services_of_the_machine() {
        check("0::/system.slice/run-r0a1b.scope", Some(true));
        check(
            "0::/system.slice/slurmstepd.scope/job_7/step_0/slurm",
            Some(true),
        );
        check("0::/batch.slice/run-r0a1b.scope", Some(true));
        check("0::/nomad.slice/share.slice/0a1b.web.scope", Some(true));
        check("0::/kubepods.slice/kubepods-pod12.slice", Some(true));
    }

    #[test]
    fn a_service_in_a_slice_of_the_administrators_is_one_of_the_machine() {
        for path in [
            "/runtime.slice/containerd.service",
            "/runtime.slice/kubelet.service",
            "/kubelet.slice",
            "/podruntime.slice/docker.service",
            "/azure.slice/azure-walinuxagent.slice/walinuxagent.service",
            "/batch.slice/batch-big.slice/nightly.service",
        ] {
            check(&format!("0::{path}"), Some(false));
            check(&format!("1:name=systemd:{path}"), Some(false));
        }
        check("0::/user.slice/nightly.service", Some(true));
        check("0::/a.slice/user.slice/nightly.service", Some(true));
    }

    #[test]
    fn from_a_containers_namespace_the_machines_units_are_the_same() {
        check("0::/../../system.slice/ssh.service", Some(false));
        check("0::/../ssh.service", Some(false));
        let session = "user.slice/user-1000.slice/session-3.scope";
        check(&format!("0::/../../{session}"), Some(true));
        check("0::/../../init.scope", None);
        check("0::/../..", None);
        check("0::/../../kubepods.slice/kubepods-pod12.slice", Some(true));
        let other = format!("0::/../docker-{ID}.scope/system.slice/nginx.service");
        check(&other, Some(true));
        let outside = |path: &str| {
            let path = outside_namespace(path.as_bytes());
            String::from_utf8(path.to_vec()).unwrap()
        };
        assert_eq!(outside("/../../a.slice/b.service"), "/a.slice/b.service");
        assert_eq!(outside("/../.."), "/");
        for path in ["/", "/a/../b", "/..a/b", "", ".."] {
            assert_eq!(outside(path), path);
        }
    }

    #[test]
    fn a_service_that_is_not_installed_has_its_file_among_the_transient_ones() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("run-u5.service"), "").unwrap();
        let is = |line: &str| Some(unit_of_line(line.as_bytes(), folder.path())?.login);
        assert_eq!(is("0::/system.slice/run-u5.service"), Some(true));
        assert_eq!(is("0::/system.slice/run-u5.service/worker"), Some(true));
        assert_eq!(is("0::/system.slice/run-u6.service"), Some(false));
        assert_eq!(is("0::/system.slice"), Some(false));
        assert_eq!(is("0::/"), None);
    }

    #[test]
    fn the_cgroups_of_a_service_are_one_and_what_it_starts_as_a_unit_is_another() {
        let service = |line: &str| service_of_line(line.as_bytes());
        let web = service("0::/system.slice/web.service");
        assert!(web.is_some());
        assert_eq!(service("0::/system.slice/web.service/worker/1"), web);
        assert_ne!(service("0::/system.slice/db.service"), web);
        let app = "0::/user.slice/user@0.service/app.slice";
        assert_eq!(service(&format!("{app}/vte-1.scope/sub")), None);
        assert!(service(&format!("{app}/tab.service")).is_some());
        assert_eq!(service("0::/docker/01"), None);
    }

    #[test]
    fn without_systemd_there_is_no_unit() {
        check("0::/", None);
        check("0::/docker/0123abcd", None);
        check("4:memory:/user.slice/user-1000.slice", None);
        check("", None);
        check("0:", None);
        check("0::/.slice", None);
    }

    const ID: &str = "8d9f0b52a1c34d7e96f0aa55cc0d13b27f6e4a90d1b8c3e2f4a5968778695a4b";

    #[track_caller]
    fn check_container(path: &str, want: &str) {
        let (path, want) = (path.replace("ID", ID), want.replace("ID", ID));
        for line in ["0::", "1:name=systemd:", "4:memory:"] {
            let found = unit_of(&format!("{line}{path}"));
            let want = Grouping {
                session: hashed(want.as_bytes()),
                login: true,
            };
            assert_eq!(found, Some(want), "{line}{path}");
        }
    }

    #[test]
    fn a_container_is_one_group_and_no_service_of_the_machine() {
        for path in [
            // Docker, by either driver; Podman, by root and without.
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/machine.slice/libpod-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "/libpod_parent/libpod-ID",
            // Kubernetes: containerd and CRI-O, by either driver.
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod12.slice/crio-ID.scope",
            "/kubepods/besteffort/pod12/ID",
            "/system.slice/containerd.service/kubepods-besteffort-pod12.slice:cri-containerd:ID",
            // LXC and systemd-nspawn.
            "/lxc.payload.web",
            "/lxc/web",
            "/lxc.payload/web",
            "/machine.slice/systemd-nspawn@web.service",
            "/machine.slice/machine-web.scope",
        ] {
            check_container(path, path);
            check_container(&format!("{path}/system.slice/nginx.service"), path);
            check_container(&format!("{path}/init.scope"), path);
            let inner = format!("{path}/docker/{}", ID.replace('8', "9"));
            check_container(&inner, &inner);
        }
    }

    #[test]
    fn what_runs_containers_and_virtual_machines_is_none() {
        let line = |path: &str| format!("0::{}", path.replace("ID", ID));
        for path in [
            "/system.slice/docker.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/crio-conmon-ID.scope",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope",
            "/qemu.slice/100.scope",
            "/lxc.monitor.web",
            "/lxc.monitor/100",
            "/system.slice/xID.service",
        ] {
            check(&line(path), Some(false));
        }
        let session = "/user.slice/user-1000.slice/session-3.scope";
        check(&line(&format!("{session}/lxc.monitor.web")), Some(true));
        check(&line("/lxc"), None);
        check(&line("/docker/IDf"), None);
    }

    #[test]
    fn the_outermost_container_counts_and_none_of_a_users() {
        let inner = ID.replace('8', "9");
        let found = |path: &str| {
            let lines = format!("3:cpu:/\n0::{}\n", path.replace("ID", ID));
            outermost_container(lines.as_bytes())
                .map(|found| (String::from_utf8(found.path.into()).unwrap(), found.id))
        };
        let check = |path: &str, want: &str| {
            let id = *ID.as_bytes().first_chunk::<64>().unwrap();
            assert_eq!(found(path), Some((want.replace("ID", ID), id)), "{path}");
        };
        check(
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope",
        );
        check(
            "/machine.slice/libpod-ID.scope/container",
            "/machine.slice/libpod-ID.scope",
        );
        check(&format!("/docker/ID/docker/{inner}"), "/docker/ID");
        check(
            "/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope",
        );
        assert_eq!(found("/machine.slice/libpod-conmon-ID.scope"), None);
        assert_eq!(found("/lxc/web"), None);
        let of_user = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope";
        assert_eq!(found(of_user), None);
    }

    #[test]
    fn a_path_may_hold_colons() {
        check("0::/system.slice/a:b.service", Some(false));
    }

    #[test]
    fn each_leaf_is_a_session_of_its_own() {
        let session = |line: &str| unit_of(line).map(|unit| unit.session);
        let one = session("0::/user.slice/user-1000.slice/session-3.scope");
        let other = session("0::/user.slice/user-1000.slice/session-4.scope");
        assert_ne!(one, other);
        assert!(one > Some(SessionId(u64::from(u32::MAX))));
    }
}
