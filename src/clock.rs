//! The time of day as the time since 1970 began, which is how files, pickles, reports and metrics hold it.

use std::time::{Duration, SystemTime};

/// What had passed since 1970 began; nothing before that.
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What has passed by now.
pub(crate) fn now() -> Duration {
    since_epoch(SystemTime::now())
}

/// A time as Unix time.
pub(crate) fn unix(time: SystemTime) -> f64 {
    since_epoch(time).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_right_is_no_reason_to_panic() {
        assert_eq!(since_epoch(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(unix(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)), 1.5);
    }
}
