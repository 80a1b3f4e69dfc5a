use super::super::holding::Holding;
use super::super::pass_report::example::report;
use super::super::rings::RingStatus;
use super::super::status::{Progress, RunningPass, Worker};
use super::families::{FAMILIES, Source};
use super::*;

fn metrics(peers: MetricsPeers) -> Metrics {
    Metrics::new(Samples::default(), peers)
}

/// One process, and nothing but its last pass.
fn after(reports: &[PassReport]) -> Metrics {
    let mut metrics = metrics(MetricsPeers::Device);
    reports.iter().for_each(|report| metrics.end_pass("", report));
    metrics
}

fn text(metrics: &Metrics) -> String {
    metrics.text(&Now::default())
}

/// The value of a sample, given without the prefix.
fn value(metrics: &Metrics, sample: &str) -> Option<f64> {
    metrics.kept.0.get(&format!("{PREFIX}_{sample}")).copied()
}

fn names(devices: &[&str]) -> Vec<String> {
    devices.iter().map(|&name| name.to_owned()).collect()
}

/// A node in the middle of a pass.
fn now() -> Now {
    let device = |device: &str, found, attempted, is_listed| Progress {
        device: device.to_owned(),
        found,
        attempted,
        is_listed,
        ..Progress::default()
    };
    let devices = vec![device("sda", 1000, 400, true), device("sdb", 0, 0, false)];
    let worker = |device: &str| Worker { device: device.to_owned(), ..Worker::default() };
    Now {
        time: 1_800_001_060.0,
        rings: vec![
            RingStatus { md5: Some("a".into()), modified: Some(1_799_000_000.5), ..RingStatus::default() },
            RingStatus { policy: 1, trouble: Some("junk".into()), ..RingStatus::default() },
        ],
        local: names(&["sda", "sdb", "sdc"]),
        passes: vec![RunningPass { began: 1_800_001_000.0, devices, ..RunningPass::default() }],
        hanging: vec![worker("sdc"), worker("sdc")],
    }
}

#[test]
fn every_family_is_described_once_before_its_samples() {
    let mut report = report();
    report.devices.get_mut("sdc").unwrap().holdings = vec![holding(&[Cause::Full])];
    let text = after(&[report]).text(&now());
    for (family, source, _) in FAMILIES {
        let name = format!("{PREFIX}_{family}");
        assert_eq!(text.matches(&format!("# TYPE {name} {}\n", source.kind())).count(), 1, "{name}\n{text}");
        let first = text.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no sample of {name}\n{text}"));
        assert!(text.find(&format!("# HELP {name} ")).unwrap() < first, "{name}");
    }
    for line in [
        "device_failures_total{device=\"sdc\",cause=\"full\",scope=\"peer\"} 5",
        "peer_sent_bytes_total{peer=\"10.0.0.2:6200/sda\"} 1073741824",
        "device_last_completed_pass_timestamp_seconds{device=\"sda\"} 1800000754",
        "device_last_completed_pass_timestamp_seconds{device=\"sdc\"} 0",
        "oldest_completed_pass_timestamp_seconds 0",
    ] {
        assert!(text.contains(&format!("\nswift_object_replicator_{line}\n")), "{line}\n{text}");
    }
}

