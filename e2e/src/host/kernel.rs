//! Debian's kernels, one of our own from Debian's sources, and the module built
//! against each.
//!
//! A kernel's packages are unpacked with the compiler of the same release into
//! a directory of their own, and the module is built in there: the programs of
//! a kernel's build system want the libc of their own release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Places, say};

/// One of the kernels that scenarios run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// As `--kernel` has it.
    pub(crate) name: &'static str,
    /// Debian's release with that kernel.
    suite: &'static str,
    /// The one that a machine with this kernel has on its disk: a released one.
    pub(crate) disk: &'static str,
    /// Where it is built from the release's source package: what it has beside
    /// the least that a kernel can have, in files of `e2e/kernel`. What a later one
    /// says of an option counts.
    configs: &'static [&'static str],
    /// For its command line.
    pub(crate) parameters: &'static str,
}

/// Every scenario runs on this one.
pub(crate) const MAIN: Kernel = ALL[0];

/// One that looks for mistakes: see `e2e/kernel/debug.config`.
pub(crate) const DEBUG: Kernel = Kernel {
    name: "debug",
    suite: "trixie",
    disk: "trixie",
    configs: &["debug.config"],
    // KASAN reports once otherwise.
    parameters: " kasan_multi_shot",
};

/// One that looks for data races: see `e2e/kernel/race.config`.
pub(crate) const RACE: Kernel = Kernel {
    name: "race",
    suite: "trixie",
    disk: "trixie",
    configs: &["debug.config", "race.config"],
    parameters: "",
};

/// All of Debian's.
pub(crate) const ALL: [Kernel; 3] = [
    Kernel {
        name: "6.1",
        suite: "bookworm",
        disk: "bookworm",
        configs: &[],
        parameters: "",
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
        disk: "trixie",
        configs: &[],
        parameters: "",
    },
    Kernel {
        name: "7.2",
        suite: "sid",
        disk: "trixie",
        configs: &[],
        parameters: "",
    },
];

/// The oldest that the programs are tried on: those of the tarball, which
/// `cargo xtask dist` makes. The module is not for it.
pub(crate) const OLDEST: Kernel = Kernel {
    name: "5.10",
    suite: "bullseye",
    disk: "bullseye",
    configs: &[],
    parameters: "",
};

/// Of the last release of bullseye: no mirror drops it, as it may a security update.
const OLDEST_KERNEL: &str = "linux-image-5.10.0-32-cloud-amd64";

/// The kernel for virtual machines: the same as for hardware, but fewer
/// drivers.
const KERNEL: &str = "linux-image-cloud-amd64,linux-headers-cloud-amd64";

/// The source, and what building it takes.
const SOURCE: &str = "linux-source,flex,bison,m4,bc,libelf-dev,tar,gzip,diffutils,perl-base";

/// What building a module takes.
const FOR_MODULES: &str = "xz-utils,gcc,make,libc6-dev,coreutils,sed,grep,mawk,findutils";

/// A shell for the guest, and what lists the kernel's own modules.
const PACKAGES: &str = "busybox-static,kmod,dash";

/// Builds `/kernel.config` on top of the least that a kernel can have, puts it
/// where Debian's packages put theirs, and removes what modules do not need: it
/// is 3 GiB. A line of the configuration without effect is a mistake.
const BUILD: &str = r#"
mkdir /source /build
tar --extract --directory=/source --strip-components=1 --file /usr/src/linux-source-*.tar.xz
rm /usr/src/linux-source-*.tar.xz
cd /source
make -s O=/build tinyconfig
scripts/kconfig/merge_config.sh -m -O /build /build/.config /kernel.config > /build/merged
make -s O=/build olddefconfig
grep ^CONFIG_ /kernel.config | grep -vxFf /build/.config && exit 1
sed -n 's/^# \(CONFIG_.*\) is not set/^\1=/p' /kernel.config | grep -f - /build/.config && exit 1
# KCSAN watches modules alone: what it says of the kernel's own is not for us to mend.
make -s O=/build -j"$(nproc)" KCSAN_SANITIZE=n bzImage modules 2> /build/said || { cat /build/said; exit 1; }
at=/usr/lib/modules/$(make -s O=/build kernelrelease)
mkdir -p "$at"
make -s O=/build run-command \
    KBUILD_RUN_COMMAND="+\$(srctree)/scripts/package/install-extmod-build $at/build"
