//! The head of an answer, reduced to what is wanted of it.
//!
//! ureq refuses heads of more than 128 lines, and would keep all of it until the end is there. Swift's own client takes
//! 200 header lines (more if `swift.conf` raises `extra_header_count`) of up to 65,536 bytes each, and forgives much: so a
//! middleware or a proxy on the way may send what it likes. Here lines are taken one by one, and only those go on that
//! somebody looks at; so the size of the head costs no memory but that of its longest line, and what is wrong with other
//! lines is no matter. Interim answers (`100 Continue` and the like) are left out with their headers.
//!
//! There is no limit to how many of those come: the time limit of the answer is looked at by whoever waits for more.

/// The longest line that Swift's client reads.
const MAX_LINE: usize = 65_536;
/// Swift's client takes 200 by default; operators may raise that, and nobody has a reason to send as many as this.
const MAX_LINES: usize = 1_000;
/// What may be wanted of a head.
pub(super) const MAX_WANTED: usize = 4 << 10;

/// The headers that somebody looks at.
const WANTED: [&[u8]; 6] = [
    b"connection",
    b"content-length",
    b"retry-after",
    b"transfer-encoding",
    b"x-backend-data-timestamp",
    b"x-backend-timestamp",
];

/// Headers that describe an object or the answer. They are taken if they are such as can be compared: short, and in plain
/// characters.
const DESCRIBING: [&[u8]; 3] = [b"content-type", b"date", b"etag"];
const MAX_DESCRIPTION: usize = 512;

/// Why what comes is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    #[error("it has no status line")]
    NoStatusLine,
    #[error("a line of its head is longer than {MAX_LINE} bytes")]
    LongLine,
    #[error("its head has more than {MAX_LINES} lines")]
    ManyLines,
    #[error("its head is too long")]
    TooMuch,
}

/// A head as it comes in.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What has come of a line.
    line: Vec<u8>,
    /// How many lines there were after the status line.
    lines: usize,
    stage: Stage,
    /// The wanted lines.
    wanted: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Status,
    Headers,
    /// Those of an interim answer.
    Ignored,
}

impl Head {
    /// Takes in what came. Once the head has come to its end, the result is how many of these bytes were its own.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = &rest[..end.map_or(rest.len(), |end| end + 1)];
            taken += part.len();
            if self.line.len() + part.len() > MAX_LINE {
                return Err(HeadError::LongLine);
            }
            self.line.extend_from_slice(part);
            if self.stage == Stage::Status && !has_start_of_status(&self.line) {
                return Err(HeadError::NoStatusLine);
            }
            if end.is_some() && self.end_line()? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// The head that is to go on, once it is complete.
    pub(super) fn wanted(&self) -> &[u8] {
        &self.wanted
    }

    /// Looks at a line that is complete; whether it is the last one.
    fn end_line(&mut self) -> Result<bool, HeadError> {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        let is_last = match self.stage {
            Stage::Status => {
                self.begin(text)?;
                false
            }
            Stage::Headers if text.is_empty() => {
                self.wanted.extend_from_slice(b"\r\n");
                true
            }
            Stage::Ignored if text.is_empty() => {
                (self.stage, self.lines) = (Stage::Status, 0);
                false
            }
            stage => {
                self.lines += 1;
                if self.lines > MAX_LINES {
                    return Err(HeadError::ManyLines);
                }
                if stage == Stage::Headers && is_wanted(text) {
                    self.want(text)?;
                }
                false
            }
        };
        // The next line may use the same memory.
        self.line = line;
        self.line.clear();
        Ok(is_last)
    }

