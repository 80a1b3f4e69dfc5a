//! Pushes suffixes with rsync (B8).
//!
//! A push is one run of the rsync program: what is there of the suffixes is listed, rsync is started with the arguments
//! that the reference gives it (`args`), its output is read as it comes (`output`), and it is waited for, but not
//! for ever (`run`). Then the reference's lines are logged, at its levels.
//!
//! Several partitions go in one run, which spares each of them a process and several slow round trips. What names them
//! there goes through a list on standard input, and the time limit begins anew with each partition; everything else is
//! as in a run for one.

mod args;
mod output;
mod run;
mod trial;

use std::ffi::OsString;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use log::Level;
use rustix::fs::{MemfdFlags, memfd_create};

use self::args::{Invocation, List};
use self::output::Output;
use self::run::{End, Nursery, RunError};
pub use self::trial::{TrialError, Version};
use super::births::Births;
use super::module::ModuleError;
use super::outage::Outages;
use super::reaper::Reaper;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::pulse::Pulse;
use crate::report::counts::Cause;
use crate::ring::Device;

/// The module where the configuration names none.
const DEFAULT_MODULE: &str = "{replication_ip}::object";

/// How to push.
#[derive(Clone, Debug)]
pub struct RsyncOptions {
    /// For one partition (`rsync_timeout`).
    pub timeout: Duration,
    /// Pasted into `--timeout` and `--contimeout` (`rsync_io_timeout`).
    pub io_timeout: String,
    /// Pasted into `--bwlimit` (`rsync_bwlimit`).
    pub bwlimit: String,
    /// Whether to compress what goes to another region (`rsync_compress`).
    pub compress: bool,
    /// The template of the targets' modules (`rsync_module`); empty for the default.
    pub module: String,
    /// Whether lines about single files are logged (`log_rsync_transfers`).
    pub log_transfers: bool,
    /// Where to cut the lines that hold rsync's arguments; 0 for nowhere (`rsync_error_log_line_length`).
    pub error_line_length: usize,
    /// Whether the sockets get `TCP_NODELAY` (`rsync_nodelay`): else every step of the handshake waits some 40 ms.
    pub nodelay: bool,
}

/// Some suffixes of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSuffixes {
    pub partition: Partition,
    pub suffixes: Vec<Suffix>,
}

/// What goes where.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The local folder of the partitions: `<devices>/<device>/objects[-N]`.
    pub datadir: &'a Path,
    /// The policy, which names that folder at the target.
    pub policy: PolicyIndex,
    /// What is pushed; each partition once.
    pub parts: &'a [PartSuffixes],
    /// The target.
    pub to: &'a Device,
    /// Whether the target is in another region than the local device.
    pub across_regions: bool,
}

/// Why something did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// None of the suffixes is there any more (B8.2).
    #[error("nothing is left to send")]
    NothingToSend,
    /// A suffix that may be there cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Look { path: PathBuf, source: io::Error },
    /// `rsync_module` gives no module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The module and the device make no target that rsync could be trusted with.
    #[error("cannot push to device {device:?} of module {module:?}")]
    Target { module: String, device: String },
    /// rsync was not started.
    #[error("cannot run {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// rsync was started, but could not be waited for, and was killed.
    #[error("cannot wait for rsync: {0}")]
    Watch(#[source] io::Error),
    /// rsync took too long, and was killed.
    #[error("rsync did not finish a partition within {}s", .0.as_secs())]
    TimedOut(Duration),
    /// rsync ended with another code than 0.
    #[error("rsync ended with code {code}")]
    Failed {
        /// The exit code; the negative number of the signal that killed it.
        code: i32,
        /// What that says about another attempt.
        class: Failure,
    },
}

impl PushError {
    /// Whether the log has all about it already (B8.2, B8.8, B8.9). Else it is the caller's to log, as the reference
    /// does: `Error syncing with node: <node>: <error>`.
    pub fn is_logged(&self) -> bool {
        matches!(self, Self::NothingToSend | Self::TimedOut(_) | Self::Failed { .. })
    }

    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Look { .. } => Cause::Local,
            Self::TimedOut(_) => Cause::Timeout,
            Self::Failed { class: Failure::TargetFull, .. } => Cause::Full,
            Self::Failed { class: Failure::Busy, .. } => Cause::Busy,
            // A socket error; nothing heard for too long; no connection in time.
            Self::Failed { code: 10 | 30 | 35, .. } => Cause::Unreachable,
            _ => Cause::Push,
        }
    }
}

