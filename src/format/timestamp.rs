//! Swift's timestamps, as file names carry them (B6.16).
//!
//! A timestamp is a time in units of 10 µs with an offset that orders what shares a time. Its internal form has a fixed
//! width (`1400000000.00001`, or `1400000000.00001_0000000000000002` with an offset), so that the order of the texts is
//! the order of the times. The reference reads more than it writes, since it lets Python's `float()` and `int()` do the
//! reading; what it accepts in ASCII is accepted here too, for a file that it counts among an object's must do so
//! here. The one exception are infinities, which make the reference fail.

use std::fmt;

/// A point in time, with the offset that orders what happened at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// In units of 10 µs since the epoch; always below `LIMIT`.
    raw: u64,
    offset: u64,
}

/// The text is no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a timestamp")]
pub struct InvalidTimestamp;

/// Units in a second.
const PER_SECOND: u64 = 100_000;

/// The first time with eleven digits of seconds, in units: it would no longer sort as text.
const LIMIT: u64 = 10_000_000_000 * PER_SECOND;

/// At most this many hexadecimal digits of an offset.
const OFFSET_DIGITS: usize = 16;

impl Timestamp {
    /// The smallest timestamp.
    pub const ZERO: Self = Self { raw: 0, offset: 0 };

    /// The timestamp that a text stands for: seconds, and after a `_` the offset in hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] if the text has another form.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, InvalidTimestamp> {
        let text = text.as_ref();
        if let Some(raw) = parse_fixed(text) {
            return Ok(Self { raw, offset: 0 });
        }
        let (seconds, offset) = match text.iter().position(|c| *c == b'_') {
            Some(at) => (&text[..at], parse_offset(&text[at + 1..])?),
            None => (text, 0),
        };
        Ok(Self { raw: parse_seconds(seconds)?, offset })
    }

    /// The times in the stem of a `.meta` file's name (B6.17): that of the metadata, and after a `+` or `-` how far from
    /// it the content type's is, in hexadecimal units.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] if the stem has another form.
    pub fn parse_pair(stem: &[u8]) -> Result<(Self, Option<Self>), InvalidTimestamp> {
        let sign = |c: &u8| matches!(c, b'+' | b'-');
        let Some(at) = stem.iter().position(sign) else { return Ok((Self::parse(stem)?, None)) };
        let first = Self::parse(&stem[..at])?;
        let deltas = &stem[at..];
        let (delta, rest) = deltas.split_at(deltas[1..].iter().position(sign).map_or(deltas.len(), |at| at + 1));
        let second = first.moved(parse_delta(delta)?)?;
        // A third time is read by the reference too, though nothing looks at it: it must be one.
        if !rest.is_empty() {
            let third = &rest[..rest[1..].iter().position(sign).map_or(rest.len(), |at| at + 1)];
            second.moved(parse_delta(third)?)?;
        }
        Ok((first, Some(second)))
    }

    /// In units of 10 µs since the epoch.
    pub const fn raw(self) -> u64 {
        self.raw
    }

    /// What orders timestamps of the same time.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// As Unix time.
    pub fn seconds(self) -> f64 {
        // Both are exact, so this is the nearest double, as in the reference.
        self.raw as f64 / PER_SECOND as f64
    }

    /// Writes the internal form into `buffer`, for hashing; returns what of it was used.
    pub fn write_internal(self, buffer: &mut [u8; 33]) -> &[u8] {
        write_decimal(&mut buffer[..10], self.raw / PER_SECOND);
        buffer[10] = b'.';
        write_decimal(&mut buffer[11..16], self.raw % PER_SECOND);
        if self.offset == 0 {
            return &buffer[..16];
        }
        buffer[16] = b'_';
        for (digit, shift) in buffer[17..].iter_mut().zip((0..16).rev()) {
            *digit = b"0123456789abcdef"[(self.offset >> (shift * 4)) as usize & 15];
        }
        &buffer[..]
    }

    /// This time moved by some units; the offset survives only if it was not moved at all.
    fn moved(self, delta: i64) -> Result<Self, InvalidTimestamp> {
        if delta == 0 {
            return Ok(self);
        }
        let raw = self.raw.checked_add_signed(delta).filter(|raw| *raw < LIMIT).ok_or(InvalidTimestamp)?;
        Ok(Self { raw, offset: 0 })
    }
}

