//! Which files belong to a push. What rsync says about any other file is not believed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::push::PartSuffixes;
use crate::names::{Partition, Suffix};

/// The partitions and suffixes of a push.
pub(super) struct Scope {
    /// The folder that rsync's names are relative to: that of the partitions, or of the only one.
    folder: PathBuf,
    /// The only partition, if names begin in it.
    only: Option<Partition>,
    parts: HashMap<Partition, Part>,
}

#[derive(Default)]
struct Part {
    suffixes: Vec<Suffix>,
    begun: bool,
}

impl Scope {
    /// Of a push of these parts. If it is one, its name may be at the folder's end: then names begin in that.
    pub(super) fn new(folder: PathBuf, parts: &[PartSuffixes]) -> Self {
        let only = match parts {
            [one] if folder.ends_with(one.partition.to_string()) => Some(one.partition),
            _ => None,
        };
        let part = |part: &PartSuffixes| (part.partition, Part { suffixes: part.suffixes.clone(), begun: false });
        Self { folder, only, parts: parts.iter().map(part).collect() }
    }

    /// The partition and suffix that a name lies in, if it is of this push and does not lead out of it.
    pub(super) fn place_of(&self, name: &[u8]) -> Option<(Partition, Suffix)> {
        let mut components = name.split(|byte| *byte == b'/');
        let partition = match self.only {
            Some(only) => only,
            None => Partition::from_dir_name(OsStr::from_bytes(components.next()?))?,
        };
        let suffix = Suffix::from_name(components.next()?)?;
        let is_ours = self.parts.get(&partition)?.suffixes.contains(&suffix);
        (is_ours && components.all(|component| component != b"..")).then_some((partition, suffix))
    }

    /// Where a name is.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.folder.join(Path::new(OsStr::from_bytes(name)))
    }

    /// Notes that something of a partition was seen; false if that is known.
    pub(super) fn begin(&mut self, partition: Partition) -> bool {
        self.parts.get_mut(&partition).is_some_and(|part| !std::mem::replace(&mut part.begun, true))
    }
}
