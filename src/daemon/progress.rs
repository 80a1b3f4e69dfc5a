//! The bars of a single pass that somebody started on a terminal (see [`crate::report::progress`]).
//!
//! The process lets go of its streams before the pass, so the terminal's descriptor is kept apart. The bars are drawn by
//! a thread of their own: a terminal that is paused holds up nothing else, and is not waited for at the end.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::warn;

use crate::pass::RunningPasses;
use crate::report::pass_report::PassReport;
use crate::report::progress::{Bars, Screen, size};
use crate::report::status::Progress;

/// How often the bars are drawn.
const PERIOD: Duration = Duration::from_millis(250);
/// How long the last drawing may take.
const LAST_DRAWING: Duration = Duration::from_secs(2);

/// The terminal that standard error is, if bars can be drawn there.
pub(super) fn terminal() -> Option<File> {
    let stderr = io::stderr();
    let can_move = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    let fd = (stderr.is_terminal() && can_move).then(|| stderr.as_fd().try_clone_to_owned().ok()).flatten();
    fd.map(File::from)
}

/// Bars that are drawn while a pass runs.
pub(super) struct Drawing {
    /// Takes the end of the pass.
    end: Sender<Option<PassReport>>,
    /// Closed once the last drawing is done.
    is_over: Receiver<()>,
}

impl Drawing {
    /// Begins to draw what the board says.
    pub(super) fn begin(terminal: File, board: Arc<RunningPasses>) -> Option<Self> {
        let (measured, below) = (terminal.try_clone().ok()?, terminal.try_clone().ok()?);
        let (end, ended) = bounded(1);
        let (over, is_over) = bounded(0);
        let draw = move || {
            let bars = Bars::new(Screen::new(terminal), move || usize::from(size(&measured).0));
            if let Some(report) = draw(bars, &board, &ended) {
                // Whoever closed the terminal does not want to know.
                let _ = write!(&below, "\n{}\n", report.lines().join("\n"));
            }
            drop(over);
        };
        let started = thread::Builder::new().name("progress".into()).spawn(draw);
        started.inspect_err(|error| warn!("Cannot start the thread that draws bars: {error}")).ok()?;
        Some(Self { end, is_over })
    }

    /// Shows the results of the pass.
    pub(super) fn end(self, report: Option<&PassReport>) {
        if self.end.send(report.cloned()).is_ok() {
            // The answer is that nobody will answer any more.
            let _ = self.is_over.recv_timeout(LAST_DRAWING);
        }
    }
}

/// Draws until the pass has ended, and shows its results.
fn draw(mut bars: Bars, board: &RunningPasses, ended: &Receiver<Option<PassReport>>) -> Option<PassReport> {
    let begun = Instant::now();
    let report = loop {
        match ended.recv_timeout(PERIOD) {
            Ok(report) => break report,
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let devices: Vec<_> = board.passes().into_iter().flat_map(|pass| pass.devices).collect();
        bars.show(begun.elapsed().as_secs_f64(), &devices);
    };
    let devices = report.iter().flat_map(outcome).collect::<Vec<_>>();
    bars.show(begun.elapsed().as_secs_f64(), &devices);
    bars.end();
    report
}

/// The devices at the end of the pass.
fn outcome(report: &PassReport) -> Vec<Progress> {
    let devices = report.devices.iter().map(|(name, device)| Progress {
        device: name.clone(),
        found: device.found,
        attempted: device.counts.attempted,
        failures: device.counts.failures(),
        is_listed: true,
        set_aside: device.left.is_some() && device.counts.attempted < device.found,
        holdings: device.holdings.clone(),
    });
    devices.collect()
}
