//! The contestants, each started the way its own package or documentation starts it.

use super::{Contest, Framework};

/// What looks after the machine.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    /// As results and options name it.
    pub name: &'static str,
    /// What it is, for the table.
    pub says: &'static str,
    /// The program and its arguments; nothing for the bare kernel.
    pub command: &'static [&'static str],
    /// What it prints once it is at work.
    pub ready: &'static str,
    /// What says which version it is.
    pub version: &'static [&'static str],
    /// Where Debian does not have it: the crate that it is, and its version.
    pub package: Option<(&'static str, &'static str)>,
    /// The unit that the command starts, where systemd runs it. The jobs are then
    /// below a slice that it looks after, each in a cgroup of its own.
    pub unit: Option<&'static str>,
    /// Whose own killer it is, where tasks are of that. It is off for all others.
    pub killer_of: Option<Framework>,
    /// Whether the kernel has the module.
    pub module: bool,
    /// Whether it can be told to guard a contest's groups: each is then a `[[scope]]` of
    /// its configuration.
    pub knows_groups: bool,
}

const USER_OOM: Contestant = Contestant {
    name: "user-oom",
    says: "as its unit starts it, with the kernel module",
    command: &["/usr/bin/user-oom", "--force"],
    ready: "  socket",
    version: &["/usr/bin/user-oom", "--version"],
    package: None,
    unit: None,
    killer_of: None,
    module: true,
    knows_groups: true,
};

const NOHANG: Contestant = Contestant {
    name: "nohang",
    says: "as Debian's unit starts it",
    command: &[
        "/usr/sbin/nohang",
        "--monitor",
        "--config",
        "/etc/nohang/nohang.conf",
    ],
    ready: "Monitoring has started",
    // It does not know its own.
    version: &[
        "/usr/bin/dpkg-query",
        "--show",
        "--showformat=nohang ${Version}",
        "nohang",
    ],
    package: None,
    unit: None,
    killer_of: None,
    module: false,
    knows_groups: false,
};

/// All of them, ours first.
pub const ALL: [Contestant; 11] = [
    USER_OOM,
    Contestant {
        name: "user-oom-no-module",
        says: "the same without the module",
        module: false,
        ..USER_OOM
    },
    Contestant {
        name: "user-oom-no-pause",
        says: "with the module and `--pause off`",
        command: &["/usr/bin/user-oom", "--force", "--pause", "off"],
        ..USER_OOM
    },
    Contestant {
        name: "kernel",
        says: "the kernel alone",
        command: &[],
        ready: "",
        version: &[],
        package: None,
        unit: None,
        killer_of: None,
        module: false,
        knows_groups: false,
    },
    Contestant {
        name: "earlyoom",
        says: "as Debian's unit starts it",
        command: &["/usr/bin/earlyoom", "-r", "3600"],
        ready: "mem total",
        version: &["/usr/bin/earlyoom", "-v"],
        package: None,
        unit: None,
        killer_of: None,
        module: false,
        knows_groups: false,
    },
    NOHANG,
    Contestant {
        name: "nohang-desktop",
        says: "as Debian's unit for desktops starts it",
        command: &[
            "/usr/sbin/nohang",
            "--monitor",
            "--config",
            "/etc/nohang/nohang-desktop.conf",
        ],
        ..NOHANG
    },
    Contestant {
        name: "bustd",
        says: "as its README.md says for services, from crates.io",
        command: &["/usr/bin/bustd", "-n"],
        ready: "Memory pages locked!",
        version: &[],
        package: Some(("bustd", "0.1.1")),
        unit: None,
        killer_of: None,
        module: false,
        knows_groups: false,
    },
    Contestant {
        name: "ram-sentinel",
        says: "as it starts without a configuration, from crates.io: it then kills only what has a browser tab's command line, of which no contest has one",
        command: &["/usr/bin/ram-sentinel"],
        ready: "ram-sentinel started",
        version: &["/usr/bin/ram-sentinel", "--version"],
        package: Some(("ram-sentinel", "0.2.0")),
        unit: None,
        killer_of: None,
        module: false,
        knows_groups: false,
    },
    Contestant {
        name: "systemd-oomd",
        says: "with systemd as init; for the slice of the jobs `ManagedOOMSwap=kill`, `ManagedOOMMemoryPressure=kill`, \
               `ManagedOOMMemoryPressureLimit=50%`, as Ubuntu sets them, and the default of 30 s for pressure (Fedora and Ubuntu: 20 s)",
        command: &["/usr/bin/systemctl", "start", "systemd-oomd.service"],
        ready: "",
        version: &[
            "/usr/bin/dpkg-query",
            "--show",
            "--showformat=systemd-oomd ${Version}",
            "systemd-oomd",
        ],
        package: None,
        unit: Some("systemd-oomd.service"),
        killer_of: None,
        module: false,
        knows_groups: false,
    },
    Contestant {
        name: "ray",
        says: "Ray's own memory monitor, as it is on by default, and nothing else",
        command: &[],
        ready: "",
        version: &[
            "/usr/bin/python3",
            "-c",
            "import importlib.metadata as it; print('Ray', it.version('ray'))",
        ],
        package: None,
        unit: None,
        killer_of: Some(Framework::Ray),
        module: false,
        knows_groups: false,
    },
];

impl Contestant {
    /// Whether it can be in `contest`. Where systemd is init, there are no tasks.
    #[must_use]
    pub fn can_be_in(&self, contest: &Contest) -> bool {
        match (self.killer_of, contest.tasks_of) {
            (None, None) => true,
            (None, Some(_)) => self.unit.is_none(),
            (Some(of), tasks_of) => tasks_of == Some(of),
        }
    }
}

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Contestant> {
    ALL.iter().find(|contestant| contestant.name == name)
}
