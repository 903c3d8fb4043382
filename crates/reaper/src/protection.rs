//! What we ask of the kernel for ourselves.
//!
//! Locking our memory is not here: nix has mlockall(2), and the daemon knows
//! when its buffers are made.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::{ptr, slice};

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;
use rustix::process::setpriority_process;

use crate::error::ReapError;

/// The kernel's OOM killer never picks a process that has this:
/// proc_pid_oom_score_adj(5).
const NEVER: &str = "-1000";

/// First in line for a processor among ordinary tasks: setpriority(2).
const FIRST: i32 = -20;

/// Where a thread stands when nothing was asked for.
const ORDINARY: i32 = 0;

/// What [`protect_ourselves`] got. Nothing of it is fatal: without it a daemon
/// is only likelier to be late, or to be the kernel's victim itself.
#[derive(Debug)]
pub struct SelfProtection {
    /// Whether the kernel's OOM killer will spare us. Needs CAP_SYS_RESOURCE.
    pub oom_score_adj: Result<(), ReapError>,
    /// Whether we run before others. Needs CAP_SYS_NICE or RLIMIT_NICE.
    pub priority: Result<(), ReapError>,
}

impl SelfProtection {
    /// What could not be had.
    pub fn failures(&self) -> impl Iterator<Item = &ReapError> {
        [&self.oom_score_adj, &self.priority]
            .into_iter()
            .filter_map(|result| result.as_ref().err())
    }
}

/// Sets our oom_score_adj to −1000 in the `/proc` at `proc_root`, and the
/// calling thread's nice value to −20.
///
/// Linux keeps a nice value per thread, and a new thread inherits it: call this
/// before threads are made. Programs we start inherit both, so code that starts
/// one (a hook) resets them.
#[must_use]
pub fn protect_ourselves(proc_root: &Path) -> SelfProtection {
    SelfProtection {
        oom_score_adj: write_oom_score_adj(proc_root, NEVER),
        priority: setpriority_process(None, FIRST).map_err(|err| ReapError::Priority {
            nice: FIRST,
            source: err.into(),
        }),
    }
}

/// Gives up what [`protect_ourselves`] got, in a program that we have started
/// and that inherited it: any process may ask for less.
///
/// # Errors
///
/// [`ReapError::OomScoreAdj`]: the kernel would still spare it.
pub fn resign_protection(proc_root: &Path) -> Result<(), ReapError> {
    // A thread that was not raised is where it was, and one that was may be lowered.
    let _ = setpriority_process(None, ORDINARY);
    write_oom_score_adj(proc_root, "0")
}

/// Whose code [`trim_memory`] unmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// That of shared libraries, so that a daemon's own stays mapped, and will be
    /// locked, whether it ran before or not.
    OfLibraries,
    /// The program's own as well.
    All,
}

/// Returns to the kernel what the start took and what comes after needs no more,
/// to be called before memory is locked, which would lock that too: holes of
/// hundreds of KiB in the heap, from parsing arguments and reading tables for the
/// first time; and pages of code, of which the kernel maps up to 16 around each
/// that is touched. What is needed again is mapped again.
pub fn trim_memory(code: Code) {
    trim_heap();
    // Code for 32 bits may have been written to, where it was relocated.
    if cfg!(target_pointer_width = "64") {
        unmap_code(code);
    }
}

/// It is here because what is unsafe is here.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "the standard library does not ask its allocator to trim"
    )
)]
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, locks what it needs, and gives
    // back only pages that no allocation lies in.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[expect(
    unsafe_code,
    reason = "the standard library does not tell which libraries are loaded"
)]
fn unmap_code(mut code: Code) {
    // SAFETY: dl_iterate_phdr(3) calls the function before it returns, with
    // pointers that are valid meanwhile and the one to `code`, which outlives it.
    unsafe {
        libc::dl_iterate_phdr(Some(unmap_code_of), (&raw mut code).cast());
    }
}

/// Unmaps the code and the constants of one program or library.
#[expect(
    unsafe_code,
    reason = "called by C, and unmaps pages by their addresses"
)]
unsafe extern "C" fn unmap_code_of(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    code: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the pointers are valid, as said above; the name is a C string, and
    // the headers are as many as it says and not written to once they are loaded.
    let (object, code, name, headers) = unsafe {
        let object = &*object;
        let headers = slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
        let name = CStr::from_ptr(object.dlpi_name).to_bytes();
        (object, *code.cast::<Code>(), name, headers)
    };
    // The program has no name, and the kernel's own (vdso(7)) no path.
    let is_wanted = match name.first() {
        None => code == Code::All,
        Some(first) => *first == b'/',
    };
    if !is_wanted {
        return 0;
    }
    let page_bytes = page_size();
    for header in headers {
        // What may be written to, even if only while it was loaded, is not as it
        // is in the file.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let (Ok(address), Ok(bytes)) = (
            usize::try_from(object.dlpi_addr + header.p_vaddr),
            usize::try_from(header.p_memsz),
        ) else {
            continue;
        };
        let first = address - address % page_bytes;
        // SAFETY: these pages are mapped from a file, and were never written to:
        // neither we nor the loader may. When they are touched again they are
        // read from there again, as they are when the kernel has dropped them
        // for want of memory.
        let _ = unsafe {
            madvise(
                ptr::with_exposed_provenance_mut(first),
                address - first + bytes,
                Advice::LinuxDontNeed,
            )
        };
    }
    0
}

fn write_oom_score_adj(proc_root: &Path, oom_score_adj: &str) -> Result<(), ReapError> {
    let path = proc_root.join("self/oom_score_adj");
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(oom_score_adj.as_bytes()));
    written.map_err(|source| ReapError::OomScoreAdj { path, source })
}
