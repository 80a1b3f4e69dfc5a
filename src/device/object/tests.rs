use std::fs;

use super::*;
use crate::device::fixture::{Fixture, Items, logged, md5_hex, pickle, set_metadata};
use crate::device::listing::faults;

const NAME: &str = "/a/c/o";
const T1: &str = "1700000001.00000";
const T2: &str = "1700000002.00000";
const T3: &str = "1700000003.00000";

fn open(fixture: &Fixture) -> Result<StoredObject, Unsendable> {
    ObjectReader::new(&fixture.dir, &fixture.salts).unwrap().open(fixture.hash(NAME))
}

/// The object's data and its metadata, and the newer metadata.
fn data(fixture: &Fixture) -> (Vec<u8>, Metadata, Option<Metadata>) {
    let object = open(fixture).unwrap();
    assert_eq!(object.name.as_name(), ObjectName::parse(NAME.as_bytes()).unwrap());
    let Content::Data(stored) = object.content else { panic!("a tombstone") };
    let StoredData { mut data, metadata, newer } = *stored;
    let mut read = vec![0; data.length() as usize];
    read.chunks_mut(3).for_each(|room| data.read(room).unwrap());
    data.verify().unwrap();
    (read, metadata, newer)
}

fn text<'m>(metadata: &'m Metadata, name: &str) -> Option<&'m str> {
    metadata.get(name).map(|value| std::str::from_utf8(value).unwrap())
}

/// Fails unless the object is found damaged because of the file, for this reason, and moved away.
#[track_caller]
fn assert_quarantined(fixture: &Fixture, file: &str, reason: &str) {
    let mut reader = ObjectReader::new(&fixture.dir, &fixture.salts).unwrap();
    let file = fixture.folder(NAME).join(file);
    let (outcome, lines) = logged(|| reader.open(fixture.hash(NAME)));
    assert!(matches!(&outcome, Err(Unsendable::Quarantined(path)) if *path == file), "{outcome:?}");
    assert_eq!(lines, [format!("WARN Quarantined object {}: {reason}", file.display())]);
    assert_eq!(reader.quarantined(), 1);
    assert!(!fixture.folder(NAME).exists());
    assert!(fixture.quarantine().join(fixture.hash(NAME).to_string()).is_dir());
    let invalid = fs::read_to_string(fixture.dir.path().join("hashes.invalid")).unwrap();
    assert_eq!(invalid.trim_end(), fixture.hash(NAME).suffix().as_str());
}

/// Fails unless the object is refused because of the file, for this reason, and stays where it is.
#[track_caller]
fn assert_unreadable(fixture: &Fixture, file: &str, reason: &str) {
    let (outcome, lines) = logged(|| open(fixture));
    let expected = format!("{}: {reason}", fixture.folder(NAME).join(file).display());
    assert_eq!(outcome.map(drop).map_err(|error| error.to_string()), Err(expected));
    assert_eq!(lines, [""; 0]);
    assert!(fixture.folder(NAME).exists() && !fixture.quarantine().exists());
}

/// The items of an object with four bytes of data, but with these in place of those of the same name; empty ones go.
fn write_with(fixture: &Fixture, changes: Items<'_>) {
    let etag = md5_hex(b"data");
    let items = [("name", NAME), ("X-Timestamp", T1), ("Content-Length", "4"), ("ETag", &etag)];
    let mut items: Vec<_> =
        items.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name)).collect();
    items.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    fixture.write(NAME, &format!("{T1}.data"), b"data", &items);
}

#[test]
fn data_comes_with_its_metadata() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"some data", &[("X-Object-Meta-Color", "blue")]);
    let (read, metadata, newer) = data(&fixture);
    assert_eq!(read, b"some data");
    assert_eq!(text(&metadata, "X-Object-Meta-Color"), Some("blue"));
    assert!(newer.is_none());
}

#[test]
fn an_empty_object_and_an_expired_one_are_objects() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"", &[("X-Delete-At", "1")]);
    assert_eq!(data(&fixture).0, b"");
}

#[test]
fn a_tombstone_has_a_time() {
    let fixture = Fixture::new();
    fixture.delete(NAME, T2);
    let object = open(&fixture).unwrap();
    assert!(matches!(object.content, Content::Tombstone(time) if time.to_string() == T2));
    assert_eq!(object.marks.len(), 1);
}

#[test]
fn newer_metadata_come_apart_from_the_data() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[("X-Object-Meta-Color", "blue")]);
    fixture.post(NAME, T2, &[("X-Object-Meta-Color", "red")]);
    let (_, metadata, newer) = data(&fixture);
    assert_eq!(text(&metadata, "X-Object-Meta-Color"), Some("blue"));
    assert_eq!(text(&newer.unwrap(), "X-Object-Meta-Color"), Some("red"));
    assert_eq!(open(&fixture).unwrap().marks.len(), 2);
}

