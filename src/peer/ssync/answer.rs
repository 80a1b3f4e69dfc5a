//! The receiver's answer, as bytes: an HTTP body in chunks, and in them lines (B9.17). Knows no sockets.
//!
//! Bytes are looked at where they lie; a line is put together only because chunks may cut it anywhere.

/// Bytes that are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What stands at the front of the bytes that have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Data, at least a byte of it.
    Data(&'a [u8]),
    /// More bytes are needed.
    NeedsMore,
    /// The body is over.
    End,
}

/// Takes chunks apart.
#[derive(Debug)]
pub struct Chunks {
    state: Within,
}

#[derive(Clone, Copy, Debug)]
enum Within {
    /// In the line that tells a chunk's size.
    Size(SizeLine),
    /// In a chunk with so many bytes left.
    Data(u64),
    /// In the line break after a chunk, with so many bytes left.
    Gap(u8),
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: Within::Size(SizeLine::default()) }
    }
}

impl Chunks {
    /// Takes what frames the data from the front of `input`, and shows the data behind it.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are not a chunked HTTP body.
    pub fn peek<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Broken> {
        loop {
            match &mut self.state {
                Within::End => return Ok(Piece::End),
                Within::Data(_) if input.is_empty() => return Ok(Piece::NeedsMore),
                Within::Data(left) => {
                    let available = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    return Ok(Piece::Data(&input[..available]));
                }
                Within::Size(line) => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(Piece::NeedsMore) };
                    *input = rest;
                    match line.push(*byte)? {
                        None => {}
                        Some(0) => self.state = Within::End,
                        Some(size) => self.state = Within::Data(size),
                    }
                }
                Within::Gap(left) => {
                    let Some((_, rest)) = input.split_first() else { return Ok(Piece::NeedsMore) };
                    *input = rest;
                    *left -= 1;
                    if *left == 0 {
                        *self = Self::default();
                    }
                }
            }
        }
    }

    /// Takes so many bytes of the data that [`peek`](Self::peek) showed.
    pub fn consume(&mut self, input: &mut &[u8], taken: usize) {
        *input = &input[taken..];
        if let Within::Data(left) = &mut self.state {
            *left -= taken as u64;
            if *left == 0 {
                self.state = Within::Gap(2);
            }
        }
    }
}

/// The line that tells a chunk's size, as far as it has come: hexadecimal digits with white space around them, and after
/// a semicolon anything.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLine {
    size: u64,
    digits: u8,
    length: u16,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeDigits,
    Digits,
    AfterDigits,
    Extension,
}

impl SizeLine {
    /// Longer lines are not read.
    const MAX_LENGTH: u16 = 1024;
    /// Larger sizes neither.
    const MAX_DIGITS: u8 = 15;

    /// Takes the next byte; the size when the line is over.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Broken> {
        if byte == b'\n' {
            return if self.digits == 0 { Err(Broken) } else { Ok(Some(self.size)) };
        }
        self.length += 1;
        self.place = match (self.place, byte) {
            (Place::Extension, _) | (_, b';') => Place::Extension,
            (Place::BeforeDigits | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.size = self.size << 4 | char::from(byte).to_digit(16).map_or(0, u64::from);
                self.digits += 1;
                Place::Digits
            }
            (Place::BeforeDigits, byte) if byte.is_ascii_whitespace() => Place::BeforeDigits,
            (_, byte) if byte.is_ascii_whitespace() => Place::AfterDigits,
            _ => return Err(Broken),
        };
        if self.digits > Self::MAX_DIGITS || self.length > Self::MAX_LENGTH { Err(Broken) } else { Ok(None) }
    }
}

/// What came of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum NextLine<'a> {
    /// A line, without white space around it. What is as long as the limit comes without waiting for its end.
    Line(&'a [u8]),
    /// More bytes are needed.
    NeedsMore,
    /// The answer is over.
    End,
}

/// Puts lines together.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    limit: usize,
    line: Vec<u8>,
    /// Whether the line was handed out and is to be forgotten.
    is_done: bool,
}

impl Lines {
    /// For an answer whose lines are not longer than `limit`.
    pub fn new(limit: usize) -> Self {
        Self { chunks: Chunks::default(), limit: limit.max(1), line: Vec::new(), is_done: false }
    }

