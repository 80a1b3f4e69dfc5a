//! The command line: streams and exit codes (B1.3, B1.10). What each word means is compared with the reference elsewhere.

use super::run;

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
