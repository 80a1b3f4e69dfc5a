//! Prometheus' text format, strictly: what is here is what this program may write, not all that collectors take.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::promtool::promtool;

/// The samples of a text by their names with labels, if nothing is wrong with it.
#[track_caller]
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    match check(text) {
        Ok(samples) => samples,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Fails unless both checkers are content with the text.
#[track_caller]
pub fn assert_well_formed(text: &str) -> BTreeMap<String, f64> {
    let samples = samples(text);
    if let Some(said) = promtool(&["check", "metrics"], text) {
        assert_eq!(said, (Some(0), String::new()), "promtool is not content with\n{text}");
    }
    samples
}

#[derive(Default)]
struct Checker {
    /// Families that have begun.
    known: BTreeSet<String>,
    family: String,
    kind: String,
    samples: BTreeMap<String, f64>,
}

fn check(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut checker = Checker::default();
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.lines() {
        checker.line(line).map_err(|error| format!("{error}: {line}"))?;
    }
    Ok(checker.samples)
}

impl Checker {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or("a help without text")?;
            let is_new = self.known.insert(name.to_owned());
            (self.family, self.kind) = (name.to_owned(), String::new());
            let is_well = is_new && is_name(name) && !help.is_empty() && !help.contains('\\');
            return if is_well { Ok(()) } else { Err("a second description of a family, or a bad one") };
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("a type without a kind")?;
            let is_well = name == self.family && self.kind.is_empty() && ["counter", "gauge"].contains(&kind);
            self.kind = kind.to_owned();
            return if is_well { Ok(()) } else { Err("a type that is not behind its help, or is none") };
        }
        self.sample(line)
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let (name, value) = line.rsplit_once(' ').ok_or("no sample")?;
        let family = name.split('{').next().unwrap_or_default();
        let value: f64 = value.parse().map_err(|_| "the value is no number")?;
        if family != self.family || self.kind.is_empty() {
            return Err("a sample that is not below its family");
        }
        if !value.is_finite() || (self.kind == "counter") != family.ends_with("_total") {
            return Err("a counter that is not named so, or a value that nobody can mean");
        }
        if self.kind == "counter" && value < 0.0 {
            return Err("a counter below zero");
        }
        if let Some(labels) = name.strip_prefix(family).filter(|labels| !labels.is_empty()) {
            check_labels(labels)?;
        }
        match self.samples.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err("a sample that was there before"),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with("swift_object_replicator_") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Labels in braces, each with another name.
fn check_labels(labels: &str) -> Result<(), &'static str> {
    let mut rest = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or("no braces")?;
    let mut names = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("no label")?;
        let is_well = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()) && names.insert(name);
        let end = end_of_value(value).ok_or("a value without an end, or with a wrong escape")?;
        match &value[end + 1..] {
            _ if !is_well => return Err("a label's name is wrong, or there twice"),
            "" => return Ok(()),
            more => rest = more.strip_prefix(',').ok_or("something behind a label")?,
        }
    }
}

fn end_of_value(value: &str) -> Option<usize> {
    let mut characters = value.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some(at),
            '\\' if !matches!(characters.next(), Some((_, '\\' | '"' | 'n'))) => return None,
            c if c.is_control() => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let head = "# HELP swift_object_replicator_x_total X.\n# TYPE swift_object_replicator_x_total counter\n";
    let sample = "swift_object_replicator_x_total{peer=\"a\\\"b\"} 5\n";
    assert_eq!(samples(&format!("{head}{sample}")).values().collect::<Vec<_>>(), [&5.0]);
    for wrong in [
        sample.to_owned(),
        format!("{head}{sample}{sample}"),
        format!("{head}{sample}{head}"),
        format!("{head}{}", sample.trim_end()),
        format!("{head}{}", sample.replace('5', "-5")),
        format!("{head}{}", sample.replace('5', "NaN")),
        format!("{head}{}", sample.replace("a\\\"", "a\\x")),
        format!("{head}{}", sample.replace("{peer", "{peer=\"a\",peer")),
        format!("{head}{}", sample.replace('}', ",}")),
        format!("{head}{}", sample.replace("x_total", "y_total")),
        format!("{}{sample}", head.replace("counter", "gauge")),
        format!("{}{sample}", head.lines().next().unwrap()),
    ] {
        assert!(check(&wrong).is_err(), "{wrong}");
    }
}
