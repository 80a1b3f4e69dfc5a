//! Writes a small file into a device of a peer and removes it, for `--check --write`; and looks what a module shows.
//!
//! The file must not stay, however this process ends. So the removal is started before the file is written: a shell that
//! waits for the end of a pipe, and then becomes the rsync that removes. This process and the rsync that writes hold the
//! other end of the pipe; once both are gone, well or not, the file is removed. Both rsyncs are in process groups of
//! their own, so that a ^C for this process does not end them. What is left are ends of everything at once, such as a power
//! failure: then the node's own replicator removes the file, as it does with all that is old there.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::args::{common_args, target_of};
use super::client::Rsync;
use super::error::PushError;
use super::exit::Reached;
use super::push::Push;
use super::trial::{Said, TrialError, Tried};
use crate::child::{self, End, RunError, RunLimits};
use crate::names::{Partition, PolicyIndex};
use crate::ring::Device;

/// What waits for the end of the pipe; it says that it does.
const WAIT_AND_RUN: &str = "echo; read -r _; exec \"$@\"";
/// How long it may take to be there, and how long it may take in all: it waits for a write, which has a limit.
const READY: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);

/// What is looked for in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The device's folder.
    Device,
    /// Its folder of temporary files.
    Tmp,
    /// The folder of a partition.
    Partition(Partition),
}

/// What is written to peers.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// A folder with nothing in it but the file.
    pub folder: &'a Path,
    /// The file's name.
    pub name: &'a str,
    /// A folder with nothing in it.
    pub empty: &'a Path,
}

impl Probe<'_> {
    fn removal(&self) -> Vec<OsString> {
        // What is excluded is not deleted. Nothing is said but errors, for there may be nobody left to listen.
        let words = ["--no-motd", "--quiet", "--delete", &format!("--include=/{}", self.name), "--exclude=*"];
        words.iter().map(Into::into).chain([format!("{}/", self.empty.display()).into()]).collect()
    }
}

impl Rsync {
    /// Whether the module shows this place; `None` if it does not tell, as write only modules do not.
    ///
    /// # Errors
    /// [`PushError`] if rsync cannot be started, does not end in time, or `rsync_module` gives no module for the device.
    pub fn shows(&self, place: Place, policy: PolicyIndex, to: &Device) -> Result<Option<bool>, PushError> {
        let push = Push::new("/".as_ref(), policy, &[], to, false);
        let Tried { code, said, .. } = self.with_module(to, |template| {
            let target = target_of(template, &push)?;
            let mut args = common_args(&self.options, false);
            args.extend(["--no-motd", "--list-only", "--no-recursive", "--dirs"].map(Into::into));
            args.push(place.below(&target).into());
            self.tried(template, target, &args)
        })?;
        let is_missing = code == 23 && said.contains("No such file or directory");
        Ok(if is_missing { Some(false) } else { (code == 0).then_some(true) })
    }

    /// Writes the file into the device's folder of temporary files, looks, and removes the file; what was seen.
    ///
    /// # Errors
    /// [`TrialError::Failed`] if the daemon does not allow to remove it, in which case nothing is written, or to write it;
    /// [`TrialError::Left`] if it was written and is still there; [`TrialError::Push`] if rsync cannot be started or does
    /// not end in time.
    pub fn write_and_remove<T>(
        &self,
        probe: &Probe,
        policy: PolicyIndex,
        to: &Device,
        look: impl FnOnce() -> T,
    ) -> Result<T, TrialError> {
        let push = Push::new(probe.empty, policy, &[], to, false);
        // Whoever may not remove does not write.
        self.with_module(to, |template| {
            let target = target_of(template, &push)?;
            let args = self.in_tmp(&target, probe.removal());
            self.tried(template, target, &args)
        })?
        .well()?;
        let target = target_of(&self.template_for(to), &push)?;
        let (end, held) = io::pipe().map_err(|error| self.cannot_start(error))?;
        let held_by_rsync = held.try_clone().map_err(|error| self.cannot_start(error))?;
        let (ready, is_ready) = bounded(1);
        let writing = self.in_tmp(&target, [format!("{}/", probe.folder.display()).into()]);
        let removing = self.in_tmp(&target, probe.removal());
        thread::scope(|scope| {
            let removal = scope.spawn(|| self.remove_at_the_end_of(end, &ready, &removing));
            let is_waiting = is_ready.recv_timeout(READY).is_ok();
            // What is not written is let go of, too.
            let held_by_rsync = is_waiting.then_some(held_by_rsync);
            let written = held_by_rsync.map(|held| self.write(held, &writing).map(|()| look()));
            drop(held);
            let removed = removal.join().unwrap_or_else(|_| Err(self.cannot_start(io::Error::other("a fault")).into()));
            let Some(written) = written else {
                let late = || self.cannot_start(io::Error::other("what is to remove the file does not start")).into();
                return removed.and_then(|()| Err(late()));
            };
            let place = || format!("{}/{}", Place::Tmp.below(&target), probe.name);
            removed.map_err(|error| TrialError::Left { place: place(), error: Box::new(error) }).and(written)
        })
    }

    fn in_tmp(&self, target: &str, more: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut args = common_args(&self.options, false);
        args.extend(more);
        // Without the `/.` rsync would make the folder.
        args.push(format!("{}/.", Place::Tmp.below(target)).into());
        args
    }

    fn write(&self, held: PipeWriter, args: &[OsString]) -> Result<(), TrialError> {
        let mut command = self.program();
        command.args(&args[1..]).process_group(0).stdin(held);
        self.say(command)?.well()
    }

    /// Runs the program with these arguments once nobody holds the other end any more.
    fn remove_at_the_end_of(&self, pipe: PipeReader, ready: &Sender<()>, args: &[OsString]) -> Result<(), TrialError> {
        let mut command = Command::new("sh");
        for name in &self.unwanted_variables {
            command.env_remove(name);
        }
        command.args(["-c", WAIT_AND_RUN, "sh"]).arg(&self.program).args(&args[1..]);
        command.process_group(0).stdin(Stdio::from(pipe));
        let mut said = Said::default();
        let hear = |stream, bytes: &[u8]| {
            let _ = ready.try_send(());
            said.hear(stream, bytes);
            child::Output::default()
        };
        match self.children.run(command, RunLimits { progress: WHOLE, whole: WHOLE }, hear) {
            Ok(End::Exited(status)) => said.ended(status.code().unwrap_or(-1)).well(),
            Ok(End::TimedOut(_)) => Err(PushError::TimedOut { limit: WHOLE, reached: Reached::default() }.into()),
            Err(RunError::Start(error)) => Err(self.cannot_start(error).into()),
            Err(RunError::Watch(error)) => Err(PushError::Watch(error).into()),
        }
    }

    fn cannot_start(&self, source: io::Error) -> PushError {
        PushError::Start { program: self.program.clone(), source }
    }
}

impl Place {
    /// Where it is in a module, in which the policy's partitions are at `target`.
    fn below(self, target: &str) -> String {
        let device = target.rsplit_once('/').map_or(target, |(device, _)| device);
        match self {
            Self::Device => device.to_owned(),
            Self::Tmp => format!("{device}/tmp"),
            Self::Partition(partition) => format!("{target}/{partition}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_from_the_folder_of_a_policy() {
        let target = "rsync://h/object/sda/objects-1";
        assert_eq!(Place::Device.below(target), "rsync://h/object/sda");
        assert_eq!(Place::Tmp.below(target), "rsync://h/object/sda/tmp");
        assert_eq!(Place::Partition(Partition::new(7)).below(target), "rsync://h/object/sda/objects-1/7");
    }
}
