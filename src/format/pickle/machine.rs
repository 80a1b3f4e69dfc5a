//! A stack machine that reads one flat dict.
//!
//! It works as Python's own, but its values are single words or point into the input, there is one dict whose items go
//! straight to whoever wants them, and stack, marks and memo have limits: nothing nests, nothing is copied or
//! multiplied, and whatever the bytes say, the work is linear in their number. It knows the opcodes that a dict of texts
//! and numbers can be made of (B13.3); any other ends the reading.
//!
//! Texts beyond ASCII, or with escapes in them, can be neither suffix nor hash: they are read as [`Value::Foreign`].

use super::{PickleError, op};

/// Honest pickles put at most 1,000 pairs on the stack at once, or all of them.
const MAX_STACK: usize = 1 << 14;

/// Honest pickles remember at most six things for each pair.
const MAX_MEMO: usize = 1 << 16;

/// Honest pickles have a tuple in a dict.
const MAX_MARKS: usize = 4;

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
    let mut machine = Machine {
        input: bytes,
        stack: Vec::with_capacity(64),
        marks: Vec::new(),
        memo: Vec::with_capacity(64),
        memoized: 0,
        has_dict: false,
        item,
    };
    while !machine.step()? {}
    match machine.pop()? {
        Value::Dict => Ok(()),
        _ => Err(PickleError::NotADict),
    }
}

struct Machine<'a, F> {
    /// What is still to be read.
    input: &'a [u8],
    stack: Vec<Value<'a>>,
    /// The heights of the stack at open marks.
    marks: Vec<usize>,
    memo: Vec<Option<Value<'a>>>,
    /// How many places of the memo are taken.
    memoized: usize,
    has_dict: bool,
    item: F,
}

type Step<T> = Result<T, PickleError>;

impl<'a, F: FnMut(Value<'a>, Value<'a>)> Machine<'a, F> {
    /// Does what the next opcode says; true at the end.
    fn step(&mut self) -> Step<bool> {
        match self.byte()? {
            op::STOP => return Ok(true),
            op::BINUNICODE => {
                let length = self.u32()?;
                self.text(length)?;
            }
            op::BINPUT => {
                let at = self.byte()?;
                self.put(at.into())?;
            }
            op::LONG_BINPUT => {
                let at = self.u32()?;
                self.put(at)?;
            }
            op::NONE => self.push(Value::None)?,
            op::NEWTRUE => self.push(Value::Number(1.0))?,
            op::NEWFALSE => self.push(Value::Number(0.0))?,
            op::MARK => self.mark()?,
            op::EMPTY_DICT => self.dict()?,
            op::SETITEMS => {
                let from = self.unmark()?;
                self.set_items(from)?;
            }
            op::SETITEM => {
                let from = self.stack.len().checked_sub(2).ok_or(UNDERFLOW)?;
                self.set_items(from)?;
            }
            op::DICT => self.dict_of_marked()?,
            op::MEMOIZE => self.put(self.memoized)?,
            op::PROTO => {
                if self.byte()? > 5 {
                    return Err(PickleError::Malformed("unknown protocol"));
                }
            }
            op::FRAME => {
                if self.u64()? > self.input.len() {
                    return Err(PickleError::Truncated);
                }
            }
            op::BINGET => {
                let at = self.byte()?;
                self.get(at.into())?;
            }
            op::LONG_BINGET => {
                let at = self.u32()?;
                self.get(at)?;
            }
            op::PUT => {
                let at = self.line_number()?;
                self.put(at)?;
            }
            op::GET => {
                let at = self.line_number()?;
                self.get(at)?;
            }
            other => self.rarer(other)?,
        }
        Ok(false)
    }

