//! Why something did not arrive.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::{self, Again, Fault, Heard, Reached, Verdict};
use super::push::Unseen;
use crate::cause::Cause;
use crate::names::Partition;
use crate::peer::module::ModuleError;

/// Why something did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// None of the suffixes is there any more (B8.2).
    #[error("nothing is left to send")]
    NothingToSend,
    /// Suffixes that may be there cannot be looked at, and nothing else is there. The log has each of them.
    #[error("{} suffixes cannot be looked at", .0.len())]
    Unseen(Vec<Unseen>),
    /// The device is not the one any more that was checked. The log has it already.
    #[error("the device is gone")]
    DeviceGone,
    /// The local datadir cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Datadir { path: PathBuf, source: io::Error },
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
    #[error("rsync did not finish a partition within {}s", limit.as_secs())]
    TimedOut {
        limit: Duration,
        /// How far it came.
        reached: Reached,
    },
    /// The daemon has no such module.
    #[error("the rsync daemon does not know the module of {0}")]
    NoModule(String),
    /// The daemon, or the program here, does not take an option.
    #[error("{} does not take {option}", if *here { "this machine's rsync" } else { "the rsync daemon" })]
    Refused {
        /// With its dashes.
        option: String,
        /// Whether it is the program here.
        here: bool,
    },
    /// rsync ended with another code than 0.
    #[error("rsync ended with code {code}")]
    Failed {
        /// The exit code; the negative number of the signal that killed it.
        code: i32,
        /// What that, and what rsync said, means.
        verdict: Verdict,
    },
}

impl PushError {
    /// Of a run that pushed to the target and ended with this code.
    pub(super) fn of_end(code: i32, heard: &Heard, target: &str) -> Self {
        match &heard.option {
            Some(option) => Self::Refused { option: option.name.clone(), here: option.here },
            None if heard.lacks_module(code) => Self::NoModule(target.to_owned()),
            None => Self::Failed { code, verdict: exit::verdict(code, heard) },
        }
    }

    /// Whether it is the end of a run of rsync, which the log has. Anything else is the caller's to log, as the reference
    /// does: `Error syncing with node: <node>: <error>`.
    pub fn is_of_a_run(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::NoModule(_) | Self::Refused { .. } | Self::Failed { .. })
    }

    /// What it means. (Nothing to send is no failure, and means nothing.)
    pub fn verdict(&self) -> Verdict {
        use {Again::*, Fault::*};
        match self {
            Self::Failed { verdict, .. } => *verdict,
            Self::Unseen(_) => Verdict::new(Cause::Local, No, Files),
            Self::DeviceGone | Self::Datadir { .. } => Verdict::new(Cause::Local, No, Here),
            // Which of them would take as long again, `reached` tells at most.
            Self::TimedOut { reached: Reached { suspect: Some(_), .. }, .. } => {
                Verdict::new(Cause::Timeout, Divided, Files)
            }
            Self::TimedOut { .. } => Verdict::new(Cause::Timeout, Divided, Device),
            Self::NoModule(_) => Verdict::new(Cause::Refused, No, Module),
            Self::Refused { here, .. } => Verdict::new(Cause::Refused, No, if *here { Here } else { Module }),
            Self::NothingToSend | Self::Module(_) | Self::Target { .. } | Self::Start { .. } | Self::Watch(_) => {
                Verdict::new(Cause::Push, No, Here)
            }
        }
    }

    /// Whether rsync could not send all of it, or some of it vanished: the rest may have arrived.
    pub fn is_partial(&self) -> bool {
        matches!(self, Self::Failed { code, .. } if exit::is_partial(*code))
    }

    /// Where rsync stood still: the partition in which this side hung, as far as that is known.
    pub fn suspect(&self) -> Option<Partition> {
        match self {
            Self::TimedOut { reached, .. } => reached.suspect,
            _ => None,
        }
    }

    /// What a report calls it.
    pub fn cause(&self) -> Cause {
        self.verdict().cause
    }
}
