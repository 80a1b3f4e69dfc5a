//! Things that are not as the configuration says: one clear line, and what can go on goes on.

use super::{is_everywhere, put_in};
use crate::support::cluster::{Lease, Spec};
use crate::support::object::Object;
use crate::support::replicator::{Outcome, Which};

fn with_an_object() -> (Lease, Object) {
    let cluster = Spec::nodes(3).lease();
    let object = put_in(&cluster, &cluster.home(0, 0, 0), 0);
    (cluster, object)
}

/// The pass was made, and this was said on the console just once.
#[track_caller]
fn assert_said_once(cluster: &Lease, object: &Object, outcome: &Outcome, text: &str) {
    outcome.ended(0);
    assert!(is_everywhere(cluster, object), "{}", outcome.all());
    let said = outcome.console.iter().filter(|line| line.contains(text)).count();
    assert_eq!(said, 1, "{text:?}: {}", outcome.all());
}

#[test]
fn a_log_address_that_does_not_exist() {
    let (cluster, object) = with_an_object();
    let outcome = cluster.pass(Which::Ours, 0).set("log_address", "/no/such/socket").run();
    let text = "log_address = \"/no/such/socket\": there is no such socket; the log goes to UDP port 514 of localhost";
    assert_said_once(&cluster, &object, &outcome, text);
}

#[test]
fn a_statsd_host_that_does_not_resolve() {
    let (cluster, object) = with_an_object();
    let outcome = cluster.pass(Which::Ours, 0).set("log_statsd_host", "no-such-host.invalid").run();
    let text = "Error sending UDP message to ('no-such-host.invalid', 8125): ";
    assert_said_once(&cluster, &object, &outcome, text);
}

#[test]
fn a_recon_path_that_cannot_be_written() {
    let (cluster, object) = with_an_object();
    for workers in [0, 1] {
        let pass = cluster.pass(Which::Ours, 0).set("recon_cache_path", "/proc/no/such/folder");
        let outcome = pass.set("replicator_workers", workers).run();
        outcome.ended(0).says(" recon cache: ");
        assert!(is_everywhere(&cluster, &object), "{}", outcome.all());
        let lines = outcome.count(" recon cache: ");
        assert!(lines <= 1 + workers, "{lines} lines: {}", outcome.all());
    }
}

#[test]
fn times_without_a_sensible_end() {
    let (cluster, object) = with_an_object();
    let pass = cluster.pass(Which::Ours, 0).set("stats_interval", "inf").set("ring_check_interval", 0);
    let pass = pass.set("lockup_timeout", "9999999999999").set("interval", "inf").set("rsync_timeout", "9999999999999");
    pass.run().clean();
    assert!(is_everywhere(&cluster, &object));
}
