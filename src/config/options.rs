//! The options of one section while they are turned into settings.
//!
//! [`Options`] remembers which options it was asked for: what an operator set and nobody asked for has no effect, and is
//! worth a warning. A value that cannot be used ends in one line that says where it stands and what is allowed.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

use super::ini::{Item, Place};
use super::value::{self, BadValue};
use crate::python::numbers::strip;

/// The longest time that a setting can mean; far enough to be never, and still safe to add to a clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A value that is not allowed.
#[derive(Debug, Error)]
#[error("{place}: {key} = {value:?}: must be {allowed}")]
pub struct BadOption {
    place: Place,
    key: String,
    value: String,
    allowed: &'static str,
}

/// The options of a section, `[DEFAULT]` included.
pub(crate) struct Options {
    items: Vec<Item>,
    asked: BTreeSet<&'static str>,
    without_effect: BTreeSet<&'static str>,
    unsupported: BTreeSet<&'static str>,
    warnings: Vec<String>,
}

impl Options {
    /// The options with these values.
    pub(crate) fn new(items: Vec<Item>) -> Self {
        Self {
            items,
            asked: BTreeSet::new(),
            without_effect: BTreeSet::new(),
            unsupported: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    /// The option's text, if it is set.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&str> {
        self.item(key).map(|item| item.value.as_str())
    }

    fn item(&mut self, key: &'static str) -> Option<&Item> {
        self.asked.insert(key);
        self.items.iter().find(|item| item.key == key)
    }

    /// Every option whose name begins as `pattern` does before its `*`: the rest of its name, and its text.
    pub(crate) fn family(&mut self, pattern: &'static str) -> Vec<(String, String)> {
        self.asked.insert(pattern);
        let begin = pattern.trim_end_matches('*');
        let rest = |item: &Item| Some((item.key.strip_prefix(begin)?.to_owned(), item.value.clone()));
        // Of an option that is set here and in [DEFAULT], the first one counts, as everywhere.
        let mut found = Vec::<(String, String)>::new();
        for (name, value) in self.items.iter().filter_map(rest) {
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, value));
            }
        }
        found
    }

    fn is_asked(&self, key: &str) -> bool {
        let is_of = |asked: &str| asked.strip_suffix('*').is_some_and(|begin| key.starts_with(begin));
        self.asked.contains(key) || self.asked.iter().any(|asked| is_of(asked))
    }

    /// The option's text.
    pub(crate) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.get(key).unwrap_or(default).to_owned()
    }

    /// The option's text; `None` if it is not set or empty.
    pub(crate) fn filled(&mut self, key: &'static str) -> Option<String> {
        self.get(key).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The option as a truth value. It never fails: whatever does not mean true is false.
    pub(crate) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.get(key).map_or(default, value::boolean)
    }

    /// The option as `parse` understands it.
    ///
    /// # Errors
    /// [`BadOption`] if `parse` refuses the text; it says where the option stands, and what is allowed (`allowed`). The
    /// same goes for the functions below.
    pub(crate) fn parse<T>(
        &mut self,
        key: &'static str,
        default: T,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> Result<T, BadOption> {
        let Some(item) = self.item(key) else {
            return Ok(default);
        };
        parse(&item.value).map_err(|BadValue| BadOption {
            place: item.place.clone(),
            key: key.to_owned(),
            value: item.value.clone(),
            allowed,
        })
    }

    /// An integer, held at the limits of `i64`.
    pub(crate) fn integer(&mut self, key: &'static str, default: i64) -> Result<i64, BadOption> {
        self.parse(key, default, "an integer", value::integer)
    }

    /// An integer, of which negative ones count as 0.
    pub(crate) fn count(&mut self, key: &'static str, default: usize) -> Result<usize, BadOption> {
        self.parse(key, default, "an integer", |text| value::integer(text).map(clamp))
    }

    /// An integer of at least 1.
    pub(crate) fn positive(&mut self, key: &'static str, default: usize) -> Result<usize, BadOption> {
        self.parse(key, default, "an integer of at least 1", |text| match value::integer(text)? {
            1.. => value::integer(text).map(clamp),
            _ => Err(BadValue),
        })
    }

    /// A number that may have a fraction.
    pub(crate) fn float(&mut self, key: &'static str, default: f64) -> Result<f64, BadOption> {
        self.parse(key, default, "a number", value::float)
    }

    /// The number of a port.
    pub(crate) fn port(&mut self, key: &'static str, default: u16) -> Result<u16, BadOption> {
        self.parse(key, default, "a port (0 to 65535)", |text| value::integer(text)?.try_into().map_err(|_| BadValue))
    }

    /// A time that may have a fraction; a negative one counts as 0.
    pub(crate) fn seconds(&mut self, key: &'static str, default: f64) -> Result<Duration, BadOption> {
        let default = seconds(default);
        self.parse(key, default, "a number of seconds", |text| match value::float(text)? {
            number if number.is_nan() => Err(BadValue),
            number => Ok(seconds(number)),
        })
    }

    /// A time without a fraction; a negative one counts as 0.
    pub(crate) fn whole_seconds(&mut self, key: &'static str, default: u64) -> Result<Duration, BadOption> {
        let default = Duration::from_secs(default);
        self.parse(key, default, "a whole number of seconds", |text| {
            value::integer(text).map(|number| Duration::from_secs(number.max(0).unsigned_abs()).min(LONGEST))
        })
    }

    /// An option that means something in this place, but is not needed now.
    pub(crate) fn unneeded(&mut self, key: &'static str) {
        self.asked.insert(key);
    }

    /// An option that Swift's own replicator reads, but that changes nothing here.
    pub(crate) fn without_effect(&mut self, key: &'static str) {
        self.asked.insert(key);
        self.without_effect.insert(key);
    }

    /// An option that Swift's own replicator does something with, and this one cannot.
    pub(crate) fn unsupported(&mut self, key: &'static str) {
        self.asked.insert(key);
        self.unsupported.insert(key);
    }

    /// Like [`Options::parse`], but a value that cannot be used is as good as none, with a warning.
    pub(crate) fn lenient<T>(
        &mut self,
        key: &'static str,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> Option<T> {
        match self.parse(key, None, allowed, |text| parse(text).map(Some)) {
            Ok(value) => value,
            Err(bad) => {
                self.warnings.push(format!("{bad}; ignored"));
                None
            }
        }
    }

    /// Adds a line to the warnings.
    pub(crate) fn warn(&mut self, line: &str) {
        self.warnings.push(line.to_owned());
    }

    /// Every option that was asked for.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> impl Iterator<Item = &'static str> {
        self.asked.iter().copied()
    }

    /// What an operator should know of the options: one line each.
    ///
    /// `[DEFAULT]` is shared with other daemons, which may well know what is unknown here: of it are named only the keys
    /// that no daemon can know, and those with which Swift's own replicator does what this one cannot.
    pub(crate) fn into_warnings(mut self) -> Vec<String> {
        for item in &self.items {
            let Item { key, place, inherited, .. } = item;
            let key = key.as_str();
            if let Some(option) = key.strip_prefix("set ").map(strip) {
                let line = format!("{place}: {key:?} sets nothing, only paste.deploy knows \"set\": write {option:?}");
                self.warnings.push(line);
            } else if self.unsupported.contains(key) {
                if !item.value.is_empty() {
                    let line =
                        format!("{place}: option {key} is not supported by this replicator: nothing is done for it");
                    self.warnings.push(line);
                }
            } else if *inherited {
                // Another daemon's, or one of ours.
            } else if self.without_effect.contains(key) {
                self.warnings.push(format!("{place}: option {key} has no effect on this replicator"));
            } else if !self.is_asked(key) {
                self.warnings.push(format!("{place}: {key:?} is not an option of the object replicator"));
            }
        }
        self.warnings
    }
}

