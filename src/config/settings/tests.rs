use super::groups::VM_TEST_MODE;
use super::*;

fn load_text(text: &str) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("o.conf");
    std::fs::write(&file, text).unwrap();
    load(&file).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn with(options: &str) -> Result<Loaded, String> {
    load_text(&format!("[object-replicator]\n{options}\n"))
}

fn settings(options: &str) -> Settings {
    with(options).unwrap().settings
}

#[test]
fn handoffs_only_is_yes_no_or_auto() {
    for (text, expected) in [
        ("", HandoffsOnly::No),
        ("handoffs_only =", HandoffsOnly::No),
        ("handoffs_only = no", HandoffsOnly::No),
        ("handoffs_only = True", HandoffsOnly::Yes),
        ("handoffs_only = Auto", HandoffsOnly::Auto),
    ] {
        assert_eq!(settings(text).handoffs.only, expected, "{text}");
    }
    assert!(with("handoffs_only = maybe").is_err());
}

#[test]
fn options_of_default_count_unless_the_section_sets_them() {
    let text = "[DEFAULT]\nconcurrency = 3\nuser = a\n[object-replicator]\nuser = b\n";
    let settings = load_text(text).unwrap().settings;
    assert_eq!((settings.concurrency, settings.user.as_str()), (3, "b"));
}

#[test]
fn the_ring_ip_falls_back_to_the_bind_ip() {
    assert_eq!(settings("").ring_ip, "0.0.0.0");
    assert_eq!(settings("bind_ip = 10.0.0.1").ring_ip, "10.0.0.1");
    assert_eq!(settings("bind_ip = 10.0.0.1\nring_ip = 10.0.0.2").ring_ip, "10.0.0.2");
}

#[test]
fn the_port_is_not_even_read_with_servers_per_port() {
    assert_eq!(settings("").bind_port, Some(6200));
    assert_eq!(settings("servers_per_port =\nbind_port = 1").bind_port, Some(1));
    assert_eq!(settings("servers_per_port = 2\nbind_port = x").bind_port, None);
}

#[test]
fn an_empty_interval_gives_way_to_run_pause_and_the_old_name_is_warned_of() {
    let loaded = with("interval =\nrun_pause = 7").unwrap();
    assert_eq!(loaded.settings.interval, Duration::from_secs(7));
    assert_eq!(loaded.warnings, [RUN_PAUSE_IGNORED]);
    assert_eq!(with("run_pause =").unwrap().warnings, [RUN_PAUSE_DEPRECATED]);
    assert_eq!(settings("run_pause =").interval, Duration::from_secs(30));
    assert_eq!(settings("interval = 2\nrun_pause = x").interval, Duration::from_secs(2));
}

#[test]
fn vm_test_mode_names_the_module_after_the_port_unless_one_is_set() {
    let usual = "{replication_ip}::object";
    assert_eq!((settings("").rsync.module.as_str(), settings("").rsync.fallback_module), (usual, None));
    let loaded = with("vm_test_mode = yes\nrsync_module = /").unwrap();
    assert_eq!(loaded.settings.rsync.module, "{replication_ip}::object{replication_port}");
    assert_eq!(loaded.settings.rsync.fallback_module.as_deref(), Some(usual));
    assert_eq!(loaded.warnings, [VM_TEST_MODE]);
    let loaded = with("vm_test_mode = yes\nrsync_module = {ip}::o//").unwrap();
    assert_eq!((loaded.settings.rsync.module.as_str(), loaded.warnings.len()), ("{ip}::o", 0));
    assert_eq!(loaded.settings.rsync.fallback_module, None);
}

#[test]
fn there_are_two_ways_to_push() {
    assert_eq!(with("sync_method = scp").unwrap_err(), "o.conf line 2: sync_method = \"scp\": must be rsync or ssync");
    assert_eq!(settings("sync_method = ssync").sync_method, SyncMethod::Ssync);
    assert_eq!(settings("sync_method =").sync_method, SyncMethod::Rsync);
}

