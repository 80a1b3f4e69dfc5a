//! Limits that can be changed while passes run: by an order, or by quiet hours. An order counts for more.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Order;
use super::moment::Moment;
use super::quiet_hours::QuietHours;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// Jobs at a time, of each group of workers.
    Concurrency,
    /// Of each rsync, in its own words: kilobytes per second, or with a unit.
    RsyncBwlimit,
}

/// The most jobs at a time that can be ordered: a thread each.
const MOST_JOBS: usize = 1000;

/// A limit that cannot be set: one line.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BadLimit {
    #[error("{0:?} cannot be set: write one or more of concurrency=NUMBER and rsync_bwlimit=RATE")]
    Unknown(String),
    #[error("concurrency = {0:?}: must be an integer from 1 to {MOST_JOBS}, or default")]
    Concurrency(String),
    #[error(
        "rsync_bwlimit = {0:?}: must be a rate as rsync takes it (20000 for kilobytes per second, 20m, 0 for no limit), or default"
    )]
    RsyncBwlimit(String),
}

impl Limit {
    /// All that there are.
    pub(crate) const ALL: [Self; 2] = [Self::Concurrency, Self::RsyncBwlimit];

    /// The name of its option.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::RsyncBwlimit => "rsync_bwlimit",
        }
    }

    /// Reads `NAME=VALUE`.
    ///
    /// # Errors
    /// [`BadLimit`] if there is no limit of that name, or it cannot have that value.
    pub(crate) fn parse_assignment(text: &str) -> Result<(Self, String), BadLimit> {
        let (name, value) = text.split_once('=').ok_or_else(|| BadLimit::Unknown(text.to_owned()))?;
        let limit = Self::ALL.into_iter().find(|limit| limit.name() == name.trim());
        let limit = limit.ok_or_else(|| BadLimit::Unknown(name.trim().to_owned()))?;
        Ok((limit, limit.check(value.trim())?))
    }

    /// The value as it is used.
    ///
    /// # Errors
    /// [`BadLimit`] if the limit cannot have that value.
    pub(crate) fn check(self, value: &str) -> Result<String, BadLimit> {
        match self {
            Self::Concurrency => {
                let jobs = value.parse().ok().filter(|jobs| (1..=MOST_JOBS).contains(jobs));
                jobs.map(|jobs| jobs.to_string()).ok_or_else(|| BadLimit::Concurrency(value.to_owned()))
            }
            Self::RsyncBwlimit if is_rate(value) => Ok(value.to_owned()),
            Self::RsyncBwlimit => Err(BadLimit::RsyncBwlimit(value.to_owned())),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether rsync takes it: digits, perhaps with a fraction, perhaps with a unit (`K`, `MB`, `GiB`). It refuses a limit of
/// less than 512 bytes per second.
fn is_rate(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &text[..text.len() - unit.len()];
    let starts_well = number.starts_with(|c: char| c.is_ascii_digit()) && text.len() <= 20;
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "" | "k" | "kb" | "kib" => 1e3,
        "m" | "mb" | "mib" => 1e6,
        "g" | "gb" | "gib" => 1e9,
        "t" | "tb" | "tib" => 1e12,
        _ => return false,
    };
    starts_well && number.parse::<f64>().is_ok_and(|number| number == 0.0 || number * bytes >= 512.0)
}

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Configured {
    pub concurrency: usize,
    pub rsync_bwlimit: String,
    pub quiet_hours: Option<QuietHours>,
}

/// A limit that was ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SetLimit {
    pub name: Limit,
    pub value: String,
    #[serde(flatten)]
    pub order: Order,
}

/// Why a limit is what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    Configuration,
    /// The hours.
    QuietHours(String),
    Order(Order),
}

/// A limit as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitInForce {
    pub name: Limit,
    pub value: String,
    /// What the option in the configuration says.
    pub configured: String,
    pub why: Why,
}

/// All limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    configured: Configured,
    set: Vec<SetLimit>,
}

impl Limits {
    pub(super) fn configure(&mut self, configured: Configured) {
        self.configured = configured;
    }

    pub(super) fn quiet_hours(&self) -> Option<&QuietHours> {
        self.configured.quiet_hours.as_ref()
    }

    pub(super) fn set(&mut self, limit: Limit, value: Option<&str>, order: &Order) {
        self.set.retain(|set| set.name != limit);
        self.set.extend(value.map(|value| SetLimit { name: limit, value: value.to_owned(), order: order.clone() }));
    }

