//! `--rebalance`: how far is a rebalance, here or everywhere?
//!
//! Of this node it says, by device and policy, how many hand-offs are left, how many of them are stuck and why, and when
//! they will be gone (`local`). The figures are those of the replicator that runs, as long as they are about the ring that
//! is in force; else the devices' folders are listed (`listing`). No peer is asked. Of all nodes it says whether the next ring
//! may be pushed (`cluster`).

mod cluster;
mod json;
mod listing;
mod local;
mod rings;
mod table;

use std::time::SystemTime;

use serde_json::json as value;

use crate::cli::{Arguments, Exit, Stream};
use crate::clock::unix;
use crate::config::settings::{self, Loaded};
use crate::config::swift_conf;
use rings::Rings;

/// The exit code if something cannot be told.
const UNKNOWN: u8 = 2;

/// Looks at this node, or at all nodes; what to print, and with which code to exit. Of this node: 0, or 2 if something
/// could not be told. Of all: 0 if the next ring may be pushed, 1 if not yet, 2 if that cannot be told.
pub fn run(arguments: &Arguments, all_nodes: bool) -> Exit {
    let (text, exit_code) = match show(arguments, all_nodes) {
        Ok(shown) => shown,
        Err(error) if arguments.json => (json::render(&value!({ "error": error })), UNKNOWN),
        Err(error) => return Exit::failure(error, UNKNOWN),
    };
    Exit { text, stream: Stream::Stdout, exit_code }
}

fn show(arguments: &Arguments, all_nodes: bool) -> Result<(String, u8), String> {
    let Loaded { settings, .. } = settings::load(&arguments.config).map_err(|error| error.to_string())?;
    let swift_conf = swift_conf::load(swift_conf::PATH.as_ref()).map_err(|error| error.to_string())?;
    let rings = Rings::load(&settings, &swift_conf)?;
    let now = unix(SystemTime::now());
    if all_nodes {
        return Ok(cluster::show(&settings, &rings, now, arguments.json));
    }
    let node = local::look(&settings, &rings, now);
    let text = if arguments.json { json::render(&node) } else { table::render(&node, now) };
    Ok((text, if node.is_known() { 0 } else { UNKNOWN }))
}