    /// Takes in a status line. The words after the number go nowhere.
    fn begin(&mut self, text: &[u8]) -> Result<(), HeadError> {
        let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
            return Err(HeadError::NoStatusLine);
        }
        let version = match version {
            b"HTTP/1.0" | b"HTTP/0.9" => b"HTTP/1.0",
            version if version.starts_with(b"HTTP/1.") => b"HTTP/1.1",
            _ => return Err(HeadError::NoStatusLine),
        };
        if status[0] == b'1' && status != b"101" {
            self.stage = Stage::Ignored;
            return Ok(());
        }
        self.stage = Stage::Headers;
        self.want(&[version, &b" "[..], status].concat())
    }

    fn want(&mut self, line: &[u8]) -> Result<(), HeadError> {
        if self.wanted.len() + line.len() + 4 > MAX_WANTED {
            return Err(HeadError::TooMuch);
        }
        self.wanted.extend_from_slice(line);
        self.wanted.extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn has_start_of_status(line: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/";
    let length = line.len().min(START.len());
    line[..length] == START[..length]
}

fn is_wanted(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let is_among = |names: &[&[u8]]| names.iter().any(|name| line[..colon].eq_ignore_ascii_case(name));
    let is_plain = || line.len() <= MAX_DESCRIPTION && line.iter().all(|byte| (b' '..=b'~').contains(byte));
    is_among(&WANTED) || is_among(&DESCRIBING) && is_plain()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on of a head, and what is left behind it, however it is cut.
    fn reduced(bytes: &[u8]) -> Result<Option<(String, Vec<u8>)>, HeadError> {
        let whole = in_pieces(bytes, bytes.len().max(1));
        for size in 1..=bytes.len().min(40) {
            assert_eq!(in_pieces(bytes, size), whole, "in pieces of {size} bytes");
        }
        whole
    }

    fn in_pieces(bytes: &[u8], size: usize) -> Result<Option<(String, Vec<u8>)>, HeadError> {
        let mut head = Head::default();
        let mut taken = 0;
        for piece in bytes.chunks(size) {
            if let Some(used) = head.take_in(piece)? {
                let wanted = String::from_utf8(head.wanted().to_vec()).unwrap();
                return Ok(Some((wanted, bytes[taken + used..].to_vec())));
            }
            taken += piece.len();
        }
        Ok(None)
    }

    #[track_caller]
    fn becomes(bytes: &[u8], wanted: &str, body: &[u8]) {
        assert_eq!(reduced(bytes), Ok(Some((wanted.to_owned(), body.to_vec()))));
    }

    #[test]
    fn what_nobody_looks_at_is_left_out() {
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nX-Trans-Id: tx\r\nX-Backend-Timestamp: 1.0\r\n\r\n\0\n12";
        becomes(head, "HTTP/1.1 200\r\nContent-Length: 5\r\nX-Backend-Timestamp: 1.0\r\n\r\n", b"\0\n12");
        becomes(
            b"HTTP/1.0 404 Not Found\nCONNECTION: keep-alive\n\n",
            "HTTP/1.0 404\r\nCONNECTION: keep-alive\r\n\r\n",
            b"",
        );
    }

    #[test]
    fn what_is_wrong_with_other_lines_is_no_matter() {
        let head = b"HTTP/1.1 500 \x1b[2J\xff\r\nno colon\r\nX-\xff: \x01\xfe\r\n folded: yes\r\n: empty\r\nRetry-After: 3\r\n\r\n";
        becomes(head, "HTTP/1.1 500\r\nRetry-After: 3\r\n\r\n", b"");
        becomes(b"HTTP/1.7 200\r\n\r\n", "HTTP/1.1 200\r\n\r\n", b"");
    }

    #[test]
    fn what_describes_an_object_is_taken_if_it_can_be_compared() {
        becomes(b"HTTP/1.1 200 OK\r\nETag: \"0f\"\r\n\r\n", "HTTP/1.1 200\r\nETag: \"0f\"\r\n\r\n", b"");
        let long = format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n\r\n", "a".repeat(MAX_DESCRIPTION));
        becomes(long.as_bytes(), "HTTP/1.1 200\r\n\r\n", b"");
        becomes(b"HTTP/1.1 200 OK\r\nContent-Type: \xfc\x01\r\n\r\n", "HTTP/1.1 200\r\n\r\n", b"");
    }

    #[test]
    fn interim_answers_are_left_out() {
        let interim = b"HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let head = [&interim.repeat(500)[..], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/"].concat();
        becomes(&head, "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", b"HTTP/");
        becomes(b"HTTP/1.1 101 Switching\r\n\r\nx", "HTTP/1.1 101\r\n\r\n", b"x");
        assert_eq!(reduced(&interim.repeat(500)), Ok(None), "nothing is kept of them");
    }

    #[test]
    fn heads_as_large_as_swifts_client_takes_them_are_taken() {
        for lines in [199, MAX_LINES - 1] {
            let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 5\r\n\r\n", "X-A: b\r\n".repeat(lines));
            becomes(many.as_bytes(), "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", b"");
        }
        let long = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 5\r\n\r\n", "b".repeat(MAX_LINE - 7));
        becomes(long.as_bytes(), "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", b"");
    }

    #[test]
    fn nothing_is_kept_without_limit() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(MAX_LINES + 1));
        assert_eq!(reduced(many.as_bytes()), Err(HeadError::ManyLines));
        let long = format!("HTTP/1.1 200 OK\r\nX-A: {}", "b".repeat(MAX_LINE));
        assert_eq!(reduced(long.as_bytes()), Err(HeadError::LongLine));
        let much = format!("HTTP/1.1 200 OK\r\n{}\r\n", "Content-Length: 5\r\n".repeat(500));
        assert_eq!(reduced(much.as_bytes()), Err(HeadError::TooMuch));
    }

    #[test]
    fn what_begins_otherwise_is_no_head_from_the_first_byte_on() {
        for bytes in ["\0", "SSH-2.0", "\r\nHTTP/1.1 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"]
        {
            assert_eq!(reduced(bytes.as_bytes()), Err(HeadError::NoStatusLine), "{bytes:?}");
        }
        for line in ["HTTP/2.0 200 OK", "HTTP/1.1", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 000 OK", "HTTP/"] {
            assert_eq!(reduced(format!("{line}\r\n").as_bytes()), Err(HeadError::NoStatusLine), "{line:?}");
        }
    }
}
