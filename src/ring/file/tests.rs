use std::io::Read;

use flate2::read::GzDecoder;
use md5::{Digest, Md5};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::*;
use crate::names::Partition;
use crate::ring::testing::{
    EXAMPLE_V1, EXAMPLE_V2, device, gzip, load, metadata_1, ring_1, ring_2, table, version_1, version_2,
};
use crate::ring::{Ring, RingError};
use crate::sys::heap;

fn inflated(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(file).read_to_end(&mut content).unwrap();
    content
}

/// Two devices on two machines.
fn two() -> Vec<Value> {
    vec![device(0, 1, 1, "10.0.0.1"), device(1, 1, 1, "10.0.0.2")]
}

fn ids(ring: &Ring) -> Vec<Vec<u32>> {
    let partitions = (0..ring.partition_count()).map(Partition::new);
    partitions.map(|partition| ring.primaries(partition).unwrap().iter().map(|device| device.id).collect()).collect()
}

fn refusal(file: &[u8]) -> String {
    load(file).expect_err("the ring is refused").fault.to_string()
}

#[test]
fn the_worked_example_of_version_1_is_read() {
    let content = inflated(EXAMPLE_V1);
    assert_eq!(content.len(), 1030);
    assert!(content.starts_with(b"R1NG\x00\x01\x00\x00\x03\xac{\"byteorder\": \"little\""), "as in B3.8");
    assert!(content[950..].starts_with(&[0, 0, 3, 0, 3, 0, 4, 0, 4, 0]));
    let ring = load(EXAMPLE_V1).unwrap();
    assert_eq!((ring.part_power(), ring.partition_count(), ring.replica_count()), (4, 16, 2.5));
    assert_eq!(ring.next_part_power, None);
    let device = ring.devices[2].as_ref().unwrap();
    assert_eq!((device.id, device.region, device.zone, device.device.as_str()), (2, 1, 2, "sdc"));
    assert_eq!((device.ip.as_str(), device.port, device.weight, device.meta.as_str()), ("127.0.0.2", 6200, 100.0, ""));
    assert_eq!((device.replication_ip.as_str(), device.replication_port), ("127.0.0.2", 6200));
}

#[test]
fn the_worked_example_is_the_same_ring_in_both_versions() {
    let content = inflated(EXAMPLE_V2);
    assert!(
        content.starts_with(b"R1NG\x00\x02\0\0\0\0\0\0\0\x49{\"dev_id_bytes\": 2, \"part_shift\": 28"),
        "as in B3.8"
    );
    let (one, two) = (load(EXAMPLE_V1).unwrap(), load(EXAMPLE_V2).unwrap());
    assert_eq!(one.devices, two.devices);
    assert_eq!((two.part_power(), two.replica_count()), (4, 2.5));
    assert_eq!(ids(&one), ids(&two));
}

#[test]
fn version_1_is_in_the_order_that_it_names_or_in_ours() {
    let little: Vec<u8> = [1_u16, 0].iter().flat_map(|id| id.to_le_bytes()).collect();
    let native: Vec<u8> = [1_u16, 0].iter().flat_map(|id| id.to_ne_bytes()).collect();
    for (order, table) in [(json!("big"), table(&[1, 0])), (json!("little"), little), (Value::Null, native)] {
        let mut metadata = metadata_1(&two(), 1, 1);
        metadata["byteorder"] = order.clone();
        if order.is_null() {
            metadata.as_object_mut().unwrap().remove("byteorder");
        }
        let ring = load(&gzip(&version_1(&metadata.to_string(), &table))).unwrap();
        assert_eq!(ids(&ring), [[1], [0]], "{order}");
    }
}