#[test]
fn metadata_as_old_as_the_data_are_not_newer_whatever_their_file_is_called() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[]);
    fixture.write(NAME, &format!("{T2}.meta"), b"", &[("name", NAME), ("X-Timestamp", T1)]);
    assert!(data(&fixture).2.is_none());
}

#[test]
fn a_newer_content_type_is_merged_from_an_older_file() {
    let fixture = Fixture::new();
    let times = |time| [("Content-Type", "text/new"), ("Content-Type-Timestamp", time)];
    fixture.put(NAME, T1, b"data", &[]);
    let older = [&[("name", NAME), ("X-Timestamp", T2)], &times(T2)[..]].concat();
    fixture.write(NAME, &format!("{T2}+0.meta"), b"", &older);
    fixture.post(NAME, T3, &[("X-Object-Meta-Color", "red")]);
    let newer = data(&fixture).2.unwrap();
    assert_eq!(text(&newer, "Content-Type"), Some("text/new"));
    assert_eq!(text(&newer, "Content-Type-Timestamp"), Some(T2));
    assert_eq!(text(&newer, "X-Timestamp"), Some(T3));
    assert_eq!(open(&fixture).unwrap().marks.len(), 3);
}

#[test]
fn a_content_type_is_merged_only_if_it_is_the_newest() {
    let metadata = |items: Items<'_>| Metadata::decode(&pickle(items)).unwrap();
    let merged = |newer: Items<'_>, older: Items<'_>| {
        let mut newer = metadata(newer);
        merge_content_type(&mut newer, &metadata(older), Timestamp::parse(T2).unwrap());
        text(&newer, "Content-Type").map(str::to_owned)
    };
    let typed = |value, time| [("Content-Type", value), ("Content-Type-Timestamp", time)];
    assert_eq!(merged(&[], &typed("older", T3)).as_deref(), Some("older"));
    assert_eq!(merged(&typed("newer", T2), &typed("older", T3)).as_deref(), Some("older"));
    assert_eq!(merged(&typed("newer", T3), &typed("older", T3)).as_deref(), Some("newer"));
    assert_eq!(merged(&[], &typed("older", T2)), None, "no newer than the data");
    assert_eq!(merged(&[], &[("Content-Type", "older")]), None);
    assert_eq!(merged(&[], &typed("older", "x")), None);
}

#[test]
fn what_is_not_there_has_vanished() {
    let fixture = Fixture::new();
    assert!(matches!(open(&fixture), Err(Unsendable::Vanished(path)) if path == fixture.folder(NAME)));
    fixture.post(NAME, T2, &[]);
    assert!(matches!(open(&fixture), Err(Unsendable::Vanished(_))), "metadata alone are no object");
}

#[test]
fn damaged_metadata_are_quarantined() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[]);
    let file = fixture.folder(NAME).join(format!("{T1}.data"));
    let stored = xattr::get(&file, "user.swift.metadata").unwrap().unwrap();
    xattr::set(&file, "user.swift.metadata_checksum", b"0123").unwrap();
    let reason = format!(
        "Metadata checksum mismatch for {}: stored checksum='0123', computed='{}'",
        file.display(),
        md5_hex(&stored)
    );
    assert_quarantined(&fixture, &format!("{T1}.data"), &reason);

    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[]);
    set_metadata(&fixture.folder(NAME).join(format!("{T1}.data")), b"\x80\x02}q\0(U\x04na");
    assert_quarantined(&fixture, &format!("{T1}.data"), "Exception reading metadata: pickle data was truncated");

    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[]);
    fixture.post(NAME, T2, &[]);
    set_metadata(&fixture.folder(NAME).join(format!("{T2}.meta")), b"");
    assert_quarantined(&fixture, &format!("{T2}.meta"), "Exception reading metadata: Ran out of input");

    let fixture = Fixture::new();
    fixture.delete(NAME, T2);
    set_metadata(&fixture.folder(NAME).join(format!("{T2}.ts")), b"\xff");
    assert_quarantined(&fixture, &format!("{T2}.ts"), "Exception reading metadata: invalid load key, '\\xff'.");
}

#[test]
fn metadata_that_contradict_the_file_are_quarantined() {
    for (changes, reason) in [
        (&[("Content-Length", "")][..], "missing content-length in metadata"),
        (&[("Content-Length", "four")], "bad metadata content-length value four"),
        (&[("Content-Length", "10")], "metadata content-length 10 does not match actual object size 4"),
        (&[("X-Delete-At", "soon")], "bad metadata x-delete-at value soon"),
    ] {
        let fixture = Fixture::new();
        write_with(&fixture, changes);
        assert_quarantined(&fixture, &format!("{T1}.data"), reason);
    }
    let fixture = Fixture::new();
    write_with(&fixture, &[]);
    fixture.write(NAME, &format!("{T2}.meta"), b"", &[("X-Timestamp", T2)]);
    assert_quarantined(&fixture, &format!("{T1}.data"), "missing name metadata");
}

