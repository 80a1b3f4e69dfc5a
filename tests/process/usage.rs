//! The command line: streams and exit codes (B1.3, B1.10). What each word means is compared with the reference elsewhere.

use std::fs;

use serde_json::Value;

use super::{Ending, Home, run};

const USAGE: &str = "Usage: swift-object-replicator CONFIG [options]\n\n";

#[test]
fn without_a_configuration_usage_is_shown_on_stdout_with_code_1() {
    let ending = run(&[]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(1), ""));
    assert_eq!(ending.stdout, format!("{USAGE}Error: missing config path argument\n"));
}

#[test]
fn a_configuration_that_does_not_exist_is_named_with_its_absolute_path() {
    let ending = run(&["/no/such/../file", "once"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(1), ""));
    assert_eq!(ending.stdout, format!("{USAGE}Error: unable to locate /no/file\n"));
}

#[test]
fn an_unknown_option_is_shown_on_stderr_with_code_2() {
    let ending = run(&["/", "--bogus"]);
    assert_eq!((ending.code, ending.stdout.as_str()), (Some(2), ""));
    assert_eq!(ending.stderr, format!("{USAGE}swift-object-replicator: error: no such option: --bogus\n"));
}

#[test]
fn help_is_shown_on_stdout_with_code_0() {
    let ending = run(&["--help"]);
    assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""));
    assert!(ending.stdout.starts_with(USAGE), "{}", ending.stdout);
}

/// What a tool prints with `--json`: nothing but JSON on stdout, with the exit code that it has without.
#[track_caller]
fn json(home: &Home, config: &str, words: &[&str]) -> Value {
    let run = |more: &[&str]| -> Ending {
        let config = home.path(config);
        let mut command = home.command_of(super::PROGRAM);
        command.arg(config).args(words).args(more).output().expect("unshare starts").into()
    };
    let (plain, ending) = (run(&[]), run(&["--json"]));
    assert_eq!(ending.code, plain.code, "{ending:?} {plain:?}");
    serde_json::from_str(&ending.stdout).unwrap_or_else(|error| panic!("{config} {words:?}: {error}: {ending:?}"))
}

#[test]
fn tools_print_json_whatever_goes_wrong_once_the_command_line_is_understood() {
    let home = Home::new("");
    fs::create_dir(home.path("folder")).expect("a folder of ours");
    home.write("broken", "[object-replicator]\nconcurrency\n");
    home.write("value", "[object-replicator]\nconcurrency = many\nrecon_cache_path = /nonexistent\n");
    home.write("other", "[DEFAULT]\n");
    home.write("user", "[object-replicator]\nuser = no\u{9b}\u{202e}body\nrecon_cache_path = /nonexistent\n");
    for config in ["missing", "folder", "broken", "value", "other", "user"] {
        for words in [
            &["--check"][..],
            &["--status"],
            &["--dry-run"],
            &["--dry-run", "-p", "x"],
            &["--pause"],
            &["--resume"],
            &["--set"],
            &["--first", "-p", "1"],
            &["--first", "-p", "x"],
        ] {
            let found = json(&home, config, words);
            let is_found = found["verdict"] == "error" && config == "user";
            assert!(found["error"].is_string() || is_found, "{words:?} {config}: {found}");
        }
    }
    assert!(json(&home, "o.conf", &["--status"])["error"].to_string().contains("object-replicator.status"));
    fs::remove_file(home.path("etc/object.ring.gz")).expect("it was there");
    assert_eq!(json(&home, "o.conf", &["--check"])["verdict"], "error");
    assert!(json(&home, "o.conf", &["--dry-run"]).is_object());
    fs::remove_file(home.path("etc/swift.conf")).expect("it was there");
    for words in ["--check", "--dry-run"] {
        assert!(json(&home, "o.conf", &[words])["error"].is_string());
    }
}
