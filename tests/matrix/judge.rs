//! Runs a cell, and says what is wrong with what came of it.

use std::time::Duration;

use super::cells::{Cell, Column, Method, Notice, Row};
use super::faults;
use super::lab::{Lab, TARGET};
use crate::support::cluster::Disk;
use crate::support::guard::until;
use crate::support::replicator::{Outcome, Pass, Which};

/// A pass that takes longer does not end.
const LIMIT: Duration = Duration::from_secs(45);
/// Of a fault with one partition no more lines are at WARNING or above: the three of a failed rsync for each of two targets,
/// and one or two of the pass.
const LINES: usize = 8;

/// Runs a cell; what is wrong.
pub fn run(lab: &mut Lab, cell: &Cell, which: Which) -> Vec<String> {
    lab.stock(cell);
    let undos = faults::make(lab, cell);
    let mut wrong = passes(lab, cell, which);
    faults::take_back(lab, undos);
    let lost = cell.flow.partitions().filter(|&part| !is_somewhere(lab, cell, part));
    wrong.extend(lost.map(|part| format!("the object of partition {part} is nowhere")));
    if cell.row == Row::Hangs && !cell.column.is_local() {
        lab.restart_target();
    }
    wrong
}

/// Makes passes until all that is healthy has arrived.
fn passes(lab: &Lab, cell: &Cell, which: Which) -> Vec<String> {
    let mut wrong = Vec::new();
    for pass in 1..=cell.passes() {
        let Some(outcome) = one_pass(lab, cell, which) else {
            wrong.push(format!("pass {pass} does not end"));
            continue;
        };
        if pass == 1 {
            wrong.extend(unnoticed(lab, cell, &outcome));
        }
        if missing(lab, cell).is_empty() {
            return wrong;
        }
    }
    let missing = missing(lab, cell);
    wrong.push(format!("did not arrive in {} passes: {}", cell.passes(), missing.join(", ")));
    wrong
}

fn one_pass(lab: &Lab, cell: &Cell, which: Which) -> Option<Outcome> {
    let method = if cell.method == Method::Rsync { "rsync" } else { "ssync" };
    let pass = Pass::of(which, &lab.nodes[super::lab::HERE]).set("sync_method", method).set("rsync_batch", cell.batch);
    let pass = pass.set("concurrency", 2).set("conn_timeout", 2).set("http_timeout", 3).set("node_timeout", 3);
    let pass = pass.set("rsync_timeout", 6).set("rsync_io_timeout", 4).set("lockup_timeout", 6);
    let mut running = pass.start();
    until(LIMIT, || running.ended()).then(|| running.finish())
}

/// The healthy partitions that are not on their healthy targets.
fn missing(lab: &Lab, cell: &Cell) -> Vec<String> {
    let mut missing = Vec::new();
    for part in cell.flow.partitions().filter(|&part| is_healthy(lab, cell, part)) {
        let targets = lab.targets(part).filter(|target| is_healthy_target(lab, cell, part, target));
        let lacking = targets.filter(|target| !lab.has(part, target));
        missing.extend(lacking.map(|target| format!("{part} on n{}/{}", target.node, target.name)));
    }
    missing
}

/// Whether nothing is wrong with a partition here.
fn is_healthy(lab: &Lab, cell: &Cell, part: u32) -> bool {
    let is_bad = part == cell.flow.bad();
    let is_on_bad_device = lab.home(cell, part).id == 0;
    match cell.column {
        // A file in the place of bookkeeping spoils at most its own partition.
        column if column.is_of_objects() || column.is_bookkeeping() => !is_bad,
        // Files can be read, and that is all that is needed.
        Column::Device if matches!(cell.row, Row::Enospc | Row::NoInode) => true,
        // What is left in tmp is of no partition; but who waits for it holds up its device.
        Column::Tmp => cell.row != Row::Hangs || !is_on_bad_device,
        // A link is followed.
        Column::Datadir if cell.row == Row::Symlink => true,
        Column::Datadir | Column::Device => !is_on_bad_device,
        _ => true,
    }
}

