//! When a node's object server last wrote what it knows of a partition, as it is seen through the node's rsync module.
//!
//! The server writes `hashes.pkl` into the partition's folder when it is asked for hashes that it has to make. Whoever sees
//! through the module that this has just been done looks into the very folder that the server has. Nothing is fetched: a
//! list has names, sizes and times only, so whatever a daemon sends, nothing is written here.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::{common_args, target_of};
use super::client::{Rsync, file_of};
use super::error::PushError;
use super::exit::{self, Heard};
use super::lines::Splitter;
use super::push::Push;
use crate::child::Stream;
use crate::heartbeat::Heartbeat;
use crate::names::{Partition, PolicyIndex};
use crate::ring::Device;

/// Locks of hand-offs are held meanwhile, and a list is short.
const LIMIT: Duration = Duration::from_secs(60);
/// The file's name in a partition's folder.
const HASHES: &str = "hashes.pkl";

impl Rsync {
    /// When each partition's `hashes.pkl` was last written at the node, in whole seconds of its clock. A partition of which
    /// there is none is left out.
    ///
    /// # Errors
    /// [`PushError`] if rsync could not list the files, for instance because the module is write only.
    pub fn written(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partitions: &[Partition],
        heartbeat: &dyn Heartbeat,
    ) -> Result<HashMap<Partition, SystemTime>, PushError> {
        let nothing = Push::new("/".as_ref(), policy, &[], to, false);
        self.with_module(to, |template| {
            let target = target_of(template, &nothing)?;
            let (code, heard, written) = self.list(&target, partitions, heartbeat)?;
            match code {
                0 => Ok(written),
                // Some of them are not there.
                code if exit::is_but_for_some(code) => Ok(written),
                code => Err(PushError::of_end(code, &heard, &target)),
            }
        })
    }

    fn list(
        &self,
        target: &str,
        partitions: &[Partition],
        heartbeat: &dyn Heartbeat,
    ) -> Result<(i32, Heard, HashMap<Partition, SystemTime>), PushError> {
        let start = |source| PushError::Start { program: self.program.clone(), source };
        let mut names = Vec::new();
        partitions.iter().for_each(|partition| write!(names, "{partition}/{HASHES}\0").expect("memory takes it"));
        let mut command = self.program();
        command.args(&common_args(&self.options(), false)[1..]);
        command.args(["--no-motd", "--list-only", "--no-recursive", "--from0", "--files-from=-"]);
        // rsync wants to know where files would go, although none does. Nothing can be made there.
        command.args([&format!("{target}/."), "/proc/nowhere"]);
        command.stdin(file_of(&names).map_err(start)?).env("TZ", "UTC");
        let (mut heard, mut written) = (Heard::default(), HashMap::new());
        let (mut errors, mut lines) = (Splitter::default(), Splitter::default());
        let code = self.listen(command, Some(LIMIT), |stream, bytes| {
            heartbeat.beat();
            match stream {
                Stream::Err => errors.push(bytes, |line| heard.line(&line)),
                Stream::Out => lines.push(bytes, |line| {
                    written.extend(entry(&line).filter(|(partition, _)| partitions.contains(partition)));
                }),
            }
        })?;
        Ok((code, heard, written))
    }
}

/// A file's line of the list: `-rw-------  4,096 2026/11/28 21:36:48 7/hashes.pkl`.
fn entry(line: &[u8]) -> Option<(Partition, SystemTime)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|mode| mode.starts_with('-'))?;
    let (_size, date, time, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (partition, file) = name.split_once('/')?;
    if file != HASHES || words.next().is_some() {
        return None;
    }
    Some((Partition::from_dir_name(partition.as_ref())?, utc(date, time)?))
}

/// The moment that a date and a time of day in UTC name.
fn utc(date: &str, time: &str) -> Option<SystemTime> {
    let [year, month, day] = numbers(date, '/')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March, so that the day that comes every four years is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(UNIX_EPOCH + Duration::from_secs(since_1970 * 86_400 + hour * 3600 + minute * 60 + second))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text.split(separator).map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_files_line_gives_its_partition_and_its_time() {
        let line = b"-rw-------          4,096 2026/11/28 21:36:48 7/hashes.pkl";
        assert_eq!(entry(line), Some((Partition::new(7), at(1_795_901_808))));
        for other in [
            &b"drwxr-xr-x          4,096 2026/11/28 21:36:48 7"[..],
            b"drwxr-xr-x          4,096 2026/11/28 21:36:48 7/hashes.pkl",
            b"-rw-r--r--              2 2026/11/28 21:36:48 7/hashes.invalid",
            b"-rw-r--r--              2 2026/11/28 21:36:48 07/hashes.pkl",
            b"-rw-r--r--              2 2026/11/28 21:36:48 7/hashes.pkl more",
            b"-rw-r--r--              2 2026/11/28 7/hashes.pkl",
            b"-rw-r--r--              2 1901/12/13 20:45:52 7/hashes.pkl",
            b"",
        ] {
            assert_eq!(entry(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (date, time, seconds) in [
            ("1970/01/01", "00:00:00", 0),
            ("2000/02/29", "12:00:00", 951_825_600),
            ("2000/03/01", "00:00:00", 951_868_800),
            ("2023/12/31", "23:59:59", 1_704_067_199),
            ("2100/03/01", "00:00:00", 4_107_542_400),
        ] {
            assert_eq!(utc(date, time), Some(at(seconds)), "{date} {time}");
        }
        assert_eq!([utc("2026/13/01", "00:00:00"), utc("2026/1", "00:00:00"), utc("x/1/1", "0:0:0")], [None; 3]);
    }
}