#[test]
fn a_negative_handoff_delete_is_refused() {
    assert_eq!(
        with("handoff_delete = -1").unwrap_err(),
        "o.conf line 2: handoff_delete = \"-1\": must be \"auto\" or an integer of at least 0"
    );
    assert_eq!(settings("handoff_delete = Auto").handoffs.delete, 0);
    assert_eq!(settings("handoff_delete = 2").handoffs.delete, 2);
}

#[test]
fn what_can_only_do_harm_is_refused() {
    for harmful in
        ["concurrency = 0", "rsync_batch = 0", "lockup_timeout = 0", "interval = nan", "log_statsd_port = 65536"]
    {
        assert!(with(harmful).is_err(), "{harmful}");
    }
}

#[test]
fn options_without_effect_are_still_checked() {
    for bad in ["keep_cache_size = x", "mb_per_sync = 1.5", "commit_window = -1"] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert_eq!(with("splice = yes").unwrap().warnings.len(), 1);
}

#[test]
fn what_is_kept_free_at_peers_is_what_the_object_server_keeps_free_unless_told_otherwise() {
    for text in ["", "fallocate_reserve = 10000", "target_reserve ="] {
        assert_eq!(settings(text).target_reserve, Reserve::Bytes(0), "{text}");
    }
    assert_eq!(settings("fallocate_reserve = 5%\ntarget_reserve = 0").target_reserve, Reserve::Bytes(0));
    assert_eq!(settings("target_reserve = 2.5%").target_reserve, Reserve::Percent(2.5));
    for bad in ["fallocate_reserve = abc", "fallocate_reserve = abc\ntarget_reserve = 1%", "target_reserve = 2.5"] {
        assert!(with(bad).unwrap_err().ends_with("must be a number of bytes, or a percentage like 1%"), "{bad}");
    }
}

#[test]
fn priorities_that_cannot_be_used_are_warned_of_and_ignored() {
    let loaded = with("nice_priority = x\nionice_class = best\nionice_priority = y").unwrap();
    assert_eq!((loaded.settings.nice_priority, loaded.settings.ionice), (None, None));
    assert_eq!(loaded.warnings.len(), 3);
    assert_eq!(settings("ionice_class = IOPRIO_CLASS_BE\nionice_priority = y").ionice, None);
    assert_eq!(settings("ionice_class = IOPRIO_CLASS_BE").ionice, Some((IoClass::BestEffort, 0)));
    let settings = settings("nice_priority = 5\nionice_class = IOPRIO_CLASS_IDLE\nionice_priority = 7");
    assert_eq!((settings.nice_priority, settings.ionice), (Some(5), Some((IoClass::Idle, 7))));
}

/// The options in the manual page's lists, each with its default as it stands there.
fn manual() -> Vec<(String, Option<String>)> {
    let page = include_str!("../../../man/swift-object-replicator.conf.5").replace("\\-", "-");
    let entry = |line: &str| {
        let (name, rest) = line.strip_prefix("\\fB")?.split_once("\\fR")?;
        Some((name.to_owned(), rest.strip_prefix(" = ").map(str::to_owned)))
    };
    page.lines().filter_map(entry).collect()
}

#[test]
fn the_manual_page_has_every_option_once_and_no_other() {
    let mut options = Options::new(Vec::new());
    Settings::read(&mut options).unwrap();
    let mut described: Vec<_> = manual().into_iter().map(|(name, _)| name).collect();
    let page = include_str!("../../../man/swift-object-replicator.conf.5");
    let (_, after) = page.split_once(".SH WITHOUT EFFECT\n").unwrap();
    let (without_effect, _) = after.split_once("\n.SH ").unwrap();
    let listed = without_effect.lines().filter_map(|line| line.strip_prefix(".BR ")?.split(' ').next());
    described.extend(listed.map(str::to_owned));
    described.sort();
    assert_eq!(described, options.asked().collect::<Vec<_>>());
}

#[test]
fn the_defaults_in_the_manual_page_are_the_defaults() {
    let defaults = manual().into_iter().filter_map(|(name, default)| Some(format!("{name} = {}", default?)));
    let written_out = defaults.collect::<Vec<_>>().join("\n");
    assert_eq!(format!("{:#?}", settings(&written_out)), format!("{:#?}", settings("")));
}

