//! What others put in the way of a process, or wrote where it reads: names with escape sequences, pipes and links.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Ending, Home, PROGRAM};

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
}

/// The process's end, which must come soon.
fn run(home: &Home, words: &[&str]) -> Ending {
    let mut command = home.command_of("timeout");
    command
        .args(["-k", "1", "20", PROGRAM])
        .arg(home.path("o.conf"))
        .args(words)
        .output()
        .expect("timeout starts")
        .into()
}

#[track_caller]
fn assert_harmless(shown: &str) {
    let control = |line: &&str| line.chars().any(char::is_control) || line.starts_with("forged");
    assert_eq!(shown.lines().find(control), None, "{shown}");
}

#[test]
fn names_on_a_disk_reach_the_console_without_what_a_terminal_acts_on() {
    let home = Home::new("log_level = DEBUG");
    let suffix = home.path("devices/sda/objects/0/abc");
    fs::create_dir_all(suffix.join("00000000000000000000000000000abc")).unwrap();
    let evil = OsStr::from_bytes(b"\x1b]0;x\x07\x1b[2J\r\nforged \x9b\xff");
    fs::write(suffix.join("00000000000000000000000000000abc").join(evil), "").unwrap();
    fs::create_dir(home.path("devices/sda/objects").join(evil)).unwrap();
    fs::write(suffix.join(evil), "").unwrap();
    for words in [&["once", "-v"][..], &["--dry-run", "-v"], &["--check"], &["--status"]] {
        let ending = run(&home, words);
        assert_harmless(&ending.stdout);
        assert_harmless(&ending.stderr);
        assert!(words[0] != "once" || ending.stderr.contains("#033]0;x#007#033[2J#015#012forged"), "{ending:?}");
    }
}

#[test]
fn a_pipe_or_a_link_in_the_place_of_a_file_holds_nothing_up_and_is_not_followed() {
    for kind in ["pipe", "link", "dangling"] {
        for name in ["recon/object.recon", "recon/object-replicator.status", "recon/metrics.prom"] {
            let home = Home::new("");
            let conf = fs::read_to_string(home.path("o.conf")).unwrap();
            home.write("o.conf", &format!("{conf}metrics_textfile = {}\n", home.path("recon/metrics.prom").display()));
            home.write("lure", "precious");
            match kind {
                "pipe" => fifo(&home.path(name)),
                "link" => symlink(home.path("lure"), home.path(name)).unwrap(),
                _ => symlink(home.path("made"), home.path(name)).unwrap(),
            }
            if name.ends_with("status") {
                let ending = run(&home, &["--status"]);
                assert_eq!(ending.code, Some(2), "{kind}: {ending:?}");
            }
            let ending = run(&home, &["once", "-v"]);
            assert_eq!(ending.code, Some(0), "{kind} {name}: {ending:?}");
            assert_eq!(fs::read_to_string(home.path("lure")).unwrap(), "precious");
            assert!(!home.path("made").exists(), "{kind} {name}");
        }
    }
}

#[test]
fn a_pipe_in_the_place_of_a_ring_is_no_ring() {
    let home = Home::new("");
    fs::remove_file(home.path("etc/object.ring.gz")).unwrap();
    fifo(&home.path("etc/object.ring.gz"));
    let ending = run(&home, &["once", "-v"]);
    assert_eq!(ending.code, Some(1), "{ending:?}");
    assert!(ending.stderr.contains("object.ring.gz: it is not a regular file"), "{ending:?}");
}

#[test]
fn an_absolute_configuration_is_found_from_a_folder_that_is_gone() {
    let home = Home::new("");
    let folder = tempfile::tempdir().unwrap();
    let gone = "cd \"$1\" && rmdir \"$1\" && exec timeout 20 \"$2\" \"$3\" once -v";
    let mut command = home.command_of("sh");
    let command: &mut Command =
        command.args(["-c", gone, "sh"]).arg(folder.path()).arg(PROGRAM).arg(home.path("o.conf"));
    let ending: Ending = command.output().unwrap().into();
    assert_eq!(ending.code, Some(0), "{ending:?}");
    assert!(ending.stderr.contains("Report: pass complete"), "{ending:?}");
}
