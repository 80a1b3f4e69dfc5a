//! The record of a partition: what it held at one moment.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::claims::OtherWriters;
use super::error::RemovalError;
use crate::device::object_files::FileMark;
use crate::names::Suffix;

/// A folder with its files and folders.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) files: Vec<FileMark>,
    pub(super) folders: Vec<(CString, Folder)>,
}

/// What a record was restricted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restricted {
    /// Files that may go.
    pub files: usize,
    /// Whether nothing else was recorded.
    pub is_all: bool,
    /// How many recorded files are left behind, without what is foreign.
    pub left: usize,
    /// One of them.
    pub example: Option<PathBuf>,
}

/// The files of a partition at one moment.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(super) path: PathBuf,
    pub(super) is_link: bool,
    /// None if they could not be looked at.
    pub(super) claims: Option<OtherWriters>,
    pub(super) suffixes: Vec<(Suffix, Folder)>,
    pub(super) foreign: Vec<PathBuf>,
    pub(super) unseen: Vec<RemovalError>,
    /// What it was restricted to, if it was.
    pub(super) restricted: Option<Restricted>,
}

impl Inventory {
    /// Nothing of the partition yet.
    pub(super) fn new(partition: &Path) -> Self {
        let (path, suffixes, foreign, unseen) = (partition.to_owned(), Vec::new(), Vec::new(), Vec::new());
        Self { path, is_link: false, claims: None, suffixes, foreign, unseen, restricted: None }
    }

    /// The suffixes that were there, in the order of the folder, whether or not all in them could be looked at.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = Suffix> {
        self.suffixes.iter().map(|(suffix, _)| *suffix)
    }

    /// Whether there was no suffix at all: then there is nothing to push.
    pub(crate) fn is_empty(&self) -> bool {
        self.suffixes.is_empty()
    }

    /// What is no part of a partition and so will be left where it is. The partition itself, if it is a link.
    pub(crate) fn foreign(&self) -> &[PathBuf] {
        &self.foreign
    }

    /// What could not be looked at, and why. Nothing is removed then, unless the record is restricted.
    pub(crate) fn unseen(&self) -> &[RemovalError] {
        &self.unseen
    }

    /// The names under which hashes may be known.
    pub(super) fn names(&self) -> Vec<Suffix> {
        self.suffixes().filter(|suffix| suffix.is_hex()).collect()
    }
}
