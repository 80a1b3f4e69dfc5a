//! Reads ring files of both versions (B3.1-B3.9).
//!
//! A ring file is gzip, and starts with `R1NG` and its version. Version 1 goes on with its JSON and its table, and is
//! inflated from front to back; the checksum at its end covers it all. Version 2 has sections, and at its end an index
//! that tells where in the *compressed* file each of them starts and which digest it has; it is read as Swift does, by
//! seeking. A recompressed version 2 ring is refused, as Swift refuses it: its index points to nowhere.
//!
//! What a file claims of itself is believed only within limits, and memory is taken as the data comes. The table is
//! inflated straight into the form that it stays in.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::bufread::{DeflateDecoder, GzDecoder};
use md5::Md5;
use md5::digest::DynDigest;
use serde::de::DeserializeOwned;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::Device;
use super::error::Fault;
use super::metadata::{DeviceList, IndexEntry, Version1, Version2};
use super::store::Stamp;
use super::table::{ByteOrder, IdWidth, Shape, Table, within};
use crate::regular::{self, Links};

/// No more JSON is read from one part of a ring; it holds some 250,000 devices.
const MAX_JSON: u64 = 64 << 20;
/// No more JSON is read where there are no devices in it.
const MAX_SMALL_JSON: u64 = 1 << 20;
/// Deflate shrinks nothing to less than a 1032nd, so what a file claims beyond that need not be reserved.
const MAX_INFLATION: u64 = 1032;
/// How far before the end of a version 2 file the compressed place of its index is written: as a stored block, with a
/// flush behind it, the end of the stream, and the gzip trailer (B3.7).
const INDEX_PLACE_FROM_END: i64 = 31;

const METADATA: &str = "swift/ring/metadata";
const DEVICES: &str = "swift/ring/devices";
const ASSIGNMENTS: &str = "swift/ring/assignments";

/// What a ring file holds.
pub(super) struct Contents {
    pub devices: Vec<Option<Device>>,
    pub part_power: u32,
    pub next_part_power: Option<u32>,
    pub table: Table,
    /// By device id: whether the table gives it a partition.
    pub assigned: Vec<bool>,
}

/// What was read.
pub(super) struct Outcome {
    pub contents: Contents,
    /// Which file it was.
    pub stamp: Stamp,
    /// The MD5 of the file as it is on disk.
    pub digest: String,
}

/// Reads a ring file.
pub(super) fn read(path: &Path) -> Result<Outcome, Fault> {
    // Operators have rings behind links; a pipe would be waited for.
    let file = regular::open(path, Links::Followed).map_err(Fault::Io)?;
    let metadata = file.metadata().map_err(Fault::Io)?;
    let size = metadata.len();
    let digest = digest_of(&file).map_err(Fault::Io)?;
    let mut inflated = GzDecoder::new(BufReader::with_capacity(64 << 10, file));
    let contents = match read_version(&mut inflated, path)? {
        1 => read_version_1(inflated, size)?,
        2 => read_version_2(inflated.into_inner(), size)?,
        unknown => return Err(Fault::Version(unknown)),
    };
    Ok(Outcome { contents, stamp: Stamp::of(&metadata), digest })
}

