//! What an installation consists of: for who builds from source, and for packages.
//!
//! Installing and removing go by one list, so that nothing is left behind.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::chore::{Chore, say, step};
use crate::tools::STATIC;

/// The programs, each with a crate of its name; the daemon first.
pub(crate) const PROGRAMS: [&str; 3] = ["user-oom", "user-oomctl", "psi-monitor"];

/// The daemon's unit.
const DAEMON_UNIT: &str = "user-oom.service";

/// The units of the machine, below the workspace, and those of each user's manager.
pub(crate) const UNITS: &str = "dist/systemd";
pub(crate) const UNITS_OF_USERS: &str = "dist/systemd/user";

/// What the slice of the machine's units is told, below the workspace.
const UNITS_SLICE: &str = "dist/systemd/system.slice.d";

/// Where units have the programs before they are installed.
const PREFIX_OF_UNITS: &str = "/usr/local/bin/";

/// Below the workspace, where Cargo puts what it builds.
const BUILT: &str = "target";

/// Where the manual is written, below the workspace.
const MANUAL: &str = "target/manual";

/// The configuration where there is none: a few lines of comment.
const CONFIGURATION: &str = "dist/config.toml";

/// Which files were installed, one path a line: below the prefix.
const RECORD: &str = "share/doc/user-oom/installed";

/// Of the documents, what is of no use without the sources.
const FOR_CONTRIBUTORS: [&str; 2] = ["docs/architecture.md", "docs/arena.md"];

/// What the daemon makes while it runs.
const MADE: [&str; 3] = ["/tmp/user_processes", "/run/user-oom", "/var/lib/user-oom"];

/// Where the programs go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `/usr/local`, or a package's `/usr`.
    pub(crate) prefix: PathBuf,
    /// A package's root; nothing on this machine is started or stopped.
    pub(crate) destdir: Option<PathBuf>,
    /// What the programs are built for, as small as they can be and the same wherever that
    /// happens: for packages. Without it, they are what `cargo build --release` makes.
    pub(crate) triple: Option<String>,
}

/// One file of an installation.
#[derive(Debug)]
struct Installed {
    from: PathBuf,
    /// On the machine, with the prefix and without `destdir`.
    to: PathBuf,
    mode: u32,
}

impl Target {
    /// `path` of the machine, below `destdir`.
    fn place(&self, path: &Path) -> PathBuf {
        match &self.destdir {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_path_buf(),
        }
    }

    /// Whether it is where a distribution's own files are.
    fn is_a_package(&self) -> bool {
        self.prefix == Path::new("/usr")
    }

    /// `from`, in `folder`: below the prefix if that is relative.
    fn file(&self, from: PathBuf, folder: &str, mode: u32) -> Installed {
        let name = from.file_name().unwrap_or_default();
        let to = self.prefix.join(folder).join(name);
        Installed { from, to, mode }
    }

    fn all(&self, from: Vec<PathBuf>, folder: &str) -> impl Iterator<Item = Installed> {
        (from.into_iter()).map(move |from| self.file(from, folder, 0o644))
    }

    /// Where Cargo puts the programs, below the workspace.
    fn built(&self) -> PathBuf {
        let triple = self.triple.as_deref().unwrap_or_default();
        Path::new(BUILT).join(triple).join("release")
    }

    fn configuration(&self) -> PathBuf {
        self.place(Path::new("/etc/user-oom/config.toml"))
    }

    /// Where it is noted which files were installed.
    fn record(&self) -> PathBuf {
        self.place(&self.prefix.join(RECORD))
    }

    /// Whether this machine's systemd is to hear of it.
    fn is_this_machine(&self) -> bool {
        self.destdir.is_none() && Path::new("/run/systemd/system").is_dir()
    }
}

