//! Waits for devices of peers that are too busy to answer now.
//!
//! An object server that limits its rate (529), or has no thread left (503), means *later*, not *never*. So it is asked
//! again when [`Outages`](crate::peer::outage::Outages) allows it, up to a time limit for the whole job. What has not
//! been answered by then has failed. That is not logged for each partition: the log has one line when a device begins
//! to be too busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::heartbeat::Heartbeat;
use crate::peer::replicate::{Client, ReplicateError};
use crate::ring::Device;

/// What a job waits in all.
const PATIENCE: Duration = Duration::from_secs(120);
/// Who waits longer than this gives a sign of life in between.
const SLICE: Duration = Duration::from_millis(500);

/// How long a job goes on waiting.
#[derive(Debug)]
pub(crate) struct Patience {
    milliseconds: AtomicU64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { milliseconds: AtomicU64::new(PATIENCE.as_millis() as u64) }
    }
}

impl Patience {
    /// Waits, but not longer than patience lasts; false if it was at its end before.
    pub(crate) fn wait(&self, time: Duration, heartbeat: &dyn Heartbeat) -> bool {
        let wanted = time.as_millis().max(1) as u64;
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let left = self.milliseconds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        let mut rest = Duration::from_millis(wanted.min(left));
        while !rest.is_zero() {
            let slice = rest.min(SLICE);
            thread::sleep(slice);
            heartbeat.beat();
            rest -= slice;
        }
        left > 0
    }

    /// Asks a device, and again for as long as it answers that it is busy.
    ///
    /// # Errors
    /// Those of `ask`; [`ReplicateError::Busy`] or [`ReplicateError::Later`] if the device is still busy when there is
    /// no time left to wait for it.
    pub(crate) fn ask<T>(
        &self,
        client: &Client,
        node: &Device,
        heartbeat: &dyn Heartbeat,
        mut ask: impl FnMut() -> Result<T, ReplicateError>,
    ) -> Result<T, ReplicateError> {
        loop {
            match ask() {
                Err(error) if error.is_later() => {
                    let time = client.wait_for(node).unwrap_or_default();
                    if !self.wait(time, heartbeat) {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn patience_comes_to_an_end() {
        let patience = Patience { milliseconds: AtomicU64::new(30) };
        let begun = Instant::now();
        assert!(patience.wait(Duration::from_millis(20), &()));
        assert!(patience.wait(Duration::from_secs(60), &()));
        assert!(!patience.wait(Duration::from_secs(60), &()));
        assert!(begun.elapsed() >= Duration::from_millis(30) && begun.elapsed() < Duration::from_secs(30));
    }
}
