//! What a process is waiting for: which file it hangs in.
//!
//! The kernel tells of a blocked process the system call and its arguments (`/proc/<pid>/syscall`). A call that waits for
//! whoever is at the other end of a socket says nothing of files here. Any other one that blocks until a time limit is
//! over does so over a file, which is among its arguments: by descriptor, or by name in the process's memory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::names::Partition;

/// The calls that wait for descriptors to become ready, or for time to pass.
const WAITS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_wait4,
    libc::SYS_futex,
];
/// How long a path may be.
const MAX_PATH: usize = 4096;

/// What a process is waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For the other side.
    Others,
    /// For a file, or one of these.
    File(Vec<PathBuf>),
}

impl Wait {
    /// The partition below the datadir that it is about.
    pub(crate) fn partition(&self, datadir: &Path) -> Option<Partition> {
        let Self::File(paths) = self else { return None };
        // The kernel knows files by where they really are.
        let real = fs::canonicalize(datadir).ok();
        let below = |path: &PathBuf| {
            let folders = [Some(datadir), real.as_deref()];
            let inside = folders.into_iter().flatten().find_map(|folder| path.strip_prefix(folder).ok());
            // What is named from where rsync stands is named from the datadir, or from a partition's folder.
            let name = inside.unwrap_or(path).components().find(|part| part.as_os_str() != ".")?;
            Partition::from_dir_name(name.as_os_str())
        };
        paths.iter().find_map(below)
    }
}

/// What a child of ours is waiting for, if the kernel says.
pub(super) fn wait_of(pid: u32) -> Option<Wait> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let call = fs::read_to_string(process.join("syscall")).ok()?;
    let mut words = call.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?; // "running" is not waiting for anything
    let arguments: Vec<u64> = words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
    let is_socket = |path: &PathBuf| path.as_os_str().as_bytes().starts_with(b"socket:");
    let file = arguments.first().and_then(|fd| fs::read_link(process.join(format!("fd/{fd}"))).ok());
    if WAITS.contains(&number) || file.as_ref().is_some_and(is_socket) {
        return Some(Wait::Others);
    }
    let memory = File::open(process.join("mem")).ok();
    let named = arguments.iter().take(2).filter_map(|&address| path_at(memory.as_ref()?, address));
    let folder = file.clone().or_else(|| fs::read_link(process.join("cwd")).ok());
    let named = named.filter_map(|name| Some(folder.as_ref()?.join(name)));
    Some(Wait::File(named.chain(file.clone()).collect()))
}

/// The text at an address of another process, if it can be a path.
fn path_at(memory: &File, address: u64) -> Option<PathBuf> {
    let mut bytes = vec![0; MAX_PATH];
    // Not beyond the page, after which there may be nothing.
    let in_page = MAX_PATH - (address as usize % MAX_PATH);
    let mut length = memory.read_at(&mut bytes[..in_page], address).ok()?;
    if !bytes[..length].contains(&0) {
        length += memory.read_at(&mut bytes[length..], address + length as u64).unwrap_or(0);
    }
    let end = bytes[..length].iter().position(|byte| *byte == 0)?;
    let text = &bytes[..end];
    let is_path = !text.is_empty() && text.iter().all(|byte| *byte >= b' ');
    is_path.then(|| PathBuf::from(OsStr::from_bytes(text)))
}
