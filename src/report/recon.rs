//! The recon cache: the figures of all object daemons of a machine, one line of JSON in `object.recon` (B12.14-B12.16).
//!
//! Every daemon adds its own keys and leaves the others alone, so an update reads, merges and writes under a lock that
//! the Python daemons take as well. The lock is the data file itself, and an update replaces that file: who got the lock
//! looks whether what he holds is still the file of that name, and otherwise waits for the lock of the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value};

use crate::python::json::{Dict, Json, into_map};
use crate::python::{self, errno_text};
use crate::regular::{self, Links};

/// The file of the object daemons in the cache's folder.
pub(crate) const FILE_NAME: &str = "object.recon";
/// How long to wait for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to try it meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(10);
/// Larger files are left alone; thousands of devices that fail thousands of others need some megabytes.
const MAX_SIZE: u64 = 64 << 20;

/// Why the recon cache could not be read or updated, in the words of the reference's log line.
#[derive(Debug, thiserror::Error)]
pub enum ReconError {
    /// The file, or a new one beside it, could not be opened, read, written or renamed.
    #[error("{}: {}", errno_text(source), python::repr_str(&path.to_string_lossy()))]
    Io { path: PathBuf, source: io::Error },
    /// Others held the lock all the time.
    #[error("2 seconds: {path}: LockTimeout (2s) {path}", path = path.display())]
    LockTimeout { path: PathBuf },
    /// What stands there is a link, not a regular file, or too large for a recon cache.
    #[error("{source}: {}", python::repr_str(&path.to_string_lossy()))]
    NoCache { path: PathBuf, source: io::Error },
}

/// Merges the entries into `<cache_dir>/object.recon`.
///
/// A value replaces the old one; an object is merged one level deep; an empty object removes the key (B12.16).
///
/// # Errors
/// - [`ReconError::LockTimeout`] if other daemons hold the lock for two seconds;
/// - [`ReconError::Io`] if the file cannot be opened or read, or a new one cannot be written or put in its place;
/// - [`ReconError::NoCache`] if it is a link, not a regular file, or larger than 64 MiB.
pub fn dump(cache_dir: &Path, entries: &Map<String, Value>) -> Result<(), ReconError> {
    let path = cache_dir.join(FILE_NAME);
    let locked = lock(&path)?;
    let mut cache = read_line(&path, &locked)?;
    merge(&mut cache, entries);

    let mut line = String::new();
    Json::Dict(cache).write(&mut line);
    line.push('\n');
    replace(cache_dir, &path, line.as_bytes())
}

/// What `<cache_dir>/object.recon` holds; nothing if it is missing, or is no JSON object.
///
/// # Errors
/// [`ReconError::Io`] if the file is there and cannot be read, [`ReconError::NoCache`] if it is a link, not a regular
/// file, or larger than 64 MiB.
pub fn load(cache_dir: &Path) -> Result<Map<String, Value>, ReconError> {
    let path = cache_dir.join(FILE_NAME);
    match open(&path, OpenOptions::new().read(true)) {
        Ok(file) => read_line(&path, &file).map(into_map),
        Err(ReconError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error),
    }
}

/// Opens the file, which is made if it is missing, and locks it.
fn lock(path: &Path) -> Result<File, ReconError> {
    loop {
        let file = open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        wait_for_lock(path, &file)?;
        let held = file.metadata().map_err(io_error(path))?;
        match fs::symlink_metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(path)(error)),
        }
    }
}

fn wait_for_lock(path: &Path, file: &File) -> Result<(), ReconError> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io_error(path)(error.into())),
        }
        if Instant::now() >= deadline {
            return Err(ReconError::LockTimeout { path: path.to_owned() });
        }
        thread::sleep(LOCK_POLL);
    }
}

/// Opens the file, if it is one. A link in its place is not followed: every update puts a file there, so nobody has a use
/// for one, and what it leads to would be made, or locked.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, ReconError> {
    let opened = regular::open_with(path, Links::Refused, options);
    let opened = opened.and_then(|file| regular::within(&file, MAX_SIZE).map(|()| file));
    opened.map_err(|source| match source.raw_os_error() {
        // The system's own errors have the reference's words.
        Some(_) => io_error(path)(source),
        None => ReconError::NoCache { path: path.to_owned(), source },
    })
}

/// The object that the file's first line holds; an empty one if it holds anything else.
fn read_line(path: &Path, file: &File) -> Result<Dict, ReconError> {
    let mut line = Vec::new();
    BufReader::new(file).take(MAX_SIZE).read_until(b'\n', &mut line).map_err(io_error(path))?;
    match str::from_utf8(&line).ok().and_then(Json::parse) {
        Some(Json::Dict(cache)) => Ok(cache),
        _ => Ok(Dict::new()),
    }
}

fn merge(cache: &mut Dict, entries: &Map<String, Value>) {
    for (key, value) in entries {
        let key = key.as_str().into();
        match value {
            Value::Object(parts) if parts.is_empty() => drop(cache.remove(&key)),
            Value::Object(parts) => {
                let old = cache.entry(key).or_insert(Json::Null);
                if let Json::Dict(old) = old {
                    merge_parts(old, parts);
                } else {
                    let mut new = Dict::new();
                    merge_parts(&mut new, parts);
                    *old = Json::Dict(new);
                }
            }
            value => drop(cache.insert(key, value.into())),
        }
    }
}

fn merge_parts(old: &mut Dict, parts: &Map<String, Value>) {
    for (key, value) in parts {
        let key = key.as_str().into();
        if value.as_object().is_some_and(Map::is_empty) {
            old.remove(&key);
        } else {
            old.insert(key, value.into());
        }
    }
}

