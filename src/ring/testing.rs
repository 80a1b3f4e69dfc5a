//! Makes ring files for tests: whole ones, odd ones and broken ones.
//!
//! `testdata/` holds the example of B3.8 and B3.13 as Swift 2.38.3 writes it, in both versions.

use std::fs;
use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::file::hex;
use super::{Ring, RingError};

pub(crate) const EXAMPLE_V1: &[u8] = include_bytes!("testdata/example-v1.ring.gz");
pub(crate) const EXAMPLE_V2: &[u8] = include_bytes!("testdata/example-v2.ring.gz");

/// Loads these bytes as a ring file.
pub(crate) fn load(file: &[u8]) -> Result<Ring, RingError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.ring.gz");
    fs::write(&path, file).unwrap();
    Ring::load(&path)
}

/// A device of a ring.
pub(crate) fn device(id: u32, region: i64, zone: i64, ip: &str) -> Value {
    json!({
        "id": id, "region": region, "zone": zone, "ip": ip, "port": 6200, "device": format!("sd{id}"),
        "weight": 100.0, "meta": "", "replication_ip": ip, "replication_port": 6200,
    })
}

/// The metadata of a version 1 ring in big endian order.
pub(crate) fn metadata_1(devices: &[Value], part_power: u32, replicas: u64) -> Value {
    json!({ "devs": devices, "part_shift": 32 - part_power, "replica_count": replicas, "byteorder": "big" })
}

/// What a version 1 ring file is compressed from.
pub(crate) fn version_1(metadata: &str, table: &[u8]) -> Vec<u8> {
    let length = u32::try_from(metadata.len()).unwrap().to_be_bytes();
    [b"R1NG\0\x01", &length[..], metadata.as_bytes(), table].concat()
}

/// A whole version 1 ring file.
pub(crate) fn ring_1(devices: &[Value], part_power: u32, replicas: u64, ids: &[u16]) -> Vec<u8> {
    gzip(&version_1(&metadata_1(devices, part_power, replicas).to_string(), &table(ids)))
}

/// Big endian ids.
pub(crate) fn table(ids: &[u16]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// One gzip member.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A whole version 2 ring file with these sections, with its index as `adjust` leaves it.
///
/// All of it is in stored blocks, which is the one compression that can be written by hand.
pub(crate) fn version_2(sections: &[(&str, &[u8])], adjust: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file = Version2 { file: b"\x1f\x8b\x08\0\0\0\0\0\x02\xff".to_vec(), crc: Crc::new() };
    file.write(b"R1NG\0\x02");
    let mut index = json!({});
    for (name, content) in sections {
        let (place, start) = file.places();
        let blob = [&(content.len() as u64).to_be_bytes()[..], content].concat();
        file.write(&blob);
        let (place_behind, end) = file.places();
        index[name] = json!([place, start, place_behind, end, "sha256", hex(&Sha256::digest(&blob))]);
    }
    adjust(&mut index);
    let (place, start) = file.places();
    let index = index.to_string();
    file.write(&[&(index.len() as u64).to_be_bytes()[..], index.as_bytes()].concat());
    file.write(&u64::from(start).to_be_bytes());
    file.write(&(place as u64).to_be_bytes());
    file.finish()
}

/// The sections of a version 2 ring.
pub(crate) fn ring_2(devices: &[Value], part_power: u32, id_bytes: u32, table: &[u8]) -> Vec<u8> {
    let metadata = json!({ "part_shift": 32 - part_power, "dev_id_bytes": id_bytes, "version": null }).to_string();
    let devices = Value::from(devices).to_string();
    version_2(
        &[
            ("swift/ring/metadata", metadata.as_bytes()),
            ("swift/ring/devices", devices.as_bytes()),
            ("swift/ring/assignments", table),
        ],
        |_| {},
    )
}

struct Version2 {
    file: Vec<u8>,
    crc: Crc,
}

impl Version2 {
    /// Where the next bytes will be, compressed and not.
    fn places(&self) -> (usize, u32) {
        (self.file.len(), self.crc.amount())
    }

    fn write(&mut self, content: &[u8]) {
        self.crc.update(content);
        for block in content.chunks(usize::from(u16::MAX)).chain([&b""[..]]) {
            self.block(0, block);
        }
    }

    fn block(&mut self, last: u8, content: &[u8]) {
        let length = content.len() as u16;
        self.file.push(last);
        self.file.extend(length.to_le_bytes());
        self.file.extend((!length).to_le_bytes());
        self.file.extend(content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.block(1, b"");
        self.file.extend(self.crc.sum().to_le_bytes());
        self.file.extend(self.crc.amount().to_le_bytes());
        self.file
    }
}
