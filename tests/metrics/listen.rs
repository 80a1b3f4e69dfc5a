//! The daemon serves its metrics (`metrics_listen`), and is not in its own way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::format::assert_well_formed;
use crate::support::cluster::Spec;
use crate::support::guard::{PATIENCE, until};
use crate::support::replicator::Which;

/// A port that nobody listens on, most likely for some time.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_daemon_serves_its_metrics_and_a_port_in_use_costs_only_them() {
    let cluster = Spec::nodes(3).lease();
    let address = free();
    let daemon = cluster.pass(Which::Ours, 0).forever().set("interval", 600).set("metrics_listen", address).start();
    daemon.wait_for(&format!("The metrics are served at http://{address}/metrics"));
    daemon.wait_for("Report: pass complete");
    let has_ended = || get(address).is_ok_and(|answer| answer.contains("_passes_total{result=\"complete\"} 1\n"));
    assert!(until(PATIENCE, has_ended), "{:?}\n{}", get(address), daemon.console());
    let answer = get(address).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_well_formed(body);

    let other = cluster.pass(Which::Ours, 1).forever().set("interval", 600).set("metrics_listen", address).start();
    other.wait_for(&format!("tried again: cannot listen on {address}: Address already in use"));
    other.wait_for("Report: pass complete");
}

#[test]
fn a_single_pass_listens_nowhere_and_a_bad_address_is_refused() {
    let cluster = Spec::nodes(3).lease();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let outcome = cluster.pass(Which::Ours, 0).set("metrics_listen", address).run();
    outcome.ended(0).does_not_say("listen").does_not_say("served");
    let outcome = cluster.pass(Which::Ours, 0).set("metrics_listen", "localhost:9199").run();
    let complaint = "metrics_listen = \"localhost:9199\": must be an address and a port, such as 127.0.0.1:9199";
    assert!(outcome.ended(1).all().contains(complaint), "{}", outcome.all());
}