/// Builds all that is installed, and installs it.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn install(root: &Path, target: &Target) -> Result<()> {
    build(root, target)?;
    step("installing", "cargo xtask install", || {
        // Who makes a package of it has a list of their own.
        match target.destdir {
            Some(_) => place(root, target)?,
            None => place_and_record(root, target)?,
        }
        configure(root, target)
    })?;
    if !target.is_this_machine() {
        return Ok(());
    }
    Chore::new("systemd-tmpfiles", ["--create", "user-oom.conf"]).run("the registry", root)?;
    Chore::new("systemctl", ["daemon-reload"]).run("the units", root)?;
    // Where one runs, it is of the version before, which these programs may not speak with.
    Chore::new("systemctl", ["try-restart", DAEMON_UNIT]).run("the daemon, if it runs", root)?;
    say(format_args!(
        "installed; to guard the machine, now and after each boot: systemctl enable --now user-oom"
    ))
}

/// Builds all that is installed.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn build(root: &Path, target: &Target) -> Result<()> {
    match &target.triple {
        Some(triple) => build_for_packages(root, triple)?,
        None => {
            let mut build = vec!["build", "--release", "--locked"];
            for program in PROGRAMS {
                build.extend(["--package", program]);
            }
            Chore::new("cargo", build).run("the programs", root)?;
        }
    }
    let manual = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "manual",
        "--",
        MANUAL,
    ];
    Chore::new("cargo", manual).run("the manual", root)
}

/// What decides is compiled for speed, as the daemon needs it: where `user-oomctl report`
/// replays a journal with it, that is not waited for.
const UNHURRIED: [&str; 4] = [
    "--config",
    "profile.release.package.oom-policy.opt-level=\"z\"",
    "--config",
    "profile.release.package.knapsack.opt-level=\"z\"",
];

/// Where Rust (1.90 and later) links with a linker of its own, which keeps one of functions
/// that are the same.
const OF_RUSTS_LINKER: &str = "x86_64-unknown-linux-gnu";
const FOLD: &str = "-Clink-arg=-Wl,--icf=all";

/// One program after the other, as small as they can be.
fn build_for_packages(root: &Path, triple: &str) -> Result<()> {
    let flags = flags_of_packages(root, triple)?;
    for program in PROGRAMS {
        let mut build = vec!["rustc", "--release", "--locked", "--target", triple];
        build.extend(["--config", &flags, "--package", program, "--bin", program]);
        if program != PROGRAMS[0] {
            build.extend(UNHURRIED);
        }
        if triple == OF_RUSTS_LINKER {
            build.extend(["--", FOLD]);
        }
        Chore::new("cargo", build).run(program, root)?;
    }
    Ok(())
}

/// A setting of Cargo's. The programs name no directory of this machine, their relocations
/// are packed (glibc 2.36 or musl 1.2.4 unpacks them), and tables to unwind left out, but for
/// static programs: what starts these registers them.
fn flags_of_packages(root: &Path, triple: &str) -> Result<String> {
    let cargo = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(&env::var_os("HOME").context("there is no HOME")?).join(".cargo"),
    };
    let root = fs::canonicalize(root).context("cannot find the workspace")?;
    let mut flags = vec![
        format!("--remap-path-prefix={}=/user-oom", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo.display()),
        "-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned(),
    ];
    if triple != STATIC {
        let script = root.join("dist/linker/no-unwind-tables.ld");
        flags.push(format!("-Clink-arg=-Wl,-T,{}", script.display()));
    }
    // As TOML has a list of strings.
    Ok(format!("target.{triple}.rustflags={flags:?}"))
}

/// Puts what was built where it belongs.
///
/// # Errors
///
/// A file that cannot be read or written.
pub(crate) fn place(root: &Path, target: &Target) -> Result<()> {
    (files(root, target)?.iter()).try_for_each(|file| put(file, target))
}

/// The same, and notes what it was. What another version had installed besides is removed.
fn place_and_record(root: &Path, target: &Target) -> Result<()> {
    let now: Vec<_> = files(root, target)?.into_iter().map(|f| f.to).collect();
    let mut stale = recorded(target)?.unwrap_or_default();
    stale.retain(|path| !now.contains(path));
    // First: what fails halfway can be removed all the same.
    record(&[now.clone(), stale.clone()].concat(), target)?;
    place(root, target)?;
    for path in &stale {
        remove(&target.place(path))?;
    }
    record(&now, target)
}