#[test]
fn a_missing_tail_of_version_1_makes_the_last_row_short() {
    let ring = |table: &[u16]| load(&ring_1(&two(), 2, 2, table));
    let whole = ring(&[0, 0, 0, 0, 1, 1, 1, 1]).unwrap();
    assert_eq!((whole.replica_count(), ids(&whole)), (2.0, vec![vec![0, 1]; 4]));
    let short = ring(&[0, 0, 0, 0, 1]).unwrap();
    assert_eq!(short.replica_count(), 1.25);
    assert_eq!(ids(&short), [vec![0, 1], vec![0], vec![0], vec![0]]);
    // The builder writes an empty row where a fraction of the replicas is less than one partition.
    let empty = ring(&[0, 0, 0, 0]).unwrap();
    assert_eq!(empty.replica_count(), 1.0);
    assert!(matches!(ring(&[0, 0, 0]).unwrap_err().fault, Fault::ShortTable { found: 3, replicas: 2, partitions: 4 }));
    assert!(matches!(load(&ring_1(&two(), 2, 1, &[0, 0, 0])).unwrap_err().fault, Fault::ShortTable { .. }));
}

#[test]
fn a_ring_that_was_never_balanced_has_no_partitions() {
    for file in [ring_1(&two(), 4, 0, &[]), ring_2(&two(), 4, 2, &[])] {
        let ring = load(&file).unwrap();
        assert_eq!((ring.partition_count(), ring.part_power(), ring.replica_count()), (0, 4, 0.0));
        assert_eq!(ring.primaries(Partition::new(0)), Ok(vec![]));
        assert_eq!(ring.handoffs(Partition::new(0)).count(), 0);
    }
}

#[test]
fn version_1_is_refused_if_its_table_or_its_compression_is_damaged() {
    let metadata = metadata_1(&two(), 2, 1).to_string();
    let odd = gzip(&version_1(&metadata, &[0; 7]));
    assert!(matches!(load(&odd).unwrap_err().fault, Fault::SplitId));
    let surplus = gzip(&version_1(&metadata, &[0; 10]));
    assert!(matches!(load(&surplus).unwrap_err().fault, Fault::Surplus));
    let whole = ring_1(&two(), 2, 1, &[0; 4]);
    for cut in 0..whole.len() {
        let fault = load(&whole[..cut]).unwrap_err().fault;
        assert!(matches!(fault, Fault::Truncated(_)), "cut to {cut}: {fault}");
    }
    for trailer in 1..=8 {
        let mut changed = whole.clone();
        changed[whole.len() - trailer] ^= 1;
        assert!(matches!(load(&changed).unwrap_err().fault, Fault::Damaged(_)));
    }
}

#[test]
fn only_the_first_gzip_member_counts() {
    let file = [ring_1(&two(), 0, 1, &[1]), gzip(b"more"), b"junk".to_vec()].concat();
    assert_eq!(ids(&load(&file).unwrap()), [[1]]);
}

#[test]
fn a_pickled_ring_is_refused_with_the_command_that_rewrites_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object-1.ring.gz");
    std::fs::write(&path, gzip(b"\x80\x02}q\x01")).unwrap();
    let text = Ring::load(&path).unwrap_err().to_string();
    let builder = folder.path().join("object-1.builder");
    assert!(text.ends_with(&format!("swift-ring-builder {} write_ring", builder.display())), "{text}");
    assert!(text.starts_with(&format!("cannot load ring {}: it is a pickled ring", path.display())), "{text}");
}

#[test]
fn what_is_no_ring_at_all_is_refused() {
    assert_eq!(refusal(&gzip(b"R1NG\0\x03")), "it has the unknown version 3");
    assert_eq!(refusal(&gzip(b"RING\0\x01")), "it is not a ring file: it starts with \"RING\"");
    assert_eq!(refusal(&gzip(b"R1")), "it is not a ring file: it starts with \"R1\"");
    assert_eq!(refusal(&gzip(b"R1NG\0")), "it is truncated: it ends within its version");
    assert_eq!(refusal(b""), "it is truncated: it ends within its first four bytes");
    assert_eq!(refusal(b"R1NG\0\x01 not gzip"), "its compressed data is damaged: invalid gzip header");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("object.ring.gz");
    let text = Ring::load(&missing).unwrap_err().to_string();
    assert_eq!(text, format!("cannot load ring {}: No such file or directory (os error 2)", missing.display()));
    assert!(matches!(Ring::load(folder.path()).unwrap_err().fault, Fault::Io(_)));
}

