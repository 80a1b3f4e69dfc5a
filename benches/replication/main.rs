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
mod clients;
mod launch;
mod passes;
mod peers;
mod plot;
mod push;
mod report;
mod scale;
mod slow_disk;
mod stage;
mod tree;

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Case;
use stage::Runs;
use support::supervisor::supervise;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Finish within a quarter of an hour.
    pub quick: bool,
    /// What `RUNS` says.
    runs: Option<Runs>,
    begun: Instant,
}

impl Plan {
    fn from_environment() -> Self {
        let number = |runs: &str| runs.parse().expect("RUNS is a number, or two: RUNS=1,5");
        let runs = std::env::var("RUNS").ok().map(|runs| {
            let (reference, ours) = runs.split_once(',').unwrap_or((&runs, &runs));
            Runs { reference: number(reference), ours: number(ours) }
        });
        Self { quick: std::env::var_os("QUICK").is_some(), runs, begun: Instant::now() }
    }

    /// For work that makes files on the disk: waits until what was removed before, such as the trees of an earlier
    /// benchmark, is forgotten. For a minute ext4 looks at each such inode before it makes a file (for six, where it has
    /// yet to be written), which can double the CPU of a pass.
    pub fn let_the_disk_forget(self) {
        rustix::fs::sync();
        const TIME: Duration = Duration::from_secs(65);
        std::thread::sleep(TIME.saturating_sub(self.begun.elapsed()));
    }

    /// For work that takes seconds.
    pub fn usual(self) -> Runs {
        let runs = if self.quick { 3 } else { 5 };
        self.runs.unwrap_or(Runs { reference: runs, ours: runs })
    }

    /// For work that takes the reference minutes.
    pub fn slow(self) -> Runs {
        self.runs.unwrap_or(Runs { reference: 1, ours: 3 })
    }
}

/// A row of the table: its name for `ROW`, and what measures it.
type Row = (&'static str, fn(Plan) -> Vec<Case>);

const ROWS: [Row; 13] = [
    ("idle", passes::idle),
    ("in-sync", passes::in_sync),
    ("cold", passes::cold),
    ("push-2", push::two_targets),
    ("push-2-ext4", push::two_targets_on_disk),
    ("push-24", push::many_targets),
    ("hand-offs", push::handoffs),
    ("hand-offs-ext4", push::handoffs_on_disk),
    ("memory", scale::memory),
    (scale::ROW, scale::scale),
    ("slow-disk", slow_disk::measure),
    ("clients", clients::measure),
    ("big-ring", big_ring::measure),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some(launch::ROLE) => launch::run(arguments),
        Some(big_ring::ROLE) => big_ring::load(arguments),
        _ => supervise(measure),
    }
}

fn measure() -> ExitCode {
    let wanted = std::env::var("ROW").ok();
    let plan = Plan::from_environment();
    let rows: Vec<_> = ROWS.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|row| row == name)).collect();
    if rows.is_empty() {
        eprintln!("ROW is none of {}", ROWS.map(|(name, _)| name).join(", "));
        return ExitCode::FAILURE;
    }
    for (name, row) in rows {
        eprintln!("{name}");
        report::save(name, &row(plan));
    }
    report::show(&ROWS.map(|(name, _)| name));
    ExitCode::SUCCESS
}
