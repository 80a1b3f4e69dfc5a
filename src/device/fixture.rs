//! A partition with objects in it, for tests.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use md5::{Digest as _, Md5};

use crate::device::layout::PartitionDir;
use crate::format::hashes::digest_to_hex;
use crate::format::object::{ObjectHash, ObjectName, Salts};
use crate::names::{Partition, PolicyIndex};

/// Lets a folder be an hour old: where it is empty, nobody is about to store something in it.
pub(crate) fn age(folder: &Path) {
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(folder).unwrap().set_modified(an_hour_ago).unwrap();
}

/// A folder on a file system with extended attributes: where `tests/guarded` says, or in `target/`.
pub(crate) fn folder_with_xattrs() -> tempfile::TempDir {
    let target = || concat!(env!("CARGO_MANIFEST_DIR"), "/target").into();
    tempfile::tempdir_in(std::env::var_os("SWIFT_TEST_SCRATCH").unwrap_or_else(target)).unwrap()
}

/// A partition on a device, on a file system with extended attributes.
pub(crate) struct Fixture {
    root: tempfile::TempDir,
    pub(crate) dir: PartitionDir,
    pub(crate) salts: Salts,
}

/// Names and values of metadata.
pub(crate) type Items<'a> = &'a [(&'a str, &'a str)];

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = folder_with_xattrs();
        let dir = PartitionDir::new(root.path(), "sda", PolicyIndex::new(0), Partition::new(7));
        fs::create_dir_all(dir.path()).unwrap();
        let salts = Salts { prefix: b"before".to_vec(), suffix: b"after".to_vec() };
        Self { root, dir, salts }
    }

    pub(crate) fn hash(&self, name: &str) -> ObjectHash {
        self.salts.hash(ObjectName::parse(name.as_bytes()).unwrap())
    }

    /// The folder of the object with this name.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let hash = self.hash(name);
        self.dir.suffix_path(hash.suffix()).join(hash.to_string())
    }

    /// The folder where damaged objects go.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.path().join("sda/quarantined/objects")
    }

    /// Writes a file of an object with these metadata.
    pub(crate) fn write(&self, name: &str, file: &str, body: &[u8], metadata: Items<'_>) -> PathBuf {
        fs::create_dir_all(self.folder(name)).unwrap();
        let path = self.folder(name).join(file);
        fs::write(&path, body).unwrap();
        set_metadata(&path, &pickle(metadata));
        path
    }

    /// Stores an object.
    pub(crate) fn put(&self, name: &str, time: &str, body: &[u8], more: Items<'_>) -> ObjectHash {
        let length = body.len().to_string();
        let etag = md5_hex(body);
        let items = [
            ("name", name),
            ("X-Timestamp", time),
            ("Content-Type", "text/plain"),
            ("Content-Length", &length),
            ("ETag", &etag),
        ];
        let items = [&items[..], more].concat();
        self.write(name, &format!("{time}.data"), body, &items);
        self.hash(name)
    }

    /// Gives an object newer metadata.
    pub(crate) fn post(&self, name: &str, time: &str, more: Items<'_>) -> ObjectHash {
        let items = [&[("name", name), ("X-Timestamp", time)], more].concat();
        self.write(name, &format!("{time}.meta"), b"", &items);
        self.hash(name)
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, name: &str, time: &str) -> ObjectHash {
        self.write(name, &format!("{time}.ts"), b"", &[("name", name), ("X-Timestamp", time)]);
        self.hash(name)
    }
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    digest_to_hex(&Md5::digest(bytes).into()).escape_ascii().to_string()
}

/// The metadata as Python 2 pickled them.
pub(crate) fn pickle(metadata: Items<'_>) -> Vec<u8> {
    let string = |text: &str| [b"T", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let items = metadata.iter().flat_map(|(name, value)| [string(name), string(value)].concat());
    [b"\x80\x02}q\x01(".to_vec(), items.collect(), b"u.".to_vec()].concat()
}

/// Sets the attributes that hold a pickle.
pub(crate) fn set_metadata(path: &Path, pickle: &[u8]) {
    xattr::set(path, "user.swift.metadata", pickle).unwrap();
    xattr::set(path, "user.swift.metadata_checksum", md5_hex(pickle).as_bytes()).unwrap();
}

/// Runs the rest of a test, whose full name this is, on a file system that holds next to nothing.
pub(crate) fn on_a_small_disk(test: &str, rest: impl FnOnce(&Path)) {
    on_mounted(test, "mount -t tmpfs -o size=16k,nr_inodes=8 tmpfs \"$DISK\"", rest);
}

/// The same on one that counts times in seconds, and gives a new file the inode of the last one that went; but not in a
/// container without loop devices, where there is none to be had.
pub(crate) fn on_a_disk_with_coarse_times(test: &str, rest: impl FnOnce(&Path)) {
    if !Path::new("/dev/loop-control").exists() {
        // Past what captures a test's output.
        let _ = writeln!(io::stderr(), "SKIPPED: {test}: there is no /dev/loop-control (modprobe loop)");
        return;
    }
    let mount = "truncate -s 16M \"$DISK.img\" && mkfs.ext4 -q -I 128 -F \"$DISK.img\" 2>/dev/null && \
                 mount -o loop \"$DISK.img\" \"$DISK\"";
    on_mounted(test, mount, rest);
}

pub(crate) fn remount_read_only(disk: &Path) {
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(disk).status().unwrap().success());
}

/// Runs a test once more, alone and in a mount namespace of its own, with `$DISK` mounted; there it does the rest.
fn on_mounted(test: &str, mount: &str, rest: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os("DISK") {
        return rest(Path::new(&disk));
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = format!("{mount} && exec \"$0\" --exact {test} --nocapture --test-threads=1");
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap()).env("DISK", &disk);
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What is logged on this thread while `run` runs, each line after its level.
pub(crate) fn logged<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).expect("no other module of these tests sets a logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
    LINES.take();
    let result = run();
    (result, LINES.take())
}

struct Capture;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        LINES.with_borrow_mut(|lines| lines.push(format!("{} {}", record.level(), record.args())));
    }

    fn flush(&self) {}
}
