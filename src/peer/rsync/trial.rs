//! Tries rsync without pushing anything, for `--check`: its version, and whether a target would take a push.

use std::path::Path;
use std::process::Stdio;
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
struct Tried {
    code: i32,
    /// On both of its streams.
    said: String,
    heard: Heard,
}

impl Tried {
    /// Whether it ended well.
    fn well(self) -> Result<(), TrialError> {
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

    /// Copies what the folder `probe` holds into the device's folder of temporary files.
    ///
    /// # Errors
    /// As for [`Rsync::try_target`].
    pub fn write_probe(&self, probe: &Path, policy: PolicyIndex, to: &Device) -> Result<(), TrialError> {
        self.in_tmp(&[], probe, policy, to)
    }

    /// Removes the file of this name there again; `empty` is an empty folder.
    ///
    /// # Errors
    /// As for [`Rsync::try_target`].
    pub fn remove_probe(&self, empty: &Path, name: &str, policy: PolicyIndex, to: &Device) -> Result<(), TrialError> {
        // What is excluded is not deleted.
        self.in_tmp(&["--delete", &format!("--include=/{name}"), "--exclude=*"], empty, policy, to)
    }

    fn in_tmp(&self, more: &[&str], folder: &Path, policy: PolicyIndex, to: &Device) -> Result<(), TrialError> {
        let tmp = |datadir: &str| {
            let device = datadir.rsplit_once('/').map_or(datadir, |(device, _)| device);
            format!("{device}/tmp/.")
        };
        self.run_to(more, folder, policy, to, tmp)?.well()
    }

    fn try_with(&self, more: &[&str], empty: &Path, policy: PolicyIndex, to: &Device) -> Result<Tried, TrialError> {
        // Not the datadir itself, lest rsync offer to make it.
        self.run_to(&[more, &["--dry-run"]].concat(), empty, policy, to, |datadir| format!("{datadir}/."))
    }

    /// Runs the program with what the folder holds, to a place beside or in the policy's datadir on the device.
    fn run_to(
        &self,
        more: &[&str],
        folder: &Path,
        policy: PolicyIndex,
        to: &Device,
        place: impl Fn(&str) -> String,
    ) -> Result<Tried, TrialError> {
        let push = Push::new(folder, policy, &[], to, false);
        self.with_module(to, |template| {
            let target = target_of(template, &push)?;
            let mut args = common_args(&self.options(), false);
            args.extend(more.iter().map(Into::into));
            args.extend([format!("{}/", folder.display()).into(), place(&target).into()]);
            let tried = self.say(&args[1..])?;
            if tried.heard.lacks_module(tried.code) && self.has_fallback(template) {
                return Err(PushError::NoModule(target));
            }
            Ok(tried)
        })
        .map_err(TrialError::from)
    }

    /// Asks the program for its version; `None` if it prints none.
    ///
    /// # Errors
    /// [`PushError`] if the program cannot be started or does not end in time.
    pub fn version(&self) -> Result<Option<Version>, PushError> {
        Ok(version_in(&self.say(&["--version"])?.said))
    }

    /// Runs the program, and returns what it printed.
    fn say(&self, args: &[impl AsRef<std::ffi::OsStr>]) -> Result<Tried, PushError> {
        let mut command = self.program();
        command.args(args).stdin(Stdio::null());
        let mut said = Vec::new();
        let (mut heard, mut errors) = (Heard::default(), Splitter::default());
        let code = self.listen(command, None, |stream, bytes| {
            said.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT - said.len())]);
            if stream == Stream::Err {
                errors.push(bytes, |line| heard.line(&line));
            }
        })?;
        Ok(Tried { code, said: String::from_utf8_lossy(&said).into_owned(), heard })
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
