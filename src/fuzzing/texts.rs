//! Texts that operators and other programs write.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::{file, scratch};
use crate::config::ini::{Dialect, Ini, Item};
use crate::config::interpolation::Interpolation;
use crate::printable::{printable_bytes, printable_json};
use crate::python::json::Json;
use crate::report::metrics::Samples;
use crate::report::status::{self, Status};
use crate::report::{html, recon};
use crate::{cli, config, printable as shown};

/// Names and texts, for terminals and the log.
pub(super) fn printable(bytes: &[u8]) {
    let text = printable_bytes(bytes).into_owned();
    assert_harmless(&text);
    assert!(matches!(shown::printable(&text), Cow::Borrowed(_)), "a second time changes nothing");
    let value = serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printable_json(value.to_string())).ok(), Some(value));
}

/// A text for a terminal, which may have several lines.
#[track_caller]
fn assert_harmless(text: &str) {
    assert!(text.lines().all(|line| !line.chars().any(char::is_control)), "{text:?}");
}

/// The dialect of Swift's configuration files.
pub(super) fn ini(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for strict in [true, false] {
        let Some(read) = sections(&text, strict) else { continue };
        let mut written = String::new();
        for (name, items) in &read {
            // Nothing that is written to a string can fail.
            let _ = writeln!(written, "[{name}]");
            for Item { key, value, .. } in items {
                let _ = writeln!(written, "{key} = {}", value.replace('\n', "\n "));
            }
        }
        let plain = |read: Vec<(String, Vec<Item>)>| -> Vec<(String, Vec<(String, String)>)> {
            let items = |items: Vec<Item>| items.into_iter().map(|item| (item.key, item.value)).collect();
            read.into_iter().map(|(name, all)| (name, items(all))).collect()
        };
        let again = sections(&written, true).unwrap_or_else(|| panic!("what was read is no file: {written:?}"));
        assert_eq!(plain(again), plain(read), "{written:?}");
    }
}

/// All sections with all their options; `None` if that is no file, or one whose values refer to others.
fn sections(text: &str, strict: bool) -> Option<Vec<(String, Vec<Item>)>> {
    let mut ini = Ini::new(Dialect { strict, lower_case_keys: false });
    ini.read(Path::new("a.conf"), text).ok()?;
    let items =
        |name: &str| ini.items(name, Interpolation::WhereReferred).ok().flatten().map(|all| (name.to_owned(), all));
    let all: Vec<_> = ini.sections().map(items).collect::<Option<_>>()?;
    (!text.contains("%(")).then_some(all)
}

/// The options of the replicator.
pub(super) fn settings(bytes: &[u8]) {
    let path = file("object-server.conf", &[b"[object-replicator]\n", bytes].concat());
    match config::settings::load(&path) {
        Ok(loaded) => {
            let settings = loaded.settings;
            assert!(settings.concurrency > 0 && settings.rsync.batch > 0 && !settings.lockup_timeout.is_zero());
            assert!(loaded.warnings.len() <= bytes.len() + 1);
        }
        Err(error) => assert_harmless(&shown::printable(&error.to_string())),
    }
}

/// `swift.conf`.
pub(super) fn swift_conf(bytes: &[u8]) {
    let Ok(conf) = config::swift_conf::load(&file("swift.conf", bytes)) else { return };
    assert!(!conf.hash_path_prefix.is_empty() || !conf.hash_path_suffix.is_empty());
    let mut indices: Vec<_> = conf.policies.iter().map(|policy| policy.index).collect();
    indices.sort_unstable();
    assert!(indices.windows(2).all(|pair| pair[0] != pair[1]), "each index once: {indices:?}");
    assert_eq!(conf.policies.iter().filter(|policy| policy.is_default).count(), 1);
}

/// The recon cache.
pub(super) fn recon(bytes: &[u8]) {
    if let Some(json) = str::from_utf8(bytes).ok().and_then(Json::parse) {
        let mut line = String::new();
        json.write(&mut line);
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let mut again = String::new();
        Json::parse(&line).expect("what we write can be read").write(&mut again);
        assert_eq!(again, line);
        if let Ok(theirs) = serde_json::from_slice::<serde_json::Value>(bytes) {
            let ours = serde_json::Value::from(json);
            assert!(same(&ours, &theirs), "{ours}, {theirs}");
        }
    }
    file("object.recon", bytes);
    let before = recon::load(&scratch()).expect("junk is no error");
    let entries = serde_json::json!({"ours": {"key": 1}});
    recon::dump(&scratch(), entries.as_object().expect("it is one")).expect("junk is no error");
    let after = recon::load(&scratch()).expect("it was just written");
    assert_eq!(after["ours"]["key"], 1);
    assert!(before.iter().all(|(key, value)| key == "ours" || after.get(key) == Some(value)));
}

/// Whether two readers found the same. The other one is satisfied with a number that is nearly the right one.
fn same(ours: &serde_json::Value, theirs: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (ours, theirs) {
        (Number(ours), Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap_or_default(), theirs.as_f64().unwrap_or_default());
            (ours - theirs).abs() <= theirs.abs() * 1e-9
        }
        (Array(ours), Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Object(ours), Object(theirs)) => {
            let is_there = |(key, theirs)| ours.get(key).is_some_and(|ours| same(ours, theirs));
            ours.len() == theirs.len() && theirs.iter().all(is_there)
        }
        (ours, theirs) => ours == theirs,
    }
}

/// The status file.
pub(super) fn status(bytes: &[u8]) {
    file(status::Kind::Daemon.file(), bytes);
    let Ok(status) = status::read(&scratch(), status::Kind::Daemon) else { return };
    for (now, began) in
        [(1.8e9, None), (1.8e9, Some(status.process_began)), (status.written, Some(status.process_began))]
    {
        let health = status.health(now, began);
        assert_harmless(&status.table(now, &health));
    }
    status.last.iter().for_each(|report| assert_harmless(&html::page(report)));
    let json = serde_json::to_string(&status).expect("names, numbers and texts");
    assert!(serde_json::from_str::<Status>(&json).is_ok(), "{json}");
}

/// The metrics of an earlier process.
pub(super) fn metrics(bytes: &[u8]) {
    let samples = Samples::parse(&String::from_utf8_lossy(bytes));
    let text = samples.text();
    assert_harmless(&text);
    assert_eq!(Samples::parse(&text), samples, "{text:?}");
}

/// The command line: words that end with NUL bytes.
pub(super) fn command_line(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    match cli::parse(words.take(64)) {
        Ok(arguments) => {
            assert!(arguments.config.is_absolute());
            let _ = arguments.overrides();
        }
        Err(stop) => {
            assert!(stop.exit_code <= 2 && stop.text.ends_with('\n'), "{stop:?}");
            assert_harmless(&stop.text);
        }
    }
}