#[test]
fn devices_without_replication_addresses_have_their_other_ones() {
    let mut devices = two();
    for key in ["replication_ip", "replication_port", "meta", "weight"] {
        devices[1].as_object_mut().unwrap().remove(key);
    }
    devices[1]["someone's"] = json!({ "own": ["notes"] });
    let ring = load(&ring_1(&devices, 0, 1, &[1])).unwrap();
    let device = ring.devices[1].as_ref().unwrap();
    assert_eq!((device.replication_ip.as_str(), device.replication_port), ("10.0.0.2", 6200));
    assert_eq!((device.meta.as_str(), device.weight), ("", 0.0));
}

#[test]
fn metadata_that_means_nothing_is_refused() {
    let change = |pointer: &str, value: Value| {
        let mut metadata = metadata_1(&two(), 1, 1);
        match metadata.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => metadata[pointer.trim_start_matches('/')] = value,
        }
        refusal(&gzip(&version_1(&metadata.to_string(), &table(&[0, 1]))))
    };
    for (pointer, value, reason) in [
        ("/devs/0/port", json!(-1), "invalid value: integer `-1`, expected u16"),
        ("/devs/0/port", json!(65_536), "invalid value: integer `65536`, expected u16"),
        ("/devs/1/replication_port", json!("6200"), "invalid type: string \"6200\", expected u16"),
        ("/devs/1/region", json!("one"), "invalid type: string \"one\", expected i64"),
        ("/devs/1/zone", json!(1.5), "invalid type: floating point `1.5`, expected i64"),
        ("/devs/1/ip", json!(null), "invalid type: null, expected a string"),
        ("/devs/1/id", json!(0), "the device at place 1 has the id 0"),
        ("/devs/1", json!({}), "missing field `id`"),
        ("/devs/1", json!(7), "invalid type: integer `7`, expected struct DeviceRecord"),
        ("/devs", json!({}), "invalid type: map, expected a list of devices"),
        ("/part_shift", json!(33), "its part_shift is 33, more than 32"),
        ("/part_shift", json!(-1), "invalid value: integer `-1`, expected u32"),
        ("/replica_count", json!(-3), "invalid value: integer `-3`, expected u64"),
        ("/replica_count", json!(1.5), "invalid type: floating point `1.5`, expected u64"),
        ("/byteorder", json!("middle"), "unknown variant `middle`"),
        ("/next_part_power", json!("5"), "invalid type: string \"5\", expected u32"),
    ] {
        let text = change(pointer, value);
        assert!(text.contains(reason), "{pointer}: {text}");
    }
    let metadata = metadata_1(&two(), 1, 1).to_string();
    for json in [metadata.replace("100.0", "NaN"), metadata.replace("{", "["), metadata.replace(":31", ":"), "".into()]
    {
        let text = refusal(&gzip(&version_1(&json, &table(&[0, 1]))));
        assert!(text.starts_with("its metadata cannot be understood: "), "{text}");
    }
}

#[test]
fn a_table_may_name_holes_and_no_device_but_none_beyond_the_list() {
    let mut devices = two();
    devices[0] = Value::Null;
    let unassigned = u16::MAX;
    assert!(load(&ring_1(&devices, 1, 2, &[0, unassigned, 1, 1])).is_ok());
    let text = refusal(&ring_1(&devices, 1, 1, &[1, 2]));
    assert_eq!(text, "it assigns a partition to device 2, but lists 2 devices");
    let wide: Vec<u8> = [70_000_u32, 1].iter().flat_map(|id| id.to_be_bytes()).collect();
    assert!(refusal(&ring_2(&devices, 1, 4, &wide)).contains("device 70000"));
}

