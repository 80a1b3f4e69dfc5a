//! A stack machine that reads one flat dict.
//!
//! It works as Python's own, but its values are single words or point into the input, there is one dict whose items go
//! straight to whoever wants them, and stack, marks and memo have limits: nothing nests, nothing is copied or
//! multiplied, and whatever the bytes say, the work is linear in their number. It knows the opcodes that a dict of texts
//! and numbers can be made of (B13.3); any other ends the reading.
//!
//! Texts beyond ASCII, or with escapes in them, can be neither suffix nor hash: they are read as [`Value::Foreign`].

use super::error::PickleError;
use crate::format::opcodes::input::Input;
use crate::format::opcodes::instruction::Instruction;
use crate::format::opcodes::op;
use crate::format::opcodes::stack::Stack;

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
    let mut machine = Machine { input: Input(bytes), stack: Stack::new(), item };
    while !machine.step()? {}
    match machine.stack.pop()? {
        Value::Dict => Ok(()),
        _ => Err(PickleError::NotADict),
    }
}

struct Machine<'a, F> {
    input: Input<'a>,
    stack: Stack<Value<'a>>,
    item: F,
}

type Step<T> = Result<T, PickleError>;

impl<'a, F: FnMut(Value<'a>, Value<'a>)> Machine<'a, F> {
    /// Does what the next instruction says; true at the end.
    fn step(&mut self) -> Step<bool> {
        match Instruction::of_scalars(&mut self.input)? {
            Instruction::Stop => return Ok(true),
            Instruction::Heading => {}
            Instruction::Mark => self.stack.mark()?,
            Instruction::Put(at) => self.stack.put(at)?,
            Instruction::PutNext => self.stack.put_next()?,
            Instruction::Get(at) => self.stack.get(at)?,
            Instruction::None => self.push(Value::None)?,
            Instruction::Number(number) => self.push(Value::Number(number))?,
            Instruction::Text(bytes) => self.push(text(bytes))?,
            Instruction::EscapedText(line) if line.contains(&b'\\') => self.push(Value::Foreign)?,
            Instruction::EscapedText(line) => self.push(text(line))?,
            Instruction::String(bytes) => self.push(ascii(bytes)?)?,
            Instruction::Literal(line) => self.push(unquote(line)?)?,
            Instruction::Bytes(bytes) if bytes.is_ascii() => self.push(Value::Bytes(bytes))?,
            Instruction::Bytes(_) => self.push(Value::Foreign)?,
            Instruction::EmptyDict => self.stack.push_dict(Value::Dict)?,
            Instruction::Dict => self.dict_of_marked()?,
            Instruction::SetItem => self.set_items(self.stack.below_two()?)?,
            Instruction::SetItems => {
                let from = self.stack.unmark()?;
                self.set_items(from)?;
            }
            Instruction::Global { module, name } => self.global(module, name)?,
            Instruction::Tuple2 => self.encodable(self.stack.below_two()?)?,
            Instruction::Tuple => {
                let from = self.stack.unmark()?;
                self.encodable(from)?;
            }
            Instruction::Reduce => self.reduce()?,
            Instruction::EmptyTuple => return Err(PickleError::Opcode(op::EMPTY_TUPLE)),
            Instruction::Other(opcode) => return Err(PickleError::Opcode(opcode)),
        }
        Ok(false)
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        Ok(self.stack.push(value)?)
    }

    fn dict_of_marked(&mut self) -> Step<()> {
        let from = self.stack.unmark()?;
        self.hand_over(from)?;
        Ok(self.stack.push_dict(Value::Dict)?)
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

    fn global(&mut self, module: &[u8], name: &[u8]) -> Step<()> {
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
}

fn text(bytes: &[u8]) -> Value<'_> {
    if bytes.is_ascii() { Value::Text(bytes) } else { Value::Foreign }
}

/// A Python 2 string: the reference reads it as ASCII text, and fails if it is not.
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
