//! Objects that are there from the beginning, written as an object server writes them: that is faster by far than to ask
//! one for each. In the end some of them are read through object servers, as all others may be.

use std::path::Path;
use std::{fs, io};

use fastrand::Rng;
use md5::{Digest as _, Md5};

use super::client::body;
use super::model::{Deed, Event, Fate, Moment};
use super::world::{Clock, Thing, World, lock};
use crate::support::object::hex;

/// Stores every object on its primaries, but for one in five on one less than all, if there is more than one.
pub fn store(world: &World, clock: &Clock, rng: &mut Rng) {
    let rings = world.rings(0);
    for thing in &world.things {
        let mut primaries: Vec<u32> = rings.primaries(thing.policy, thing.object.partition).collect();
        if primaries.len() > 1 && rng.u32(0..5) == 0 {
            primaries.swap_remove(rng.usize(..primaries.len()));
        }
        let at = clock.tick();
        primaries.into_iter().for_each(|id| write(&thing.object.folder(world.disk(id)), thing, at));
        lock(&thing.history).push(Event { at, deed: Deed::Put, fate: Fate::Certain });
    }
}

fn write(folder: &Path, thing: &Thing, at: Moment) {
    fs::create_dir_all(folder).expect("the device is writable");
    write_data(&folder.join(format!("{at}.data")), &thing.object.name, at).expect("the device is writable");
}

/// Writes the file of an object that was stored at a time, if the device takes it.
pub fn write_data(file: &Path, name: &str, at: Moment) -> io::Result<()> {
    let body = body(name, at);
    let metadata = pickle(&[
        ("X-Timestamp", &at.to_string()),
        ("Content-Type", "text/plain"),
        ("Content-Length", &body.len().to_string()),
        ("ETag", &hex(&Md5::digest(&body))),
        ("name", &format!("/{name}")),
    ]);
    fs::write(file, body)?;
    let checksum = hex(&Md5::digest(&metadata));
    for (name, value) in [("user.swift.metadata", &metadata[..]), ("user.swift.metadata_checksum", checksum.as_bytes())]
    {
        xattr::set(file, name, value)?;
    }
    Ok(())
}

/// A dictionary of short texts.
fn pickle(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    for text in entries.iter().flat_map(|(key, value)| [key, value]) {
        pickle.push(b'U');
        pickle.push(u8::try_from(text.len()).expect("a short text"));
        pickle.extend_from_slice(text.as_bytes());
    }
    pickle.extend_from_slice(b"u.");
    pickle
}
