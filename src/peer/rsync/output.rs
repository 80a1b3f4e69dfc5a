//! What rsync says, as far as it is kept.
//!
//! A run may say very much (a line per file), and a broken one may say the same for ever. So the lines are looked at as
//! they come; of those that will be logged the first and the last are kept, and the rest is counted.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::names::Partition;

/// Bytes of lines that are kept of the beginning, and again of the end.
const MAX_KEPT: usize = 512 << 10;
/// What is looked at of a line.
const MAX_LINE: usize = 16 << 10;
/// An itemized change is 11 characters, a space, and the name.
const ITEM: usize = 11;

/// The output of one run.
pub(super) struct Output {
    /// Whether lines about single files are wanted in the log (`log_rsync_transfers`).
    transfers: bool,
    /// Where the names of files begin.
    folder: PathBuf,
    /// The line that is not at its end yet.
    line: Vec<u8>,
    head: Lines,
    tail: Lines,
    dropped: u64,
    /// The partitions of which lines were seen.
    partitions: HashSet<Partition>,
    /// Whether there was any output.
    pub(super) any: bool,
    /// Whether a line said that a file is sent, or would be.
    pub(super) sends: bool,
    /// The sizes of these files.
    pub(super) bytes: u64,
    /// Whether the target's disk is full.
    pub(super) no_space: bool,
    /// Whether the target's rsync has no place for one more.
    pub(super) max_connections: bool,
}

impl Output {
    pub(super) fn new(transfers: bool, folder: PathBuf) -> Self {
        Self {
            transfers,
            folder,
            line: Vec::new(),
            head: Lines::default(),
            tail: Lines::default(),
            dropped: 0,
            partitions: HashSet::new(),
            any: false,
            sends: false,
            bytes: 0,
            no_space: false,
            max_connections: false,
        }
    }

    /// Takes in what came; true if it begins a partition of a batch, which is to say that another one is finished.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        self.any |= !bytes.is_empty();
        let mut begun = false;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend_line(&bytes[..end]);
            begun |= self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.extend_line(bytes);
        begun
    }

    /// Takes in a last line without an end.
    pub(super) fn finish(&mut self) {
        self.end_line();
    }

    /// The lines that the reference logs (B8.6), what is not text replaced.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let dropped = (self.dropped > 0).then(|| format!("({} more lines of rsync's output)", self.dropped));
        self.head.texts().chain(dropped).chain(self.tail.texts())
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let free = MAX_LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(free)]);
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        if line.starts_with(b"<f") {
            self.sends = true;
            self.bytes += self.size_of_file(&line);
        }
        self.no_space |= contains(&line, b"No space left on device") || contains(&line, b"Disk quota exceeded");
        self.max_connections |= contains(&line, b"max connections (");
        let begun = partition_of(&line).is_some_and(|partition| self.partitions.insert(partition));
        let wanted = !line.is_empty() && !line.starts_with(b"cd+") && (self.transfers || !line.starts_with(b"<"));
        if wanted {
            self.keep(line);
        }
        begun
    }

    /// The size of the file that a line is about, which rsync has just read; 0 if it is gone.
    fn size_of_file(&self, line: &[u8]) -> u64 {
        let name = OsStr::from_bytes(line.get(ITEM + 1..).unwrap_or_default());
        self.folder.join(name).symlink_metadata().map_or(0, |file| if file.is_file() { file.len() } else { 0 })
    }

    fn keep(&mut self, line: Vec<u8>) {
        if self.tail.lines.is_empty() && self.head.bytes + line.len() <= MAX_KEPT {
            return self.head.push(line);
        }
        self.tail.push(line);
        while self.tail.bytes > MAX_KEPT {
            self.tail.pop();
            self.dropped += 1;
        }
    }
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Vec<u8>>,
    /// What they take, an estimate of their own cost included.
    bytes: usize,
}

impl Lines {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += cost(&line);
        self.lines.push_back(line);
    }

    fn pop(&mut self) {
        self.bytes -= self.lines.pop_front().map_or(0, |line| cost(&line));
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned())
    }
}

