//! Configurations that keep the process from starting: one line on stderr, exit code 1 (B1.9).

use super::{file, run, text};

/// The line for a configuration, with its path as `FILE`.
fn refusal(content: &[u8]) -> String {
    let file = file(content);
    let path = text(file.path());
    run(&[path, "once"]).refusal().replace(path, "FILE")
}

#[test]
fn a_bad_value_is_named_with_file_line_key_and_what_is_allowed() {
    let line = |options: &str| refusal(format!("[object-replicator]\n{options}\n").as_bytes());
    for (option, expected) in [
        ("stats_interval = 5 # x", "stats_interval = \"5 # x\": must be a number of seconds"),
        ("reclaim_age = 1.5", "reclaim_age = \"1.5\": must be a whole number of seconds"),
        ("concurrency = 0", "concurrency = \"0\": must be an integer of at least 1"),
        ("handoff_delete = fred", "handoff_delete = \"fred\": must be \"auto\" or an integer of at least 0"),
        ("handoff_delete = -1", "handoff_delete = \"-1\": must be \"auto\" or an integer of at least 0"),
        ("sync_method = scp", "sync_method = \"scp\": must be rsync or ssync"),
        ("fallocate_reserve = abc", "fallocate_reserve = \"abc\": must be a number of bytes, or a percentage like 1%"),
        ("commit_window = -1", "commit_window = \"-1\": must be a number that is not negative"),
    ] {
        assert_eq!(line(option), format!("FILE line 2: {expected}"));
    }
    assert_eq!(
        line("a = 1\nuser = %(nobody)s"),
        "FILE line 3: user = \"%(nobody)s\": \"%(nobody)s\" refers to an option that is set neither in this section nor in \
         [DEFAULT]"
    );
}

#[test]
fn what_is_no_ini_file_is_named_with_its_line() {
    assert_eq!(refusal(b"a = 1\n"), "FILE line 1: an option before the first [section]: \"a = 1\"");
    assert_eq!(
        refusal(b"[object-replicator]\na = 1\na = 2\n"),
        "FILE line 3: option a is set a second time in section [object-replicator] of this file"
    );
    assert_eq!(refusal(b"[object-replicator]\nuser = \xff\n"), "FILE: not UTF-8 from line 2 on");
}

#[test]
fn a_missing_section_is_named() {
    assert_eq!(refusal(b"[DEFAULT]\nuser = x\n"), "Unable to find object-replicator config section in FILE");
}

#[test]
fn a_folder_without_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".hidden.conf"), "[object-replicator]\n").unwrap();
    let ending = run(&[text(folder.path())]);
    let expected =
        format!("Unable to read config from {}: no file named *.conf in it can be read", folder.path().display());
    assert_eq!(ending.refusal(), expected);
}

#[test]
fn an_unknown_user_is_named() {
    assert_eq!(
        refusal(b"[object-replicator]\nuser = no-such-user\n"),
        "option user: there is no user \"no-such-user\" on this machine"
    );
}

#[test]
fn a_list_that_is_none_ends_a_single_pass_and_only_that() {
    let file = file(b"[object-replicator]\nuser = no-such-user\n");
    let path = text(file.path());
    let ending = run(&[path, "once", "-p", "1,x"]);
    assert_eq!(ending.refusal_with(2), "option --partitions: \"x\" is not a whole number");
    // A daemon does not even look at it, and comes to what is wrong next (B1.6).
    let ending = run(&[path, "-p", "1,x"]);
    assert_eq!(ending.refusal(), "option user: there is no user \"no-such-user\" on this machine");
}
