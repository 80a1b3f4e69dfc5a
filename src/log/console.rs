//! Lines to stderr (`-v`), written by simplelog with nothing around them.
//!
//! Descriptor 2 is written to itself, so this holds as long as the daemon leaves that one alone (B1.14). A terminal that
//! is paused, or a full pipe, takes no lines; then they are lost rather than waited for, as the outlet has it.

use std::io::{self, Write};
use std::time::Instant;

use log::{LevelFilter, Log, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simplelog::{Config, ConfigBuilder, WriteLogger};

use super::outlet::{Outlet, Sink, WAIT};
use super::severity::Severity;

/// How much a pipe that is ready takes without making the writer wait.
const PIPE_BUF: usize = 4096;

/// The console's lines.
pub(super) struct Console(Box<WriteLogger<Lines>>);

impl Console {
    /// A console for the log of this name.
    pub(super) fn new(log_name: &str) -> Self {
        let lines = Lines { line: Vec::new(), outlet: Outlet::new(log_name, Stderr) };
        Self(WriteLogger::new(LevelFilter::Trace, nothing_but_the_message(), lines))
    }

    /// Writes a line, or counts it as lost.
    pub(super) fn write(&self, line: &str) {
        self.0.log(&Record::builder().args(format_args!("{line}")).build());
    }
}

fn nothing_but_the_message() -> Config {
    ConfigBuilder::new()
        .set_max_level(LevelFilter::Off)
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

/// Puts together what simplelog writes in pieces.
struct Lines {
    line: Vec<u8>,
    outlet: Outlet<Stderr>,
}

impl Write for Lines {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(piece);
        if let Some(line) = self.line.strip_suffix(b"\n") {
            self.outlet.send(Severity::Info, &String::from_utf8_lossy(line));
            self.line.clear();
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stderr;

impl Sink for Stderr {
    fn deliver(&mut self, _severity: Severity, line: &str, may_wait: bool) -> io::Result<()> {
        let deadline = Instant::now() + WAIT;
        let line = format!("{line}\n");
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let timeout =
                if may_wait { deadline.saturating_duration_since(Instant::now()) } else { Default::default() };
            let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
            let stderr = io::stderr();
            match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&timeout)) {
                Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match rustix::io::write(&stderr, &rest[..rest.len().min(PIPE_BUF)]) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
