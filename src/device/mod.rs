//! Everything that touches one local device's tree. Knows nothing of rings, peers and passes.

pub mod drive;
pub mod expected;
pub mod extent;
#[cfg(test)]
pub(crate) mod fixture;
mod hash_files;
mod hash_store;
pub mod hashes;
pub mod invalidate;
pub mod layout;
mod listing;
pub mod lock;
pub mod metadata;
pub mod mount;
pub mod object;
pub mod object_data;
pub mod object_files;
pub mod ondisk;
pub mod push_note;
pub mod quarantine;
pub mod removal;
pub mod suffix;
pub mod survey;
pub mod tmp;
pub mod writes;
