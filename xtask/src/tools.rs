//! What the tasks need beyond Rust and a C compiler.

use std::path::Path;

use anyhow::{Result, bail};

use crate::chore::{Chore, say};

/// A program that is not ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// What runs where it is there.
    proof: (&'static str, &'static [&'static str]),
    /// What it is for, to finish the sentence "… is needed".
    purpose: &'static str,
    source: Source,
}

/// Where a tool comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A component of the toolchain, by rustup.
    Rustup(&'static str),
    /// The standard library for another target, by rustup.
    RustTarget(&'static str),
    /// A package of Debian's.
    Debian(&'static str),
    /// Systemd of Debian 13, unpacked in `target/trixie`: a later one than Debian 12 has.
    /// Not every mirror has it, and one test alone takes it.
    Trixie,
    /// A crate, at a version: it is compiled.
    Cargo {
        name: &'static str,
        version: &'static str,
    },
}

/// For `cargo xtask check`.
pub(crate) const FOR_CHECKS: &[Tool] = &[
    Tool {
        proof: ("cargo", &["fmt", "--version"]),
        purpose: "to check the formatting",
        source: Source::Rustup("rustfmt"),
    },
    Tool {
        proof: ("cargo", &["clippy", "--version"]),
        purpose: "to check the code",
        source: Source::Rustup("clippy"),
    },
    Tool {
        proof: ("shellcheck", &["--version"]),
        purpose: "to check the shell scripts",
        source: Source::Debian("shellcheck"),
    },
    Tool {
        proof: ("cargo", &["deny", "--version"]),
        purpose: "to check licences and sources of dependencies",
        source: Source::Cargo {
            name: "cargo-deny",
            version: "0.20.2",
        },
    },
];

/// For the tests of the workspace.
pub(crate) const FOR_TESTS: &[Tool] = &[
    Tool {
        proof: ("python3", &["--version"]),
        purpose: "to test the machine-learning jobs",
        source: Source::Debian("python3"),
    },
    Tool {
        proof: ("dbus-daemon", &["--version"]),
        purpose: "to test notifications of desktop users",
        source: Source::Debian("dbus"),
    },
    Tool {
        proof: ("promtool", &["--version"]),
        purpose: "to test the metrics and the alert rules",
        source: Source::Debian("prometheus"),
    },
    Tool {
        proof: ("prometheus-node-exporter", &["--version"]),
        purpose: "to test the metrics in a file",
        source: Source::Debian("prometheus-node-exporter"),
    },
    Tool {
        proof: ("ninja", &["--version"]),
        purpose: "to test the recipes for builds",
        source: Source::Debian("ninja-build"),
    },
    Tool {
        proof: ("/usr/bin/python3", &["-c", "import ipykernel, tornado"]),
        purpose: "to test the recipe for Jupyter",
        source: Source::Debian("python3-ipykernel"),
    },
    Tool {
        proof: (
            "sh",
            &[
                "-c",
                "varlinkctl --version || test -e target/trixie/usr/bin/varlinkctl",
            ],
        ),
        purpose: "to test the control interface with a client that is not ours",
        source: Source::Trixie,
    },
];

/// For the fuzz targets.
pub(crate) const FOR_FUZZING: &[Tool] = &[
    Tool {
        proof: ("g++", &["--version"]),
        purpose: "to compile libFuzzer",
        source: Source::Debian("g++"),
    },
    Tool {
        proof: ("cargo", &["fuzz", "--version"]),
        purpose: "to fuzz the parsers",
        source: Source::Cargo {
            name: "cargo-fuzz",
            version: "0.13.2",
        },
    },
];

/// For the scenarios in virtual machines.
pub(crate) const FOR_MACHINES: &[Tool] = &[
    Tool {
        proof: ("qemu-system-x86_64", &["--version"]),
        purpose: "to boot kernels",
        source: Source::Debian("qemu-system-x86"),
    },
    Tool {
        proof: ("mmdebstrap", &["--version"]),
        purpose: "to fetch kernels and varlinkctl",
        source: Source::Debian("mmdebstrap"),
    },
    Tool {
        proof: ("unshare", &["--version"]),
        purpose: "to build the module in a chroot",
        source: Source::Debian("util-linux"),
    },
];

/// What the static programs are built for. Its libc looks users up in `/etc/passwd`, where
/// glibc, linked statically, would load the machine's own modules.
pub(crate) const STATIC: &str = "x86_64-unknown-linux-musl";

/// For packages.
pub(crate) const FOR_PACKAGES: &[Tool] = &[
    Tool {
        proof: (
            "sh",
            &[
                "-c",
                "test -d \"$(rustc --print target-libdir --target x86_64-unknown-linux-musl)\"",
            ],
        ),
        purpose: "to build static programs",
        source: Source::RustTarget(STATIC),
    },
    Tool {
        proof: ("cargo", &["cyclonedx", "--version"]),
        purpose: "to list what the programs are made of",
        source: Source::Cargo {
            name: "cargo-cyclonedx",
            version: "0.5.9",
        },
    },
    Tool {
        proof: ("dpkg-query", &["--show", "debhelper"]),
        purpose: "to make packages for Debian",
        source: Source::Debian("debhelper"),
    },
    Tool {
        proof: ("dpkg-query", &["--show", "dh-dkms"]),
        purpose: "to make a package of the kernel module",
        source: Source::Debian("dh-dkms"),
    },
    Tool {
        proof: ("lintian", &["--version"]),
        purpose: "to check packages",
        source: Source::Debian("lintian"),
    },
];

/// What is tried of machines other than this one.
pub(crate) const CROSS: &str = "aarch64-unknown-linux-musl";

/// For the programs on another processor.
pub(crate) const FOR_CROSS: &[Tool] = &[
    Tool {
        proof: (
            "sh",
            &[
                "-c",
                "test -d \"$(rustc --print target-libdir --target aarch64-unknown-linux-musl)\"",
            ],
        ),
        purpose: "to build for aarch64",
        source: Source::RustTarget(CROSS),
    },
    Tool {
        proof: ("aarch64-linux-gnu-gcc", &["--version"]),
        purpose: "to compile the C of a dependency for aarch64",
        source: Source::Debian("gcc-aarch64-linux-gnu"),
    },
    Tool {
        proof: ("qemu-aarch64", &["--version"]),
        purpose: "to run programs for aarch64",
        source: Source::Debian("qemu-user"),
    },
];

impl Tool {
    fn is_there(&self, root: &Path) -> bool {
        self.proof().succeeds(root)
    }

    fn proof(&self) -> Chore {
        let (program, arguments) = self.proof;
        Chore::new(program, arguments.iter().copied())
    }
}

/// Installs what is missing of `tools`: all of Debian's packages together.
///
/// # Errors
///
/// What is missing and cannot be installed, with the commands that would.
pub(crate) fn provide<'a>(root: &Path, tools: impl IntoIterator<Item = &'a Tool>) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .into_iter()
        .filter(|tool| !tool.is_there(root))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(format_args!(
            "── `{}` does not run; it is needed {}",
            tool.proof(),
            tool.purpose
        ))?;
    }
    let sources: Vec<Source> = missing.iter().map(|tool| tool.source).collect();
    let installation = installation(&sources);
    let takes_root = sources
        .iter()
        .any(|source| matches!(source, Source::Debian(_)));
    if takes_root && !we_are_root(root) {
        let commands: Vec<String> = installation.iter().map(Chore::to_string).collect();
        bail!("install as root: {}", commands.join(" && "));
    }
    for command in &installation {
        command.run(&command.to_string(), root)?;
    }
    for tool in missing {
        if !tool.is_there(root) && !matches!(tool.source, Source::Trixie) {
            bail!("`{}` does not run even after that", tool.proof());
        }
    }
    Ok(())
}

