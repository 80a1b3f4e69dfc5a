//! The time of day as the people of this machine read it: by `TZ`, or by /etc/localtime.

use std::ffi::CStr;
use std::mem;

unsafe extern "C" {
    /// tzset(3); the crate libc does not have it on every target.
    fn tzset();
}

/// A time of day, and the zone that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub hour: u8,
    pub minute: u8,
    /// Like `CET`.
    pub zone: String,
}

/// The local time at a moment of Unix time; `None` if that is beyond what has a year.
pub fn local_time(unix: i64) -> Option<LocalTime> {
    // SAFETY: all zero is a valid value of this plain structure, whose pointer is not looked at until it is set.
    let mut broken_down: libc::tm = unsafe { mem::zeroed() };
    let unix = libc::time_t::try_from(unix).ok()?;
    // SAFETY: takes nothing. It reads the environment, which nobody changes once there is a second thread, and is
    // serialised by the C library.
    unsafe { tzset() };
    // SAFETY: the pointers are to a number and to a structure that outlive the call.
    let done = unsafe { libc::localtime_r(&raw const unix, &raw mut broken_down) };
    if done.is_null() {
        return None;
    }
    let zone = match broken_down.tm_zone.is_null() {
        true => String::new(),
        // SAFETY: the C library keeps the names of zones, which end with a NUL, for as long as the process lives.
        false => unsafe { CStr::from_ptr(broken_down.tm_zone) }.to_string_lossy().into_owned(),
    };
    Some(LocalTime {
        hour: u8::try_from(broken_down.tm_hour).ok()?,
        minute: u8::try_from(broken_down.tm_min).ok()?,
        zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_a_minute_in_every_zone() {
        let at = |unix| local_time(unix).unwrap();
        let (before, after) = (at(1_700_000_040), at(1_700_000_100));
        assert_eq!((before.minute + 1) % 60, after.minute);
        assert!(before.hour < 24 && before.minute < 60 && !before.zone.is_empty(), "{before:?}");
    }
}