#[test]
fn version_2_has_ids_of_two_or_four_bytes() {
    let wide: Vec<u8> = [1_u32, 0, u32::MAX].iter().flat_map(|id| id.to_be_bytes()).collect();
    let ring = load(&ring_2(&two(), 1, 4, &wide)).unwrap();
    assert_eq!(ring.replica_count(), 1.5);
    assert!(ring.primaries(Partition::new(0)).is_err(), "unassigned");
    assert_eq!(ring.primaries(Partition::new(1)).unwrap()[0].id, 0);
    assert!(matches!(load(&ring_2(&two(), 1, 8, &wide)).unwrap_err().fault, Fault::DeviceIdBytes(8)));
    assert!(matches!(load(&ring_2(&two(), 1, 2, &[0; 5])).unwrap_err().fault, Fault::SplitId));
    assert!(matches!(load(&ring_2(&two(), 2, 2, &[0; 6])).unwrap_err().fault, Fault::ShortTable { .. }));
}

fn sections_of(file: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let content = inflated(file);
    let mut rest = &content[6..];
    [METADATA, DEVICES, ASSIGNMENTS].map(|name| {
        let (length, content) = rest.split_at(8);
        let (section, behind) = content.split_at(u64::from_be_bytes(length.try_into().unwrap()) as usize);
        rest = behind;
        (name, section.to_vec())
    })
}

/// The example as a version 2 ring whose index was changed.
fn adjusted(adjust: impl FnOnce(&mut Value)) -> Result<Ring, RingError> {
    let sections = sections_of(EXAMPLE_V2);
    let sections: Vec<(&str, &[u8])> = sections.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    load(&version_2(&sections, adjust))
}

#[test]
fn version_2_is_checked_by_any_digest_that_swift_knows() {
    let sections = sections_of(EXAMPLE_V2);
    let blob = [&80_u64.to_be_bytes()[..], &sections[2].1].concat();
    for (method, digest) in [
        ("md5", hex(&Md5::digest(&blob))),
        ("sha1", hex(&Sha1::digest(&blob))),
        ("sha256", hex(&Sha256::digest(&blob))),
        ("sha512", hex(&Sha512::digest(&blob))),
    ] {
        let with = |digest: &str| {
            adjusted(|index| {
                index[ASSIGNMENTS][4] = json!(method);
                index[ASSIGNMENTS][5] = json!(digest);
            })
        };
        assert_eq!(ids(&with(&digest).unwrap()), ids(&load(EXAMPLE_V1).unwrap()));
        let wrong = digest.replace(&digest[..1], "x");
        assert!(matches!(with(&wrong).unwrap_err().fault, Fault::Checksum { section: ASSIGNMENTS, .. }));
    }
    let unknown = adjusted(|index| index[DEVICES][4] = json!("crc32")).unwrap_err().fault;
    assert!(matches!(unknown, Fault::ChecksumMethod { section: DEVICES, .. }));
}

#[test]
fn version_2_is_refused_if_its_index_does_not_fit() {
    let none = adjusted(|index| drop(index.as_object_mut().unwrap().remove(DEVICES))).unwrap_err().fault;
    assert!(matches!(none, Fault::NoSection(DEVICES)));
    let size = adjusted(|index| index[ASSIGNMENTS][3] = json!(7)).unwrap_err().fault;
    assert!(matches!(size, Fault::SectionSize(ASSIGNMENTS)));
    let beyond = adjusted(|index| index[METADATA][0] = json!(u64::MAX)).unwrap_err().fault;
    assert!(matches!(beyond, Fault::Truncated(METADATA)));
    let negative = adjusted(|index| index[METADATA][0] = json!(-1)).unwrap_err().fault;
    assert!(matches!(negative, Fault::Json { part: "index", .. }));
    let extra = adjusted(|index| index["swift/ring/history"] = index[METADATA].clone());
    assert!(extra.is_ok(), "unknown sections are ignored");
}

#[test]
fn version_2_is_refused_if_it_was_recompressed_or_cut_off() {
    assert!(matches!(load(&gzip(&inflated(EXAMPLE_V2))).unwrap_err().fault, Fault::Recompressed));
    // The end of the stream and the trailer behind the index may be missing, since digests cover what stands before.
    for cut in 0..EXAMPLE_V2.len() - 13 {
        assert!(load(&EXAMPLE_V2[..cut]).is_err(), "cut to {cut}");
    }
}

