//! The shell scripts of the repository.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every file under `root` whose first line calls a POSIX shell or bash, or
/// whose name ends in `.sh`; relative to `root`, in order.
///
/// # Errors
///
/// Names the file or folder that could not be read.
pub(crate) fn find(root: &Path) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for path in files(root)? {
        if path.extension().is_some_and(|end| end == "sh") || calls_a_shell(&path)? {
            scripts.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(scripts)
}

/// Every regular file under `root` that is ours: nothing of git's, nothing that
/// was built. In order, so that what is printed does not change by itself.
///
/// # Errors
///
/// Names the folder that could not be read.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
        let path = entry.path();
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at `{}`", path.display()))?;
        let name = entry.file_name();
        // Cargo, among others, marks what can be made again: bford.info/cachedir.
        // A target folder that others made first (the kernels of `e2e`, where
        // CARGO_TARGET_DIR is set) has no such mark.
        let ours = name != ".git" && name != "target" && !path.join("CACHEDIR.TAG").exists();
        if kind.is_dir() && ours {
            collect(&path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn calls_a_shell(path: &Path) -> Result<bool> {
    let first_line = || -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        // A binary may be one line of many MiB; no shebang is this long.
        BufReader::new(File::open(path)?.take(256)).read_until(b'\n', &mut line)?;
        Ok(line)
    };
    let line = first_line().with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(is_shell_shebang(&String::from_utf8_lossy(&line)))
}

fn is_shell_shebang(line: &str) -> bool {
    line.strip_prefix("#!").is_some_and(|command| {
        command
            .split_whitespace()
            .filter_map(|word| word.rsplit('/').next())
            .any(|name| matches!(name, "sh" | "bash" | "dash"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shebang_tells_a_shell_from_others() {
        assert!(is_shell_shebang("#!/bin/sh\n"));
        assert!(is_shell_shebang("#!/bin/bash -eu\n"));
        assert!(is_shell_shebang("#!/usr/bin/env bash\n"));
        assert!(!is_shell_shebang("#!/usr/bin/env python3\n"));
        assert!(!is_shell_shebang("# bash\n"));
        assert!(!is_shell_shebang(""));
    }

    #[test]
    fn scripts_are_found_by_shebang_and_by_name_but_not_where_things_are_built() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".ci/run", "#!/usr/bin/env bash\n");
        write("helper.sh", "true\n");
        write("tool", "#!/usr/bin/env python3\n");
        write("empty", "");
        write(".git/hooks/pre-push", "#!/bin/sh\n");
        write(
            "target/CACHEDIR.TAG",
            "Signature: 8a477f597d28d172789f06886806bc55\n",
        );
        write("target/made.sh", "#!/bin/sh\n");

        assert_eq!(
            find(root.path()).unwrap(),
            [PathBuf::from(".ci/run"), PathBuf::from("helper.sh")]
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let err = find(Path::new("no/such/folder")).unwrap_err();
        assert!(format!("{err:#}").contains("`no/such/folder`"));
    }
}
