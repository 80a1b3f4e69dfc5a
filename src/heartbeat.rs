//! Signs of life during a long step.

/// Told of signs of life during a long step, so that a watchdog can tell slow from stuck.
pub trait Heartbeat: Sync {
    /// Something moved: a suffix was hashed, bytes came, a line of output was read.
    fn beat(&self);
}

/// For callers that nobody watches.
impl Heartbeat for () {
    fn beat(&self) {}
}