fn record(paths: &[PathBuf], target: &Target) -> Result<()> {
    let lines: String = (paths.iter())
        .map(|path| format!("{}\n", path.display()))
        .collect();
    write(&target.record(), lines.as_bytes(), 0o644)
}

/// What was noted, if anything was: versions before noted nothing.
fn recorded(target: &Target) -> Result<Option<Vec<PathBuf>>> {
    let record = target.record();
    match fs::read_to_string(&record) {
        Ok(text) => Ok(Some(text.lines().map(PathBuf::from).collect())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot read `{}`", record.display())),
    }
}

/// Writes a configuration that changes nothing, where there is none.
///
/// # Errors
///
/// It cannot be read or written.
fn configure(root: &Path, target: &Target) -> Result<()> {
    let configuration = target.configuration();
    if configuration.exists() {
        return Ok(());
    }
    let from = root.join(CONFIGURATION);
    let text = fs::read(&from).with_context(|| format!("cannot read `{}`", from.display()))?;
    write(&configuration, &text, 0o644)
}

/// Stops what runs, and removes all that [`install`] and the daemon made, but for the
/// configuration.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn uninstall(root: &Path, target: &Target) -> Result<()> {
    // Before anything is stopped: what cannot be removed goes on running.
    let installed = match recorded(target)? {
        Some(paths) => paths,
        // Of a version that noted nothing: as the tree has it, which must be built.
        None => files(root, target)?.into_iter().map(|f| f.to).collect(),
    };
    if target.is_this_machine() {
        for name in installed.iter().filter_map(|path| unit(path)) {
            let stop = Chore::new("systemctl", [OsStr::new("disable"), "--now".as_ref(), name]);
            if !stop.succeeds(root) {
                say(format_args!("{} was not enabled", name.display()))?;
            }
        }
    }
    step("removing", "cargo xtask uninstall", || {
        for path in &installed {
            remove(&target.place(path))?;
        }
        remove(&target.record())?;
        let made = MADE.map(|path| target.place(Path::new(path)).into_os_string());
        // What is mounted in there stays, and is not emptied.
        let options = ["-rf", "--one-file-system"].map(OsString::from);
        let rm = Chore::new("rm", options.into_iter().chain(made));
        match rm.succeeds(root) {
            true => Ok(()),
            false => say(format_args!("something is left: {rm}")),
        }
    })?;
    if target.is_this_machine() {
        Chore::new("systemctl", ["daemon-reload"]).run("the units", root)?;
    }
    let configuration = target.configuration();
    match configuration.exists() {
        true => say(format_args!("kept: {}", configuration.display())),
        false => Ok(()),
    }
}

/// Its name, if that is a unit of the machine's.
fn unit(path: &Path) -> Option<&OsStr> {
    let is_one = path.parent()?.ends_with("systemd/system");
    (is_one && path.extension() == Some(OsStr::new("service"))).then_some(path.file_name()?)
}

/// What is installed, from a tree that was built.
fn files(root: &Path, target: &Target) -> Result<Vec<Installed>> {
    let mut files = Vec::new();
    for program in PROGRAMS {
        files.push(target.file(root.join(target.built()).join(program), "bin", 0o755));
    }
    files.extend(settings(root, target)?);
    for document in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
        files.push(target.file(root.join(document), "share/doc/user-oom", 0o644));
    }
    // Without the pictures: what is installed is read as text.
    let mut documents = listed(&root.join("docs"), "md")?;
    let is_for_contributors = |path: &Path| FOR_CONTRIBUTORS.iter().any(|it| path.ends_with(it));
    documents.retain(|path| !is_for_contributors(path));
    files.extend(target.all(documents, "share/doc/user-oom/docs"));
    let manual = root.join(MANUAL);
    for section in ["1", "4", "5", "7", "8"] {
        let section = format!("man{section}");
        let pages = listed(&manual.join("man").join(&section), "")?;
        files.extend(target.all(pages, &format!("share/man/{section}")));
    }
    let zsh = match target.is_a_package() {
        true => "share/zsh/vendor-completions",
        false => "share/zsh/site-functions",
    };
    for (shell, to) in [
        ("bash", "share/bash-completion/completions"),
        ("zsh", zsh),
        ("fish", "share/fish/vendor_completions.d"),
    ] {
        files.extend(target.all(listed(&manual.join(shell), "")?, to));
    }
    Ok(files)
}