/// What installs all of `sources`.
fn installation(sources: &[Source]) -> Vec<Chore> {
    // Another package manager may be at work.
    const WAIT: &str = "DPkg::Lock::Timeout=600";

    // In place only when it is whole.
    const UNPACK: &str = "mkdir -p target && cd target && rm -rf trixie unfinished && \
                          mmdebstrap --quiet --variant=extract --include=systemd trixie unfinished && \
                          mv unfinished trixie || \
                          echo 'no Debian 13 to be had: the test that takes it is skipped'";

    let mut chores = Vec::new();
    let mut install = vec!["-o", WAIT, "install", "--yes", "--no-install-recommends"];
    for source in sources {
        match source {
            Source::Rustup(name) => {
                chores.push(Chore::new("rustup", ["component", "add", name]));
            }
            Source::RustTarget(triple) => {
                chores.push(Chore::new("rustup", ["target", "add", triple]));
            }
            Source::Debian(package) => install.push(package),
            Source::Trixie => chores.push(Chore::new("sh", ["-c", UNPACK])),
            Source::Cargo { name, version } => chores.push(Chore::new(
                "cargo",
                ["install", "--quiet", "--locked", name, "--version", version],
            )),
        }
    }
    if sources
        .iter()
        .any(|source| matches!(source, Source::Debian(_)))
    {
        // First: what is compiled may want a package.
        chores.insert(0, Chore::new("apt-get", ["-o", WAIT, "update"]));
        let chore = Chore::new("apt-get", install).env("DEBIAN_FRONTEND", "noninteractive");
        chores.insert(1, chore);
    }
    chores
}

fn we_are_root(root: &Path) -> bool {
    Chore::new("id", ["--user"])
        .output(root)
        .is_ok_and(|uid| uid.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_packages_are_installed_together_and_first() {
        let cargo = Source::Cargo {
            name: "cargo-fuzz",
            version: "0.13.2",
        };
        let chores = installation(&[
            Source::Rustup("clippy"),
            Source::Debian("g++"),
            cargo,
            Source::Debian("shellcheck"),
        ]);
        let commands: Vec<String> = chores.iter().map(Chore::to_string).collect();
        assert_eq!(
            commands,
            [
                "apt-get -o DPkg::Lock::Timeout=600 update",
                "DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install --yes \
                 --no-install-recommends g++ shellcheck",
                "rustup component add clippy",
                "cargo install --quiet --locked cargo-fuzz --version 0.13.2",
            ]
        );
    }

    #[test]
    fn nothing_is_installed_where_nothing_is_missing() {
        assert!(installation(&[]).is_empty());
    }
}
