//! Rings: which devices hold a partition, and which take its place while they are away.
//!
//! `file` reads a ring file, of either version that Swift reads, into a [`Ring`]: the devices, and a table with one row
//! per replica that names a device for each partition. A ring never changes; a new file makes a new ring, which
//! `store` notices. `lookup` finds a partition's primaries and hand-offs, and [`local`] tells which of the devices
//! are on this machine.

use std::path::{Path, PathBuf};

mod error;
mod file;
pub mod local;
pub(crate) mod lookup;
mod metadata;
pub(crate) mod moved;
pub(crate) mod store;
mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{Fault, RingError};
pub use lookup::{Handoffs, LookupError};

use lookup::Tiers;
use store::Stamp;
use table::Table;

use crate::orders::peer_name::PeerAddress;

/// A device of a ring (B3.9). Holes in the ring's list are `None` in [`Ring::devices`].
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its place in the ring's list of devices.
    pub id: u32,
    pub region: i64,
    pub zone: i64,
    pub ip: String,
    pub port: u16,
    /// The device's name: the folder under `devices` on its node.
    pub device: String,
    pub weight: f64,
    pub meta: String,
    pub replication_ip: String,
    pub replication_port: u16,
}

impl Device {
    /// Its addresses, as operators name it by.
    pub(crate) fn address(&self) -> PeerAddress<'_> {
        PeerAddress {
            replication: (&self.replication_ip, self.replication_port),
            public: (&self.ip, self.port),
            device: &self.device,
        }
    }
}

#[cfg(test)]
impl Device {
    /// One for tests, with nothing special about it. Whoever asks it at its first address and not at the one for
    /// replication finds nobody.
    pub(crate) fn sample() -> Self {
        Self {
            id: 0,
            region: 1,
            zone: 1,
            ip: "192.0.2.1".into(),
            port: 1,
            device: "sdb".into(),
            weight: 1.0,
            meta: String::new(),
            replication_ip: "127.0.0.1".into(),
            replication_port: 6200,
        }
    }
}

/// A ring as one file held it (B3).
#[derive(Debug)]
pub struct Ring {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The devices by id, with holes where devices were removed.
    pub devices: Vec<Option<Device>>,
    /// The part power that the ring is about to get: object servers link objects to their new places, and nobody may
    /// replicate meanwhile (B3.16, B5.4).
    pub next_part_power: Option<u32>,
    /// The file's MD5 in lower-case hexadecimal digits, by which nodes tell each other which ring they have.
    pub digest: String,
    /// The builder's count of changes, if the file has it.
    pub version: Option<u64>,
    part_power: u32,
    table: Table,
    tiers: Tiers,
    stamp: Stamp,
}

impl Ring {
    /// Reads the ring of a file.
    ///
    /// # Errors
    /// [`RingError`] if the file cannot be read, is not a ring, or contradicts itself; its [`Fault`] says which.
    pub fn load(path: &Path) -> Result<Self, RingError> {
        let file::Outcome { contents, stamp, digest } =
            file::read(path).map_err(|fault| RingError { path: path.to_owned(), fault })?;
        let tiers = Tiers::new(&contents.devices, &contents.assigned);
        Ok(Self {
            path: path.to_owned(),
            devices: contents.devices,
            next_part_power: contents.next_part_power,
            digest,
            version: contents.version,
            part_power: contents.part_power,
            table: contents.table,
            tiers,
            stamp,
        })
    }

    /// How many partitions there are; 0 in a ring that was written before its first rebalance.
    pub fn partition_count(&self) -> u32 {
        self.table.partition_count()
    }

    /// When the file was last modified, as Unix time.
    pub fn modified(&self) -> f64 {
        self.stamp.modified()
    }

    /// The logarithm of the partition count (B3.10).
    pub fn part_power(&self) -> u32 {
        self.part_power
    }

    /// How many devices hold a partition; not whole where a part of the partitions has one more (B3.10).
    pub fn replica_count(&self) -> f64 {
        self.table.replica_count()
    }

    /// Whether both were read from the same state of a file.
    pub(crate) fn is_of_same_file(&self, other: &Self) -> bool {
        self.stamp == other.stamp && self.path == other.path
    }

    /// The device with this id, if there is one and it was not removed.
    fn device(&self, id: u32) -> Option<&Device> {
        self.devices.get(id as usize)?.as_ref()
    }
}