/// The MD5 of a whole file; where it will be read next stays as it is.
fn digest_of(file: &File) -> io::Result<String> {
    let (mut md5, mut buffer, mut place) = (Md5::default(), vec![0; 256 << 10], 0);
    loop {
        match file.read_at(&mut buffer, place) {
            Ok(0) => return Ok(hex(&Box::new(md5).finalize())),
            Ok(count) => {
                md5.update(&buffer[..count]);
                place += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_version(inflated: &mut impl Read, path: &Path) -> Result<u16, Fault> {
    let mut magic = Vec::with_capacity(4);
    inflated.take(4).read_to_end(&mut magic).map_err(|error| Fault::reading("first four bytes", error))?;
    if magic.first() == Some(&0x80) {
        return Err(Fault::Pickled { builder: builder_of(path) });
    }
    if magic != b"R1NG" {
        return Err(Fault::Magic(magic));
    }
    exactly(inflated, "version").map(u16::from_be_bytes)
}

/// The builder file that a ring is written from, by the name that `swift-ring-builder` gives the ring.
fn builder_of(ring: &Path) -> String {
    let ring = ring.to_string_lossy();
    format!("{}.builder", ring.strip_suffix(".ring.gz").unwrap_or(&ring))
}

/// Version 1, behind its version number: the JSON with its length before it, the rows, nothing else (B3.3).
fn read_version_1(mut inflated: GzDecoder<BufReader<File>>, size: u64) -> Result<Contents, Fault> {
    let length = u64::from(exactly(&mut inflated, "metadata").map(u32::from_be_bytes)?);
    let metadata: Version1 = parse("metadata", &text(&mut inflated, "metadata", length, MAX_JSON)?)?;
    let part_power = part_power(metadata.part_shift)?;
    let shape = Shape::of_rows(IdWidth::Two, metadata.byteorder, part_power, metadata.replica_count)?;
    let expected = expected_table(inflated.get_ref().get_ref(), size, 10 + length, &shape);
    let devices = metadata.devs.0;
    let mut assigned = vec![false; devices.len()];
    let table = Table::read(&mut inflated, &shape, expected, &mut assigned)?;
    // The checksum is looked at when the end is read.
    match inflated.read(&mut [0]).map_err(|error| Fault::reading("table", error))? {
        0 => Ok(Contents { devices, part_power, next_part_power: metadata.next_part_power, table, assigned }),
        _ => Err(Fault::Surplus),
    }
}

/// How large the table behind the first `before` bytes of a version 1 ring will be, by the size of all that gzip writes
/// at the end: only so the memory of a ring with a short last row is known before it is read.
fn expected_table(file: &File, size: u64, before: u64, shape: &Shape) -> u64 {
    let mut inflated_size = [0; 4];
    let told = size.checked_sub(4).and_then(|place| file.read_exact_at(&mut inflated_size, place).ok());
    let told = told.and_then(|()| u64::from(u32::from_le_bytes(inflated_size)).checked_sub(before));
    told.filter(|told| shape.sizes().contains(told)).unwrap_or(shape.bytes).min(size.saturating_mul(MAX_INFLATION))
}

/// Version 2: metadata, devices and table are sections of their own (B3.5, B3.6).
fn read_version_2(file: BufReader<File>, size: u64) -> Result<Contents, Fault> {
    let mut file = Sections::open(file, size)?;
    let metadata: Version2 = file.json(METADATA, MAX_SMALL_JSON)?;
    let DeviceList(devices) = file.json(DEVICES, MAX_JSON)?;
    let part_power = part_power(metadata.part_shift)?;
    let width = match metadata.dev_id_bytes {
        2 => IdWidth::Two,
        4 => IdWidth::Four,
        other => return Err(Fault::DeviceIdBytes(other)),
    };
    let mut assigned = vec![false; devices.len()];
    let table = file.section(ASSIGNMENTS, |section, length| {
        let shape = Shape::of_bytes(width, ByteOrder::Big, part_power, length)?;
        let expected = length.min(size.saturating_mul(MAX_INFLATION));
        Table::read(section, &shape, expected, &mut assigned)
    })?;
    Ok(Contents { devices, part_power, next_part_power: metadata.next_part_power, table, assigned })
}

/// The sections of a version 2 ring, found through its index.
struct Sections {
    file: BufReader<File>,
    index: HashMap<String, IndexEntry>,
}

impl Sections {
    fn open(mut file: BufReader<File>, size: u64) -> Result<Self, Fault> {
        let lost = |_| Fault::Recompressed;
        file.seek(SeekFrom::End(-INDEX_PLACE_FROM_END)).map_err(lost)?;
        let place = exactly(&mut DeflateDecoder::new(&mut file), "index").map(u64::from_be_bytes);
        let place = place.ok().filter(|&place| place < size).ok_or(Fault::Recompressed)?;
        file.seek(SeekFrom::Start(place)).map_err(Fault::Io)?;
        let mut inflated = DeflateDecoder::new(&mut file);
        let length = exactly(&mut inflated, "index").map(u64::from_be_bytes)?;
        let index = text(&mut inflated, "index", length, MAX_SMALL_JSON)?;
        Ok(Self { index: parse("index", &index)?, file })
    }

    fn json<T: DeserializeOwned>(&mut self, name: &'static str, limit: u64) -> Result<T, Fault> {
        let text = self.section(name, |section, length| text(section, name, length, limit))?;
        parse(name, &text)
    }

    /// Reads one section with `read`, which is given its content and length, and checks its digest.
    fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Digested<'_>, u64) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let entry = self.index.get(name).ok_or(Fault::NoSection(name))?;
        let digest = digest_named(&entry.checksum_method)
            .ok_or_else(|| Fault::ChecksumMethod { section: name, method: entry.checksum_method.clone() })?;
        self.file.seek(SeekFrom::Start(entry.compressed_start)).map_err(|_| Fault::Truncated(name))?;
        let mut section = Digested { inflated: DeflateDecoder::new(&mut self.file), digest };
        let length = exactly(&mut section, name).map(u64::from_be_bytes)?;
        if length.checked_add(8) != entry.end.checked_sub(entry.start) {
            return Err(Fault::SectionSize(name));
        }
        let content = read(&mut section, length)?;
        let found = hex(&section.digest.finalize());
        if found != entry.checksum {
            return Err(Fault::Checksum { section: name, found, expected: entry.checksum.clone() });
        }
        Ok(content)
    }
}

/// The inflated bytes of a section, which are digested as they are read.
struct Digested<'f> {
    inflated: DeflateDecoder<&'f mut BufReader<File>>,
    digest: Box<dyn DynDigest>,
}

impl Read for Digested<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inflated.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

fn digest_named(method: &str) -> Option<Box<dyn DynDigest>> {
    Some(match method {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        "sha256" => Box::new(Sha256::default()),
        "sha512" => Box::new(Sha512::default()),
        _ => return None,
    })
}

/// Lower-case hexadecimal digits, as in an index.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn part_power(part_shift: u32) -> Result<u32, Fault> {
    32_u32.checked_sub(part_shift).ok_or(Fault::PartShift(part_shift))
}

/// The next bytes, which belong to this part of the file.
fn exactly<const COUNT: usize>(source: &mut impl Read, part: &'static str) -> Result<[u8; COUNT], Fault> {
    let mut bytes = [0; COUNT];
    source.read_exact(&mut bytes).map_err(|error| Fault::reading(part, error))?;
    Ok(bytes)
}

/// A text of this length, which must be within the limit; memory is taken as the text comes.
fn text(source: &mut impl Read, part: &'static str, length: u64, limit: u64) -> Result<Vec<u8>, Fault> {
    within("bytes of JSON", length, limit)?;
    let mut text = Vec::new();
    source.take(length).read_to_end(&mut text).map_err(|error| Fault::reading(part, error))?;
    if (text.len() as u64) < length { Err(Fault::Truncated(part)) } else { Ok(text) }
}

fn parse<T: DeserializeOwned>(part: &'static str, text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|reason| Fault::Json { part, reason })
}

#[cfg(test)]
mod tests;
