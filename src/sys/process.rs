//! The process: its user, its environment, its I/O priority.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::{io, mem, ptr};

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub uid: libc::uid_t,
    /// The primary group.
    pub gid: libc::gid_t,
    pub home: OsString,
}

/// Looks a user up by name; `None` if there is none of that name.
///
/// # Errors
/// That of getpwnam_r(3): the user database cannot be read.
pub fn account(name: &CStr) -> io::Result<Option<Account>> {
    const LARGEST: usize = 1 << 20;
    let mut texts = vec![0; 1024];
    loop {
        // SAFETY: all zero is a valid value of this plain structure, whose pointers are not looked at until they are set.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: the name ends with a NUL, and the texts' length is the one given.
        let code = unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, texts.as_mut_ptr(), texts.len(), &mut found) };
        match code {
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: on success the pointer is to a text that ends with a NUL, in `texts`, which still lives.
                let home = unsafe { CStr::from_ptr(entry.pw_dir) }.to_bytes().to_vec();
                return Ok(Some(Account { uid: entry.pw_uid, gid: entry.pw_gid, home: OsString::from_vec(home) }));
            }
            libc::ERANGE if texts.len() < LARGEST => texts.resize(texts.len() * 2, 0),
            // What some systems say instead of "not found" (getpwnam(3)).
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// The name of the user with this id; `None` if there is none, or that cannot be found out.
pub fn user_name(uid: libc::uid_t) -> Option<String> {
    let mut texts = vec![0; 16 << 10];
    // SAFETY: all zero is a valid value of this plain structure, whose pointers are not looked at until they are set.
    let mut entry: libc::passwd = unsafe { mem::zeroed() };
    let mut found = ptr::null_mut();
    // SAFETY: the texts' length is the one given, and all pointers are to values that outlive the call.
    let code = unsafe { libc::getpwuid_r(uid, &mut entry, texts.as_mut_ptr(), texts.len(), &mut found) };
    if code != 0 || found.is_null() {
        return None;
    }
    // SAFETY: on success the pointer is to a text that ends with a NUL, in `texts`, which still lives.
    Some(unsafe { CStr::from_ptr(entry.pw_name) }.to_string_lossy().into_owned())
}

/// Makes the groups that a user is a member of, and one more, the supplementary groups of all threads.
///
/// # Errors
/// That of initgroups(3).
pub fn init_groups(user: &CStr, group: libc::gid_t) -> io::Result<()> {
    // SAFETY: the name ends with a NUL.
    check(unsafe { libc::initgroups(user.as_ptr(), group) })
}

/// Changes the group of all threads, for good if they may be root's.
///
/// # Errors
/// That of setgid(2).
pub fn set_gid(group: libc::gid_t) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::setgid(group) })
}

/// Changes the user of all threads, for good if they are root's.
///
/// # Errors
/// That of setuid(2).
pub fn set_uid(user: libc::uid_t) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::setuid(user) })
}

/// The real, effective and saved user and group of this thread.
///
/// # Errors
/// That of getresuid(2) or getresgid(2).
pub fn identity() -> io::Result<([libc::uid_t; 3], [libc::gid_t; 3])> {
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let [real, effective, saved] = &mut users;
    // SAFETY: three valid places to write to.
    check(unsafe { libc::getresuid(real, effective, saved) })?;
    let [real, effective, saved] = &mut groups;
    // SAFETY: three valid places to write to.
    check(unsafe { libc::getresgid(real, effective, saved) })?;
    Ok((users, groups))
}

/// Whether this process leads its session. The leader may be outside of the process's PID namespace, and then has the id
/// 0 here, which is none to safe wrappers.
pub fn leads_session() -> bool {
    // SAFETY: neither takes a pointer.
    unsafe { libc::getsid(0) == libc::getpid() }
}

/// Sets a variable of the environment, which the C library lets only a process do that has but one thread.
///
/// # Errors
/// If the process has more threads than this one, or /proc cannot be read to find out; then nothing is set.
pub fn set_env(name: &str, value: &OsStr) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has more than one thread"));
    }
    // SAFETY: this is the only thread, so nobody reads the environment now.
    unsafe { std::env::set_var(name, value) };
    Ok(())
}

/// Sets the I/O priority of this thread, which those that it starts inherit: the class shifted by 13, and the level.
///
/// # Errors
/// That of ioprio_set(2).
pub fn set_io_priority(value: libc::c_long) -> io::Result<()> {
    const WHO_PROCESS: libc::c_long = 1;
    let this_thread: libc::c_long = 0;
    // SAFETY: takes plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, this_thread, value) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod process_tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let root = account(c"root").unwrap().expect("every system has root");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(account(c"no such user").unwrap(), None);
    }

    #[test]
    fn the_environment_is_left_alone_with_threads_around() {
        // The harness of the tests has a thread of its own.
        let error = set_env("TZ", OsStr::new("x")).unwrap_err();
        assert_eq!(error.to_string(), "the process has more than one thread");
    }
}