#[test]
fn newer_metadata_replace_when_the_object_expires() {
    let fixture = Fixture::new();
    write_with(&fixture, &[("X-Delete-At", "soon")]);
    fixture.post(NAME, T2, &[("X-Delete-At", "1700000000")]);
    open(&fixture).expect("what the data's own metadata say no longer counts");
}

#[test]
fn what_cannot_be_understood_stays_where_it_is() {
    for (changes, reason) in [
        (&[("name", "")][..], "its metadata have no name"),
        (&[("name", "/a/c")], "its metadata have the name '/a/c', which is none"),
        (&[("X-Timestamp", "")], "its metadata have no X-Timestamp"),
        (&[("X-Timestamp", "now")], "its metadata have no X-Timestamp"),
        (&[("ETag", "")], "its metadata have no ETag"),
    ] {
        let fixture = Fixture::new();
        write_with(&fixture, changes);
        assert_unreadable(&fixture, &format!("{T1}.data"), reason);
    }
    let fixture = Fixture::new();
    write_with(&fixture, &[("name", "/a/c/other")]);
    let other = fixture.hash("/a/c/other");
    let reason = format!("its metadata have the name '/a/c/other', which belongs in {other}");
    assert_unreadable(&fixture, &format!("{T1}.data"), &reason);

    let fixture = Fixture::new();
    write_with(&fixture, &[]);
    fixture.write(NAME, &format!("{T2}.meta"), b"", &[("name", "/a/c/other"), ("X-Timestamp", T2)]);
    assert_unreadable(&fixture, &format!("{T1}.data"), "its newer metadata have the name '/a/c/other'");
}

#[test]
fn a_file_without_metadata_stays_where_it_is() {
    let fixture = Fixture::new();
    fixture.put(NAME, T1, b"data", &[]);
    let file = fixture.folder(NAME).join(format!("{T1}.data"));
    for attribute in ["user.swift.metadata", "user.swift.metadata_checksum"] {
        xattr::remove(&file, attribute).unwrap();
    }
    assert_unreadable(&fixture, &format!("{T1}.data"), "it has no metadata");
    // As a future Swift might write them.
    set_metadata(&file, b"\x80\x02]q\0.");
    let reason = "its metadata cannot be read: pickle holds something else than strings, which no metadata does";
    assert_unreadable(&fixture, &format!("{T1}.data"), reason);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_quarantined() {
    let fixture = Fixture::new();
    let path = fixture.folder(NAME);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "a file").unwrap();
    let (outcome, lines) = logged(|| open(&fixture));
    assert!(matches!(outcome, Err(Unsendable::Quarantined(_))), "{outcome:?}");
    let reason = format!("Expected directory, found file at {0}", path.display());
    assert_eq!(lines, [format!("WARN Quarantined object {}: {reason}", path.display())]);
}

#[test]
fn a_folder_that_the_disk_cannot_list_is_quarantined() {
    let fixture = Fixture::new();
    let hash = fixture.put(NAME, T1, b"data", &[]);
    let name = format!("{}/{hash}", hash.suffix());
    let (outcome, lines) = logged(|| faults::with(&name, Errno::UCLEAN, || open(&fixture)));
    assert!(matches!(outcome, Err(Unsendable::Quarantined(_))), "{outcome:?}");
    let path = fixture.folder(NAME);
    assert_eq!(lines, [format!("WARN Quarantined object {0}: Failed to list directory at {0}", path.display())]);

    let fixture = Fixture::new();
    let hash = fixture.put(NAME, T1, b"data", &[]);
    let name = format!("{}/{hash}", hash.suffix());
    let refused = faults::with(&name, Errno::IO, || open(&fixture)).unwrap_err().to_string();
    assert!(refused.ends_with("cannot be listed: Input/output error (os error 5)"), "{refused}");
    assert!(fixture.folder(NAME).exists());
}

#[test]
fn what_cannot_be_moved_to_quarantine_is_kept() {
    let fixture = Fixture::new();
    write_with(&fixture, &[("Content-Length", "10")]);
    fs::write(fixture.quarantine().parent().unwrap(), "in the way").unwrap();
    let refused = open(&fixture).unwrap_err().to_string();
    assert!(refused.contains("does not match actual object size 4; cannot quarantine "), "{refused}");
    assert!(fixture.folder(NAME).exists());
}

#[test]
fn whole_numbers_are_what_python_takes_for_them() {
    for (text, value) in [("5", 5), (" 5\n", 5), ("+5", 5), ("-5", -5), ("1_0", 10), ("007", 7), ("\x0b5\r", 5)] {
        assert_eq!(python_int(text.as_bytes()), Some(value), "{text:?}");
    }
    assert_eq!(python_int(&[b'9'; 100]), Some(i128::MAX));
    for junk in ["", " ", "5.0", "_5", "5_", "1__0", "--5", "0x5", "five", "-", "\x1c5", "5\x1f"] {
        assert_eq!(python_int(junk.as_bytes()), None, "{junk:?}");
    }
}