impl fmt::Display for Timestamp {
    /// The internal form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 33];
        f.write_str(std::str::from_utf8(self.write_internal(&mut buffer)).expect("digits are ASCII"))
    }
}

/// The form that Swift itself writes: ten digits, a dot, five digits.
fn parse_fixed(text: &[u8]) -> Option<u64> {
    let text: &[u8; 16] = text.try_into().ok()?;
    let (seconds, fraction) = (&text[..10], &text[11..]);
    if text[10] != b'.' || !seconds.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(number(seconds) * PER_SECOND + number(fraction))
}

/// Whatever Python's `float()` takes, rounded to units as the reference does.
fn parse_seconds(text: &[u8]) -> Result<u64, InvalidTimestamp> {
    let text = std::str::from_utf8(trim(text)).map_err(|_| InvalidTimestamp)?;
    let seconds: f64 = text.parse().map_err(|_| InvalidTimestamp)?;
    let raw = (seconds / 1e-5).round_ties_even();
    if (0.0..LIMIT as f64).contains(&raw) { Ok(raw as u64) } else { Err(InvalidTimestamp) }
}

fn parse_offset(digits: &[u8]) -> Result<u64, InvalidTimestamp> {
    if digits.is_empty() {
        return Ok(0);
    }
    if digits.len() > OFFSET_DIGITS || digits.contains(&b'_') {
        return Err(InvalidTimestamp);
    }
    parse_hex(digits)?.try_into().map_err(|_| InvalidTimestamp)
}

fn parse_delta(signed: &[u8]) -> Result<i64, InvalidTimestamp> {
    let (sign, digits) = signed.split_at(1);
    let delta = parse_hex(digits)?;
    let delta = if sign == b"-" { -delta } else { delta };
    delta.try_into().map_err(|_| InvalidTimestamp)
}

/// Whatever Python's `int(…, 16)` takes. Numbers that no caller can use are refused.
fn parse_hex(text: &[u8]) -> Result<i128, InvalidTimestamp> {
    let text = trim(text);
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = match text {
        // One underscore may stand between digits, and after the prefix.
        [b'0', b'x' | b'X', b'_', rest @ ..] | [b'0', b'x' | b'X', rest @ ..] => rest,
        _ => text,
    };
    let mut value: i128 = 0;
    for group in digits.split(|c| *c == b'_') {
        if group.is_empty() {
            return Err(InvalidTimestamp);
        }
        for digit in group {
            let digit = char::from(*digit).to_digit(16).ok_or(InvalidTimestamp)?;
            value = value * 16 + i128::from(digit);
            if value > i128::from(u64::MAX) {
                return Err(InvalidTimestamp);
            }
        }
    }
    Ok(if negative { -value } else { value })
}

/// Python strips ASCII's white space from numbers, without the four separators that its `str.strip` takes for such too.
fn trim(text: &[u8]) -> &[u8] {
    let white = |c: &u8| matches!(c, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|c| !white(c)).unwrap_or(text.len());
    let end = text.iter().rposition(|c| !white(c)).map_or(start, |at| at + 1);
    &text[start..end]
}

