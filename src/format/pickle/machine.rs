//! A stack machine that reads one flat dict.
//!
//! It works as Python's own, but its values are single words or point into the input, there is one dict whose items go
//! straight to whoever wants them, and stack, marks and memo have limits: nothing nests, nothing is copied or
//! multiplied, and whatever the bytes say, the work is linear in their number. It knows the opcodes that a dict of texts
//! and numbers can be made of (B13.3); any other ends the reading.
//!
//! Texts beyond ASCII, or with escapes in them, can be neither suffix nor hash: they are read as [`Value::Foreign`].

use super::error::PickleError;
use crate::format::opcodes::input::{Ended, Input};
use crate::format::opcodes::op;
use crate::format::opcodes::stack::{Misuse, Stack};

/// The longest number or name that is written as a line.
const MAX_LINE: usize = 256;

/// What can stand on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    /// A number or a truth value.
    Number(f64),
    /// An ASCII text.
    Text(&'a [u8]),
    /// ASCII bytes.
    Bytes(&'a [u8]),
    /// A text or bytes that can be neither suffix nor hash.
    Foreign,
    /// The dict.
    Dict,
    /// `_codecs.encode`: how Python 3 writes bytes in protocols 0 to 2.
    Encode,
    /// Its arguments: a text to be encoded as Latin-1.
    Encodable(&'a [u8]),
}

impl<'a> Value<'a> {
    /// What Python's `bool()` says.
    pub(super) fn is_truthy(self) -> bool {
        match self {
            Value::None => false,
            Value::Number(number) => number != 0.0,
            Value::Text(text) | Value::Bytes(text) => !text.is_empty(),
            _ => true,
        }
    }

    pub(super) fn as_number(self) -> Option<f64> {
        if let Value::Number(number) = self { Some(number) } else { None }
    }

    /// The text or the bytes: the two are alike here (B13.3).
    pub(super) fn as_text(self) -> Option<&'a [u8]> {
        if let Value::Text(text) | Value::Bytes(text) = self { Some(text) } else { None }
    }
}

/// Reads a pickled dict and hands over its items, in order. A key that comes twice is handed over twice.
pub(super) fn read_dict<'a>(bytes: &'a [u8], item: impl FnMut(Value<'a>, Value<'a>)) -> Result<(), PickleError> {
    let mut machine = Machine { input: Input(bytes), stack: Stack::new(), has_dict: false, item };
    while !machine.step()? {}
    match machine.stack.pop()? {
        Value::Dict => Ok(()),
        _ => Err(PickleError::NotADict),
    }
}

struct Machine<'a, F> {
    input: Input<'a>,
    stack: Stack<Value<'a>>,
    has_dict: bool,
    item: F,
}

type Step<T> = Result<T, PickleError>;

impl From<Ended> for PickleError {
    fn from(_: Ended) -> Self {
        Self::Truncated
    }
}

impl From<Misuse> for PickleError {
    fn from(misuse: Misuse) -> Self {
        Self::Malformed(match misuse {
            Misuse::Underflow => "stack underflow",
            Misuse::NoMark => "no mark",
            Misuse::NotInMemo => "nothing in that place of the memo",
            Misuse::TooMany(what) => what,
        })
    }
}

