//! What can be limited while passes run, and by which values.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

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

    /// Reads a name.
    ///
    /// # Errors
    /// [`BadLimit`] if there is no limit of that name.
    pub(crate) fn parse_name(name: &str) -> Result<Self, BadLimit> {
        let limit = Self::ALL.into_iter().find(|limit| limit.name() == name.trim());
        limit.ok_or_else(|| BadLimit::Unknown(name.trim().to_owned()))
    }

    /// Reads `NAME=VALUE`.
    ///
    /// # Errors
    /// [`BadLimit`] if there is no limit of that name, or it cannot have that value.
    pub(crate) fn parse_assignment(text: &str) -> Result<(Self, String), BadLimit> {
        let (name, value) = text.split_once('=').ok_or_else(|| BadLimit::Unknown(text.to_owned()))?;
        let limit = Self::parse_name(name)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