    /// The opcodes that Swift's Python 3 servers do not write.
    fn rarer(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            op::SHORT_BINUNICODE => {
                let length = self.byte()?;
                self.text(length.into())
            }
            op::BINUNICODE8 => {
                let length = self.u64()?;
                self.text(length)
            }
            op::UNICODE => {
                let line = self.line(usize::MAX)?;
                self.push(if line.contains(&b'\\') { Value::Foreign } else { text(line) })
            }
            op::SHORT_BINSTRING => {
                let length = self.byte()?;
                self.string(length.into())
            }
            op::BINSTRING => {
                let length = self.u32()?;
                self.string(length)
            }
            op::STRING => {
                let line = self.line(usize::MAX)?;
                self.push(unquote(line)?)
            }
            op::SHORT_BINBYTES => {
                let length = self.byte()?;
                self.bytes(length.into())
            }
            op::BINBYTES => {
                let length = self.u32()?;
                self.bytes(length)
            }
            op::BINBYTES8 => {
                let length = self.u64()?;
                self.bytes(length)
            }
            op::GLOBAL => self.global(),
            op::TUPLE => {
                let from = self.unmark()?;
                self.encodable(from)
            }
            op::TUPLE2 => {
                let from = self.stack.len().checked_sub(2).ok_or(UNDERFLOW)?;
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
            op::BINFLOAT => f64::from_be_bytes(self.array()?),
            op::BININT => i32::from_le_bytes(self.array()?).into(),
            op::BININT1 => self.byte()?.into(),
            op::BININT2 => u16::from_le_bytes(self.array()?).into(),
            op::LONG1 => {
                let length = self.byte()?;
                long(self.take(length.into())?)
            }
            op::LONG4 => {
                let length = self.u32()?;
                long(self.take(length)?)
            }
            op::INT | op::LONG | op::FLOAT => {
                let line = self.line(MAX_LINE)?;
                let digits = if opcode == op::LONG { line.strip_suffix(b"L").unwrap_or(line) } else { line };
                let digits = std::str::from_utf8(digits).ok();
                digits.and_then(|digits| digits.parse().ok()).ok_or(PickleError::Malformed("not a number"))?
            }
            other => return Err(PickleError::Opcode(other)),
        })
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(PickleError::Malformed("stack too deep"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        if self.stack.len() <= self.fence() {
            return Err(UNDERFLOW);
        }
        self.stack.pop().ok_or(UNDERFLOW)
    }

    /// The height of the stack below which an open mark hides everything.
    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn mark(&mut self) -> Step<()> {
        if self.marks.len() >= MAX_MARKS {
            return Err(PickleError::Malformed("too many marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Closes the last mark; what has been pushed since begins at this height.
    fn unmark(&mut self) -> Step<usize> {
        self.marks.pop().ok_or(PickleError::Malformed("no mark"))
    }

    fn dict(&mut self) -> Step<()> {
        if self.has_dict {
            return Err(PickleError::Malformed("more than one dict"));
        }
        self.has_dict = true;
        self.push(Value::Dict)
    }

    fn dict_of_marked(&mut self) -> Step<()> {
        let from = self.unmark()?;
        self.hand_over(from)?;
        self.dict()
    }

    /// Puts all above this height, as pairs, into the dict below them.
    fn set_items(&mut self, from: usize) -> Step<()> {
        if from <= self.fence() {
            return Err(UNDERFLOW);
        }
        if self.stack[from - 1] != Value::Dict {
            return Err(PickleError::Malformed("items of something that is no dict"));
        }
        self.hand_over(from)
    }

    fn hand_over(&mut self, from: usize) -> Step<()> {
        let (pairs, odd) = self.stack[from..].as_chunks();
        if !odd.is_empty() {
            return Err(PickleError::Malformed("a key without a value"));
        }
        for [key, value] in pairs {
            (self.item)(*key, *value);
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn put(&mut self, at: usize) -> Step<()> {
        if at >= MAX_MEMO {
            return Err(PickleError::Malformed("memo too large"));
        }
        let value = *self.stack[self.fence()..].last().ok_or(UNDERFLOW)?;
        if at >= self.memo.len() {
            self.memo.resize(at + 1, None);
        }
        if self.memo[at].replace(value).is_none() {
            self.memoized += 1;
        }
        Ok(())
    }

    fn get(&mut self, at: usize) -> Step<()> {
        match self.memo.get(at) {
            Some(Some(value)) => self.push(*value),
            _ => Err(PickleError::Malformed("nothing in that place of the memo")),
        }
    }

    fn text(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        self.push(text(bytes))
    }

    /// A Python 2 string: the reference reads it as ASCII text, and fails if it is not.
    fn string(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        self.push(ascii(bytes)?)
    }

    fn bytes(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        self.push(if bytes.is_ascii() { Value::Bytes(bytes) } else { Value::Foreign })
    }

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.line(MAX_LINE)?, self.line(MAX_LINE)?);
        if (module, name) == (b"_codecs", b"encode") {
            return self.push(Value::Encode);
        }
        Err(PickleError::Global(format!("{}.{}", module.escape_ascii(), name.escape_ascii())))
    }

    fn encodable(&mut self, from: usize) -> Step<()> {
        let value = match self.stack[from.max(self.fence())..] {
            [Value::Text(text), Value::Text(b"latin1")] => Value::Encodable(text),
            [Value::Foreign, Value::Text(b"latin1")] => Value::Foreign,
            _ => return Err(PickleError::Malformed("a tuple that is no argument")),
        };
        self.stack.truncate(from);
        self.push(value)
    }

    fn reduce(&mut self) -> Step<()> {
        let (argument, function) = (self.pop()?, self.pop()?);
        match (function, argument) {
            (Value::Encode, Value::Encodable(text)) => self.push(Value::Bytes(text)),
            (Value::Encode, Value::Foreign) => self.push(Value::Foreign),
            _ => Err(PickleError::Malformed("a call of something that is no function")),
        }
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.input.split_at_checked(length).ok_or(PickleError::Truncated)?;
        self.input = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let (taken, rest) = self.input.split_first_chunk().ok_or(PickleError::Truncated)?;
        self.input = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Step<u8> {
        let (taken, rest) = self.input.split_first().ok_or(PickleError::Truncated)?;
        self.input = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Step<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64(&mut self) -> Step<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| PickleError::Truncated)
    }

    /// The bytes up to the next newline, which is taken too.
    fn line(&mut self, limit: usize) -> Step<&'a [u8]> {
        let end = self.input.iter().take(limit).position(|c| *c == b'\n').ok_or(PickleError::Truncated)?;
        let line = self.take(end)?;
        self.byte()?;
        Ok(line)
    }

    fn line_number(&mut self) -> Step<usize> {
        let digits = std::str::from_utf8(self.line(MAX_LINE)?).ok();
        digits.and_then(|digits| digits.parse().ok()).ok_or(PickleError::Malformed("not a place of the memo"))
    }
}

const UNDERFLOW: PickleError = PickleError::Malformed("stack underflow");

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
