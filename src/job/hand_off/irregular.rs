//! What rsync leaves out of a push: links, pipes, sockets, devices. As it is called here, and by the reference, it takes
//! folders and regular files only. (SSYNC goes by objects, and looks for itself.)

use std::path::{Path, PathBuf};

use log::error;

use crate::names::Suffix;

/// Those of the entries that are in the place of one of the suffixes, or below it. Others are nobody's to push.
pub(super) fn left_out<'f>(partition: &Path, suffixes: &[Suffix], foreign: &'f [PathBuf]) -> Vec<&'f Path> {
    foreign.iter().map(PathBuf::as_path).filter(|path| suffix_of(partition, suffixes, path).is_some()).collect()
}

/// Which of the suffixes are such entries themselves: nothing of them would be pushed.
pub(super) fn suffixes_among(partition: &Path, suffixes: &[Suffix], left_out: &[&Path]) -> Vec<Suffix> {
    let is_suffix = |path: &&&Path| path.parent() == Some(partition);
    left_out.iter().filter(is_suffix).filter_map(|path| suffix_of(partition, suffixes, path)).collect()
}

fn suffix_of(partition: &Path, suffixes: &[Suffix], path: &Path) -> Option<Suffix> {
    let name = path.strip_prefix(partition).ok()?.iter().next()?;
    let suffix = Suffix::from_name(name.as_encoded_bytes())?;
    suffixes.contains(&suffix).then_some(suffix)
}

/// Says before the push why the partition will stay, so that no target is blamed for it.
pub(super) fn say(partition: &Path, left_out: &[&Path]) {
    let [first, others @ ..] = left_out else { return };
    let what = if first.is_symlink() { "a symbolic link" } else { "not a regular file" };
    let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
    error!(
        "Partition {} is kept: {} is {what}, which rsync does not push{more}; the rest is pushed, and nothing is removed",
        partition.display(),
        first.display()
    );
}
