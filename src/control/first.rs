//! `--first`: tells a running daemon which partitions are to go before all else, and waits for them if that is asked for.

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{NOBODY, REFUSED, ask, is_nobody_there};
use crate::cli::{Arguments, Exit, FirstArguments, Stream};
use crate::config::settings;
use crate::orders::first::FirstShown;
use crate::orders::wire::{Answer, Request};
use crate::pass::first::What;
use crate::printable::{printable, printable_json};
use crate::report::orders::partition;
use crate::report::pass_report::{FAILED, INCOMPLETE};

/// How often the daemon is asked whether it has found what is meant.
const SOON: Duration = Duration::from_millis(200);
/// How often it is asked how far it is.
const LATER: Duration = Duration::from_secs(1);
/// How often in a row it may give no answer.
const TRIES: usize = 5;

/// Gives the order; what to print, and with which code to exit. `None` if no daemon runs with this configuration.
pub fn first(arguments: &Arguments) -> Option<Exit> {
    let asked = arguments.first.as_ref()?;
    let folder = match settings::recon_cache_path(&arguments.config) {
        Ok(found) => found.path,
        Err(error) => return Some(Exit::tool_failure(error, NOBODY, arguments.json)),
    };
    if is_nobody_there(&folder) {
        return None;
    }
    Some(
        request(arguments, asked)
            .and_then(|request| give(&folder, &request, arguments.json, asked.wait))
            .unwrap_or_else(|exit| as_asked(exit, arguments.json)),
    )
}

/// Who wants JSON gets it, whatever goes wrong.
fn as_asked(exit: Exit, json: bool) -> Exit {
    if json { Exit::tool_failure(exit.text.trim_end(), exit.exit_code, json) } else { exit }
}

fn request(arguments: &Arguments, asked: &FirstArguments) -> Result<Request, Exit> {
    let overrides = arguments.overrides().map_err(|error| Exit::failure(error, 2))?;
    if let Some((option, number)) = overrides.negative.first() {
        return Err(Exit::failure(format!("option {option}: nothing has the number {number}"), 2));
    }
    let (mut moved, mut to) = (None, None);
    match &asked.what {
        What::Named => {}
        What::MovedSince(path) => match path.to_str() {
            Some(path) => moved = Some(path.to_owned()),
            None => return Err(Exit::failure("--moved: the path is not UTF-8", 2)),
        },
        What::To(peer) => to = Some(peer.to_string()),
    }
    let partitions = (asked.what == What::Named).then(|| overrides.partitions.unwrap_or_default());
    let (devices, policies, terms) = (overrides.devices, overrides.policies, asked.terms.clone());
    Ok(Request::First { partitions, moved, to, devices, policies, terms })
}

fn give(folder: &Path, request: &Request, json: bool, wait: bool) -> Result<Exit, Exit> {
    let answer = ask(folder, request).map_err(|error| Exit::failure(error, NOBODY))?;
    if let Some(error) = &answer.error {
        return Err(Exit::failure(error, REFUSED));
    }
    let order = Given { folder, pid: answer.pid, number: answer.first.unwrap_or_default().number };
    let found = order.wait_until(SOON, |order| !order.is_looked_for)?;
    if let Some(refused) = &found.refused {
        return Err(Exit::failure(refused, REFUSED));
    }
    if !wait {
        let text = if json { as_json(&found) } else { lines(&found.lines) };
        return Ok(Exit { text, stream: Stream::Stdout, exit_code: if found.is_doubtful { INCOMPLETE } else { 0 } });
    }
    if !json {
        // Whoever closed the stream does not want to know.
        let _ = std::io::stdout().write_all(lines(&found.lines).as_bytes());
    }
    let tried = order.wait_until(LATER, FirstShown::is_tried)?;
    let text = if json { as_json(&tried) } else { lines(&outcome(&tried)) };
    let exit_code = match &tried {
        order if order.failed > 0 => FAILED,
        order if order.is_doubtful => INCOMPLETE,
        _ => 0,
    };
    Ok(Exit { text, stream: Stream::Stdout, exit_code })
}

/// An order that a daemon has taken.
struct Given<'a> {
    folder: &'a Path,
    pid: u32,
    number: u64,
}

impl Given<'_> {
    /// Waits until the order is so far.
    fn wait_until(&self, pause: Duration, is_so_far: impl Fn(&FirstShown) -> bool) -> Result<FirstShown, Exit> {
        let gone = |why: &str| Exit::failure(format!("the daemon does not go on with it: {why}"), INCOMPLETE);
        let mut unanswered = 0;
        loop {
            match ask(self.folder, &Request::FirstState { number: self.number }) {
                Ok(Answer { pid, first: Some(first), .. }) if pid == self.pid => {
                    unanswered = 0;
                    if is_so_far(&first) {
                        return Ok(first);
                    }
                }
                Ok(Answer { error: Some(error), .. }) => return Err(gone(&error)),
                Ok(_) => return Err(gone("it has begun anew, and does not know the order any more")),
                Err(error) => {
                    unanswered += 1;
                    if unanswered >= TRIES || is_nobody_there(self.folder) {
                        return Err(gone(&error));
                    }
                    thread::sleep(LATER);
                }
            }
            thread::sleep(pause);
        }
    }
}

fn outcome(order: &FirstShown) -> Vec<String> {
    let FirstShown { total, done, failed, left, .. } = order;
    let mut lines = vec![format!("{done} of {total} done, {failed} failed")];
    if *failed > 0 {
        lines.push("What failed is tried again in each pass; --status shows it. It is:".to_owned());
        lines.extend(left.iter().filter(|left| left.failures > 0).map(partition));
    }
    lines
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

fn as_json(order: &FirstShown) -> String {
    // Names, numbers and texts: nothing in it can fail.
    printable_json(serde_json::to_string_pretty(order).unwrap_or_default() + "\n")
}
