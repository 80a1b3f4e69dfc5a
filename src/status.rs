//! `--status`: what other processes that run with this configuration are doing, by the files that they keep.
//!
//! A daemon has a file, and single passes have another. Where there is a daemon's, the exit code is about the daemon,
//! whatever passes somebody has made by hand; else it is about the last single pass.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cli::{Arguments, Exit, Stream};
use crate::clock::unix;
use crate::config::settings::{self, ReconCachePath};
use crate::printable::{printable, printable_json};
use crate::report::status::{self, Health, Kind, ReadError, Status, process_began};

/// The exit code if nothing can be said.
const NOTHING: u8 = 2;

/// Reads the status; what to print, and with which code to exit.
pub fn run(arguments: &Arguments) -> Exit {
    let found = settings::recon_cache_path(&arguments.config).map_err(|error| error.to_string());
    match found.and_then(|found| show(&found, arguments.json)) {
        Ok((text, exit_code)) => Exit { text, stream: Stream::Stdout, exit_code },
        Err(error) => Exit::tool_failure(error, NOTHING, arguments.json),
    }
}

/// A status file, and what is to be thought of it.
struct Judged {
    status: Status,
    health: Health,
}

impl Judged {
    fn read(folder: &Path, kind: Kind, now: f64) -> Result<Self, ReadError> {
        let status = status::read(folder, kind)?;
        Ok(Self { health: status.health(now, process_began(status.pid)), status })
    }

    fn json(&self) -> Value {
        json!({ "health": self.health, "status": self.status })
    }
}

fn show(found: &ReconCachePath, json: bool) -> Result<(String, u8), String> {
    let now = unix(SystemTime::now());
    let read = |kind| match Judged::read(&found.path, kind, now) {
        Ok(judged) => Ok(Some(judged)),
        Err(ReadError::Missing(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let (first, other) = match (read(Kind::Daemon)?, read(Kind::SinglePass)) {
        (Some(daemon), single) => (daemon, single?),
        (None, single) => match single? {
            Some(single) => (single, None),
            None => return Err(ReadError::Missing(found.path.join(Kind::Daemon.file())).to_string()),
        },
    };
    let text = if json { as_json(found, &first, other.as_ref()) } else { as_text(found, &first, other.as_ref(), now) };
    Ok((text, first.health.exit_code()))
}

fn as_text(found: &ReconCachePath, first: &Judged, single: Option<&Judged>, now: f64) -> String {
    let mut text = String::new();
    if let Some(error) = &found.trouble {
        text += &printable(&format!("The configuration cannot be used as it is now: {error}"));
        text += "\n\n";
    }
    text += &first.status.table(now, &first.health);
    if let Some(single) = single {
        if first.health == Health::Gone {
            let file = found.path.join(Kind::Daemon.file());
            text += &printable(&format!("If no daemon is meant to run here, remove {}.", file.display()));
            text.push('\n');
        }
        text += "\nSingle pass: ";
        text += &single.status.table(now, &single.health);
    }
    text
}

/// What the files hold, and what is to be thought of them.
fn as_json(found: &ReconCachePath, first: &Judged, single: Option<&Judged>) -> String {
    let mut value = first.json();
    if let Some(single) = single {
        value["single_pass"] = single.json();
    }
    if let Some(error) = &found.trouble {
        value["configuration"] = json!(error.to_string());
    }
    // Names, numbers and texts: nothing in it can fail.
    printable_json(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n")
}