#[test]
fn the_text_says_what_is_so_now() {
    let mut metrics = after(&[report()]);
    metrics.keep_devices(&now().local);
    let text = metrics.text(&now());
    for line in [
        &format!("build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        "written_timestamp_seconds 1800001060",
        "device_running_pass_seconds{device=\"sda\"} 60",
        "device_running_pass_seconds{device=\"sdc\"} 0",
        "device_hanging_jobs{device=\"sda\"} 0",
        "device_hanging_jobs{device=\"sdc\"} 2",
        "device_found_partitions{device=\"sda\"} 1000",
        "device_left_partitions{device=\"sda\"} 600",
        // It is not listed yet, so this is what its last pass came to; and no pass is under way over the third.
        "device_found_partitions{device=\"sdb\"} 1180",
        "device_left_partitions{device=\"sdb\"} 0",
        "device_left_partitions{device=\"sdc\"} 920",
        "ring_modified_timestamp_seconds{policy=\"0\"} 1799000000.5",
        "ring_readable{policy=\"0\"} 1",
        "ring_readable{policy=\"1\"} 0",
    ] {
        assert!(text.contains(&format!("swift_object_replicator_{line}\n")), "{line}\n{text}");
    }
    assert!(!text.contains("ring_modified_timestamp_seconds{policy=\"1\"}"), "{text}");
}

#[test]
fn what_has_not_counted_yet_is_zero() {
    let mut metrics = metrics(MetricsPeers::Device);
    metrics.keep_devices(&names(&["sda"]));
    for family in COUNTERS {
        assert_eq!(value(&metrics, &format!("device_{family}{{device=\"sda\"}}")), Some(0.0), "{family}");
    }
    assert_eq!(value(&metrics, "device_removed_handoffs_total{device=\"sda\"}"), Some(0.0));
    for cause in Cause::ALL {
        let scope = if cause.is_local() { "local" } else { "peer" };
        let sample = format!("device_failures_total{{device=\"sda\",cause=\"{}\",scope=\"{scope}\"}}", cause.name());
        assert_eq!(value(&metrics, &sample), Some(0.0), "{sample}");
    }
    let results = RESULTS.map(|result| value(&metrics, &format!("passes_total{{result=\"{result}\"}}")));
    assert_eq!(results, [Some(0.0); 3]);
    metrics.end_pass("", &report());
    metrics.keep_devices(&names(&["sda"]));
    assert_eq!(value(&metrics, "device_attempted_partitions_total{device=\"sda\"}"), Some(1200.0));
}

#[test]
fn counters_grow_over_passes_and_over_processes() {
    let first = after(&[report()]);
    let kept = Samples::parse(&text(&first));
    assert_eq!(kept, first.kept);
    let mut next = Metrics::new(kept, MetricsPeers::Device);
    next.end_pass("", &report());
    let text = text(&next);
    assert!(text.contains("_device_attempted_partitions_total{device=\"sda\"} 2400\n"), "{text}");
    assert!(text.contains("_passes_total{result=\"incomplete\"} 2\n"), "{text}");
}

#[test]
fn a_pass_counts_while_it_runs_and_its_end_adds_only_the_rest() {
    let mut half = Counted::from(&report());
    half.devices.values_mut().chain(half.peers.values_mut()).for_each(|counts| {
        counts.attempted /= 2;
        counts.bytes /= 2;
        counts.failed.clear();
    });
    let mut metrics = metrics(MetricsPeers::Device);
    metrics.take_in("", &half);
    metrics.take_in("", &half);
    assert_eq!(value(&metrics, "device_attempted_partitions_total{device=\"sda\"}"), Some(600.0));
    assert_eq!(value(&metrics, "peer_sent_bytes_total{peer=\"10.0.0.2:6200/sda\"}"), Some(536_870_912.0));
    metrics.end_pass("", &report());
    assert_eq!(metrics.kept, after(&[report()]).kept);
    metrics.end_pass("", &report());
    assert_eq!(metrics.kept, after(&[report(), report()]).kept);
}

#[test]
fn a_pass_that_broke_off_or_was_cut_short_stays_counted() {
    let mut metrics = metrics(MetricsPeers::Device);
    metrics.take_in("1", &(&report()).into());
    metrics.broke_off("1");
    metrics.cut_short("1", &report());
    assert_eq!(value(&metrics, "device_attempted_partitions_total{device=\"sda\"}"), Some(2400.0));
    assert_eq!(value(&metrics, "passes_total{result=\"incomplete\"}"), Some(1.0));
    assert_eq!(value(&metrics, "device_last_pass_coverage_ratio{device=\"sda\"}"), None);
}

#[test]
fn two_processes_with_one_file_add_up_and_none_sees_a_counter_go_back() {
    let sample = "device_attempted_partitions_total{device=\"sda\"}";
    let attempted = |metrics: &Metrics| value(metrics, sample).unwrap_or_default();
    let write = |metrics: &mut Metrics, file: &mut String| {
        let before = attempted(metrics);
        metrics.settle(Samples::parse(file));
        assert!(attempted(metrics) >= before);
        assert!(
            attempted(metrics)
                >= value(&Metrics::new(Samples::parse(file), MetricsPeers::Device), sample).unwrap_or_default()
        );
        *file = text(metrics);
    };
    let mut file = String::new();
    let mut daemon = metrics(MetricsPeers::Device);
    daemon.end_pass("", &report());
    write(&mut daemon, &mut file);
    let mut single = Metrics::new(Samples::parse(&file), MetricsPeers::Device);
    let mut later = report();
    later.began += 5000.0;
    later.devices.get_mut("sda").unwrap().found = 2400;
    single.end_pass("", &later);
    daemon.take_in("", &(&report()).into());
    write(&mut daemon, &mut file);
    write(&mut single, &mut file);
    write(&mut daemon, &mut file);
    assert_eq!(attempted(&daemon), 3600.0);
    // Of a device's last passes the later one stands, whoever made it.
    assert_eq!(value(&daemon, "device_last_pass_coverage_ratio{device=\"sda\"}"), Some(0.5));
    assert_eq!(value(&daemon, "device_last_completed_pass_timestamp_seconds{device=\"sda\"}"), Some(1_800_005_754.0));
    // A file that somebody removed, or put back from last week.
    write(&mut daemon, &mut String::new());
    write(&mut daemon, &mut text(&after(&[report()])));
    assert_eq!(attempted(&daemon), 3600.0);
}

#[test]
fn groups_add_their_own_devices_and_the_oldest_of_all_counts() {
    let (mut one, mut other) = (report(), report());
    one.devices.retain(|name, _| name == "sda");
    other.devices.retain(|name, _| name == "sdb");
    other.began += 5000.0;
    let mut metrics = after(&[]);
    metrics.end_pass("2", &other);
    assert!(text(&metrics).contains("oldest_completed_pass_timestamp_seconds 1800005754\n"));
    metrics.take_in("2", &(&other).into());
    metrics.end_pass("1", &one);
    assert!(text(&metrics).contains("oldest_completed_pass_timestamp_seconds 1800000754\n"));
    other.began += 5000.0;
    metrics.end_pass("2", &other);
    let text = text(&metrics);
    assert!(text.contains("_timestamp_seconds{device=\"sdb\"} 1800010754\n"), "{text}");
    assert!(text.contains("oldest_completed_pass_timestamp_seconds 1800000754\n"), "{text}");
    assert!(text.contains("_attempted_partitions_total{device=\"sdb\"} 2360\n"), "{text}");
}

#[test]
fn a_device_that_is_gone_does_not_stay_the_oldest() {
    let mut metrics = after(&[report()]);
    metrics.keep_devices(&names(&["sda", "sdb"]));
    // Nor does it come back from the file.
    metrics.settle(Samples::parse(&text(&after(&[report()]))));
    let text = text(&metrics);
    assert!(text.contains("oldest_completed_pass_timestamp_seconds 1800000754\n"), "{text}");
    assert!(!text.contains("_ratio{device=\"sdc\"}") && text.contains("_total{device=\"sdc\"} 600\n"), "{text}");
}

/// What a device holds of policy 0: as many hand-offs as there are causes for them to stay, and one more.
fn holding(stuck: &[Cause]) -> Holding {
    let mut holding = Holding { listed: 7.0, handoffs: stuck.len() as u64 + 1, ..Holding::default() };
    stuck.iter().for_each(|&cause| holding.stays(Some(cause)));
    holding
}

#[test]
fn hand_offs_are_those_of_the_pass_under_way_or_else_of_the_last_one() {
    let mut report = report();
    report.devices.get_mut("sda").unwrap().holdings = vec![holding(&[Cause::Full, Cause::Push])];
    let mut metrics = after(&[report.clone()]);
    let left = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("_device_handoffs_") && !line.starts_with('#'));
        let lines = lines.filter(|line| line.contains("_left{") || line.contains("_stuck{"));
        lines
            .map(|line| line.split_once("handoffs_").unwrap().1.replace("device=\"sda\",policy=\"0\"", ""))
            .collect::<Vec<_>>()
    };
    let last = ["left{} 3", "stuck{,cause=\"full\"} 1", "stuck{,cause=\"push\"} 1"];
    assert_eq!(left(&text(&metrics)), last);
    let mut now = now();
    assert_eq!(left(&metrics.text(&now)), [""; 0], "the pass under way has listed the device, and found nothing");
    now.passes[0].devices[0].holdings = vec![holding(&[Cause::Push])];
    assert_eq!(left(&metrics.text(&now)), ["left{} 2", "stuck{,cause=\"push\"} 1"]);
    now.passes[0].devices[0].is_listed = false;
    assert_eq!(left(&metrics.text(&now)), last);

    // A cause that is over does not come back from the file.
    let file = Samples::parse(&text(&metrics));
    report.devices.get_mut("sda").unwrap().holdings = vec![holding(&[])];
    metrics.end_pass("", &report);
    metrics.settle(file);
    assert_eq!(left(&text(&metrics)), ["left{} 1"]);
}