    /// Those that were ordered and hold.
    pub(super) fn set_by_order(&self, now: f64) -> impl Iterator<Item = &SetLimit> {
        self.set.iter().filter(move |set| set.order.holds(now))
    }

    /// What an order or quiet hours say.
    fn special(&self, limit: Limit, now: Moment) -> Option<(String, Why)> {
        let ordered = self.set_by_order(now.unix).find(|set| set.name == limit);
        if let Some(SetLimit { value, order, .. }) = ordered {
            return Some((value.clone(), Why::Order(order.clone())));
        }
        let hours = self.quiet_hours().filter(|hours| hours.contain(now.minute))?;
        Some((hours.limit(limit)?.to_owned(), Why::QuietHours(hours.hours())))
    }

    pub(super) fn value(&self, limit: Limit, now: Moment) -> Option<String> {
        self.special(limit, now).map(|(value, _)| value)
    }

    pub(super) fn in_force(&self, now: Moment) -> Vec<LimitInForce> {
        let in_force = |name: Limit| {
            let configured = match name {
                Limit::Concurrency => self.configured.concurrency.to_string(),
                Limit::RsyncBwlimit => self.configured.rsync_bwlimit.clone(),
            };
            let (value, why) = self.special(name, now).unwrap_or_else(|| (configured.clone(), Why::Configuration));
            LimitInForce { name, value, configured, why }
        };
        Limit::ALL.map(in_force).into()
    }

    /// Takes out those whose time is over.
    pub(super) fn expire(&mut self, now: f64) -> Vec<SetLimit> {
        self.set.extract_if(.., |set| !set.order.holds(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::order;
    use super::*;

    fn limits() -> Limits {
        let mut limits = Limits::default();
        let quiet_hours = Some(QuietHours::parse("08:00-19:00 concurrency=1").unwrap());
        limits.configure(Configured { concurrency: 8, rsync_bwlimit: "0".into(), quiet_hours });
        limits
    }

    #[test]
    fn an_order_counts_for_more_than_quiet_hours_and_those_for_more_than_the_option() {
        let (night, day) = (Moment { unix: 150.0, minute: 60 }, Moment { unix: 150.0, minute: 600 });
        let mut limits = limits();
        assert_eq!(limits.value(Limit::Concurrency, night), None);
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("1"));
        assert_eq!(limits.value(Limit::RsyncBwlimit, day), None);
        limits.set(Limit::Concurrency, Some("4"), &order(Some(200.0)));
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("4"));
        let [concurrency, bwlimit] = &limits.in_force(day)[..] else { panic!("two limits") };
        assert_eq!((concurrency.configured.as_str(), &concurrency.why), ("8", &Why::Order(order(Some(200.0)))));
        assert_eq!((bwlimit.value.as_str(), &bwlimit.why), ("0", &Why::Configuration));
        let later = Moment { unix: 200.0, ..day };
        assert_eq!(limits.in_force(later)[0].why, Why::QuietHours("08:00-19:00".into()));
        limits.set(Limit::Concurrency, None, &order(None));
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("1"));
    }

    #[test]
    fn names_and_values_are_checked() {
        for (text, limit, value) in [
            ("concurrency=4", Limit::Concurrency, "4"),
            ("concurrency = 010", Limit::Concurrency, "10"),
            ("rsync_bwlimit=20000", Limit::RsyncBwlimit, "20000"),
            ("rsync_bwlimit=1.5m", Limit::RsyncBwlimit, "1.5m"),
            ("rsync_bwlimit=10MiB", Limit::RsyncBwlimit, "10MiB"),
        ] {
            assert_eq!(Limit::parse_assignment(text), Ok((limit, value.to_owned())));
        }
        for text in ["concurrency", "speed=4", "concurrency=0", "concurrency=1001", "concurrency=-1", "concurrency=x"] {
            assert!(Limit::parse_assignment(text).is_err(), "{text}");
        }
        for rate in [
            "",
            "fast",
            "-1",
            "1x",
            "0.1",
            "511b",
            "1kk",
            "1.2.3",
            ".5",
            "1 m",
            "--bwlimit",
            "1kib2",
            "99999999999999999999999",
        ] {
            assert!(Limit::RsyncBwlimit.check(rate).is_err(), "{rate}");
        }
    }
}
