//! Names and paths of a device's tree.
//!
//! ```text
//! <devices>/<device>/objects[-N]/<partition>/<suffix>/<hash>/<timestamp>.data
//!                    tmp[-N]/
//!                    quarantined/objects[-N]/<hash>/
//! ```

use std::path::{Path, PathBuf};

use crate::names::{Partition, PolicyIndex, Suffix};

/// A partition's folder on a local device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    device: String,
    policy: PolicyIndex,
    partition: Partition,
    path: PathBuf,
}

impl PartitionDir {
    /// The folder of `partition` of `policy` on `device`, below the folder that holds all devices.
    pub fn new(devices: &Path, device: &str, policy: PolicyIndex, partition: Partition) -> Self {
        let path = devices.join(device).join(policy.datadir()).join(partition.to_string());
        Self { device: device.to_owned(), policy, partition, path }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device's folder.
    pub fn device_path(&self) -> &Path {
        self.datadir_path().parent().unwrap_or(Path::new("/"))
    }

    /// The folder of the device that holds the policy's partitions.
    pub fn datadir_path(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The folder of one of its suffixes.
    pub fn suffix_path(&self, suffix: Suffix) -> PathBuf {
        self.path.join(suffix.as_str())
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The policy.
    pub fn policy(&self) -> PolicyIndex {
        self.policy
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }
}
