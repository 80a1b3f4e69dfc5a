//! The seed of everything random in the tests: `SWIFT_TEST_SEED`, else a new one for each run of a test binary.
//!
//! It is told once on the terminal, past what captures a test's output (by `tests/guarded`, or here), so that it is known
//! of a run that was killed, hung or aborted too; and again by each random test that fails, in whatever way: a [`Seed`]
//! tells it when a panic drops it. What a test makes of the time of day it makes relative to the present, so a seed
//! replays it on any day.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use fastrand::Rng;

/// The variable that replays a run.
pub const VARIABLE: &str = "SWIFT_TEST_SEED";

/// What a test's random inputs are made from. To be kept until the test ends.
#[derive(Debug, PartialEq)]
pub struct Seed {
    value: u64,
    /// How to have it again.
    told: String,
}

impl Seed {
    /// The seed of this run.
    pub fn of_this_run() -> Self {
        Self::given_by(VARIABLE, of_this_run())
    }

    /// One that another variable gives.
    pub fn given_by(variable: &str, value: u64) -> Self {
        Self { value, told: format!("{variable}={value}") }
    }

    /// One that is made from in every run.
    pub fn fixed(value: u64) -> Self {
        Self { value, told: format!("seed {value}, as in every run") }
    }

    /// The number.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// A generator that gives the same from the same seed.
    pub fn rng(&self) -> Rng {
        Rng::with_seed(self.value)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = std::thread::current().name().unwrap_or("a thread of a test").to_owned();
            println!("{test}: what failed was made from {self}");
        }
    }
}

fn of_this_run() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        if let Some(given) = std::env::var(VARIABLE).ok().filter(|seed| !seed.is_empty()) {
            return given.parse().expect("the seed is a number");
        }
        let seed = fastrand::u64(..);
        // Not by a macro: those are captured.
        let _ = writeln!(std::io::stderr(), "random inputs are made from {VARIABLE}={seed}");
        seed
    })
}