/// Puts a new file, which only its owner may read, in the place of the old one.
fn replace(dir: &Path, path: &Path, content: &[u8]) -> Result<(), ReconError> {
    let private = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = tempfile::Builder::new().prefix("tmp").make_in(dir, private).map_err(io_error(dir))?;
    file.as_file_mut().write_all(content).map_err(io_error(file.path()))?;
    file.persist(path).map_err(|error| io_error(path)(error.error))?;
    Ok(())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ReconError {
    move |source| ReconError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    struct Cache(tempfile::TempDir);

    impl Cache {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn holding(content: impl AsRef<[u8]>) -> Self {
            let cache = Self::new();
            fs::write(cache.file(), content).unwrap();
            cache
        }

        fn file(&self) -> PathBuf {
            self.0.path().join(FILE_NAME)
        }

        fn dump(&self, entries: Value) -> Result<(), ReconError> {
            dump(self.0.path(), entries.as_object().unwrap())
        }

        fn content(&self) -> String {
            fs::read_to_string(self.file()).unwrap()
        }
    }

    #[test]
    fn the_file_is_one_line_in_pythons_form_that_only_its_owner_reads() {
        let cache = Cache::new();
        cache.dump(json!({"b": {"é": 1795500561.76}, "a": [1e-07, 0.0, null]})).unwrap();
        assert_eq!(cache.content(), "{\"a\": [1e-07, 0.0, null], \"b\": {\"\\u00e9\": 1795500561.76}}\n");
        assert_eq!(fs::metadata(cache.file()).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(cache.0.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn entries_are_merged_one_level_deep_and_an_empty_object_removes() {
        let cache = Cache::holding(r#"{"other": NaN, "stats": {"old": {"x": 1}, "gone": 1}, "out": 2, "plain": 3}"#);
        cache.dump(json!({"stats": {"old": {"y": 2}, "gone": {}, "new": 4}, "out": {}, "plain": {"a": {}}})).unwrap();
        assert_eq!(cache.content(), "{\"other\": NaN, \"plain\": {}, \"stats\": {\"new\": 4, \"old\": {\"y\": 2}}}\n");
    }

    #[test]
    fn a_cache_that_holds_no_object_begins_anew() {
        for garbage in [&b""[..], b"\n", b"[1, 2]\n", b"{\"a\": 1", b"\xff\xfe\n", b"null", b"\n{\"a\": 1}\n"] {
            let cache = Cache::holding(garbage);
            assert_eq!(load(cache.0.path()).unwrap(), Map::new());
            cache.dump(json!({"k": 1})).unwrap();
            assert_eq!(cache.content(), "{\"k\": 1}\n", "{garbage:?}");
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_and_an_empty_cache() {
        let cache = Cache::new();
        let missing = cache.0.path().join("missing");
        let error = dump(&missing, &Map::new()).unwrap_err().to_string();
        assert_eq!(error, format!("[Errno 2] No such file or directory: '{}/object.recon'", missing.display()));
        assert_eq!(load(&missing).unwrap(), Map::new());
    }

    #[test]
    fn a_folder_or_a_pipe_in_the_place_of_the_file_is_an_error() {
        let cache = Cache::new();
        fs::create_dir(cache.file()).unwrap();
        let error = cache.dump(json!({"k": 1})).unwrap_err().to_string();
        assert_eq!(error, format!("[Errno 21] Is a directory: '{}'", cache.file().display()));
        assert!(load(cache.0.path()).is_err());

        let cache = Cache::new();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            cache.file(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(matches!(cache.dump(json!({"k": 1})), Err(ReconError::NoCache { .. })));
        assert!(matches!(load(cache.0.path()), Err(ReconError::NoCache { .. })));
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_neither_followed_nor_filled() {
        let cache = Cache::new();
        let (other, made) = (cache.0.path().join("other"), cache.0.path().join("made"));
        fs::write(&other, "{\"a\": 1}\n").unwrap();
        for target in [&other, &made] {
            std::os::unix::fs::symlink(target, cache.file()).unwrap();
            let error = cache.dump(json!({"k": 1})).unwrap_err().to_string();
            assert_eq!(error, format!("it is a symbolic link: '{}'", cache.file().display()));
            assert!(load(cache.0.path()).is_err());
            fs::remove_file(cache.file()).unwrap();
        }
        assert_eq!(fs::read_to_string(other).unwrap(), "{\"a\": 1}\n");
        assert!(!made.exists());
    }

    #[test]
    fn a_huge_file_is_left_alone() {
        let cache = Cache::holding("");
        File::options().write(true).open(cache.file()).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert!(matches!(cache.dump(json!({"k": 1})), Err(ReconError::NoCache { .. })));
        assert_eq!(fs::metadata(cache.file()).unwrap().len(), MAX_SIZE + 1);
    }

    #[test]
    fn who_does_not_get_the_lock_gives_up() {
        let cache = Cache::holding("{\"a\": 1}\n");
        let holder = File::open(cache.file()).unwrap();
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        let error = cache.dump(json!({"k": 1})).unwrap_err().to_string();
        let file = cache.file();
        assert_eq!(error, format!("2 seconds: {0}: LockTimeout (2s) {0}", file.display()));
        assert_eq!(cache.content(), "{\"a\": 1}\n");
    }

    #[test]
    fn who_waited_for_a_file_that_was_replaced_merges_into_the_new_one() {
        let cache = Cache::holding("{\"a\": 1}\n");
        let holder = File::open(cache.file()).unwrap();
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| cache.dump(json!({"k": 1})));
            let new = cache.0.path().join("new");
            fs::write(&new, "{\"b\": 2}\n").unwrap();
            fs::rename(&new, cache.file()).unwrap();
            drop(holder);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(cache.content(), "{\"b\": 2, \"k\": 1}\n");
    }
}
