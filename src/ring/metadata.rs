//! The JSON of ring files: numbers and devices.
//!
//! Everything that is used later is checked here, so a ring with a port of -1, a device under a wrong id or a region
//! that is text is refused as a whole. What nothing uses is not looked at.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;

use super::Device;
use super::table::ByteOrder;

/// No more devices are read; an id takes two bytes in nearly every ring, and ids are not used twice.
const MAX_DEVICES: usize = 1 << 18;

/// The JSON of a version 1 ring (B3.3).
#[derive(Deserialize)]
pub(super) struct Version1 {
    pub devs: DeviceList,
    pub part_shift: u32,
    /// The number of rows, the last of which may be short.
    pub replica_count: u64,
    /// Of the machine that wrote the ring; absent in old rings, which machines of one kind shared.
    #[serde(default = "ByteOrder::native")]
    pub byteorder: ByteOrder,
    pub next_part_power: Option<u32>,
    /// Only shown, so whatever is there will do.
    #[serde(default)]
    pub version: Value,
}

/// The section `swift/ring/metadata` of a version 2 ring (B3.6).
#[derive(Deserialize)]
pub(super) struct Version2 {
    pub part_shift: u32,
    pub dev_id_bytes: u32,
    pub next_part_power: Option<u32>,
    /// As in version 1.
    #[serde(default)]
    pub version: Value,
}

/// One section in the index of a version 2 ring (B3.5).
#[derive(Deserialize)]
pub(super) struct IndexEntry {
    pub compressed_start: u64,
    pub start: u64,
    _compressed_end: u64,
    pub end: u64,
    pub checksum_method: String,
    pub checksum: String,
}

/// The devices in the order of their ids.
pub(super) struct DeviceList(pub Vec<Option<Device>>);

impl<'de> Deserialize<'de> for DeviceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(DeviceListVisitor)
    }
}

struct DeviceListVisitor;

impl<'de> Visitor<'de> for DeviceListVisitor {
    type Value = DeviceList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of devices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<DeviceList, A::Error> {
        let mut devices = Vec::new();
        while let Some(record) = list.next_element::<Option<DeviceRecord>>()? {
            if devices.len() == MAX_DEVICES {
                return Err(A::Error::custom(format_args!("there are more than {MAX_DEVICES} devices")));
            }
            if let Some(record) = &record
                && record.id as usize != devices.len()
            {
                return Err(A::Error::custom(format_args!(
                    "the device at place {} has the id {}",
                    devices.len(),
                    record.id
                )));
            }
            devices.push(record.map(Device::from));
        }
        devices.shrink_to_fit();
        Ok(DeviceList(devices))
    }
}

/// A device as it stands in a ring (B3.9). Old rings have no replication addresses.
#[derive(Deserialize)]
struct DeviceRecord {
    id: u32,
    region: i64,
    zone: i64,
    ip: String,
    port: u16,
    device: String,
    #[serde(default)]
    weight: f64,
    meta: Option<String>,
    replication_ip: Option<String>,
    replication_port: Option<u16>,
}

impl From<DeviceRecord> for Device {
    fn from(record: DeviceRecord) -> Self {
        Self {
            id: record.id,
            region: record.region,
            zone: record.zone,
            replication_ip: record.replication_ip.unwrap_or_else(|| record.ip.clone()),
            replication_port: record.replication_port.unwrap_or(record.port),
            ip: record.ip,
            port: record.port,
            device: record.device,
            weight: record.weight,
            meta: record.meta.unwrap_or_default(),
        }
    }
}
