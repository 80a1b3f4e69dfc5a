//! The way that nearly every dict of hashes is written, read without a stack or a memo.
//!
//! Swift's servers write protocol 2, and Python's pickler makes the same of the same types each time: texts are written
//! out and remembered, and nothing that was remembered is used again, since no two of the texts are one object. An
//! in-sync pass reads three such dicts for each partition, so this is worth a reader of its own. It compares bytes,
//! since it wants this one spelling of each instruction and no other; `machine` reads the rest, and whatever else begins
//! like this.

use super::machine::Value;
use crate::format::opcodes::op;

/// Reads a pickled dict and hands over its items, in order. False if it is written in another way; then what was handed
/// over means nothing.
pub(super) fn read_dict<'a>(bytes: &'a [u8], mut item: impl FnMut(Value<'a>, Value<'a>)) -> bool {
    const START: &[u8] = &[op::PROTO, 2, op::EMPTY_DICT, op::BINPUT, 0];
    let Some(mut input) = bytes.strip_prefix(START) else { return false };
    loop {
        match input {
            [op::STOP, ..] => return true,
            [op::MARK, rest @ ..] => input = rest,
            _ => return false,
        }
        while let Some((key, value, rest)) = read_item(input) {
            item(key, value);
            input = rest;
        }
        match input {
            [op::SETITEMS, rest @ ..] => input = rest,
            _ => return false,
        }
    }
}

/// A key and its value, and what comes after them.
fn read_item(input: &[u8]) -> Option<(Value<'_>, Value<'_>, &[u8])> {
    let (key, input) = read_text(input)?;
    let (value, input) = match input {
        [op::BINUNICODE, ..] => read_text(input)?,
        [op::NONE, rest @ ..] => (Value::None, rest),
        [op::NEWTRUE, rest @ ..] => (Value::Number(1.0), rest),
        [op::NEWFALSE, rest @ ..] => (Value::Number(0.0), rest),
        [op::BINFLOAT, rest @ ..] => {
            let (float, rest) = rest.split_first_chunk()?;
            (Value::Number(f64::from_be_bytes(*float)), rest)
        }
        _ => return None,
    };
    Some((key, value, input))
}

/// An ASCII text, and the opcode that remembers it.
fn read_text(input: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&[op::BINUNICODE, a, b, c, d], rest) = input.split_first_chunk()? else { return None };
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize)?;
    let rest = match rest {
        [op::BINPUT, _, rest @ ..] | [op::LONG_BINPUT, _, _, _, _, rest @ ..] => rest,
        _ => return None,
    };
    text.is_ascii().then_some((Value::Text(text), rest))
}