impl<'a, F: FnMut(Value<'a>, Value<'a>)> Machine<'a, F> {
    /// Does what the next opcode says; true at the end.
    fn step(&mut self) -> Step<bool> {
        match self.input.byte()? {
            op::STOP => return Ok(true),
            op::BINUNICODE => {
                let length = self.input.u32()?;
                self.text(length)?;
            }
            op::BINPUT => {
                let at = self.input.short()?;
                self.stack.put(at)?;
            }
            op::LONG_BINPUT => {
                let at = self.input.u32()?;
                self.stack.put(at)?;
            }
            op::NONE => self.push(Value::None)?,
            op::NEWTRUE => self.push(Value::Number(1.0))?,
            op::NEWFALSE => self.push(Value::Number(0.0))?,
            op::MARK => self.stack.mark()?,
            op::EMPTY_DICT => self.dict()?,
            op::SETITEMS => {
                let from = self.stack.unmark()?;
                self.set_items(from)?;
            }
            op::SETITEM => {
                let from = self.stack.below_two()?;
                self.set_items(from)?;
            }
            op::DICT => self.dict_of_marked()?,
            op::MEMOIZE => self.stack.put_next()?,
            op::PROTO => {
                if self.input.byte()? > 5 {
                    return Err(PickleError::Malformed("unknown protocol"));
                }
            }
            op::FRAME => {
                if self.input.u64()? > self.input.len() {
                    return Err(PickleError::Truncated);
                }
            }
            op::BINGET => {
                let at = self.input.short()?;
                self.stack.get(at)?;
            }
            op::LONG_BINGET => {
                let at = self.input.u32()?;
                self.stack.get(at)?;
            }
            op::PUT => {
                let at = self.line_number()?;
                self.stack.put(at)?;
            }
            op::GET => {
                let at = self.line_number()?;
                self.stack.get(at)?;
            }
            other => self.rarer(other)?,
        }
        Ok(false)
    }

