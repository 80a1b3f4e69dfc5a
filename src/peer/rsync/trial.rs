//! rsync itself, tried without pushing anything: what `--check` wants to know.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::args::{common_args, target_of};
use super::run::{self, End, RunError};
use super::{Push, PushError, Rsync};
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
    /// is there if that succeeds. Tells how long it took.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn try_target(&self, empty: &Path, policy: PolicyIndex, to: &Device) -> Result<Duration, TrialError> {
        let push = Push { datadir: empty, policy, parts: &[], to, across_regions: false };
        let target = target_of(&self.options.module, &push)?;
        let mut args = common_args(&self.options, false);
        args.extend([
            "--dry-run".into(),
            format!("{}/", empty.display()).into(),
            // Not the datadir itself, lest rsync offer to make it.
            format!("{target}/.").into(),
        ]);
        let begin = Instant::now();
        let (code, said) = self.say(&args[1..])?;
        if code != 0 {
            return Err(TrialError::Failed { code, said: one_line(&said) });
        }
        Ok(begin.elapsed())
    }

    /// Asks the program for its version; `None` if it does not tell.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version(&self) -> Result<Option<Version>, PushError> {
        Ok(version_in(&self.say(&["--version"])?.1))
    }

    /// Runs the program; its exit code, and what it says on both of its streams.
    fn say(&self, args: &[impl AsRef<std::ffi::OsStr>]) -> Result<(i32, String), PushError> {
        let start = |source| PushError::Start { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        for name in &self.unwanted_variables {
            command.env_remove(name);
        }
        let mut said = Vec::new();
        let keep = |bytes: &[u8]| {
            said.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT - said.len())]);
            false
        };
        match run::run(command, self.options.timeout, &self.nursery(), keep) {
            Ok(End::Exited(status)) => Ok((status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())),
            Ok(End::TimedOut) => Err(PushError::TimedOut(self.options.timeout)),
            Err(RunError::Start(error)) => Err(start(error)),
            Err(RunError::Watch(error)) => Err(PushError::Watch(error)),
        }
    }
}

/// rsync's lines as one; what it says of its own source code is no use to anybody here.
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
