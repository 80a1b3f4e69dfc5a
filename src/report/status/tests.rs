//! What is made of a status file.

use std::fs;

use super::super::pass_report::Ending;
use super::super::pass_report::example::report;
use super::*;

const NOW: f64 = 1_800_001_000.0;

fn status() -> Status {
    let worker = Worker {
        device: "sdb".into(),
        partition: Some(12),
        step: "pushing".into(),
        peer: Some("10.0.0.2:6200/sda".into()),
        seconds: 37.0,
        ..Worker::default()
    };
    let device = Progress {
        device: "sdb".into(),
        found: 1200,
        attempted: 300,
        failures: 2,
        bytes: 3 << 30,
        is_listed: true,
        ..Progress::default()
    };
    let pass = RunningPass {
        handoffs_only: false,
        group: String::new(),
        began: NOW - 600.0,
        moved: NOW - 3.5,
        workers: vec![worker],
        devices: vec![device],
    };
    let (passes, last) = (vec![pass], vec![report()]);
    Status { pid: 77, process_began: 5, written: NOW - 3.0, passes, last, ..Status::default() }
}

#[test]
fn a_daemon_that_writes_and_moves_is_well() {
    let status = status();
    let health = status.health(NOW, Some(5));
    assert_eq!((&health, health.exit_code()), (&Health::Well, 0));
    let table = status.table(NOW, &health);
    let expected = "Process 77 is well, as of 3.0s ago.\n\n\
                    A pass began 2027-01-15 08:06:40 UTC and has run for 9m 57s:\n\
                    \x20 DEVICE                  PARTITIONS    DONE FAILURES       SENT\n\
                    \x20 sdb                       300/1200   25.0%        2    3.0 GiB\n\
                    \x20 device sdb, partition 12: pushing (10.0.0.2:6200/sda) for 37s\n\n\
                    A pass ended 2027-01-15 08:12:34 UTC:\n  Report: pass incomplete (";
    assert!(table.starts_with(expected), "{table}");
}

#[test]
fn a_push_of_many_says_how_far_it_is() {
    let mut status = status();
    let worker = &mut status.passes[0].workers[0];
    worker.bytes = 1 << 20;
    assert_eq!(worker.doing(), "device sdb, partition 12: pushing, 1.0 MiB so far (10.0.0.2:6200/sda) for 37s");
    (worker.partitions, worker.begun) = (40, 11);
    let line = "device sdb: pushing 40 partitions, 11 begun, 1.0 MiB so far (10.0.0.2:6200/sda) for 37s";
    assert_eq!(worker.doing(), line);
    status.passes[0].devices[0].ahead = 180;
    let table = status.table(NOW, &Health::Well);
    assert!(table.contains("  300/1200   40.0% ") && table.contains(line), "{table}");
    assert!(status.passes[0].how_far().contains("300 of 1200 partitions done so far, 2 failures since 20"));
    assert!(status.passes[0].how_far().ends_with(" UTC, 3.0 GiB sent"));
}

#[test]
fn one_in_which_a_job_hangs_or_a_pass_does_not_move_looks_stuck() {
    let mut status = status();
    status.hanging = vec![Worker { seconds: 2000.0, ..status.passes[0].workers[0].clone() }];
    status.passes[0].moved = NOW - 103.0;
    let health = status.health(NOW, Some(5));
    let expected = [
        "the pass has not moved for 1m 40s",
        "hangs: device sdb, partition 12: pushing (10.0.0.2:6200/sda) for 33m 20s",
    ];
    assert_eq!(health, Health::Stuck(expected.map(str::to_owned).into()));
    assert_eq!(health.exit_code(), 1);
    assert!(status.table(NOW, &health).starts_with("Process 77 looks stuck:\n  the pass has not moved"));
}

#[test]
fn a_ring_that_cannot_be_read_is_trouble_though_everything_moves() {
    let mut status = status();
    let evil = "cannot load ring: x\u{1b}[2J\nProcess 1 is well".to_owned();
    let ring = RingStatus { trouble: Some(evil), md5: Some("aa".into()), ..RingStatus::default() };
    status.rings = vec![ring, RingStatus { policy: 1, md5: Some("bb".into()), ..RingStatus::default() }];
    let health = status.health(NOW, Some(5));
    assert_eq!(health.exit_code(), 1);
    let table = status.table(NOW, &health);
    let begin = "Process 77 runs, but:\n  policy 0 () goes on with the ring that it had, and removes no hand-off, ";
    assert!(table.starts_with(begin), "{table}");
    assert!(table.contains("\nRings:\n  policy 0 (): MD5 aa") && table.contains("\n  policy 1 (): MD5 bb"), "{table}");
    assert_eq!(table.lines().map(printable).collect::<Vec<_>>().join("\n") + "\n", table);
    status.passes[0].moved = NOW - 103.0;
    assert!(matches!(status.health(NOW, Some(5)), Health::Stuck(complaints) if complaints.len() == 2));
}

