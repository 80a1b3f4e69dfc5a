//! What requests are about, in the words of a request line.

use std::fmt::Write as _;

use crate::names::{Partition, Suffix};
use crate::ring::Device;

/// Request lines of 8,192 bytes and more are answered by Swift's servers with 414.
pub(super) const MAX_REQUEST_LINE: usize = 8_000;

/// The request's target for all of a partition: `/<device>/<partition>`.
pub(super) fn target(to: &Device, partition: Partition) -> String {
    let mut target = String::with_capacity(to.device.len() + 16);
    target.push('/');
    push_quoted(&mut target, to.device.as_bytes());
    target.push('/');
    target.push_str(&partition.to_string());
    target
}

/// The targets for some suffixes of a partition: `/<device>/<partition>/<suffix>-<suffix>...`.
pub(super) fn rehash_targets(to: &Device, partition: Partition, suffixes: &[Suffix]) -> Vec<String> {
    let head = target(to, partition) + "/";
    let mut targets = vec![head.clone()];
    for suffix in suffixes {
        let mut quoted = String::with_capacity(3);
        push_quoted(&mut quoted, suffix.as_str().as_bytes());
        let last = targets.last_mut().expect("there is one from the beginning");
        if last.len() == head.len() {
            last.push_str(&quoted);
        } else if last.len() + 1 + quoted.len() <= MAX_REQUEST_LINE {
            last.push('-');
            last.push_str(&quoted);
        } else {
            targets.push(head.clone() + &quoted);
        }
    }
    targets
}

/// Appends a text with everything percent-encoded that Python's `quote` encodes: all but letters, digits and `_.-~/`.
pub(super) fn push_quoted(out: &mut String, text: &[u8]) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
