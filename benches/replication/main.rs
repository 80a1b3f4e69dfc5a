//! The benchmark: the reference and ours in turn, as whole processes, over the same trees with the same peers.
//!
//! `make bench` runs it. Each row of the table is a kind of work; `ROW=in-sync` runs one row, `QUICK=1` takes smaller
//! trees and fewer runs where the reference is slow. Before every run the tree is brought into the same state. Runs of the two
//! alternate, so that what else the machine does falls on both, and the table has medians. After every run the recon
//! cache must tell that all of the work was done.
//!
//! Each row leaves its figures in `target/bench/<row>.json`; table and plot are made from all that are there.

#[path = "../../tests/support/mod.rs"]
mod support;

mod big_ring;
mod launch;
mod memory;
mod passes;
mod peers;
mod report;
mod stage;
mod tree;

use std::ffi::OsStr;
use std::process::ExitCode;

use report::Case;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Finish within a quarter of an hour.
    pub quick: bool,
    /// Runs per program.
    pub runs: usize,
}

/// A row of the table: its name for `ROW`, and what measures it.
type Row = (&'static str, fn(Plan) -> Vec<Case>);

const ROWS: [Row; 5] = [
    ("idle", passes::idle),
    ("in-sync", passes::in_sync),
    ("cold", passes::cold),
    ("memory", memory::measure),
    ("big-ring", big_ring::measure),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some(launch::ROLE) => launch::run(arguments),
        Some(big_ring::ROLE) => big_ring::load(arguments),
        _ => measure(),
    }
}

fn measure() -> ExitCode {
    let wanted = std::env::var("ROW").ok();
    let quick = std::env::var_os("QUICK").is_some();
    let runs = std::env::var("RUNS").ok().map_or(5, |runs| runs.parse().expect("RUNS is a number"));
    let rows: Vec<_> = ROWS.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|row| row == name)).collect();
    if rows.is_empty() {
        eprintln!("ROW is none of {}", ROWS.map(|(name, _)| name).join(", "));
        return ExitCode::FAILURE;
    }
    for (name, row) in rows {
        eprintln!("{name}");
        report::save(name, &row(Plan { quick, runs }));
    }
    report::show(&ROWS.map(|(name, _)| name));
    ExitCode::SUCCESS
}