    /// The opcodes that Swift's Python 3 servers do not write.
    fn rarer(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            op::SHORT_BINUNICODE => {
                let length = self.input.short()?;
                self.text(length)
            }
            op::BINUNICODE8 => {
                let length = self.input.u64()?;
                self.text(length)
            }
            op::UNICODE => {
                let line = self.input.line(usize::MAX)?;
                self.push(if line.contains(&b'\\') { Value::Foreign } else { text(line) })
            }
            op::SHORT_BINSTRING => {
                let length = self.input.short()?;
                self.string(length)
            }
            op::BINSTRING => {
                let length = self.input.u32()?;
                self.string(length)
            }
            op::STRING => {
                let line = self.input.line(usize::MAX)?;
                self.push(unquote(line)?)
            }
            op::SHORT_BINBYTES => {
                let length = self.input.short()?;
                self.bytes(length)
            }
            op::BINBYTES => {
                let length = self.input.u32()?;
                self.bytes(length)
            }
            op::BINBYTES8 => {
                let length = self.input.u64()?;
                self.bytes(length)
            }
            op::GLOBAL => self.global(),
            op::TUPLE => {
                let from = self.stack.unmark()?;
                self.encodable(from)
            }
            op::TUPLE2 => {
                let from = self.stack.below_two()?;
                self.encodable(from)
            }
            op::REDUCE => self.reduce(),
            _ => {
                let number = self.number(opcode)?;
                self.push(Value::Number(number))
            }
        }
    }

    /// The opcodes of numbers. A number's only use is a time, or to be true or false.
    fn number(&mut self, opcode: u8) -> Step<f64> {
        Ok(match opcode {
            op::BINFLOAT => f64::from_be_bytes(self.input.array()?),
            op::BININT => i32::from_le_bytes(self.input.array()?).into(),
            op::BININT1 => self.input.byte()?.into(),
            op::BININT2 => u16::from_le_bytes(self.input.array()?).into(),
            op::LONG1 => {
                let length = self.input.short()?;
                long(self.input.take(length)?)
            }
            op::LONG4 => {
                let length = self.input.u32()?;
                long(self.input.take(length)?)
            }
            op::INT | op::LONG | op::FLOAT => {
                let line = self.input.line(MAX_LINE)?;
                let digits = if opcode == op::LONG { line.strip_suffix(b"L").unwrap_or(line) } else { line };
                let digits = std::str::from_utf8(digits).ok();
                digits.and_then(|digits| digits.parse().ok()).ok_or(PickleError::Malformed("not a number"))?
            }
            other => return Err(PickleError::Opcode(other)),
        })
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        Ok(self.stack.push(value)?)
    }

    fn dict(&mut self) -> Step<()> {
        if self.has_dict {
            return Err(PickleError::Malformed("more than one dict"));
        }
        self.has_dict = true;
        self.push(Value::Dict)
    }

    fn dict_of_marked(&mut self) -> Step<()> {
        let from = self.stack.unmark()?;
        self.hand_over(from)?;
        self.dict()
    }

    /// Puts all above this height, as pairs, into the dict below them.
    fn set_items(&mut self, from: usize) -> Step<()> {
        if self.stack.below(from)? != Value::Dict {
            return Err(PickleError::Malformed("items of something that is no dict"));
        }
        self.hand_over(from)
    }

    fn hand_over(&mut self, from: usize) -> Step<()> {
        let (pairs, odd) = self.stack.above(from).as_chunks();
        if !odd.is_empty() {
            return Err(PickleError::Malformed("a key without a value"));
        }
        for [key, value] in pairs {
            (self.item)(*key, *value);
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn text(&mut self, length: usize) -> Step<()> {
        let bytes = self.input.take(length)?;
        self.push(text(bytes))
    }

    /// A Python 2 string: the reference reads it as ASCII text, and fails if it is not.
    fn string(&mut self, length: usize) -> Step<()> {
        let bytes = self.input.take(length)?;
        self.push(ascii(bytes)?)
    }

    fn bytes(&mut self, length: usize) -> Step<()> {
        let bytes = self.input.take(length)?;
        self.push(if bytes.is_ascii() { Value::Bytes(bytes) } else { Value::Foreign })
    }

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.input.line(MAX_LINE)?, self.input.line(MAX_LINE)?);
        if (module, name) == (b"_codecs", b"encode") {
            return self.push(Value::Encode);
        }
        Err(PickleError::Global(format!("{}.{}", module.escape_ascii(), name.escape_ascii())))
    }

    fn encodable(&mut self, from: usize) -> Step<()> {
        let value = match *self.stack.above(from) {
            [Value::Text(text), Value::Text(b"latin1")] => Value::Encodable(text),
            [Value::Foreign, Value::Text(b"latin1")] => Value::Foreign,
            _ => return Err(PickleError::Malformed("a tuple that is no argument")),
        };
        self.stack.truncate(from);
        self.push(value)
    }

    fn reduce(&mut self) -> Step<()> {
        let (argument, function) = (self.stack.pop()?, self.stack.pop()?);
        match (function, argument) {
            (Value::Encode, Value::Encodable(text)) => self.push(Value::Bytes(text)),
            (Value::Encode, Value::Foreign) => self.push(Value::Foreign),
            _ => Err(PickleError::Malformed("a call of something that is no function")),
        }
    }

    fn line_number(&mut self) -> Step<usize> {
        let digits = std::str::from_utf8(self.input.line(MAX_LINE)?).ok();
        digits.and_then(|digits| digits.parse().ok()).ok_or(PickleError::Malformed("not a place of the memo"))
    }
}

fn text(bytes: &[u8]) -> Value<'_> {
    if bytes.is_ascii() { Value::Text(bytes) } else { Value::Foreign }
}

fn ascii(bytes: &[u8]) -> Step<Value<'_>> {
    if bytes.is_ascii() { Ok(Value::Text(bytes)) } else { Err(PickleError::Malformed("string beyond ASCII")) }
}

/// The Python 2 string whose literal this is.
fn unquote(literal: &[u8]) -> Step<Value<'_>> {
    match literal {
        [first @ (b'\'' | b'"'), inner @ .., last] if first == last => {
            if inner.contains(&b'\\') {
                Ok(Value::Foreign)
            } else {
                ascii(inner)
            }
        }
        _ => Err(PickleError::Malformed("string without quotes")),
    }
}

/// A number in two's complement, least byte first. Which one is of no matter beyond 64 bits, but that it is not zero.
fn long(bytes: &[u8]) -> f64 {
    let mut word = match bytes.last() {
        Some(last) if *last >= 0x80 => [0xff; 8],
        _ => [0; 8],
    };
    match word.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            i64::from_le_bytes(word) as f64
        }
        None if bytes.iter().any(|byte| *byte != 0) => f64::INFINITY,
        None => 0.0,
    }
}
