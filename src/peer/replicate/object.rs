//! Does an object server serve an object, and which? What a HEAD says of it.
//!
//! Hashes are made of names only, and a dry run of rsync knows what lies on a disk; what the node would give a client is
//! known by its object server alone. A HEAD makes it open the object as a GET does: the file's metadata are read and, in
//! newer releases, held against their checksum; the name in them has to be the one that was asked for, and the file as
//! long as they say. A file that is not so, or has no metadata, goes to quarantine there, and the answer is 404. (So
//! asking for what is damaged removes it there. Swift's auditor and every GET would do the same.) The data themselves are
//! not read.
//!
//! Asked as one replicator asks another (`X-Backend-Replication`), it says 404 of no object just for having expired.
//! Releases from before 2016 do not know that, and say of an expired object what they say of a deleted one; so a
//! [`Served::Deleted`] may stand in for an object only if its time is later than all that the object consists of.
//!
//! A HEAD takes a real object server 1.1 to 1.6 times as long as a REPLICATE of an unchanged partition (1.5 to 2.5 ms on
//! a busy machine), and there is one for each object, so this is for hand-offs of few objects, or where nothing else tells.

use ureq::http::{HeaderMap, header};

use super::client::{Answer, Ask, Client};
use super::error::ReplicateError;
use super::target::{MAX_REQUEST_LINE, push_quoted, target};
use crate::format::timestamp::Timestamp;
use crate::names::{Partition, PolicyIndex};
use crate::ring::Device;

/// What an object server says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It would serve the object.
    Object {
        /// That of the data.
        data: Timestamp,
        /// That of the data, or of the metadata that a POST changed later.
        newest: Timestamp,
    },
    /// It has a tombstone.
    Deleted {
        /// That of the deletion.
        at: Timestamp,
    },
    /// It has nothing that it could serve, or has just put it in quarantine.
    Nothing,
    /// It says nothing about the object: 405 from a server for replication only, 412 for a name that is no UTF-8, 403 if
    /// the file is another object's, 500 if the disk has errors, 503, 507 and 529; also 200 without the times.
    CannotTell(u16),
}

/// What a server tells of an object beside its times.
#[derive(Clone, Debug, Default)]
pub struct Description(HeaderMap);

impl Description {
    /// Whether the object has another tag of its content than this, or none.
    pub fn has_other_etag(&self, etag: &[u8]) -> bool {
        let plain = |value: &[u8]| value.trim_ascii().to_ascii_lowercase();
        let told = self.0.get(header::ETAG).map(|told| plain(told.as_bytes()));
        let unquoted = |told: Vec<u8>| told.into_iter().filter(|byte| *byte != b'"').collect::<Vec<_>>();
        told.map(unquoted) != Some(plain(etag))
    }

    /// Whether the object is told to have another type than this.
    pub fn has_other_type(&self, content_type: &[u8]) -> bool {
        let told = self.0.get(header::CONTENT_TYPE);
        told.is_some_and(|told| told.as_bytes().trim_ascii() != content_type.trim_ascii())
    }
}

impl Client {
    /// Asks the object server that answers for the device `to` on the replication network what it would serve of an
    /// object. The name is `/account/container/object`, as in the metadata of its files, and may be any bytes.
    ///
    /// # Errors
    /// [`ReplicateError`] if no complete answer came; [`ReplicateError::Later`], [`ReplicateError::LeftAlone`] or
    /// [`ReplicateError::Silent`] if the device is being skipped and was not asked. No status is an error.
    pub fn object(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
        name: &[u8],
    ) -> Result<Served, ReplicateError> {
        self.describe(to, policy, partition, name).map(|(served, _)| served)
    }

    /// The same, with what else the server tells of the object.
    ///
    /// # Errors
    /// As with [`Client::object`].
    pub fn describe(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
        name: &[u8],
    ) -> Result<(Served, Description), ReplicateError> {
        let mut target = target(to, partition);
        push_quoted(&mut target, name);
        if !name.starts_with(b"/") || target.len() > MAX_REQUEST_LINE {
            return Err(ReplicateError::Request("the object's name is none, or too long".to_owned()));
        }
        self.may_ask(to, true)?;
        let outcome = self.send(to, policy, &Ask::Head, &target);
        match &outcome {
            // A 503 may be about this object, for it has no body to tell.
            Ok(answer) if answer.status == 529 => self.outages.busy(to, answer.status, answer.retry_after),
            outcome => self.note(to, outcome.as_ref().err()),
        }
        outcome.map(|answer| (served(&answer), Description(answer.headers)))
    }
}

fn served(answer: &Answer) -> Served {
    let newest = time(&answer.headers, "x-backend-timestamp");
    match (answer.status, newest, time(&answer.headers, "x-backend-data-timestamp")) {
        (200, Ok(Some(newest)), Ok(Some(data))) => Served::Object { data, newest },
        (404, Ok(Some(at)), _) => Served::Deleted { at },
        (404, Ok(None), _) => Served::Nothing,
        (status, ..) => Served::CannotTell(status),
    }
}

/// The time in a header, if there is one; an error if it is not a time.
fn time(headers: &HeaderMap, name: &str) -> Result<Option<Timestamp>, ()> {
    headers.get(name).map(|value| Timestamp::parse(value.as_bytes()).map_err(drop)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, headers: &[(&'static str, &'static str)]) -> Served {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        served(&Answer { status, headers, retry_after: None, body: Vec::new() })
    }

    #[test]
    fn a_description_is_held_against_what_is_here() {
        let headers = [(header::ETAG, "\"00ff\""), (header::CONTENT_TYPE, "text/plain")];
        let told = Description(headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect());
        assert!(!told.has_other_etag(b"00FF") && told.has_other_etag(b"00fe"));
        assert!(!told.has_other_type(b"text/plain ") && told.has_other_type(b"text/html"));
        assert!(Description::default().has_other_etag(b"00ff") && !Description::default().has_other_type(b"text/html"));
    }

    #[test]
    fn only_what_is_said_in_so_many_words_is_known() {
        let time = |text: &str| Timestamp::parse(text).unwrap();
        let (t1, t2) = ("1400000000.00001", "1400000001.00000_00000000000000a1");
        let both = [("x-backend-timestamp", t2), ("x-backend-data-timestamp", t1)];
        assert_eq!(said(200, &both), Served::Object { data: time(t1), newest: time(t2) });
        assert_eq!(said(404, &both[..1]), Served::Deleted { at: time(t2) });
        assert_eq!(said(404, &[]), Served::Nothing);
        assert_eq!(said(200, &both[..1]), Served::CannotTell(200));
        assert_eq!(said(200, &[]), Served::CannotTell(200));
        assert_eq!(said(404, &[("x-backend-timestamp", "soon")]), Served::CannotTell(404));
        for status in [201, 204, 206, 304, 403, 405, 412, 500, 503, 507, 529] {
            assert_eq!(said(status, &both), Served::CannotTell(status));
        }
    }
}
