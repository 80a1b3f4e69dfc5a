//! `--check`: is everything there that a pass depends on?
//!
//! The checks follow the start of the daemon and its first pass: the configuration, the user, `swift.conf`, the rings,
//! the local devices with a sample of what is on them, rsync, and every peer. Without `--write` nothing is changed
//! anywhere, and no wait is endless: disks and peers are looked at side by side (`bounded`). The result is a list of
//! findings (`finding`), shown as a table (`table`) or as JSON. The worst of them decides the exit code.

mod configuration;
mod devices;
mod finding;
mod names;
mod owners;
mod peers;
mod rings;
mod rsyncd;
mod surroundings;
mod table;

use std::io::{IsTerminal, stdout};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Arguments, Exit, Stream};
use crate::config::settings::{Settings, SyncMethod};
use crate::config::swift_conf;
use crate::user::Account;
use finding::{Finding, Findings};

/// Checks everything; `write`: peers by writing, too. What to print, and with which code to exit.
pub fn run(arguments: &Arguments, write: bool) -> Exit {
    let mut findings = Findings::default();
    let unusable = check(&arguments.config, write, &mut findings.0).err();
    let text = if arguments.json { findings.json(unusable) } else { for_people(&findings) };
    Exit { text, stream: Stream::Stdout, exit_code: findings.exit_code() }
}

fn for_people(findings: &Findings) -> String {
    let on_terminal = stdout().is_terminal();
    let width = rustix::termios::tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|w| *w > 0);
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none();
    table::render(findings, width.filter(|_| on_terminal), colours)
}

/// Checks everything, or as much as can be looked at.
///
/// # Errors
/// What cannot be used of the configuration or `swift.conf`, so that no more than this was looked at; it is among the
/// findings, too.
fn check(config: &Path, write: bool, findings: &mut Vec<Finding>) -> Result<(), String> {
    let settings = configuration::load(config, findings)?;
    let path = Path::new(swift_conf::PATH);
    let swift_conf = swift_conf::load(path);
    findings.extend(configuration::swift_conf(path, &swift_conf));
    findings.extend(log_socket(&settings));
    // From here on as the daemon's user: what the user may not read or write is found.
    findings.push(become_user(&settings.user));
    findings.extend(surroundings::files(config, &settings));
    findings.extend(surroundings::hosts(&settings));
    findings.push(peers::rsync(&settings));
    let swift_conf = swift_conf.map_err(|error| error.to_string())?;
    let rings = rings::load(&settings, &swift_conf, findings);
    findings.extend(devices::check(&settings, &rings, &Arc::new(swift_conf)));
    if settings.sync_method == SyncMethod::Rsync {
        let streams = peers::streams(&settings, &rings);
        findings.extend(rsyncd::check(Path::new(rsyncd::PATH), &settings, &rings, streams));
    }
    findings.extend(peers::check(&settings, &rings, write));
    Ok(())
}

fn become_user(name: &str) -> Finding {
    let account = match Account::find(name) {
        Ok(account) => account,
        Err(error) => return Finding::error("user", error.to_string()),
    };
    match account.assume() {
        Ok(()) => Finding::ok("user", format!("{name} is known; what follows is what {name} can do")),
        Err(error) => Finding::warning("user", format!("{error}: what follows is what the current user can do")),
    }
}

/// Where the log goes if nothing else is said; silence is as good as that.
fn log_socket(settings: &Settings) -> Option<Finding> {
    let address = &settings.log.address;
    let is_socket = std::fs::metadata(address).is_ok_and(|target| target.file_type().is_socket());
    (settings.log.udp_host.is_none() && !is_socket).then(|| {
        Finding::warning(
            "log",
            format!("log_address: {address} is not a socket, so the log goes to port 514 of localhost"),
        )
    })
}
