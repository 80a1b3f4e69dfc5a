//! Writes one dict, byte for byte as Python's pickler does in protocol 2.

use crate::format::opcodes::op;

/// The pickle so far.
pub(super) struct Writer {
    bytes: Vec<u8>,
    items: usize,
    memoized: u32,
}

/// Python's pickler closes and opens a mark after this many items, even if none follow.
const BATCH: usize = 1000;

impl Writer {
    /// Begins a dict of so many items.
    pub(super) fn start(items: usize) -> Self {
        let mut bytes = Vec::with_capacity(items * 56 + 16);
        bytes.extend_from_slice(&[op::PROTO, 2, op::EMPTY_DICT, op::BINPUT, 0, op::MARK]);
        Self { bytes, items: 0, memoized: 1 }
    }

    /// The key of the next item; its value must follow.
    pub(super) fn key(&mut self, key: &[u8]) {
        self.end_of_batch();
        self.items += 1;
        self.text(key);
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.bytes.push(op::BINUNICODE);
        self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text);
        match u8::try_from(self.memoized) {
            Ok(at) => self.bytes.extend_from_slice(&[op::BINPUT, at]),
            Err(_) => {
                self.bytes.push(op::LONG_BINPUT);
                self.bytes.extend_from_slice(&self.memoized.to_le_bytes());
            }
        }
        self.memoized += 1;
    }

    pub(super) fn none(&mut self) {
        self.bytes.push(op::NONE);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.bytes.push(if value { op::NEWTRUE } else { op::NEWFALSE });
    }

    pub(super) fn float(&mut self, value: f64) {
        self.bytes.push(op::BINFLOAT);
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn end_of_batch(&mut self) {
        if self.items == BATCH {
            self.items = 0;
            self.bytes.extend_from_slice(&[op::SETITEMS, op::MARK]);
        }
    }

    /// The whole pickle.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_of_batch();
        self.bytes.extend_from_slice(&[op::SETITEMS, op::STOP]);
        self.bytes
    }
}