#[test]
fn peers_are_told_apart_by_disk_by_node_or_not_at_all() {
    let mut report = report();
    report.peers.insert("[fe80::1]:6200/sda".into(), Counts { attempted: 7, ..Counts::default() });
    let samples = |peers| {
        let mut metrics = metrics(peers);
        metrics.end_pass("", &report);
        let attempted = metrics.kept.of_family("swift_object_replicator_peer_attempted_partitions_total");
        let attempted = attempted.map(|(sample, value)| (first_value(sample).unwrap().to_owned(), value));
        (attempted.collect::<Vec<_>>(), metrics)
    };
    let (disks, _) = samples(MetricsPeers::Device);
    assert_eq!((disks.len(), &disks[0]), (4, &("10.0.0.2:6200/sda".to_owned(), 900.0)));
    let (nodes, metrics) = samples(MetricsPeers::Node);
    let expected = [("10.0.0.2", 1780.0), ("10.0.0.3", 900.0), ("[fe80::1]", 7.0)];
    assert_eq!(nodes, expected.map(|(node, count)| (node.to_owned(), count)));
    let failures = |cause| value(&metrics, &format!("peer_failures_total{{peer=\"10.0.0.3\",cause=\"{cause}\"}}"));
    assert_eq!((failures("unreachable"), failures("full"), failures("bug")), (Some(14.0), Some(0.0), None));
    let (none, metrics) = samples(MetricsPeers::None);
    assert_eq!((none, value(&metrics, "passes_total{result=\"incomplete\"}")), (vec![], Some(1.0)));
}

