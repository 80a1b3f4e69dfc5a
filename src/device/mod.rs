//! Everything that touches one local device's tree. Knows nothing of rings, peers and passes.

mod hash_store;
pub mod hashes;
pub mod layout;
mod listing;
pub mod lock;
pub mod metadata;
pub mod mount;
pub mod ondisk;
pub mod quarantine;
pub mod removal;
pub mod suffix;
pub mod tmp;
