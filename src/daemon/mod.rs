//! The process: from the command line to the exit, once or forever.
//!
//! [`run`] goes through the start in the order of the reference (B1.8), since it decides where an error shows: until stdio
//! is detached they end the process with a line on stderr, afterwards everything goes to the log. Privileges are dropped
//! before the first worker starts. Then passes follow each other until a signal ends the process.

pub(crate) mod account;
mod detach;
mod groups;
mod passes;
mod priority;
mod signals;
mod systemd;

use std::ffi::OsStr;
use std::path::Path;
use std::process;
use std::sync::Arc;

use log::warn;
use thiserror::Error;

use crate::cli::{Arguments, BadList};
use crate::config::settings::{self, ConfigError, Loaded, Settings};
use crate::config::swift_conf::{self, SwiftConfError};
use crate::pass::{Overrides, Replicator, StartError};
use crate::report;
use crate::{notice, sys};
use account::{Account, AccountError};
use detach::DetachError;

/// Why the daemon cannot run: one line.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    List(#[from] BadList),
    #[error(transparent)]
    SwiftConf(#[from] SwiftConfError),
    #[error(transparent)]
    Log(#[from] report::log::InitError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Detach(#[from] DetachError),
    #[error("unable to listen for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the daemon: one pass, or passes until a signal ends the process.
///
/// Returns after one pass; how it went never is a failure (B1.10).
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Loaded { settings, mut warnings } = settings::load(&arguments.config)?;
    let settings = Arc::new(settings);
    let once = arguments.once || !settings.daemonize;
    // In a daemon that goes on forever they are not even looked at (B1.6).
    let overrides = if once { arguments.overrides()? } else { Overrides::default() };
    let account = Account::find(&settings.user)?;
    warnings.extend(set_environment(&account));
    warnings.extend(log_without_socket(&settings, arguments.verbose));

    report::log::init(&settings.log, arguments.verbose)?;
    priority::apply(&settings);
    notice!("Starting {}", process::id());
    warnings.iter().for_each(|warning| warn!("{warning}"));

    let swift_conf = swift_conf::load(Path::new(swift_conf::PATH))?;
    let mut replicator = Replicator::new(Arc::clone(&settings), &swift_conf)?;
    account.assume()?;
    detach::leave_session()?;
    signals::watch(replicator.births().clone()).map_err(Failure::Signals)?;
    detach::release_stdio(arguments.verbose)?;
    systemd::notify("READY=1");

    if !once {
        passes::forever(&mut replicator, &settings);
    }
    passes::once(&mut replicator, &settings, &overrides);
    systemd::notify("STOPPING=1");
    notice!("Exited {}", process::id());
    Ok(())
}

/// A log that goes elsewhere than the configuration says tells nobody that it does, so this is for stderr too.
fn log_without_socket(settings: &Settings, verbose: bool) -> Option<String> {
    let complaint = report::syslog::complaint(&settings.log)?;
    if !verbose && settings.log.address != settings::LOG_ADDRESS {
        eprintln!("{complaint}");
    }
    Some(complaint)
}

/// `TZ` and `HOME`, for rsync. It is done while there is only one thread, so long before the user changes.
fn set_environment(account: &Account) -> Option<String> {
    let set = |name, value| sys::set_env(name, value);
    let done = set("TZ", OsStr::new("UTC+0")).and_then(|()| set("HOME", account.home()));
    done.err().map(|error| format!("TZ and HOME are left as they were: {error}"))
}
