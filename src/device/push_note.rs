//! When a hand-off was first found whole at its targets, noted at the hand-off itself.
//!
//! Where a target's rsync cannot be told to write to disk what it receives (`--fsync`), a hand-off is not removed in the
//! pass that pushed it, but in a later one, after the target's kernel has had the time to. Single passes from cron know
//! nothing of each other, so the note is an extended attribute of the partition's folder: it needs no room of its own, is
//! neither pushed nor listed, and goes with the folder. It says what was there and where it went (a fingerprint); of
//! anything else than just that it says nothing.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use crate::clock;

const ATTRIBUTE: &str = "user.swift-object-replicator.pushed";

/// What was pushed, and where to.
pub(crate) type Fingerprint = [u8; 16];

/// How long ago exactly this was noted; `None` where it was not, or at a time that is yet to come.
pub(crate) fn age(partition: &Path, what: &Fingerprint) -> Option<Duration> {
    let mut value = [0; 8 + 16];
    let length = getxattr(partition, ATTRIBUTE, &mut value[..]).ok()?;
    let (time, noted) = value.get(..length)?.split_first_chunk::<8>()?;
    if noted != what {
        return None;
    }
    clock::now().checked_sub(Duration::from_secs(u64::from_le_bytes(*time)))
}

/// Notes it as of now.
///
/// # Errors
/// That of setxattr(2).
pub(crate) fn write(partition: &Path, what: &Fingerprint) -> Result<(), Errno> {
    let time = clock::now().as_secs().to_le_bytes();
    setxattr(partition, ATTRIBUTE, &[&time[..], what].concat(), XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_one_thing_and_has_an_age() {
        let partition = tempfile::tempdir().unwrap();
        let (this, other) = ([1; 16], [2; 16]);
        assert_eq!(age(partition.path(), &this), None);
        write(partition.path(), &this).unwrap();
        assert!(age(partition.path(), &this).unwrap() < Duration::from_secs(60));
        assert_eq!(age(partition.path(), &other), None, "something else was pushed");
    }

    #[test]
    fn a_note_from_the_future_or_of_another_form_is_none() {
        let partition = tempfile::tempdir().unwrap();
        let future = (clock::now().as_secs() + 3600).to_le_bytes();
        let set = |value: &[u8]| setxattr(partition.path(), ATTRIBUTE, value, XattrFlags::empty()).unwrap();
        set(&[&future[..], &[1; 16]].concat());
        assert_eq!(age(partition.path(), &[1; 16]), None);
        set(b"x");
        assert_eq!(age(partition.path(), &[1; 16]), None);
    }
}
