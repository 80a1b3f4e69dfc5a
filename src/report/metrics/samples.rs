//! Samples as they stand in the text: a name with its labels, and a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::families::{FAMILIES, PREFIX, Source, source_of};
use crate::printable::printable;

/// Values by the sample's name with its labels, as it stands in the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(pub(super) BTreeMap<String, f64>);

impl Samples {
    /// What a file says that this program wrote, of what outlives a process; lines that mean nothing here are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            let family = family_of(sample).strip_prefix(PREFIX).and_then(|name| name.strip_prefix('_'));
            let outlives = matches!(family.and_then(source_of), Some(Source::Counter | Source::LastPass));
            if outlives && is_whole(sample) && !lacks_scope(sample) {
                samples.insert(sample.to_owned(), value);
            }
        }
        Self(samples)
    }

    /// The text, every family with its description before it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (family, source, help) in FAMILIES {
            let name = format!("{PREFIX}_{family}");
            let mut own = self.of_family(&name).peekable();
            if own.peek().is_some() {
                // Nothing that is written to a string can fail.
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", source.kind());
            }
            for (sample, value) in own {
                let _ = writeln!(text, "{sample} {value}");
            }
        }
        text
    }

    /// The samples of a family, by its whole name.
    pub(super) fn of_family<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let begun = self.0.range(name.to_owned()..).take_while(move |(sample, _)| sample.starts_with(name));
        begun.filter(move |(sample, _)| family_of(sample) == name).map(|(sample, &value)| (sample.as_str(), value))
    }

    /// Takes in others, each in the place of one of its name.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Takes out a device's samples of these families; gives their names.
    pub(super) fn remove_device(&mut self, device: &str, families: &[&str]) -> Vec<String> {
        let begins = families.iter().map(|family| format!("{PREFIX}_{family}{{{}", device_label(device)));
        let of = |begin: String| {
            let own = self.0.range(begin.clone()..).take_while(move |(sample, _)| sample.starts_with(&begin));
            own.map(|(sample, _)| sample.clone()).collect::<Vec<_>>()
        };
        let removed: Vec<_> = begins.flat_map(of).collect();
        for sample in &removed {
            self.0.remove(sample);
        }
        removed
    }

    pub(super) fn set(&mut self, family: &str, labels: &str, value: f64) {
        self.0.insert(sample(family, labels), value);
    }

    pub(super) fn count(&mut self, family: &str, labels: &str, by: f64) {
        *self.0.entry(sample(family, labels)).or_default() += by;
    }
}

/// A sample's name with its labels, if it has some.
pub(super) fn sample(family: &str, labels: &str) -> String {
    if labels.is_empty() { format!("{PREFIX}_{family}") } else { format!("{PREFIX}_{family}{{{labels}}}") }
}

/// The family's whole name.
pub(super) fn family_of(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

/// Whether a sample is of a counter.
pub(super) fn is_counter(sample: &str) -> bool {
    let family = family_of(sample).strip_prefix(PREFIX).and_then(|name| name.strip_prefix('_'));
    family.and_then(source_of) == Some(Source::Counter)
}

/// The value of the only label, as it stands between its quotes.
pub(super) fn first_value(sample: &str) -> Option<&str> {
    let (_, value) = sample.split_once("=\"")?;
    Some(&value[..end_of_label(value)?])
}

/// Whether a sample was written before failures had a scope: with the new ones beside it, it would count twice.
fn lacks_scope(sample: &str) -> bool {
    family_of(sample).ends_with("_device_failures_total") && !sample.contains(",scope=\"")
}

/// Whether a sample has the form that [`sample`] and [`quoted`] give it. One that is broken would make the collector refuse
/// the whole file, for ever.
fn is_whole(sample: &str) -> bool {
    let Some((_, labels)) = sample.split_once('{') else { return false };
    let Some(mut rest) = labels.strip_suffix('}') else { return false };
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return false;
        }
        match end_of_label(value).map(|end| &value[end + 1..]) {
            Some("") => return true,
            Some(more) if more.starts_with(',') => rest = &more[1..],
            _ => return false,
        }
    }
}

/// Where the quotation mark stands that ends a label's value.
fn end_of_label(value: &str) -> Option<usize> {
    let mut characters = value.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some(at),
            '\\' if !matches!(characters.next(), Some((_, '\\' | '"' | 'n'))) => return None,
            c if !matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Borrowed(_)) => return None,
            _ => {}
        }
    }
    None
}

/// A label's value with its quotes.
pub(super) fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", printable(&escaped))
}

pub(super) fn device_label(name: &str) -> String {
    format!("device={}", quoted(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_others_or_junk_counts_for_nothing() {
        let text =
            "node_load1 0.5\nswift_object_replicator_bogus 1\n\u{0}\n{} {}\nswift_object_replicator_passes_total x";
        assert_eq!(Samples::parse(text), Samples::default());
    }

    #[test]
    fn samples_that_are_not_whole_count_for_nothing() {
        let name = "swift_object_replicator_device_sent_bytes_total";
        for labels in [
            "",
            "{",
            "{}",
            "{device=\"a\"",
            "{device=\"a}",
            "{device=\"a\"x}",
            "{device=\"a\\x\"}",
            "{device=\"\u{1b}\"}",
            "{=\"a\"}",
            "{Device=\"a\"}",
            "{device=\"a\",}",
            "{device=\"a\",cause=b}",
        ] {
            assert_eq!(Samples::parse(&format!("{name}{labels} 5\n")), Samples::default(), "{labels}");
        }
        for value in ["NaN", "inf", "-inf", "", "5 6"] {
            assert_eq!(Samples::parse(&format!("{name}{{device=\"a\"}} {value}\n")), Samples::default(), "{value}");
        }
        let mut odd = Samples::default();
        let labels = format!("device={},cause=\"full\",scope=\"peer\"", quoted("a\\\"b\n {},=é\u{1b}"));
        odd.count("device_failures_total", &labels, 5.0);
        assert_eq!(Samples::parse(&odd.text()), odd, "{}", odd.text());
    }

    #[test]
    fn what_is_so_at_a_moment_is_not_read_back() {
        let text = "swift_object_replicator_device_hanging_jobs{device=\"sda\"} 1\n\
                    swift_object_replicator_build_info{version=\"1\"} 1\n";
        assert_eq!(Samples::parse(text), Samples::default());
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(quoted("sd\u{1b}[m\u{9b}"), "\"sd#033[m#302#233\"");
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\nd\"");
        assert_eq!(first_value("x{peer=\"a\\\"b\",cause=\"full\"}"), Some("a\\\"b"));
    }
}
