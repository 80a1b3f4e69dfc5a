//! Rings that the reference makes, looked up by both; and damaged ones, refused by both.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use swift_object_replicator::names::Partition;
use swift_object_replicator::ring::{Device, Fault, Ring};
use tempfile::TempDir;

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

struct Rings {
    oracle: Oracle,
    folder: TempDir,
}

impl Rings {
    fn start() -> Self {
        Self { oracle: Oracle::start("rings.py"), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("object.ring.gz")
    }

    /// Has the reference write a ring.
    fn make(&mut self, kind: &str, seed: u64) {
        let path = self.path();
        self.oracle.ask(&json!({ "make": kind, "seed": seed, "path": path }));
    }

    /// What the reference says of the ring, which it loads.
    fn look(&mut self, partitions: Option<&[u32]>, handoffs: Option<usize>) -> Value {
        self.oracle.ask(&json!({ "look": self.path(), "partitions": partitions, "handoffs": handoffs }))
    }

    /// Asserts that both say the same of a ring that both load.
    fn compare(&mut self, partitions: Option<&[u32]>, handoffs: Option<usize>, case: &str) {
        let expected = self.look(partitions, handoffs);
        let ring = Ring::load(&self.path()).unwrap_or_else(|error| panic!("{case}: {error}; expected {expected}"));
        assert_same(&ring, &expected, handoffs, case);
    }
}

fn assert_same(ring: &Ring, expected: &Value, limit: Option<usize>, case: &str) {
    assert_eq!(expected.get("error"), None, "{case}");
    assert_eq!(ring.part_power(), expected["part_power"], "{case}");
    assert_eq!(ring.partition_count(), expected["partition_count"], "{case}");
    assert_eq!(ring.replica_count().to_bits(), expected["replica_count"], "{case}");
    assert_eq!(json!(ring.next_part_power), expected["next_part_power"], "{case}");
    let devices: Vec<Value> =
        ring.devices.iter().map(|device| device.as_ref().map_or(Value::Null, described)).collect();
    assert_eq!(json!(devices), expected["devices"], "{case}");
    for (place, partition) in expected["partitions"].as_array().unwrap().iter().enumerate() {
        let partition = Partition::new(partition.as_u64().unwrap().try_into().unwrap());
        let primaries = ring.primaries(partition).ok().map(|devices| ids(devices.into_iter()));
        assert_eq!(json!(primaries), expected["primaries"][place], "{case}, primaries of {partition}");
        let handoffs = ids(ring.handoffs(partition).take(limit.unwrap_or(usize::MAX)));
        // Where the reference gives up at a place without device, we pass over it.
        if !expected["handoffs"][place].is_null() {
            assert_eq!(json!(handoffs), expected["handoffs"][place], "{case}, hand-offs of {partition}");
        }
    }
}

fn ids<'r>(devices: impl Iterator<Item = &'r Device>) -> Vec<u32> {
    devices.map(|device| device.id).collect()
}

fn described(device: &Device) -> Value {
    json!({
        "id": device.id, "region": device.region, "zone": device.zone, "ip": device.ip, "port": device.port,
        "device": device.device, "weight": device.weight, "meta": device.meta,
        "replication_ip": device.replication_ip, "replication_port": device.replication_port,
    })
}

#[test]
fn rings_of_the_builder_give_the_same_devices_primaries_and_handoffs() {
    let mut rings = Rings::start();
    for seed in (0..60).map(Seed::fixed) {
        rings.make("built", seed.value());
        rings.compare(None, None, &format!("built ring, {seed}"));
    }
}

#[test]
fn tables_of_any_shape_and_byte_order_give_the_same_primaries_and_handoffs() {
    let mut rings = Rings::start();
    for seed in (0..300).map(Seed::fixed) {
        rings.make("drawn", seed.value());
        rings.compare(None, None, &format!("drawn ring, {seed}"));
    }
}

#[test]
fn ids_of_four_bytes_are_found() {
    let mut rings = Rings::start();
    rings.make("wide", 1);
    rings.compare(None, None, "wide ring");
}

#[test]
fn large_rings_are_walked_in_the_same_steps() {
    let mut rings = Rings::start();
    for seed in (0..3).map(Seed::fixed) {
        rings.make("large", seed.value());
        let partitions: Vec<u32> = (0..12).map(|step| step * 5_461).collect();
        rings.compare(Some(&partitions), None, &format!("large ring, {seed}"));
    }
}

