//! The parts of a pass that are done for each partition, one by one.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::Digest as _;
use serde_json::json;
use swift_object_replicator::device::hashes::{HashRequest, get_hashes};
use swift_object_replicator::device::layout::PartitionDir;
use swift_object_replicator::format::hashes::{SuffixHashes, digest_to_hex};
use swift_object_replicator::format::md5::Md5;
use swift_object_replicator::format::pickle::{StoredHashes, decode_remote, decode_stored, encode_stored};
use swift_object_replicator::names::{Partition, PolicyIndex, Suffix};
use swift_object_replicator::ring::Ring;
use tempfile::TempDir;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn suffix(number: u32) -> Suffix {
    Suffix::from_name(format!("{number:03x}").as_bytes()).expect("three digits")
}

/// A partition of eight suffixes with two objects each.
fn partition() -> (TempDir, PartitionDir) {
    let root = tempfile::tempdir().expect("a folder");
    let dir = PartitionDir::new(root.path(), "sda", PolicyIndex::new(0), Partition::new(7));
    for number in 0..8 {
        for object in 0..2 {
            let folder = dir.suffix_path(suffix(number)).join(format!("{object:029x}{number:03x}"));
            fs::create_dir_all(&folder).expect("the folder is writable");
            fs::write(folder.join("1400000000.00000.data"), "").expect("the folder is writable");
        }
    }
    (root, dir)
}

fn hashing(criterion: &mut Criterion) {
    let (_root, dir) = partition();
    let recalculate: Vec<_> = (0..8).map(suffix).collect();
    let hashes = |recalculate: &[Suffix]| {
        let request = HashRequest { recalculate, listing: false, reclaim_age: WEEK };
        get_hashes(&dir, &request, &()).expect("the partition is readable")
    };
    criterion.bench_function("hash 8 suffixes of 2 objects", |bencher| bencher.iter(|| hashes(&recalculate)));
    criterion.bench_function("look up the hashes of 8 suffixes", |bencher| bencher.iter(|| hashes(&[])));
}

/// A ring of 2^16 partitions, three replicas and 360 devices.
fn ring_file(folder: &Path) -> PathBuf {
    let devices: Vec<_> = (0..360)
        .map(|id| {
            let ip = format!("10.{}.0.{}", id / 120, id / 12);
            json!({
                "id": id, "region": 1, "zone": id / 120, "weight": 100.0, "ip": ip, "port": 6200, "meta": "",
                "replication_ip": ip, "replication_port": 6200, "device": format!("sd{}", id % 12),
            })
        })
        .collect();
    let metadata = json!({"devs": devices, "part_shift": 16, "replica_count": 3, "byteorder": "little", "version": 1});
    let metadata = metadata.to_string();
    let mut random = fastrand::Rng::with_seed(1);
    let path = folder.join("object.ring.gz");
    let mut file = GzEncoder::new(fs::File::create(&path).expect("the folder is writable"), Compression::fast());
    let mut write = |bytes: &[u8]| file.write_all(bytes).expect("the folder is writable");
    write(b"R1NG\0\x01");
    write(&u32::try_from(metadata.len()).expect("a short text").to_be_bytes());
    write(metadata.as_bytes());
    for zone in 0..3 {
        (0..1 << 16).for_each(|_| write(&(zone * 120 + random.u16(..120)).to_le_bytes()));
    }
    file.finish().expect("the folder is writable");
    path
}

fn lookups(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = ring_file(folder.path());
    criterion.bench_function("load a ring of 2^16 partitions", |bencher| bencher.iter(|| Ring::load(&path)));
    let ring = Ring::load(&path).expect("a ring");
    let mut next = (0..1 << 16).cycle().map(Partition::new);
    let mut partition = || next.next().expect("it goes round");
    criterion.bench_function("a partition's primaries", |bencher| {
        bencher.iter(|| black_box(ring.primaries(partition()).map(|devices| devices.len())));
    });
    criterion.bench_function("a partition's first hand-off of 357", |bencher| {
        bencher.iter(|| black_box(ring.handoffs(partition()).next().map(|device| device.id)));
    });
    criterion.bench_function("a partition's 357 hand-offs", |bencher| {
        bencher.iter(|| ring.handoffs(partition()).count());
    });
}

/// The answer of a peer, as Python's pickler writes it.
fn answer(hashes: &SuffixHashes) -> Vec<u8> {
    let mut pickle = b"\x80\x02}q\0(".to_vec();
    let mut places = 1_u8..;
    let mut text = |text: &[u8]| {
        pickle.push(b'X');
        pickle.extend(u32::try_from(text.len()).expect("a short text").to_le_bytes());
        pickle.extend(text);
        pickle.extend([b'q', places.next().expect("few texts")]);
    };
    for (suffix, hash) in hashes.iter() {
        text(suffix.as_str().as_bytes());
        text(&digest_to_hex(&hash.expect("all are known")));
    }
    pickle.extend(b"u.");
    pickle
}

fn pickles(criterion: &mut Criterion) {
    for count in [8, 120] {
        let hashes: SuffixHashes = (0..count).map(|number| (suffix(number * 34), Some([number as u8; 16]))).collect();
        let remote = answer(&hashes);
        let stored = StoredHashes { hashes, valid: true, updated: 1_400_000_000.5 };
        let pickle = encode_stored(&stored);
        let mut bench = |what: &str, work: &dyn Fn()| {
            criterion.bench_function(&format!("{what}, {count} suffixes"), |bencher| bencher.iter(work));
        };
        bench("read hashes.pkl", &|| drop(black_box(decode_stored(&pickle))));
        bench("write hashes.pkl", &|| drop(black_box(encode_stored(&stored))));
        bench("read a peer's answer", &|| drop(black_box(decode_remote(&remote))));
        let answered = decode_remote(&remote).expect("a dict of hashes");
        bench("compare with a peer's answer", &|| drop(black_box(stored.hashes.differing(&answered))));
    }
}

/// The hash of an object's content, by the two implementations that are used here.
fn contents(criterion: &mut Criterion) {
    let data = vec![7; 1 << 20];
    criterion.bench_function("MD5 of 1 MiB, by format::md5", |bencher| {
        bencher.iter(|| {
            let mut hash = Md5::default();
            hash.update(black_box(&data));
            black_box(hash.finish())
        });
    });
    criterion.bench_function("MD5 of 1 MiB, by the crate md-5", |bencher| {
        bencher.iter(|| black_box(md5::Md5::digest(black_box(&data))));
    });
}

criterion_group!(micro, hashing, lookups, pickles, contents);
criterion_main!(micro);
