//! Which files of an object's directory say what the object is, and which are obsolete (B6.17, B6.18).
//!
//! An object is the newest `.data` file, unless a `.ts` (tombstone) is as new or newer. A `.meta` file newer than the data
//! brings newer metadata. A second `.meta` can be kept beside the newest one for the sake of a newer content type. All
//! else that has a timestamp and is as old as what counts is obsolete. Nothing in here touches a disk.

use std::ffi::CStr;

use crate::format::timestamp::Timestamp;

/// A file of an object's directory whose name has a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectFile<'a> {
    /// The file's name.
    pub name: &'a CStr,
    /// When what it holds was written.
    pub timestamp: Timestamp,
    kind: Kind,
    /// Of a `.meta` file: when the content type that it holds was written, if it holds one.
    content_type: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Meta,
    Tombstone,
    /// Anything else with a timestamp; it can be obsolete, but never counts.
    Other,
}

impl<'a> ObjectFile<'a> {
    /// What a file's name says; `None` if it has no timestamp, so the file is unexpected there.
    pub fn parse(name: &'a CStr) -> Option<Self> {
        let (stem, extension) = split_extension(name.to_bytes());
        let kind = match extension {
            b".data" => Kind::Data,
            b".meta" => Kind::Meta,
            b".ts" => Kind::Tombstone,
            _ => Kind::Other,
        };
        let (timestamp, content_type) = match kind {
            Kind::Meta => Timestamp::parse_pair(stem).ok()?,
            _ => (Timestamp::parse(stem).ok()?, None),
        };
        Some(Self { name, timestamp, kind, content_type })
    }

    fn content_type_or_zero(&self) -> Timestamp {
        self.content_type.unwrap_or(Timestamp::ZERO)
    }
}

/// The name before its last dot, and the rest; dots that a name begins with begin no extension.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    let start = name.iter().position(|c| *c != b'.').unwrap_or(name.len());
    match name[start..].iter().rposition(|c| *c == b'.') {
        Some(dot) => name.split_at(start + dot),
        None => (name, &[]),
    }
}

/// Whether this is the name of a file that rsync is about to rename, such as `.1400000000.00000.data.Ab12Cd`.
pub fn is_rsync_tempfile(name: &[u8]) -> bool {
    let Some((b".", rest)) = name.split_at_checked(1) else { return false };
    match rest.split_last_chunk::<7>() {
        Some((_, [b'.', random @ ..])) => random.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_'),
        _ => false,
    }
}

/// Whether this is the name of a file that holds an object's newer metadata.
pub fn is_metadata(name: &CStr) -> bool {
    ObjectFile::parse(name).is_some_and(|file| file.kind == Kind::Meta)
}

/// Whether this is the name of a file that says that an object was deleted.
pub fn is_tombstone(name: &CStr) -> bool {
    ObjectFile::parse(name).is_some_and(|file| file.kind == Kind::Tombstone)
}

/// What became of an object's files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    /// When the object was written, if it exists.
    pub data: Option<Timestamp>,
    /// When its metadata were last written, if after the object.
    pub meta: Option<Timestamp>,
    /// When its content type was last written, if after the object.
    pub content_type: Option<Timestamp>,
    /// The tombstone, if the object was deleted.
    pub tombstone: Option<ObjectFile<'a>>,
    /// Metadata without an object; they can go when they are old (B6.19).
    pub strays: Vec<ObjectFile<'a>>,
    /// What can go at once.
    pub obsolete: Vec<ObjectFile<'a>>,
}

