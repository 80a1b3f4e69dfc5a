//! What rsync says, as far as it is kept.
//!
//! A run may say very much (a line per file), and a broken one may say the same for ever; a peer has a say in it too.
//! So the lines are looked at as they come. A line about a file counts only if the file is of this push. Of the lines
//! that will be logged the first and the last of each stream are kept, and the rest is counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::compare::Comparison;
use super::exit::Heard;
use super::lines::{Kept, Splitter, name_of};
use super::push::PartSuffixes;
use super::scope::Scope;
use crate::child::{self, Stream};
use crate::names::Partition;

/// Lines that are about no file of this push, beyond which the rest is read slowly.
const MANY_LINES: u64 = 100_000;

/// The output of one run.
pub(super) struct Output {
    /// Whether lines about single files are wanted in the log (`log_rsync_transfers`).
    transfers: bool,
    scope: Scope,
    /// Lines that are not at their ends yet.
    out: Splitter,
    err: Splitter,
    kept_out: Kept,
    kept_err: Kept,
    /// How many lines there were, and how many of them were about no file of this push.
    count: u64,
    idle: u64,
    /// The partitions that were begun, in order.
    pub(super) begun: Vec<Partition>,
    /// The partition of the last line about a file.
    pub(super) last: Option<Partition>,
    /// Whether there was any output.
    pub(super) any: bool,
    /// How many files were sent, and how large they are.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The partitions that these are of.
    pub(super) sent: BTreeSet<Partition>,
    /// How many partitions were begun, and bytes sent, as was told before.
    told: (u64, u64),
    /// What stderr said of the run's end.
    pub(super) heard: Heard,
    /// What becomes of the lines of a comparison.
    pub(super) comparison: Option<Comparison>,
}

impl Output {
    /// For a run that pushes the parts, whose names begin in `folder`.
    pub(super) fn new(transfers: bool, folder: PathBuf, parts: &[PartSuffixes]) -> Self {
        Self {
            transfers,
            scope: Scope::new(folder, parts),
            out: Splitter::default(),
            err: Splitter::default(),
            kept_out: Kept::default(),
            kept_err: Kept::default(),
            count: 0,
            idle: 0,
            begun: Vec::new(),
            last: None,
            any: false,
            files: 0,
            bytes: 0,
            sent: BTreeSet::new(),
            told: (0, 0),
            heard: Heard::default(),
            comparison: None,
        }
    }

    /// For a run that compares.
    pub(super) fn comparing(self, comparison: Comparison) -> Self {
        Self { comparison: Some(comparison), ..self }
    }

    /// Takes in what came.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) -> child::Output {
        self.any |= !bytes.is_empty();
        let mut progress = false;
        let mut splitter = std::mem::take(self.splitter(stream));
        splitter.push(bytes, |line| progress |= self.line(stream, line));
        *self.splitter(stream) = splitter;
        child::Output { progress, flood: self.idle > MANY_LINES }
    }

    /// How many partitions a push has begun, and bytes it has sent, since this was asked; `None` if there is no news.
    pub(super) fn news(&mut self) -> Option<(u64, u64)> {
        let now = (self.begun.len() as u64, self.bytes);
        let (partitions, bytes) = std::mem::replace(&mut self.told, now);
        (self.comparison.is_none() && now != (partitions, bytes)).then(|| (now.0 - partitions, now.1 - bytes))
    }

    /// Takes in last lines without an end.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if let Some(line) = self.splitter(stream).finish() {
                self.line(stream, line);
            }
        }
    }

    /// The lines that the reference logs (B8.6), what is not text replaced.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.kept_out.lines().chain(self.kept_err.lines()).collect();
        lines.sort_by_key(|(place, _)| *place);
        lines.into_iter().map(|(_, text)| text).collect()
    }

    fn splitter(&mut self, stream: Stream) -> &mut Splitter {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// Takes in a line; true if it begins a partition.
    fn line(&mut self, stream: Stream, line: Vec<u8>) -> bool {
        self.count += 1;
        // A refusal ends rsync before anything else can be on stdout, and nothing but a refusal begins like this. So it
        // is one there too, where somebody has put both streams together.
        if stream == Stream::Out && line.starts_with(b"@ERROR: ") {
            self.heard.line(&line);
        }
        let about = match (stream, &mut self.comparison) {
            (Stream::Out, Some(comparison)) => comparison.line(&line, &self.scope),
            (Stream::Out, None) => self.item(&line),
            (Stream::Err, comparison) => {
                self.heard.line(&line);
                if let Some(comparison) = comparison {
                    comparison.error(&line, &self.scope);
                }
                None
            }
        };
        self.keep(stream, line);
        let Some(partition) = about else {
            self.idle += 1;
            return false;
        };
        self.last = Some(partition);
        let is_new = self.scope.begin(partition);
        if is_new {
            self.begun.push(partition);
        }
        is_new
    }

    /// Takes in an itemized change; the partition that it is about.
    fn item(&mut self, line: &[u8]) -> Option<Partition> {
        let name = name_of(line)?;
        let (partition, _) = self.scope.place_of(name)?;
        if line.starts_with(b"<f") {
            let (files, bytes) = size_of(&self.scope.path_of(name));
            self.files += files;
            self.bytes += bytes;
            self.sent.insert(partition);
        }
        Some(partition)
    }

    fn keep(&mut self, stream: Stream, line: Vec<u8>) {
        let wanted = !line.is_empty() && !line.starts_with(b"cd+") && (self.transfers || !line.starts_with(b"<"));
        match stream {
            _ if !wanted => {}
            // They are many, and read by nobody but us.
            Stream::Out if self.comparison.as_ref().is_some_and(|comparison| comparison.is_ours(&line)) => {}
            Stream::Out => self.kept_out.push(self.count, line),
            Stream::Err => self.kept_err.push(self.count, line),
        }
    }
}

