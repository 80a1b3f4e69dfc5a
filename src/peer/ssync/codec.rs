//! What goes over the connection, as bytes: messages, their framing, and the receiver's lines. Knows no sockets.
//!
//! Each message of the sender is one HTTP chunk and ends with a line break of its own (B9.4):
//!
//! ```text
//! 17\r\n:MISSING_CHECK: START\r\n\r\n
//! 33\r\n<hash> 1700000011.00011\r\n\r\n            one line for each object
//! 15\r\n:MISSING_CHECK: END\r\n\r\n
//! ...                                           the receiver's list of what it wants
//! 11\r\n:UPDATES: START\r\n\r\n
//! 88\r\nPUT /a/c/o\r\nContent-Length: 7\r\n...\r\n\r\n\r\n     a subrequest for each object that is wanted
//! 7\r\nthe data\r\n
//! f\r\n:UPDATES: END\r\n\r\n
//! 0\r\n\r\n
//! ```
//!
//! The receiver answers with lines, which its chunks may cut anywhere ([`super::answer`]).

use std::io::Write as _;

use crate::format::metadata::{Metadata, append_latin1};
use crate::format::object::{ObjectHash, ObjectName, Times};
use crate::format::timestamp::Timestamp;

/// Opens the list of what is offered, on both sides.
pub const MISSING_CHECK_START: &[u8] = b":MISSING_CHECK: START";
/// Closes that list.
pub const MISSING_CHECK_END: &[u8] = b":MISSING_CHECK: END";
/// Opens the list of subrequests; the receiver's answer to it has the same two lines.
pub const UPDATES_START: &[u8] = b":UPDATES: START";
/// Closes that list.
pub const UPDATES_END: &[u8] = b":UPDATES: END";
/// The chunk that ends the conversation.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a message of one line.
pub fn marker(out: &mut Vec<u8>, line: &[u8]) {
    chunk(out, |out| {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    });
}

/// Appends the offer of an object (B9.5).
///
/// Later parts are told by how far they are from the data, in units of 10 µs.
pub fn offer(out: &mut Vec<u8>, hash: ObjectHash, times: &Times) {
    chunk(out, |out| {
        out.extend_from_slice(&hash.to_hex());
        out.push(b' ');
        out.extend_from_slice(times.data.write_internal(&mut [0; 33]));
        if let Some(meta) = times.meta.filter(|meta| differs(*meta, times.data)) {
            push_delta(out, b" m:", meta, times.data);
            if let Some(content_type) = times.content_type.filter(|time| differs(*time, times.data)) {
                push_delta(out, b",t:", content_type, times.data);
            }
        }
        out.extend_from_slice(b"\r\n");
    });
}

/// To the reference the time 0 is no time.
fn differs(time: Timestamp, data: Timestamp) -> bool {
    time.raw() != 0 && time != data
}

fn push_delta(out: &mut Vec<u8>, key: &[u8], time: Timestamp, data: Timestamp) {
    let sign = if time.raw() < data.raw() { "-" } else { "" };
    out.extend_from_slice(key);
    push_format(out, format_args!("{sign}{:x}", time.raw().abs_diff(data.raw())));
    if time.offset() != 0 {
        push_format(out, format_args!("__{:x}", time.offset()));
    }
}

/// Metadata that cannot be written as headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The reference fails at it too.
    #[error("its metadata {0} is not Latin-1")]
    NotLatin1(String),
    /// The receiver would take what follows for something else.
    #[error("its metadata {0} contains a line break")]
    LineBreak(String),
}

/// Appends the head of a PUT: what the data file says of the object (B9.12). The data must follow in chunks.
///
/// # Errors
/// [`HeaderError`] if a name or value of the metadata is not Latin-1 or has a line break in it. Then nothing is
/// appended.
pub fn put(out: &mut Vec<u8>, name: ObjectName<'_>, metadata: &Metadata, length: u64) -> Result<(), HeaderError> {
    const LENGTH: &str = "Content-Length";
    subrequest(out, b"PUT ", name, |out| {
        let mut is_length_due = true;
        for (key, value) in metadata.iter().filter(|(key, _)| *key != b"name" && *key != LENGTH.as_bytes()) {
            if is_length_due && key > LENGTH.as_bytes() {
                push_format(out, format_args!("{LENGTH}: {length}\r\n"));
                is_length_due = false;
            }
            header(out, key, value)?;
        }
        if is_length_due {
            push_format(out, format_args!("{LENGTH}: {length}\r\n"));
        }
        Ok(())
    })
}

