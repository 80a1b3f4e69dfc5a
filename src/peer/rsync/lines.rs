//! Lines of endless output: cut at a length, kept up to a number.

use std::collections::VecDeque;

/// An itemized change is 11 characters, a space, and the name.
const ITEM: usize = 11;
/// What is looked at of a line. Longer than a path and an error.
const MAX_LINE: usize = 8 << 10;
/// Lines that are kept of the beginning, and again of the end: more than an honest run has to say of what failed, but
/// no more than somebody would read.
const MAX_LINES: usize = 500;
/// Bytes that these may take, each.
const MAX_KEPT: usize = 512 << 10;

/// Makes lines of pieces.
#[derive(Default)]
pub(super) struct Splitter(Vec<u8>);

impl Splitter {
    /// Takes in a piece; `line` gets each line that is at its end, without that.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Vec<u8>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            line(std::mem::take(&mut self.0));
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The last line, which has no end.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }

    fn extend(&mut self, bytes: &[u8]) {
        let free = MAX_LINE - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(free)]);
    }
}

/// The first and the last lines of a stream; the rest is counted.
#[derive(Default)]
pub(super) struct Kept {
    head: Part,
    tail: Part,
    dropped: u64,
}

impl Kept {
    /// Keeps a line, which came as number `place` of all lines.
    pub(super) fn push(&mut self, place: u64, line: Vec<u8>) {
        if self.tail.lines.is_empty() && self.head.has_room_for(&line) {
            return self.head.push(place, line);
        }
        self.tail.push(place, line);
        while self.tail.is_over_full() {
            self.tail.pop();
            self.dropped += 1;
        }
    }

    /// What is kept, each with its place, what is not text replaced; and instead of the others a line that counts them.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, String)> {
        let after = self.head.lines.back().map_or(0, |(place, _)| *place);
        let dropped = (self.dropped > 0).then(|| (after, format!("({} more lines of rsync's output)", self.dropped)));
        self.head.texts().chain(dropped).chain(self.tail.texts())
    }
}

#[derive(Default)]
struct Part {
    lines: VecDeque<(u64, Vec<u8>)>,
    /// What they take, an estimate of their own cost included.
    bytes: usize,
}

impl Part {
    fn has_room_for(&self, line: &[u8]) -> bool {
        self.lines.len() < MAX_LINES && self.bytes + cost(line) <= MAX_KEPT
    }

    fn is_over_full(&self) -> bool {
        self.lines.len() > MAX_LINES || self.bytes > MAX_KEPT
    }

    fn push(&mut self, place: u64, line: Vec<u8>) {
        self.bytes += cost(&line);
        self.lines.push_back((place, line));
    }

    fn pop(&mut self) {
        self.bytes -= self.lines.pop_front().map_or(0, |(_, line)| cost(&line));
    }

    fn texts(&self) -> impl Iterator<Item = (u64, String)> {
        self.lines.iter().map(|(place, line)| (*place, String::from_utf8_lossy(line).into_owned()))
    }
}

fn cost(line: &[u8]) -> usize {
    line.len() + size_of::<(u64, Vec<u8>)>()
}

/// The name in an itemized change: `<f+++++++++ 12/abc/...`.
pub(super) fn name_of(line: &[u8]) -> Option<&[u8]> {
    let is_item = line.len() > ITEM + 1 && matches!(line[0], b'<' | b'c' | b'.') && line[ITEM] == b' ';
    is_item.then(|| &line[ITEM + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pieces() {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for byte in b"first\n\nthird" {
            splitter.push(&[*byte], |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        assert_eq!(lines, [&b"first"[..], b"", b"third"]);
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for _ in 0..1000 {
            splitter.push(&[b'x'; 10_000], |line| lines.push(line));
        }
        splitter.push(b"\nnext\n", |line| lines.push(line));
        assert_eq!(lines, [&vec![b'x'; MAX_LINE][..], b"next"]);
    }

    #[test]
    fn of_endless_lines_the_first_and_the_last_are_kept_and_the_rest_is_counted() {
        for (count, length) in [(100_000, 10), (2_000, MAX_LINE)] {
            let mut kept = Kept::default();
            for n in 0..count {
                kept.push(n, format!("{n:length$}").into_bytes());
            }
            let lines: Vec<_> = kept.lines().map(|(_, text)| text.trim().to_owned()).collect();
            assert!(lines.len() <= 2 * MAX_LINES + 1 && kept.head.bytes.max(kept.tail.bytes) <= MAX_KEPT);
            assert_eq!((lines[0].as_str(), &lines[lines.len() - 1]), ("0", &(count - 1).to_string()));
            let dropped = count - (lines.len() as u64 - 1);
            assert!(lines.contains(&format!("({dropped} more lines of rsync's output)")), "{dropped}");
        }
    }

    #[test]
    fn few_lines_are_all_kept() {
        let mut kept = Kept::default();
        (0..2 * MAX_LINES as u64).for_each(|n| kept.push(n, b"an error".to_vec()));
        assert_eq!(kept.lines().count(), 2 * MAX_LINES);
    }
}
