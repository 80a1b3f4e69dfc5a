//! What others wrote (names on disks and in rings, the words of a peer, a status file), made fit for a terminal and for a
//! line of the log.
//!
//! A terminal acts on control characters, a line break begins a line that nobody wrote, and marks of direction show a text
//! in another order than it has. Each of these is written as its bytes, every one as `#` and three octal digits: the form
//! that syslog daemons and the log's own line breaks have (`#012`), and nearly that of rsync. Bytes that are no UTF-8 are
//! written so too. All other text stays as it is, and what was made printable once does not change any more.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text in one line, with nothing in it that a terminal would act on.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) { Cow::Borrowed(text) } else { Cow::Owned(escaped(text)) }
}

/// The same for bytes that ought to be text.
pub(crate) fn printable_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return printable(text);
    }
    let mut out = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        out.push_str(&printable(chunk.valid()));
        octal(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

/// JSON that means the same, with nothing in it that a terminal would act on.
///
/// JSON's own rules escape what is below a blank, and have it outside of strings only as a break of lines. What else is
/// not printable stands in strings, where it may be written as `\u202e`.
pub(crate) fn printable_json(json: String) -> String {
    if json.chars().all(|c| c == '\n' || is_harmless(c)) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if c == '\n' || is_harmless(c) {
            out.push(c);
        } else {
            // None of them is beyond the first plane; nothing that is written to a string can fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            octal(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out
}

fn octal(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "#{byte:03o}");
    }
}

/// Neither a control character (C0, DEL, C1), nor a separator of lines or paragraphs, nor a mark that changes the
/// direction of what follows.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}')
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_stays_as_it_is_and_is_not_copied() {
        for text in ["", "sda1", "/srv/node/sdb/objects/12/abc", "Größe: 3 µs", "日本", "a#b", "\u{200d}", "👩‍👧"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn what_a_terminal_acts_on_is_written_in_octal() {
        for (text, shown) in [
            ("\u{1b}]0;pwned\u{7}\u{1b}[2J\r", "#033]0;pwned#007#033[2J#015"),
            ("a\nb\tc\0\u{7f}", "a#012b#011c#000#177"),
            ("\u{9b}31m", "#302#23331m"),
            ("a\u{2028}b\u{2029}\u{85}", "a#342#200#250b#342#200#251#302#205"),
            ("\u{202e}cod.exe\u{2066}\u{200f}\u{61c}", "#342#200#256cod.exe#342#201#246#342#200#217#330#234"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_written_in_octal_and_the_text_around_them_stays() {
        assert_eq!(printable_bytes(b"a\xffb\xc3\xa9\xe2\x80\n"), "a#377bé#342#200#012");
        assert!(matches!(printable_bytes("é".as_bytes()), Cow::Borrowed("é")));
    }

    #[test]
    fn json_keeps_its_meaning_and_its_lines() {
        let value = serde_json::json!({"a\u{7f}": "\u{1b}[m\u{9b}\u{202e}\n", "b": [1, "é"]});
        let json = printable_json(format!("{value:#}\n"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        assert!(json.chars().all(|c| c == '\n' || is_harmless(c)), "{json:?}");
        assert!(json.contains("\\u009b\\u202e") && json.contains("é"), "{json}");
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_is_not_harmless_and_a_second_time_changes_nothing(bytes: Vec<u8>) {
            let shown = printable_bytes(&bytes).into_owned();
            prop_assert!(shown.chars().all(is_harmless));
            prop_assert!(matches!(printable(&shown), Cow::Borrowed(_)));
        }
    }
}
