//! A stack machine that reads one flat dict of strings.
//!
//! Like the one for suffix hashes ([`crate::format::pickle`]), but its strings are whole: every byte of a name or a value
//! counts here. Values are single words or point into the input, nothing nests, and stack, marks and memo have limits,
//! so the work is linear in the number of bytes, whatever they say.
//!
//! An error says whether the reference fails as well ([`MetadataError::is_corrupt`]); where that is not certain the
//! answer is [`MetadataError::Foreign`].

use super::error::MetadataError::{self, Foreign, Malformed};
use crate::format::opcodes::input::Input;
use crate::format::opcodes::instruction::Instruction;
use crate::format::opcodes::op;
use crate::format::opcodes::stack::Stack;

/// The longest pickle that is looked at. Swift's own limits on headers allow some 20 kB.
pub const MAX_BYTES: usize = 1 << 20;

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
    let mut machine = Machine { input: Input(bytes), stack: Stack::new(), copied: 0, item };
    while !machine.step()? {}
    match machine.stack.pop()? {
        Value::Dict => Ok(()),
        Value::Text(_) | Value::Bytes(_) | Value::Latin1(_) => Err(Malformed("not a dict")),
        _ => Err(Foreign("something else than a dict")),
    }
}

struct Machine<'a, F> {
    input: Input<'a>,
    stack: Stack<Value<'a>>,
    /// The bytes of all strings that were handed over.
    copied: usize,
    item: F,
}

impl<'a, F: FnMut(Value<'a>, Value<'a>) -> Step<()>> Machine<'a, F> {
    /// Does what the next instruction says; true at the end.
    fn step(&mut self) -> Step<bool> {
        match Instruction::of_strings(&mut self.input)? {
            Instruction::Stop => return Ok(true),
            Instruction::Heading => {}
            Instruction::Mark => self.stack.mark()?,
            Instruction::Put(at) => self.stack.put(at)?,
            Instruction::PutNext => self.stack.put_next()?,
            Instruction::Get(at) => self.stack.get(at)?,
            Instruction::Text(bytes) => self.text(bytes)?,
            Instruction::String(bytes) | Instruction::Bytes(bytes) => self.push(Value::Bytes(bytes))?,
            Instruction::EmptyDict => self.stack.push_dict(Value::Dict)?,
            Instruction::SetItem => self.set_items(self.stack.below_two()?)?,
            Instruction::SetItems => {
                let from = self.stack.unmark()?;
                self.set_items(from)?;
            }
            Instruction::Global { module, name } => self.global(module, name)?,
            Instruction::EmptyTuple => self.push(Value::NoArguments)?,
            Instruction::Tuple2 => self.pair()?,
            Instruction::Reduce => self.reduce()?,
            Instruction::Other(byte) if !op::is_known(byte) => return Err(MetadataError::NotAnOpcode(byte)),
            _ => return Err(Foreign("something else than strings")),
        }
        Ok(false)
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        Ok(self.stack.push(value)?)
    }

    /// Puts all above this height, as pairs, into the dict below them.
    fn set_items(&mut self, from: usize) -> Step<()> {
        let holder = self.stack.below(from)?;
        let (pairs, odd) = self.stack.above(from).as_chunks();
        // Python does not look at what none are put into.
        if pairs.is_empty() && odd.is_empty() {
            return Ok(());
        }
        if !odd.is_empty() {
            return Err(Malformed("a key without a value"));
        }
        match holder {
            Value::Dict => {}
            Value::Text(_) | Value::Bytes(_) | Value::Latin1(_) => return Err(Malformed("items of a string")),
            _ => return Err(Foreign("items of something that is no dict")),
        }
        for [key, value] in pairs {
            // The memo lets one string come many times.
            self.copied += length(*key) + length(*value);
            if self.copied > MAX_BYTES {
                return Err(Foreign("too many bytes"));
            }
            (self.item)(*key, *value)?;
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn text(&mut self, bytes: &'a [u8]) -> Step<()> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            // Python lets lone surrogates pass, whose first byte is this.
            if bytes.contains(&0xed) { Foreign("surrogates") } else { Malformed("a text that is no UTF-8") }
        })?;
        self.push(Value::Text(text))
    }

    fn global(&mut self, module: &[u8], name: &[u8]) -> Step<()> {
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
        let (second, first) = (self.stack.pop()?, self.stack.pop()?);
        match (first, second) {
            (Value::Text(text), Value::Text("latin1")) => self.push(Value::Encodable(text)),
            _ => Err(Foreign("tuples")),
        }
    }

    fn reduce(&mut self) -> Step<()> {
        let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
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
}

fn length(value: Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Latin1(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}
