//! A child with a time limit: started, read, waited for, killed.
//!
//! The child's output and its end are waited for together, the end through a pidfd: reading to the end of the pipe would
//! hang where the child leaves someone behind who holds the pipe open. Where the kernel gives no pidfd (before 5.3) the
//! child is asked for every few milliseconds instead. A child whose time is over is killed; if even that does not end
//! it, the [`Reaper`] gets it.

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::peer::births::Births;
use crate::peer::reaper::Reaper;

/// How long a killed child may take to die before it is handed over (B8.9).
const DYING: Duration = Duration::from_secs(1);
/// How often a child without pidfd is asked for: while it may still write, and afterwards.
const ASK_WRITING: Duration = Duration::from_millis(100);
const ASK_SILENT: Duration = Duration::from_millis(10);
/// Who wakes up so much too late was paused with the whole process, and the child perhaps too: its time begins anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long output may gather before it is read. rsync writes line by line, and would be woken up against for each; a
/// pipe holds hundreds of lines.
const GATHER: Duration = Duration::from_millis(10);
/// What is read at once: more than a pipe holds. At the child's end what it wrote is among that; what comes behind is from
/// someone else.
const FULL_PIPE: usize = 1 << 20;

/// How a child ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Its time was over, and it was killed.
    TimedOut,
}

/// Why there is no end to tell of.
#[derive(Debug)]
pub(super) enum RunError {
    /// There is no child.
    Start(io::Error),
    /// It could not be watched any longer, and was killed.
    Watch(io::Error),
}

/// How children come and go.
pub(super) struct Nursery<'a> {
    pub(super) births: &'a Births,
    pub(super) reaper: &'a Reaper,
    /// Only tests say no.
    pub(super) use_pidfd: bool,
}

/// Runs the command to its end. What it writes, to both of its streams, goes to `read` as it comes; each time that
/// returns true, the time limit begins anew.
pub(super) fn run(
    mut command: Command,
    limit: Duration,
    nursery: &Nursery<'_>,
    read: impl FnMut(&[u8]) -> bool,
) -> Result<End, RunError> {
    let (pipe, writer) = io::pipe().map_err(RunError::Start)?;
    command.stderr(writer.try_clone().map_err(RunError::Start)?).stdout(writer);
    let child = nursery.births.start(&mut command).map_err(RunError::Start)?;
    drop(command); // and with it the pipe's other end
    let mut running = Running::new(child, nursery);
    match running.watch(pipe, limit, read).map_err(RunError::Watch)? {
        Some(status) => {
            running.child = None;
            Ok(End::Exited(status))
        }
        None => Ok(End::TimedOut),
    }
}

/// A child that is not reaped yet. Dropped, it is killed, and reaped if it dies in time.
struct Running<'a> {
    child: Option<Child>,
    pidfd: Option<OwnedFd>,
    reaper: &'a Reaper,
}

impl<'a> Running<'a> {
    fn new(child: Child, nursery: &Nursery<'a>) -> Self {
        let pid = Pid::from_child(&child);
        let pidfd = nursery.use_pidfd.then(|| pidfd_open(pid, PidfdFlags::empty()).ok()).flatten();
        Self { child: Some(child), pidfd, reaper: nursery.reaper }
    }

    /// Reads and waits until the child has ended; `None` if its time is over before.
    fn watch(
        &mut self,
        pipe: PipeReader,
        limit: Duration,
        mut read: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Option<ExitStatus>> {
        let mut pipe = Pipe::new(pipe)?;
        let mut deadline = Instant::now() + limit;
        loop {
            let begun = Instant::now();
            let left = deadline.saturating_duration_since(begun);
            if left.is_zero() {
                return Ok(None);
            }
            self.wait_for_news(pipe.reader.as_ref(), left)?;
            if begun.elapsed() > left + PAUSE {
                deadline = Instant::now() + limit;
            }
            if self.pidfd.is_some() {
                self.wait_for_news(None, left.min(GATHER))?;
            }
            let ended = self.try_wait()?;
            if pipe.read_some(&mut read)? {
                deadline = Instant::now() + limit;
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    /// Sleeps until there is output, or the child's end, or nothing for `limit`.
    fn wait_for_news(&self, pipe: Option<&PipeReader>, limit: Duration) -> io::Result<()> {
        let limit = match (&self.pidfd, pipe) {
            (Some(_), _) => limit,
            (None, Some(_)) => limit.min(ASK_WRITING),
            (None, None) => limit.min(ASK_SILENT),
        };
        let output = pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let end = self.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN));
        let mut news: Vec<_> = output.into_iter().chain(end).collect();
        match poll(&mut news, Timespec::try_from(limit).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills the child and waits a moment for its death.
    fn kill(&mut self) {
        let killed = self.pidfd.as_ref().is_some_and(|pidfd| pidfd_send_signal(pidfd, Signal::KILL).is_ok());
        if let Some(child) = self.child.as_mut().filter(|_| !killed) {
            let _ = child.kill(); // an error means that it is dead already
        }
        let deadline = Instant::now() + DYING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait_for_news(None, left).is_err() {
                return;
            }
            if !matches!(self.try_wait(), Ok(None)) {
                self.child = None;
                return;
            }
        }
    }
}

/// The end of the pipe at which the child's output comes out.
struct Pipe {
    /// `None` at its end.
    reader: Option<PipeReader>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn new(reader: PipeReader) -> io::Result<Self> {
        fcntl_setfl(&reader, fcntl_getfl(&reader)? | OFlags::NONBLOCK)?;
        Ok(Self { reader: Some(reader), buffer: vec![0; 32 << 10] })
    }

    /// Hands over what there is; true if `read` returned that for any of it.
    fn read_some(&mut self, read: &mut impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let (mut total, mut any) = (0, false);
        while total < FULL_PIPE
            && let Some(reader) = &mut self.reader
        {
            match reader.read(&mut self.buffer) {
                Ok(0) => self.reader = None,
                Ok(n) => {
                    total += n;
                    any |= read(&self.buffer[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(any)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if let Some(child) = self.child.take() {
            log::warn!("rsync (pid {}) is still there {}s after it was killed", child.id(), DYING.as_secs());
            self.reaper.adopt(child);
        }
    }
}
