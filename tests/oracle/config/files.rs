//! The ini dialect (B2.1-B2.6).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use swift_object_replicator::config::settings;

use super::{Dice, Outcomes};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const SECTIONS: [&str; 8] = [
    "[object-replicator]",
    "[object-replicator] junk",
    "  [object-replicator]",
    "[DEFAULT]",
    "[other]",
    "[a]b]",
    "[]",
    "[ DEFAULT ]",
];
const KEYS: [&str; 9] = ["a", "b", "c", "A", "set a", "a b", "log_name", "é", "d[x]"];
const DELIMITERS: [&str; 9] = ["=", ":", " = ", " : ", "\t=", "=\t", "\u{a0}=\u{2003}", "\x1c= ", " =: "];
const PIECES: [&str; 20] = [
    "1", "x y", "1%", "50%", "%%", "%(a)s", "%(b)s", "%(c)s", "%(nope)s", "%(a", "# no", "; no", "=", ":", "[z]", "é",
    "\u{2028}", "\u{feff}", "'", "  ",
];
const PLAIN: [&str; 8] = ["1", "x y", "1%", "é", " # no", "= ", ":", "\u{a0}"];
const INDENTS: [&str; 6] = [" ", "  ", "    ", "\t", "\u{3000}", " \t "];
const NEWLINES: [&str; 6] = ["\n", "\n", "\n", "\n", "\r\n", "\r"];

/// One line, without its end.
fn line(dice: &mut Dice) -> String {
    match dice.0.u32(..100) {
        0..=4 => dice.pick(&SECTIONS).to_owned(),
        5..=14 => dice.pick(&["", "", " ", "\t", "    "]).to_owned(),
        15..=22 => format!("{}{}comment", dice.pick(&["", " ", "      "]), dice.pick(&["#", ";"])),
        23..=40 => format!("{}{}", dice.pick(&INDENTS), dice.join(&PLAIN, 3)),
        41 => dice.pick(&["no option", "= no key", "\u{feff}"]).to_owned(),
        _ => option(dice),
    }
}

fn option(dice: &mut Dice) -> String {
    let indent = if dice.once_in(6) { dice.pick(&INDENTS) } else { "" };
    let value = if dice.once_in(3) { dice.join(&PIECES, 3) } else { dice.join(&PLAIN, 3) };
    // Few keys make many duplicates, which most files should not have.
    let key = if dice.once_in(3) { dice.pick(&KEYS).to_owned() } else { format!("k{}", dice.0.u32(..1000)) };
    format!("{indent}{key}{}{value}", dice.pick(&DELIMITERS))
}

fn file(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    if !dice.once_in(20) {
        text.push_str(dice.pick(&[
            "[DEFAULT]\na = 1\n",
            "[object-replicator]\n",
            "[object-replicator]\nb: 2\n",
            "# x\n\n[other]\n",
        ]));
        if !dice.once_in(3) {
            for _ in 0..dice.0.usize(..6) {
                text += &(option(dice) + "\n");
            }
            if !text.contains("[object-replicator]") {
                text.push_str("[object-replicator]\n");
            }
        }
    }
    for _ in 0..dice.0.usize(..8) {
        text += &line(dice);
        text += dice.pick(&NEWLINES);
    }
    let mut bytes = text.into_bytes();
    if dice.once_in(40) {
        bytes.insert(dice.0.usize(..=bytes.len()), 0xff);
    }
    bytes
}

fn ours(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let (items, _) = settings::read(path).map_err(|error| error.to_string())?;
    let mut options: BTreeMap<_, _> = items.into_iter().map(|item| (item.key, item.value)).collect();
    options.entry("log_name".to_owned()).or_insert_with(|| "object-replicator".to_owned());
    Ok(options)
}

fn reference(oracle: &mut Oracle, path: &Path) -> Result<BTreeMap<String, String>, String> {
    let answer = oracle.ask(&json!({ "read": path }));
    match answer.get("ok") {
        Some(options) => Ok(serde_json::from_value(options.clone()).expect("a map of texts")),
        None => Err(answer["error"].to_string()),
    }
}

#[test]
fn a_file_says_the_same_to_both_or_is_refused_by_both() {
    let mut oracle = Oracle::start("config_files.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.conf");
    let mut outcomes = Outcomes::default();
    for seed in (0..800).map(Seed::fixed) {
        let bytes = file(&mut Dice::new(&seed));
        std::fs::write(&path, &bytes).unwrap();
        outcomes.compare(&ours(&path), &reference(&mut oracle, &path), || {
            format!("{seed}\n{}", String::from_utf8_lossy(&bytes).escape_debug())
        });
    }
    outcomes.assert_both_reached(200);
}

#[test]
fn a_folder_says_the_same_to_both_or_is_refused_by_both() {
    const NAMES: [&str; 8] = ["1.conf", "2.conf", "10.conf", "A.conf", "a.conf", ".h.conf", "x.txt", "é.conf"];
    let mut oracle = Oracle::start("config_files.py");
    let mut outcomes = Outcomes::default();
    for seed in (0..200).map(Seed::fixed) {
        let mut dice = Dice::new(&seed);
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..dice.0.usize(..4) {
            std::fs::write(folder.path().join(dice.pick(&NAMES)), file(&mut dice)).unwrap();
        }
        if dice.once_in(4) {
            let _ = std::fs::create_dir(folder.path().join("3.conf"));
        }
        outcomes.compare(&ours(folder.path()), &reference(&mut oracle, folder.path()), || format!("{seed}"));
    }
    outcomes.assert_both_reached(40);
}

#[test]
fn references_nest_equally_deep() {
    let mut oracle = Oracle::start("config_files.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.conf");
    let mut outcomes = Outcomes::default();
    for end in ["1", "1%%", "%(k0)s"] {
        for depth in 8..13 {
            let chain: String = (0..depth).map(|k| format!("k{k} = %(k{})s\n", k + 1)).collect();
            std::fs::write(&path, format!("[object-replicator]\n{chain}k{depth} = {end}\n")).unwrap();
            outcomes.compare(&ours(&path), &reference(&mut oracle, &path), || format!("{depth} levels to {end}"));
        }
    }
    outcomes.assert_both_reached(3);
}
