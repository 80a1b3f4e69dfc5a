//! JSON as Python's `json` module reads and writes it.
//!
//! Several daemons write the recon cache in turns, and each must give back what the others put there, to the byte. That
//! is Python's dialect: integers of any size, `NaN` and `Infinity`, strings with half a surrogate pair, floats in
//! `repr`'s shortest form, everything else than printable ASCII escaped, keys sorted by code points. serde_json refuses
//! some of that and rounds some; its values are what the rest of the program works with, so they convert both ways.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::repr_float;

/// Containers may stand in each other this deep; the recon cache has four levels.
const MAX_DEPTH: usize = 100;

/// A JSON value, with nothing of it lost.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The digits, with a `-` before them if negative.
    Int(String),
    Float(f64),
    Text(Text),
    List(Vec<Json>),
    Dict(Dict),
}

/// A JSON object, sorted as it is written.
pub(crate) type Dict = BTreeMap<Text, Json>;

/// A string of code points, which may hold half a surrogate pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Vec<u32>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.chars().map(u32::from).collect())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => Self::Float(float),
                _ => Self::Int(number.to_string()),
            },
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Dict(entries.iter().map(|(key, value)| (key.as_str().into(), value.into())).collect())
            }
        }
    }
}

impl Json {
    /// Reads the one value that the text holds; `None` if it is not JSON, or nested too deeply.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(MAX_DEPTH)?;
        parser.skip_space();
        (parser.at == text.len()).then_some(value)
    }

    /// Appends the value in one line.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(number) => write_float(*number, out),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Dict(entries) => {
                out.push('{');
                for (position, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { ", " });
                    write_text(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The value for the rest of the program; what that cannot hold becomes null, or the nearest number or character.
impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(flag),
            Json::Int(digits) => match (digits.parse::<i64>(), digits.parse::<u64>()) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) => number.into(),
                _ => digits.parse().ok().and_then(Number::from_f64).map_or(Self::Null, Self::Number),
            },
            Json::Float(number) => number.into(),
            Json::Text(text) => Self::String(text.into()),
            Json::List(items) => items.into_iter().map(Self::from).collect(),
            Json::Dict(entries) => Self::Object(into_map(entries)),
        }
    }
}

/// The entries of an object for the rest of the program.
pub(crate) fn into_map(entries: Dict) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.into_iter().map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    }
}

fn write_float(number: f64, out: &mut String) {
    match number {
        f64::INFINITY => out.push_str("Infinity"),
        f64::NEG_INFINITY => out.push_str("-Infinity"),
        number if number.is_nan() => out.push_str("NaN"),
        number => out.push_str(&repr_float(number)),
    }
}

fn write_text(text: &Text, out: &mut String) {
    out.push('"');
    for &code in &text.0 {
        match char::from_u32(code) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some(c @ ' '..='~') => out.push(c),
            Some(c) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_escape((*unit).into(), out)),
            None => write_escape(code, out),
        }
    }
    out.push('"');
}

fn write_escape(code: u32, out: &mut String) {
    write!(out, "\\u{code:04x}").expect("a string takes what is written to it");
}