/// What tells other programs about ours, and sets of rules: none of it is built.
fn settings(root: &Path, target: &Target) -> Result<Vec<Installed>> {
    // The bus reads no policy below /usr/local.
    let policy = match target.is_a_package() {
        true => "share/dbus-1/system.d",
        false => "/etc/dbus-1/system.d",
    };
    let mut files = Vec::new();
    for (from, extension, to) in [
        (UNITS, "service", "lib/systemd/system"),
        (UNITS_OF_USERS, "service", "lib/systemd/user"),
        (UNITS_SLICE, "conf", "lib/systemd/system/system.slice.d"),
        ("dist/dbus-1/system.d", "conf", policy),
        ("dist/tmpfiles.d", "conf", "lib/tmpfiles.d"),
        ("dist/config", "toml", "share/user-oom"),
    ] {
        files.extend(target.all(listed(&root.join(from), extension)?, to));
    }
    Ok(files)
}

/// The files in `folder` that end with `extension`; all of them for none.
pub(crate) fn listed(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot list `{}`: was it built?", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if extension.is_empty() || path.extension() == Some(OsStr::new(extension)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn put(file: &Installed, target: &Target) -> Result<()> {
    let from = &file.from;
    let read = || fs::read(from).with_context(|| format!("cannot read `{}`", from.display()));
    let mut bytes = read()?;
    if from.extension() == Some(OsStr::new("service")) {
        let text = String::from_utf8(bytes).context("a unit that is no text")?;
        let programs = format!("{}/", target.prefix.join("bin").display());
        bytes = text.replace(PREFIX_OF_UNITS, &programs).into_bytes();
    }
    write(&target.place(&file.to), &bytes, file.mode)
}

/// In one step: what runs from the old file goes on.
fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = to.parent().context("that is no file's path")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut new = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write to `{}`", folder.display()))?;
    new.write_all(bytes)?;
    new.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    new.persist(to)
        .with_context(|| format!("cannot write `{}`", to.display()))?;
    Ok(())
}

/// What is not there need not be removed.
///
/// # Errors
///
/// It is there all the same.
pub(crate) fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove `{}`", path.display())),
    }
}

