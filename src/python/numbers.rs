//! Numbers and white space as Python reads them.
//!
//! Numbers may have white space around, a sign, and underscores (`1_000`). Integers end at the limits of `i64`, where they
//! stay, and only ASCII digits count.

/// A value that is not what it should be. What it should be, the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue;

/// More digits than this are no integer to Python.
const MAX_DIGITS: usize = 4300;

/// Python's `int()`, held at the limits of `i64`.
///
/// # Errors
/// [`BadValue`] where Python would raise `ValueError`.
pub fn integer(text: &str) -> Result<i64, BadValue> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = without_underscores(digits)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(BadValue);
    }
    let magnitude = digits.parse::<i64>().unwrap_or(if negative { i64::MIN } else { i64::MAX });
    Ok(if negative && magnitude > 0 { -magnitude } else { magnitude })
}

/// Python's `float()`.
///
/// # Errors
/// [`BadValue`] where Python would raise `ValueError`.
pub fn float(text: &str) -> Result<f64, BadValue> {
    without_underscores(text.trim())?.parse().map_err(|_| BadValue)
}

/// What Python's `str.strip` takes for white space: Unicode's, and four separators of ASCII that numbers may not have.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// Python's `str.strip`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.rstrip`.
pub(crate) fn strip_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Takes out underscores, which may stand between two digits only.
fn without_underscores(number: &str) -> Result<String, BadValue> {
    let bytes = number.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    let misplaced = |index: usize| bytes[index] == b'_' && !(index > 0 && digit(index - 1) && digit(index + 1));
    if (0..bytes.len()).any(misplaced) { Err(BadValue) } else { Ok(number.replace('_', "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_pythons() {
        let good = [("5", 5), (" +5 ", 5), ("-0", 0), ("007", 7), ("1_000", 1000), ("-12", -12)];
        for (text, value) in good {
            assert_eq!(integer(text), Ok(value), "{text:?}");
        }
        for bad in
            ["", " ", "1.5", "0x10", "1__0", "_1", "1_", "+ 1", "+-1", "1e3", "five", "5 # x", "٣", "\x1c5", "5\x1f"]
        {
            assert_eq!(integer(bad), Err(BadValue), "{bad:?}");
        }
    }

    #[test]
    fn integers_beyond_the_limits_stay_at_them() {
        assert_eq!(integer("9223372036854775808"), Ok(i64::MAX));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer(&"9".repeat(4300)), Ok(i64::MAX));
        assert_eq!(integer(&"9".repeat(4301)), Err(BadValue));
    }

    #[test]
    fn floats_are_pythons() {
        for (text, value) in
            [("1e3", 1000.0), (" 1. ", 1.0), (".5", 0.5), ("1_0.5", 10.5), ("-Infinity", f64::NEG_INFINITY)]
        {
            assert_eq!(float(text), Ok(value), "{text:?}");
        }
        assert!(float("nan").unwrap().is_nan());
        for bad in ["", ".", "1_", "1_.5", "1e", "0x1p3", "5 # x", "\x1d5", "5\x1e"] {
            assert_eq!(float(bad), Err(BadValue), "{bad:?}");
        }
    }
}
