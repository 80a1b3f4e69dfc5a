//! The metadata of an object's files: a pickled dict that Swift keeps in extended attributes (B14.3-B14.6).
//!
//! Python 3 writes bytes in a roundabout way (`_codecs.encode(<text>, 'latin1')`), Python 2 wrote plain strings, and the
//! two disagreed on what a byte beyond ASCII means; readers tell them apart by the first bytes of the pickle. What comes
//! out of both are texts, which go into requests as Latin-1: that undoes the double encoding in which Python 3 stores
//! header values (B14.5).
//!
//! What a bad disk made of a pickle is told from what is merely unknown here: the former is what Swift quarantines, and
//! nothing is counted as corrupt that the reference could read.

mod error;
mod machine;

use std::ops::Range;

pub use self::error::MetadataError;
pub use self::machine::MAX_BYTES;
use self::machine::Value;

/// More items than this are not looked at. Swift allows some 90 headers.
const MAX_ITEMS: usize = 4096;

/// The metadata of one file: names and values, sorted by name.
///
/// Both are Python's native strings in UTF-8; a byte that was no UTF-8 in the file stands for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    text: Vec<u8>,
    items: Vec<Item>,
}

/// Where in the text an item's name and value are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    name: Range<usize>,
    value: Range<usize>,
}

impl Metadata {
    /// Reads the pickle of a file's metadata.
    ///
    /// # Errors
    /// [`MetadataError`] if the bytes are not a pickled dict of strings. [`MetadataError::is_corrupt`] tells what Swift
    /// could not read either from what is only not understood here.
    pub fn decode(pickle: &[u8]) -> Result<Self, MetadataError> {
        if pickle.is_empty() {
            return Err(MetadataError::Empty);
        }
        if pickle.len() > MAX_BYTES {
            return Err(MetadataError::Foreign("too many bytes"));
        }
        let strings = Strings::in_pickle(pickle);
        let mut metadata = Self { text: Vec::with_capacity(pickle.len()), items: Vec::with_capacity(16) };
        machine::read_dict(pickle, |name, value| {
            if metadata.items.len() == MAX_ITEMS {
                return Err(MetadataError::Foreign("too many items"));
            }
            let is_name = matches!(name, Value::Bytes(b"name") | Value::Latin1("name"));
            let name = metadata.push(|text| strings.append(name, false, text))?;
            let value = metadata.push(|text| strings.append(value, is_name, text))?;
            metadata.items.push(Item { name, value });
            Ok(())
        })?;
        metadata.sort();
        Ok(metadata)
    }

