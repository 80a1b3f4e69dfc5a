//! Names and paths of a device's tree.
//!
//! ```text
//! <devices>/<device>/objects[-N]/<partition>/<suffix>/<hash>/<timestamp>.data
//!                    tmp[-N]/
//!                    quarantined/objects[-N]/<hash>/
//! ```

use std::path::{Path, PathBuf};

use crate::device::writes::Writes;
use crate::names::{Partition, PolicyIndex, Suffix};

/// A partition's folder on a local device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    device: String,
    policy: PolicyIndex,
    partition: Partition,
    path: PathBuf,
    writes: Writes,
}

impl PartitionDir {
    /// The folder of `partition` of `policy` on `device`, below the folder that holds all devices.
    pub fn new(devices: &Path, device: &str, policy: PolicyIndex, partition: Partition) -> Self {
        let path = devices.join(device).join(policy.datadir()).join(partition.to_string());
        Self { device: device.to_owned(), policy, partition, path, writes: Writes::Made }
    }

    /// The partition whose folder this is, if the path ends as such folders do.
    pub fn from_path(path: &Path) -> Option<Self> {
        let partition = Partition::from_dir_name(path.file_name()?)?;
        let datadir = path.parent()?;
        let policy = policy_of(datadir.file_name()?.to_str()?)?;
        let device = datadir.parent()?.file_name()?.to_str()?.to_owned();
        Some(Self { device, policy, partition, path: path.to_owned(), writes: Writes::Made })
    }

    /// The same folder, with what hashing it would change in it made or only imagined.
    pub fn with_writes(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    /// Whether what hashing it would change in it is made.
    pub fn writes(&self) -> Writes {
        self.writes
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

    /// The folder of the object with this hash; `None` if the hash is too short or odd to be one.
    pub fn object_path(&self, hash: &str) -> Option<PathBuf> {
        let suffix = Suffix::from_name(hash.as_bytes().last_chunk::<3>()?)?;
        (!hash.contains(['/', '\0'])).then(|| self.suffix_path(suffix).join(hash))
    }

    /// The folder of the device where this policy's files go that cannot be what their place says.
    pub fn quarantine_path(&self) -> PathBuf {
        self.device_path().join("quarantined").join(self.policy.datadir())
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

/// The policy whose partitions are in folders of this name.
fn policy_of(datadir: &str) -> Option<PolicyIndex> {
    let index = match datadir.strip_prefix("objects")? {
        "" => 0,
        rest => rest.strip_prefix('-')?.parse().ok()?,
    };
    Some(PolicyIndex::new(index)).filter(|policy| policy.datadir() == datadir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_from_names_and_names_from_paths() {
        let dir = PartitionDir::new(Path::new("/srv/node"), "sd1", PolicyIndex::new(2), Partition::new(17));
        assert_eq!(dir.path(), Path::new("/srv/node/sd1/objects-2/17"));
        assert_eq!(dir.datadir_path(), Path::new("/srv/node/sd1/objects-2"));
        assert_eq!(dir.device_path(), Path::new("/srv/node/sd1"));
        assert_eq!(dir.quarantine_path(), Path::new("/srv/node/sd1/quarantined/objects-2"));
        assert_eq!(dir.suffix_path(Suffix::from_name(b"abc").unwrap()), Path::new("/srv/node/sd1/objects-2/17/abc"));
        assert_eq!(PartitionDir::from_path(dir.path()), Some(dir));
    }

    #[test]
    fn an_object_lies_in_the_suffix_of_its_hash() {
        let dir = PartitionDir::new(Path::new("/srv/node"), "sd1", PolicyIndex::new(0), Partition::new(17));
        let path = dir.object_path("485dc017205a81df3af616d917c90179");
        assert_eq!(path.unwrap(), Path::new("/srv/node/sd1/objects/17/179/485dc017205a81df3af616d917c90179"));
        assert_eq!((dir.object_path("79"), dir.object_path("../../etc/passwd")), (None, None));
    }

    #[test]
    fn other_paths_are_no_partitions() {
        let none = ["/", "17", "/srv/node/sd1/objects/07", "/srv/node/sd1/objects-0/7", "/srv/node/sd1/objects-01/7"];
        for path in none.into_iter().chain(["/srv/node/sd1/tmp/7", "/srv/node/sd1/objects-x/7", "/objects/7"]) {
            assert_eq!(PartitionDir::from_path(Path::new(path)), None, "{path}");
        }
    }
}
