//! The instructions of a pickle: opcodes with their arguments. This is the one place that knows which has which.

use super::fault::PickleFault::{self, Ended, Malformed};
use super::input::Input;
use super::op;

/// The longest number or name that is written as a line.
const MAX_LINE: usize = 256;

/// An opcode, or several that do the same, with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::format) enum Instruction<'a> {
    Stop,
    /// The protocol, or the length of a frame: it has been looked at, and there is nothing to do.
    Heading,
    Mark,
    Put(usize),
    PutNext,
    Get(usize),
    /// A text, which ought to be UTF-8.
    Text(&'a [u8]),
    /// A string of Python 2.
    String(&'a [u8]),
    Bytes(&'a [u8]),
    EmptyDict,
    SetItem,
    SetItems,
    Global {
        module: &'a [u8],
        name: &'a [u8],
    },
    EmptyTuple,
    Tuple2,
    Reduce,
    None,
    /// A number or a truth value.
    Number(f64),
    /// A text with escapes.
    EscapedText(&'a [u8]),
    /// A string of Python 2 as it stands in a program.
    Literal(&'a [u8]),
    Dict,
    Tuple,
    /// Any other byte.
    Other(u8),
}

impl<'a> Instruction<'a> {
    /// The next instruction of a dict of strings, in protocol 1 or later. Another's argument is not looked at: even if it
    /// is cut off, such a dict is unknown before it is damaged.
    ///
    /// Inlined, for both machines look at once at what is made here, and take a third longer if it is made elsewhere.
    #[inline(always)]
    pub(in crate::format) fn of_strings(input: &mut Input<'a>) -> Result<Self, PickleFault> {
        Ok(match input.byte()? {
            op::STOP => Self::Stop,
            op::PROTO => match input.byte()? {
                ..=5 => Self::Heading,
                _ => return Err(Malformed("unknown protocol")),
            },
            op::FRAME => match input.u64()? {
                length if length > input.len() => return Err(Ended),
                _ => Self::Heading,
            },
            op::MARK => Self::Mark,
            op::BINPUT => Self::Put(input.short()?),
            op::LONG_BINPUT => Self::Put(input.u32()?),
            op::MEMOIZE => Self::PutNext,
            op::BINGET => Self::Get(input.short()?),
            op::LONG_BINGET => Self::Get(input.u32()?),
            op::SHORT_BINUNICODE => Self::Text(input.take_short()?),
            op::BINUNICODE => Self::Text(input.take_u32()?),
            op::BINUNICODE8 => Self::Text(input.take_u64()?),
            op::SHORT_BINSTRING => Self::String(input.take_short()?),
            op::BINSTRING => Self::String(input.take_u32()?),
            op::SHORT_BINBYTES => Self::Bytes(input.take_short()?),
            op::BINBYTES => Self::Bytes(input.take_u32()?),
            op::BINBYTES8 => Self::Bytes(input.take_u64()?),
            op::EMPTY_DICT => Self::EmptyDict,
            op::SETITEM => Self::SetItem,
            op::SETITEMS => Self::SetItems,
            op::GLOBAL => Self::Global { module: input.line(MAX_LINE)?, name: input.line(MAX_LINE)? },
            op::EMPTY_TUPLE => Self::EmptyTuple,
            op::TUPLE2 => Self::Tuple2,
            op::REDUCE => Self::Reduce,
            other => Self::Other(other),
        })
    }

    /// The next instruction of a dict of strings and numbers, in any protocol.
    #[inline(always)]
    pub(in crate::format) fn of_scalars(input: &mut Input<'a>) -> Result<Self, PickleFault> {
        let opcode = match Self::of_strings(input)? {
            Self::Other(opcode) => opcode,
            known => return Ok(known),
        };
        Ok(match opcode {
            op::NONE => Self::None,
            op::NEWTRUE => Self::Number(1.0),
            op::NEWFALSE => Self::Number(0.0),
            op::BINFLOAT => Self::Number(f64::from_be_bytes(input.array()?)),
            op::BININT => Self::Number(i32::from_le_bytes(input.array()?).into()),
            op::BININT1 => Self::Number(input.byte()?.into()),
            op::BININT2 => Self::Number(u16::from_le_bytes(input.array()?).into()),
            op::LONG1 => Self::Number(long(input.take_short()?)),
            op::LONG4 => Self::Number(long(input.take_u32()?)),
            op::INT | op::FLOAT => Self::Number(parse(input.line(MAX_LINE)?, "not a number")?),
            op::LONG => {
                let line = input.line(MAX_LINE)?;
                Self::Number(parse(line.strip_suffix(b"L").unwrap_or(line), "not a number")?)
            }
            op::PUT => Self::Put(parse(input.line(MAX_LINE)?, "not a place of the memo")?),
            op::GET => Self::Get(parse(input.line(MAX_LINE)?, "not a place of the memo")?),
            op::UNICODE => Self::EscapedText(input.line(usize::MAX)?),
            op::STRING => Self::Literal(input.line(usize::MAX)?),
            op::DICT => Self::Dict,
            op::TUPLE => Self::Tuple,
            other => Self::Other(other),
        })
    }
}

fn parse<T: std::str::FromStr>(digits: &[u8], otherwise: &'static str) -> Result<T, PickleFault> {
    let digits = std::str::from_utf8(digits).ok();
    digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed(otherwise))
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

#[cfg(test)]
mod tests {
    use super::Instruction::{
        Bytes, Dict, EmptyDict, EmptyTuple, EscapedText, Get, Global, Heading, Literal, Mark, None, Number, Other, Put,
        PutNext, Reduce, SetItem, SetItems, Stop, String, Text, Tuple, Tuple2,
    };
    use super::*;

    const OF_STRINGS: [(&[u8], Instruction<'_>); 26] = [
        (b".", Stop),
        (b"\x80\x05", Heading),
        (b"\x95\0\0\0\0\0\0\0\0", Heading),
        (b"(", Mark),
        (b"q\xff", Put(255)),
        (b"r\x01\x02\0\0", Put(513)),
        (b"\x94", PutNext),
        (b"h\xff", Get(255)),
        (b"j\x01\x02\0\0", Get(513)),
        (b"\x8c\x01a", Text(b"a")),
        (b"X\x01\0\0\0a", Text(b"a")),
        (b"\x8d\x01\0\0\0\0\0\0\0a", Text(b"a")),
        (b"U\x01a", String(b"a")),
        (b"T\x01\0\0\0a", String(b"a")),
        (b"C\x01a", Bytes(b"a")),
        (b"B\x01\0\0\0a", Bytes(b"a")),
        (b"\x8e\x01\0\0\0\0\0\0\0a", Bytes(b"a")),
        (b"}", EmptyDict),
        (b"s", SetItem),
        (b"u", SetItems),
        (b"cos\nsystem\n", Global { module: b"os", name: b"system" }),
        (b")", EmptyTuple),
        (b"\x86", Tuple2),
        (b"R", Reduce),
        (b"]", Other(b']')),
        (b"\0", Other(0)),
    ];

    const OF_NUMBERS_AND_LINES: [(&[u8], Instruction<'_>); 18] = [
        (b"N", None),
        (b"\x88", Number(1.0)),
        (b"\x89", Number(0.0)),
        (b"G\x40\x29\0\0\0\0\0\0", Number(12.5)),
        (b"J\xfe\xff\xff\xff", Number(-2.0)),
        (b"K\xfe", Number(254.0)),
        (b"M\x01\x02", Number(513.0)),
        (b"\x8a\x01\xfe", Number(-2.0)),
        (b"\x8b\x09\0\0\0\0\0\0\0\0\0\0\0\x01", Number(f64::INFINITY)),
        (b"I-2\n", Number(-2.0)),
        (b"L-2L\n", Number(-2.0)),
        (b"F12.5\n", Number(12.5)),
        (b"p513\n", Put(513)),
        (b"g513\n", Get(513)),
        (b"Va\n", EscapedText(b"a")),
        (b"S'a'\n", Literal(b"'a'")),
        (b"d", Dict),
        (b"t", Tuple),
    ];

    #[test]
    fn an_instruction_takes_its_argument_and_no_more() {
        for (bytes, instruction) in OF_STRINGS.into_iter().chain(OF_NUMBERS_AND_LINES) {
            let followed = [bytes, b"next"].concat();
            let mut input = Input(&followed);
            assert_eq!((Instruction::of_scalars(&mut input), input.0), (Ok(instruction), &b"next"[..]));
            for length in 0..bytes.len() {
                assert_eq!(Instruction::of_scalars(&mut Input(&bytes[..length])), Err(Ended), "{instruction:?}");
            }
        }
    }

    #[test]
    fn what_makes_no_strings_is_told_by_its_opcode_alone() {
        for (bytes, instruction) in OF_STRINGS {
            assert_eq!(Instruction::of_strings(&mut Input(bytes)), Ok(instruction));
        }
        for (bytes, _) in OF_NUMBERS_AND_LINES {
            let mut input = Input(bytes);
            assert_eq!((Instruction::of_strings(&mut input), input.0), (Ok(Other(bytes[0])), &bytes[1..]));
        }
    }

    #[test]
    fn arguments_that_mean_nothing_are_told_from_missing_ones() {
        for bytes in [&b"\x80\x06"[..], b"Ione\n", b"L1LL\n", b"F\xff\n", b"p-1\n", b"gx\n"] {
            let read = Instruction::of_scalars(&mut Input(bytes));
            assert!(matches!(read, Err(Malformed(_))), "{}: {read:?}", bytes.escape_ascii());
        }
        assert_eq!(Instruction::of_scalars(&mut Input(b"\x95\x02\0\0\0\0\0\0\0.")), Err(Ended));
        let endless = [b"I", &[b'1'; MAX_LINE][..]].concat();
        assert_eq!(Instruction::of_scalars(&mut Input(&endless)), Err(PickleFault::LongLine));
    }
}
