//! The command line (B1.1-B1.7).

use serde_json::{Value, json};
use swift_object_replicator::cli::{self, Exit, Stream};

use super::Dice;
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const WORDS: [&str; 44] = [
    "/",
    ".",
    "./tests/../src",
    "/no/../such",
    "//tmp",
    "",
    "once",
    "verbose",
    "junk",
    "-",
    "--",
    "-v",
    "-o",
    "-vo",
    "-ov",
    "-x",
    "-vx",
    "-é",
    "--verbose",
    "--verb",
    "--once",
    "--o",
    "--once=1",
    "--bogus",
    "--bogus=1",
    "--=",
    "--d",
    "--d=sdb1",
    "-d",
    "-dsdb1",
    "-d=x",
    "-vdsdb1",
    "--devices= a, b ,",
    "--p=1",
    "--part=1,2",
    "-p1, 2",
    "-p",
    "-p=-1",
    "-ix",
    "--pol",
    "--policies=0",
    "-h",
    "--he",
    "--help=1",
];
const PLAIN: [&str; 9] = ["/", "once", "-v", "-dsdb1", "-p1,2", "--pol=0", "--o", "word", "-d=x"];

/// Most questions begin with a configuration that exists, and many go on with what is right.
fn words(dice: &mut Dice) -> Vec<&'static str> {
    let pieces: &[&str] = if dice.once_in(2) { &WORDS } else { &PLAIN };
    let mut words: Vec<_> = (0..dice.0.usize(..6)).map(|_| dice.pick(pieces)).collect();
    if !dice.once_in(4) {
        words.insert(0, "/");
    }
    words
}

fn ours(words: &[&str]) -> Value {
    match cli::parse(words.iter().map(Into::into)) {
        Ok(arguments) => {
            let overrides = arguments.overrides().ok().map(
                |found| json!({ "devices": found.devices, "partitions": found.partitions, "policies": found.policies }),
            );
            let (config, once, verbose) = (arguments.config, arguments.once, arguments.verbose);
            json!({ "config": config, "once": once, "verbose": verbose, "overrides": overrides })
        }
        Err(Exit { text, stream, exit_code }) => {
            let (stdout, stderr) = match stream {
                Stream::Stdout => (text, String::new()),
                Stream::Stderr => (String::new(), text),
            };
            json!({ "exit": exit_code, "stdout": stdout, "stderr": stderr })
        }
    }
}

/// What the two may differ in: the help's sentences, and negative numbers, which name nothing.
fn comparable(mut answer: Value) -> Value {
    if answer["exit"] == 0 {
        let first_line = answer["stdout"].as_str().and_then(|text| text.lines().next()).unwrap_or_default().to_owned();
        answer["stdout"] = first_line.into();
    }
    for name in ["/overrides/partitions", "/overrides/policies"] {
        if let Some(Value::Array(numbers)) = answer.pointer_mut(name) {
            numbers.retain(Value::is_u64);
        }
    }
    answer
}

#[test]
fn words_mean_the_same_to_both_and_errors_look_the_same() {
    let mut oracle = Oracle::start("config_daemon.py");
    let (mut started, mut helped, mut ended) = (0, 0, 0);
    for seed in (0..1500).map(Seed::fixed) {
        let words = words(&mut Dice::new(&seed));
        let (ours, reference) = (comparable(ours(&words)), comparable(oracle.ask(&json!({ "words": words }))));
        assert_eq!(ours, reference, "{seed}: {words:?}");
        match ours.get("exit").and_then(Value::as_u64) {
            None => started += 1,
            Some(0) => helped += 1,
            Some(_) => ended += 1,
        }
    }
    assert!(started > 300 && helped > 30 && ended > 300, "{started} started, {helped} helped, {ended} ended");
}
