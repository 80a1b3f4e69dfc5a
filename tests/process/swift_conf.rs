//! A `swift.conf` that keeps the process from starting: one line on stderr, exit code 1 (B2.11, B2.15).

use super::Home;

fn refusal(swift_conf: &str) -> String {
    let home = Home::new("");
    home.write("etc/swift.conf", swift_conf);
    home.run(&["once"]).refusal().to_owned()
}

#[test]
fn salts_are_needed() {
    assert_eq!(
        refusal("[swift-hash]\nswift_hash_path_suffix =\n"),
        "Error: [swift-hash]: both swift_hash_path_suffix and swift_hash_path_prefix are missing from \
         /etc/swift/swift.conf"
    );
}

#[test]
fn policies_must_hold_together() {
    assert_eq!(
        refusal("[swift-hash]\nswift_hash_path_suffix = x\n[storage-policy:1]\nname = gold\n"),
        "ERROR: Invalid Storage Policy Configuration in /etc/swift/swift.conf (You must specify a storage policy section \
         for policy index 0 in order to define multiple policies)"
    );
}

#[test]
fn the_file_is_needed_and_only_in_its_place() {
    let home = Home::new("");
    std::fs::remove_file(home.path("etc/swift.conf")).unwrap();
    let ending = home.run(&["once"]);
    assert_eq!(ending.refusal(), "Unable to read /etc/swift/swift.conf: No such file or directory (os error 2)");
}

#[test]
fn the_log_says_start_before_it_is_read() {
    let home = Home::new("");
    home.write("etc/swift.conf", "");
    let ending = home.run(&["once", "verbose"]);
    let lines: Vec<_> = ending.stderr.lines().collect();
    assert!(
        matches!(lines[..], [start, error] if start.starts_with("object-replicator: Starting ")
        && error.starts_with("Error: [swift-hash]")),
        "{lines:?}"
    );
}
