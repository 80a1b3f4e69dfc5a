//! Objects, and the requests that a proxy would send to object servers about them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use md5::{Digest as _, Md5};
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use super::cluster::{Cluster, Disk, HASH_PREFIX, HASH_SUFFIX};
use super::guard::PATIENCE;
use super::lab;

/// An object's name and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub policy: u32,
    pub partition: u32,
    /// `account/container/object`.
    pub name: String,
    /// The hash of its name, in hex: the folder that holds its files.
    pub hash: String,
}

impl Object {
    /// The object with this name (`account/container/object`).
    pub fn new(name: &str, policy: u32, part_power: u32) -> Self {
        let digest = Md5::digest(format!("{HASH_PREFIX}/{name}{HASH_SUFFIX}"));
        let hash = hex(&digest);
        let head = u32::from_be_bytes(digest[..4].try_into().expect("a digest has 16 bytes"));
        let partition = head.checked_shr(32 - part_power).unwrap_or(0);
        Self { policy, partition, name: name.to_owned(), hash }
    }

    /// The suffix that it is in.
    pub fn suffix(&self) -> &str {
        &self.hash[29..]
    }

    /// The folder of its files on a device.
    pub fn folder(&self, disk: &Disk) -> PathBuf {
        disk.partition(self.policy, self.partition).join(self.suffix()).join(&self.hash)
    }

    /// The names of its files on a device, sorted.
    pub fn files(&self, disk: &Disk) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder(disk)) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("a readable folder").file_name().into_string().expect("names are text")
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes it");
        text
    })
}

/// A time as Swift writes it: seconds since 1970 with five decimals. Tests count from a fixed moment of yesterday, so
/// that nothing is old enough to be reclaimed.
pub fn time(second: u32) -> String {
    const DAY: u64 = 86_400;
    at(DAY, second)
}

/// A time so long ago that its tombstones are reclaimed.
pub fn ancient(second: u32) -> String {
    const MONTH: u64 = 30 * 86_400;
    at(MONTH, second)
}

fn at(age: u64, second: u32) -> String {
    static NOW: LazyLock<u64> = LazyLock::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("after 1970").as_secs()
    });
    format!("{:010}.00000", *NOW - age + u64::from(second))
}

/// What an object server says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The newest of the times of data and metadata, or that of the tombstone.
    pub timestamp: Option<String>,
    pub etag: Option<String>,
    /// `X-Object-Meta-*`, sorted.
    pub meta: Vec<(String, String)>,
    pub body: Vec<u8>,
}

static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .max_idle_connections(0)
        .build()
        .into()
});

thread_local! {
    /// Names that were given out: no two objects of a test have the same.
    static NAMES: Cell<u32> = const { Cell::new(0) };
}

impl Cluster {
    /// An object with a name that no other object has, in a partition of a policy.
    pub fn object_in(&self, policy: u32, partition: u32) -> Object {
        loop {
            let number = NAMES.replace(NAMES.get() + 1);
            let object = Object::new(&format!("AUTH_test/stuff/object-{number}"), policy, self.part_power(policy));
            if object.partition == partition {
                return object;
            }
        }
    }

