//! OCI bundles of the runtimes that Kubernetes uses: what the kubelet says of a
//! container is in the annotations of its `config.json`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use serde::Deserialize;

use crate::{Container, ContainerId, is_trusted};

/// No more of a `config.json` is read.
const CONFIG_BYTES: u64 = 256 << 10;

/// Where bundles are, below a root,
const FOLDERS: [(&str, &str, &str); 3] = [
    // what stands between a container's id and its files, and which of those has
    // its first process. containerd; that of k3s; CRI-O.
    (
        "run/containerd/io.containerd.runtime.v2.task/k8s.io",
        "",
        "init.pid",
    ),
    (
        "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
        "",
        "init.pid",
    ),
    (
        "run/containers/storage/overlay-containers",
        "userdata",
        "pidfile",
    ),
];

#[derive(Deserialize)]
struct BundleConfig {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What the bundles below `root` say of the container `id`; `None` where they say
/// nothing.
#[must_use]
pub fn bundles(root: &Path, id: &ContainerId) -> Option<Container> {
    let id = std::str::from_utf8(id).ok()?;
    FOLDERS.iter().find_map(|(folder, below, pid)| {
        let bundle: PathBuf = [root, folder.as_ref(), id.as_ref(), below.as_ref()]
            .iter()
            .collect();
        let config = text(&bundle.join("config.json"))?;
        let config: BundleConfig = serde_json::from_slice(&config).ok()?;
        let annotation = |keys: [&str; 2]| {
            let mut found = keys.iter().filter_map(|key| config.annotations.get(*key));
            found.next().map(String::as_str).unwrap_or_default()
        };
        // Podman's are where CRI-O's are, and have none of its labels.
        let is_of_kubernetes = |key: &String| key.starts_with("io.kubernetes.");
        config
            .annotations
            .keys()
            .find(|key| is_of_kubernetes(key))?;
        let pid = text(&bundle.join(pid))?;
        let pid = std::str::from_utf8(&pid).ok()?.trim().parse().ok()?;
        let name = annotation([
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
        ]);
        let image = annotation([
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
        ]);
        Some(Container::new(pid, name, image, config.annotations.clone()))
    })
}

/// What is in the file at `path`, if that is root's.
fn text(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open(path, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || !is_trusted(rustix::fs::Uid::from_raw(stat.st_uid)) {
        return None;
    }
    let mut text = Vec::new();
    let mut file = std::fs::File::from(file).take(CONFIG_BYTES + 1);
    let read = file.read_to_end(&mut text).ok()?;
    (read as u64 <= CONFIG_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &ContainerId = b"8d9f0b52a1c34d7e96f0aa55cc0d13b27f6e4a90d1b8c3e2f4a5968778695a4b";

    /// Of a runtime that keeps its bundle in `folder`, so far as its files are there.
    fn found(folder: &str, files: &[(&str, &str)]) -> Option<Container> {
        let root = tempfile::tempdir().unwrap();
        let bundle = root
            .path()
            .join(folder.replace("ID", std::str::from_utf8(ID).unwrap()));
        fs::create_dir_all(&bundle).unwrap();
        for (name, text) in files {
            fs::write(bundle.join(name), text).unwrap();
        }
        bundles(root.path(), ID)
    }

    const CONTAINERD: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID";
    const OF_CONTAINERD: &str = r#"{"ociVersion":"1.1.0","process":{"args":["nginx"]},"annotations":{
        "io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.image-name":"docker.io/library/nginx:1.25",
        "io.kubernetes.cri.sandbox-name":"web-7d4b","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;

    #[test]
    fn the_annotations_of_containerd_are_labels() {
        let files = [("config.json", OF_CONTAINERD), ("init.pid", "4711")];
        for folder in [CONTAINERD, &CONTAINERD.replace("run/", "run/k3s/")] {
            let web = found(folder, &files).unwrap();
            assert_eq!(web.pid, 4711);
            assert_eq!(
                (&*web.name, &*web.image),
                ("web", "docker.io/library/nginx:1.25")
            );
            let namespace = "io.kubernetes.cri.sandbox-namespace=shop";
            assert!(web.labels.contains(&namespace.into()), "{:?}", web.labels);
        }
    }

    const CRIO: &str = "run/containers/storage/overlay-containers/ID/userdata";

    #[test]
    fn crios_are_told_from_podmans() {
        let of_crio = r#"{"annotations":{"io.kubernetes.container.name":"web",
            "io.kubernetes.cri-o.ImageName":"quay.io/nginx:1.25","io.kubernetes.pod.namespace":"shop"}}"#;
        let web = found(CRIO, &[("config.json", of_crio), ("pidfile", "12\n")]).unwrap();
        assert_eq!(
            (web.pid, &*web.name, &*web.image),
            (12, "web", "quay.io/nginx:1.25")
        );
        let of_podman = r#"{"annotations":{"io.container.manager":"libpod"}}"#;
        let files = [("config.json", of_podman), ("pidfile", "12\n")];
        assert_eq!(found(CRIO, &files), None);
    }

    #[test]
    fn files_that_are_absent_empty_cut_or_malformed_are_no_bundle() {
        let check = |config: &str, pid: &str| {
            let files = [("config.json", config), ("init.pid", pid)];
            assert_eq!(found(CONTAINERD, &files), None, "{config} {pid}");
        };
        check("", "4711");
        check(&OF_CONTAINERD[..200], "4711");
        check("[]", "4711");
        check(OF_CONTAINERD, "");
        check(OF_CONTAINERD, "many");
        check(&" ".repeat(300 << 10), "4711");
        assert_eq!(found(CONTAINERD, &[("config.json", OF_CONTAINERD)]), None);
        assert_eq!(found(CONTAINERD, &[]), None);
    }

    #[test]
    fn a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let folder = CONTAINERD.replace("ID", std::str::from_utf8(ID).unwrap());
        let bundle = root.path().join(folder);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("init.pid"), "4711").unwrap();
        fs::write(root.path().join("elsewhere"), OF_CONTAINERD).unwrap();
        let link = bundle.join("config.json");
        std::os::unix::fs::symlink(root.path().join("elsewhere"), link).unwrap();
        assert_eq!(bundles(root.path(), ID), None);
    }
}
