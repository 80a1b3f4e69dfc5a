//! Sending what a receiver wants (B9.10-B9.13).

use std::fmt::Display;

use log::{debug, error};

use super::codec::{self, HeaderError, Want};
use super::conversation::Conversation;
use super::failure::{TalkError, TalkStep};
use super::push::SsyncPush;
use crate::device::drive::Drive;
use crate::device::object::{Content, ObjectReader, StoredData, StoredObject, Unsendable};
use crate::device::object_data::{DataError, ObjectData};
use crate::device::object_files::FileMark;
use crate::format::metadata::Metadata;
use crate::format::object::{ObjectHash, ObjectName};
use crate::peer::node_string;

/// A message holds at most so many bytes of data, whatever `disk_chunk_size` is.
const MAX_CHUNK: usize = 256 << 10;
/// So many objects that cannot be sent are named; the others are only counted.
const MAX_NAMED: usize = 10;

/// Sends one object after the other.
pub(super) struct Updates<'s, 'd, 'p> {
    push: &'s SsyncPush<'s>,
    reader: &'s mut ObjectReader<'d>,
    conversation: &'s mut Conversation<'p>,
    chunk_size: usize,
    unsent: usize,
    /// Bytes of data that were sent.
    bytes: u64,
    /// How many subrequests were sent, in whole or in part.
    subrequests: u64,
}

/// Why an object was not sent in whole.
enum Stop {
    /// It is left out, and the conversation goes on.
    LeftOut,
    /// The conversation cannot go on.
    Failed(TalkError),
}

impl From<TalkError> for Stop {
    fn from(failure: TalkError) -> Self {
        Self::Failed(failure)
    }
}

impl<'s, 'd, 'p> Updates<'s, 'd, 'p> {
    pub(super) fn new(
        push: &'s SsyncPush<'s>,
        reader: &'s mut ObjectReader<'d>,
        conversation: &'s mut Conversation<'p>,
        disk_chunk_size: usize,
    ) -> Self {
        let chunk_size = disk_chunk_size.clamp(1, MAX_CHUNK);
        Self { push, reader, conversation, chunk_size, unsent: 0, bytes: 0, subrequests: 0 }
    }

