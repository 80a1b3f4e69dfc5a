//! Runs whose failure need not be the end, since what did not arrive is tried again in another way.
//!
//! Such a failure is below ERROR in the log: what really failed has a line there by the run that was the last one. But the
//! last one may never come, because the target is left alone by then. So what was said is kept, and whoever gives up
//! without another run logs it as the reference would have (B8.8, B8.9).

use std::sync::Mutex;

use super::exit::{Again, Verdict};
use crate::locks::lock;

/// What follows after a run that failed, as far as whoever started it knows before.
#[derive(Clone, Copy, Debug)]
pub struct Retry<'a> {
    /// A target that is too busy is asked again.
    pub busy: bool,
    /// What may be the fault of one of several partitions, or chance, is tried again.
    pub divided: bool,
    /// So is a partition at which the run stood still.
    pub suspect: bool,
    /// So is an option that the daemon may have refused.
    pub refusal: bool,
    /// Takes what was said.
    pub untold: &'a Untold,
}

/// What runs said that failed and were to be tried again.
#[derive(Debug, Default)]
pub struct Untold(Mutex<Vec<String>>);

impl Retry<'_> {
    /// Whether it is tried again after this, and perhaps with a partition to blame at which the run stood still.
    pub(super) fn follows(&self, verdict: Verdict, has_suspect: bool) -> bool {
        match verdict.again {
            Again::Later => self.busy,
            Again::Divided if has_suspect => self.suspect,
            Again::Divided => self.divided,
            Again::No => self.refusal && verdict.may_be_a_lost_refusal(),
        }
    }
}

impl Untold {
    /// Takes the place of what was said before.
    pub(super) fn keep(&self, lines: Vec<String>) {
        *lock(&self.0) = lines;
    }

    /// There is no other run after all: it has failed.
    pub fn tell(&self) {
        std::mem::take(&mut *lock(&self.0)).iter().for_each(|line| log::error!("{line}"));
    }
}
