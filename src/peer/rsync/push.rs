//! A push: what is to be sent to whom, and what of it exists here.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;

use super::retry::Retry;
use crate::locks::lock;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::ring::Device;

/// Some suffixes of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSuffixes {
    pub partition: Partition,
    pub suffixes: Vec<Suffix>,
}

/// What goes where.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The local folder of the partitions: `<devices>/<device>/objects[-N]`.
    pub datadir: &'a Path,
    /// That folder itself, if it is held open: what its path leads to may change at any moment, this does not.
    pub folder: Option<BorrowedFd<'a>>,
    /// The policy, which names that folder at the target.
    pub policy: PolicyIndex,
    /// What is pushed; each partition once.
    pub parts: &'a [PartSuffixes],
    /// The target.
    pub to: &'a Device,
    /// Whether the target is in another region than the local device.
    pub across_regions: bool,
    /// Whether the target should have files on its disk before they get their names (`--fsync`). Comparing knows nothing
    /// of it.
    pub durable: bool,
    /// A shorter time in which a partition must be done than `rsync_timeout`, if there is one.
    pub limit: Option<Duration>,
    /// Takes note of what files were sent of, if wanted. Comparing sends nothing.
    pub sent_of: Option<&'a SentOf>,
    /// What follows if it fails; nothing, if this says nothing.
    pub retry: Option<Retry<'a>>,
}

/// The partitions of which files were sent, whether or not the runs of rsync succeeded.
#[derive(Debug, Default)]
pub struct SentOf(Mutex<BTreeSet<Partition>>);

impl SentOf {
    /// Whether any file of the partition was sent.
    pub fn contains(&self, partition: Partition) -> bool {
        lock(&self.0).contains(&partition)
    }

    pub(super) fn note(&self, partitions: &BTreeSet<Partition>) {
        lock(&self.0).extend(partitions);
    }
}

/// What is here of a push.
#[derive(Debug, Default)]
pub struct Present {
    /// What is there; partitions of which nothing is are left out.
    pub parts: Vec<PartSuffixes>,
    /// What may be there, but cannot be looked at.
    pub unseen: Vec<Unseen>,
}

/// A suffix that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot look at {}: {source}", path.display())]
pub struct Unseen {
    pub partition: Partition,
    pub suffix: Suffix,
    pub path: PathBuf,
    pub source: io::Error,
}

impl<'a> Push<'a> {
    /// A push without further wishes.
    pub fn new(
        datadir: &'a Path,
        policy: PolicyIndex,
        parts: &'a [PartSuffixes],
        to: &'a Device,
        across_regions: bool,
    ) -> Self {
        Self {
            datadir,
            folder: None,
            policy,
            parts,
            to,
            across_regions,
            durable: false,
            limit: None,
            sent_of: None,
            retry: None,
        }
    }

    /// What is there of the suffixes (B8.2). One that cannot be looked at is no reason to leave the others out. (The
    /// reference takes it for not there, and so for nothing to be pushed.)
    pub fn present(&self) -> Present {
        let mut present = Present::default();
        for PartSuffixes { partition, suffixes } in self.parts {
            let mut left = Vec::with_capacity(suffixes.len());
            for suffix in suffixes {
                let name = format!("{partition}/{suffix}");
                let looked = match self.folder {
                    Some(folder) => statat(folder, &name, AtFlags::empty()),
                    None => statat(CWD, self.datadir.join(&name), AtFlags::empty()),
                };
                match looked {
                    Ok(_) => left.push(*suffix),
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(errno) => {
                        let (partition, suffix, path) = (*partition, *suffix, self.datadir.join(name));
                        present.unseen.push(Unseen { partition, suffix, path, source: errno.into() });
                    }
                }
            }
            if !left.is_empty() {
                present.parts.push(PartSuffixes { partition: *partition, suffixes: left });
            }
        }
        present
    }
}
