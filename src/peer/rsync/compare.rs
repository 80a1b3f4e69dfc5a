//! Does the target hold what is here? That is asked of rsync, in a dry run.
//!
//! A push skips what has the right name (`--ignore-existing`), so after it nothing is known of what was there before: it
//! may be empty, cut, without metadata, or a folder. So this run leaves that option out and compares sizes and extended
//! attributes, where Swift keeps an object's metadata, its length and checksum among it. Times, owners and modes do not
//! count, nor what folders have.
//!
//! Silence proves nothing: rsync ends with 0, too, where a daemon only shows its list of modules. So rsync has to name
//! what is the same as well (`-i` twice), and a suffix of which it names nothing is not there, unless nothing is in it
//! here. Each such line begins with a word that nobody else knows, so that nothing else passes for one.
//!
//! Only attributes in the namespace `user` are compared: a label of SELinux is the machine's own affair. rsync tells the
//! receiving side of that filter only along with an option that it needs it for, which is what `--prune-empty-dirs` is
//! good for.
//!
//! What is in the way of a file, such as a folder, is named as if nothing were there. To tell that, what is missing is
//! looked for once more among what has the right name (`--existing`).

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::exit::is_but_for_some;
use super::lines::name_of;
use super::push::Present;
use super::scope::Scope;
use crate::names::{Partition, Suffix};

/// The most files that are named of a partition.
const MAX_EXAMPLES: usize = 10;

/// What a target lacks of a partition's suffixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Files of which it has nothing.
    pub missing: u64,
    /// Files in whose place it has something else: of another size, with other attributes, or of another kind.
    pub wrong: u64,
    /// Some of them, the wrong ones first: `<partition>/<suffix>/<hash>/<file>`.
    pub examples: Vec<PathBuf>,
    /// In how many files' places is something that is no file; they are among the wrong ones.
    pub in_the_way: u64,
    /// Some of these files.
    pub obstructed: Vec<PathBuf>,
}

impl Lacking {
    /// Whether it has everything.
    pub fn is_nothing(&self) -> bool {
        self.missing == 0 && self.wrong == 0
    }

    fn name(&mut self, name: PathBuf) {
        if self.examples.len() < MAX_EXAMPLES && !self.examples.contains(&name) {
            self.examples.push(name);
        }
    }

    fn obstructs(&mut self, name: PathBuf) {
        if self.obstructed.len() < MAX_EXAMPLES && !self.obstructed.contains(&name) {
            self.obstructed.push(name.clone());
        }
        self.name(name);
    }

    fn misses(&mut self, name: PathBuf) {
        self.missing += 1;
        self.name(name);
    }
}

/// What comes of one run.
pub(super) struct Comparison {
    /// What each of our lines begins with.
    word: String,
    found: HashMap<Partition, Found>,
    /// Whether anything was said on stderr but that something stands in a file's way.
    other_errors: bool,
}

/// What is known of a partition.
#[derive(Clone, Default)]
struct Found {
    seen: HashSet<Suffix>,
    /// There, but not the same.
    wrong: Lacking,
    /// As rsync says, not there.
    new: Lacking,
    /// Not even looked for.
    skipped: Lacking,
}

impl Comparison {
    pub(super) fn new() -> Self {
        Self { word: format!("{:032x}", fastrand::u128(..)), found: HashMap::new(), other_errors: false }
    }

    /// The options that make a push's run this one.
    pub(super) fn args(&self, only_existing: bool) -> Vec<OsString> {
        let mut args: Vec<OsString> =
            ["--dry-run", "--size-only", "--itemize-changes", "--prune-empty-dirs", "--filter=-x! user.*"]
                .map(Into::into)
                .into();
        args.push(format!("--out-format={} %i %n", self.word).into());
        if only_existing {
            args.push("--existing".into());
        }
        args
    }

    /// Whether a line is one that was asked for.
    pub(super) fn is_ours(&self, line: &[u8]) -> bool {
        self.item_in(line).is_some()
    }

