//! One fault costs its own share: a matrix of what can be wrong with what.
//!
//! [`cells`] has the cells as data, [`faults`] makes what is wrong in a [`lab`] of real servers, and [`judge`] makes passes
//! and looks what came of it. docs/fault-matrix.md is written from the cells ([`table`]).
//!
//! `make test` runs some of the cells, `make matrix` all; `make matrix ONLY='EIO | file'` those whose names have these
//! words, and `REFERENCE=1` shows what the reference does. Cells that are known to fail are listed in `known.txt`, which
//! is to become empty: in the long form a listed cell that is right fails the test too.

mod cells;
mod faults;
mod judge;
mod lab;
mod table;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use self::cells::Cell;
use self::lab::Lab;
use crate::chaos::world::lock;
use crate::support::replicator::Which;

/// Cells that are known to fail.
const KNOWN: &str = include_str!("known.txt");
/// How many clusters run cells: they wait most of the time.
const LABS: usize = 3;

/// What came of a cell.
struct Verdict {
    cell: Cell,
    seconds: u64,
    wrong: Vec<String>,
}

#[test]
fn one_fault_costs_its_own_share() {
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let is_long = !text("MATRIX_LONG").is_empty();
    let (only, which) =
        (text("MATRIX_ONLY"), if text("MATRIX_REFERENCE").is_empty() { Which::Ours } else { Which::Reference });
    let mut cells = if is_long || !only.is_empty() { cells::all() } else { cells::short() };
    cells.retain(|cell| only.split(',').any(|words| cell.to_string().contains(words)));
    let Some(verdicts) = run(cells, which) else {
        tell("left out: a tmpfs keeps no user xattrs here (Linux before 6.6)");
        return;
    };
    let mut unexpected = Vec::new();
    for verdict in &verdicts {
        let name = verdict.cell.to_string();
        match (verdict.wrong.is_empty(), is_known(&verdict.cell)) {
            (false, false) => unexpected.push(format!("{name}: {}", verdict.wrong.join("; "))),
            (true, true) if is_long => unexpected.push(format!("{name}: is right, and is listed in known.txt")),
            _ => {}
        }
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.wrong.is_empty()).count();
    tell(&format!(
        "{} cells, {failed} fail, {} of them or of those that are right unexpectedly",
        verdicts.len(),
        unexpected.len()
    ));
    assert!(unexpected.is_empty(), "{} cells:\n{}", unexpected.len(), unexpected.join("\n"));
}

/// Runs cells; `None` if devices cannot be made here.
fn run(cells: Vec<Cell>, which: Which) -> Option<Vec<Verdict>> {
    let labs: Option<Vec<Lab>> = (0..LABS.min(cells.len())).map(|_| Lab::start()).collect();
    let queue = Mutex::new(cells.into_iter());
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for mut lab in labs? {
            let (queue, verdicts) = (&queue, &verdicts);
            scope.spawn(move || {
                loop {
                    let Some(cell) = lock(queue).next() else { return };
                    let begun = Instant::now();
                    let mut wrong = try_cell(&mut lab, &cell, which);
                    // Time limits are seconds here, and the machine may be busy; a fault that costs too much always does.
                    if !wrong.is_empty() && !is_known(&cell) {
                        tell(&format!("{cell}: tried again: {}", wrong.join("; ")));
                        wrong = try_cell(&mut lab, &cell, which);
                    }
                    let verdict = Verdict { cell, seconds: begun.elapsed().as_secs(), wrong };
                    let said = if verdict.wrong.is_empty() { "right".to_owned() } else { verdict.wrong.join("; ") };
                    tell(&format!("{cell}: {said} ({} s)", verdict.seconds));
                    lock(verdicts).push(verdict);
                }
            });
        }
        Some(())
    })?;
    Some(verdicts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// What is wrong with a cell.
fn try_cell(lab: &mut Lab, cell: &Cell, which: Which) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| judge::run(lab, cell, which))).unwrap_or_else(|_| {
        // What the harness could not take back stays behind with its cluster.
        *lab = Lab::start().expect("there was one before");
        vec!["the harness failed".to_owned()]
    })
}

/// Whether a cell is known to fail.
fn is_known(cell: &Cell) -> bool {
    KNOWN.lines().any(|line| line == cell.to_string())
}

/// Says something now: a long run is watched.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "matrix: {text}");
}

#[test]
fn cells_have_names_of_their_own_and_known_ones_exist() {
    let names: Vec<String> = cells::all().iter().map(Cell::to_string).collect();
    let different: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(different.len(), names.len());
    for line in KNOWN.lines().filter(|line| !line.starts_with('#')) {
        assert!(different.contains(line), "known.txt has {line:?}, which is no cell");
    }
}
