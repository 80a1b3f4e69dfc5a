//! Snapshots of folders: what is in them, as far as replication is concerned.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use md5::{Digest as _, Md5};
use serde_json::Value;

use super::guard::must;
use super::lab;
use super::object::hex;

/// Lets a folder, and those in it, be old: where one is empty, nobody is about to store something in it.
pub fn age(folder: &Path) {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|entry| entry.is_dir() && !entry.is_symlink()).for_each(|entry| age(&entry));
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let folder = fs::File::open(folder).expect("a folder can be opened");
    folder.set_modified(an_hour_ago).expect("the times of a folder can be set");
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Folder {
        mode: u32,
    },
    File {
        mode: u32,
        size: u64,
        md5: String,
        xattrs: BTreeMap<String, String>,
    },
    /// A partition's `hashes.pkl`, without the time when it was written.
    Hashes {
        mode: u32,
        content: Value,
    },
    /// A partition's `hashes.invalid`: its lines, sorted, since their order carries no meaning.
    Invalid {
        mode: u32,
        lines: Vec<String>,
    },
    Link(PathBuf),
    Other,
}

/// A folder's content. Lock files are left out: which ones exist tells who looked, not what is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Takes stock of a folder.
    pub fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a readable folder") {
                let path = entry.expect("a readable folder").path();
                let name = path.file_name().expect("an entry has a name").to_string_lossy();
                if name == ".lock" || name.starts_with(".lock-") {
                    continue;
                }
                let stock = take_stock(&path, &name);
                if matches!(stock, Entry::Folder { .. }) {
                    folders.push(path.clone());
                }
                entries.insert(path.strip_prefix(root).expect("paths below the root").to_owned(), stock);
            }
        }
        Self(entries)
    }

    /// The paths and what stands there.
    pub fn entries(&self) -> &BTreeMap<PathBuf, Entry> {
        &self.0
    }

    /// How the other tree differs, one line per path; empty if it does not.
    pub fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        for path in self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path))) {
            let (left, right) = (self.0.get(path), other.0.get(path));
            if left != right {
                writeln!(text, "{}:\n  {left:?}\n  {right:?}", path.display()).expect("a String takes it");
            }
        }
        text
    }
}

fn take_stock(path: &Path, name: &str) -> Entry {
    let meta = fs::symlink_metadata(path).expect("what was listed is there");
    let (kind, mode) = (meta.file_type(), meta.mode() & 0o7777);
    if kind.is_dir() {
        return Entry::Folder { mode };
    }
    if kind.is_symlink() {
        return Entry::Link(fs::read_link(path).expect("a readable link"));
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Entry::Other;
    }
    match name {
        "hashes.pkl" => Entry::Hashes { mode, content: hashes(path) },
        "hashes.invalid" => {
            let content = fs::read(path).expect("a readable file");
            let mut lines: Vec<String> = String::from_utf8_lossy(&content).lines().map(str::to_owned).collect();
            lines.sort();
            Entry::Invalid { mode, lines }
        }
        _ => {
            let content = fs::read(path).expect("a readable file");
            Entry::File { mode, size: meta.size(), md5: hex(&Md5::digest(&content)), xattrs: xattrs(path) }
        }
    }
}

/// A `hashes.pkl` as JSON, without `updated`.
pub fn hashes(path: &Path) -> Value {
    let mut content = lab::read_pickle(path);
    if let Some(map) = content.as_object_mut() {
        map.remove("updated");
    }
    content
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let read = |name: std::ffi::OsString| {
        let value = xattr::get(path, &name).expect("a readable attribute").unwrap_or_default();
        (name.to_string_lossy().into_owned(), hex(&value))
    };
    xattr::list(path).expect("a file system with xattrs").map(read).collect()
}

/// Copies a folder with everything: times, modes, xattrs. The target must not exist.
pub fn copy(from: &Path, to: &Path) {
    must(Command::new("cp").arg("--archive").arg(from).arg(to));
}

/// Makes a folder's content that of another one, without replacing the folder itself.
pub fn restore(from: &Path, to: &Path) {
    must(Command::new("find").arg(to).args(["-mindepth", "1", "-delete"]));
    must(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to));
}
