//! What is so at the moment in which metrics are written: nothing of it outlives the process.

use super::families::{BUILD, FOUND, HANGING, LEFT, RING_MODIFIED, RING_READABLE, RUNNING, WRITTEN};
use super::handoffs;
use super::samples::{Samples, device_label, quoted};
use crate::report::rings::RingStatus;
use crate::report::status::{RunningPass, Worker};

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    /// As Unix time.
    pub time: f64,
    pub rings: Vec<RingStatus>,
    /// The devices of this node.
    pub local: Vec<String>,
    /// The passes that are under way.
    pub passes: Vec<RunningPass>,
    /// The jobs that hang.
    pub hanging: Vec<Worker>,
}

impl Now {
    pub(super) fn add_to(&self, samples: &mut Samples) {
        samples.set(BUILD, &format!("version={}", quoted(env!("CARGO_PKG_VERSION"))), 1.0);
        samples.set(WRITTEN, "", self.time);
        for device in &self.local {
            samples.set(RUNNING, &device_label(device), 0.0);
            samples.set(HANGING, &device_label(device), 0.0);
        }
        for pass in &self.passes {
            for device in &pass.devices {
                let labels = device_label(&device.device);
                samples.set(RUNNING, &labels, (self.time - pass.began).max(0.0));
                if device.is_listed {
                    samples.set(FOUND, &labels, device.found as f64);
                    samples.set(LEFT, &labels, device.found.saturating_sub(device.attempted) as f64);
                    samples.remove_device(&device.device, &handoffs::FAMILIES);
                    samples.extend(handoffs::samples_of(&device.device, &device.holdings));
                }
            }
        }
        self.hanging.iter().for_each(|job| samples.count(HANGING, &device_label(&job.device), 1.0));
        for ring in &self.rings {
            let labels = format!("policy={}", quoted(&ring.policy.to_string()));
            samples.set(RING_READABLE, &labels, f64::from(u8::from(ring.md5.is_some() && ring.trouble.is_none())));
            ring.modified.into_iter().for_each(|time| samples.set(RING_MODIFIED, &labels, time));
        }
    }
}