/// What a failure of rsync says about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The target serves as many as it may already (code 5 with `max connections`): later.
    Busy,
    /// The target, or the way to it, does not work (5, 10, 11, 30, 35): less at a time will not help.
    Target,
    /// The target's disk is full, by what rsync said: nothing can be pushed there.
    TargetFull,
    /// The connection broke on the way (12). Another attempt tells a dead target (10 will follow) from something among
    /// the files over which the other rsync stumbles.
    Broken,
    /// Some of it could not be sent, or vanished (23, 24): the rest may have arrived.
    Partial,
    /// Something here: bad arguments, no memory, a signal.
    Here,
}

impl Failure {
    fn of(code: i32, output: &Output) -> Self {
        match code {
            _ if output.no_space => Self::TargetFull,
            5 if output.max_connections => Self::Busy,
            5 | 10 | 11 | 30 | 35 => Self::Target,
            12 => Self::Broken,
            23 | 24 => Self::Partial,
            _ => Self::Here,
        }
    }
}

/// Pushes with rsync; to be shared by all threads.
#[derive(Debug)]
pub struct Rsync {
    options: RsyncOptions,
    program: PathBuf,
    /// What would change rsync's behaviour behind our back.
    unwanted_variables: Vec<OsString>,
    births: Births,
    reaper: Reaper,
    outages: Outages,
    use_pidfd: bool,
}

impl Rsync {
    /// Pushes with the `rsync` that is found on the PATH, started without any `RSYNC_*` of our own environment.
    pub fn new(options: RsyncOptions) -> Self {
        let module = match options.module.trim_end_matches('/') {
            "" => DEFAULT_MODULE.to_owned(),
            module => module.to_owned(),
        };
        let unwanted_variables = std::env::vars_os().map(|(name, _)| name);
        Self {
            options: RsyncOptions { module, ..options },
            program: "rsync".into(),
            unwanted_variables: unwanted_variables.filter(is_for_rsync).collect(),
            births: Births::default(),
            reaper: Reaper::default(),
            outages: Outages::of("rsync of "),
            use_pidfd: true,
        }
    }

    /// The same with another program.
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// The same, with its runs among these children.
    pub fn with_births(self, births: Births) -> Self {
        Self { births, ..self }
    }

    /// The peers whose rsync daemon cannot be reached. Whoever pushes asks it first, and tells it the outcome.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// How many killed runs are still there, since the kernel cannot end them (B8.9).
    pub fn undead(&self) -> usize {
        self.reaper.waiting()
    }

    /// Pushes what is there of the suffixes, and logs how it went (B8.6-B8.9). Gives the size of the files that rsync
    /// names as sent.
    ///
    /// One partition gives the reference's arguments; several go in one run. A partition of which nothing is there is
    /// left out of a run for several ([`Push::present`] tells).
    ///
    /// # Errors
    /// Nothing to send, or rsync did not end with 0: then what arrived is not known.
    pub fn push(&self, push: &Push, pulse: &dyn Pulse) -> Result<u64, PushError> {
        let invocation = Invocation::new(&self.options, push, false)?;
        let run = self.run(&invocation, pulse)?;
        self.log_output(&run.output, Level::Debug);
        let level = if run.output.any { Level::Info } else { Level::Debug };
        for PartSuffixes { partition, .. } in &invocation.parts {
            let (source, target) = invocation.ends_of(*partition);
            log::log!(level, "Successful rsync of {source} to {target} ({:.3})", run.took.as_secs_f64());
        }
        Ok(run.output.bytes)
    }

    /// Whether the target lacks any file of what is there of the suffixes: the same run, but a dry one.
    ///
    /// Only a failure is logged.
    ///
    /// # Errors
    /// Nothing to compare, or rsync did not end with 0.
    pub fn missing(&self, push: &Push, pulse: &dyn Pulse) -> Result<bool, PushError> {
        let invocation = Invocation::new(&self.options, push, true)?;
        Ok(self.run(&invocation, pulse)?.output.sends)
    }

