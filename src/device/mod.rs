//! Everything that touches one local device's tree. Knows nothing of rings, peers and passes.

pub(crate) mod drive;
pub(crate) mod expected;
pub(crate) mod extent;
#[cfg(test)]
pub(crate) mod fixture;
mod hash_files;
mod hash_store;
pub mod hashes;
pub mod invalidate;
pub mod layout;
mod listing;
pub mod lock;
pub(crate) mod metadata;
pub mod mount;
pub(crate) mod object;
pub(crate) mod object_data;
pub(crate) mod object_files;
pub mod ondisk;
pub(crate) mod push_note;
pub(crate) mod quarantine;
pub(crate) mod removal;
pub(crate) mod suffix;
pub(crate) mod survey;
pub(crate) mod tmp;
pub(crate) mod writes;
