//! What the container runtimes say of a container: its name, its image and its
//! labels, which the kernel does not know.
//!
//! Docker and Podman are asked through the Engine API, `GET /containers/ID/json`
//! at a Unix socket. Kubernetes' runtimes, containerd and CRI-O, have no such
//! thing; what they run has an OCI bundle, whose `config.json` has their
//! annotations (<https://github.com/opencontainers/runtime-spec>).
//!
//! Only what root runs is believed, or our own user: a socket by the process that
//! listens there, a file by its owner. A question has a deadline, and an answer a
//! size. When to ask again is not decided here.

mod bundle;
mod engine;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::path::PathBuf;

pub use crate::bundle::bundles;
pub use crate::engine::{AskError, ask};

/// Where Docker and Podman listen, if they do.
#[must_use]
pub fn default_sockets() -> Vec<PathBuf> {
    ["/run/docker.sock", "/run/podman/podman.sock"]
        .map(PathBuf::from)
        .into()
}

/// No more of one text is kept: a name, an image, a label with its value. Longer
/// labels are left out,
const TEXT_BYTES: usize = 1024;
/// and so are those beyond this, of one container.
const LABELS_BYTES: usize = 16 << 10;

/// An id, as it stands in the cgroup's path: hexadecimal digits.
pub type ContainerId = [u8; 64];

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its first process, in our pid namespace.
    pub pid: u32,
    /// What it is called; empty where it has no name.
    pub name: Box<str>,
    /// What it was made of, as that was given: `nginx:1.25`.
    pub image: Box<str>,
    /// `KEY=value`, in the order of the keys.
    pub labels: Vec<Box<str>>,
}

impl Container {
    fn new(
        pid: u32,
        name: &str,
        image: &str,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let short = |text: &str| Box::from(if TEXT_BYTES < text.len() { "" } else { text });
        let mut room = LABELS_BYTES;
        let labels = labels
            .into_iter()
            .map(|(key, value)| format!("{key}={value}").into_boxed_str())
            .filter(|label| label.len() <= TEXT_BYTES)
            .take_while(|label| {
                let left = room.checked_sub(label.len());
                room = left.unwrap_or_default();
                left.is_some()
            })
            .collect();
        Self {
            pid,
            name: short(name),
            image: short(image),
            labels,
        }
    }
}

/// Root, or our own user.
fn is_trusted(uid: rustix::fs::Uid) -> bool {
    uid.is_root() || uid == rustix::process::geteuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let label = |key: &str, bytes: usize| (key.to_owned(), "x".repeat(bytes));
        let long = "x".repeat(TEXT_BYTES + 1);
        let kept = Container::new(7, &long, "a", [label("long", TEXT_BYTES), label("b", 2)]);
        assert_eq!((&*kept.name, &*kept.image), ("", "a"));
        assert_eq!(kept.labels, ["b=xx".into()]);
        let many = (0..100).map(|number| label(&format!("{number:03}"), 1000));
        let kept = Container::new(7, "", "", many);
        assert_eq!(kept.labels.len(), LABELS_BYTES / 1004);
    }
}
