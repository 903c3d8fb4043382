//! Whether a program given as `-P` or `-N`, or as a rule's command, may be run: since it runs with the
//! daemon's rights, only root and the daemon's own user may be able to change
//! it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Write permission of the group and of others,
const SHARED: u32 = 0o022;
/// and what keeps them from replacing what is not theirs in a directory.
const STICKY: u32 = 0o1000;

/// `text` as the path of such a program.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub(crate) fn parse(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    check(&path, geteuid().as_raw()).map(|()| path)
}

/// # Errors
///
/// As [`parse`].
pub(crate) fn check(path: &Path, own_uid: u32) -> Result<(), String> {
    if !path.is_absolute() {
        return Err("give an absolute path, such as `/usr/local/bin/notify`".to_owned());
    }
    let real = path.canonicalize().map_err(|err| err.to_string())?;
    let file = fs::metadata(&real).map_err(|err| err.to_string())?;
    if !file.is_file() {
        return Err("not a regular file: give a program or a script".to_owned());
    }
    if file.mode() & 0o111 == 0 {
        return Err(format!("not executable: run `chmod +x {}`", real.display()));
    }
    if file.mode() & SHARED != 0 {
        return Err(format!(
            "its group or others may write to it, and it would run with this daemon's rights: \
             `chmod go-w {}`",
            real.display()
        ));
    }
    if !is_trusted(&file, own_uid) {
        return Err(format!(
            "it belongs to uid {}, and it would run with this daemon's rights: `chown {own_uid} {}`",
            file.uid(),
            real.display()
        ));
    }
    if own_uid != 0 {
        return Ok(());
    }
    // A user who may write to a directory may replace what lies in it, also the
    // link by which the program was named.
    for directory in real.ancestors().chain(path.ancestors()).skip(1) {
        let found = fs::metadata(directory).map_err(|err| err.to_string())?;
        if found.is_dir() && !is_safe(&found) {
            return Err(format!(
                "users other than root may write to the directory `{}`, and so replace it: move it \
                 to a directory of root's, such as `/usr/local/bin`",
                directory.display()
            ));
        }
    }
    Ok(())
}

fn is_trusted(file: &Metadata, own_uid: u32) -> bool {
    file.uid() == 0 || file.uid() == own_uid
}

/// Whether only root can change what lies in a directory.
fn is_safe(directory: &Metadata) -> bool {
    let others = if directory.gid() == 0 { 0o002 } else { SHARED };
    let is_shared = directory.mode() & others != 0 && directory.mode() & STICKY == 0;
    directory.uid() == 0 && !is_shared
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// A folder with an executable script in it.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            fs::write(folder.script(), "#!/bin/sh\n").unwrap();
            folder.set_mode(0o755);
            folder
        }

        fn script(&self) -> PathBuf {
            self.0.path().join("hook.sh")
        }

        fn set_mode(&self, mode: u32) {
            fs::set_permissions(self.script(), fs::Permissions::from_mode(mode)).unwrap();
        }

        #[track_caller]
        fn refuses(&self, path: &Path, why: &str) {
            let said = check(path, geteuid().as_raw()).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_script_that_only_its_owner_may_change_is_fine() {
        let folder = Folder::new();
        assert_eq!(check(&folder.script(), geteuid().as_raw()), Ok(()));
        let link = folder.0.path().join("link");
        symlink(folder.script(), &link).unwrap();
        assert_eq!(check(&link, geteuid().as_raw()), Ok(()));
        assert_eq!(check(Path::new("/bin/true"), 12_345), Ok(()));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let folder = Folder::new();
        folder.refuses(Path::new("hook.sh"), "absolute");
        folder.refuses(Path::new("/nonexistent"), "No such file");
        folder.refuses(folder.0.path(), "regular file");
        folder.set_mode(0o644);
        folder.refuses(&folder.script(), "chmod +x");
    }

    #[test]
    fn what_others_may_change_is_refused() {
        let folder = Folder::new();
        for mode in [0o757, 0o775] {
            folder.set_mode(mode);
            folder.refuses(&folder.script(), "chmod go-w");
        }
        folder.set_mode(0o755);
        // To any other user, the file is neither its own nor root's.
        if geteuid().is_root() {
            chown(folder.script(), Some(65_534), None).unwrap();
        }
        let said = check(&folder.script(), 12_345).unwrap_err();
        assert!(said.contains("chown 12345"), "{said}");
    }

    #[test]
    fn root_runs_nothing_out_of_a_directory_that_others_may_write_to() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root's hooks must lie in root's directories");
            return;
        }
        let folder = Folder::new();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.0.path(), open).unwrap();
        folder.refuses(&folder.script(), "move it");
        let own = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.0.path(), own).unwrap();
        chown(folder.0.path(), Some(65_534), None).unwrap();
        folder.refuses(&folder.script(), "move it");
        // A link in it to a script that is safe can be replaced all the same.
        let link = folder.0.path().join("link");
        symlink("/bin/true", &link).unwrap();
        folder.refuses(&link, "move it");
    }
}
