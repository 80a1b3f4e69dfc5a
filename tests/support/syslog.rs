//! A syslog that only listens: what a daemon sends to its `log_address`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// A line as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Facility times eight plus severity.
    pub priority: u8,
    pub text: String,
}

impl Line {
    fn parse(datagram: &[u8]) -> Self {
        let text = String::from_utf8_lossy(datagram).into_owned();
        let (priority, text) = text
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .and_then(|(priority, rest)| Some((priority.parse().ok()?, rest)))
            .unwrap_or_else(|| panic!("{text:?} is no syslog line"));
        Self { priority, text: text.strip_suffix('\0').unwrap_or(text).to_owned() }
    }

    /// Whether the reference has no such line: it is of the pass's report.
    pub fn is_ours_only(&self) -> bool {
        self.text.contains(": Report: ") || self.text.contains("] Report: ")
    }

    /// The severity: 7 is DEBUG, 6 INFO, 5 NOTICE, 4 WARNING, 3 ERROR, 2 CRITICAL.
    pub fn severity(&self) -> u8 {
        self.priority & 7
    }
}

/// A socket that collects lines until it is told to stop.
pub struct Syslog {
    collector: JoinHandle<Vec<Line>>,
    /// Its name must be short (the kernel allows 108 bytes), so it is not in the cluster's folder.
    folder: TempDir,
}

/// Tells the collector that everything was sent; no syslog line is empty.
const END: &[u8] = b"";

impl Syslog {
    /// Starts to listen.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let socket = UnixDatagram::bind(folder.path().join("log")).expect("a socket");
        let collector = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            let mut lines = Vec::new();
            loop {
                let length = socket.recv(&mut buffer).expect("a datagram");
                if length == END.len() {
                    return lines;
                }
                lines.push(Line::parse(&buffer[..length]));
            }
        });
        Self { collector, folder }
    }

    /// The socket's path, for `log_address`.
    pub fn path(&self) -> PathBuf {
        path(self.folder.path())
    }

    /// Everything that was sent until now.
    pub fn stop(self) -> Vec<Line> {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to(END, path(self.folder.path())).expect("the collector listens");
        self.collector.join().expect("lines of a syslog")
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("log")
}
