//! Whether what stands under the name of an object's file is that file: bytes and metadata, not the name.
//!
//! A power loss, a broken tool or a disk leaves files of the right name that are empty, cut, without metadata or with
//! somebody else's. Swift serves none of them: it moves them to quarantine when it opens them. So a copy counts only if
//! it is whole, wherever the harness asks whether something is still there.

use std::fs;
use std::path::Path;

use md5::{Digest as _, Md5};

use super::census;
use super::client::body;
use super::model::{Deed, Moment, State};
use super::world::Thing;
use crate::support::object::hex;

/// What the folder of an object holds that could be served; nothing if there is no whole file in it.
pub fn state(thing: &Thing, folder: &Path) -> Option<State> {
    census::state_of(folder, |file, at, deed| is_whole(&thing.object.name, file, at, deed))
}

/// Whether a file holds what was stored at that time.
pub fn is_whole(name: &str, file: &Path, at: Moment, deed: Deed) -> bool {
    let has_content = || match deed {
        Deed::Put => fs::read(file).is_ok_and(|content| content == body(name, at)),
        Deed::Post | Deed::Delete => true,
    };
    has_its_metadata(name, file, at) && has_content()
}

/// Whether the metadata are sound, and those of this object and time.
fn has_its_metadata(name: &str, file: &Path, at: Moment) -> bool {
    let read = |key: &str| xattr::get(file, key).ok().flatten();
    let (Some(metadata), Some(sum)) = (read("user.swift.metadata"), read("user.swift.metadata_checksum")) else {
        return false;
    };
    let has = |text: &str| metadata.windows(text.len()).any(|window| window == text.as_bytes());
    hex(&Md5::digest(&metadata)).as_bytes() == sum && has(name) && has(&at.to_string())
}
