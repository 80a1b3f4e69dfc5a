//! A stack machine that reads one flat dict of strings.
//!
//! Like the one for suffix hashes ([`crate::format::pickle`]), but its strings are whole: every byte of a name or a value
//! counts here. Values are single words or point into the input, nothing nests, and stack, marks and memo have limits,
//! so the work is linear in the number of bytes, whatever they say.
//!
//! An error says whether the reference fails as well ([`MetadataError::is_corrupt`]); where that is not certain the
//! answer is [`MetadataError::Foreign`].

use super::MetadataError::{self, Foreign, Malformed, Truncated};
use crate::format::pickle::op;

/// Honest pickles put at most 1,000 pairs on the stack at once, or all of them.
const MAX_STACK: usize = 1 << 14;
/// Honest pickles remember at most five things for each string.
const MAX_MEMO: usize = 1 << 16;
/// Honest pickles have a dict.
const MAX_MARKS: usize = 4;
/// The longest name of a function.
const MAX_LINE: usize = 256;

/// What can stand on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// Bytes, or a string of Python 2.
    Bytes(&'a [u8]),
    /// The bytes that a text, all of Latin-1, stands for: what [`Function::Encode`] makes.
    Latin1(&'a str),
    /// The dict.
    Dict,
    Function(Function),
    /// The arguments `(<text>, 'latin1')`.
    Encodable(&'a str),
    /// No arguments.
    NoArguments,
}

/// The functions that the reference lets a pickle call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    /// `_codecs.encode`: how Python 3 writes bytes in protocols 0 to 2.
    Encode,
    /// `bytes`: how it writes empty ones.
    Bytes,
    /// Those that make other dicts.
    Other,
}

type Step<T> = Result<T, MetadataError>;

/// Reads a pickled dict and hands over its items, in order.
pub(super) fn read_dict<'a>(
    bytes: &'a [u8],
    item: impl FnMut(Value<'a>, Value<'a>) -> Result<(), MetadataError>,
) -> Result<(), MetadataError> {
    let mut machine = Machine {
        input: bytes,
        stack: Vec::with_capacity(64),
        marks: Vec::new(),
        memo: Vec::with_capacity(64),
        memoized: 0,
        copied: 0,
        has_dict: false,
        item,
    };
    while !machine.step()? {}
    match machine.pop()? {
        Value::Dict => Ok(()),
        Value::Text(_) | Value::Bytes(_) | Value::Latin1(_) => Err(Malformed("not a dict")),
        _ => Err(Foreign("something else than a dict")),
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
    /// The bytes of all strings that were handed over.
    copied: usize,
    has_dict: bool,
    item: F,
}

impl<'a, F: FnMut(Value<'a>, Value<'a>) -> Step<()>> Machine<'a, F> {
    /// Does what the next opcode says; true at the end.
    fn step(&mut self) -> Step<bool> {
        match self.byte()? {
            op::STOP => return Ok(true),
            op::BINGET => {
                let at = self.byte()?;
                self.get(at.into())?;
            }
            op::BINUNICODE => {
                let length = self.u32()?;
                self.text(length)?;
            }
            op::BINPUT => {
                let at = self.byte()?;
                self.put(at.into())?;
            }
            op::TUPLE2 => self.pair()?,
            op::REDUCE => self.reduce()?,
            op::SHORT_BINSTRING | op::SHORT_BINBYTES => {
                let length = self.byte()?;
                self.bytes(length.into())?;
            }
            op::LONG_BINPUT => {
                let at = self.u32()?;
                self.put(at)?;
            }
            op::LONG_BINGET => {
                let at = self.u32()?;
                self.get(at)?;
            }
            op::GLOBAL => self.global()?,
            op::EMPTY_TUPLE => self.push(Value::NoArguments)?,
            op::MARK => self.mark()?,
            op::EMPTY_DICT => self.dict()?,
            op::SETITEMS => {
                let from = self.marks.pop().ok_or(Malformed("no mark"))?;
                self.set_items(from)?;
            }
            op::SETITEM => {
                let from = self.stack.len().checked_sub(2).ok_or(UNDERFLOW)?;
                self.set_items(from)?;
            }
            other => self.rarer(other)?,
        }
        Ok(false)
    }

    /// The opcodes that Swift's servers do not write today.
    fn rarer(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            op::PROTO => match self.byte()? {
                ..=5 => Ok(()),
                _ => Err(Malformed("unknown protocol")),
            },
            op::FRAME => match self.u64()? {
                length if length > self.input.len() => Err(Truncated),
                _ => Ok(()),
            },
            op::MEMOIZE => self.put(self.memoized),
            op::SHORT_BINUNICODE => {
                let length = self.byte()?;
                self.text(length.into())
            }
            op::BINUNICODE8 => {
                let length = self.u64()?;
                self.text(length)
            }
            op::BINSTRING | op::BINBYTES => {
                let length = self.u32()?;
                self.bytes(length)
            }
            op::BINBYTES8 => {
                let length = self.u64()?;
                self.bytes(length)
            }
            other if op::is_known(other) => Err(Foreign("something else than strings")),
            other => Err(MetadataError::NotAnOpcode(other)),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(Foreign("too many values at once"));
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
            return Err(Foreign("too many marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn dict(&mut self) -> Step<()> {
        if self.has_dict {
            return Err(Foreign("more than one dict"));
        }
        self.has_dict = true;
        self.push(Value::Dict)
    }

    /// Puts all above this height, as pairs, into the dict below them.
    fn set_items(&mut self, from: usize) -> Step<()> {
        if from <= self.fence() || from > self.stack.len() {
            return Err(UNDERFLOW);
        }
        if from == self.stack.len() {
            return Ok(());
        }
        let (pairs, odd) = self.stack[from..].as_chunks();
        if !odd.is_empty() {
            return Err(Malformed("a key without a value"));
        }
        match self.stack[from - 1] {
            Value::Dict => {}
            Value::Text(_) | Value::Bytes(_) | Value::Latin1(_) => return Err(Malformed("items of a string")),
            _ => return Err(Foreign("items of something that is no dict")),
        }
        for [key, value] in pairs {
            // The memo lets one string come many times.
            self.copied += length(*key) + length(*value);
            if self.copied > super::MAX_BYTES {
                return Err(Foreign("too many bytes"));
            }
            (self.item)(*key, *value)?;
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn put(&mut self, at: usize) -> Step<()> {
        if at >= MAX_MEMO {
            return Err(Foreign("too large a memo"));
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
            _ => Err(Malformed("nothing in that place of the memo")),
        }
    }

    fn text(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| {
            // Python lets lone surrogates pass, whose first byte is this.
            if bytes.contains(&0xed) { Foreign("surrogates") } else { Malformed("a text that is no UTF-8") }
        })?;
        self.push(Value::Text(text))
    }

    fn bytes(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        self.push(Value::Bytes(bytes))
    }

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.line()?, self.line()?);
        let function = match (module, name) {
            (b"_codecs", b"encode") => Function::Encode,
            (b"__builtin__" | b"builtins", b"bytes") => Function::Bytes,
            (b"__builtin__" | b"builtins", b"dict")
            | (b"copy_reg" | b"copyreg", b"_reconstructor")
            | (b"swift.common.header_key_dict", b"HeaderKeyDict") => Function::Other,
            _ => {
                let name = format!("{}.{}", module.escape_ascii(), name.escape_ascii());
                return Err(MetadataError::Global(name));
            }
        };
        self.push(Value::Function(function))
    }

    fn pair(&mut self) -> Step<()> {
        let (second, first) = (self.pop()?, self.pop()?);
        match (first, second) {
            (Value::Text(text), Value::Text("latin1")) => self.push(Value::Encodable(text)),
            _ => Err(Foreign("tuples")),
        }
    }

    fn reduce(&mut self) -> Step<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        match (function, arguments) {
            (Value::Function(Function::Encode), Value::Encodable(text)) => {
                if text.chars().any(|c| c > '\u{ff}') {
                    return Err(Malformed("bytes beyond Latin-1"));
                }
                self.push(Value::Latin1(text))
            }
            (Value::Function(Function::Bytes), Value::NoArguments) => self.push(Value::Bytes(b"")),
            (Value::Function(_), _) => Err(Foreign("other calls")),
            _ => Err(Malformed("a call of something that is no function")),
        }
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.input.split_at_checked(length).ok_or(Truncated)?;
        self.input = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let (taken, rest) = self.input.split_first_chunk().ok_or(Truncated)?;
        self.input = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Step<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn u32(&mut self) -> Step<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64(&mut self) -> Step<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Truncated)
    }

    /// The bytes up to the next newline, which is taken too.
    fn line(&mut self) -> Step<&'a [u8]> {
        let Some(end) = self.input.iter().take(MAX_LINE).position(|c| *c == b'\n') else {
            return Err(if self.input.len() < MAX_LINE { Truncated } else { Foreign("a name without end") });
        };
        let line = self.take(end)?;
        self.byte()?;
        Ok(line)
    }
}

const UNDERFLOW: MetadataError = Malformed("stack underflow");

fn length(value: Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Latin1(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}
