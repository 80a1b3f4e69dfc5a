//! The course of a pass: what happened in each of a limited number of equal periods, however long the pass is.

use serde::{Deserialize, Serialize};

use super::counts::Counts;

/// The most parts.
const PARTS: usize = 240;
/// How long a part is at the beginning, in seconds.
const SHORTEST: f64 = 0.05;

/// What happened in a part of the pass's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// When it ended, in seconds since the pass began.
    pub at: f64,
    pub attempted: u64,
    /// Of those attempted, partitions that were in sync, or were pushed, without any failure.
    pub succeeded: u64,
    pub failures: u64,
    pub bytes: u64,
}

/// A timeline that grows with its pass: when it has all the parts that it may have, each two become one.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    length: f64,
    parts: Vec<Moment>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { length: SHORTEST, parts: Vec::new() }
    }
}

impl Timeline {
    /// Adds what was counted until now, so many seconds after the pass began.
    pub(crate) fn note(&mut self, now: f64, counts: &Counts) {
        let mut place = (now / self.length) as usize;
        while place >= PARTS {
            self.halve();
            place /= 2;
        }
        if self.parts.len() <= place {
            self.parts.resize(place + 1, Moment::default());
        }
        let part = &mut self.parts[place];
        part.attempted += counts.attempted;
        let (in_sync, pushed) = counts.whole();
        part.succeeded += in_sync + pushed;
        part.failures += counts.failures();
        part.bytes += counts.bytes;
    }

    fn halve(&mut self) {
        self.length *= 2.0;
        let sum = |pair: &[Moment]| Moment {
            at: 0.0,
            attempted: pair.iter().map(|part| part.attempted).sum(),
            succeeded: pair.iter().map(|part| part.succeeded).sum(),
            failures: pair.iter().map(|part| part.failures).sum(),
            bytes: pair.iter().map(|part| part.bytes).sum(),
        };
        self.parts = self.parts.chunks(2).map(sum).collect();
    }

    /// The parts in their order, each with the time when it ended; none ended after the pass, which took so long.
    pub(crate) fn into_moments(self, took: f64) -> Vec<Moment> {
        let end_of = |place: usize| ((place + 1) as f64 * self.length).min(took);
        self.parts.into_iter().enumerate().map(|(place, part)| Moment { at: end_of(place), ..part }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_of_any_length_has_a_bounded_timeline_and_nothing_is_lost() {
        let one = Counts { attempted: 1, bytes: 10, ..Counts::default() };
        for took in [0.01, 3.0, 77.0, 500_000.0] {
            let mut timeline = Timeline::default();
            (0..1000).for_each(|n| timeline.note(took * f64::from(n) / 1000.0, &one));
            let moments = timeline.into_moments(took);
            assert!(
                moments.len() <= PARTS && (took < 12.0 || moments.len() > PARTS / 2 - 1),
                "{took}: {}",
                moments.len()
            );
            assert_eq!(moments.iter().map(|moment| moment.attempted).sum::<u64>(), 1000);
            assert_eq!(moments.iter().map(|moment| moment.bytes).sum::<u64>(), 10_000);
            assert!(moments.is_sorted_by(|a, b| a.at < b.at) && moments.last().unwrap().at <= took, "{took}");
        }
    }
}
