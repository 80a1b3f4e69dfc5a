//! Reports, status and metrics of a process that has next to nothing to do, and what bad input gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Ending, Home, PROGRAM, text};
use crate::support::guard::{PATIENCE, until};

fn json(ending: &Ending) -> Value {
    serde_json::from_str(&ending.stdout).unwrap_or_else(|error| panic!("{error}: {ending:?}"))
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_pass() {
    let home = Home::new("");
    let path = home.path("missing/report.json");
    let ending = home.run(&["once", "--report", text(&path)]);
    let expected = format!("option --report: cannot write {}: No such file or directory", path.display());
    assert!(ending.refusal().starts_with(&expected), "{ending:?}");
    assert_eq!(fs::read_dir(home.path("recon")).unwrap().count(), 0, "no pass has begun");
}

#[test]
fn a_report_is_written_by_the_configurations_user() {
    let home = Home::new("");
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    home.write("o.conf", &conf.replace("user = root", "user = nobody"));
    let folder = home.path("private");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.join("report.json");
    let ending = home.run(&["once", "--report", text(&path)]);
    assert!(ending.refusal().contains("report.json: Permission denied"), "{ending:?}");

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(home.run(&["once", "--report", text(&path)]).code, Some(0));
    assert!(fs::read_to_string(&path).unwrap().contains("\"ending\": \"complete\""));
}

#[test]
fn a_relative_path_begins_where_the_command_was_given() {
    let home = Home::new("");
    let ending = home.command(&["once", "--report=report.html"]).current_dir(home.path("recon")).output().unwrap();
    assert!(ending.status.success(), "{ending:?}");
    let page = fs::read_to_string(home.path("recon/report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("100.0%"), "{page}");
}

#[test]
fn what_is_for_a_single_pass_is_refused_without_one() {
    for (words, option) in [(&["--strict"][..], "--strict"), (&["--report", "/tmp/report.json"], "--report")] {
        let ending = Home::new("").run(words);
        assert_eq!(ending.refusal_with(2), format!("option {option} is for a single pass: it needs --once"));
    }
    assert_eq!(Home::new("daemonize = no").run(&["--strict"]).code, Some(0));
}

#[test]
fn strict_tells_what_a_pass_was_restricted_to_and_is_not_there() {
    let home = Home::new("");
    for (words, line) in [
        (["-d", "sda,sbd"], "Nothing matches --devices sbd: this node has sda"),
        (["-p", "0,2"], "Nothing matches --partitions 2: the last partition is 1"),
        (["-i", "0,7"], "Nothing matches --policies 7: the policies that are replicated are 0"),
        (["-i", "-1"], "Nothing matches --policies -1: the policies that are replicated are 0"),
        (["-p", "0,-7"], "Nothing matches --partitions -7: the last partition is 1"),
    ] {
        // Like the reference's, which takes no notice.
        let plain = home.run(&[&["once"], &words[..]].concat());
        assert_eq!((plain.code, plain.stderr.as_str()), (Some(0), format!("{line}\n").as_str()));
        let strict = home.run(&[&["once", "--strict", "-v"], &words[..]].concat());
        assert_eq!(strict.code, Some(4), "{strict:?}");
        assert_eq!(strict.stderr.matches(line).count(), 1, "{strict:?}");
        let dry = home.run(&[&["--dry-run"], &words[..]].concat());
        assert!(dry.code == Some(1) && dry.stderr.contains(line), "{dry:?}");
    }
    // It is in the ring, but has never been here.
    assert_eq!(home.run(&["once", "-p", "1"]).code, Some(0));
    let strict = home.run(&["once", "--strict", "-v", "-p", "1"]);
    assert!(strict.code == Some(4) && strict.stderr.contains("The pass had nothing to do: "), "{strict:?}");
    fs::create_dir_all(home.path("devices/sda/objects/1")).unwrap();
    assert_eq!(home.run(&["once", "--strict", "-p", "1"]).code, Some(0));
}

#[test]
fn strict_tells_a_device_that_is_not_mounted() {
    let home = Home::new("");
    assert_eq!(home.run(&["once", "--strict"]).code, Some(0));
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    home.write("o.conf", &conf.replace("mount_check = false", "mount_check = true"));
    assert_eq!(home.run(&["once"]).code, Some(0));
    assert_eq!(home.run(&["once", "--strict"]).code, Some(3));
}

#[test]
fn the_status_of_a_single_pass_that_has_ended_is_no_reason_to_worry() {
    let home = Home::new("");
    assert_eq!(home.run(&["once"]).code, Some(0));
    let ending = home.run(&["--status"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""), "{ending:?}");
    assert!(ending.stdout.starts_with("Process ") && ending.stdout.contains(" finished its pass "), "{ending:?}");
    assert!(ending.stdout.contains("  Report: pass complete: 0 of 0 partitions"), "{ending:?}");
    assert_eq!(json(&home.run(&["--status", "--json"]))["health"], "ended");
}

#[test]
fn a_pass_over_a_part_leaves_the_status_of_others_alone() {
    let home = Home::new("");
    assert_eq!(home.run(&["once", "-d", "sda"]).code, Some(0));
    assert_eq!(home.run(&["--status"]).code, Some(2));
}

#[test]
fn the_status_of_a_dead_daemon_says_that_it_is_gone() {
    let home = Home::new("");
    assert_eq!(home.run(&["once"]).code, Some(0));
    let path = home.path("recon/object-replicator.once.status");
    let mut status: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    status["has_ended"] = false.into();
    fs::write(&path, status.to_string()).unwrap();
    let ending = home.run(&["--status"]);
    assert_eq!(ending.code, Some(2), "{ending:?}");
    assert!(ending.stdout.contains(" is gone. This is what it last wrote, "), "{ending:?}");
    assert_eq!(json(&home.run(&["--status", "--json"]))["health"], "gone");

    // The same number, another process.
    status["pid"] = std::process::id().into();
    fs::write(&path, status.to_string()).unwrap();
    assert_eq!(home.run(&["--status"]).code, Some(2));
}

/// A daemon that has written its status for the first time.
fn daemon_with_status(home: &Home) -> std::process::Child {
    let daemon = home.command(&[]).spawn().expect("unshare starts");
    assert!(until(PATIENCE, || home.run(&["--status"]).code == Some(0)));
    daemon
}

#[test]
fn a_single_pass_does_not_hide_what_became_of_the_daemon() {
    let home = Home::new("interval = 600");
    let mut daemon = daemon_with_status(&home);
    assert_eq!(home.run(&["once"]).code, Some(0));
    let both = home.run(&["--status"]);
    assert!(both.stdout.contains(" is well, as of ") && both.stdout.contains("\nSingle pass: Process "), "{both:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    for _ in 0..2 {
        let ending = home.run(&["--status"]);
        assert_eq!(ending.code, Some(2), "{ending:?}");
        assert!(ending.stdout.contains(" is gone. This is what it last wrote, "), "{ending:?}");
        assert!(ending.stdout.contains("If no daemon is meant to run here, remove "), "{ending:?}");
        assert!(ending.stdout.contains(" finished its pass "), "{ending:?}");
        let json = json(&home.run(&["--status", "--json"]));
        assert_eq!((&json["health"], &json["single_pass"]["health"]), (&"gone".into(), &"ended".into()));
        // Whatever ends last.
        assert_eq!(home.run(&["once"]).code, Some(0));
    }
}

#[test]
fn a_configuration_that_cannot_be_used_hides_no_daemon() {
    let home = Home::new("interval = 600");
    let mut daemon = daemon_with_status(&home);
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    for bad in ["concurrency = many\n", "no option\n"] {
        home.write("o.conf", &format!("{conf}{bad}"));
        let ending = home.run(&["--status"]);
        assert!(ending.code == Some(0) && ending.stdout.contains(" is well, as of "), "{ending:?}");
        assert!(ending.stdout.starts_with("The configuration cannot be used as it is now: "), "{ending:?}");
        let json = json(&home.run(&["--status", "--json"]));
        assert!(json["health"] == "well" && json["configuration"].is_string(), "{json}");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_status_that_is_missing_or_junk_is_one_line() {
    let home = Home::new("");
    let path = home.path("recon/object-replicator.status");
    for (content, complaint) in [(None, "there is no "), (Some("{\"pid\": []}"), "cannot be understood: ")] {
        content.iter().for_each(|content| fs::write(&path, content).unwrap());
        let ending = home.run(&["--status"]);
        assert_eq!((ending.code, ending.stdout.as_str()), (Some(2), ""), "{ending:?}");
        assert!(ending.stderr.contains(text(&path)) && ending.stderr.contains(complaint), "{ending:?}");
        assert_eq!(ending.stderr.lines().count(), 1, "{ending:?}");
    }
}

#[test]
fn a_daemon_that_a_user_is_not_to_see_is_not_taken_for_gone() {
    let home = Home::new("interval = 600");
    let mut daemon = daemon_with_status(&home);
    let status = |hidepid: u32| -> Ending {
        let proc = format!("mount -t proc -o hidepid={hidepid} proc /proc");
        let script = format!("{proc} && exec setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"");
        let words = ["-c", script.as_str(), "sh", PROGRAM];
        home.command_of("sh").args(words).arg(home.path("o.conf")).arg("--status").output().unwrap().into()
    };
    for hidepid in [0, 1, 2] {
        let ending = status(hidepid);
        assert!(ending.code == Some(0) && ending.stdout.contains(" is well, as of "), "{hidepid}: {ending:?}");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    for hidepid in [0, 1, 2] {
        assert_eq!(status(hidepid).code, Some(2), "{hidepid}");
    }
}

#[test]
fn a_status_file_that_is_junk_hides_nothing_that_the_other_one_has() {
    let home = Home::new("interval = 600");
    let mut daemon = daemon_with_status(&home);
    let files = ["recon/object-replicator.status", "recon/object-replicator.once.status"].map(|name| home.path(name));
    fs::write(&files[1], "{").unwrap();
    let ending = home.run(&["--status"]);
    assert!(ending.code == Some(0) && ending.stdout.contains(" is well, as of "), "{ending:?}");
    assert!(ending.stdout.contains("\nOf single passes nothing is known: "), "{ending:?}");
    let shown = json(&home.run(&["--status", "--json"]));
    assert!(shown["health"] == "well" && shown["single_pass"]["error"].is_string(), "{shown}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();

    assert_eq!(home.run(&["once"]).code, Some(0));
    fs::write(&files[0], "{").unwrap();
    let ending = home.run(&["--status"]);
    assert!(ending.code == Some(2) && ending.stdout.contains("\nSingle pass: Process "), "{ending:?}");
    assert!(ending.stdout.starts_with("Of the daemon nothing is known: "), "{ending:?}");
    let shown = json(&home.run(&["--status", "--json"]));
    assert!(shown["error"].is_string() && shown["single_pass"]["health"] == "ended", "{shown}");

    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let ending = home.run(&["--status", "--json"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(2), ""), "{ending:?}");
    assert!(json(&ending)["error"].as_str().unwrap().starts_with("there is no "), "{ending:?}");
}

#[test]
fn metrics_count_on_from_one_process_to_the_next() {
    let home = Home::new("");
    let path = home.path("recon/node.prom");
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    home.write("o.conf", &format!("{conf}metrics_textfile = {}\n", path.display()));
    for passes in 1..=2 {
        assert_eq!(home.run(&["once"]).code, Some(0));
        let metrics = fs::read_to_string(&path).unwrap();
        let line = format!("\nswift_object_replicator_passes_total{{result=\"complete\"}} {passes}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert_eq!(home.run(&["once", "-p", "1"]).code, Some(0));
    assert!(fs::read_to_string(&path).unwrap().contains("{result=\"complete\"} 2\n"), "a part is no pass");
}

#[test]
fn metrics_that_cannot_be_written_are_said_and_cost_nothing_else() {
    let home = Home::new("metrics_textfile = /no/such/folder/node.prom");
    let ending = home.run(&["once", "-v"]);
    assert_eq!(ending.code, Some(0), "{ending:?}");
    assert!(ending.stderr.contains("Metrics: cannot write /no/such/folder/node.prom: No such file"), "{ending:?}");
    assert!(home.path("recon/object.recon").exists());
}