#[test]
fn absurd_claims_are_refused_before_memory_is_taken_for_them() {
    let with =
        |part_power: u32, replicas: u64| gzip(&version_1(&metadata_1(&two(), part_power, replicas).to_string(), &[]));
    let blob_of_4_gib = gzip(b"R1NG\0\x01\xff\xff\xff\xff{}");
    let nulls = format!("{{\"devs\":[null{}", ",null".repeat(300_000));
    for (file, reason) in [
        (blob_of_4_gib, "it claims 4294967295 bytes of JSON, more than the 67108864 that are read"),
        (with(0, 5000), "it claims 5000 replicas, more than the 4096 that are read"),
        (with(32, 1), "it claims 8589934592 bytes of table, more than the 536870912 that are read"),
        (with(27, 2), "its table has 0 entries, too few for 2 replicas of 134217728 partitions"),
        (gzip(&version_1(&nulls, &[])), "there are more than 262144 devices"),
    ] {
        let (text, peak) = heap::peak_of(|| refusal(&file));
        assert!(text.contains(reason), "{text}");
        assert!(peak < 64 << 20, "{peak} bytes for: {reason}");
    }
    let index = adjusted(|index| index["padding"] = json!("x".repeat(2 << 20))).unwrap_err().fault;
    assert!(matches!(index, Fault::TooLarge { .. }), "{index}");
}

#[test]
fn a_large_ring_takes_at_most_1_3_times_its_table() {
    let devices: Vec<Value> = (0..3600)
        .map(|id| device(id, i64::from(id % 2), i64::from(id % 12), &format!("10.0.{}.{}", id % 12, id / 60)))
        .collect();
    let part_power = 20;
    let rows: Vec<u16> = (0..3_u32 << part_power).map(|entry| (entry % 3600) as u16).collect();
    for (file, table) in [
        (ring_1(&devices, part_power, 3, &rows[..5 << (part_power - 1)]), 5 << part_power),
        (ring_2(&devices, part_power, 2, &table(&rows)), 2 * rows.len()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object.ring.gz");
        std::fs::write(&path, file).unwrap();
        let (ring, peak) = heap::peak_of(|| Ring::load(&path).unwrap());
        assert_eq!(ring.partition_count(), 1 << part_power);
        assert!(peak * 10 <= table * 13, "{peak} bytes for a table of {table}");
    }
}

/// What a ring could start with, and junk behind it.
fn almost_ring() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"R1NG\0\x01".to_vec()),
        Just(b"R1NG\0\x02".to_vec()),
        any::<u32>().prop_map(|length| length.to_be_bytes().to_vec()),
        (0_u64..200).prop_map(|length| length.to_be_bytes().to_vec()),
        (0_u32..34, any::<u16>(), any::<bool>()).prop_map(|(shift, replicas, nulls)| {
            let devices = if nulls { vec![Value::Null; 9] } else { two() };
            let metadata = json!({ "devs": devices, "part_shift": shift, "replica_count": replicas });
            version_1(&metadata.to_string(), b"")
        }),
        proptest::collection::vec(any::<u8>(), 0..300),
        (0..300_usize).prop_map(|count| vec![0; count * 1_000]),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_it_panic_or_take_memory_without_bound(
        content in almost_ring(), compressed in any::<bool>(), damage in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        let mut file = if compressed { gzip(&content) } else { content };
        if !file.is_empty() {
            let place = damage.index(file.len());
            file[place] ^= with;
        }
        let (_, peak) = heap::peak_of(|| load(&file).map(drop));
        let bound = (1 << 20) + 3 * MAX_INFLATION as usize * file.len();
        prop_assert!(peak <= bound, "{} bytes for a file of {}", peak, file.len());
    }

    #[test]
    fn damaged_rings_never_panic(version in any::<bool>(), damage in any::<prop::sample::Index>(), with in 1_u8..) {
        let mut file = if version { EXAMPLE_V1 } else { EXAMPLE_V2 }.to_vec();
        let place = damage.index(file.len());
        file[place] ^= with;
        if let Ok(ring) = load(&file) {
            prop_assert_eq!(ids(&ring), ids(&load(EXAMPLE_V1).unwrap()));
        }
    }
}