fn write_decimal(buffer: &mut [u8], mut number: u64) {
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn internal(text: &str) -> Option<String> {
        Timestamp::parse(text).ok().map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn the_internal_form_has_a_fixed_width() {
        assert_eq!(internal("1400000000.00001").unwrap(), "1400000000.00001");
        assert_eq!(internal("1400000000.00001_0000000000000002").unwrap(), "1400000000.00001_0000000000000002");
        assert_eq!(internal("1400000000.00001_2").unwrap(), "1400000000.00001_0000000000000002");
        assert_eq!(internal("1400000000.00001_0000000000000000").unwrap(), "1400000000.00001");
        assert_eq!(internal("5").unwrap(), "0000000005.00000");
        assert_eq!(internal("9999999999.99999_ffffffffffffffff").unwrap(), "9999999999.99999_ffffffffffffffff");
    }

    #[test]
    fn what_python_reads_as_a_number_is_read() {
        assert_eq!(internal("1e5").unwrap(), "0000100000.00000");
        assert_eq!(internal(" 1.0\n").unwrap(), "0000000001.00000");
        assert_eq!(internal(".5").unwrap(), "0000000000.50000");
        assert_eq!(internal("+1.").unwrap(), "0000000001.00000");
        assert_eq!(internal("-0.000001").unwrap(), "0000000000.00000");
        assert_eq!(internal("1.000005").unwrap(), "0000000001.00000");
        assert_eq!(internal("1._ 0xf").unwrap(), "0000000001.00000_000000000000000f");
        assert_eq!(internal("1_").unwrap(), "0000000001.00000");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for junk in [
            "",
            "-1",
            "10000000000",
            "9999999999.999996",
            "nan",
            "inf",
            "-inf",
            "1e400",
            "1.0.0",
            "\x1c1",
            "1\x1f",
            "1_\x1d1",
            "1x",
            "1_1_1",
            "1_-1",
            "1_g",
            "1_00000000000000001",
            "1__1",
            "٣",
            "infinity",
        ] {
            assert_eq!(internal(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn a_meta_file_names_the_time_of_its_content_type() {
        let pair = |stem: &str| {
            let (first, second) = Timestamp::parse_pair(stem.as_bytes()).ok()?;
            Some((first.to_string(), second.map(|second| second.to_string())))
        };
        let at = |text: &str| text.to_owned();
        assert_eq!(pair("1400000003.00000"), Some((at("1400000003.00000"), None)));
        assert_eq!(pair("1400000003.00000-19"), Some((at("1400000003.00000"), Some(at("1400000002.99975")))));
        assert_eq!(pair("1400000003.00000+19"), Some((at("1400000003.00000"), Some(at("1400000003.00025")))));
        let offset = "1400000003.00000_0000000000000001";
        assert_eq!(pair("1400000003.00000_1+0"), Some((at(offset), Some(at(offset)))));
        assert_eq!(pair("1400000003.00000_1+1"), Some((at(offset), Some(at("1400000003.00001")))));
        assert_eq!(pair("1400000003.00000-1+1"), Some((at("1400000003.00000"), Some(at("1400000002.99999")))));
        for junk in ["+1", "1-", "1-186a1", "1+x", "1+1+x", "1-1-1869a0", "1+ffffffffffffffffffff", "9999999999+186a0"]
        {
            assert_eq!(pair(junk), None, "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(raw in 0..LIMIT, offset: u64) {
            let timestamp = Timestamp { raw, offset };
            prop_assert_eq!(Timestamp::parse(timestamp.to_string()), Ok(timestamp));
            prop_assert_eq!(parse_seconds(Timestamp { raw, offset: 0 }.to_string().as_bytes()), Ok(raw));
        }

        #[test]
        fn the_order_is_that_of_the_internal_forms(a in 0..LIMIT, b in 0..LIMIT, c in 0..3_u64, d in 0..3_u64) {
            let (one, two) = (Timestamp { raw: a, offset: c }, Timestamp { raw: b, offset: d });
            prop_assert_eq!(one.cmp(&two), one.to_string().cmp(&two.to_string()));
        }

        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>) {
            let _ = (Timestamp::parse(&text), Timestamp::parse_pair(&text));
        }

        #[test]
        fn no_likely_text_makes_it_panic(text in "[0-9a-f.+_x -]{0,24}") {
            let _ = (Timestamp::parse(&text), Timestamp::parse_pair(text.as_bytes()));
        }
    }
}
