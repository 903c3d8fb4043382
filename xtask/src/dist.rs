//! What is given out: packages and their checksums.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::{Chore, say, step};
use crate::install::{self, PROGRAMS, Target, gone};
use crate::tools::{self, FOR_MACHINES, FOR_PACKAGES, STATIC};

/// Below the workspace.
const DIRECTORY: &str = "target/dist";

/// What the package may take where it is installed.
const INSTALLED_KIBIBYTES: u32 = 6 << 10;

/// Releases of Debian that the packages are for.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Makes all of it in `target/dist`; tries the package where `with_try` says so.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn run(root: &Path, with_try: bool) -> Result<()> {
    tools::provide(root, FOR_PACKAGES)?;
    let directory = root.join(DIRECTORY);
    gone(&directory, fs::remove_dir_all(&directory))?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    let destination = format!("DESTINATION={DIRECTORY}");
    Chore::new("debian/rules", ["clean", "binary", &destination]).run("Debian packages", root)?;
    Chore::new("debian/rules", ["clean"]).run("tidying up", root)?;
    let size = format!(
        "size=$(dpkg-deb --field {DIRECTORY}/user-oom_*.deb Installed-Size)
        echo \"$size KiB, of at most {INSTALLED_KIBIBYTES}\"
        [ \"$size\" -le {INSTALLED_KIBIBYTES} ]"
    );
    Chore::new("sh", ["-c", &size]).run("installed size", root)?;
    tarball(root)?;
    components(root)?;
    let packages = ["-c", "lintian --fail-on error,warning target/dist/*.deb"];
    Chore::new("sh", packages).run("lintian", root)?;
    let sums = "cd target/dist && sha256sum -- * > SHA256SUMS";
    Chore::new("sh", ["-c", sums]).run("checksums", root)?;
    say(format_args!("made in {DIRECTORY}:"))?;
    Chore::new("ls", ["-l", "--human-readable", DIRECTORY]).run("all of it", root)?;
    match with_try {
        true => {
            SUITES.iter().try_for_each(|suite| try_in(root, suite))?;
            try_openrc(root)
        }
        false => Ok(()),
    }
}

/// Version and time of what is made, for a script: the same commit gives the same bytes.
const OF_THE_CHANGELOG: &str = "version=$(dpkg-parsechangelog --show-field Version)
        SOURCE_DATE_EPOCH=$(dpkg-parsechangelog --show-field Timestamp)
        export SOURCE_DATE_EPOCH";

/// Packs static programs, with all that `cargo xtask install` installs but the
/// configuration, which an upgrade would overwrite. It is unpacked at `/`.
///
/// Names are sorted, and times are the changelog's.
fn tarball(root: &Path) -> Result<()> {
    let stage = root.join("target/static");
    gone(&stage, fs::remove_dir_all(&stage))?;
    let target = Target {
        prefix: "/usr/local".into(),
        destdir: Some(stage),
        triple: Some(STATIC.to_owned()),
    };
    install::build(root, &target)?;
    step("collecting", "cargo xtask dist", || {
        install::place(root, &target)
    })?;
    // No directories: those of the machine keep their modes.
    let script = format!(
        "set -eu
        {OF_THE_CHANGELOG}
        out=$PWD/{DIRECTORY}/user-oom-$version-x86_64-linux.tar.gz
        cd target/static
        find * -type f | LC_ALL=C sort > ../static.list
        tar --create --files-from=../static.list --format=gnu --mtime=\"@$SOURCE_DATE_EPOCH\" \
            --owner=0 --group=0 --numeric-owner --file=../static.tar
        gzip --no-name --best --stdout ../static.tar > \"$out\"
        rm ../static.list ../static.tar"
    );
    Chore::new("sh", ["-c", &script]).run("static programs", root)
}

/// Lists what each program is made of, in CycloneDX: crates, versions, licences.
fn components(root: &Path) -> Result<()> {
    // It writes beside each crate's Cargo.toml, and where that is on this machine.
    let programs = PROGRAMS.join(" ");
    let script = format!(
        "set -eu
        {OF_THE_CHANGELOG}
        cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
            --override-filename made-by-dist
        for program in {programs}; do
            sed \"s|file://$PWD|file:///user-oom|g\" \"crates/$program/made-by-dist.json\" \
                > \"{DIRECTORY}/$program-$version.cdx.json\"
        done
        find . -path ./target -prune -o -name made-by-dist.json -exec rm {{}} +"
    );
    Chore::new("sh", ["-c", &script]).run("lists of components", root)
}

