//! `--status`: what other processes that run with this configuration are doing, by the files that they keep.
//!
//! A daemon has a file, and single passes have another. Where there is a daemon's, the exit code is about the daemon,
//! whatever passes somebody has made by hand; else it is about the last single pass. A file that cannot be read hides
//! nothing that the other one has.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cli::{Arguments, Exit, Stream};
use crate::clock::unix;
use crate::config::settings::{self, ReconCachePath};
use crate::printable::{printable, printable_json};
use crate::report::status::{self, Health, Kind, ReadError, Status};

/// The exit code if nothing can be said.
const NOTHING: u8 = 2;

/// Reads the status; what to print, and with which code to exit.
pub fn run(arguments: &Arguments) -> Exit {
    let found = match settings::recon_cache_path(&arguments.config) {
        Ok(found) => found,
        Err(error) => return Exit::tool_failure(error, NOTHING, arguments.json),
    };
    let seen = Seen::look(&found.path, unix(SystemTime::now()));
    if let Some(error) = seen.nothing() {
        return Exit::tool_failure(error, NOTHING, arguments.json);
    }
    let text = if arguments.json { seen.json(&found) } else { seen.text(&found) };
    Exit { text, stream: Stream::Stdout, exit_code: seen.exit_code() }
}

/// A status file, and what is to be thought of it.
struct Judged {
    status: Status,
    health: Health,
}

impl Judged {
    /// `None` if there is no such file.
    fn read(folder: &Path, kind: Kind, now: f64) -> Result<Option<Self>, String> {
        match status::read(folder, kind) {
            Ok(status) => Ok(Some(Self { health: status.health_now(now), status })),
            Err(ReadError::Missing(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn json(&self) -> Value {
        json!({ "health": self.health, "status": self.status })
    }
}

/// What there is of the daemon and of single passes.
struct Seen<'a> {
    folder: &'a Path,
    now: f64,
    daemon: Result<Option<Judged>, String>,
    single: Result<Option<Judged>, String>,
}

impl<'a> Seen<'a> {
    fn look(folder: &'a Path, now: f64) -> Self {
        let read = |kind| Judged::read(folder, kind, now);
        Self { folder, now, daemon: read(Kind::Daemon), single: read(Kind::SinglePass) }
    }

    /// Why nothing can be said of either, if so.
    fn nothing(&self) -> Option<String> {
        match (&self.daemon, &self.single) {
            (Ok(Some(_)), _) | (_, Ok(Some(_))) => None,
            (Err(error), _) | (_, Err(error)) => Some(error.clone()),
            (Ok(None), Ok(None)) => Some(ReadError::Missing(self.folder.join(Kind::Daemon.file())).to_string()),
        }
    }

    fn exit_code(&self) -> u8 {
        match (&self.daemon, &self.single) {
            (Ok(Some(judged)), _) | (Ok(None), Ok(Some(judged))) => judged.health.exit_code(),
            _ => NOTHING,
        }
    }

    fn text(&self, found: &ReconCachePath) -> String {
        let mut parts = Vec::new();
        if let Some(error) = &found.trouble {
            parts.push(line(&format!("The configuration cannot be used as it is now: {error}")));
        }
        match &self.daemon {
            Ok(Some(daemon)) => parts.push(daemon.status.table(self.now, &daemon.health)),
            Ok(None) => {}
            Err(error) => parts.push(line(&format!("Of the daemon nothing is known: {error}"))),
        }
        match &self.single {
            Ok(Some(single)) => {
                self.say_what_to_do(&mut parts);
                let label = if matches!(self.daemon, Ok(None)) { "" } else { "Single pass: " };
                parts.push(format!("{label}{}", single.status.table(self.now, &single.health)));
            }
            Ok(None) => {}
            Err(error) => parts.push(line(&format!("Of single passes nothing is known: {error}"))),
        }
        parts.join("\n")
    }

    /// Somebody replicates by single passes, and a daemon that is gone is all that is seen.
    fn say_what_to_do(&self, parts: &mut [String]) {
        let is_gone = matches!(&self.daemon, Ok(Some(daemon)) if daemon.health == Health::Gone);
        if let Some(last) = parts.last_mut().filter(|_| is_gone) {
            let file = self.folder.join(Kind::Daemon.file());
            *last += &line(&format!("If no daemon is meant to run here, remove {}.", file.display()));
        }
    }

    /// What the files hold, and what is to be thought of them.
    fn json(&self, found: &ReconCachePath) -> String {
        let mut value = match (&self.daemon, &self.single) {
            (Ok(Some(first)), _) | (Ok(None), Ok(Some(first))) => first.json(),
            (Err(error), _) => json!({ "error": error }),
            (Ok(None), _) => json!({}),
        };
        match &self.single {
            Ok(Some(single)) if !matches!(self.daemon, Ok(None)) => value["single_pass"] = single.json(),
            Err(error) => value["single_pass"] = json!({ "error": error }),
            Ok(_) => {}
        }
        if let Some(error) = &found.trouble {
            value["configuration"] = json!(error.to_string());
        }
        as_json(&value)
    }
}

fn line(text: &str) -> String {
    format!("{}\n", printable(text))
}

fn as_json(value: &Value) -> String {
    // Names, numbers and texts: nothing in it can fail.
    printable_json(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")
}
