//! The terminals of a user, as wall(1) and write(1) find them: by the owner, and the
//! group's permission to write, which mesg(1) sets.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::Notice;

/// Pseudoterminals, and the console's.
const FOLDERS: [&str; 2] = ["/dev/pts", "/dev"];
const GROUP_MAY_WRITE: u32 = 0o020;

/// Tells the user of `notice` on each terminal of theirs. One that takes nothing now
/// is left out: nothing is waited for.
pub(super) fn tell(notice: &Notice) {
    let text = format!("\r\nuser-oom: {}. {}\r\n", notice.summary, notice.body);
    for folder in FOLDERS {
        tell_in(Path::new(folder), notice.uid, &text);
    }
}

fn tell_in(folder: &Path, uid: u32, text: &str) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_number = name.iter().all(u8::is_ascii_digit);
        if !is_number && !name.starts_with(b"tty") {
            continue;
        }
        let is_theirs = fs::symlink_metadata(&path).is_ok_and(|it| {
            it.file_type().is_char_device() && it.uid() == uid && it.mode() & GROUP_MAY_WRITE != 0
        });
        if is_theirs {
            let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
            let opened = OpenOptions::new()
                .write(true)
                .custom_flags(flags.bits())
                .open(&path);
            // It may have been closed just now.
            let _ = opened.and_then(|mut tty| tty.write_all(text.as_bytes()));
        }
    }
}
