//! Messages that wait to be sent.
//!
//! Small ones stand one after the other. The data of a large object have a place of their own between them: copying to
//! an address that is no multiple of a cache line's length costs the kernel several times as much, and whatever precedes
//! the data has any length.

use std::io::IoSlice;

use super::failure::TalkStep;

/// A cache line.
const ALIGNMENT: usize = 64;
/// Data shorter than this stand among the messages.
const APART: usize = 16 << 10;

/// Messages that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What comes before the data, or everything if there are none.
    head: Vec<u8>,
    data: Data,
    /// What comes after the data.
    tail: Vec<u8>,
    /// Where each message ends, and which step it is.
    messages: Vec<(usize, TalkStep)>,
}

/// A piece of an object's data.
#[derive(Debug, Default)]
struct Data {
    buffer: Vec<u8>,
    /// Where in the buffer it begins.
    start: usize,
    length: usize,
}

impl Outbox {
    /// Where the next message is to be appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.data.length == 0 { &mut self.head } else { &mut self.tail }
    }

    /// Room for so many bytes of data, which must be filled at once. There can be one large piece at a time: what waits
    /// has to be sent before the next.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        if length < APART || self.data.length > 0 {
            let bytes = self.bytes();
            let start = bytes.len();
            bytes.resize(start + length, 0);
            return &mut bytes[start..];
        }
        let data = &mut self.data;
        if data.buffer.len() < length + ALIGNMENT {
            data.buffer = vec![0; length + ALIGNMENT];
            data.start = data.buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        }
        data.length = length;
        &mut data.buffer[data.start..data.start + length]
    }

    /// Makes a message of what was appended since the last one; how long it is.
    pub(super) fn seal(&mut self, step: TalkStep) -> usize {
        let (start, end) = (self.messages.last().map_or(0, |(end, _)| *end), self.len());
        self.messages.push((end, step));
        end - start
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.data.length + self.tail.len()
    }

    /// Takes back everything after the first so many bytes, which must be the end of a message.
    pub(super) fn truncate(&mut self, length: usize) {
        let (head, data) = (self.head.len(), self.data.length);
        self.head.truncate(length);
        self.tail.truncate(length.saturating_sub(head + data));
        if length <= head {
            self.data.length = 0;
        }
        self.messages.retain(|(end, _)| *end <= length);
    }

    /// Where each message ends, and which step it is. What follows the last is no message yet.
    pub(super) fn messages(&self) -> &[(usize, TalkStep)] {
        &self.messages
    }

    /// What comes after the first so many bytes, up to the end of the last message.
    pub(super) fn after(&self, position: usize) -> [IoSlice<'_>; 3] {
        let end = self.messages.last().map_or(0, |(end, _)| *end);
        let data = &self.data.buffer[self.data.start..self.data.start + self.data.length];
        let mut before = 0;
        [&self.head[..], data, &self.tail].map(|part| {
            let from = position.saturating_sub(before).min(part.len());
            let to = end.saturating_sub(before).clamp(from, part.len());
            before += part.len();
            IoSlice::new(&part[from..to])
        })
    }

    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.data.length = 0;
        self.tail.clear();
        self.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(outbox: &Outbox, position: usize) -> Vec<u8> {
        outbox.after(position).iter().flat_map(|part| part.to_vec()).collect()
    }

    /// A message, a large piece of data with something before and after, and something that is no message yet.
    fn filled() -> (Outbox, Vec<u8>) {
        let mut outbox = Outbox::default();
        outbox.bytes().extend_from_slice(b"one;");
        outbox.seal(TalkStep::Put);
        outbox.bytes().extend_from_slice(b"two ");
        outbox.room(APART).fill(b'x');
        outbox.bytes().extend_from_slice(b" end;");
        outbox.seal(TalkStep::PutChunk);
        let sealed = [b"one;two ".to_vec(), vec![b'x'; APART], b" end;".to_vec()].concat();
        outbox.bytes().extend_from_slice(b"more");
        (outbox, sealed)
    }

    #[test]
    fn messages_are_sent_in_order_from_anywhere() {
        let (outbox, sealed) = filled();
        assert_eq!(outbox.len(), sealed.len() + 4);
        for position in [0, 1, 4, 7, 8, 9, 8 + APART - 1, 8 + APART, 8 + APART + 1, sealed.len()] {
            assert!(after(&outbox, position) == sealed[position..], "from {position}");
        }
        assert_eq!(outbox.messages(), [(4, TalkStep::Put), (sealed.len(), TalkStep::PutChunk)]);
    }

    #[test]
    fn what_was_appended_can_be_taken_back() {
        for (length, left) in [(0, ""), (4, "one;")] {
            let (mut outbox, _) = filled();
            outbox.truncate(length);
            assert_eq!(after(&outbox, 0), left.as_bytes());
            outbox.bytes().extend_from_slice(b"other;");
            outbox.seal(TalkStep::Post);
            assert_eq!(after(&outbox, 0), format!("{left}other;").into_bytes());
        }
        let (mut outbox, sealed) = filled();
        outbox.truncate(sealed.len());
        assert_eq!(outbox.len(), sealed.len());
    }

    #[test]
    fn large_data_are_aligned_and_small_ones_are_not_apart() {
        let mut outbox = Outbox::default();
        outbox.bytes().extend_from_slice(b"4000\r\n");
        assert_eq!(outbox.room(APART).as_ptr().align_offset(ALIGNMENT), 0);
        outbox.clear();
        outbox.room(3).copy_from_slice(b"abc");
        outbox.bytes().push(b'd');
        outbox.seal(TalkStep::PutChunk);
        assert_eq!(&*outbox.after(0)[0], b"abcd");
    }

    #[test]
    fn a_second_large_piece_does_not_take_the_place_of_the_first() {
        let mut outbox = Outbox::default();
        outbox.room(APART).fill(b'1');
        outbox.room(APART + 5).fill(b'2');
        outbox.seal(TalkStep::PutChunk);
        assert!(after(&outbox, 0) == [vec![b'1'; APART], vec![b'2'; APART + 5]].concat());
    }
}
