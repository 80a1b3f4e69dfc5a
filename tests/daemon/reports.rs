//! What others hear of a whole pass: syslog and statsd, held against the reference's; and syslog gone and back (B12).

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

use super::{put_everywhere_on, put_in};
use crate::support::cluster::{Cluster, Spec};
use crate::support::guard::{PATIENCE, Scratch, until};
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;
use crate::support::tree::{copy, restore};

/// A text with `#` for each number: no two runs have the same times and process ids.
fn without_numbers(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if result.ends_with('#') => {}
            '0'..='9' => result.push('#'),
            c => result.push(c),
        }
    }
    result.replace("#.#", "#")
}

/// A statsd that only listens.
struct Metrics {
    socket: UdpSocket,
}

impl Metrics {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { socket }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("it is bound").port()
    }

    /// What came, sorted; of times only that they came.
    fn take(&self) -> Vec<String> {
        let mut buffer = [0; 2000];
        let datagrams = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).expect("metrics are text"))
        });
        let mut metrics: Vec<_> = datagrams
            .map(|metric| match metric.split_once(':') {
                Some((name, value)) if value.contains("|ms") => format!("{name}:{}", without_numbers(value)),
                _ => metric,
            })
            .collect();
        metrics.sort();
        metrics
    }
}

/// What the replicator sends in a pass: lines with their priorities, and metrics.
fn streams(cluster: &Cluster, which: Which, rsync: &FakeRsync) -> (Vec<String>, Vec<String>) {
    let metrics = Metrics::start();
    let pass =
        cluster.pass(which, 0).plainly().rsync(rsync).set("log_name", "object-6200").set("log_facility", "LOG_LOCAL3");
    let pass = pass.set("log_statsd_host", "127.0.0.1").set("log_statsd_port", metrics.port());
    let pass = pass.set("log_statsd_metric_prefix", "site.node").set("log_max_line_length", 300);
    let outcome = pass.run();
    outcome.ended(0);
    let common = outcome.syslog.iter().filter(|line| !line.is_ours_only());
    let mut lines: Vec<_> = common.map(|line| format!("<{}>{}", line.priority, without_numbers(&line.text))).collect();
    lines.sort();
    (lines, metrics.take())
}

#[test]
fn syslog_and_statsd_hear_of_a_pass_what_they_hear_from_the_reference() {
    let cluster = Spec::nodes(4).lease();
    let here = cluster.disks()[0].clone();
    put_everywhere_on(&cluster, &here);
    let (part, disk) = cluster.misplaced_at(0, 0);
    put_in(&cluster, &disk, part);
    std::fs::write(here.path.join("objects/4294967295"), b"a file").expect("the device is writable");
    std::fs::create_dir(here.path.join("objects/no-partition")).expect("the device is writable");

    let bad = cluster.primaries(0, part)[2].address;
    let bad = format!("case \"$*\" in *{bad}::*) echo 'rsync: connection unexpectedly closed' >&2; exit 12;; esac");
    let rsync = FakeRsync::doing(&format!("{bad}\nexec \"$rsync\" \"$@\""));

    let copies = Scratch::new("streams");
    for (n, node) in cluster.nodes.iter().enumerate() {
        copy(&node.devices(), &copies.path().join(n.to_string()));
    }
    let (lines, metrics) = streams(&cluster, Which::Reference, &rsync);
    for (n, node) in cluster.nodes.iter().enumerate() {
        restore(&copies.path().join(n.to_string()), &node.devices());
    }
    let (our_lines, our_metrics) = streams(&cluster, Which::Ours, &rsync);
    assert_eq!(our_metrics, metrics);
    assert!(metrics.len() > 20 && lines.len() > 10, "there was next to nothing to tell: {metrics:?} {lines:?}");
    assert_eq!(our_lines, lines);
}

/// The texts that come to a socket until somebody says that it is enough.
fn listen(path: &Path, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let socket = UnixDatagram::bind(path).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let mut texts = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let heard = until(PATIENCE, || {
        while let Ok(length) = socket.recv(&mut buffer) {
            texts.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        enough(&texts)
    });
    assert!(heard, "{texts:?}");
    std::fs::remove_file(path).expect("our own socket");
    texts
}

#[test]
fn a_syslog_that_was_restarted_hears_of_the_passes_again_and_how_much_it_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let complete = |texts: &[String]| texts.iter().filter(|text| text.contains("replication complete. (")).count() > 2;
    let cluster = Spec::nodes(3).lease();
    let first = thread::spawn({
        let path = path.clone();
        move || listen(&path, complete)
    });
    assert!(until(PATIENCE, || path.exists()));
    let pass = cluster.pass(Which::Ours, 0).forever().set("interval", "0.1").set("log_address", path.display());
    let daemon = pass.start();
    let texts = first.join().expect("lines come");
    assert!(texts[0].starts_with("<133>object-replicator: Starting "), "{texts:?}");

    daemon.wait_for_passes(2);
    let texts = listen(&path, complete);
    let lost = " log lines before this one were lost\0";
    assert!(texts[0].starts_with("<132>object-replicator: ") && texts[0].ends_with(lost), "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.ends_with(lost)).count(), 1, "{texts:?}");
}
