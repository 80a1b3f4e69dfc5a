//! `--dry-run`: what would a pass do?
//!
//! It is a pass whose effects are only noted (`job/transfer/dry_run.rs`). It runs as the daemon's user, and writes no
//! figures, metrics or syslog: their readers would take what would be done for what was done. Errors go to stderr, and
//! with `-v` all other lines do too. The result (`prediction`) is shown as a table or as JSON.

mod prediction;
mod table;

use std::path::Path;
use std::sync::Arc;

use log::warn;

use crate::cli::{Arguments, Exit, Stream};
use crate::config::settings::{self, Loaded};
use crate::config::swift_conf;
use crate::daemon::Failure;
use crate::job::transfer::dry_run::Plan;
use crate::log::{init_console, set_thread_prefix};
use crate::pass::Replicator;
use crate::user::Account;
use prediction::DryRunReport;

/// What every line of the log begins with.
const PREFIX: &str = "[dry run] ";

/// Goes through a pass; what to print, and with which code to exit: 0, or 1 if anything could not be looked at.
pub fn run(arguments: &Arguments) -> Exit {
    match predict(arguments) {
        Ok(report) => Exit {
            text: if arguments.json { report.json() } else { table::render(&report) },
            stream: Stream::Stdout,
            exit_code: u8::from(!report.is_whole()),
        },
        Err(failure) => {
            let exit_code = failure.exit_code();
            Exit::tool_failure(failure, exit_code, arguments.json)
        }
    }
}

fn predict(arguments: &Arguments) -> Result<DryRunReport, Failure> {
    let Loaded { settings, warnings } = settings::load(&arguments.config)?;
    let overrides = arguments.overrides()?;
    let account = Account::find(&settings.user)?;
    init_console(&settings.log, arguments.verbose)?;
    set_thread_prefix(PREFIX);
    warnings.iter().for_each(|warning| warn!("{warning}"));
    let swift_conf = swift_conf::load(Path::new(swift_conf::PATH))?;
    let plan = Arc::new(Plan::default());
    let mut replicator = Replicator::predicting(settings, &swift_conf, Arc::clone(&plan))?;
    if let Err(error) = account.assume() {
        warn!("{error}: what follows is what the current user can see");
    }
    replicator.unmatched(&overrides).iter().for_each(|line| warn!("Nothing matches {line}"));
    let summary = replicator.run_pass(&overrides);
    Ok(DryRunReport::new(plan.devices(), &summary))
}
