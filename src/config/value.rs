//! How the text of a value is understood: the way Swift's Python does (B2.7-B2.9).

use crate::python::numbers::strip;
pub use crate::python::numbers::{BadValue, float, integer};

/// `true`, `1`, `yes`, `on`, `t` and `y` in any case are true, everything else is false (B2.7).
pub fn boolean(text: &str) -> bool {
    ["true", "1", "yes", "on", "t", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// One of the words for true or for false, in any case; `None` for everything else.
pub(crate) fn truth(text: &str) -> Option<bool> {
    let is_false = ["false", "0", "no", "off", "f", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if boolean(text) { Some(true) } else { is_false.then_some(false) }
}

/// `auto` in any case is `None`, everything else an integer (B2.8).
///
/// # Errors
/// [`BadValue`] if it is neither `auto` nor an integer.
pub fn auto_integer(text: &str) -> Result<Option<i64>, BadValue> {
    if text.eq_ignore_ascii_case("auto") { Ok(None) } else { integer(text).map(Some) }
}

/// How much of a disk is to stay free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reserve {
    Bytes(i64),
    /// Of the disk's size.
    Percent(f64),
}

/// A number of bytes, or a percentage that ends with `%`, as in `fallocate_reserve`.
///
/// # Errors
/// [`BadValue`] if it is neither an integer nor a number before a `%`.
pub fn bytes_or_percent(text: &str) -> Result<Reserve, BadValue> {
    match text.strip_suffix('%') {
        Some(percent) => float(percent).map(Reserve::Percent),
        None => integer(text).map(Reserve::Bytes),
    }
}

/// A number that is not negative, as `commit_window` has it. `nan` is not negative.
///
/// # Errors
/// [`BadValue`] if it is negative or not a number.
pub fn non_negative_float(text: &str) -> Result<f64, BadValue> {
    float(text).and_then(|value| if value < 0.0 { Err(BadValue) } else { Ok(value) })
}

/// The parts of a comma-separated list, without white space around them and without empty ones.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(strip).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_words_are_true_and_everything_else_is_false() {
        for word in ["true", "TRUE", "1", "yes", "On", "t", "Y"] {
            assert!(boolean(word), "{word}");
        }
        for word in ["", "false", "0", "2", "enabled", "true ", "yes!"] {
            assert!(!boolean(word), "{word}");
        }
    }

    #[test]
    fn what_is_neither_true_nor_false_is_no_truth_value() {
        for word in ["false", "FALSE", "0", "no", "Off", "f", "N"] {
            assert_eq!(truth(word), Some(false), "{word}");
        }
        assert_eq!((truth("yes"), truth(""), truth("enabled"), truth("no ")), (Some(true), None, None, None));
    }

    #[test]
    fn auto_is_no_number_in_any_case() {
        assert_eq!(auto_integer("AUTO"), Ok(None));
        assert_eq!(auto_integer("2"), Ok(Some(2)));
        assert_eq!(auto_integer("fred"), Err(BadValue));
    }

    #[test]
    fn a_reserve_is_bytes_or_a_percentage() {
        for (good, bytes) in [("0", 0), ("-1", -1), (" 10_000 ", 10_000)] {
            assert_eq!(bytes_or_percent(good), Ok(Reserve::Bytes(bytes)), "{good:?}");
        }
        for (good, percent) in [("1%", 1.0), (" 1.5 %", 1.5), ("1e3%", 1e3)] {
            assert_eq!(bytes_or_percent(good), Ok(Reserve::Percent(percent)), "{good:?}");
        }
        for bad in ["", "%", "1.5", "abc", "1%%"] {
            assert_eq!(bytes_or_percent(bad), Err(BadValue), "{bad:?}");
        }
    }

    #[test]
    fn a_window_is_not_negative() {
        assert_eq!(non_negative_float("60"), Ok(60.0));
        assert_eq!(non_negative_float("-0.0"), Ok(-0.0));
        assert_eq!(non_negative_float("-1"), Err(BadValue));
    }

    #[test]
    fn a_list_has_no_empty_parts() {
        assert_eq!(list(" a, ,b,,").collect::<Vec<_>>(), ["a", "b"]);
    }
}
