//! What a partition holds at one moment, as far as it can be looked at.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::claims::OtherWriters;
use super::error::RemovalError;
use super::folders::{Entry, entries, identity, is_bookkeeping, os};
use super::inventory::{Folder, Inventory};
use crate::device::listing::open_real_folder;
use crate::device::object_files::{FileIdentity, SETTLES_IN};
use crate::names::Suffix;

/// Folders nested deeper than this below a partition are not Swift's; the partition is left alone.
const MAX_DEPTH: usize = 8;

/// How often a file is waited for that is changed all the time.
const WAITS: usize = 3;

impl Inventory {
    /// Records every file of the partition. `None`: there is no such partition (any more).
    ///
    /// What cannot be looked at is noted ([`Inventory::unseen`]): it cannot be known to have been pushed.
    ///
    /// # Errors
    /// [`RemovalError`] if the partition's own folder cannot be opened or listed.
    pub(crate) fn record(partition: &Path) -> Result<Option<Self>, RemovalError> {
        let mut inventory = Self::new(partition);
        let root = match open_real_folder(CWD, partition) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR) if partition.is_symlink() => {
                inventory.is_link = true;
                inventory.foreign.push(partition.to_owned());
                open_behind_link(partition).map_err(|errno| RemovalError::at("open", partition, errno))?
            }
            Err(errno) => return Err(RemovalError::at("open", partition, errno)),
        };
        if !inventory.is_link {
            // Before the first look at what the partition holds.
            match OtherWriters::record(&root, partition) {
                Ok(claims) => inventory.claims = Some(claims),
                Err(error) => inventory.unseen.push(error),
            }
        }
        for entry in entries(&root, partition)? {
            inventory.note(root.as_fd(), entry);
        }
        Ok(Some(inventory))
    }

    /// Takes note of an entry of the partition.
    fn note(&mut self, root: BorrowedFd<'_>, Entry { name, kind }: Entry) {
        let path = self.path.join(os(&name));
        match (Suffix::from_name(name.to_bytes()), kind) {
            (Some(suffix), Ok(FileType::Directory)) if self.is_link => self.suffixes.push((suffix, Folder::default())),
            (Some(suffix), Ok(FileType::Directory)) => {
                let mut recorder = Recorder { foreign: &mut self.foreign, unseen: &mut self.unseen };
                if let Some(folder) = recorder.folder(root, &name, &path, 1) {
                    self.suffixes.push((suffix, folder));
                }
            }
            (Some(suffix), Ok(FileType::Symlink)) => {
                if leads_to_folder(root, &name) {
                    self.suffixes.push((suffix, Folder::default()));
                }
                self.foreign.push(path);
            }
            (_, Ok(FileType::RegularFile)) if is_bookkeeping(name.to_bytes()) => {}
            (_, Ok(_)) => self.foreign.push(path),
            (suffix, Err(errno)) => {
                self.suffixes.extend(suffix.map(|suffix| (suffix, Folder::default())));
                self.unseen.push(RemovalError::at("look at", &path, errno));
            }
        }
    }
}

/// Opens the folder that a link leads to.
fn open_behind_link(link: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    rustix::fs::open(link, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a link leads to a folder. In doubt it does: who is to push it will see.
fn leads_to_folder(parent: BorrowedFd<'_>, name: &CStr) -> bool {
    match rustix::fs::statat(parent, name, AtFlags::empty()) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        Err(errno) => !matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
    }
}

struct Recorder<'a> {
    foreign: &'a mut Vec<PathBuf>,
    unseen: &'a mut Vec<RemovalError>,
}

impl Recorder<'_> {
    /// What is in a folder; `None` if it is not there. One that cannot be looked at has nothing in it.
    fn folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &Path, depth: usize) -> Option<Folder> {
        if depth > MAX_DEPTH {
            self.unseen.push(RemovalError::TooDeep(path.to_owned()));
            return Some(Folder::default());
        }
        let mut folder = Folder::default();
        let opened = match open_real_folder(parent, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return None,
            Err(errno) => {
                self.unseen.push(RemovalError::at("open", path, errno));
                return Some(folder);
            }
        };
        let listed = entries(&opened, path).unwrap_or_else(|error| {
            self.unseen.push(error);
            Vec::new()
        });
        for Entry { name, kind } in listed {
            let path = path.join(os(&name));
            match kind {
                Ok(FileType::Directory) => {
                    if let Some(inner) = self.folder(opened.as_fd(), &name, &path, depth + 1) {
                        folder.folders.push((name, inner));
                    }
                }
                Ok(FileType::RegularFile) => match settled(opened.as_fd(), &name, &path) {
                    Ok(identity) => folder.files.extend(identity.map(|identity| (name, identity))),
                    Err(error) => self.unseen.push(error),
                },
                Ok(_) => self.foreign.push(path),
                Err(errno) => self.unseen.push(RemovalError::at("look at", &path, errno)),
            }
        }
        Some(folder)
    }
}

/// What identifies a file, from now on: where times are counted in seconds, a file that was changed in this one can be
/// changed once more without a trace. So the second is waited for.
fn settled(folder: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<Option<FileIdentity>, RemovalError> {
    for _ in 0..WAITS {
        match identity(folder, name, path)? {
            Some(found) if !found.is_settled(SystemTime::now()) => thread::sleep(SETTLES_IN),
            found => return Ok(found),
        }
    }
    Err(RemovalError::Unsettled(path.to_owned()))
}
