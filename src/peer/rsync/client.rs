//! Runs of rsync: a push, a comparison, and what follows from how they ended.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::Level;
use rustix::fs::{MemfdFlags, memfd_create};

use super::args::{Invocation, module_of};
use super::compare::{Comparison, Lacking};
use super::environment;
use super::error::PushError;
use super::exit::Reached;
use super::fsync::Fsync;
use super::output::Output;
use super::push::{PartSuffixes, Present, Push, Unseen};
use super::retry::{Retry, Untold};
use crate::child::{self, Children, End, RunError, RunLimits, SpawnGate, Stream, Wait};
use crate::config::settings::RsyncSettings;
use crate::heartbeat::Heartbeat;
use crate::locks::lock;
use crate::orders::Orders;
use crate::orders::limit::Limit;
use crate::orders::moment::Moment;
use crate::peer::node::{authority, node_string};
use crate::peer::outage::Outages;
use crate::ring::Device;

/// The module where the configuration names none.
pub(super) const DEFAULT_MODULE: &str = "{replication_ip}::object";

/// A push that ended well.
#[derive(Debug, Default)]
pub struct Sent {
    /// How many files rsync names as sent, and how large they are.
    pub files: u64,
    pub bytes: u64,
    /// Whether the target had each of these files on its disk before the file got its name. That says nothing of files
    /// that were there before, nor of the folders: the target's file system brings those to its disk when it does so.
    pub durable: bool,
    /// What was left out since it cannot be looked at, which the log has; its partitions did not arrive as a whole.
    pub unseen: Vec<Unseen>,
}

/// Pushes with rsync; to be shared by all threads.
#[derive(Debug)]
pub struct Rsync {
    pub(super) options: RsyncSettings,
    pub(super) orders: Arc<Orders>,
    pub(super) program: PathBuf,
    /// What would change rsync's behaviour behind our back.
    pub(super) unwanted_variables: Vec<OsString>,
    pub(super) children: Children,
    pub(super) outages: Outages,
    pub(super) fsync: Fsync,
    /// Nodes whose daemons do not have the first module.
    pub(super) on_fallback: Mutex<HashSet<String>>,
}

impl Rsync {
    /// Pushes with the `rsync` that is found on the PATH, started without what would change a push in our environment.
    pub fn new(options: RsyncSettings) -> Self {
        let module = match options.module.trim_end_matches('/') {
            "" => DEFAULT_MODULE.to_owned(),
            module => module.to_owned(),
        };
        let unwanted_variables = std::env::vars_os().map(|(name, _)| name);
        Self {
            options: RsyncSettings { module, ..options },
            orders: Arc::default(),
            program: "rsync".into(),
            unwanted_variables: unwanted_variables.filter(|name| environment::is_unwanted(name)).collect(),
            children: Children::new(SpawnGate::default()),
            outages: Outages::of("rsync of "),
            fsync: Fsync::default(),
            on_fallback: Mutex::default(),
        }
    }

    /// The same with another program.
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// The same, with its runs started through this gate.
    pub fn with_gate(self, gate: SpawnGate) -> Self {
        Self { children: Children::new(gate), ..self }
    }

    /// The same, with the limits that are ordered.
    pub(crate) fn with_orders(self, orders: Arc<Orders>) -> Self {
        Self { orders, ..self }
    }

