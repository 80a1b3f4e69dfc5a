//! Signs of life during a long step.

/// Told of signs of life during a long step, so that a watchdog can tell slow from stuck.
pub trait Heartbeat: Sync {
    /// Something moved: a suffix was hashed, bytes came, a line of output was read.
    fn beat(&self);

    /// A push that is under way has begun so many more partitions, and sent so many more bytes.
    fn pushes(&self, _partitions: u64, _bytes: u64) {}
}

/// For callers that nobody watches.
impl Heartbeat for () {
    fn beat(&self) {}
}