fn cost(line: &[u8]) -> usize {
    line.len() + size_of::<Vec<u8>>()
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// The partition that an itemized change of a batch is about: `<f+++++++++ 12/abc/...`.
fn partition_of(line: &[u8]) -> Option<Partition> {
    let is_item = line.len() > ITEM && matches!(line[0], b'<' | b'c' | b'.') && line[ITEM] == b' ';
    let name = line.get(ITEM + 1..).filter(|_| is_item)?;
    let (partition, _) = name.split_at(name.iter().position(|byte| *byte == b'/')?);
    Partition::from_dir_name(OsStr::from_bytes(partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output_of(bytes: &[u8], transfers: bool) -> Output {
        let mut output = Output::new(transfers, PathBuf::new());
        output.push(bytes);
        output.finish();
        output
    }

    fn lines(output: &Output) -> Vec<String> {
        output.lines().collect()
    }

    #[test]
    fn the_lines_that_the_reference_logs_are_kept_b8_6() {
        let said = b"\ncd+++++++++ 1/\n<f+++++++++ 1/a\n.d..t...... 1/\n\nrsync: oops\r\n  cd+ no\nlast";
        let expected = ["<f+++++++++ 1/a", ".d..t...... 1/", "rsync: oops\r", "  cd+ no", "last"];
        assert_eq!(lines(&output_of(said, true)), expected);
        assert_eq!(lines(&output_of(said, false)), expected[1..]);
        assert!(output_of(b"\n", true).any && !output_of(b"", true).any);
    }

    #[test]
    fn lines_come_in_pieces() {
        let mut output = Output::new(true, PathBuf::new());
        for byte in b"<f+++++++++ 1/a\nsecond\nthird" {
            output.push(&[*byte]);
        }
        output.finish();
        assert_eq!(lines(&output), ["<f+++++++++ 1/a", "second", "third"]);
        assert!(output.sends);
    }

    #[test]
    fn what_is_no_utf_8_is_replaced() {
        assert_eq!(lines(&output_of(b"a\xff\xfeb\n", true)), ["a\u{fffd}\u{fffd}b"]);
    }

    #[test]
    fn of_endless_output_the_first_and_the_last_lines_are_kept() {
        let mut output = Output::new(true, PathBuf::new());
        let count = 1_000_000;
        for n in 0..count {
            output.push(format!("line {n}\n").as_bytes());
        }
        assert!(output.head.bytes <= MAX_KEPT + 100 && output.tail.bytes <= MAX_KEPT);
        let kept = lines(&output);
        assert_eq!((kept[0].as_str(), kept[kept.len() - 1].as_str()), ("line 0", "line 999999"));
        let dropped = format!("({} more lines of rsync's output)", count - (kept.len() - 1));
        assert!(kept.contains(&dropped), "{dropped}");
        let endless_line = output_of(&vec![b'x'; 10_000_000], true);
        assert_eq!(lines(&endless_line), ["x".repeat(MAX_LINE)]);
    }

    #[test]
    fn a_partition_is_finished_when_another_one_begins() {
        let mut output = Output::new(false, PathBuf::new());
        let mut begins = |line: &[u8]| output.push(&[line, b"\n"].concat());
        assert!(begins(b"cd+++++++++ 12/abc/"));
        assert!(!begins(b"<f+++++++++ 12/abc/h/1.data"));
        assert!(begins(b"<f+++++++++ 7/abc/h/1.data"));
        // Nothing is finished twice, so the time for a run has an end.
        assert!(!begins(b"<f+++++++++ 12/abc/h/2.data"));
        for no_item in [&b"sending incremental file list"[..], b"<f+++++++++ x/abc", b"<f+++++++++ 13", b"", b"<f"] {
            assert!(!begins(no_item));
        }
    }

    #[test]
    fn the_sizes_of_files_that_are_sent_add_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("abc")).unwrap();
        std::fs::write(folder.path().join("abc/1.data"), [0; 100]).unwrap();
        std::fs::write(folder.path().join("abc/2.meta"), [0; 23]).unwrap();
        let mut output = Output::new(false, folder.path().to_owned());
        output.push(b"cd+++++++++ abc/\n<f+++++++++ abc/1.data\n<f+++++++++ abc/2.meta\n<f+++++++++ abc/gone\n<f\n");
        assert_eq!(output.bytes, 123);
    }

    #[test]
    fn trouble_at_the_target_is_recognised() {
        let full = b"rsync: [receiver] write failed on \"sd1/objects/1\" (in object): No space left on device (28)\n";
        assert!(output_of(full, true).no_space);
        let busy = b"@ERROR: max connections (2) reached -- try again later\n";
        assert!(output_of(busy, true).max_connections);
        let neither = output_of(b"<f+++++++++ 1/a\n", true);
        assert!(!neither.no_space && !neither.max_connections);
    }
}
