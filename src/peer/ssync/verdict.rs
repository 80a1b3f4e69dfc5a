//! What a receiver says when it gives up: `:ERROR: <status> <reason>`, the reason as Python shows it (B9.15, B9.23).
//!
//! Its parts are read only in the very form in which Swift's receiver writes them; whatever else it says is only quoted.

/// What a receiver that gave up has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is too busy: it takes no more conversations now (503), or somebody holds the partition's lock.
    Busy,
    /// It went through all updates, and could not do some of them. It does not say which, nor why.
    Refused {
        /// How many it could not do.
        refused: u64,
        /// How many it has done.
        done: u64,
    },
    /// It did not go on: one update was more than it could take, or too many were refused.
    BrokeOff {
        /// How many updates it looked at, if it says so; the last of them is one that it could not do.
        after: Option<u64>,
    },
}

impl Verdict {
    /// What this line says, if it says something of the kind.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (status, reason) = std::str::from_utf8(line).ok()?.strip_prefix(":ERROR: ")?.split_once(' ')?;
        match status {
            "503" => Some(Self::Busy),
            "500" => {
                let counts = quoted(reason.strip_prefix('b')?)?.strip_prefix("ERROR: With :UPDATES: ")?;
                failures_to_successes(counts).map(|(refused, done)| Self::Refused { refused, done })
            }
            "0" => Some(match quoted(reason) {
                Some(reason) if is_lock_timeout(reason) => Self::Busy,
                Some(reason) => Self::BrokeOff { after: too_many(reason) },
                None => Self::BrokeOff { after: None },
            }),
            // 408 is said when it waited for us.
            _ => None,
        }
    }
}

/// What stands in quotes.
fn quoted(text: &str) -> Option<&str> {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

/// After how many updates there were too many failures.
fn too_many(reason: &str) -> Option<u64> {
    let (refused, done) = failures_to_successes(reason.strip_prefix("Too many ")?)?;
    refused.checked_add(done)
}

/// The numbers in `3 failures to 5 successes`.
fn failures_to_successes(text: &str) -> Option<(u64, u64)> {
    let (failures, successes) = text.strip_suffix(" successes")?.split_once(" failures to ")?;
    Some((number(failures)?, number(successes)?))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether this is the time for which a lock was waited for, and the lock's path: `15 seconds: /srv/node/...`.
fn is_lock_timeout(reason: &str) -> bool {
    let Some((limit, path)) = reason.split_once(": ") else { return false };
    let seconds = limit.strip_suffix(" seconds").or_else(|| limit.strip_suffix(" second"));
    path.starts_with('/') && seconds.is_some_and(|number| number.parse::<f64>().is_ok_and(f64::is_finite))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Verdict> {
        Verdict::parse(line.as_bytes())
    }

    #[test]
    fn what_swifts_receiver_says_is_understood() {
        let busy =
            ":ERROR: 503 b'<html><h1>Service Unavailable</h1><p>The server is currently unavailable.</p></html>'";
        assert_eq!(parse(busy), Some(Verdict::Busy));
        assert_eq!(parse(":ERROR: 0 '15 seconds: /srv/node/sdb/objects/7/.lock-replication'"), Some(Verdict::Busy));
        assert_eq!(parse(":ERROR: 0 '14.997 seconds: /srv/node/sdb/.lock'"), Some(Verdict::Busy));
        let refused = parse(":ERROR: 500 b'ERROR: With :UPDATES: 1 failures to 29 successes'");
        assert_eq!(refused, Some(Verdict::Refused { refused: 1, done: 29 }));
        let too_many = parse(":ERROR: 0 'Too many 100 failures to 3 successes'");
        assert_eq!(too_many, Some(Verdict::BrokeOff { after: Some(103) }));
        let strange = parse(":ERROR: 0 \"invalid literal for int() with base 10: b'x'\"");
        assert_eq!(strange, Some(Verdict::BrokeOff { after: None }));
    }

    #[test]
    fn nothing_is_read_into_what_has_another_form() {
        for line in [
            "",
            ":ERROR:",
            ":ERROR: 503",
            ":ERROR: 408 '60 seconds: updates line'",
            ":ERROR: 500 b'ERROR: With :UPDATES: +1 failures to 29 successes'",
            ":ERROR: 500 'Too many 1 failures to 2 successes'",
            "503 b'busy'",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        for reason in ["'Too many failures'", "'see 15 seconds: /srv'", "'x seconds: /srv'", "'inf seconds: /x'", ""] {
            assert_eq!(parse(&format!(":ERROR: 0 {reason}")), Some(Verdict::BrokeOff { after: None }), "{reason}");
        }
        let huge = ":ERROR: 0 'Too many 18446744073709551615 failures to 1 successes'";
        assert_eq!(parse(huge), Some(Verdict::BrokeOff { after: None }));
    }
}
