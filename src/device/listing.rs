//! Folders opened and listed relative to their parents, into memory that is used again.
//!
//! Hashing a partition lists thousands of tiny folders. Each costs what the system asks (open, two reads, close) and
//! nothing else: no path is walked twice, no entry is looked at, and the names go into one growing block of memory.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

/// What the system is asked to fill at once.
const BUFFER: usize = 32 << 10;

/// Where ext4 says that the next entry is when there is none: to ask for it would be a fourth of all system calls of a
/// hashing. Other file systems do not use the number, or mean the same by it, and are asked until they have no more.
const EXT4_END: u64 = i64::MAX as u64;

/// Where the system writes entries; one serves any number of listings, one after the other.
#[derive(Debug)]
pub(super) struct Buffer(Vec<MaybeUninit<u8>>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![MaybeUninit::uninit(); BUFFER])
    }
}

/// The names of a folder's entries, without `.` and `..`.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One after the other, each with a NUL.
    bytes: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl Names {
    /// Lists a folder that was just opened, in place of what was listed before.
    pub(super) fn list(&mut self, folder: impl AsFd, buffer: &mut Buffer) -> Result<(), Errno> {
        self.bytes.clear();
        self.spans.clear();
        let mut entries = RawDir::new(folder, &mut buffer.0);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes_with_nul();
            if !matches!(name, b".\0" | b"..\0") {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(name);
                self.spans.push((start, self.bytes.len()));
            }
            if entry.next_entry_cookie() == EXT4_END {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.spans.iter().filter_map(|(start, end)| CStr::from_bytes_with_nul(&self.bytes[*start..*end]).ok())
    }
}

/// Opens a folder by its name in another one; `ENOTDIR` if it is not a folder.
pub(super) fn open_folder(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    faults::strike(&name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The same, but only if it is no symbolic link to one.
pub(super) fn open_real_folder(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    faults::strike(&name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        opened => opened,
    }
}

/// Opens a folder by its name in another one, also through a symbolic link; says whether it is one.
pub(super) fn open_folder_or_link(
    parent: impl AsFd + Copy,
    name: impl rustix::path::Arg + Copy,
) -> Result<(OwnedFd, bool), Errno> {
    #[cfg(test)]
    faults::strike(&name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(folder) => Ok((folder, false)),
        // Also said of a file, which the second attempt finds out.
        Err(Errno::NOTDIR | Errno::LOOP) => open_folder(parent, name).map(|folder| (folder, true)),
        Err(errno) => Err(errno),
    }
}

/// What bad disks answer, for tests: no other file system says it when asked.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;

    use super::Errno;

    thread_local! {
        static FAULTS: RefCell<Vec<(String, Errno)>> = const { RefCell::new(Vec::new()) };
    }

    /// Lets each opening of a folder of this name fail, on this thread, while `run` runs, and whatever else asks for this
    /// word before it touches something.
    pub(crate) fn with<T>(name: &str, errno: Errno, run: impl FnOnce() -> T) -> T {
        FAULTS.with_borrow_mut(|faults| faults.push((name.to_owned(), errno)));
        let result = run();
        FAULTS.with_borrow_mut(Vec::pop);
        result
    }

    pub(in crate::device) fn strike(name: &impl rustix::path::Arg) -> Result<(), Errno> {
        let name = name.to_string_lossy();
        FAULTS.with_borrow(|faults| faults.iter().find(|fault| fault.0 == name).map_or(Ok(()), |fault| Err(fault.1)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn listed(names: &Names) -> Vec<&str> {
        names.iter().map(|name| name.to_str().unwrap()).collect()
    }

    #[test]
    fn a_folder_larger_than_the_buffer_is_listed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let expected: BTreeSet<String> = (0..1500).map(|at| format!("{at:040}")).collect();
        for name in &expected {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let (mut names, mut buffer) = (Names::default(), Buffer::new());
        names.list(open_folder(rustix::fs::CWD, dir.path()).unwrap(), &mut buffer).unwrap();
        names.sort();
        assert_eq!(names.len(), 1500);
        assert!(listed(&names).into_iter().eq(&expected));
    }

    #[test]
    fn a_listing_takes_the_place_of_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let (mut names, mut buffer) = (Names::default(), Buffer::new());
        for (folder, expected) in [("", vec!["a"]), ("a", vec!["b"]), ("a/b", vec![])] {
            names.list(open_folder(rustix::fs::CWD, dir.path().join(folder)).unwrap(), &mut buffer).unwrap();
            assert_eq!(listed(&names), expected);
        }
    }
}
