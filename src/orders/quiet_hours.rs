//! `quiet_hours`: a time of each day in which other limits are in force, like `08:00-19:00 concurrency=1`.

use std::fmt;

use super::limit::Limit;

/// What a value of the option must be.
pub(crate) const ALLOWED: &str = "hours and limits, like \"08:00-19:00 concurrency=1 rsync_bwlimit=10000\"";

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A time of each day, with its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuietHours {
    /// In minutes since the day began.
    from: u16,
    /// The first minute after it; not above `from` if it goes over midnight.
    until: u16,
    limits: Vec<(Limit, String)>,
}

impl QuietHours {
    /// Reads the option's value; `None` if it is not [`ALLOWED`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (from, until) = words.next()?.split_once('-')?;
        let (from, until) = (minute(from).filter(|from| *from < DAY)?, minute(until)?);
        let limits = words.map(Limit::parse_assignment).collect::<Result<Vec<_>, _>>().ok()?;
        let is_named_twice =
            limits.iter().enumerate().any(|(at, (limit, _))| limits[..at].iter().any(|l| l.0 == *limit));
        (from != until && !limits.is_empty() && !is_named_twice).then_some(Self { from, until, limits })
    }

    /// Whether the minute of the day is one of them.
    pub(crate) fn contain(&self, minute: u16) -> bool {
        match self.from < self.until {
            true => (self.from..self.until).contains(&minute),
            false => minute >= self.from || minute < self.until,
        }
    }

    /// The value of a limit meanwhile, if it is another one.
    pub(crate) fn limit(&self, limit: Limit) -> Option<&str> {
        self.limits.iter().find(|(name, _)| *name == limit).map(|(_, value)| value.as_str())
    }

    /// Only the hours.
    pub(crate) fn hours(&self) -> String {
        let [from, until] = [self.from, self.until].map(|minute| format!("{:02}:{:02}", minute / 60, minute % 60));
        format!("{from}-{until}")
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hours())?;
        self.limits.iter().try_for_each(|(limit, value)| write!(f, " {limit}={value}"))
    }
}

/// Reads `8:00` or `08:00`; the day ends at `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, longest: usize| {
        let is_number = !text.is_empty() && text.len() <= longest && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let (hour, minute) = (number(hour, 2)?, number(minute, 2).filter(|minute| *minute < 60)?);
    Some(hour * 60 + minute).filter(|minute| *minute <= DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(text: &str, minutes: [u16; 4]) -> [bool; 4] {
        let hours = QuietHours::parse(text).unwrap();
        minutes.map(|minute| hours.contain(minute))
    }

    #[test]
    fn the_hours_begin_with_their_first_minute_and_end_before_their_last() {
        let text = "08:00-19:00 concurrency=1";
        assert_eq!(contains(text, [479, 480, 1139, 1140]), [false, true, true, false]);
    }

    #[test]
    fn hours_may_go_over_midnight_and_to_the_end_of_the_day() {
        assert_eq!(contains("22:00-6:30 concurrency=1", [1319, 1320, 389, 390]), [false, true, true, false]);
        assert_eq!(contains("0:00-24:00 concurrency=1", [0, 1, 1438, 1439]), [true; 4]);
        assert_eq!(contains("20:00-24:00 concurrency=1", [0, 1199, 1200, 1439]), [false, false, true, true]);
    }

    #[test]
    fn what_is_no_hours_with_limits_is_refused() {
        for text in [
            "",
            "08:00-19:00",
            "08:00 concurrency=1",
            "8-19 concurrency=1",
            "08:00-25:00 concurrency=1",
            "24:00-06:00 concurrency=1",
            "08:60-19:00 concurrency=1",
            "+8:00-19:00 concurrency=1",
            "08:00-08:00 concurrency=1",
            "08:00-19:00 concurrency=0",
            "08:00-19:00 speed=1",
            "08:00-19:00 concurrency=1 concurrency=2",
            "concurrency=1 08:00-19:00",
        ] {
            assert_eq!(QuietHours::parse(text), None, "{text}");
        }
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        let text = "08:00-19:00 concurrency=1 rsync_bwlimit=10000";
        assert_eq!(QuietHours::parse(text).unwrap().to_string(), text);
    }
}
