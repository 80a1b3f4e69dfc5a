//! Rings: which devices hold a partition.

pub mod file;
pub mod local;
pub mod lookup;
pub mod store;

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
