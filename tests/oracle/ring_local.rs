//! Which devices are local, by addresses in every form that one can write.
//!
//! Nothing here needs a name server: all names are in the hosts file, and texts that were spoiled can be no names.

use fastrand::Rng;
use serde_json::json;
use swift_object_replicator::ring::Device;
use swift_object_replicator::ring::local::Identity;

use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

/// Asserts that both find the same addresses for `ring_ip`, and the same device local; returns the device's address in
/// the form that the reference compares.
fn compare(oracle: &mut Oracle, ring_ip: &str, port: Option<i64>, device_ip: &str, device_port: u16) -> Option<String> {
    let question = json!({ "ring_ip": ring_ip, "port": port, "device_ip": device_ip, "device_port": device_port });
    let answer = oracle.ask(&question);
    let identity = Identity::new(ring_ip, port).unwrap();
    if answer.is_null() {
        return None;
    }
    assert_eq!(json!(identity.ips()), answer["ips"], "{question}");
    assert_eq!(identity.is_local(&device(device_ip, device_port)), answer["local"], "{question}");
    answer["normal"].as_str().map(str::to_owned)
}

fn device(replication_ip: &str, replication_port: u16) -> Device {
    Device {
        id: 0,
        region: 1,
        zone: 1,
        ip: "192.0.2.1".into(),
        port: 1,
        device: "sda".into(),
        weight: 1.0,
        meta: String::new(),
        replication_ip: replication_ip.into(),
        replication_port,
    }
}

#[test]
fn every_kind_of_ring_ip_finds_the_same_addresses_and_devices() {
    let mut oracle = Oracle::start("ring_local.py");
    let ring_ips =
        ["", "0.0.0.0", "::", "0", "0x0.0", "00.0.0.0", "::0.0.0.0", "0:0::0", "localhost", "some_host", "127.0.0.1"]
            .into_iter()
            .chain([
                "127.1",
                "0x7f000001",
                "::1",
                "0:0:0:0:0:0:0:1",
                "::ffff:127.0.0.1",
                "1.2.3.4.5",
                " 127.0.0.1",
                "::g",
            ]);
    let device_ips =
        ["127.0.0.1", "127.1", "0177.0.0.1", "::1", "0::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "localhost"]
            .into_iter()
            .chain(["LOCALHOST", "", "0.0.0.0", "::", "some_host", "-", "192.0.2.7", "[::1]", "127.0.0.1 "]);
    for ring_ip in ring_ips {
        for device_ip in device_ips.clone() {
            for (port, device_port) in [(None, 7), (Some(6200), 6200), (Some(6200), 6201), (Some(-1), 65_535)] {
                compare(&mut oracle, ring_ip, port, device_ip, device_port);
            }
        }
    }
}

#[test]
fn addresses_of_version_6_are_brought_into_the_same_form() {
    let mut oracle = Oracle::start("ring_local.py");
    for seed in (0..400).map(Seed::fixed) {
        let mut random = seed.rng();
        let text = if random.u8(..4) == 0 { spoiled(&mut random) } else { address(&mut random) };
        if let Some(normal) = compare(&mut oracle, &text, None, &text, 1) {
            let identity = Identity::new(&normal, None).unwrap();
            let expected = normal != "::"; // which stands for all addresses of the machine, and is none of them
            assert_eq!(identity.is_local(&device(&text, 1)), expected, "{seed}: {text} is {normal}");
        }
    }
}

/// An address of version 6 in one of its many forms.
fn address(random: &mut Rng) -> String {
    let groups: Vec<u16> = (0..8).map(|_| *random.choice([0, 0, 0, 1, 0xffff, 0xa0b, 0x12].iter()).unwrap()).collect();
    let mut texts: Vec<String> = groups
        .iter()
        .map(|group| match random.u8(..3) {
            0 => format!("{group:04X}"),
            1 => format!("{group:02x}"),
            _ => format!("{group:x}"),
        })
        .collect();
    if random.u8(..3) == 0 {
        let ([a, b], [c, d]) = (groups[6].to_be_bytes(), groups[7].to_be_bytes());
        texts.splice(6.., [format!("{a}.{b}.{c}.{d}")]);
    }
    let zeros = |texts: &[String]| texts.iter().all(|text| text.bytes().all(|digit| digit == b'0'));
    let (from, to) = (random.usize(..texts.len()), random.usize(..=texts.len()));
    if from < to && zeros(&texts[from..to]) {
        return format!("{}::{}", texts[..from].join(":"), texts[to..].join(":"));
    }
    texts.join(":")
}

/// An address with a character too many, too few or too odd, that can be no host's name: it has colons.
fn spoiled(random: &mut Rng) -> String {
    let mut text = address(random);
    let place = random.usize(..text.len());
    match random.u8(..3) {
        0 => text.insert(place, *random.choice(b"0f:.%g".iter()).unwrap() as char),
        1 => drop(text.remove(place)),
        _ => text.truncate(place),
    }
    if text.contains(':') { text } else { "::spoiled".to_owned() }
}