#[test]
fn a_status_from_the_future_is_no_sign_of_life() {
    let mut status = status();
    status.written = NOW + 30.0;
    assert_eq!(status.health(NOW, Some(5)), Health::Well, "clocks are corrected by seconds");
    status.written = NOW + 7200.0;
    let Health::Stuck(complaints) = status.health(NOW, Some(5)) else { panic!("the clock was set back") };
    assert_eq!(complaints, ["what it wrote last is 2h 00m ahead of the clock, and nothing came since"]);
    let table = status.table(NOW, &Health::Gone);
    assert!(table.contains("This is what it last wrote, 2h 00m ahead of the clock:"), "{table}");
}

#[test]
fn one_that_does_not_write_any_more_looks_stuck_whatever_it_wrote() {
    let mut status = status();
    status.written = NOW - 100.0;
    let expected = Health::Stuck(vec!["it has written nothing for 1m 40s".to_owned()]);
    assert_eq!(status.health(NOW, Some(5)), expected);
}

#[test]
fn a_dead_daemon_is_gone_even_if_its_id_is_in_use_again() {
    let status = status();
    for began in [None, Some(6)] {
        let health = status.health(NOW, began);
        assert_eq!((&health, health.exit_code()), (&Health::Gone, 2));
        let table = status.table(NOW, &health);
        assert!(table.starts_with("Process 77 is gone. This is what it last wrote, 3.0s ago:\n"), "{table}");
    }
    assert_eq!(process_began(u32::MAX), None);
    assert!(process_began(std::process::id()).is_some());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    while process_began(child.id()).is_some() {
        std::thread::yield_now();
    }
    assert!(Path::new(&format!("/proc/{}/stat", child.id())).exists(), "nobody has waited for it");
    child.wait().unwrap();
}

#[test]
fn the_last_passes_of_many_groups_are_shown_as_one() {
    let mut status = status();
    status.last = (0..60).map(|_| report()).collect();
    let table = status.table(NOW, &Health::Well);
    assert!(
        table.contains("\n60 passes, of as many groups, ended until 2027-01-15 08:12:34 UTC:\n  Report: pass "),
        "{table}"
    );
    assert!(table.matches("\n  Report: ").count() < 40 && table.contains(" of 216000 partitions"), "{table}");
}

#[test]
fn a_single_pass_that_has_ended_is_no_reason_to_worry() {
    let status = Status { has_ended: true, passes: Vec::new(), ..status() };
    let health = status.health(NOW + 1e6, None);
    assert_eq!((&health, health.exit_code()), (&Health::Ended, 0));
    assert!(status.table(NOW, &health).starts_with("Process 77 finished its pass 3.0s ago.\n\nA pass ended"));
}

#[test]
fn texts_of_a_file_that_others_wrote_forge_no_lines_and_move_no_cursor() {
    let evil = "x\u{1b}[2J\r\nProcess 1 is well\u{9b}\u{202e}".to_owned();
    let mut status = status();
    let worker = Worker { device: evil.clone(), step: evil.clone(), peer: Some(evil.clone()), ..Worker::default() };
    status.hanging = vec![worker.clone()];
    status.passes[0].group = evil.clone();
    status.passes[0].workers = vec![worker];
    status.passes[0].devices[0].device = evil.clone();
    status.last[0].ending = Ending::Incomplete(vec![evil.clone()]);
    let counts = status.last[0].devices.remove("sdc").unwrap();
    status.last[0].devices.insert(evil.clone(), counts);
    let counts = status.last[0].peers.pop_last().unwrap().1;
    status.last[0].peers.insert(evil, counts);
    let table = status.table(NOW, &status.health(NOW, Some(5)));
    assert!(table.contains("x#033[2J#015#012Process 1 is well#302#233#342#200#256"), "{table}");
    assert_eq!(table.lines().map(printable).collect::<Vec<_>>().join("\n") + "\n", table);
    assert!(!table.lines().any(|line| line.starts_with("Process 1 ")), "{table}");
}

#[test]
fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let path = folder.path().join(Kind::Daemon.file());
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = read(folder.path(), Kind::Daemon).unwrap_err().to_string();
    assert!(error.ends_with("object-replicator.status: it is not a regular file"), "{error}");
}

#[test]
fn what_was_written_is_read_back_and_junk_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read(folder.path(), Kind::Daemon), Err(ReadError::Missing(_))));
    status().write(folder.path(), Kind::Daemon).unwrap();
    assert_eq!(read(folder.path(), Kind::Daemon).unwrap(), status());
    assert!(matches!(read(folder.path(), Kind::SinglePass), Err(ReadError::Missing(_))));
    fs::write(folder.path().join(Kind::Daemon.file()), "{").unwrap();
    let error = read(folder.path(), Kind::Daemon).unwrap_err().to_string();
    assert!(error.contains("object-replicator.status cannot be understood: "), "{error}");
}
