//! The clock of a peer, by the dates of its answers.
//!
//! A date has whole seconds, and stands for some moment between the question and the answer. So each answer tells
//! between which two figures the difference is, and several of them tell it better.

use std::time::SystemTime;

use crate::check::finding::Finding;
use crate::clock::unix;
use crate::report::units;

/// Differences that are certainly greater than this, in seconds, are told of.
const TOLERANCE: f64 = 2.0;

/// How far a clock is ahead of this machine's, in seconds: something between these two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ahead {
    least: f64,
    most: f64,
}

impl Ahead {
    /// By an answer of this date to what was asked and answered at these times of this machine's clock.
    pub(super) fn of_answer(date: SystemTime, asked: SystemTime, answered: SystemTime) -> Self {
        let date = unix(date);
        Self { least: date - unix(answered), most: date + 1.0 - unix(asked) }
    }

    /// What both say. If they contradict each other, a clock was set meanwhile, and the second counts.
    pub(super) fn and(self, other: Self) -> Self {
        let both = Self { least: self.least.max(other.least), most: self.most.min(other.most) };
        if both.least <= both.most { both } else { other }
    }

    /// The difference, if it is one: positive if the peer's clock is ahead.
    pub(super) fn difference(self) -> Option<f64> {
        let middle = f64::midpoint(self.least, self.most);
        (self.least > TOLERANCE || self.most < -TOLERANCE).then_some(middle)
    }
}

/// What is to be said of a node whose clock differs by so much.
pub(super) fn judge(host: &str, difference: f64) -> Finding {
    let direction = if difference > 0.0 { "ahead of" } else { "behind" };
    let text = format!(
        "is about {} {direction} this machine's; timestamps decide which version of an object wins, so an older one may \
         win: let NTP set the clocks",
        units::duration(difference.abs().round())
    );
    Finding::warning(format!("clock {host}"), text)
}

/// If all clocks that differ do so in one direction, and hardly any does not, it is this machine's that is wrong.
pub(super) fn judge_own(differences: &[Option<f64>]) -> Option<Finding> {
    let count =
        |is_such: fn(f64) -> bool| differences.iter().flatten().filter(|difference| is_such(**difference)).count();
    let (ahead, behind) = (count(|difference| difference > 0.0), count(|difference| difference < 0.0));
    let most = ahead.max(behind);
    let is_ours = most >= 2 && most * 2 > differences.len() && ahead.min(behind) == 0;
    let direction = if ahead > 0 { "behind" } else { "ahead of" };
    is_ours.then(|| {
        let text =
            format!("is {direction} those of {most} of {} peers, so it seems to be the wrong one", differences.len());
        Finding::warning("clock of this machine", text)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_700_000_000.0 + seconds)
    }

    fn difference(date: f64, asked: f64, answered: f64) -> Option<f64> {
        Ahead::of_answer(at(date), at(asked), at(answered)).difference()
    }

    #[test]
    fn neither_whole_seconds_nor_a_slow_answer_are_a_difference() {
        assert_eq!(difference(0.0, 0.9, 0.99), None);
        assert_eq!(difference(0.0, 2.9, 3.0), None);
        assert_eq!(difference(3.0, 1.1, 1.2), None);
        // The date may be of any moment of these nine seconds.
        assert_eq!(difference(9.0, 0.1, 9.1), None);
        assert_eq!(difference(0.0, 0.1, 9.1), None);
    }

    #[test]
    fn a_difference_has_a_direction() {
        assert!((difference(60.0, 0.1, 0.2).unwrap() - 60.35).abs() < 0.01);
        assert!((difference(-60.0, 0.1, 0.2).unwrap() + 59.65).abs() < 0.01);
        assert!(difference(5.0, 0.0, 0.5).is_some_and(|ahead| ahead > 0.0));
        assert!(difference(-5.0, 0.0, 0.5).is_some_and(|ahead| ahead < 0.0));
        let text = judge("10.0.0.2", -3600.2).text;
        assert!(text.starts_with("is about 1h 00m behind this machine's; timestamps decide"), "{text}");
        assert!(judge("10.0.0.2", 5.4).text.starts_with("is about 5.0s ahead of this machine's; "));
    }

    #[test]
    fn a_quick_answer_makes_up_for_a_slow_one() {
        let slow = Ahead::of_answer(at(9.0), at(0.0), at(9.0));
        let quick = Ahead::of_answer(at(6.0), at(1.0), at(1.1));
        assert_eq!(slow.difference(), None);
        assert!(slow.and(quick).difference().is_some_and(|ahead| ahead > 4.0));
        let set_meanwhile = Ahead::of_answer(at(100.0), at(1.0), at(1.1));
        assert_eq!(slow.and(set_meanwhile), set_meanwhile);
    }

    #[test]
    fn if_all_others_differ_it_is_ours() {
        assert!(
            judge_own(&[Some(60.0), Some(61.0), None]).unwrap().text.starts_with("is behind those of 2 of 3 peers")
        );
        assert!(judge_own(&[Some(-60.0), Some(-61.0)]).unwrap().text.starts_with("is ahead of those of 2 of 2 peers"));
        assert_eq!(judge_own(&[Some(60.0), None, None]), None);
        assert_eq!(judge_own(&[Some(60.0)]), None);
        assert_eq!(judge_own(&[Some(60.0), Some(60.0), Some(-60.0)]), None);
    }
}
