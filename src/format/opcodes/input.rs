//! The bytes of a pickle, taken from the front.

use super::fault::PickleFault::{self, Ended, LongLine};

/// What is still to be read. Lengths and places have their least byte first.
#[derive(Clone, Copy, Debug)]
pub(in crate::format) struct Input<'a>(pub(in crate::format) &'a [u8]);

impl<'a> Input<'a> {
    /// How many bytes are left.
    pub(in crate::format) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next bytes.
    pub(in crate::format) fn take(&mut self, length: usize) -> Result<&'a [u8], PickleFault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Ended)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next bytes, as many as the array has.
    pub(in crate::format) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleFault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Ended)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(in crate::format) fn byte(&mut self) -> Result<u8, PickleFault> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A length or place of one byte.
    pub(in crate::format) fn short(&mut self) -> Result<usize, PickleFault> {
        self.byte().map(usize::from)
    }

    /// A length or place of four bytes.
    pub(in crate::format) fn u32(&mut self) -> Result<usize, PickleFault> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// A length of eight bytes. There are never more bytes than a `usize` counts.
    pub(in crate::format) fn u64(&mut self) -> Result<usize, PickleFault> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Ended)
    }

    /// The bytes that follow their number of one byte.
    pub(in crate::format) fn take_short(&mut self) -> Result<&'a [u8], PickleFault> {
        let length = self.short()?;
        self.take(length)
    }

    /// The bytes that follow their number of four bytes.
    pub(in crate::format) fn take_u32(&mut self) -> Result<&'a [u8], PickleFault> {
        let length = self.u32()?;
        self.take(length)
    }

    /// The bytes that follow their number of eight bytes.
    pub(in crate::format) fn take_u64(&mut self) -> Result<&'a [u8], PickleFault> {
        let length = self.u64()?;
        self.take(length)
    }

    /// The bytes up to the next newline, which is taken too; it is looked for in so many bytes.
    pub(in crate::format) fn line(&mut self, limit: usize) -> Result<&'a [u8], PickleFault> {
        let end = self.0.iter().take(limit).position(|c| *c == b'\n');
        let end = end.ok_or(if self.len() < limit { Ended } else { LongLine })?;
        let line = self.take(end)?;
        self.byte()?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_what_is_not_there_takes_nothing() {
        let mut input = Input(b"\x01\x02\x00\x00\x00rest");
        assert_eq!((input.byte(), input.u32(), input.len()), (Ok(1), Ok(2), 4));
        assert_eq!(input.u32(), Ok(u32::from_le_bytes(*b"rest") as usize));
        let mut input = Input(b"abc");
        assert_eq!((input.take(4), input.u32(), input.u64()), (Err(Ended), Err(Ended), Err(Ended)));
        assert_eq!(input.take(3), Ok(&b"abc"[..]));
        assert_eq!(input.byte(), Err(Ended));
    }

    #[test]
    fn a_line_ends_within_its_limit_or_is_none() {
        let mut input = Input(b"name\nrest");
        assert_eq!((input.line(5), input.0), (Ok(&b"name"[..]), &b"rest"[..]));
        assert_eq!((Input(b"name\n").line(4), Input(b"name").line(9)), (Err(LongLine), Err(Ended)));
    }
}