    /// Sends what is wanted of an object. If all of it was sent, what identifies the files that it came from.
    ///
    /// # Errors
    /// [`TalkError`] if the conversation has to end: the connection failed, a time limit is over, or a part of an
    /// object was sent whose rest cannot be read.
    pub(super) fn send(&mut self, hash: ObjectHash, want: Want) -> Result<Option<Vec<FileMark>>, TalkError> {
        self.conversation.send_if_due()?;
        let StoredObject { name, content, marks } = match self.reader.open(hash) {
            Ok(object) => object,
            Err(unsendable) => {
                self.skip(unsendable);
                return Ok(None);
            }
        };
        // What was opened before this look is the device's.
        if let Some(Err(gone)) = self.push.drive.map(Drive::look) {
            return Err(TalkError::Drive(gone));
        }
        let object = Sending { hash, name: name.as_name(), marks: &marks };
        let sent = match content {
            Content::Tombstone(time) => {
                if want.data {
                    codec::delete(self.conversation.outgoing(), object.name, time);
                    self.conversation.seal(TalkStep::Delete);
                    self.subrequests += 1;
                }
                Ok(())
            }
            Content::Data(stored) => self.send_parts(&object, want, *stored),
        };
        match sent {
            Ok(()) => Ok(Some(marks)),
            Err(Stop::LeftOut) => Ok(None),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    fn send_parts(&mut self, object: &Sending<'_>, want: Want, stored: StoredData) -> Result<(), Stop> {
        if want.data {
            self.put(object, stored.data, &stored.metadata)?;
        }
        match stored.newer {
            Some(newer) if want.meta => self.post(object, &newer),
            _ => Ok(()),
        }
    }

    /// Sends data with their metadata (B9.12). As long as nothing has gone out, a damaged object is taken back; then it
    /// costs nobody anything. After that the receiver finds the damage out by itself, or the conversation must end, and
    /// its neighbours go in another one.
    fn put(&mut self, object: &Sending<'_>, mut data: ObjectData, metadata: &Metadata) -> Result<(), Stop> {
        let (start, length) = (self.conversation.waiting(), data.length());
        if let Err(refused) = codec::put(self.conversation.outgoing(), object.name, metadata, length) {
            return Err(self.refuse(object, &refused));
        }
        self.conversation.seal(TalkStep::Put);
        let mut is_under_way = false;
        let outcome = loop {
            if data.remaining() == 0 {
                break data.verify();
            }
            if let Err(damage) = self.put_chunk(&mut data) {
                break Err(damage);
            }
            if data.remaining() > 0 {
                is_under_way |= self.conversation.send_if_due()?;
            }
        };
        self.subrequests += u64::from(is_under_way || outcome.is_ok());
        let Err(damage) = outcome else {
            self.bytes += length;
            return Ok(());
        };
        self.set_aside(object, &damage);
        match damage {
            _ if !is_under_way => self.conversation.withdraw(start),
            DataError::Different { .. } => {}
            DataError::Short { .. } => return Err(TalkError::ShortData.into()),
            DataError::Io(error) => return Err(TalkError::Unread(error).into()),
        }
        Err(Stop::LeftOut)
    }

    /// Reads the next bytes straight to where they are sent from.
    fn put_chunk(&mut self, data: &mut ObjectData) -> Result<(), DataError> {
        let length = usize::try_from(data.remaining()).unwrap_or(usize::MAX).min(self.chunk_size);
        codec::begin_data(self.conversation.outgoing(), length);
        data.read(self.conversation.room(length))?;
        codec::end_data(self.conversation.outgoing());
        self.conversation.seal(TalkStep::PutChunk);
        Ok(())
    }

    /// Sends metadata that came after the data (B9.13).
    fn post(&mut self, object: &Sending<'_>, newer: &Metadata) -> Result<(), Stop> {
        if let Err(refused) = codec::post(self.conversation.outgoing(), object.name, newer) {
            return Err(self.refuse(object, &refused));
        }
        self.conversation.seal(TalkStep::Post);
        self.subrequests += 1;
        Ok(())
    }

    /// Moves an object to quarantine whose data are damaged (B9.21); one that merely cannot be read stays.
    fn set_aside(&mut self, object: &Sending<'_>, damage: &DataError) {
        let file = object.marks.first().map(|(name, _)| name.as_c_str()).unwrap_or_default();
        let unsendable = if damage.is_damage() {
            self.reader.quarantine(object.hash, file, &damage.to_string())
        } else {
            let path = self.push.dir.suffix_path(object.hash.suffix()).join(object.hash.to_string());
            Unsendable::Unreadable { path, reason: damage.to_string() }
        };
        self.skip(unsendable);
    }

    /// Takes note of metadata that cannot be sent.
    fn refuse(&mut self, object: &Sending<'_>, refused: &HeaderError) -> Stop {
        let path = self.push.dir.suffix_path(object.hash.suffix()).join(object.hash.to_string());
        self.skip(Unsendable::Unreadable { path, reason: refused.to_string() });
        Stop::LeftOut
    }

    /// Takes note of an object that is not sent.
    fn skip(&mut self, unsendable: Unsendable) {
        if matches!(unsendable, Unsendable::Vanished(_)) {
            self.log(&unsendable, |line| debug!("{line}"));
            return;
        }
        self.unsent += 1;
        // That of a quarantine has been logged.
        if matches!(unsendable, Unsendable::Unreadable { .. }) && self.unsent <= MAX_NAMED {
            self.log(&unsendable, |line| error!("{line}"));
        }
    }

    /// How many bytes of data were sent, of whole objects.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many subrequests were sent, in whole or in part.
    pub(super) fn subrequests(&self) -> u64 {
        self.subrequests
    }

    /// Logs how many objects were not sent, if not all of them were named.
    pub(super) fn finish(self) {
        if self.unsent > MAX_NAMED {
            self.log(&format_args!("{} objects in all", self.unsent), |line| error!("{line}"));
        }
    }

    fn log(&self, what: &dyn Display, write: impl FnOnce(std::fmt::Arguments<'_>)) {
        write(format_args!("{}/{} Not sent: {what}", node_string(self.push.to), self.push.dir.partition()));
    }
}

/// An object that is being sent.
struct Sending<'o> {
    hash: ObjectHash,
    name: ObjectName<'o>,
    marks: &'o [FileMark],
}