    /// The options as they are now.
    pub(super) fn options(&self) -> Cow<'_, RsyncSettings> {
        match self.orders.limit(Limit::RsyncBwlimit, Moment::now()) {
            Some(bwlimit) => Cow::Owned(RsyncSettings { bwlimit, ..self.options.clone() }),
            None => Cow::Borrowed(&self.options),
        }
    }

    /// The peers whose rsync daemon cannot be reached. Whoever pushes asks it first, and tells it the outcome.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// How many killed runs are still there, since the kernel cannot end them (B8.9).
    pub fn unreaped(&self) -> usize {
        self.children.unreaped()
    }

    /// Whether files that are pushed to the device can be had on its disk before they get their names; `None` while
    /// nothing is known of that (or no module is found for it).
    pub fn fsync_known(&self, to: &Device) -> Option<bool> {
        self.fsync.known(&module_of(&self.template_for(to), to).ok()?)
    }

    /// Pushes what is there of the suffixes, and logs how it went (B8.6-B8.9).
    ///
    /// All partitions go in one run. What is not there is left out, and what cannot be looked at ([`Push::present`]
    /// tells); of the latter [`Sent`] tells.
    ///
    /// # Errors
    /// [`PushError`] if there is nothing to send, rsync could not be started, or it did not end with 0. After the last
    /// of these it is not known what arrived.
    pub fn push(&self, push: &Push, heartbeat: &dyn Heartbeat) -> Result<Sent, PushError> {
        let Present { parts, unseen } = push.present();
        unseen.iter().for_each(|unseen| log::error!("{unseen}: it is not pushed"));
        if parts.is_empty() {
            return Err(if unseen.is_empty() { PushError::NothingToSend } else { PushError::Unseen(unseen) });
        }
        let sent = self.with_module(push.to, |template| {
            let module = module_of(template, push.to)?;
            if !push.durable || self.fsync.known(&module) == Some(false) {
                return self.push_once(template, push, &parts, false, heartbeat);
            }
            let (untold, may_be_refused) = (Untold::default(), self.fsync.known(&module).is_none());
            let none = Retry { busy: false, divided: false, suspect: false, refusal: false, untold: &untold };
            let retry = Retry { refusal: may_be_refused, ..push.retry.unwrap_or(none) };
            let mut sent = self.push_once(template, &Push { retry: Some(retry), ..*push }, &parts, true, heartbeat);
            if may_be_refused && sent.as_ref().is_err_and(|failed| failed.verdict().may_be_a_lost_refusal()) {
                sent = self.push_once(template, push, &parts, true, heartbeat);
            }
            match &sent {
                Ok(_) => self.fsync.works(&module),
                // What could be sent was sent so.
                Err(failed) if failed.is_partial() => self.fsync.works(&module),
                Err(PushError::Refused { option, here }) if option == "--fsync" => {
                    self.fsync.fails(&module, *here);
                    return self.push_once(template, push, &parts, false, heartbeat);
                }
                Err(_) => {}
            }
            sent
        })?;
        Ok(Sent { unseen, ..sent })
    }

    fn push_once(
        &self,
        template: &str,
        push: &Push,
        parts: &[PartSuffixes],
        durable: bool,
        heartbeat: &dyn Heartbeat,
    ) -> Result<Sent, PushError> {
        let mut invocation = Invocation::push(&self.options(), template, push, parts.to_vec(), durable)?;
        invocation.has_fallback = self.has_fallback(template);
        let output = Output::new(self.options.log_transfers, invocation.names_begin_at(), parts);
        let run = self.run(&invocation, output, heartbeat)?;
        self.log_output(&run.output, Level::Debug);
        let level = if run.output.any { Level::Info } else { Level::Debug };
        for PartSuffixes { partition, .. } in &invocation.parts {
            let (source, target) = invocation.ends_of(*partition);
            log::log!(level, "Successful rsync of {source} to {target} ({:.3})", run.took.as_secs_f64());
        }
        Ok(Sent { files: run.output.files, bytes: run.output.bytes, durable, unseen: Vec::new() })
    }

    /// What the target lacks of what is there of the suffixes: one entry for each of the push's parts, in their order.
    /// Of a partition that is not there (any more) nothing is lacking; what cannot be looked at is.
    ///
    /// Only a failure is logged.
    ///
    /// # Errors
    /// [`PushError::Refused`] if the daemon does not allow dry runs, else another [`PushError`] if rsync could not be
    /// started or did not end with 0. Then nothing is known of the target.
    pub fn compare(&self, push: &Push, heartbeat: &dyn Heartbeat) -> Result<Vec<Lacking>, PushError> {
        let here = push.present();
        let comparison = match &here.parts[..] {
            [] => Comparison::new(),
            parts => self.with_module(push.to, |template| {
                let mut comparison = self.compare_once(template, push, parts, false, heartbeat)?;
                if comparison.has_new() {
                    comparison.tell_apart(&self.compare_once(template, push, parts, true, heartbeat)?);
                }
                Ok(comparison)
            })?,
        };
        let partitions = push.parts.iter().map(|part| part.partition);
        Ok(comparison.lacking(partitions, &here, push.datadir))
    }

    fn compare_once(
        &self,
        template: &str,
        push: &Push,
        parts: &[PartSuffixes],
        only_existing: bool,
        heartbeat: &dyn Heartbeat,
    ) -> Result<Comparison, PushError> {
        let comparison = Comparison::new();
        let more = comparison.args(only_existing);
        let mut invocation = Invocation::comparison(&self.options(), template, push, parts.to_vec(), more)?;
        invocation.has_fallback = self.has_fallback(template);
        let output = Output::new(self.options.log_transfers, invocation.names_begin_at(), parts);
        let run = self.run(&invocation, output.comparing(comparison), heartbeat)?;
        Ok(run.output.comparison.unwrap_or_else(Comparison::new))
    }

    /// The template of the module that pushes to a device go to.
    pub(super) fn template_for(&self, to: &Device) -> Cow<'_, str> {
        let on_fallback = lock(&self.on_fallback);
        match &self.options.fallback_module {
            Some(fallback) if on_fallback.contains(&authority(to)) => fallback.into(),
            _ => self.options.module.as_str().into(),
        }
    }

    /// Runs with the module's template, and with the other one where the daemon has no such module.
    pub(super) fn with_module<T>(
        &self,
        to: &Device,
        run: impl Fn(&str) -> Result<T, PushError>,
    ) -> Result<T, PushError> {
        let template = self.template_for(to);
        let outcome = run(&template);
        match (&outcome, &self.options.fallback_module) {
            (Err(PushError::NoModule(none)), Some(fallback)) if *template != **fallback => {
                let mut on_fallback = lock(&self.on_fallback);
                if on_fallback.insert(authority(to)) {
                    let node = node_string(to);
                    log::warn!("The rsync daemon of {node} has no module {none}: {fallback} is taken (vm_test_mode)");
                }
                drop(on_fallback);
                run(fallback)
            }
            _ => outcome,
        }
    }

    pub(super) fn has_fallback(&self, template: &str) -> bool {
        self.options.fallback_module.as_ref().is_some_and(|fallback| *fallback != *template)
    }

    /// Runs rsync to its good end; a bad one is logged, unless there is another way.
    fn run(&self, invocation: &Invocation, mut output: Output, heartbeat: &dyn Heartbeat) -> Result<Run, PushError> {
        let begin = Instant::now();
        let start = |source| PushError::Start { program: self.program.clone(), source };
        let command = self.command(invocation).map_err(start)?;
        let in_batch = invocation.parts.len() > 1;
        let read = |stream, bytes: &[u8]| {
            heartbeat.beat();
            let piece = output.push(stream, bytes);
            if let Some((partitions, bytes)) = output.news() {
                heartbeat.pushes(partitions, bytes);
            }
            child::Output { progress: piece.progress && in_batch, ..piece }
        };
        let end = self.children.run(command, self.limits(invocation.parts.len(), invocation.limit), read);
        let took = begin.elapsed();
        output.finish();
        if let Some(sent_of) = invocation.sent_of {
            sent_of.note(&output.sent);
        }
        match end {
            Ok(End::Exited(status)) if is_good(status, &output) => Ok(Run { output, took }),
            Ok(End::Exited(status)) => Err(self.failed(invocation, status, &output)),
            Ok(End::TimedOut(wait)) => Err(self.timed_out(invocation, &output, wait.as_ref())),
            Err(RunError::Start(e)) => Err(start(e)),
            Err(RunError::Watch(e)) => Err(PushError::Watch(e)),
        }
    }

    /// What a run for so many partitions may take: for each of them what the reference gives it in a run of its own.
    pub(super) fn limits(&self, partitions: usize, limit: Option<Duration>) -> RunLimits {
        let limit = limit.map_or(self.options.timeout, |limit| limit.min(self.options.timeout));
        RunLimits { progress: limit, whole: limit.saturating_mul(u32::try_from(partitions).unwrap_or(u32::MAX)) }
    }

    /// The program, without what would change its behaviour in our environment, and with the clock that the reference
    /// gives it.
    pub(super) fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in &self.unwanted_variables {
            command.env_remove(name);
        }
        command.env("TZ", "UTC+0");
        command
    }

    /// Runs the program for what it says; the code that it ends with.
    pub(super) fn listen(
        &self,
        command: Command,
        limit: Option<Duration>,
        mut hear: impl FnMut(Stream, &[u8]),
    ) -> Result<i32, PushError> {
        let limits = self.limits(1, limit);
        let read = |stream, bytes: &[u8]| {
            hear(stream, bytes);
            child::Output::default()
        };
        match self.children.run(command, limits, read) {
            Ok(End::Exited(status)) => Ok(status.code().unwrap_or(-1)),
            Ok(End::TimedOut(_)) => Err(PushError::TimedOut { limit: limits.progress, reached: Reached::default() }),
            Err(RunError::Start(source)) => Err(PushError::Start { program: self.program.clone(), source }),
            Err(RunError::Watch(error)) => Err(PushError::Watch(error)),
        }
    }

    fn command(&self, invocation: &Invocation) -> io::Result<Command> {
        let mut command = self.program();
        command.args(&invocation.args[1..]);
        match &invocation.list {
            Some(sources) => command.current_dir(invocation.start_in()).stdin(file_of(sources)?),
            None => command.stdin(Stdio::null()),
        };
        Ok(command)
    }

    fn failed(&self, invocation: &Invocation, status: ExitStatus, output: &Output) -> PushError {
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1);
        let error = PushError::of_end(code, &output.heard, &invocation.target);
        if self.has_another_way(&error, invocation) {
            return error;
        }
        let line = format!("Bad rsync return code: {code} <- {}", invocation.python_args());
        self.log_failure(invocation, &error, output.lines(), line);
        error
    }

    /// Logs why a run failed: what rsync said, if that is to be logged, and a line with its arguments.
    fn log_failure(&self, invocation: &Invocation, error: &PushError, mut said: Vec<String>, with_args: String) {
        let line = self.cut(with_args);
        let (verdict, has_suspect) = (error.verdict(), error.suspect().is_some());
        match invocation.retry.filter(|retry| retry.follows(verdict, has_suspect)) {
            None => said.iter().chain([&line]).for_each(|line| log::error!("{line}")),
            Some(retry) => {
                said.iter().for_each(|line| log::info!("{line}"));
                let (count, node) = (invocation.parts.len(), node_string(invocation.to));
                log::info!("Of {count} partitions what did not get to {node} is tried again: {line}");
                // Of the files that were sent nobody need be told as of a failure.
                said.retain(|line| !line.starts_with('<'));
                said.push(line);
                retry.untold.keep(said);
            }
        }
    }

    /// Whether the same is tried in another way, which is logged in its stead.
    fn has_another_way(&self, error: &PushError, invocation: &Invocation) -> bool {
        match error {
            PushError::Refused { option, .. } => option == "--fsync",
            PushError::NoModule(_) => invocation.has_fallback,
            _ => false,
        }
    }

    fn timed_out(&self, invocation: &Invocation, output: &Output, wait: Option<&Wait>) -> PushError {
        let limit = self.limits(1, invocation.limit).progress;
        let suspect = wait.and_then(|wait| wait.partition(invocation.datadir));
        let error = PushError::TimedOut { limit, reached: Reached { begun: output.begun.clone(), suspect } };
        let line = format!("Killing long-running rsync after {}s: {}", limit.as_secs(), invocation.python_args());
        self.log_failure(invocation, &error, Vec::new(), line);
        error
    }

    fn log_output(&self, output: &Output, level: Level) {
        if log::log_enabled!(level) {
            output.lines().iter().for_each(|line| log::log!(level, "{line}"));
        }
    }

    /// A line with the arguments in it, cut as `rsync_error_log_line_length` says.
    fn cut(&self, mut line: String) -> String {
        let limit = self.options.error_line_length;
        if limit > 0
            && let Some((end, _)) = line.char_indices().nth(limit)
        {
            line.truncate(end);
        }
        line
    }
}

/// A run that ended well.
struct Run {
    output: Output,
    took: Duration,
}

/// Whether a run could say and do what it was started for.
fn is_good(status: ExitStatus, output: &Output) -> bool {
    match (&output.comparison, status.code()) {
        (Some(comparison), Some(code)) => comparison.is_whole(code),
        (None, _) => status.success(),
        (Some(_), None) => false,
    }
}

/// A file without a name that holds the bytes. A pipe would not do: rsync stops reading the list while nobody reads its
/// output, and we would stop reading its output while it does not read the list.
pub(super) fn file_of(bytes: &[u8]) -> io::Result<Stdio> {
    let in_memory = memfd_create("rsync-sources", MemfdFlags::CLOEXEC).map(std::fs::File::from);
    let mut file = in_memory.or_else(|_| tempfile::tempfile())?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