/// Tells the files that say what an object is from the obsolete ones.
pub fn choose<'a>(mut files: Vec<ObjectFile<'a>>) -> Choice<'a> {
    // The newest first, and of several at one time the one with the greatest name.
    files.sort_unstable_by(|a, b| (b.timestamp, b.name).cmp(&(a.timestamp, a.name)));
    let mut obsolete = Vec::new();
    let mut drop_if = |files: &mut Vec<ObjectFile<'a>>, outdated: &dyn Fn(&ObjectFile) -> bool| {
        obsolete.extend(files.extract_if(.., |file| outdated(file)));
    };
    let tombstone = first(&files, Kind::Tombstone);
    if let Some(newest) = tombstone {
        drop_if(&mut files, &|file| match file.kind {
            Kind::Tombstone => file.name != newest.name,
            _ => file.timestamp <= newest.timestamp,
        });
    }
    let metas = kept_metas(&files);
    drop_if(&mut files, &|file| file.kind == Kind::Meta && !metas.contains(&Some(*file)));
    let data = first(&files, Kind::Data).map(|newest| newest.timestamp);
    if let Some(newest) = data {
        drop_if(&mut files, &|file| match file.kind {
            Kind::Data => file.timestamp < newest,
            _ => file.timestamp <= newest,
        });
    }
    let mut choice = Choice { data, obsolete, ..Choice::default() };
    let mut metas = files.into_iter().filter(|file| file.kind == Kind::Meta).peekable();
    match data {
        Some(written) => {
            choice.meta = metas.peek().map(|newest| newest.timestamp);
            let content_type = metas.last().and_then(|meta| meta.content_type);
            choice.content_type = content_type.filter(|content_type| *content_type > written);
        }
        None => {
            choice.tombstone = tombstone;
            choice.strays = metas.collect();
        }
    }
    choice
}

/// The first of a kind among files that are sorted newest first.
fn first<'a>(files: &[ObjectFile<'a>], kind: Kind) -> Option<ObjectFile<'a>> {
    files.iter().find(|file| file.kind == kind).copied()
}

