//! The socket itself: where it is, who may connect, and what happens to one that is there already.
//!
//! Only its owner and root may connect, from the moment it has a name. A daemon that has it holds a lock beside it; so
//! what a dead one left is told from what a living one uses, and two daemons that begin at once do not both take it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use thiserror::Error;

use crate::locks::lock;
use crate::orders::wire::{SOCKET, socket_path_is_too_long};
use crate::regular::{Links, open_with};

/// Beside it: who holds this lock has the socket. (No local device's lock has such a name.)
const LOCK: &str = ".object-replicator.sock.lock";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Why there is no socket: one line.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum SocketError {
    #[error("another replicator takes them at {}", .0.display())]
    Taken(PathBuf),
    #[error("{0}")]
    TooLong(String),
    #[error("{} is in the way: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: String },
}

/// A socket that is listened at.
pub(super) struct Socket {
    pub listener: UnixListener,
    pub path: PathBuf,
    id: FileId,
    _lock: File,
}

/// Which file it is, so that another daemon's is not taken for it.
type FileId = (u64, u64);

/// Where the socket of this process is, for whoever removes it at the end.
#[derive(Clone, Default)]
pub(in crate::daemon) struct Place(Arc<Mutex<Position>>);

#[derive(Default)]
struct Position {
    socket: Option<(PathBuf, FileId)>,
    is_over: bool,
}

impl Place {
    /// The process ends: removes the socket, and there will be no other.
    pub(in crate::daemon) fn leave(&self) {
        let mut position = lock(&self.0);
        position.is_over = true;
        if let Some((path, id)) = position.socket.take() {
            remove(&path, id);
        }
    }

    /// Makes the socket in this folder, unless the process is about to end.
    ///
    /// # Errors
    /// [`SocketError`] if it cannot be made there.
    pub(super) fn listen(&self, folder: &Path) -> Result<Option<Socket>, SocketError> {
        let mut position = lock(&self.0);
        if position.is_over {
            return Ok(None);
        }
        if let Some((path, id)) = position.socket.take() {
            remove(&path, id);
        }
        let socket = Socket::listen(folder)?;
        position.socket = Some((socket.path.clone(), socket.id));
        Ok(Some(socket))
    }
}

impl Socket {
    fn listen(folder: &Path) -> Result<Self, SocketError> {
        let path = folder.join(SOCKET);
        let failed = |error: &dyn std::fmt::Display| SocketError::Io { path: path.clone(), error: error.to_string() };
        if let Some(complaint) = socket_path_is_too_long(&path) {
            return Err(SocketError::TooLong(complaint));
        }
        let address = SocketAddrUnix::new(&path).map_err(|error| failed(&error))?;
        let lock = take_lock(folder, &path)?;
        make_room(&path, &address)?;
        let socket = new_socket().map_err(|error| failed(&error))?;
        // On Linux the file that `bind` makes has the mode that the socket has.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed(&error))?;
        bind(&socket, &address).map_err(|error| failed(&error))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
        let id = file_id(&path).map_err(|error| failed(&error))?;
        listen(&socket, BACKLOG).map_err(|error| failed(&error))?;
        Ok(Self { listener: UnixListener::from(socket), path, id, _lock: lock })
    }

    /// Whether it can still be found: somebody may have tidied the folder up.
    pub(super) fn is_there(&self) -> bool {
        file_id(&self.path).is_ok_and(|id| id == self.id)
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn remove(path: &Path, id: FileId) {
    if file_id(path).is_ok_and(|found| found == id) {
        // Whoever comes next replaces what is left.
        let _ = fs::remove_file(path);
    }
}

fn take_lock(folder: &Path, socket: &Path) -> Result<File, SocketError> {
    let path = folder.join(LOCK);
    let failed = |error: String| SocketError::Io { path: path.clone(), error };
    let mut options = OpenOptions::new();
    let file = open_with(&path, Links::Refused, options.read(true).write(true).create(true).truncate(false));
    let file = file.map_err(|error| failed(error.to_string()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(SocketError::Taken(socket.to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Removes what a dead daemon left; nothing else.
fn make_room(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let failed = |error: String| SocketError::Io { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error.to_string())),
        Ok(file) if !file.file_type().is_socket() => return Err(SocketError::InTheWay(path.to_owned())),
        Ok(_) => {}
    }
    let asking = new_socket().map_err(|error| failed(error.to_string()))?;
    match connect(&asking, address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => {}
        Ok(()) | Err(Errno::AGAIN) => return Err(SocketError::Taken(path.to_owned())),
        Err(error) => return Err(failed(error.to_string())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error.to_string())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_owner_may_connect_and_the_end_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::default();
        let socket = place.listen(folder.path()).unwrap().unwrap();
        let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, socket.is_there()), (0o600, true));
        UnixStream::connect(&socket.path).unwrap();
        place.leave();
        assert!(!socket.path.exists() && !socket.is_there());
        assert!(place.listen(folder.path()).unwrap().is_none(), "the process is about to end");
    }

    #[test]
    fn what_a_dead_one_left_is_replaced_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        drop(UnixListener::bind(&path).unwrap());
        let first = Socket::listen(folder.path()).unwrap();
        assert_eq!(Socket::listen(folder.path()).err(), Some(SocketError::Taken(path.clone())));
        drop(first);
        fs::remove_file(&path).unwrap();
        let _unlocked = UnixListener::bind(&path).unwrap();
        assert_eq!(Socket::listen(folder.path()).err(), Some(SocketError::Taken(path)));
    }

    #[test]
    fn another_ones_socket_is_not_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::default();
        let socket = place.listen(folder.path()).unwrap().unwrap();
        fs::remove_file(&socket.path).unwrap();
        let _other = UnixListener::bind(&socket.path).unwrap();
        assert!(!socket.is_there());
        place.leave();
        assert!(socket.path.exists());
    }

    #[test]
    fn what_is_no_socket_stays_and_a_path_that_does_not_fit_is_said_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        fs::write(&path, "precious").unwrap();
        assert_eq!(Socket::listen(folder.path()).err(), Some(SocketError::InTheWay(path.clone())));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let long = folder.path().join("x".repeat(120));
        let error = Socket::listen(&long).err().unwrap().to_string();
        assert!(error.contains("may have 107") && error.contains("recon_cache_path"), "{error}");
        assert!(Socket::listen(&folder.path().join("missing")).is_err());
    }
}