/// How many files are there, and how large: one, which rsync has just read, or none if it is gone.
fn size_of(path: &Path) -> (u64, u64) {
    match path.symlink_metadata() {
        Ok(file) if file.is_file() => (1, file.len()),
        Ok(_) | Err(_) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Suffix;

    fn part(partition: u32, suffixes: &[&str]) -> PartSuffixes {
        let suffixes = suffixes.iter().map(|name| Suffix::from_name(name.as_bytes()).unwrap()).collect();
        PartSuffixes { partition: Partition::new(partition), suffixes }
    }

    /// Of a push of two partitions.
    fn output(transfers: bool) -> Output {
        Output::new(transfers, PathBuf::new(), &[part(7, &["abc"]), part(12, &["abc", "def"])])
    }

    fn said(bytes: &[u8], transfers: bool) -> Output {
        let mut output = output(transfers);
        output.push(Stream::Out, bytes);
        output.finish();
        output
    }

    #[test]
    fn the_lines_that_the_reference_logs_are_kept_b8_6() {
        let lines = b"\ncd+++++++++ 7/abc/\n<f+++++++++ 7/a\n.d..t...... 7/\n\nrsync: oops\r\n  cd+ no\nlast";
        let expected = ["<f+++++++++ 7/a", ".d..t...... 7/", "rsync: oops\r", "  cd+ no", "last"];
        assert_eq!(said(lines, true).lines(), expected);
        assert_eq!(said(lines, false).lines(), expected[1..]);
        assert!(said(b"\n", true).any && !said(b"", true).any);
    }

    #[test]
    fn both_streams_are_kept_in_the_order_in_which_their_lines_end() {
        let mut output = output(true);
        for (stream, bytes) in [
            (Stream::Out, &b"first\nthi"[..]),
            (Stream::Err, b"second\nfou"),
            (Stream::Out, b"rd\n"),
            (Stream::Err, b"rth\xff\n"),
        ] {
            output.push(stream, bytes);
        }
        assert_eq!(output.lines(), ["first", "second", "third", "fourth\u{fffd}"]);
    }

    #[test]
    fn a_flood_on_one_stream_leaves_the_other_ones_lines() {
        let mut output = output(true);
        for n in 0..200_000 {
            output.push(Stream::Out, format!("line {n}\n").as_bytes());
            if n == 100_000 {
                output.push(Stream::Err, b"rsync: [sender] what matters\n");
            }
        }
        let lines = output.lines();
        assert!(lines.len() < 2_000 && lines.iter().any(|line| line.ends_with("what matters")), "{}", lines.len());
        assert!(output.push(Stream::Out, b"more\n").flood);
    }

    #[test]
    fn a_partition_is_finished_when_another_one_begins() {
        let mut output = output(false);
        let mut begins = |line: &[u8]| output.push(Stream::Out, &[line, b"\n"].concat()).progress;
        assert!(begins(b"cd+++++++++ 12/abc/"));
        assert!(!begins(b"<f+++++++++ 12/abc/h/1.data"));
        assert!(begins(b"<f+++++++++ 7/abc/h/1.data"));
        // Nothing is finished twice, so the time for a run has an end.
        assert!(!begins(b"<f+++++++++ 12/abc/h/2.data"));
        assert_eq!(output.begun, [12, 7].map(Partition::new));
        assert_eq!(output.last, Some(Partition::new(12)));
    }

    #[test]
    fn only_partitions_of_the_push_are_progress() {
        let mut output = output(false);
        for line in [
            &b"sending incremental file list"[..],
            b"<f+++++++++ 13/abc/h/1.data",
            b"cd+++++++++ 12/",
            b"cd+++++++++ 12/fff/",
            b"<f+++++++++ 12/abc/../../x",
            b"<f+++++++++ /12/abc/x",
            b"<f+++++++++ x/abc",
            b"<f+++++++++ 12",
            b"",
            b"<f",
        ] {
            let news = output.push(Stream::Out, &[line, b"\n"].concat());
            assert!(!news.progress, "{}", line.escape_ascii());
        }
        assert!(!output.push(Stream::Err, b"<f+++++++++ 12/abc/h/1.data\n").progress, "they come on stdout");
        assert_eq!((output.files, output.begun.len()), (0, 0));
    }

    #[test]
    fn the_sizes_of_files_that_are_sent_add_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("3/abc")).unwrap();
        std::fs::write(folder.path().join("3/abc/1.data"), [0; 100]).unwrap();
        std::fs::write(folder.path().join("3/abc/2.meta"), [0; 23]).unwrap();
        std::fs::write(folder.path().join("elsewhere"), [0; 1000]).unwrap();
        let lines = |prefix: &str| {
            let elsewhere = folder.path().join("elsewhere");
            let names = ["abc/1.data", "abc/2.meta", "abc/gone", "abc/../../elsewhere"];
            let lines: String = names.iter().map(|name| format!("<f+++++++++ {prefix}{name}\n")).collect();
            format!("{lines}cd+++++++++ {prefix}abc/\n<f+++++++++ {}\n<f+++++++++ elsewhere\n<f\n", elsewhere.display())
        };
        let mut one = Output::new(false, folder.path().join("3"), &[part(3, &["abc"])]);
        one.push(Stream::Out, lines("").as_bytes());
        assert_eq!((one.files, one.bytes), (2, 123));
        let mut several = Output::new(false, folder.path().to_owned(), &[part(3, &["abc"]), part(4, &["abc"])]);
        several.push(Stream::Out, lines("3/").as_bytes());
        assert_eq!((several.files, several.bytes), (2, 123));
        assert_eq!(several.sent, BTreeSet::from([Partition::new(3)]));
    }
}
