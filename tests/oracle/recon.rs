//! Updates of the recon cache: the same file as after the reference's, whatever it held before; and both at a time.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::{Map, Value, json};
use swift_object_replicator::report::recon::{ReconError, dump};

use super::report::{any_text, one_of};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

/// JSON that may stand in the cache, in a form of its own: spaces, escapes, numbers that need care.
fn any_json(rng: &mut fastrand::Rng, depth: usize) -> String {
    let space = one_of(["", " ", "\t"], rng);
    match rng.u8(..if depth == 0 { 5 } else { 8 }) {
        0 => one_of(["null", "true", "false", "NaN", "Infinity", "-Infinity"], rng).to_owned(),
        1 => one_of(["0", "-0", "-7", "18446744073709551616", "123456789012345678901234567890"], rng).to_owned(),
        2 => format!("{}{}", f64::from_bits(rng.u64(..) >> 2), one_of(["", "e0", "E-7", "e+300"], rng)),
        3 => format!("{:?}", rng.f64() * 1e10),
        4 => any_json_string(rng),
        5 => format!("[{space}{}{space}]", any_items(rng, |rng| any_json(rng, depth - 1))),
        _ => any_json_object(rng, depth - 1),
    }
}

fn any_json_object(rng: &mut fastrand::Rng, depth: usize) -> String {
    let space = one_of(["", " "], rng);
    let entries = any_items(rng, |rng| format!("{}{space}:{}", any_key(rng), any_json(rng, depth)));
    format!("{{{space}{entries}{space}}}")
}

fn any_items(rng: &mut fastrand::Rng, item: impl Fn(&mut fastrand::Rng) -> String) -> String {
    (0..rng.usize(..5)).map(|_| item(rng)).collect::<Vec<_>>().join(one_of([",", ", "], rng))
}

/// A key, mostly one that others have too.
fn any_key(rng: &mut fastrand::Rng) -> String {
    if rng.bool() { format!("\"k{}\"", rng.u8(..6)) } else { any_json_string(rng) }
}

fn any_json_string(rng: &mut fastrand::Rng) -> String {
    let special = one_of(["", "", "\\ud800", "\\ud83d\\ude00", "\\udc00\\ud800", "\\u0041\\/\\b\\f", "\u{7f}"], rng);
    let text = Value::String(any_text(rng, 6)).to_string();
    format!("\"{special}{}", &text[1..])
}

/// What a file may hold instead of a cache, or what is left of one.
fn any_garbage(rng: &mut fastrand::Rng) -> String {
    let object = any_json_object(rng, 2);
    match rng.u8(..5) {
        0 => String::new(),
        1 => any_text(rng, 20),
        2 => object.chars().take(rng.usize(..=object.chars().count())).collect(),
        3 => format!("{object} {object}"),
        _ => format!("\n{object}"),
    }
}

/// Entries as one of our own passes could have them, but of any depth.
fn any_entries(rng: &mut fastrand::Rng) -> Map<String, Value> {
    let value = |rng: &mut fastrand::Rng| match rng.u8(..6) {
        0 => json!({}),
        1 => json!(rng.u64(..)),
        2 => json!(f64::from_bits(rng.u64(..) >> 2)),
        3 => json!(any_text(rng, 6)),
        4 => json!([1, {}, null, {"b": {}, "a": [true]}]),
        _ => json!({"k0": {}, "k1": rng.i32(..)}),
    };
    (0..rng.usize(..5))
        .map(|_| {
            let key = format!("k{}", rng.u8(..6));
            let parts: Value = (0..3).map(|_| (format!("k{}", rng.u8(..6)), value(rng))).collect();
            if rng.u8(..3) > 0 { (key, parts) } else { (key, value(rng)) }
        })
        .collect()
}

#[test]
fn an_update_leaves_the_file_that_the_references_leaves() {
    let seed = Seed::of_this_run();
    let mut rng = seed.rng();
    let mut oracle = Oracle::start("recon.py");
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |dir: &Path| dir.join("object.recon");
    for _ in 0..600 {
        let before = if rng.u8(..4) == 0 { any_garbage(&mut rng) } else { any_json_object(&mut rng, 3) + "\n" };
        // A list, a string or a number has the reference fail forever; ours begins anew.
        if oracle.ask(&json!(["holds_other_json", {"content": before}])) == true {
            continue;
        }
        fs::write(file(theirs.path()), &before).unwrap();
        fs::write(file(ours.path()), &before).unwrap();
        let entries = any_entries(&mut rng);
        let errors = oracle.ask(&json!(["dump", {"path": file(theirs.path()), "entries": entries}]));
        assert_eq!(errors, json!([]), "{before}");
        dump(ours.path(), &entries).unwrap();
        let content = |dir: &Path| fs::read_to_string(file(dir)).unwrap();
        assert_eq!(content(ours.path()), content(theirs.path()), "{entries:?} into {before}");
    }
}

#[test]
fn errors_have_the_references_words() {
    let mut oracle = Oracle::start("recon.py");
    let dir = tempfile::tempdir().unwrap();
    let folder_instead = dir.path().join("folder");
    fs::create_dir_all(folder_instead.join("object.recon")).unwrap();
    for cache_dir in [dir.path().join("missing"), folder_instead] {
        let file = cache_dir.join("object.recon");
        let lines = oracle.ask(&json!(["dump", {"path": file, "entries": {"k": 1}}]));
        let error = dump(&cache_dir, &Map::from_iter([("k".to_owned(), json!(1))])).unwrap_err();
        assert_eq!(json!([format!("Exception dumping recon cache: {error}")]), lines);
    }
}

#[test]
fn nothing_is_lost_between_writers_of_both_kinds() {
    const UPDATES: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("object.recon");
    thread::scope(|scope| {
        for name in ["python-a", "python-b"] {
            let arguments = json!(["dump_many", {"path": file, "name": name, "times": UPDATES}]);
            scope.spawn(move || Oracle::start("recon.py").ask(&arguments));
        }
        for name in ["rust-a", "rust-b"] {
            let dir = dir.path();
            scope.spawn(move || (0..UPDATES).for_each(|number| dump_until_locked(dir, &format!("{name}-{number}"))));
        }
    });
    let content: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(content.len(), 4 * UPDATES);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
}

fn dump_until_locked(dir: &Path, key: &str) {
    let entries = Map::from_iter([(key.to_owned(), json!(0))]);
    while let Err(error) = dump(dir, &entries) {
        assert!(matches!(error, ReconError::LockTimeout { .. }), "{error}");
    }
}