fn clamp(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(settings: &[(&str, &str, bool)]) -> Options {
        let place = Place { file: Path::new("o.conf").into(), line: 7 };
        let item = |&(key, value, inherited): &(&str, &str, bool)| Item {
            key: key.into(),
            value: value.into(),
            place: place.clone(),
            inherited,
        };
        Options::new(settings.iter().map(item).collect())
    }

    fn time(text: &str) -> Result<Duration, String> {
        options(&[("interval", text, false)]).seconds("interval", 30.0).map_err(|e| e.to_string())
    }

    #[test]
    fn a_bad_value_is_one_line_with_place_key_value_and_what_is_allowed() {
        assert_eq!(time("5 # x"), Err("o.conf line 7: interval = \"5 # x\": must be a number of seconds".into()));
        assert_eq!(time("5\n6"), Err("o.conf line 7: interval = \"5\\n6\": must be a number of seconds".into()));
    }

    #[test]
    fn times_are_neither_negative_nor_endless() {
        assert_eq!(time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(time("-1"), Ok(Duration::ZERO));
        assert_eq!(time("inf"), Ok(LONGEST));
        assert_eq!(time("1e300"), Ok(LONGEST));
        assert!(time("nan").is_err());
        let whole = |text| options(&[("t", text, false)]).whole_seconds("t", 1).map_err(|e| e.to_string());
        assert_eq!(whole("-9223372036854775808"), Ok(Duration::ZERO));
        assert_eq!(whole("9999999999999999999"), Ok(LONGEST));
        assert!(whole("1.5").is_err());
    }

    #[test]
    fn numbers_keep_to_their_limits() {
        let count = |text| options(&[("n", text, false)]).count("n", 1).ok();
        assert_eq!((count("-3"), count("3"), count("x")), (Some(0), Some(3), None));
        let positive = |text| options(&[("n", text, false)]).positive("n", 1).ok();
        assert_eq!((positive("0"), positive("1"), positive("x")), (None, Some(1), None));
        let port = |text| options(&[("n", text, false)]).port("n", 1).ok();
        assert_eq!((port("-1"), port("65535"), port("65536")), (None, Some(65_535), None));
    }

    #[test]
    fn what_is_set_in_the_section_and_does_nothing_is_warned_of() {
        let mut options = options(&[
            ("known", "1", false),
            ("splice", "yes", false),
            ("typo", "1", false),
            ("set log_level", "DEBUG", true),
            ("workers", "4", true),
            ("splice", "yes", true),
            ("log_custom_handlers", "a.b", true),
            ("log_custom_handlers", "", false),
        ]);
        options.without_effect("splice");
        options.unsupported("log_custom_handlers");
        options.text("known", "");
        assert_eq!(
            options.into_warnings(),
            [
                "o.conf line 7: option splice has no effect on this replicator",
                "o.conf line 7: \"typo\" is not an option of the object replicator",
                "o.conf line 7: \"set log_level\" sets nothing, only paste.deploy knows \"set\": write \"log_level\"",
                "o.conf line 7: option log_custom_handlers is not supported by this replicator: nothing is done for it",
            ]
        );
    }

    #[test]
    fn a_family_of_options_is_known_by_how_their_names_begin() {
        let mut options =
            options(&[("label_a", "1", false), ("other", "2", false), ("label_a", "3", true), ("label_b", "4", true)]);
        let pairs = [("a", "1"), ("b", "4")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(options.family("label_*"), pairs);
        assert_eq!(options.into_warnings(), ["o.conf line 7: \"other\" is not an option of the object replicator"]);
    }

    #[test]
    fn a_lenient_value_is_warned_of_and_ignored() {
        let mut options = options(&[("nice", "high", false)]);
        assert_eq!(options.lenient("nice", "an integer", value::integer), None);
        assert_eq!(options.into_warnings(), ["o.conf line 7: nice = \"high\": must be an integer; ignored"]);
    }
}
