//! What a process gets from whoever started it, beside its arguments and its environment: how signals are taken, which
//! are blocked, limits, and open files.
//!
//! Some of it does harm that nobody would look for there: with SIGCHLD ignored no child can be waited for, a blocked
//! SIGTERM is never heard, and an rsync that outlives us would keep a lock whose file it got through us. So this is put in
//! order before anything else, while there is only one thread.

use std::{fs, io, mem, ptr};

/// No more files than swift-init would allow are asked for.
const OPEN_FILES: libc::rlim_t = 32_768;

/// Puts in order what this process was started with, as far as the system lets it.
pub fn settle_inherited() {
    let ignored = |signal| is_ignored(signal).unwrap_or(false);
    if ignored(libc::SIGCHLD) {
        set_disposition(libc::SIGCHLD, libc::SIG_DFL);
    }
    // A file that grows beyond its limit is an error like any other.
    set_disposition(libc::SIGXFSZ, libc::SIG_IGN);
    unblock_signals();
    raise_open_files();
    close_on_exec();
}

/// Whether this process ignores the signal.
///
/// # Errors
/// That of sigaction(2): there is no signal with this number.
pub fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: nothing is set, and what is asked for has a valid place to go.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    if result == 0 { Ok(action.sa_sigaction == libc::SIG_IGN) } else { Err(io::Error::last_os_error()) }
}

fn set_disposition(signal: libc::c_int, disposition: libc::sighandler_t) {
    // SAFETY: neither of the two dispositions that this is called with is a function, so nothing runs by it.
    unsafe { libc::signal(signal, disposition) };
}

fn unblock_signals() {
    // SAFETY: all zero is a valid value of this plain structure, and the call below makes it the empty set.
    let mut none: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is valid, and the former mask is not asked for. Threads that start later inherit this one.
    unsafe {
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Takes what the hard limit allows where the soft one is small.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    let wanted = limit.rlim_max.min(OPEN_FILES);
    if limit.rlim_cur < wanted {
        limit.rlim_cur = wanted;
        // SAFETY: a valid limit; that it cannot be set changes nothing.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Children get none of the files that this process got, but for stdio.
fn close_on_exec() {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<libc::c_int> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in numbers.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: takes plain numbers. The flag changes nothing for whoever uses the file, and one that is closed by now,
        // as that of the list itself, is an error that means nothing.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
