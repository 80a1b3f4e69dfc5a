//! A child with a time limit: started, read, waited for, killed.
//!
//! The child's output and its end are waited for together, the end through a pidfd: reading to the end of the pipes would
//! hang where the child leaves someone behind who holds them open. Where the kernel gives no pidfd (before 5.3) the
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

use super::gate::SpawnGate;
use super::hang::{self, Wait};
use super::reaper::Reaper;

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
/// How long nothing is read where there is no end to what a child says, and how much then: 1 MiB a second. The child
/// has to wait meanwhile, and whoever sends it that.
const BREATHER: Duration = Duration::from_millis(62);
const SIP: usize = 64 << 10;
/// What is read at once: more than a pipe holds. At the child's end what it wrote is among that; what comes behind is from
/// someone else.
const FULL_PIPE: usize = 1 << 20;

/// How a child ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Its time was over, and it was killed. What it was waiting for just before, if that can be told.
    TimedOut(Option<Wait>),
}

/// Why there is no end to tell of.
#[derive(Debug)]
pub(crate) enum RunError {
    /// There is no child.
    Start(io::Error),
    /// It could not be watched any longer, and was killed.
    Watch(io::Error),
}

/// Which stream something comes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// What a piece of output was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// It shows that the child gets on with its work.
    pub(crate) progress: bool,
    /// There is no end to what is said, and it is about nothing.
    pub(crate) flood: bool,
}

/// The children that are started for one purpose.
#[derive(Debug)]
pub(crate) struct Children {
    gate: SpawnGate,
    reaper: Reaper,
    /// Only tests say no.
    use_pidfd: bool,
}

/// How long a child may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits {
    /// Until it makes progress.
    pub(crate) progress: Duration,
    /// In all.
    pub(crate) whole: Duration,
}

impl Children {
    /// None yet; they are started through this gate.
    pub(crate) fn new(gate: SpawnGate) -> Self {
        Self { gate, reaper: Reaper::default(), use_pidfd: true }
    }

    /// The same as on a kernel without descriptors of processes.
    #[cfg(test)]
    pub(crate) fn without_pidfd(self) -> Self {
        Self { use_pidfd: false, ..self }
    }

    /// How many killed children are still there, since the kernel cannot end them (B8.9).
    pub(crate) fn unreaped(&self) -> usize {
        self.reaper.waiting()
    }

    /// Runs the command to its end. What it writes goes to `read` as it comes; each time that this is progress, the time
    /// until the next progress begins anew.
    pub(crate) fn run(
        &self,
        mut command: Command,
        limits: RunLimits,
        read: impl FnMut(Stream, &[u8]) -> Output,
    ) -> Result<End, RunError> {
        let (out, out_writer) = io::pipe().map_err(RunError::Start)?;
        let (err, err_writer) = io::pipe().map_err(RunError::Start)?;
        command.stdout(out_writer).stderr(err_writer);
        let child = self.gate.start(&mut command).map_err(RunError::Start)?;
        drop(command); // and with it the pipes' other ends
        let mut running = Running::new(child, self);
        let pipes = [(Stream::Out, out), (Stream::Err, err)];
        match running.watch(pipes, limits, read).map_err(RunError::Watch)? {
            Some(status) => {
                running.child = None;
                Ok(End::Exited(status))
            }
            None => Ok(End::TimedOut(running.child.as_ref().and_then(|child| hang::wait_of(child.id())))),
        }
    }
}

/// A child that is not reaped yet. Dropped, it is killed, and reaped if it dies in time.
struct Running<'a> {
    child: Option<Child>,
    pidfd: Option<OwnedFd>,
    reaper: &'a Reaper,
}

impl<'a> Running<'a> {
    fn new(child: Child, children: &'a Children) -> Self {
        let pid = Pid::from_child(&child);
        let pidfd = children.use_pidfd.then(|| pidfd_open(pid, PidfdFlags::empty()).ok()).flatten();
        Self { child: Some(child), pidfd, reaper: &children.reaper }
    }

    /// Reads and waits until the child has ended; `None` if its time is over before.
    fn watch(
        &mut self,
        pipes: [(Stream, PipeReader); 2],
        limits: RunLimits,
        mut read: impl FnMut(Stream, &[u8]) -> Output,
    ) -> io::Result<Option<ExitStatus>> {
        let [out, err] = pipes;
        let mut pipes = [Pipe::new(out)?, Pipe::new(err)?];
        let mut begin = Instant::now();
        let mut deadline = begin + limits.progress;
        let mut flood = false;
        loop {
            let now = Instant::now();
            let left = deadline.min(begin + limits.whole).saturating_duration_since(now);
            if left.is_zero() {
                return Ok(None);
            }
            if !flood {
                self.wait_for_output(&pipes, left)?;
            }
            if now.elapsed() > left + PAUSE {
                begin = Instant::now();
                deadline = begin + limits.progress;
            }
            if flood || self.pidfd.is_some() {
                self.wait_for_output(&[], left.min(if flood { BREATHER } else { GATHER }))?;
            }
            let ended = self.try_wait()?;
            for pipe in &mut pipes {
                let most = if flood && ended.is_none() { SIP } else { FULL_PIPE };
                let output = pipe.read_some(most, &mut read)?;
                flood |= output.flood;
                if output.progress {
                    deadline = Instant::now() + limits.progress;
                }
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    /// Sleeps until there is output, or the child's end, or nothing for `limit`.
    fn wait_for_output(&self, pipes: &[Pipe], limit: Duration) -> io::Result<()> {
        let open = pipes.iter().filter_map(|pipe| pipe.reader.as_ref());
        let mut output: Vec<_> = open.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        let limit = match &self.pidfd {
            Some(_) => limit,
            None if output.is_empty() => limit.min(ASK_SILENT),
            None => limit.min(ASK_WRITING),
        };
        output.extend(self.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        match poll(&mut output, Timespec::try_from(limit).ok().as_ref()) {
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
            if left.is_zero() || self.wait_for_output(&[], left).is_err() {
                return;
            }
            if !matches!(self.try_wait(), Ok(None)) {
                self.child = None;
                return;
            }
        }
    }
}

/// The end of a pipe at which the child's output comes out.
struct Pipe {
    stream: Stream,
    /// `None` at its end.
    reader: Option<PipeReader>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn new((stream, reader): (Stream, PipeReader)) -> io::Result<Self> {
        fcntl_setfl(&reader, fcntl_getfl(&reader)? | OFlags::NONBLOCK)?;
        Ok(Self { stream, reader: Some(reader), buffer: vec![0; 32 << 10] })
    }

    /// Hands over what there is, up to about `most` bytes; what any of it was worth.
    fn read_some(&mut self, most: usize, read: &mut impl FnMut(Stream, &[u8]) -> Output) -> io::Result<Output> {
        let (mut total, mut all) = (0, Output::default());
        while total < most
            && let Some(reader) = &mut self.reader
        {
            match reader.read(&mut self.buffer) {
                Ok(0) => self.reader = None,
                Ok(n) => {
                    total += n;
                    let output = read(self.stream, &self.buffer[..n]);
                    all.progress |= output.progress;
                    all.flood |= output.flood;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(all)
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