    /// Runs rsync to its good end; a bad one is logged.
    fn run(&self, invocation: &Invocation, pulse: &dyn Pulse) -> Result<Run, PushError> {
        let begin = Instant::now();
        let start = |source| PushError::Start { program: self.program.clone(), source };
        let command = self.command(invocation).map_err(start)?;
        let mut output = Output::new(self.options.log_transfers, invocation.names_begin_at());
        let in_batch = invocation.list.is_some();
        let read = |bytes: &[u8]| {
            pulse.beat();
            output.push(bytes) && in_batch
        };
        let end = run::run(command, self.options.timeout, &self.nursery(), read);
        let took = begin.elapsed();
        output.finish();
        match end {
            Ok(End::Exited(status)) if status.success() => Ok(Run { output, took }),
            Ok(End::Exited(status)) => Err(self.failed(invocation, status, &output)),
            Ok(End::TimedOut) => Err(self.timed_out(invocation)),
            Err(RunError::Start(e)) => Err(start(e)),
            Err(RunError::Watch(e)) => Err(PushError::Watch(e)),
        }
    }

    fn nursery(&self) -> Nursery<'_> {
        Nursery { births: &self.births, reaper: &self.reaper, use_pidfd: self.use_pidfd }
    }

    fn command(&self, invocation: &Invocation) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&invocation.args[1..]);
        for name in &self.unwanted_variables {
            command.env_remove(name);
        }
        match &invocation.list {
            Some(List { folder, sources }) => command.current_dir(folder).stdin(file_of(sources)?),
            None => command.stdin(Stdio::null()),
        };
        Ok(command)
    }

    fn failed(&self, invocation: &Invocation, status: ExitStatus, output: &Output) -> PushError {
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1);
        self.log_output(output, Level::Error);
        self.log_with_args(format!("Bad rsync return code: {code} <- {}", invocation.python_args()));
        PushError::Failed { code, class: Failure::of(code, output) }
    }

    fn timed_out(&self, invocation: &Invocation) -> PushError {
        let limit = self.options.timeout;
        let args = invocation.python_args();
        self.log_with_args(format!("Killing long-running rsync after {}s: {args}", limit.as_secs()));
        PushError::TimedOut(limit)
    }

    fn log_output(&self, output: &Output, level: Level) {
        if log::log_enabled!(level) {
            output.lines().for_each(|line| log::log!(level, "{line}"));
        }
    }

    /// Logs a line with the arguments in it, cut as `rsync_error_log_line_length` says.
    fn log_with_args(&self, mut line: String) {
        let limit = self.options.error_line_length;
        if limit > 0
            && let Some((end, _)) = line.char_indices().nth(limit)
        {
            line.truncate(end);
        }
        log::error!("{line}");
    }
}

/// A run that ended well.
struct Run {
    output: Output,
    took: Duration,
}

impl Push<'_> {
    /// What is there of the suffixes; partitions of which nothing is there are left out (B8.2).
    ///
    /// # Errors
    /// A suffix of which that cannot be told. The reference takes it for not there, and so for nothing to be pushed.
    pub fn present(&self) -> Result<Vec<PartSuffixes>, PushError> {
        let mut present = Vec::with_capacity(self.parts.len());
        for PartSuffixes { partition, suffixes } in self.parts {
            let mut path = self.datadir.join(partition.to_string());
            let mut left = Vec::with_capacity(suffixes.len());
            for suffix in suffixes {
                path.push(suffix.as_str());
                match path.metadata() {
                    Ok(_) => left.push(*suffix),
                    Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(source) => return Err(PushError::Look { path, source }),
                }
                path.pop();
            }
            if !left.is_empty() {
                present.push(PartSuffixes { partition: *partition, suffixes: left });
            }
        }
        Ok(present)
    }
}

fn is_for_rsync(variable: &OsString) -> bool {
    variable.as_encoded_bytes().starts_with(b"RSYNC_")
}

/// A file without a name that holds the bytes. A pipe would not do: rsync stops reading the list while nobody reads its
/// output, and we would stop reading its output while it does not read the list.
fn file_of(bytes: &[u8]) -> io::Result<Stdio> {
    let in_memory = memfd_create("rsync-sources", MemfdFlags::CLOEXEC).map(std::fs::File::from);
    let mut file = in_memory.or_else(|_| tempfile::tempfile())?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests;
