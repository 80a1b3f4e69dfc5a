//! Peers that cost next to nothing: nginx answers REPLICATE from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use swift_object_replicator::format::hashes::{Digest, SuffixHashes, digest_to_hex};

use crate::support::cluster::Cluster;
use crate::support::guard::{Guarded, Mounts, wait_for_port};
use crate::support::node::Node;
use crate::support::oracle::venv;

/// How long nginx may keep a line of its log.
const FLUSH: Duration = Duration::from_millis(100);

/// How many answers nginx keeps open, and how many connections it takes, if it is allowed so many files.
const ANSWERS: u64 = 20_000;
const CONNECTIONS: u64 = 1_024;

/// Where the reference's part is.
fn script() -> PathBuf {
    crate::support::oracle::project().join("benches/replication/reference.py")
}

/// Runs the reference's part of the benchmark; what it said.
pub fn reference(words: &[&std::ffi::OsStr]) -> String {
    let output =
        std::process::Command::new(venv("python3")).arg(script()).args(words).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Hashes every partition of a datadir.
pub fn hash_all(datadir: &Path) {
    let answers = tempfile::tempdir().expect("a folder");
    reference(&["answers".as_ref(), datadir.as_os_str(), answers.path().as_os_str()]);
}

/// Every node but the first, as an nginx that has answers in files.
pub struct StaticPeers {
    /// The log of all requests.
    requests: PathBuf,
    _server: Guarded,
}

/// A request as the log has it.
pub struct Request {
    /// When it was answered, in seconds.
    pub time: f64,
    /// The name of the device that it was about.
    pub device: String,
}

impl StaticPeers {
    /// Peers that have the same hashes as the datadir, whose `hashes.pkl` are written on the way.
    pub fn in_sync_with(cluster: &Cluster, datadir: &Path) -> Self {
        let folder = folder(cluster);
        reference(&["answers".as_ref(), datadir.as_os_str(), folder.join("answers").as_os_str()]);
        Self::start(cluster, folder, "/answers/$partition")
    }

    /// Peers that have the same hashes for every partition.
    pub fn with(cluster: &Cluster, hashes: &SuffixHashes) -> Self {
        let folder = folder(cluster);
        let text = |hash: &Digest| String::from_utf8_lossy(&digest_to_hex(hash)).into_owned();
        let hashes = hashes.iter().filter_map(|(suffix, hash)| Some((suffix.to_string(), text(hash.as_ref()?).into())));
        let hashes = Value::Object(hashes.collect()).to_string();
        reference(&["answer".as_ref(), hashes.as_ref(), folder.join("answers/any").as_os_str()]);
        Self::start(cluster, folder, "/answers/any")
    }

    fn start(cluster: &Cluster, folder: PathBuf, answer: &str) -> Self {
        let peers = &cluster.nodes[1..];
        fs::write(folder.join("nginx.conf"), conf(peers, answer)).expect("the cluster's folder is writable");
        let words = ["nginx", "-p", folder.to_str().expect("paths are text"), "-c", "nginx.conf"];
        let log = folder.join("output");
        let server = Guarded::start(&words, &cluster.etc(), &log, Mounts::Fixed);
        peers.iter().for_each(|peer| wait_for_port(peer.object_address(), &log));
        Self { requests: folder.join("requests"), _server: server }
    }
}

impl StaticPeers {
    /// Begins the log anew.
    pub fn forget_requests(&self) {
        fs::write(&self.requests, "").expect("the cluster's folder is writable");
    }

    /// The requests that were answered since.
    pub fn requests(&self) -> Vec<Request> {
        std::thread::sleep(3 * FLUSH);
        let log = fs::read_to_string(&self.requests).expect("the cluster's folder is readable");
        let request = |line: &str| {
            let (time, uri) = line.split_once(' ').expect("the log has two columns");
            let device = uri.split('/').nth(1).expect("a device").to_owned();
            Request { time: time.parse().expect("seconds"), device }
        };
        log.lines().map(request).collect()
    }
}

/// A new folder for nginx.
fn folder(cluster: &Cluster) -> PathBuf {
    let folder = cluster.etc().join("nginx");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("answers")).expect("the cluster's folder is writable");
    folder
}

/// How many files a process of nginx may have open. The hard limit of this process is raised where that is too low and
/// the kernel lets us; its own soft limit, which the replicators inherit, stays.
fn most_files() -> u64 {
    let wanted = ANSWERS + 2 * CONNECTIONS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match maximum {
        Some(maximum) if maximum < wanted => {
            let raised = setrlimit(Resource::Nofile, Rlimit { current, maximum: Some(wanted) });
            raised.map_or(maximum, |()| wanted)
        }
        _ => wanted,
    }
}

/// To nginx, REPLICATE is no method; but what it sends instead of an error page is asked for with GET. Its workers stay
/// root: as another user they could not read below a home that is its owner's alone.
fn conf(peers: &[Node], answer: &str) -> String {
    let listen: String = peers.iter().map(|peer| format!("listen {};\n", peer.object_address())).collect();
    let files = most_files();
    let connections = CONNECTIONS.min(files / 4);
    format!(
        "daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile {files};
pid pid;
error_log errors error;
events {{ worker_connections {connections}; }}
http {{
log_format request '$msec $request_uri';
access_log requests request buffer=64k flush={flush}ms;
default_type application/octet-stream;
keepalive_requests 1000000;
open_file_cache max={answers} inactive=1h;
open_file_cache_valid 1h;
client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
server {{
{listen}
location ~ ^/[^/]+/(?<partition>[0-9]+)$ {{ error_page 418 =200 {answer}; return 418; }}
location ^~ /answers/ {{ internal; root .; }}
}}
}}
",
        answers = ANSWERS.min(files / 2),
        flush = FLUSH.as_millis()
    )
}