/// Whether nothing is wrong with a target of a partition.
fn is_healthy_target(lab: &Lab, cell: &Cell, part: u32, target: &Disk) -> bool {
    let is_bad_node = target.node == TARGET;
    let is_bad_device = target.id == lab.targets(cell.flow.bad()).next().expect("a target").id;
    // Where one file finds no space the next would hardly: a device that says so is left alone for the rest of a pass.
    let is_full = matches!(cell.row, Row::Enospc | Row::Edquot | Row::NoInode);
    match cell.column {
        // One object server serves all devices of a node: who waits for a file, or for a writer of a fifo, may hold up all
        // of them.
        Column::TargetFile | Column::TargetFolder
            if matches!(cell.row, Row::Hangs | Row::Fifo) && cell.method == Method::Ssync =>
        {
            !is_bad_node
        }
        Column::TargetFile | Column::TargetFolder => !is_bad_device || part != cell.flow.bad() && !is_full,
        Column::TargetDevice if cell.row == Row::Hangs => !is_bad_node,
        // SSYNC asks for what it wants; REPLICATE alone does not keep rsync from a device.
        Column::TargetDevice | Column::Answer => !is_bad_device,
        Column::Rsyncd => !is_bad_node,
        Column::Module => !is_bad_node || cell.row == Row::Symlink,
        _ => true,
    }
}

/// What is wrong with what was counted and said of the fault.
fn unnoticed(lab: &Lab, cell: &Cell, outcome: &Outcome) -> Vec<String> {
    let failures = failures(outcome);
    let loud = || outcome.syslog.iter().filter(|line| line.severity() <= 4).map(|line| line.text.as_str());
    let of_partition = loud().filter(|text| names_partition(text, cell)).count();
    let of_place = loud().filter(|text| names_partition(text, cell) || names_place(text, lab, cell)).count();
    // What goes to quarantine is dealt with: it is brought again, and that need not be a failure.
    let (quarantined_here, quarantined_there) = (lab.has_quarantine(0), lab.has_quarantine(2));
    let mut wrong = Vec::new();
    match cell.notice() {
        Notice::Failure if failures == 0 && !quarantined_here && !quarantined_there => {
            wrong.push("no failure is counted".to_owned());
        }
        Notice::Quiet if failures > 0 => wrong.push(format!("{failures} failures are counted")),
        _ => {}
    }
    if cell.notice() == Notice::Failure && of_place == 0 && !quarantined_there {
        wrong.push("no line names it".to_owned());
    }
    if of_partition > LINES {
        wrong.push(format!("{of_partition} lines name it"));
    }
    if !wrong.is_empty() && std::env::var_os("MATRIX_VERBOSE").is_some() {
        wrong.push(outcome.all());
    }
    wrong
}

/// How many failures recon or the pass's report count: a job that hangs stands in the report alone.
fn failures(outcome: &Outcome) -> i64 {
    let in_recon = outcome.recon.as_ref().map_or(0, |_| outcome.counter("failure"));
    let report = outcome.messages().find(|message| message.contains("Report: pass "));
    let in_report = report.and_then(|text| text.strip_suffix(" failures")?.rsplit(' ').next()?.parse().ok());
    in_recon.max(in_report.unwrap_or(0))
}

/// Whether a line is about the partition with which something is wrong.
fn names_partition(text: &str, cell: &Cell) -> bool {
    let is_named = |name: String| {
        text.split_once(&name).is_some_and(|(_, rest)| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    is_named(format!("objects/{}", cell.flow.bad())) || is_named(format!("partition {}", cell.flow.bad()))
}

/// Whether a line is about the device or the node with which something is wrong.
fn names_place(text: &str, lab: &Lab, cell: &Cell) -> bool {
    let disk = &lab.disks[0];
    if !cell.column.is_local() {
        return text.contains(&lab.nodes[TARGET].address.to_string());
    }
    [
        disk.path.display().to_string(),
        format!("device {}", disk.name),
        format!("Device {}", disk.name),
        format!("{} ", disk.name),
    ]
    .iter()
    .any(|name| text.contains(name.as_str()))
}

/// Whether some device has a partition's object, whole; one that could not be read may be in quarantine.
fn is_somewhere(lab: &Lab, cell: &Cell, part: u32) -> bool {
    let may_be_in_quarantine = part == cell.flow.bad() && cell.column.is_of_objects();
    lab.disks.iter().any(|disk| lab.has(part, disk)) || may_be_in_quarantine && lab.has_in_quarantine(part)
}
