//! `swift.conf` (B2.11-B2.18).

use std::path::Path;

use serde_json::{Value, json};
use swift_object_replicator::config::policies::PolicyKind;
use swift_object_replicator::config::swift_conf;

use super::{Dice, Outcomes};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const SALTS: [&str; 12] = ["s", "secret", "50%%", "%(x)s", "a%b", "", "é", "à", "x\u{85}", "a b", "Å", "\u{3000}"];
const NAMES: [&str; 11] = ["gold", "Gold", "silver", "a-1", "Policy-0", "policy-1", "x_y", "", "it's", "é", "b"];
const ALIASES: [&str; 8] = ["", "a, b", "gold,", "silver", "x , y , x", "POLICY-0", "A-1", "q"];
const INDICES: [&str; 9] = ["1", "2", "3", "1", "2", "-1", "+1", "x", "0_1"];
const FLAGS: [&str; 5] = ["yes", "no", "TRUE", "false", "1"];
const MODULES: [&str; 5] = [
    "egg:swift#replication.fs",
    "replication.fs",
    "egg:swift#erasure_coding.fs",
    "egg:none#replication.fs",
    "swift#replication.fs",
];
const STRAY: [&str; 6] = [
    "bogus = 1",
    "ec_type = x",
    "policy_type = tape",
    "it's = 1",
    "[swift-hash]",
    "[swift-constraints]\nmax_file_size = 5%",
];

/// The words of ours that tell a reason in another way than the reference.
const OWN_WORDS: [&str; 9] = [
    "Duplicate ",
    "already assigned",
    "A deprecated policy",
    "Unknown policy_type",
    "Missing ec_type",
    "Invalid ec_",
    "diskfile_module",
    "swift.conf line ",
    "harms data",
];

fn file(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.once_in(10) {
        text += dice.pick(&["[DEFAULT]\nx = y\n", "[DEFAULT]\nname = d\n", "[DEFAULT]\n"]);
    }
    text += "[swift-hash]\n";
    for key in ["swift_hash_path_suffix", "Swift_Hash_Path_Prefix"] {
        if !dice.once_in(3) {
            text += &format!("{key}{}{}\n", dice.pick(&["=", " = ", ": "]), salt(dice));
        }
    }
    for policy in 0..dice.0.usize(..4) {
        text += &section(dice, policy);
    }
    if dice.once_in(12) {
        text += dice.pick(&STRAY);
    }
    text
}

fn salt(dice: &mut Dice) -> &'static str {
    if dice.once_in(3) { dice.pick(&SALTS) } else { dice.pick(&SALTS[..3]) }
}

fn section(dice: &mut Dice, position: usize) -> String {
    let index = match position {
        0 if !dice.once_in(8) => "0".to_owned(),
        _ if dice.once_in(8) => dice.pick(&INDICES).to_owned(),
        other => other.to_string(),
    };
    let mut text = format!("[storage-policy:{index}]\n");
    let name = if dice.once_in(6) { dice.pick(&NAMES).to_owned() } else { format!("p{position}") };
    text += &format!("{} = {name}\n", dice.pick(&["name", "Name"]));
    if dice.once_in(4) {
        text += &format!("aliases = {}\n", dice.pick(&ALIASES));
    }
    if (position == 0 && !dice.once_in(4)) || dice.once_in(12) {
        text += &format!("default = {}\n", dice.pick(&FLAGS));
    }
    if dice.once_in(6) {
        text += &format!("deprecated = {}\n", dice.pick(&FLAGS));
    }
    if dice.once_in(12) {
        text += &format!("diskfile_module = {}\n", dice.pick(&MODULES));
    } else if dice.once_in(4) {
        text += &erasure_code(dice);
    } else if dice.once_in(5) {
        text += "policy_type = replication\n";
    }
    text
}

fn erasure_code(dice: &mut Dice) -> String {
    let mut text = "policy_type = erasure_coding\n".to_owned();
    let numbers = ["4", "2", " 3 ", "+1", "0", "x", "1.5"];
    let options =
        ["ec_num_data_fragments", "ec_num_parity_fragments", "ec_object_segment_size", "ec_duplication_factor"];
    if !dice.once_in(8) {
        text += "ec_type = liberasurecode_rs_vand\n";
    }
    for (position, option) in options.into_iter().enumerate() {
        // The last two have defaults.
        if if position < 2 { !dice.once_in(8) } else { dice.once_in(4) } {
            let number = if dice.once_in(5) { dice.pick(&numbers) } else { dice.pick(&numbers[..2]) };
            text += &format!("{option} = {number}\n");
        }
    }
    text
}

fn ours(path: &Path) -> Result<Value, String> {
    let conf = swift_conf::load(path).map_err(|error| error.to_string())?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let policies: Vec<_> = conf
        .policies
        .iter()
        .map(|policy| {
            let kind = match policy.kind {
                PolicyKind::Replication => "replication",
                PolicyKind::ErasureCoding => "erasure_coding",
            };
            let (is_default, is_deprecated) = (policy.is_default, policy.is_deprecated);
            json!([policy.index.number(), policy.name, policy.aliases, kind, is_default, is_deprecated])
        })
        .collect();
    Ok(json!({ "prefix": hex(&conf.hash_path_prefix), "suffix": hex(&conf.hash_path_suffix), "policies": policies }))
}

fn reference(oracle: &mut Oracle, path: &Path) -> Result<Value, String> {
    let answer = oracle.ask(&json!(path));
    match answer.get("ok") {
        Some(conf) => Ok(conf.clone()),
        None => Err(answer["error"].as_str().expect("a text").to_owned()),
    }
}

#[test]
fn swift_conf_says_the_same_to_both_or_is_refused_by_both_with_the_reason_that_operators_know() {
    let mut oracle = Oracle::start("config_swift_conf.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swift.conf");
    let mut outcomes = Outcomes::default();
    let mut same_words = 0;
    for seed in (0..800).map(Seed::fixed) {
        let text = file(&mut Dice::new(&seed));
        std::fs::write(&path, &text).unwrap();
        let (ours, reference) = (ours(&path), reference(&mut oracle, &path));
        outcomes.compare(&ours, &reference, || format!("{seed}\n{text}"));
        if let (Err(ours), Err(reference)) = (&ours, &reference)
            && !OWN_WORDS.iter().any(|words| ours.contains(words))
        {
            // The prefix is there where the process ends with it.
            assert_eq!(ours.trim_start_matches("Error: "), reference, "{seed}\n{text}");
            same_words += 1;
        }
    }
    outcomes.assert_both_reached(200);
    assert!(same_words > 50, "{same_words}");
}

#[test]
fn salts_that_are_not_utf8_are_the_bytes_of_the_file() {
    let mut oracle = Oracle::start("config_swift_conf.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swift.conf");
    // Only the salts: for its policies the reference needs a locale to match.
    let salt = b"\xe9\x80\xff";
    std::fs::write(&path, [b"[swift-hash]\nswift_hash_path_suffix = ", &salt[..], b"\n"].concat()).unwrap();
    assert_eq!(swift_conf::load(&path).unwrap().hash_path_suffix, salt);
    assert!(reference(&mut oracle, &path).unwrap_err().contains("codec can't decode"));
}