#[test]
fn other_labels_of_peers_end_the_series_with_the_old_ones() {
    let old = after(&[report()]);
    let families = |metrics: &Metrics| metrics.kept.0.keys().filter(|sample| sample.contains("_peer_")).count();
    assert!(families(&old) > 10);
    for peers in [MetricsPeers::Node, MetricsPeers::None] {
        let mut metrics = Metrics::new(Samples::parse(&text(&old)), peers);
        assert_eq!(families(&metrics), 0);
        metrics.end_pass("", &report());
        let kept = metrics.kept.clone();
        metrics.settle(Samples::parse(&text(&old)));
        assert_eq!(families(&metrics), kept.0.keys().filter(|sample| sample.contains("_peer_")).count());
        metrics.label_peers(MetricsPeers::Device);
        assert_eq!(families(&metrics), 0);
    }
}

#[test]
fn counters_are_named_as_such_and_nothing_else_is() {
    for (family, source, help) in FAMILIES {
        assert_eq!(family.ends_with("_total"), source == Source::Counter, "{family}");
        assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{help}");
    }
}

/// What is installed for Prometheus and Grafana.
const FOR_OTHERS: [(&str, &str); 3] = [
    ("alerts.yml", include_str!("../../../packaging/alerts.yml")),
    ("alerts_test.yml", include_str!("../../../packaging/alerts_test.yml")),
    ("swift-object-replicator.json", include_str!("../../../packaging/grafana/swift-object-replicator.json")),
];

/// A text with something of everything that the program can write.
fn everything() -> String {
    let mut report = report();
    report.devices.get_mut("sdc").unwrap().holdings = vec![holding(&[Cause::Full])];
    let mut metrics = after(&[report]);
    metrics.keep_devices(&now().local);
    metrics.text(&now())
}

/// The names of metrics in a text, each with what stands between the braces behind it.
fn metrics_in(text: &str) -> Vec<(&str, &str)> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let found = text.match_indices(PREFIX).filter_map(|(at, _)| {
        let end = text[at..].find(|c| !is_of_name(c))? + at;
        let labels = text[end..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        (end > at + PREFIX.len()).then_some((&text[at..end], labels))
    });
    found.collect()
}

#[test]
fn alerts_and_dashboard_name_only_what_the_program_writes() {
    let everything = everything();
    for (file, text) in FOR_OTHERS {
        let found = metrics_in(text);
        assert!(found.len() > 10, "{file}: {found:?}");
        for (name, labels) in found {
            let sample = everything.lines().find(|line| line.split(['{', ' ']).next() == Some(name));
            let sample = sample.unwrap_or_else(|| panic!("{file}: nothing writes {name}"));
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.trim().split_once('=').unwrap_or_else(|| panic!("{file}: {name}{{{labels}}}"));
                // These two Prometheus adds.
                assert!(
                    ["instance", "job"].contains(&key) || sample.contains(&format!("{key}=\"")),
                    "{file}: {name}{{{labels}}}"
                );
                let value = format!("{key}={}", value.replace("\\\"", "\""));
                assert!(!["cause", "scope", "result"].contains(&key) || everything.contains(&value), "{file}: {value}");
            }
        }
    }
}

#[test]
fn everything_that_is_written_is_in_the_dashboard_or_an_alert_but_what_is_listed_here() {
    // Shares of what is shown, and what peers count beside their failures.
    let left_out =
        ["device_partitions", "device_primary_partitions", "device_handoffs_found", "device_handoffs_waiting"];
    let shown = |family: &str| FOR_OTHERS.iter().any(|(_, text)| text.contains(&format!("{PREFIX}_{family}")));
    let missing = FAMILIES.iter().map(|(family, ..)| *family).filter(|family| !shown(family));
    let missing: Vec<_> = missing.filter(|family| !left_out.contains(family) && !family.starts_with("peer_")).collect();
    assert_eq!(missing, ["device_last_completed_pass_timestamp_seconds", "device_listed_timestamp_seconds"]);
}