/// Appends a POST: what the newest metadata file says (B9.13).
///
/// # Errors
/// [`HeaderError`] if a name or value of the metadata is not Latin-1 or has a line break in it. Then nothing is
/// appended.
pub fn post(out: &mut Vec<u8>, name: ObjectName<'_>, metadata: &Metadata) -> Result<(), HeaderError> {
    subrequest(out, b"POST ", name, |out| {
        metadata.iter().filter(|(key, _)| *key != b"name").try_for_each(|(key, value)| header(out, key, value))
    })
}

/// Appends a DELETE (B9.13).
pub fn delete(out: &mut Vec<u8>, name: ObjectName<'_>, time: Timestamp) {
    let written = subrequest(out, b"DELETE ", name, |out| {
        push_format(out, format_args!("X-Timestamp: {time}\r\n"));
        Ok(())
    });
    debug_assert!(written.is_ok(), "a timestamp can be sent");
}

/// Appends a subrequest without its body (B9.11): no HTTP version, and no line but what the receiver needs.
fn subrequest(
    out: &mut Vec<u8>,
    method: &[u8],
    name: ObjectName<'_>,
    write_headers: impl FnOnce(&mut Vec<u8>) -> Result<(), HeaderError>,
) -> Result<(), HeaderError> {
    let start = out.len();
    let written = chunk(out, |out| {
        out.extend_from_slice(method);
        name.quote_into(out);
        out.extend_from_slice(b"\r\n");
        let written = write_headers(out);
        out.extend_from_slice(b"\r\n");
        written
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn header(out: &mut Vec<u8>, key: &[u8], value: &[u8]) -> Result<(), HeaderError> {
    let name = || key.escape_ascii().to_string();
    let start = out.len();
    let is_latin1 = append_latin1(key, out) && {
        out.extend_from_slice(b": ");
        append_latin1(value, out)
    };
    if !is_latin1 {
        return Err(HeaderError::NotLatin1(name()));
    }
    if out[start..].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(HeaderError::LineBreak(name()));
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends what opens a chunk of so many bytes; the bytes must follow, then [`end_data`].
pub fn begin_data(out: &mut Vec<u8>, length: usize) {
    push_format(out, format_args!("{length:x}\r\n"));
}

/// Appends what closes a chunk of data.
pub fn end_data(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends one chunk with what `write` appends.
fn chunk<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    let written = write(out);
    // Its length is known only now, so it makes room for itself.
    let mut size = [0; 18];
    let mut rest = &mut size[..];
    write!(rest, "{:x}\r\n", out.len() - start).expect("sixteen digits and a line break fit");
    let unused = rest.len();
    out.splice(start..start, size[..18 - unused].iter().copied());
    out.extend_from_slice(b"\r\n");
    written
}

fn push_format(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

/// Which parts of an object the receiver wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The data, or the tombstone.
    pub data: bool,
    /// The metadata that was written after the data.
    pub meta: bool,
}

impl Want {
    /// Whether anything is wanted.
    pub fn anything(self) -> bool {
        self.data || self.meta
    }
}

/// Reads a line of the receiver's list of what it wants (B9.8): a hash, and which parts. `None`: it is something else.
///
/// Unknown parts are no matter; with no known one it is an old receiver, which means the data.
pub fn parse_want(line: &[u8]) -> Option<(ObjectHash, Want)> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let hash = ObjectHash::from_name(fields.next()?)?;
    let parts = fields.next().unwrap_or_default();
    let want = Want { data: parts.contains(&b'd'), meta: parts.contains(&b'm') };
    Some((hash, if want.anything() { want } else { Want { data: true, meta: false } }))
}

#[cfg(test)]
mod tests;
