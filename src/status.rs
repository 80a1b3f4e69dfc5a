//! `--status`: what another process that runs with this configuration is doing, as its status file says.

use std::path::Path;
use std::time::SystemTime;

use crate::cli::{Arguments, Exit, Stream};
use crate::clock::unix;
use crate::config::settings;
use crate::printable::printable_json;
use crate::report::status::{self, Status, process_began};

/// The exit code if nothing can be said.
const NOTHING: u8 = 2;

/// Reads the status; what to print, and with which code to exit.
pub fn run(arguments: &Arguments) -> Exit {
    let read = settings::load(&arguments.config).map_err(|error| error.to_string());
    match read.and_then(|loaded| show(&loaded.settings.recon_cache_path, arguments.json)) {
        Ok((text, exit_code)) => Exit { text, stream: Stream::Stdout, exit_code },
        Err(error) => Exit::failure(error, NOTHING),
    }
}

fn show(folder: &Path, json: bool) -> Result<(String, u8), String> {
    let status = status::read(folder).map_err(|error| error.to_string())?;
    let now = unix(SystemTime::now());
    let health = status.health(now, process_began(status.pid));
    let text = if json { as_json(&status, &health) } else { status.table(now, &health) };
    Ok((text, health.exit_code()))
}

/// What the file holds, and what is to be thought of it.
fn as_json(status: &Status, health: &status::Health) -> String {
    // Names, numbers and texts: nothing in it can fail.
    let value = serde_json::json!({ "health": health, "status": status });
    printable_json(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n")
}
