//! Regular files, opened by a name in whose place others can put something else.
//!
//! A pipe there would make the opening wait for ever, a device would have no end, a link would lead to another file, and a
//! huge file would take all memory. So a file is opened without waiting, by its own name where no link is expected, and
//! looked at before anything is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Whether the last part of a name may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// It may: the file is an operator's, who may have it elsewhere.
    Followed,
    /// It may not: whoever writes such a file puts it there itself.
    Refused,
}

/// Opens a regular file for reading, at once.
///
/// # Errors
/// `InvalidInput` if it is a link that is refused, or not a regular file; the system's error if it cannot be opened.
pub(crate) fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with(path, links, OpenOptions::new().read(true))
}

/// Opens a regular file as the options say, at once.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_with(path: &Path, links: Links, options: &mut OpenOptions) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| without_loop(error, links))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// In words that say what is there.
fn without_loop(error: io::Error, links: Links) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) if links == Links::Refused => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link")
        }
        _ => error,
    }
}

/// What a regular file of at most `limit` bytes holds.
///
/// # Errors
/// Those of [`open`]; `FileTooLarge` if it is larger; the system's error if it cannot be read.
pub(crate) fn read(path: &Path, links: Links, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    within(&file, limit)?;
    let mut content = Vec::new();
    // It may grow while it is read.
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Makes sure that a file is not larger than that.
///
/// # Errors
/// `FileTooLarge` if it is larger; the system's error if its size cannot be read.
pub(crate) fn within(file: &File, limit: u64) -> io::Result<()> {
    if file.metadata()?.len() <= limit {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn kind(path: &Path, links: Links) -> Result<Vec<u8>, io::ErrorKind> {
        read(path, links, 10).map_err(|error| error.kind())
    }

    #[test]
    fn a_regular_file_within_the_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(kind(&path, Links::Refused), Err(io::ErrorKind::NotFound));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(kind(&path, Links::Refused).unwrap(), b"0123456789");
        fs::write(&path, "0123456789a").unwrap();
        assert_eq!(kind(&path, Links::Refused), Err(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn a_pipe_a_folder_a_socket_and_a_device_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for links in [Links::Refused, Links::Followed] {
            for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
                assert_eq!(kind(path, links), Err(io::ErrorKind::InvalidInput), "{}", path.display());
            }
            assert!(read(&socket, links, 10).is_err());
        }
    }

    #[test]
    fn a_link_is_followed_only_where_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(kind(&link, Links::Followed).unwrap(), b"x");
        assert_eq!(read(&link, Links::Refused, 10).unwrap_err().to_string(), "it is a symbolic link");
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("made"), &dangling).unwrap();
        let made = open_with(&dangling, Links::Refused, OpenOptions::new().write(true).create(true));
        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(!folder.path().join("made").exists(), "nothing is made behind a link");
    }
}
