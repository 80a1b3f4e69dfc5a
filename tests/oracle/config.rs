//! Configuration and command line held against Swift's: generated files, values and words are read by both.
//!
//! What is generated is mostly right, with a few things wrong, so that both sides of "equal result or both refuse" are
//! reached; each test makes sure that they were.

mod command_line;
mod files;
mod settings;
mod swift_conf;
mod values;

use std::fmt::Debug;

use crate::support::seed::Seed;

/// A source of random pieces that repeats itself for the same seed.
struct Dice(fastrand::Rng);

impl Dice {
    fn new(seed: &Seed) -> Self {
        Self(seed.rng())
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.0.u32(..n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        self.0.choice(from).expect("there is something to pick from").clone()
    }

    /// A few of the pieces, one after another.
    fn join(&mut self, pieces: &[&str], at_most: usize) -> String {
        (0..self.0.usize(..=at_most)).map(|_| self.pick(pieces)).collect()
    }
}

/// Counts outcomes, for a test to be sure that it was about something.
#[derive(Default, Debug)]
struct Outcomes {
    accepted: u32,
    refused: u32,
}

impl Outcomes {
    /// Both results are the same, or both are errors; `what` describes the question.
    fn compare<T: PartialEq + Debug, E: Debug, R: Debug>(
        &mut self,
        ours: &Result<T, E>,
        reference: &Result<T, R>,
        what: impl FnOnce() -> String,
    ) {
        match (ours, reference) {
            (Ok(ours), Ok(reference)) if ours == reference => self.accepted += 1,
            (Err(_), Err(_)) => self.refused += 1,
            _ => panic!("ours: {ours:#?}\nreference: {reference:#?}\n{}", what()),
        }
    }

    fn assert_both_reached(&self, at_least: u32) {
        assert!(self.accepted >= at_least && self.refused >= at_least, "{self:?}");
    }
}