    /// The value of the item with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let at = self.items.binary_search_by(|item| self.text[item.name.clone()].cmp(name.as_bytes())).ok()?;
        Some(&self.text[self.items[at].value.clone()])
    }

    /// The items, each with its name and value, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.items.iter().map(|item| (&self.text[item.name.clone()], &self.text[item.value.clone()]))
    }

    /// Gives the item with this name another value.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let text = &self.text;
        let found = self.items.binary_search_by(|item| text[item.name.clone()].cmp(name.as_bytes()));
        let push = |text: &mut Vec<u8>, part: &[u8]| {
            let start = text.len();
            text.extend_from_slice(part);
            start..text.len()
        };
        match found {
            Ok(at) => self.items[at].value = push(&mut self.text, value),
            Err(at) => {
                let name = push(&mut self.text, name.as_bytes());
                let value = push(&mut self.text, value);
                self.items.insert(at, Item { name, value });
            }
        }
    }

    fn push(
        &mut self,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), MetadataError>,
    ) -> Result<Range<usize>, MetadataError> {
        let start = self.text.len();
        append(&mut self.text)?;
        Ok(start..self.text.len())
    }

    /// Sorts the items, and of those with the same name leaves the last.
    fn sort(&mut self) {
        let Self { text, items } = self;
        items.sort_by(|one, other| text[one.name.clone()].cmp(&text[other.name.clone()]));
        items.dedup_by(|later, earlier| {
            let same = text[later.name.clone()] == text[earlier.name.clone()];
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
    }
}

/// How the strings of a pickle become texts.
#[derive(Clone, Copy)]
enum Strings {
    /// Bytes are UTF-8.
    Python3,
    /// Bytes are Latin-1, but for an object's name.
    Python2,
}

impl Strings {
    /// Which Python wrote a pickle; the test is the reference's (B14.3).
    fn in_pickle(pickle: &[u8]) -> Self {
        const MARK: &[u8] = b"_codecs\nencode";
        let written_by_3 = pickle[..pickle.len().min(32)].windows(MARK.len()).any(|part| part == MARK);
        if written_by_3 { Self::Python3 } else { Self::Python2 }
    }

    fn append(self, value: Value<'_>, is_name: bool, text: &mut Vec<u8>) -> Result<(), MetadataError> {
        let as_it_is = is_name || matches!(self, Self::Python3);
        match value {
            Value::Text(value) => text.extend_from_slice(value.as_bytes()),
            // Latin-1 there and back.
            Value::Latin1(value) if !as_it_is => text.extend_from_slice(value.as_bytes()),
            Value::Latin1(value) => {
                // That all are below 256 was seen when the value was made.
                text.extend(value.chars().map(|c| u32::from(c) as u8));
            }
            Value::Bytes(bytes) if as_it_is || bytes.is_ascii() => text.extend_from_slice(bytes),
            Value::Bytes(bytes) => {
                let mut utf8 = [0; 2];
                bytes.iter().for_each(|&b| text.extend_from_slice(char::from(b).encode_utf8(&mut utf8).as_bytes()));
            }
            _ => return Err(MetadataError::Foreign("something else than strings")),
        }
        Ok(())
    }
}

/// Appends a text of the metadata as it goes into requests: in Latin-1 (B9.11).
///
/// Returns false, with part of it appended, if it cannot be written so: such metadata cannot be sent (the reference fails
/// at it too).
#[must_use]
pub fn append_latin1(text: &[u8], out: &mut Vec<u8>) -> bool {
    if text.is_ascii() {
        out.extend_from_slice(text);
        return true;
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    text.chars().all(|c| u8::try_from(u32::from(c)).map(|byte| out.push(byte)).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A string as Python 3 pickles bytes in protocol 2 when it does so for the first time, after the dict's mark.
    fn first(text: &str) -> Vec<u8> {
        let mut pickle = b"c_codecs\nencode\nq\x01".to_vec();
        pickle.extend(unicode(text));
        pickle.extend(b"q\x02X\x06\0\0\0latin1q\x03\x86q\x04Rq\x05");
        pickle
    }

    /// The same for every other string: function and codec come from the memo.
    fn other(text: &str) -> Vec<u8> {
        [b"h\x01".to_vec(), unicode(text), b"q\x06h\x03\x86q\x07Rq\x08".to_vec()].concat()
    }

    fn unicode(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn python3(items: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = items.iter().flat_map(|(name, value)| [*name, *value]);
        let head = strings.next().map(first).unwrap_or_default();
        let body: Vec<u8> = strings.flat_map(other).collect();
        [b"\x80\x02}q\x00(".to_vec(), head, body, b"u.".to_vec()].concat()
    }

    fn python2(items: &[(&[u8], &[u8])]) -> Vec<u8> {
        let string = |text: &[u8]| [b"U", &[text.len() as u8][..], text, b"q\x01"].concat();
        let body = items.iter().flat_map(|(name, value)| [string(name), string(value)].concat());
        [b"\x80\x02}q\x00(".to_vec(), body.collect(), b"u.".to_vec()].concat()
    }

    fn wire(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        append_latin1(text, &mut out).then_some(out)
    }

    #[test]
    fn a_header_goes_out_as_it_came_in_from_python_3() {
        // c3 a9 came in, c3 83 c2 a9 is stored, and each byte is a character in the pickle (B14.5).
        let pickle = python3(&[
            ("X-Timestamp", "1700000011.00011"),
            ("X-Object-Meta-U", "caf\u{c3}\u{83}\u{c2}\u{a9}"),
            ("name", "/a/c/caf\u{c3}\u{a9}"),
        ]);
        let metadata = Metadata::decode(&pickle).unwrap();
        assert_eq!(metadata.get("X-Timestamp"), Some(&b"1700000011.00011"[..]));
        let value = metadata.get("X-Object-Meta-U").unwrap();
        assert_eq!(wire(value).unwrap(), "café".as_bytes());
        assert_eq!(metadata.get("name"), Some("/a/c/café".as_bytes()));
        assert_eq!(metadata.get("x-timestamp"), None, "names are what they are");
    }

    #[test]
    fn a_header_goes_out_as_it_came_in_from_python_2() {
        let pickle = python2(&[
            (b"name", "/a/c/café".as_bytes()),
            (b"X-Object-Meta-U", "café".as_bytes()),
            (b"X-Object-Meta-L", b"caf\xe9"),
        ]);
        let metadata = Metadata::decode(&pickle).unwrap();
        assert_eq!(wire(metadata.get("X-Object-Meta-U").unwrap()).unwrap(), "café".as_bytes());
        assert_eq!(wire(metadata.get("X-Object-Meta-L").unwrap()).unwrap(), b"caf\xe9");
        assert_eq!(metadata.get("name"), Some("/a/c/café".as_bytes()));
    }

    #[test]
    fn empty_values_and_the_bytes_of_newer_protocols_are_read() {
        let empty = b"\x80\x02}(c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86Rc__builtin__\nbytes\n)Ru.";
        assert_eq!(Metadata::decode(empty).unwrap().get("a"), Some(&b""[..]));
        let newer = b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94C\x01a\x94C\x02\xc3\xa9\x94s.";
        assert_eq!(Metadata::decode(newer).unwrap().get("a"), Some("Ã©".as_bytes()), "taken for Python 2's");
    }

    #[test]
    fn items_are_sorted_and_the_last_of_a_name_counts() {
        let pickle = python2(&[(b"b", b"1"), (b"a", b"2"), (b"c", b"3"), (b"b", b"4"), (b"b", b"5")]);
        let metadata = Metadata::decode(&pickle).unwrap();
        let items: Vec<_> = metadata.iter().collect();
        assert_eq!(items, [(&b"a"[..], &b"2"[..]), (b"b", b"5"), (b"c", b"3")]);
    }

    #[test]
    fn an_item_can_be_replaced_and_added() {
        let mut metadata = Metadata::decode(&python2(&[(b"b", b"1"), (b"d", b"2")])).unwrap();
        metadata.set("b", b"new");
        metadata.set("c", b"more");
        let items: Vec<_> = metadata.iter().collect();
        assert_eq!(items, [(&b"b"[..], &b"new"[..]), (b"c", b"more"), (b"d", b"2")]);
    }

    #[test]
    fn what_is_no_latin_1_cannot_be_sent() {
        assert_eq!(wire("\u{ff}".as_bytes()).unwrap(), b"\xff");
        assert_eq!(wire("\u{100}".as_bytes()), None);
        assert_eq!(wire(b"caf\xe9"), None, "no UTF-8 in the file");
    }

    #[test]
    fn damage_is_told_from_what_is_unknown() {
        let corrupt = |pickle: &[u8]| Metadata::decode(pickle).unwrap_err().is_corrupt();
        assert_eq!(Metadata::decode(b"").unwrap_err().to_string(), "Ran out of input");
        assert!(corrupt(b"") && corrupt(b"\x80\x02}") && corrupt(b"\0\0\0\0") && corrupt(b"\x80\x02}q\0(U\x05abu."));
        assert!(corrupt(b"\x80\x02u.") && corrupt(b"\x80\x02}(U\x01au.") && corrupt(b"\x80\x02U\x01a."));
        assert!(!corrupt(b"\x80\x02}(U\x01aNu."), "None as a value");
        assert!(!corrupt(b"\x80\x02}(U\x01aJ\0"), "a number as a value, whatever follows");
        assert!(!corrupt(b"\x80\x02}(U\x01aG\0\0\0\0\0\0\0\0u."), "a float as a value");
        assert!(!corrupt(b"\x80\x02]."), "a list is read by Python, if to no use");
        assert!(!corrupt(&[b'('; MAX_BYTES + 1]));
        let attack = Metadata::decode(b"cos\nsystem\n(S'id'\ntR.").unwrap_err();
        assert!(attack.is_corrupt());
        assert_eq!(attack.to_string(), "global 'os.system' is forbidden");
    }

    #[test]
    fn bombs_are_refused() {
        for byte in *b"(}\x94" {
            Metadata::decode(&vec![byte; MAX_BYTES]).unwrap_err();
        }
        Metadata::decode(b"U\x01ar\xff\xff\xff\xff.").unwrap_err();
        Metadata::decode(b"X\xff\xff\xff\xff.").unwrap_err();
        // Many items that all point to one long text must not multiply it.
        let long = vec![b'x'; 60_000];
        let mut pickle = [b"\x80\x02}(".as_slice(), &unicode(std::str::from_utf8(&long).unwrap()), b"q\0"].concat();
        (0..200_000).for_each(|_| pickle.extend(b"h\0"));
        pickle.extend(b"u.");
        Metadata::decode(&pickle).unwrap_err();
    }

    /// Bytes that look like a pickle at least from afar.
    fn pickle_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"}q\0(".to_vec()),
            Just(first("name")),
            Just(other("\u{e9}")),
            Just(b"U\x02abq\x01".to_vec()),
            Just(b"c__builtin__\nbytes\n)R".to_vec()),
            prop::sample::select(b"\x80\x95.(N\x88UTXBC\x8c\x8d\x8e}suqr\x94hjc\x86R)0]".to_vec())
                .prop_map(|opcode| vec![opcode]),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pickle in prop_oneof![any::<Vec<u8>>(), pickle_like()]) {
            if let Ok(metadata) = Metadata::decode(&pickle) {
                metadata.iter().for_each(|(name, value)| drop((wire(name), wire(value))));
            }
        }

        #[test]
        fn what_python_2_wrote_is_read(
            items in prop::collection::btree_map(prop_oneof![9 => "[a-z]{1,9}", 1 => Just("name".to_owned())], any::<Vec<u8>>(), 0..20),
        ) {
            let items: Vec<_> = items.iter().map(|(k, v)| (k.as_bytes(), &v[..v.len().min(255)])).collect();
            let metadata = Metadata::decode(&python2(&items)).unwrap();
            // An object's name is kept as it is.
            let plain = |k: &[u8], v: &[u8]| if k == b"name" { v.to_vec() } else { wire(v).unwrap() };
            let read: Vec<_> = metadata.iter().map(|(k, v)| (k.to_vec(), plain(k, v))).collect();
            let written: Vec<_> = items.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, written);
        }
    }
}
