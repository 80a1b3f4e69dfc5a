use std::fs;

use super::*;
use crate::device::fixture::{Fixture, Items, md5_hex, pickle, set_metadata};
use crate::device::listing::faults;

const NAME: &str = "/a/c/o";
const T1: &str = "1700000001.00000";
const T2: &str = "1700000002.00000";
const T3: &str = "1700000003.00000";

fn open(fixture: &Fixture) -> Result<StoredObject, Unsendable> {
    ObjectReader::new(&fixture.dir, &fixture.salts).unwrap().open(fixture.hash(NAME))
}

/// Data, metadata, and newer metadata of an object that can be sent.
fn data(fixture: &Fixture) -> (Vec<u8>, Metadata, Option<Metadata>) {
    let object = open(fixture).unwrap();
    assert_eq!(object.name(), ObjectName::parse(NAME.as_bytes()).unwrap());
    let Content::Data { mut data, metadata, newer } = object.content else { panic!("a tombstone") };
    let mut read = Vec::new();
    while data.remaining() > 0 {
        data.read(&mut read, data.remaining().min(3) as usize).unwrap();
    }
    data.verify().unwrap();
    (read, metadata, newer)
}

fn text<'m>(metadata: &'m Metadata, name: &str) -> Option<&'m str> {
    metadata.get(name).map(|value| std::str::from_utf8(value).unwrap())
}

/// Fails unless the object is found damaged for this reason and moved away.
#[track_caller]
fn assert_quarantined(fixture: &Fixture, reason: &str) {
    let mut reader = ObjectReader::new(&fixture.dir, &fixture.salts).unwrap();
    let (level, logged) = crate::device::fixture::logged(|| match reader.open(fixture.hash(NAME)) {
        Err(Unsendable::Quarantined(path)) => path,
        other => panic!("{other:?}"),
    });
}
