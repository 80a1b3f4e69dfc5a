//! The table of a ring: for every replica and partition the id of a device.
//!
//! The rows stand behind each other in one vector, in the width that the file has: a ring of 2^20 partitions and three
//! replicas takes 6 MiB. Only the last row can be short.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::error::Fault;

/// The id that stands for no device; in tables of two bytes it is widened to this.
pub(super) const UNASSIGNED: u32 = u32::MAX;

/// No larger table is read: it would hold 2^26 partitions of four replicas.
const MAX_BYTES: u64 = 512 << 20;
/// No more rows are read.
const MAX_ROWS: u64 = 4096;

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub(super) fn native() -> Self {
        if cfg!(target_endian = "big") { Self::Big } else { Self::Little }
    }
}

/// How many bytes a device id takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdWidth {
    Two,
    Four,
}

impl IdWidth {
    const fn bytes(self) -> u64 {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// What a file says of its table before it comes.
pub(super) struct Shape {
    pub width: IdWidth,
    pub order: ByteOrder,
    pub part_power: u32,
    /// The number of rows; the last may be short.
    pub rows: u64,
    /// The size of the table, or the most that it can be.
    pub bytes: u64,
}

impl Shape {
    /// The shape of a table with this many rows, full ones until more is known.
    ///
    /// # Errors
    /// [`Fault`] if the table has more rows or bytes than this program is willing to read.
    pub(super) fn of_rows(width: IdWidth, order: ByteOrder, part_power: u32, rows: u64) -> Result<Self, Fault> {
        within("replicas", rows, MAX_ROWS)?;
        let bytes = (rows << part_power) * width.bytes();
        within("bytes of table", bytes, MAX_BYTES)?;
        Ok(Self { width, order, part_power, rows, bytes })
    }

    /// The shape of a table with this many bytes.
    ///
    /// # Errors
    /// [`Fault`] if the table has more rows or bytes than this program is willing to read.
    pub(super) fn of_bytes(width: IdWidth, order: ByteOrder, part_power: u32, bytes: u64) -> Result<Self, Fault> {
        within("bytes of table", bytes, MAX_BYTES)?;
        let rows = bytes.div_ceil(width.bytes() << part_power);
        within("replicas", rows, MAX_ROWS)?;
        Ok(Self { width, order, part_power, rows, bytes })
    }

    /// The sizes that the table can have, in bytes: all rows are full, but the last may be empty.
    pub(super) fn sizes(&self) -> RangeInclusive<u64> {
        self.bytes.saturating_sub(self.width.bytes() << self.part_power)..=self.bytes
    }

    /// Checks that every row but the last, and the first in any case, is full.
    fn check(&self, found: usize) -> Result<(), Fault> {
        let full_rows = self.rows.saturating_sub(1).max(self.rows.min(1));
        if (found as u64) < full_rows << self.part_power {
            let partitions = 1 << self.part_power;
            return Err(Fault::ShortTable { found: found as u64, replicas: self.rows, partitions });
        }
        Ok(())
    }
}

/// Checks a claim against the largest that is believed.
pub(super) fn within(what: &'static str, claim: u64, limit: u64) -> Result<(), Fault> {
    if claim > limit { Err(Fault::TooLarge { what, claim, limit }) } else { Ok(()) }
}

/// The ids of all rows, first row first.
#[derive(Debug)]
enum Ids {
    Two(Vec<u16>),
    Four(Vec<u32>),
}

impl Ids {
    fn len(&self) -> usize {
        match self {
            Self::Two(ids) => ids.len(),
            Self::Four(ids) => ids.len(),
        }
    }
}

/// The table; without any row it has no partitions either.
#[derive(Debug)]
pub(super) struct Table {
    ids: Ids,
    partitions: usize,
    rows: usize,
}

impl Table {
    /// Reads at most `shape.bytes` from `source`, into memory reserved for `expected` bytes.
    ///
    /// Every id must be below `assigned.len()` or stand for none; the ids that occur are set in `assigned`.
    ///
    /// # Errors
    /// [`Fault`] if the source cannot be read, ends within an id or in a row that must be full, or names an unknown
    /// device.
    pub(super) fn read(
        source: &mut impl Read,
        shape: &Shape,
        expected: u64,
        assigned: &mut [bool],
    ) -> Result<Self, Fault> {
        let ids = match shape.width {
            IdWidth::Two => Ids::Two(read_ids(source, shape, expected, assigned)?),
            IdWidth::Four => Ids::Four(read_ids(source, shape, expected, assigned)?),
        };
        shape.check(ids.len())?;
        if ids.len() == 0 {
            return Ok(Self { ids, partitions: 0, rows: 0 });
        }
        let partitions = 1 << shape.part_power;
        Ok(Self { rows: ids.len().div_ceil(partitions), ids, partitions })
    }

    pub(super) fn partition_count(&self) -> u32 {
        self.partitions as u32
    }

    pub(super) fn replica_count(&self) -> f64 {
        if self.partitions == 0 { 0.0 } else { self.ids.len() as f64 / self.partitions as f64 }
    }

    /// How many rows there are, a short one included.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The device of a row for a partition, or [`UNASSIGNED`]; `None` where the row does not reach.
    #[inline]
    pub(super) fn id(&self, row: usize, partition: u32) -> Option<u32> {
        let partition = partition as usize;
        if partition >= self.partitions {
            return None;
        }
        let place = row * self.partitions + partition;
        match &self.ids {
            Ids::Two(ids) => ids.get(place).map(|&id| if id == u16::MAX { UNASSIGNED } else { u32::from(id) }),
            Ids::Four(ids) => ids.get(place).copied(),
        }
    }
}

/// A device id as it stands in a table.
trait Id: Copy {
    const BYTES: usize;
    fn decode(bytes: &[u8], order: ByteOrder) -> Self;
    /// The id, [`UNASSIGNED`] if it stands for none.
    fn widened(self) -> u32;
}

impl Id for u16 {
    const BYTES: usize = 2;

    fn decode(bytes: &[u8], order: ByteOrder) -> Self {
        let bytes = [bytes[0], bytes[1]];
        match order {
            ByteOrder::Little => Self::from_le_bytes(bytes),
            ByteOrder::Big => Self::from_be_bytes(bytes),
        }
    }

    fn widened(self) -> u32 {
        if self == Self::MAX { UNASSIGNED } else { u32::from(self) }
    }
}

impl Id for u32 {
    const BYTES: usize = 4;

    fn decode(bytes: &[u8], order: ByteOrder) -> Self {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        match order {
            ByteOrder::Little => Self::from_le_bytes(bytes),
            ByteOrder::Big => Self::from_be_bytes(bytes),
        }
    }

    fn widened(self) -> u32 {
        self
    }
}

fn read_ids<I: Id>(
    source: &mut impl Read,
    shape: &Shape,
    expected: u64,
    assigned: &mut [bool],
) -> Result<Vec<I>, Fault> {
    let mut ids: Vec<I> = Vec::with_capacity(expected as usize / I::BYTES);
    let mut source = source.take(shape.bytes);
    let mut chunk = vec![0; 64 << 10];
    loop {
        let filled = fill(&mut source, &mut chunk).map_err(|error| Fault::reading("table", error))?;
        let entries = chunk[..filled].chunks_exact(I::BYTES);
        if !entries.remainder().is_empty() {
            return Err(Fault::SplitId);
        }
        let known = ids.len();
        ids.extend(entries.map(|bytes| I::decode(bytes, shape.order)));
        note_assigned(&ids[known..], assigned)?;
        if filled < chunk.len() {
            ids.shrink_to_fit();
            return Ok(ids);
        }
    }
}

fn note_assigned<I: Id>(ids: &[I], assigned: &mut [bool]) -> Result<(), Fault> {
    let devices = assigned.len();
    for id in ids.iter().map(|id| id.widened()) {
        match assigned.get_mut(id as usize) {
            Some(assigned) => *assigned = true,
            None if id == UNASSIGNED => {}
            None => return Err(Fault::UnknownDevice { id, devices }),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the source ends; returns how much came.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
