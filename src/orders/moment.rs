//! A moment, as orders and quiet hours need it.

use crate::clock;
use crate::sys::{LocalTime, local_time};

/// A moment by both clocks that matter here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moment {
    /// As Unix time.
    pub unix: f64,
    /// Minutes since the day began, by the local time of this machine (`TZ`, or /etc/localtime).
    pub minute: u16,
}

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        let now = clock::now();
        let minute = local(now.as_secs()).map_or(0, |local| u16::from(local.hour) * 60 + u16::from(local.minute));
        Self { unix: now.as_secs_f64(), minute }
    }
}

/// What the clock on the wall shows, like `14:03 CET`.
pub(crate) fn wall_clock() -> Option<String> {
    let LocalTime { hour, minute, zone } = local(clock::now().as_secs())?;
    Some(format!("{hour:02}:{minute:02} {zone}"))
}

fn local(seconds: u64) -> Option<LocalTime> {
    local_time(i64::try_from(seconds).ok()?)
}
