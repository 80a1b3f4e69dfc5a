//! Values as Python writes them, for the lines, metrics and files that others parse.

/// A float as Python's `repr` gives it: the fewest digits that read back as the same number, with an exponent below 1e-4
/// and from 1e16 on.
pub fn repr_float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan".to_owned() } else { number.to_string() };
    }
    let scientific = shortest(number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        return format!("{sign}{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        return format!("{sign}0.{:0>width$}", digits, width = digits.len() + exponent.unsigned_abs() as usize - 1);
    }
    let whole = exponent as usize + 1;
    let digits = format!("{digits:0<width$}", width = whole + 1);
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// The number in scientific form with the fewest digits that read back as the same number.
///
/// If two numbers with that many digits are equally near, the one with the even last digit is taken, as Python does;
/// `{:e}` takes the larger one.
fn shortest(number: f64) -> String {
    let shortest = format!("{number:e}");
    let digits = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count(); // at least one
    let nearest = format!("{number:.*e}", digits - 1);
    if nearest.parse() == Ok(number) { nearest } else { shortest }
}

/// A string as Python's `repr` gives it.
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut repr = String::with_capacity(text.len() + 2);
    repr.push(quote);
    for c in text.chars() {
        match c {
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            '\t' => repr.push_str("\\t"),
            '\\' => repr.push_str("\\\\"),
            c if c == quote => repr.extend(['\\', c]),
            c if is_printable(c) => repr.push(c),
            c => repr.push_str(&match u32::from(c) {
                code @ ..=0xff => format!("\\x{code:02x}"),
                code @ ..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    repr.push(quote);
    repr
}

/// A list of strings as Python's `repr` gives it.
pub fn repr_list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<_> = items.iter().map(|item| repr_str(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// Whether Python shows the character as it is: everything but separators, controls and what is not assigned.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // `str::escape_debug` goes by the same categories, except that it escapes an accent at the very beginning.
    let after_something = String::from_iter(['_', c]);
    after_something.escape_debug().eq(after_something.chars())
}

/// A float rounded as Python's `round` does: to the number of decimals that is nearest to what the float really is.
pub fn round(number: f64, decimals: usize) -> f64 {
    format!("{number:.decimals$}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_fewest_digits_and_pythons_exponents() {
        for (number, repr) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (-1.5, "-1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e-7, "1e-07"),
            (1795500561.76, "1795500561.76"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-1.25e300, "-1.25e+300"),
            (2_122_313_924_637_809.2, "2122313924637809.2"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(repr_float(number), repr);
        }
    }

    #[test]
    fn strings_are_quoted_so_that_python_reads_them_back() {
        assert_eq!(repr_str("a b"), "'a b'");
        assert_eq!(repr_str("it's"), "\"it's\"");
        assert_eq!(repr_str("'\""), "'\\'\"'");
        assert_eq!(repr_str("\\\n\u{7f}é\u{ad}\u{2028}\u{e0001}"), r"'\\\n\x7fé\xad\u2028\U000e0001'");
        assert_eq!(repr_list(&["rsync", "--a"]), "['rsync', '--a']");
        assert_eq!(repr_list::<&str>(&[]), "[]");
    }

    #[test]
    fn rounding_goes_by_what_the_float_really_is() {
        assert_eq!(round(2.675, 2), 2.67);
        assert_eq!(round(0.125, 2), 0.12);
        assert_eq!(round(1234.56789, 4), 1234.5679);
    }
}