/// Reads one value after the other; every method gives `None` where the text is no JSON.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string().map(Json::Text),
            b'[' => self.list(depth.checked_sub(1)?).map(Json::List),
            b'{' => self.dict(depth.checked_sub(1)?).map(Json::Dict),
            _ => self.constant().or_else(|| self.number()),
        }
    }

    fn constant(&mut self) -> Option<Json> {
        let constants = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Float(f64::NAN)),
            ("Infinity", Json::Float(f64::INFINITY)),
            ("-Infinity", Json::Float(f64::NEG_INFINITY)),
        ];
        constants.into_iter().find_map(|(word, value)| self.eat(word).map(|()| value))
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        let _ = self.eat("-");
        match self.digits() {
            "" => return None,
            // Nothing follows a leading zero, not even another one.
            digits if digits.starts_with('0') => self.at -= digits.len() - 1,
            _ => {}
        }
        let integer = self.at;
        self.optional(|this| this.eat(".").filter(|()| !this.digits().is_empty()));
        self.optional(|this| {
            this.eat("e").or_else(|| this.eat("E"))?;
            let _ = this.eat("+").or_else(|| this.eat("-"));
            Some(()).filter(|()| !this.digits().is_empty())
        });
        let number = &self.text[start..self.at];
        if self.at == integer {
            return Some(Json::Int(if number == "-0" { "0" } else { number }.to_owned()));
        }
        number.parse().ok().map(Json::Float)
    }

    fn string(&mut self) -> Option<Text> {
        self.eat("\"")?;
        let mut codes = Vec::new();
        loop {
            let c = self.text[self.at..].chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(Text(codes)),
                '\\' => codes.push(self.escape()?),
                '\0'..'\u{20}' => return None,
                c => codes.push(c.into()),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<u32> {
        let kind = self.peek()?;
        if kind == b'u' {
            return self.unicode_escape();
        }
        self.at += 1;
        let c = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return None,
        };
        Some(c.into())
    }

    /// `uXXXX`, and the other half of a surrogate pair if it follows.
    fn unicode_escape(&mut self) -> Option<u32> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Some(first);
        }
        let behind_first = self.at;
        let second = self.eat("\\").and_then(|()| self.code_unit()).filter(|unit| (0xdc00..0xe000).contains(unit));
        match second {
            Some(second) => Some(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)),
            None => {
                self.at = behind_first;
                Some(first)
            }
        }
    }

    fn code_unit(&mut self) -> Option<u32> {
        self.eat("u")?;
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Json>> {
        self.eat("[")?;
        let mut items = Vec::new();
        self.skip_space();
        if self.eat("]").is_some() {
            return Some(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.eat("]").is_some() {
                return Some(items);
            }
            self.eat(",")?;
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Dict> {
        self.eat("{")?;
        let mut entries = Dict::new();
        self.skip_space();
        if self.eat("}").is_some() {
            return Some(entries);
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.eat(":")?;
            entries.insert(key, self.value(depth)?);
            self.skip_space();
            if self.eat("}").is_some() {
                return Some(entries);
            }
            self.eat(",")?;
        }
    }

    /// Takes the step, or goes back to where it began.
    fn optional(&mut self, step: impl FnOnce(&mut Self) -> Option<()>) {
        let before = self.at;
        if step(self).is_none() {
            self.at = before;
        }
    }

    fn digits(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        self.at += length;
        &rest[..length]
    }

    fn eat(&mut self, expected: &str) -> Option<()> {
        self.text[self.at..].starts_with(expected).then(|| self.at += expected.len())
    }

    fn skip_space(&mut self) {
        self.at += self.text[self.at..].bytes().take_while(|b| b" \t\n\r".contains(b)).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Option<String> {
        let mut out = String::new();
        Json::parse(text)?.write(&mut out);
        Some(out)
    }

    #[test]
    fn what_python_wrote_comes_back_as_it_was() {
        for text in [
            r#"{"a": 1, "b": [true, false, null], "c": {"d": -1.5e-07, "e": {}}, "f": []}"#,
            r#"[NaN, Infinity, -Infinity, 123456789012345678901234567890, 0.0, -0.0, 1e+16]"#,
            r#"["\u00e9 \ud83d\ude00 \ud83d \u007f \" \\ \b\f\n\r\t \u0000 /"]"#,
        ] {
            assert_eq!(rewritten(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn keys_are_sorted_by_code_point_and_the_last_of_equal_ones_counts() {
        let text = r#" { "\ud83d\ude00":1 ,"\uffff":2,"b":3,"a":4,"b":5 } "#;
        assert_eq!(rewritten(text).unwrap(), r#"{"a": 4, "b": 5, "\uffff": 2, "\ud83d\ude00": 1}"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{1:2}",
            "01",
            "-",
            "1.",
            "1e",
            ".5",
            "+1",
            "nul",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123",
            "1 2",
            "\"\\u+123\"",
        ] {
            assert_eq!(rewritten(text), None, "{text:?}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(&nested(MAX_DEPTH)).is_some());
        assert!(Json::parse(&nested(MAX_DEPTH + 1)).is_none());
        assert!(Json::parse(&"[".repeat(10_000_000)).is_none());
    }

    #[test]
    fn values_of_the_program_convert_both_ways() {
        let value =
            serde_json::json!({"n": null, "t": true, "i": -3, "u": u64::MAX, "f": 1.5, "s": "é", "l": [1], "d": {}});
        assert_eq!(Value::from(Json::from(&value)), value);
        assert_eq!(Value::from(Json::Float(f64::NAN)), Value::Null);
        assert_eq!(Value::from(Json::Int("1".repeat(30))), Value::from(1.111_111_111_111_111e29));
    }
}