/// The `.meta` files that are kept: the newest, and of the others the one with the newest content type if that is newer
/// than the newest file's. Of two written at the same time only the one with the newer content type is kept.
fn kept_metas<'a>(files: &[ObjectFile<'a>]) -> [Option<ObjectFile<'a>>; 2] {
    let mut metas = files.iter().filter(|file| file.kind == Kind::Meta).copied();
    let Some(newest) = metas.next() else { return [None, None] };
    // Reversed, since of equals the last one would win.
    let typed = metas.rev().max_by_key(ObjectFile::content_type_or_zero);
    match typed.filter(|typed| typed.content_type_or_zero() > newest.content_type_or_zero()) {
        Some(typed) if typed.timestamp == newest.timestamp => [Some(typed), None],
        typed => [Some(newest), typed],
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    /// Chooses among files of these names; tells what was chosen, what is stray, and what is obsolete, all sorted.
    fn chosen(names: &[&str]) -> (String, Vec<String>, Vec<String>) {
        let names: Vec<CString> = names.iter().map(|name| CString::new(*name).unwrap()).collect();
        let choice = choose(names.iter().filter_map(|name| ObjectFile::parse(name)).collect());
        let sorted = |files: Vec<ObjectFile>| {
            let mut names: Vec<_> = files.iter().map(|file| file.name.to_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let chosen = [
            choice.meta.map(|meta| format!("{meta}.meta")),
            choice.tombstone.map(|tombstone| format!("{}.ts", tombstone.timestamp)),
            choice.data.map(|data| format!("{data}.data")),
            choice.content_type.map(|content_type| format!("{content_type}_ctype")),
        ];
        (chosen.into_iter().flatten().collect::<Vec<_>>().join(" "), sorted(choice.strays), sorted(choice.obsolete))
    }

    #[test]
    fn the_newest_data_counts() {
        let (chosen, strays, obsolete) = chosen(&["0000000001.00000.data", "0000000002.00000.data"]);
        assert_eq!(chosen, "0000000002.00000.data");
        assert_eq!((strays, obsolete), (vec![], vec!["0000000001.00000.data".to_owned()]));
    }

    #[test]
    fn a_tombstone_ends_what_is_as_old() {
        let (chosen, strays, obsolete) = chosen(&[
            "0000000002.00000.data",
            "0000000002.00000.durable",
            "0000000003.00000.meta",
            "0000000001.00000.ts",
            "0000000002.00000.ts",
        ]);
        assert_eq!(chosen, "0000000002.00000.ts");
        assert_eq!(strays, ["0000000003.00000.meta"]);
        assert_eq!(obsolete, ["0000000001.00000.ts", "0000000002.00000.data", "0000000002.00000.durable"]);
    }

    #[test]
    fn newer_data_ends_a_tombstone_and_an_offset_is_newer() {
        let (chosen, _, obsolete) = chosen(&["0000000002.00000_0000000000000001.data", "0000000002.00000.ts"]);
        assert_eq!(chosen, "0000000002.00000_0000000000000001.data");
        assert_eq!(obsolete, ["0000000002.00000.ts"]);
    }

    #[test]
    fn a_second_meta_is_kept_for_a_newer_content_type() {
        let names =
            ["0000000001.00000.data", "0000000005.00000.meta", "0000000004.00000-5.meta", "0000000003.00000.meta"];
        let (chosen, _, obsolete) = chosen(&names);
        assert_eq!(chosen, "0000000005.00000.meta 0000000001.00000.data 0000000003.99995_ctype");
        assert_eq!(obsolete, ["0000000003.00000.meta"]);
    }

    #[test]
    fn of_metas_at_one_time_the_newer_content_type_is_kept() {
        let names = ["0000000001.00000.data", "0000000005.00000-1.meta", "0000000005.00000-5.meta"];
        let (chosen, _, obsolete) = chosen(&names);
        assert_eq!(chosen, "0000000005.00000.meta 0000000001.00000.data 0000000004.99999_ctype");
        assert_eq!(obsolete, ["0000000005.00000-5.meta"]);
    }

    #[test]
    fn a_content_type_no_newer_than_the_data_does_not_count() {
        let (chosen, ..) = chosen(&["0000000004.00000.data", "0000000005.00000-186a0.meta"]);
        assert_eq!(chosen, "0000000005.00000.meta 0000000004.00000.data");
    }

    #[test]
    fn metadata_without_an_object_are_stray() {
        let (chosen, strays, obsolete) = chosen(&["0000000005.00000.meta", "0000000003.00000.meta"]);
        assert_eq!((chosen.as_str(), strays), ("", vec!["0000000005.00000.meta".to_owned()]));
        assert_eq!(obsolete, ["0000000003.00000.meta"]);
    }

    #[test]
    fn other_extensions_only_become_obsolete() {
        let (chosen, _, obsolete) = chosen(&["0000000002", "0000000003.00000.durable", "0000000002.00000.data"]);
        assert_eq!(chosen, "0000000002.00000.data");
        assert_eq!(obsolete, ["0000000002"]);
    }

    #[test]
    fn names_without_a_timestamp_are_unexpected() {
        let is_expected = |name: &str| ObjectFile::parse(&CString::new(name).unwrap()).is_some();
        for name in ["inf.data", "nan.ts", "junk", ".data", "0000000001.00000-x.meta", ".0000000001.00000.data.Ab12Cd"]
        {
            assert!(!is_expected(name), "{name}");
        }
        assert!(is_expected("0000000001") && is_expected(".5"), "Python takes them for numbers");
    }

    #[test]
    fn rsync_tempfiles_are_known_by_their_names() {
        for name in [".0000000001.00000.data.Ab12Cd", "..abcdef", ".x._aZ09_"] {
            assert!(is_rsync_tempfile(name.as_bytes()), "{name}");
        }
        for name in ["", ".", ".abcdef", "0000000001.00000.data.Ab12Cd", ".x.Ab12C", ".x.Ab12C-", ".x.Ab12Cde"] {
            assert!(!is_rsync_tempfile(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_nothing_that_counts_is_obsolete(
            names in prop::collection::btree_set("[0-3]\\.[0-2]([-+_][0-2])?\\.(data|meta|ts|x)|[^/\0]{1,8}", 0..8),
        ) {
            let names: Vec<CString> = names.into_iter().map(|name| CString::new(name).unwrap()).collect();
            let files: Vec<_> = names.iter().filter_map(|name| ObjectFile::parse(name)).collect();
            let choice = choose(files.clone());
            for file in &choice.obsolete {
                prop_assert!(files.contains(file));
                prop_assert!(!choice.strays.contains(file) && choice.tombstone != Some(*file));
            }
            let kept = |kind, time| {
                let mut kept = files.iter().filter(|file| !choice.obsolete.contains(file));
                kept.any(|file| file.kind == kind && file.timestamp == time)
            };
            prop_assert!(choice.data.is_none_or(|time| kept(Kind::Data, time)));
            prop_assert!(choice.meta.is_none_or(|time| kept(Kind::Meta, time)));
        }
    }
}