    /// Takes bytes of the answer from the front of `input`, as many as make the next line.
    ///
    /// # Errors
    /// [`Broken`] if the bytes are not a chunked HTTP body.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<NextLine<'_>, Broken> {
        if std::mem::take(&mut self.is_done) {
            self.line.clear();
        }
        while self.line.last() != Some(&b'\n') && self.line.len() < self.limit {
            match self.chunks.peek(input)? {
                Piece::Data(data) => {
                    let data = &data[..data.len().min(self.limit - self.line.len())];
                    let taken = data.iter().position(|byte| *byte == b'\n').map_or(data.len(), |at| at + 1);
                    self.line.extend_from_slice(&data[..taken]);
                    self.chunks.consume(input, taken);
                }
                Piece::NeedsMore => return Ok(NextLine::NeedsMore),
                Piece::End if self.line.is_empty() => return Ok(NextLine::End),
                Piece::End => break,
            }
        }
        self.is_done = true;
        Ok(NextLine::Line(self.line.trim_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every line of an answer that comes in pieces of these lengths, and how it ends.
    fn lines(answer: &[u8], limit: usize, pieces: &[usize]) -> (Vec<String>, &'static str) {
        let (mut lines, mut found) = (Lines::new(limit), Vec::new());
        let mut rest = answer;
        let mut waiting: Vec<u8> = Vec::new();
        let mut pieces = pieces.iter().copied().cycle();
        loop {
            let mut input = &waiting[..];
            let progress = lines.next(&mut input);
            match progress {
                Ok(NextLine::Line(line)) => found.push(String::from_utf8_lossy(line).into_owned()),
                Ok(NextLine::NeedsMore) => {
                    assert!(input.is_empty(), "bytes were left lying");
                    if rest.is_empty() {
                        return (found, "early");
                    }
                    let (piece, others) = rest.split_at(pieces.next().unwrap_or(1).clamp(1, rest.len()));
                    (waiting, rest) = (piece.to_vec(), others);
                    continue;
                }
                Ok(NextLine::End) => return (found, "end"),
                Err(Broken) => return (found, "broken"),
            }
            waiting = input.to_vec();
        }
    }

    fn whole(answer: &[u8]) -> (Vec<String>, &'static str) {
        lines(answer, 64, &[usize::MAX])
    }

    #[test]
    fn the_real_receivers_answer_is_read() {
        let answer =
            b"2\r\n\r\n\r\n17\r\n:MISSING_CHECK: START\r\n\r\n2\r\n\r\n\r\n15\r\n:MISSING_CHECK: END\r\n\r\n0\r\n\r\n";
        let (lines, end) = whole(answer);
        assert_eq!(lines, ["", ":MISSING_CHECK: START", "", ":MISSING_CHECK: END"]);
        assert_eq!(end, "end");
    }

    #[test]
    fn chunks_cut_lines_anywhere() {
        assert_eq!(whole(b"3\r\nabc\r\n2\r\nd\n\r\n1\r\ne\r\n0\r\n"), (vec!["abcd".into(), "e".into()], "end"));
        assert_eq!(whole(b"6\r\na\nb\nc\n\r\n0\r\n").0, ["a", "b", "c"]);
    }

    #[test]
    fn a_size_may_have_an_extension_and_white_space() {
        assert_eq!(whole(b" 2 ;name=\"value\" x\r\na\n\r\n0;\r\n"), (vec!["a".into()], "end"));
        assert_eq!(whole(b"2\na\n\r\n0\n"), (vec!["a".into()], "end"));
    }

    #[test]
    fn what_is_no_chunk_is_broken() {
        for answer in
            [&b"\r\n"[..], b"x\r\n", b"-1\r\n", b"0x1\r\n", b"1 1\r\n", b";\r\n", b"1\r\na\r\n\r\n", b"HTTP/1.1\n"]
        {
            assert_eq!(whole(answer).1, "broken", "{}", answer.escape_ascii());
        }
        assert_eq!(whole(&[b'0'; 16]).1, "broken");
        assert_eq!(whole(&[b' '; 2000]).1, "broken");
    }

    #[test]
    fn an_endless_line_comes_when_the_limit_is_reached() {
        let answer = [b"fffffff\r\n".as_slice(), &[b'a'; 200]].concat();
        let (lines, end) = whole(&answer);
        assert_eq!((lines.len(), lines[0].len(), end), (3, 64, "early"));
    }

    #[test]
    fn what_ends_early_is_not_taken_for_the_end() {
        assert_eq!(whole(b"").1, "early");
        assert_eq!(whole(b"5\r\nab").1, "early");
        assert_eq!(whole(b"2\r\nab\r").1, "early");
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_makes_no_difference(
            parts in prop::collection::vec("[ab\n]{1,9}", 0..9),
            pieces in prop::collection::vec(1..9_usize, 1..9),
            limit in 1..12_usize,
        ) {
            let chunk = |part: &String| format!("{:x}\r\n{part}\r\n", part.len());
            let answer = parts.iter().map(chunk).collect::<String>() + "0\r\n\r\n";
            let whole = lines(answer.as_bytes(), limit, &[usize::MAX]);
            prop_assert_eq!(&lines(answer.as_bytes(), limit, &pieces), &whole);
            prop_assert_eq!(whole.1, "end");
        }

        #[test]
        fn no_bytes_make_it_panic(answer: Vec<u8>, pieces in prop::collection::vec(1..9_usize, 1..3)) {
            lines(&answer, 16, &pieces);
        }

        #[test]
        fn no_likely_bytes_make_it_panic(answer in "[0-9a-f;: \r\n]{0,60}") {
            lines(answer.as_bytes(), 16, &[3]);
        }
    }
}