    fn item_in<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        line.strip_prefix(self.word.as_bytes())?.strip_prefix(b" ")
    }

    /// Takes in a line of stdout; the partition that it is about.
    pub(super) fn line(&mut self, line: &[u8], scope: &Scope) -> Option<Partition> {
        let Some(item) = self.item_in(line) else {
            let name = quoted(line, b"skipping non-regular file ")?;
            let (partition, _) = scope.place_of(name)?;
            let skipped = &mut self.found.entry(partition).or_default().skipped;
            // It may be said twice.
            let name = path_of(name);
            if !skipped.examples.contains(&name) {
                skipped.misses(name);
            }
            return None;
        };
        let name = name_of(item)?;
        let (partition, suffix) = scope.place_of(name)?;
        let found = self.found.entry(partition).or_default();
        found.seen.insert(suffix);
        match Item::of(item) {
            Item::Fine => {}
            Item::New => found.new.misses(path_of(name)),
            Item::Other => {
                found.wrong.wrong += 1;
                found.wrong.name(path_of(name));
            }
        }
        Some(partition)
    }

    /// Takes in a line of stderr.
    pub(super) fn error(&mut self, line: &[u8], scope: &Scope) {
        let in_the_way = line.strip_prefix(b"could not make way for new regular file: ");
        if let Some(name) = in_the_way
            && let Some((partition, suffix)) = scope.place_of(name)
        {
            let found = self.found.entry(partition).or_default();
            found.seen.insert(suffix);
            found.wrong.wrong += 1;
            found.wrong.in_the_way += 1;
            found.wrong.obstructs(path_of(name));
        } else {
            self.other_errors |= !line.is_empty() && !line.starts_with(b"rsync error: ");
        }
    }

    /// Whether a run with this code could say all that it had to. It ends as if
    /// some files had failed, too, where it would have to remove a folder that stands in a file's way.
    pub(super) fn is_whole(&self, code: i32) -> bool {
        code == 0
            || is_but_for_some(code) && !self.other_errors && self.found.values().any(|found| found.wrong.wrong > 0)
    }

    /// Whether rsync says of anything that it is not there.
    pub(super) fn has_new(&self) -> bool {
        self.found.values().any(|found| found.new.missing > 0)
    }

    /// What was not there by name, as far as `existing` does not say that something is in the way.
    pub(super) fn tell_apart(&mut self, existing: &Self) {
        for (partition, found) in &mut self.found {
            let Some(Found { new: in_the_way, .. }) = existing.found.get(partition) else { continue };
            let count = in_the_way.missing.min(found.new.missing);
            found.new.missing -= count;
            found.wrong.wrong += count;
            found.wrong.in_the_way += count;
            in_the_way.examples.iter().cloned().for_each(|name| found.wrong.obstructs(name));
        }
    }

    /// What the target lacks of each of the partitions, in their order, given what is here of them.
    pub(super) fn lacking(
        mut self,
        partitions: impl Iterator<Item = Partition>,
        here: &Present,
        datadir: &Path,
    ) -> Vec<Lacking> {
        let mut of_each: HashMap<Partition, Lacking> = HashMap::new();
        for part in &here.parts {
            let found = self.found.remove(&part.partition).unwrap_or_default();
            let mut lacking = found.wrong;
            for more in [found.skipped, found.new] {
                lacking.missing += more.missing;
                more.examples.into_iter().for_each(|name| lacking.name(name));
            }
            for suffix in part.suffixes.iter().filter(|suffix| !found.seen.contains(suffix)) {
                let name = Path::new(&part.partition.to_string()).join(suffix.as_str());
                if !lacking.examples.contains(&name) && holds_anything(&datadir.join(&name)) {
                    lacking.misses(name);
                }
            }
            of_each.insert(part.partition, lacking);
        }
        for unseen in &here.unseen {
            let name = Path::new(&unseen.partition.to_string()).join(unseen.suffix.as_str());
            of_each.entry(unseen.partition).or_default().misses(name);
        }
        partitions.map(|partition| of_each.remove(&partition).unwrap_or_default()).collect()
    }
}

/// What an itemized change says of a file.
enum Item {
    /// Nothing of interest.
    Fine,
    /// It would be made.
    New,
    /// It would be sent over what is there, or would get other attributes.
    Other,
}

impl Item {
    /// Of a line like `<f+++++++++ name`: what would be done, the kind, and a letter for each thing that differs: last,
    /// extended attributes.
    fn of(item: &[u8]) -> Self {
        match item {
            [_, b'd', ..] => Self::Fine,
            [b'<', b'f', b'+', ..] => Self::New,
            [b'.', b'f', _, _, _, _, _, _, _, _, b'.' | b' ', ..] => Self::Fine,
            _ => Self::Other,
        }
    }
}

/// The name between quotes after the words.
fn quoted<'l>(line: &'l [u8], words: &[u8]) -> Option<&'l [u8]> {
    line.strip_prefix(words)?.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// A name as rsync shows it, in which bytes that are not printable stand as `\#` and three octal digits.
fn path_of(shown: &[u8]) -> PathBuf {
    let mut name = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((&byte, after)) = rest.split_first() {
        if let [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = rest {
            name.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = &rest[5..];
        } else {
            name.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(name).into()
}

/// Whether there is anything in a suffix that a push would have to bring. What cannot be told is taken for something.
fn holds_anything(suffix: &Path) -> bool {
    match suffix.symlink_metadata() {
        Ok(found) if found.is_dir() => find_any(suffix).unwrap_or(true),
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn find_any(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_any =
            if entry.file_type()?.is_dir() { find_any(&entry.path())? } else { !is_temporary(&entry.file_name()) };
        if is_any {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether rsync leaves a file out: its own temporary ones, `.<name>.<six characters>`.
fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let Some(dot) = name.len().checked_sub(7) else { return false };
    dot > 0 && name[0] == b'.' && name[dot] == b'.' && name[dot + 1..].iter().all(u8::is_ascii_alphanumeric)
}
