//! Metrics with labels: the same options give byte for byte what the client of the reference's object server sends.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};
use swift_object_replicator::config::settings;
use swift_object_replicator::log::statsd::{Labels, Statsd};

use super::report::one_of;
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

/// Options as they may stand in a configuration.
fn options(port: u16, rng: &mut fastrand::Rng) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([
        ("log_statsd_host", "127.0.0.1".to_owned()),
        ("log_statsd_port", port.to_string()),
        ("statsd_emit_legacy", "no".to_owned()),
        ("statsd_label_mode", one_of(["disabled", "librato", "Influxdb", "graphite", "dogstatsd"], rng).to_owned()),
        ("log_statsd_default_sample_rate", one_of(["1", "1", "0.5", "1e-05"], rng).to_owned()),
        // It is not for metrics with labels.
        ("log_statsd_metric_prefix", one_of(["", "pre"], rng).to_owned()),
    ]);
    for label in ["statsd_user_label_a", "statsd_user_label_Site_1", "statsd_user_label_zz"] {
        if rng.bool() {
            options.insert(label, one_of(["", "x", "10.0.0.1", "A_b"], rng).to_owned());
        }
    }
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn metrics_with_labels_are_those_of_the_references_client() {
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("report.py");
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let received = || {
        let mut buffer = [0; 1000];
        let next =
            || receiver.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        std::iter::from_fn(next).collect::<Vec<_>>()
    };
    let mut compared = 0;
    for _ in 0..200 {
        let options = options(port, &mut rng);
        let path = folder.path().join("o.conf");
        let lines: String = options.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        fs::write(&path, format!("[object-replicator]\n{lines}")).unwrap();
        let loaded = settings::load(&path).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let statsd = Statsd::new(&loaded.settings.statsd, "object-replicator");

        let labels = Labels { device: one_of(["sda", "d1", "disk_0.a"], &mut rng), policy: rng.u32(..3) };
        let took = Duration::from_nanos(rng.u64(..) >> rng.u32(8..64));
        let name = "swift_object_replicator_x";
        let own = json!({"device": labels.device, "policy": labels.policy});
        let call = match rng.u8(..3) {
            0 => json!(["increment", name, own]),
            1 => json!(["update_stats", name, 7, own]),
            _ => json!(["timing", name, took.as_secs_f64() * 1000.0, own]),
        };
        oracle.ask(&json!(["labelled", {"conf": options, "calls": [call]}]));
        let expected = received();
        match call[0].as_str().unwrap() {
            "increment" => statsd.increment("x", "x", labels),
            "update_stats" => statsd.update("x", "x", labels, 7),
            _ => statsd.timing("x", "x", labels, took),
        }
        let sent = received();
        // The reference was made to send whatever the sample rate is.
        if !sent.is_empty() || options["log_statsd_default_sample_rate"] == "1" {
            assert_eq!(sent, expected, "{options:?} {call}");
            compared += sent.len();
        }
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn what_the_reference_calls_wrong_is_warned_of_and_ignored() {
    let mut oracle = Oracle::start("report.py");
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in
        [("statsd_label_mode", "signalfx"), ("statsd_user_label_a-b", "x"), ("statsd_user_label_a", "x y")]
    {
        let conf = json!({"statsd_label_mode": "librato", name: value});
        let refused: Value = oracle.ask(&json!(["refuses_labels", {"conf": conf}]));
        assert_eq!(refused, json!(true), "{name}");
        let path = folder.path().join("o.conf");
        fs::write(&path, format!("[object-replicator]\n{name} = {value}\n")).unwrap();
        assert_eq!(settings::load(&path).unwrap().warnings.len(), 1, "{name}");
    }
}