cp /build/arch/x86/boot/bzImage "$at/vmlinuz"
cp /build/modules.order /build/modules.builtin /build/modules.builtin.modinfo "$at"
rm -r /source /build
"#;

/// Packages are unpacked, not configured, so these links are ours to make:
/// first the merged /usr, afterwards awk.
const MERGE_USR: &str =
    r#"for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done"#;
const LINK_AWK: &str = r#"ln -sf mawk "$1/usr/bin/awk"; mkdir -p "$1/proc" "$1/module""#;

/// Modules of the kernel's own that scenarios need, and what these need.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "zram", "lzo_rle"];

/// Of `e2e/module`.
const HELPERS: [&str; 3] = ["nofs.ko", "killed.ko", "bound.ko"];

/// A kernel that is fetched, with the module built for it.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// Which.
    pub(crate) kernel: Kernel,
    /// Its full version, as `uname -r` says.
    pub(crate) release: String,
    /// Its bootable image.
    pub(crate) image: PathBuf,
    /// Statically linked.
    pub(crate) busybox: PathBuf,
    /// `memory_info.ko`, where it is for this kernel.
    pub(crate) module: Option<PathBuf>,
    /// Modules that help scenarios.
    pub(crate) helpers: Vec<PathBuf>,
    /// The kernel's own, in the order to load them.
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// Fetches it if it is not there, and builds the module if that is for it.
    pub(crate) fn prepare(self, places: &Places) -> Result<Ready> {
        let root = places.cache().join(self.name);
        let config = self.config(places)?;
        let is_built = |config: &String| {
            fs::read(root.join(CONFIG)).is_ok_and(|built| built == config.as_bytes())
        };
        if !root.exists() || !config.as_ref().is_none_or(is_built) {
            self.fetch(&root, config.as_deref())?;
        }
        let release = release(&root)?;
        let (module, helpers) = match self.has_module() {
            true => {
                let kmod = places.root.join("kmod");
                let built = build_modules(&kmod, "memory_info", &root, &release)?;
                let helpers = helpers(places, &root, &release)?;
                (Some(built.join("memory_info.ko")), helpers)
            }
            false => (None, Vec::new()),
        };
        let ready = Ready {
            kernel: self,
            image: image(&root, &release)?,
            busybox: root.join("usr/bin/busybox"),
            module,
            helpers,
            modules: own_modules(&root, &release)?,
            release,
        };
        Ok(ready)
    }

    /// Whether it is one of our own.
    pub(crate) fn is_built_here(self) -> bool {
        !self.configs.is_empty()
    }

    /// Whether the module is for it.
    pub(crate) fn has_module(self) -> bool {
        self != OLDEST
    }

    /// What is fetched of Debian's.
    fn packages(self) -> String {
        let kernel = match self {
            OLDEST => return format!("{OLDEST_KERNEL},{PACKAGES}"),
            _ if self.is_built_here() => SOURCE,
            _ => KERNEL,
        };
        format!("{kernel},{PACKAGES},{FOR_MODULES}")
    }

    /// What it is built with, where it is built here.
    fn config(self, places: &Places) -> Result<Option<String>> {
        let mut config: Option<String> = None;
        for name in self.configs {
            let path = places.e2e.join("kernel").join(name);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            config = Some(match config {
                Some(earlier) => overridden(&earlier, &text),
                None => text,
            });
        }
        Ok(config)
    }

    fn fetch(self, root: &Path, config: Option<&str>) -> Result<()> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "unpacking the packages of Linux {} takes root, once; run this as root",
            self.name
        );
        say(format_args!(
            "fetching Linux {} from Debian {}",
            self.name, self.suite
        ))?;
        let unfinished = root.with_extension("unfinished");
        for old in [&unfinished, root] {
            if old.exists() {
                fs::remove_dir_all(old).context("cannot remove what was fetched before")?;
            }
        }
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).context("cannot make the cache")?;
        }
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=extract", "--format=directory"]);
        // A mirror of sid may lag by more than the week that its list is for.
        mmdebstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        mmdebstrap.arg(format!("--setup-hook={MERGE_USR}"));
        mmdebstrap.arg(format!("--extract-hook={LINK_AWK}"));
        mmdebstrap.arg(format!("--include={}", self.packages()));
        run(mmdebstrap.arg(self.suite).arg(&unfinished))?;
        if let Some(config) = config {
            say("building it; on two processors that takes a quarter of an hour")?;
            fs::write(unfinished.join(CONFIG), config).context("cannot write the configuration")?;
            run(&mut inside(&unfinished, "sh", &["-e", "-c", BUILD]))?;
        }
        let release = release(&unfinished)?;
        run(&mut inside(&unfinished, "depmod", &[&release]))?;
        fs::rename(&unfinished, root).context("cannot move the fetched packages in place")
    }
}

