//! What an object server would say of suffixes if it had just the files that are here.
//!
//! It is compared with what a peer's server says before a hand-off is removed. Nothing is changed: the hash of a suffix
//! is that of what cleaning would leave, but nothing is cleaned, and nothing is written down.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::device::layout::PartitionDir;
use crate::device::listing::open_folder;
use crate::device::suffix::SuffixHasher;
use crate::device::writes::Writes;
use crate::format::hashes::Digest;
use crate::heartbeat::Heartbeat;
use crate::names::Suffix;

/// What a server would say of one suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing: what is in it is due to go (old tombstones), or there is nothing in it.
    Nothing,
    /// This hash.
    Hash(Digest),
    /// That cannot be told, since something in it cannot be read.
    Unknown,
}

/// What a server would say of these suffixes, in their order. Of a partition that cannot be opened: unknown.
pub(crate) fn expected(
    dir: &PartitionDir,
    suffixes: &[Suffix],
    reclaim_age: Duration,
    heartbeat: &dyn Heartbeat,
) -> Vec<(Suffix, Expected)> {
    let imagined = dir.clone().with_writes(Writes::Imagined);
    let Ok(folder) = open_folder(rustix::fs::CWD, dir.path()) else {
        return suffixes.iter().map(|suffix| (*suffix, Expected::Unknown)).collect();
    };
    let mut hasher = SuffixHasher::new(&imagined, folder.as_fd(), reclaim_age);
    let mut hash = |suffix: &Suffix| {
        heartbeat.beat();
        let expected = match hasher.hash(*suffix) {
            Ok(Some(digest)) => Expected::Hash(digest),
            Ok(None) => Expected::Nothing,
            Err(_) => Expected::Unknown,
        };
        (*suffix, expected)
    };
    suffixes.iter().map(&mut hash).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::io::Errno;

    use super::*;
    use crate::device::fixture::Fixture;
    use crate::device::hashes::{HashRequest, get_hashes};
    use crate::device::listing::faults;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const NAME: &str = "/a/c/o";

    fn ago(seconds: u64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        format!("{:010}.00000", now - seconds)
    }

    #[test]
    fn it_is_the_hash_that_hashing_gives_and_nothing_is_cleaned() {
        let fixture = Fixture::new();
        fixture.put(NAME, &ago(20), b"older", &[]);
        fixture.put(NAME, &ago(10), b"newer", &[]);
        let suffix = fixture.hash(NAME).suffix();
        let found = expected(&fixture.dir, &[suffix], WEEK, &());
        assert_eq!(fs::read_dir(fixture.folder(NAME)).unwrap().count(), 2);
        assert!(!fixture.dir.path().join("hashes.pkl").exists());
        let request = HashRequest { recalculate: &[], listing: true, reclaim_age: WEEK };
        let hashed = get_hashes(&fixture.dir, &request, &()).unwrap().hashes;
        assert_eq!(found, [(suffix, Expected::Hash(hashed.get(suffix).unwrap().unwrap()))]);
    }

    #[test]
    fn a_suffix_of_old_tombstones_is_nothing() {
        let fixture = Fixture::new();
        fixture.delete(NAME, &ago(8 * 86_400));
        let suffix = fixture.hash(NAME).suffix();
        assert_eq!(expected(&fixture.dir, &[suffix], WEEK, &()), [(suffix, Expected::Nothing)]);
        assert!(fixture.folder(NAME).exists());
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let fixture = Fixture::new();
        fixture.put(NAME, &ago(10), b"data", &[]);
        let suffix = fixture.hash(NAME).suffix();
        let found = faults::with(suffix.as_str(), Errno::IO, || expected(&fixture.dir, &[suffix], WEEK, &()));
        assert_eq!(found, [(suffix, Expected::Unknown)]);
    }
}