    fn request(
        &self,
        method: &str,
        disk: &Disk,
        object: &Object,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response<Body> {
        let server = self.nodes[disk.node].object_address();
        let uri = format!("http://{server}/{}/{}/{}", disk.name, object.partition, object.name);
        let request =
            Request::builder().method(method).uri(uri).header("X-Backend-Storage-Policy-Index", object.policy);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        AGENT.run(request.body(body).expect("a valid request")).expect("the object server answers")
    }

    /// Asks for an object to be stored on one device, as a proxy would; the answer's status.
    pub fn try_put(&self, disk: &Disk, object: &Object, timestamp: &str, body: &[u8]) -> u16 {
        self.answer_to_put(disk, object, timestamp, body).status().as_u16()
    }

    fn answer_to_put(&self, disk: &Disk, object: &Object, timestamp: &str, body: &[u8]) -> Response<Body> {
        let headers = [("X-Timestamp", timestamp), ("Content-Type", "text/plain")];
        self.request("PUT", disk, object, &headers, body)
    }

    /// Stores an object on one device; it must be taken.
    pub fn put(&self, disk: &Disk, object: &Object, timestamp: &str, body: &[u8]) {
        let mut response = self.answer_to_put(disk, object, timestamp, body);
        let told = response.body_mut().read_to_string().unwrap_or_default();
        assert_eq!(response.status().as_u16(), 201, "PUT of {object:?} on {disk:?}: {told}");
    }

    /// Stores an object on every device that it belongs on.
    pub fn put_everywhere(&self, object: &Object, timestamp: &str, body: &[u8]) {
        for disk in self.primaries(object.policy, object.partition) {
            self.put(&disk, object, timestamp, body);
        }
    }

    /// Gives an object new metadata on one device.
    pub fn post(&self, disk: &Disk, object: &Object, timestamp: &str, meta: &[(&str, &str)]) {
        let mut headers = vec![("X-Timestamp", timestamp)];
        headers.extend(meta);
        let status = self.request("POST", disk, object, &headers, b"").status();
        assert_eq!(status, 202, "POST of {object:?} on {disk:?}");
    }

    /// Asks for an object to be deleted on one device; the answer's status.
    pub fn try_delete(&self, disk: &Disk, object: &Object, timestamp: &str) -> u16 {
        self.request("DELETE", disk, object, &[("X-Timestamp", timestamp)], b"").status().as_u16()
    }

    /// Deletes an object on one device: leaves a tombstone, whether there was an object or not.
    pub fn delete(&self, disk: &Disk, object: &Object, timestamp: &str) {
        let status = self.try_delete(disk, object, timestamp);
        assert!(matches!(status, 204 | 404), "DELETE of {object:?} on {disk:?}: {status}");
    }

    /// Reads an object from one device.
    pub fn get(&self, disk: &Disk, object: &Object) -> Answer {
        let mut response = self.request("GET", disk, object, &[], b"");
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.trim_matches('"').to_owned());
        let meta = response.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-object-meta-"));
        let text = |value: &ureq::http::HeaderValue| value.to_str().expect("tests store text").to_owned();
        let mut meta: Vec<_> = meta.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        meta.sort();
        let timestamp = header("x-backend-timestamp").or_else(|| header("x-timestamp"));
        let (status, etag) = (response.status().as_u16(), header("etag"));
        let body = response.body_mut().read_to_vec().expect("the object server sends all of it");
        Answer { status, timestamp, etag, meta, body }
    }

    /// What the recon middleware of a node's object server says, as JSON.
    pub fn recon(&self, node: usize, what: &str) -> serde_json::Value {
        let uri = format!("http://{}/recon/{what}", self.nodes[node].object_address());
        let request = Request::builder().uri(uri).body(()).expect("a valid request");
        let mut response = AGENT.run(request).expect("the object server answers");
        let text = response.body_mut().read_to_string().expect("the object server sends all of it");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("recon said {text:?}: {e}"))
    }

    /// A partition's hashes as the object server of the device tells them, as the raw pickle.
    pub fn hashes(&self, disk: &Disk, policy: u32, partition: u32) -> Vec<u8> {
        let server = self.nodes[disk.node].object_address();
        let request = Request::builder()
            .method("REPLICATE")
            .uri(format!("http://{server}/{}/{partition}", disk.name))
            .header("X-Backend-Storage-Policy-Index", policy)
            .header("Content-Length", "0");
        let mut response = AGENT.run(request.body(()).expect("a valid request")).expect("the object server answers");
        assert_eq!(response.status(), 200, "REPLICATE of {partition} on {disk:?}");
        response.body_mut().read_to_vec().expect("the object server sends all of it")
    }

    /// Fails unless every primary serves the object with this body, and Swift's own tool finds the file sound.
    pub fn assert_everywhere(&self, object: &Object, body: &[u8]) {
        for disk in self.primaries(object.policy, object.partition) {
            let answer = self.get(&disk, object);
            assert_eq!(answer.status, 200, "{object:?} is not on {disk:?}: {answer:?}");
            assert_eq!(answer.body, body, "{object:?} on {disk:?}");
            let complaints = self.complaints(&disk, object);
            assert!(complaints.is_none(), "{object:?} on {disk:?}: {complaints:?}");
        }
    }

    /// What `swift-object-info` finds wrong with an object's data on a device, if anything.
    pub fn complaints(&self, disk: &Disk, object: &Object) -> Option<String> {
        let Some(data) = object.files(disk).into_iter().rfind(|name| name.ends_with(".data")) else {
            return Some("there is no .data file".to_owned());
        };
        let text = lab::object_info(&object.folder(disk).join(data), &self.etc());
        let sound = ["ETag: ", "Content-Length: "]
            .iter()
            .all(|key| text.lines().any(|line| line.starts_with(key) && line.ends_with("(valid)")));
        let placed =
            text.contains(&format!("Object hash: {}", object.hash)) || text.contains(&format!("/{}", object.name));
        (!sound || !placed).then_some(text)
    }

    /// Fails unless the device has nothing of the partition.
    pub fn assert_gone(&self, disk: &Disk, policy: u32, partition: u32) {
        let path = disk.partition(policy, partition);
        assert!(!path.exists(), "{} is still there", path.display());
    }
}