/// Loads a damaged ring with both. Both refuse it, or it means the same to both, or only we refuse it, for one of the
/// reasons that `strict` lists; or only the reference refuses it, though nothing of the ring was lost.
fn compare_damaged(rings: &mut Rings, original: Option<&Value>, strict: fn(&Fault) -> bool, case: &str) {
    let expected = rings.look(None, None);
    let refused = expected.get("error").is_some();
    match Ring::load(&rings.path()) {
        Err(_) if refused => {}
        Err(error) => assert!(strict(&error.fault), "{case}: {error}; expected {expected}"),
        Ok(ring) if refused => match original {
            Some(original) => assert_same(&ring, original, None, &format!("{case}, which gives {expected}")),
            None => panic!("{case}: loaded, but expected {expected}"),
        },
        Ok(ring) => assert_same(&ring, &expected, None, case),
    }
}

#[test]
fn damaged_files_are_refused_where_the_reference_refuses_them() {
    // The reference takes any even number of bytes for a table, and does not read a file to its end.
    let strict = |fault: &Fault| {
        matches!(
            fault,
            Fault::Truncated(_)
                | Fault::Damaged(_)
                | Fault::ShortTable { .. }
                | Fault::Surplus
                | Fault::UnknownDevice { .. }
        )
    };
    let mut rings = Rings::start();
    for seed in (0..12).map(Seed::fixed) {
        let mut random = seed.rng();
        rings.make("built", seed.value());
        let original = rings.look(None, None);
        let whole = fs::read(rings.path()).unwrap();
        for _ in 0..25 {
            let mut file = whole.clone();
            let place = random.usize(..file.len());
            let damage = random.usize(..3);
            match damage {
                0 => file.truncate(place),
                1 => file[place] ^= 1 << random.u8(..8),
                _ => file[place..].iter_mut().take(8).for_each(|byte| *byte = random.u8(..)),
            }
            fs::write(rings.path(), file).unwrap();
            let case = format!("built ring, {seed}, damage {damage} at {place}");
            compare_damaged(&mut rings, Some(&original), strict, &case);
        }
    }
}

#[test]
fn damaged_content_of_version_1_is_refused_where_the_reference_refuses_it() {
    // What the reference would trip over in use, or never look at, is refused here when the ring is loaded.
    let strict = |fault: &Fault| {
        matches!(
            fault,
            Fault::Json { .. }
                | Fault::Truncated(_)
                | Fault::TooLarge { .. }
                | Fault::ShortTable { .. }
                | Fault::Surplus
                | Fault::UnknownDevice { .. }
        )
    };
    let mut rings = Rings::start();
    for seed in (0..60).map(Seed::fixed) {
        let mut random = seed.rng();
        rings.make("drawn", seed.value());
        let mut whole = Vec::new();
        GzDecoder::new(fs::File::open(rings.path()).unwrap()).read_to_end(&mut whole).unwrap();
        if whole[5] == 2 {
            continue;
        }
        for _ in 0..20 {
            let mut content = whole.clone();
            let place = random.usize(..content.len());
            match random.u8(..4) {
                0 => content.truncate(place),
                1 => content[place] = *b"0123456789-.\",:[]{}n\xff".get(random.usize(..21)).unwrap(),
                2 => drop(content.remove(place)),
                _ => content[place] ^= 1 << random.u8(..8),
            }
            let mut file = GzEncoder::new(fs::File::create(rings.path()).unwrap(), Compression::fast());
            file.write_all(&content).unwrap();
            file.finish().unwrap();
            compare_damaged(&mut rings, None, strict, &format!("drawn ring, {seed}, damage at {place}"));
        }
    }
}

#[test]
fn a_damaged_index_of_version_2_is_refused_where_the_reference_refuses_it() {
    // The reference takes true for 1, null for "not known", and no digest for "do not check"; numbers that it does not
    // use can be anything.
    let strict = |fault: &Fault| {
        matches!(fault, Fault::Json { part: "index", .. })
            || matches!(fault, Fault::Checksum { expected, .. } if expected.is_empty())
    };
    let mut rings = Rings::start();
    for seed in (0..400).map(Seed::fixed) {
        rings.make("indexed", seed.value());
        compare_damaged(&mut rings, None, strict, &format!("ring with another index, {seed}"));
    }
}
