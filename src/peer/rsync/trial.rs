//! Tries rsync without pushing anything, for `--check`: its version, and whether a target would take a push.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::args::{common_args, target_of};
use super::client::Rsync;
use super::error::PushError;
use super::exit::Heard;
use super::lines::Splitter;
use super::push::Push;
use crate::child::Stream;
use crate::names::PolicyIndex;
use crate::ring::Device;

/// More of what rsync says is not kept.
const MAX_OUTPUT: usize = 16 << 10;

/// Why a push to a device would fail.
#[derive(Debug, Error)]
pub enum TrialError {
    #[error(transparent)]
    Push(#[from] PushError),
    /// In rsync's words, without line ends.
    #[error("rsync ends with code {code}: {said}")]
    Failed { code: i32, said: String },
    /// A file that was written, or may have been, could not be removed.
    #[error("{place} could not be removed, if it was written: {error}")]
    Left { place: String, error: Box<TrialError> },
}

/// What a push to a device would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// How long a dry run took.
    pub took: Duration,
    /// Whether both ends support `--fsync`; `None` if that could not be found out.
    pub fsync: Option<bool>,
}

/// What came of running the program.
pub(super) struct Tried {
    pub(super) code: i32,
    /// On both of its streams.
    pub(super) said: String,
    pub(super) heard: Heard,
}

impl Tried {
    /// Whether it ended well.
    pub(super) fn well(self) -> Result<(), TrialError> {
        match self {
            Self { code: 0, .. } => Ok(()),
            Self { code, said, .. } => Err(TrialError::Failed { code, said: one_line(&said) }),
        }
    }
}

/// What rsync says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Like `3.2.7`.
    pub number: String,
    /// Whether it can copy extended attributes, where Swift keeps objects' metadata.
    pub xattrs: bool,
}

impl Rsync {
    /// Pushes the empty folder `empty` to a policy's datadir on the device, as a dry run: everything that a push needs
    /// is there if that succeeds.
    ///
    /// # Errors
    /// [`TrialError::Failed`] if rsync ends with another code than 0, with its code and words; [`TrialError::Push`] if
    /// it cannot be started, does not end in time, or `rsync_module` gives no module for the device.
    pub fn try_target(&self, empty: &Path, policy: PolicyIndex, to: &Device) -> Result<Trial, TrialError> {
        let begin = Instant::now();
        self.try_with(&[], empty, policy, to)?.well()?;
        let took = begin.elapsed();
        let fsync = match self.try_with(&["--fsync"], empty, policy, to)? {
            Tried { code: 0, .. } => Some(true),
            Tried { heard: Heard { option: Some(option), .. }, .. } if option.name == "--fsync" => Some(false),
            Tried { .. } => None,
        };
        Ok(Trial { took, fsync })
    }

    fn try_with(&self, more: &[&str], empty: &Path, policy: PolicyIndex, to: &Device) -> Result<Tried, TrialError> {
        let push = Push::new(empty, policy, &[], to, false);
        let tried = self.with_module(to, |template| {
            let target = target_of(template, &push)?;
            let mut args = common_args(&self.options(), false);
            args.extend(more.iter().map(Into::into));
            // Not the datadir itself, lest rsync offer to make it.
            args.extend(["--dry-run".into(), format!("{}/", empty.display()).into(), format!("{target}/.").into()]);
            self.tried(template, target, &args)
        })?;
        Ok(tried)
    }

    /// Runs the program with these arguments, whose first is its name, at a target of the template.
    pub(super) fn tried(&self, template: &str, target: String, args: &[OsString]) -> Result<Tried, PushError> {
        let mut command = self.program();
        command.args(&args[1..]).stdin(Stdio::null());
        let tried = self.say(command)?;
        if tried.heard.lacks_module(tried.code) && self.has_fallback(template) {
            return Err(PushError::NoModule(target));
        }
        Ok(tried)
    }

    /// Asks the program for its version; `None` if it prints none.
    ///
    /// # Errors
    /// [`PushError`] if the program cannot be started or does not end in time.
    pub fn version(&self) -> Result<Option<Version>, PushError> {
        let mut command = self.program();
        command.arg("--version").stdin(Stdio::null());
        Ok(version_in(&self.say(command)?.said))
    }

    /// Runs the program, and returns what it printed.
    pub(super) fn say(&self, command: Command) -> Result<Tried, PushError> {
        let mut said = Said::default();
        let code = self.listen(command, None, |stream, bytes| said.hear(stream, bytes))?;
        Ok(said.ended(code))
    }
}

/// What the program says, as far as it is kept.
#[derive(Default)]
pub(super) struct Said {
    bytes: Vec<u8>,
    heard: Heard,
    errors: Splitter,
}

impl Said {
    pub(super) fn hear(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT - self.bytes.len())]);
        if stream == Stream::Err {
            self.errors.push(bytes, |line| self.heard.line(&line));
        }
    }

    pub(super) fn ended(self, code: i32) -> Tried {
        Tried { code, said: String::from_utf8_lossy(&self.bytes).into_owned(), heard: self.heard }
    }
}

/// rsync's lines as one, without those that only name a place in rsync's source code.
fn one_line(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<_> = lines.filter(|line| !line.starts_with("rsync error: ")).collect();
    if told.is_empty() { said.trim().replace('\n', "; ") } else { told.join("; ") }
}

fn version_in(said: &str) -> Option<Version> {
    let number = said.lines().next()?.strip_prefix("rsync")?.split_whitespace().nth(1)?.to_owned();
    // Capabilities that are missing have a "no" before them.
    let xattrs = !said.contains("no xattrs");
    Some(Version { number, xattrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_the_first_line() {
        let said =
            "rsync  version 3.2.7  protocol version 31\nCopyright\nCapabilities:\n    append, ACLs, xattrs, iconv";
        assert_eq!(version_in(said), Some(Version { number: "3.2.7".into(), xattrs: true }));
        let said = "rsync  version v3.3.0  protocol version 31\nCapabilities:\n    no ACLs, no xattrs";
        assert_eq!(version_in(said), Some(Version { number: "v3.3.0".into(), xattrs: false }));
        assert_eq!(version_in("openrsync: protocol version 29\n"), None);
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn what_rsync_says_becomes_one_line() {
        let said =
            "@ERROR: Unknown module 'o'\nrsync error: error starting client-server protocol (code 5) at main.c(1)\n";
        assert_eq!(one_line(said), "@ERROR: Unknown module 'o'");
        assert_eq!(one_line("rsync error: received SIGINT\n"), "rsync error: received SIGINT");
    }
}
