//! The log of a node's replicators, line by line as they write it.
//!
//! They write to a stream, which holds more than a socket of datagrams does: a replicator does not wait for a reader
//! that gets no processor, and drops no line. Every line is kept in a file too, for a look when something was found.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

/// A place for a node's replicators to log to. It listens for as long as the process lives.
pub struct Log {
    /// Its name must be short (the kernel allows 108 bytes), so it is not in the node's folder.
    folder: TempDir,
    kept: PathBuf,
}

/// Gets every line, without its priority and the program's name.
pub trait Reader: Send + Sync + 'static {
    fn line(&self, text: &str);
}

impl Log {
    /// Listens; the lines are kept in the file `kept`.
    pub fn start(kept: PathBuf, reader: Arc<dyn Reader>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let socket = UnixListener::bind(folder.path().join("log")).expect("a socket");
        let file = Arc::new(Mutex::new(File::create(&kept).expect("the node's folder is writable")));
        let begun = Instant::now();
        thread::spawn(move || {
            for stream in socket.incoming() {
                let (reader, file) = (Arc::clone(&reader), Arc::clone(&file));
                thread::spawn(move || read(stream.expect("a connection"), &*reader, &file, begun));
            }
        });
        Self { folder, kept }
    }

    /// The socket's path, for `log_address`.
    pub fn address(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The lines until now.
    pub fn kept(&self) -> &Path {
        &self.kept
    }
}

fn read(stream: UnixStream, reader: &dyn Reader, file: &Mutex<File>, begun: Instant) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    // A process that is killed in the middle of a line leaves half of it.
    while stream.read_until(0, &mut line).is_ok_and(|_| line.ends_with(&[0])) {
        let text = String::from_utf8_lossy(&line[..line.len() - 1]);
        let text = text.split_once('>').map_or(&*text, |(_, text)| text);
        let text = text.strip_prefix("object-replicator: ").unwrap_or(text);
        // A group of devices has a prefix of its own.
        reader.line(text.strip_prefix("[worker ").and_then(|text| Some(text.split_once("] ")?.1)).unwrap_or(text));
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{:8.3} {text}", begun.elapsed().as_secs_f64()).expect("the node's folder is writable");
        drop(file);
        line.clear();
    }
}