/// In the root of one that is built here.
const CONFIG: &str = "kernel.config";

/// `earlier` without the options of which `later` says something, and `later`.
fn overridden(earlier: &str, later: &str) -> String {
    let is_said_anew = |line: &&str| {
        option(line).is_some_and(|name| later.lines().any(|line| option(line) == Some(name)))
    };
    let kept = earlier.lines().filter(|line| !is_said_anew(line));
    kept.chain(later.lines())
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The option that a line of a kernel's configuration is about, set or not.
fn option(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let end = line.find(['=', ' '])?;
    Some(&line[..end]).filter(|name| name.starts_with("CONFIG_"))
}

/// The one kernel that was unpacked there.
fn release(root: &Path) -> Result<String> {
    let at = root.join("usr/lib/modules");
    let mut entries =
        fs::read_dir(&at).with_context(|| format!("no kernel in `{}`", at.display()))?;
    let entry = entries
        .next()
        .with_context(|| format!("`{}` is empty", at.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Debian moved it from /boot to the modules' directory.
fn image(root: &Path, release: &str) -> Result<PathBuf> {
    let places = [
        root.join(format!("boot/vmlinuz-{release}")),
        root.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ];
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("Linux {release} has no image"))
}

/// Builds the modules of [`HELPERS`].
fn helpers(places: &Places, root: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let built = build_modules(&places.e2e.join("module"), "helpers", root, release)?;
    Ok(HELPERS.iter().map(|name| built.join(name)).collect())
}

/// Builds the modules of the sources in `from`, without what was built there,
/// and returns where.
fn build_modules(from: &Path, name: &str, root: &Path, release: &str) -> Result<PathBuf> {
    let at = root.join("module").join(name);
    fs::create_dir_all(&at).with_context(|| format!("cannot make `{}`", at.display()))?;
    let sources =
        fs::read_dir(from).with_context(|| format!("cannot list `{}`", from.display()))?;
    for source in sources {
        let source = source
            .with_context(|| format!("cannot list `{}`", from.display()))?
            .path();
        let Some(file_name) = source.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_source = ["Kbuild", "Makefile"].contains(&file_name)
            || (source.extension()).is_some_and(|extension| extension == "c" || extension == "h");
        if !is_source || file_name.ends_with(".mod.c") {
            continue;
        }
        fs::copy(&source, at.join(file_name))
            .with_context(|| format!("cannot copy `{}`", source.display()))?;
    }
    let kdir = format!("KDIR=/usr/lib/modules/{release}/build");
    let make = inside(root, "make", &["-C", &format!("/module/{name}"), &kdir])
        .output()
        .context("cannot make")?;
    let said = String::from_utf8_lossy(&make.stdout) + String::from_utf8_lossy(&make.stderr);
    ensure!(
        make.status.success(),
        "{name} does not build for Linux {release}:\n{said}"
    );
    // That of BTF is about a file that Debian's headers do not have.
    let warning = said.lines().find(|line| line.contains("warning:"));
    ensure!(
        warning.is_none(),
        "{name} builds with warnings for Linux {release}:\n{said}"
    );
    Ok(at)
}

/// Runs a program of the unpacked release.
fn inside(root: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    // objtool reads /proc/self/limits. A make that is its namespace's first process
    // spins for ever when it is interrupted: it cannot end itself by a signal.
    command
        .arg("--mount-proc")
        .arg("--root")
        .arg(root)
        .args(["sh", "-c", r#""$@"; exit $?"#, "sh", program])
        .args(args);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("LC_ALL", "C");
    command.stdin(Stdio::null());
    command
}

/// Paths of [`MODULES`] and all that they need, needed ones first.
fn own_modules(root: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let at = root.join("usr/lib/modules").join(release);
    let path = at.join("modules.dep");
    let dep =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for name in MODULES {
        for module in in_order(&dep, name) {
            let path = at.join(module);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The line of `modules.dep` about a module, needed ones first; empty where it
/// is built into the kernel.
fn in_order<'dep>(dep: &'dep str, name: &str) -> Vec<&'dep str> {
    let line = dep.lines().find_map(|line| {
        let (path, needs) = line.split_once(':')?;
        let file = path.rsplit('/').next()?;
        let stem = file.split('.').next()?;
        (stem.replace('-', "_") == name).then_some((path, needs))
    });
    let Some((path, needs)) = line else {
        return Vec::new();
    };
    let mut order: Vec<_> = needs.split_whitespace().rev().collect();
    order.push(path);
    order
}

/// The module's bytes, uncompressed.
pub(crate) fn uncompressed(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(module).with_context(|| format!("cannot read `{}`", module.display()));
    }
    let xz = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(module)
        .output()
        .context("cannot start xz (package xz-utils)")?;
    ensure!(xz.status.success(), "cannot unpack `{}`", module.display());
    Ok(xz.stdout)
}

/// Runs a command to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{name}`"))?;
    ensure!(status.success(), "`{name}` failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{in_order, overridden};

    const DEP: &str = "kernel/a/virtio-blk.ko.xz: kernel/b/virtio_ring.ko.xz kernel/c/virtio.ko.xz\n\
                       kernel/c/virtio.ko.xz:\n";

    #[test]
    fn what_a_module_needs_comes_first() {
        let want = [
            "kernel/c/virtio.ko.xz",
            "kernel/b/virtio_ring.ko.xz",
            "kernel/a/virtio-blk.ko.xz",
        ];
        assert_eq!(in_order(DEP, "virtio_blk"), want);
        assert_eq!(in_order(DEP, "virtio"), ["kernel/c/virtio.ko.xz"]);
    }

    #[test]
    fn of_an_option_the_later_configuration_counts() {
        let earlier = "# One that looks.\nCONFIG_A=y\nCONFIG_AB=y\n# CONFIG_C is not set\n";
        assert_eq!(
            overridden(earlier, "# CONFIG_A is not set\nCONFIG_C=y\n"),
            "# One that looks.\nCONFIG_AB=y\n# CONFIG_A is not set\nCONFIG_C=y\n"
        );
    }

    #[test]
    fn what_is_built_in_needs_no_loading() {
        assert!(in_order(DEP, "ext4").is_empty());
        assert!(in_order("", "virtio").is_empty());
    }
}
