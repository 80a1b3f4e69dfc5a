//! The reference's part in building a cluster: rings from its builder, and its view of files on disk.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::oracle::Oracle;

/// One Python process serves all clusters of this process: importing Swift takes longer than building a ring.
static LAB: Mutex<Option<Oracle>> = Mutex::new(None);

fn ask(question: &Value) -> Value {
    let mut lab = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    lab.get_or_insert_with(|| Oracle::start("lab.py")).ask(question)
}

/// Which devices hold each partition: the ids of a partition's primaries at its number.
pub type Primaries = Vec<Vec<u32>>;

/// What a ring is built from.
pub struct RingOrder<'a> {
    /// Where it goes.
    pub path: &'a Path,
    /// The format: 1 or 2.
    pub version: u8,
    pub part_power: u32,
    /// How many copies of a partition there are; a fraction means that some partitions have one more than others.
    pub replicas: f64,
    /// The devices as Swift describes them, by id.
    pub devices: &'a [Value],
    /// Builders with the same seed build the same ring.
    pub seed: u64,
    /// Whether the ring says that its part power is about to grow.
    pub next_part_power: bool,
}

/// Builds a balanced ring with Swift's ring builder.
pub fn build_ring(order: &RingOrder<'_>) -> Primaries {
    primaries(ask(&json!({
        "do": "build_ring",
        "path": order.path,
        "version": order.version,
        "part_power": order.part_power,
        "replicas": order.replicas,
        "devices": order.devices,
        "seed": order.seed,
        "next_part_power": order.next_part_power,
    })))
}

/// Writes a ring with exactly these rows of device ids.
pub fn assign_ring(path: &Path, version: u8, part_power: u32, rows: &[Vec<u32>], devices: &[Value]) -> Primaries {
    primaries(ask(&json!({
        "do": "assign_ring",
        "path": path,
        "version": version,
        "part_power": part_power,
        "rows": rows,
        "devices": devices,
    })))
}

fn primaries(answer: Value) -> Primaries {
    serde_json::from_value(answer).expect("lists of device ids")
}

/// The ids of a partition's hand-offs, in the order in which they are asked.
pub fn handoffs(ring: &Path, partition: u32) -> Vec<u32> {
    let answer = ask(&json!({"do": "handoffs", "path": ring, "partition": partition}));
    serde_json::from_value(answer).expect("a list of device ids")
}

/// A pickle as JSON.
pub fn read_pickle(path: &Path) -> Value {
    ask(&json!({"do": "read_pickle", "path": path}))
}

/// What `swift-object-info` says of an object's file; `swift_dir` holds the rings.
pub fn object_info(file: &Path, swift_dir: &Path) -> String {
    let answer = ask(&json!({"do": "object_info", "path": file, "swift_dir": swift_dir}));
    answer.as_str().expect("a text").to_owned()
}
