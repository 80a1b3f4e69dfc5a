//! The removal, from the lock to the folder's end.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::claims::OtherWriters;
use super::error::RemovalError;
use super::folders::entries;
use super::hold::{self, RemovalLock};
use super::inventory::Inventory;
use super::unlink::{Removal, Remover, Stop};
use crate::device::listing::open_real_folder;

impl Inventory {
    /// The result that [`Inventory::remove`] would have if nothing happened to the partition meanwhile.
    ///
    /// # Errors
    /// As for [`Inventory::remove`], where something could not be looked at when the partition was recorded.
    pub(crate) fn predict(self) -> Result<Removal, RemovalError> {
        let is_empty_folder = |path: &PathBuf| {
            path.parent() == Some(&self.path)
                && open_real_folder(CWD, path)
                    .is_ok_and(|folder| entries(&folder, path).is_ok_and(|entries| entries.is_empty()))
        };
        let mut left: Vec<_> = self.foreign.iter().filter(|path| !is_empty_folder(path)).cloned().collect();
        let unconfirmed = self.restricted.as_ref().and_then(|restricted| restricted.example.clone());
        let only_foreign = unconfirmed.is_none();
        left.extend(unconfirmed);
        self.removable()?;
        Ok(if left.is_empty() { Removal::Gone } else { Removal::Kept { left, only_foreign } })
    }

    /// The record with the claims to look after, if all was seen that has to be.
    fn removable(mut self) -> Result<(Self, Option<OtherWriters>), RemovalError> {
        let claims = self.claims.take();
        let is_enough = self.is_link || claims.is_some() && (self.restricted.is_some() || self.unseen.is_empty());
        if !is_enough && !self.unseen.is_empty() {
            return Err(self.unseen.swap_remove(0));
        }
        Ok((self, claims))
    }

    /// Unlinks what was recorded and is still the same, then the bookkeeping, then the folders that are empty.
    ///
    /// An object whose file cannot be unlinked keeps the newer files in its folder; the others go all the same.
    ///
    /// # Errors
    /// [`RemovalError`] if something could not be looked at when the partition was recorded, or its lock could not be
    /// had: then nothing is removed. Also if unlinks failed, other than because somebody was faster or something
    /// arrived.
    pub(crate) fn remove(self) -> Result<Removal, RemovalError> {
        self.remove_with_pauses(hold::AT_MOST, &|| std::thread::sleep(hold::PAUSE))
    }

    pub(super) fn remove_with_pauses(self, at_most: Duration, pause: &dyn Fn()) -> Result<Removal, RemovalError> {
        let (record, claims) = self.removable()?;
        let Some(mut claims) = claims else {
            return Ok(Removal::Kept { left: record.foreign, only_foreign: true });
        };
        let root = match open_real_folder(CWD, &record.path) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(RemovalError::at("open", &record.path, errno)),
        };
        let hold = match RemovalLock::take(&root, &record.path, at_most) {
            Err(RemovalError::Lock(error)) if error.is_gone() => return Ok(Removal::Gone),
            hold => hold?,
        };
        // Of an empty partition nobody can have hashes.
        if !hold.is_unclaimed(&claims)? || !record.is_empty() && !claims.bar(&root, &record.path, &record.names())? {
            return Ok(Removal::Claimed);
        }
        let mut remover = Remover::new(&root, &record, hold, claims, pause);
        match remover.remove_all() {
            Err(Stop::Claimed) => Ok(Removal::Claimed),
            Err(Stop::Failed(error)) => Err(error),
            Ok(removal) => Ok(removal),
        }
    }
}