/// The file, and the directories that are empty then, if no other program would make them.
fn remove(path: &Path) -> Result<()> {
    gone(path, fs::remove_file(path))?;
    let is_ours = |folder: &&Path| {
        folder.ends_with("system.slice.d") || folder.iter().any(|part| part == "user-oom")
    };
    for folder in path.ancestors().skip(1).take_while(is_ours) {
        // It may hold what is removed next.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CONFIGURATION, Target, files, put, record, recorded, remove, settings};
    use super::{uninstall, unit};

    fn target(prefix: &str) -> Target {
        Target {
            prefix: prefix.into(),
            destdir: None,
            triple: None,
        }
    }

    #[track_caller]
    fn check_settings(prefix: &str, want: [&str; 5]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let settings = settings(&root, &target(prefix)).expect("the tree can be listed");
        for want in want {
            assert!(
                settings.iter().any(|file| file.to == Path::new(want)),
                "{want} is not in {settings:#?}"
            );
        }
    }

    #[test]
    fn units_and_policy_are_where_systemd_and_the_bus_look_for_them() {
        check_settings(
            "/usr",
            [
                "/usr/lib/systemd/system/user-oom-low-memory-monitor.service",
                "/usr/lib/systemd/user/user-oom-notify.service",
                "/usr/lib/systemd/system/system.slice.d/user-oom.conf",
                "/usr/share/dbus-1/system.d/user-oom.conf",
                "/usr/lib/tmpfiles.d/user-oom.conf",
            ],
        );
        check_settings(
            "/usr/local",
            [
                "/usr/local/lib/systemd/system/user-oom-low-memory-monitor.service",
                "/usr/local/lib/systemd/user/user-oom-notify.service",
                "/usr/local/lib/systemd/system/system.slice.d/user-oom.conf",
                "/etc/dbus-1/system.d/user-oom.conf",
                "/usr/local/lib/tmpfiles.d/user-oom.conf",
            ],
        );
    }

    #[test]
    fn a_unit_names_the_programs_where_they_are_and_nothing_of_ours_is_left() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let machine = tempfile::tempdir().expect("a folder");
        let target = Target {
            destdir: Some(machine.path().to_path_buf()),
            ..target("/opt/oom")
        };
        let unit = super::Installed {
            from: root.join("dist/systemd/user-oom.service"),
            to: "/opt/oom/share/doc/user-oom/user-oom.service".into(),
            mode: 0o644,
        };
        put(&unit, &target).expect("it can be written");
        let place = target.place(&unit.to);
        let text = std::fs::read_to_string(&place).expect("it is there");
        assert!(
            text.contains("\nExecStart=/opt/oom/bin/user-oom "),
            "{text}"
        );
        remove(&place).expect("it can be removed");
        assert!(machine.path().join("opt/oom/share/doc").is_dir());
        assert!(!machine.path().join("opt/oom/share/doc/user-oom").exists());
        // Before anything was built, it says so.
        if !root.join("target/manual").exists() {
            assert!(files(&root, &target).is_err());
        }
    }

    #[test]
    fn what_was_installed_is_removed_without_a_tree_that_was_built() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let machine = tempfile::tempdir().expect("a folder");
        let target = Target {
            destdir: Some(machine.path().to_path_buf()),
            ..target("/usr/local")
        };
        assert_eq!(recorded(&target).expect("there is none"), None);
        let paths = [
            "/usr/local/bin/user-oom",
            "/usr/local/share/man/man9/of-a-version-before.9",
            "/etc/dbus-1/system.d/user-oom.conf",
        ]
        .map(std::path::PathBuf::from);
        let kept = "/etc/user-oom/config.toml".into();
        let made = "/tmp/user_processes/17".into();
        for path in paths.iter().chain([&kept, &made]) {
            super::write(&target.place(path), b"", 0o644).expect("it can be written");
        }
        record(&paths, &target).expect("it can be written");
        uninstall(&root, &target).expect("it can be removed");
        for path in paths.iter().chain([&made]) {
            assert!(!target.place(path).exists(), "{}", path.display());
        }
        assert!(!machine.path().join("usr/local/share/doc/user-oom").exists());
        assert!(!machine.path().join("tmp/user_processes").exists());
        assert!(target.place(&kept).exists());
    }

    #[test]
    fn units_of_the_machine_are_stopped() {
        let name = |path: &'static str| unit(Path::new(path)).and_then(|name| name.to_str());
        let ours = "/usr/local/lib/systemd/system/user-oom.service";
        assert_eq!(name(ours), Some("user-oom.service"));
        for other in [
            "/usr/local/lib/systemd/system/system.slice.d/user-oom.conf",
            "/usr/local/lib/systemd/user/user-oom-notify.service",
            "/usr/local/bin/user-oom",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    /// It is Debian's to ask about at an upgrade if it changes, so nothing that does is in it.
    #[test]
    fn the_configuration_that_is_installed_is_a_few_lines_of_comment() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(CONFIGURATION);
        let text = std::fs::read_to_string(path).expect("it is there");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        assert!(text.lines().count() < 20, "{text}");
    }
}
