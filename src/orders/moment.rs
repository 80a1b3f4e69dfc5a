//! A moment, as orders and quiet hours need it.

/// A moment by both clocks that matter here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moment {
    /// As Unix time.
    pub unix: f64,
    /// Minutes since the day began, in the operator's time zone.
    pub minute: u16,
}
