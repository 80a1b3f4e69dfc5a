//! Everything that touches one local device's tree. Knows nothing of rings, peers and passes.

pub mod hashes;
pub mod layout;
pub mod lock;
pub mod mount;
pub mod ondisk;
pub mod quarantine;
pub mod removal;
pub mod suffix;
pub mod tmp;
