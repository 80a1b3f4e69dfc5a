//! A record of fewer files than there are: of those that may go, where others are to stay.

use std::ffi::CStr;
use std::path::PathBuf;

use super::folders::os;
use super::inventory::{Inventory, Restricted};
use crate::device::object_files::FileMark;
use crate::device::ondisk::{ObjectFile, is_metadata};
use crate::format::object::ObjectHash;
use crate::names::Suffix;

impl Inventory {
    /// Leaves in the record only files for which `may_go` says yes: by the name of the object's folder, and what the file
    /// was. Says how many are left in it, and whether that is all of them.
    ///
    /// What is no part of an object nobody can be asked to have: it stays, as what is foreign does, and keeps nothing
    /// else here. Metadata of which there is neither data nor a tombstone are none either; they stay until they are as
    /// old as a tombstone has to be.
    pub(crate) fn restrict(&mut self, may_go: impl Fn(&CStr, &FileMark) -> bool) -> &Restricted {
        let is_all = self.foreign.is_empty() && self.unseen.is_empty() && !self.is_link;
        let mut restricted = Restricted { files: 0, is_all, left: 0, example: None };
        for (suffix, content) in &mut self.suffixes {
            let path = self.path.join(suffix.as_str());
            restricted.leave_behind(content.files.drain(..).map(|(name, _)| path.join(os(&name))));
            for (name, object) in &mut content.folders {
                let path = path.join(os(name));
                let files = std::mem::take(&mut object.files);
                let stray = Stray::among(*suffix, name, &files);
                let (going, staying): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| may_go(name, file));
                object.files = going;
                restricted.is_all &= staying.is_empty() && object.folders.is_empty();
                let (foreign, staying): (Vec<_>, Vec<_>) = staying.into_iter().partition(|(file, _)| stray.is(file));
                let names = foreign.into_iter().map(|(file, _)| file);
                let names = names.chain(object.folders.drain(..).map(|(folder, _)| folder));
                self.foreign.extend(names.map(|name| path.join(os(&name))));
                restricted.leave_behind(staying.into_iter().map(|(file, _)| path.join(os(&file))));
                restricted.files += object.files.len();
            }
        }
        self.restricted.insert(restricted)
    }
}

/// Which files of a folder are no part of an object.
enum Stray {
    /// All: nobody looks for an object there, or there is none.
    All,
    /// Those whose names are not Swift's.
    Unnamed,
}

impl Stray {
    fn among(suffix: Suffix, folder: &CStr, files: &[FileMark]) -> Self {
        let is_place = ObjectHash::from_name(folder.to_bytes()).is_some_and(|hash| hash.suffix() == suffix);
        let mut named = files.iter().filter(|(file, _)| ObjectFile::parse(file).is_some());
        if is_place && named.any(|(file, _)| !is_metadata(file)) { Self::Unnamed } else { Self::All }
    }

    fn is(&self, file: &CStr) -> bool {
        matches!(self, Self::All) || ObjectFile::parse(file).is_none()
    }
}

impl Restricted {
    fn leave_behind(&mut self, mut files: impl ExactSizeIterator<Item = PathBuf>) {
        self.left += files.len();
        self.is_all &= files.len() == 0;
        if self.example.is_none() {
            self.example = files.next();
        }
    }
}