/// For a kernel of which the machine has the headers, whichever runs.
const FOR_THE_MODULE: &str = "dkms,gcc,make,kmod,linux-headers-cloud-amd64";

const FOR_OPENRC: &str = "openrc,procps";

/// On a Debian of that release.
fn try_in(root: &Path, suite: &str) -> Result<()> {
    let bring = format!(
        "cp {}/*.deb {} \"$1/packages\"",
        root.join(DIRECTORY).display(),
        root.join("debian/tests/life-of-a-package").display()
    );
    let run = "chroot \"$1\" /packages/life-of-a-package /packages";
    let name = format!("the package on a clean {suite}");
    in_debian(root, &name, suite, FOR_THE_MODULE, &bring, run)
}

/// The static programs, with OpenRC in Debian's place of systemd.
fn try_openrc(root: &Path) -> Result<()> {
    let bring = format!(
        "cp {}/*.tar.gz {} \"$1/packages\" && cp {} \"$1/packages/user-oom.openrc\"",
        root.join(DIRECTORY).display(),
        root.join("debian/tests/openrc").display(),
        root.join("dist/openrc/user-oom").display()
    );
    // It sees no process of this machine.
    let run = "unshare --mount --pid --fork --kill-child chroot \"$1\" /packages/openrc";
    let name = "the daemon under OpenRC";
    in_debian(root, name, SUITES[0], FOR_OPENRC, &bring, run)
}

/// In a Debian that is made for it, with these packages: brings what is tried to
/// `$1/packages`, and runs it.
fn in_debian(
    root: &Path,
    name: &str,
    suite: &str,
    packages: &str,
    bring: &str,
    run: &str,
) -> Result<()> {
    tools::provide(root, FOR_MACHINES)?;
    let made = [
        "--variant=minbase",
        "--quiet",
        &format!("--include={packages}"),
        &format!("--customize-hook=mkdir -p \"$1/packages\" && {bring}"),
        &format!("--customize-hook={run}"),
        suite,
        "/dev/null",
    ];
    Chore::new("mmdebstrap", made).run(name, root)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::install::{UNITS, UNITS_OF_USERS, listed};

    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Lintian warns of longer ones, but only where packages are made.
    #[test]
    fn lines_of_descriptions_fit_a_terminal() {
        let control = fs::read_to_string(crate::root().unwrap().join("debian/control")).unwrap();
        let long: Vec<_> = control.lines().filter(|line| 80 < line.len()).collect();
        assert_eq!(long, [""; 0]);
    }

    #[test]
    fn packages_have_the_version_of_the_programs() {
        let root = crate::root().unwrap();
        let changelog = fs::read_to_string(root.join("debian/changelog")).unwrap();
        let of_debian = changelog.strip_prefix("user-oom (");
        assert!(of_debian.is_some_and(|rest| rest.starts_with(&format!("{VERSION})"))));
        let spec = fs::read_to_string(root.join("dist/rpm/user-oom.spec")).unwrap();
        let of_rpm = spec.lines().find_map(|line| line.strip_prefix("Version:"));
        assert_eq!(of_rpm.map(str::trim), Some(VERSION));
    }

    /// Where a macro is not known, it is empty, or left as it stands.
    #[test]
    fn scriptlets_of_the_spec_take_no_macros_of_systemd_and_name_all_units() {
        let root = crate::root().unwrap();
        let spec = fs::read_to_string(root.join("dist/rpm/user-oom.spec")).unwrap();
        for macros in ["%{?systemd", "%systemd", "%{systemd"] {
            assert!(!spec.contains(macros), "{macros}");
        }
        for (name, folder) in [("units", UNITS), ("units_of_users", UNITS_OF_USERS)] {
            let line = format!("%global {name} ");
            let named = spec.lines().find_map(|text| text.strip_prefix(&line));
            let mut named: Vec<_> = named.unwrap().split(' ').map(str::to_owned).collect();
            named.sort();
            let units = listed(&root.join(folder), "service").unwrap();
            let units = units.iter().filter_map(|unit| unit.file_name()?.to_str());
            assert_eq!(named, units.collect::<Vec<_>>());
        }
    }
}