#[test]
fn labels_of_statsd_are_read_and_what_is_wrong_with_them_is_only_warned_of() {
    let labels = |lines: &str| with(lines).map(|loaded| (loaded.settings.statsd.labels, loaded.warnings)).unwrap();
    assert!(labels("").0.is_none() && labels("statsd_label_mode = disabled").0.is_none());
    let (read, warnings) = labels(
        "statsd_label_mode = DogStatsD\nstatsd_user_label_site = b.1\nstatsd_user_label_a-b = x\nstatsd_user_label_c = x y",
    );
    let read = read.unwrap();
    assert_eq!((read.mode, read.users), (LabelMode::Dogstatsd, vec![("user_site".to_owned(), "b.1".to_owned())]));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("statsd_user_label_a-b = \"x\" is ignored: "), "{warnings:?}");
    let (read, warnings) = labels("statsd_label_mode = signalfx");
    assert!(read.is_none() && warnings[0].ends_with("\"graphite\" or \"dogstatsd\"; ignored"), "{warnings:?}");
}

#[test]
fn peers_have_metrics_by_device_by_node_or_none() {
    let peers = |text: &str| settings(&format!("metrics_peers = {text}")).metrics_peers;
    assert_eq!(settings("").metrics_peers, MetricsPeers::Device);
    assert_eq!(["", "device", "Node", "none"].map(peers), {
        use MetricsPeers::{Device, Node, None};
        [Device, Device, Node, None]
    });
    let error = with("metrics_peers = disk").unwrap_err();
    assert!(error.contains("must be \"node\", \"device\" or \"none\""), "{error}");
}

#[test]
fn metrics_are_served_on_an_address_with_a_port() {
    assert_eq!(settings("").metrics_listen, None);
    assert_eq!(settings("metrics_listen =").metrics_listen, None);
    for address in ["127.0.0.1:9199", "[::1]:9199", "0.0.0.0:1"] {
        assert_eq!(settings(&format!("metrics_listen = {address}")).metrics_listen, Some(address.parse().unwrap()));
    }
    for wrong in ["9199", ":9199", "localhost:9199", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9199x"] {
        let error = with(&format!("metrics_listen = {wrong}")).unwrap_err();
        assert!(error.contains("must be an address and a port, such as 127.0.0.1:9199"), "{error}");
    }
}

#[test]
fn metrics_need_an_absolute_path() {
    assert_eq!(settings("metrics_textfile = /a/b.prom").metrics_textfile, Some("/a/b.prom".into()));
    assert_eq!(settings("metrics_textfile =").metrics_textfile, None);
    let error = with("metrics_textfile = b.prom").unwrap_err();
    assert!(error.contains("metrics_textfile") && error.contains("an absolute path"), "{error}");
}

#[test]
fn an_empty_host_is_none() {
    let settings = settings("log_udp_host =\nlog_udp_port = x\nlog_statsd_host =");
    assert_eq!((settings.log.udp_host, settings.statsd.host), (None, None));
    assert!(with("log_udp_host = h\nlog_udp_port = x").is_err());
}

#[test]
fn a_folder_is_read_in_order_and_what_cannot_be_opened_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("2.conf", "[object-replicator]\nconcurrency = 2\n");
    write("1.conf", "[object-replicator]\nconcurrency = 1\nuser = u\n");
    write(".0.conf", "junk");
    write("9.txt", "junk");
    std::fs::create_dir(folder.path().join("3.conf")).unwrap();
    let loaded = load(folder.path()).unwrap();
    assert_eq!((loaded.settings.concurrency, loaded.settings.user.as_str()), (2, "u"));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("3.conf is left out: "), "{}", loaded.warnings[0]);
}

#[test]
fn a_configuration_without_the_section_or_without_files_says_so() {
    assert_eq!(load_text("[DEFAULT]\n").unwrap_err(), "Unable to find object-replicator config section in o.conf");
    let empty = tempfile::tempdir().unwrap();
    let error = load(empty.path()).unwrap_err().to_string();
    assert!(error.starts_with("Unable to read config from /"), "{error}");
    let error = load(&empty.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("Unable to read config from /") && error.contains("No such file"), "{error}");
}
