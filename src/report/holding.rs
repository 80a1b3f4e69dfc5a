//! What a device holds of one policy: how many partitions, how many of them belong there, and what became of the others,
//! the hand-offs.
//!
//! A pass counts this when it lists a device, and from then on as hand-offs have their turn. It is what an operator looks
//! at in a rebalance, so each figure says what it is known from: when the device was listed, and by which ring.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;

/// What a device holds of one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holding {
    /// The policy's index.
    pub policy: u32,
    /// When its partitions were listed, as Unix time; 0: they are not, so that nothing below is known.
    pub listed: f64,
    /// The MD5 of the ring file by which they were listed, as recon tells it.
    pub ring: String,
    /// Why they could not be listed, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    pub partitions: u64,
    /// Partitions of which the device is a primary.
    pub primaries: u64,
    /// Hand-offs that were there when they were listed.
    pub handoffs: u64,
    /// Those of them that are gone since.
    pub gone: u64,
    /// Those that had their turn and stay for now, though nothing failed: somebody had locked them, or wrote to them.
    pub waiting: u64,
    /// Those that had their turn and stay since something failed: by the first cause of each.
    pub stuck: BTreeMap<String, u64>,
}

impl Holding {
    /// Hand-offs that are left.
    pub fn left(&self) -> u64 {
        self.handoffs.saturating_sub(self.gone)
    }

    /// Hand-offs that something failed with, for whatever cause.
    pub fn all_stuck(&self) -> u64 {
        self.stuck.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether the figures are known at all.
    pub fn is_listed(&self) -> bool {
        self.listed > 0.0
    }

    /// A hand-off had its turn and stays; the first that failed with it, if anything did.
    pub(crate) fn stays(&mut self, cause: Option<Cause>) {
        match cause {
            Some(cause) => *self.stuck.entry(cause.name().to_owned()).or_default() += 1,
            None => self.waiting += 1,
        }
    }

    /// The causes of those that are stuck, the most frequent first: `14 unreachable, 4 push failed`.
    pub(crate) fn causes(&self) -> String {
        let text = |name: &str| Cause::ALL.into_iter().find(|cause| cause.name() == name).map(Cause::text);
        let mut causes: Vec<_> = self.stuck.iter().filter(|(_, count)| **count > 0).collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let causes = causes.iter().map(|(name, count)| format!("{count} {}", text(name).unwrap_or(name)));
        causes.collect::<Vec<_>>().join(", ")
    }

    /// Adds what was counted elsewhere of the same policy: by another job, or on another device.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.listed > self.listed {
            (self.listed, self.ring) = (other.listed, other.ring.clone());
        }
        self.trouble = self.trouble.take().or_else(|| other.trouble.clone());
        for (own, more) in [
            (&mut self.partitions, other.partitions),
            (&mut self.primaries, other.primaries),
            (&mut self.handoffs, other.handoffs),
            (&mut self.gone, other.gone),
            (&mut self.waiting, other.waiting),
        ] {
            *own = own.saturating_add(more);
        }
        for (cause, count) in &other.stuck {
            let own = self.stuck.entry(cause.clone()).or_default();
            *own = own.saturating_add(*count);
        }
    }
}

/// The one of this policy among a device's; a new one if there is none.
pub(crate) fn of(holdings: &mut Vec<Holding>, policy: u32) -> &mut Holding {
    let place = holdings.partition_point(|holding| holding.policy < policy);
    if holdings.get(place).is_none_or(|holding| holding.policy != policy) {
        holdings.insert(place, Holding { policy, ..Holding::default() });
    }
    &mut holdings[place]
}

/// Adds those of another job, or of another device.
pub(crate) fn merge(holdings: &mut Vec<Holding>, others: &[Holding]) {
    others.iter().for_each(|other| of(holdings, other.policy).merge(other));
}

/// What the log and people are told of all devices together, in a line for each policy.
pub(crate) fn lines<'a>(devices: impl Iterator<Item = &'a [Holding]>) -> Vec<String> {
    let (mut listed, mut not_listed) = (Vec::new(), BTreeMap::<u32, u64>::new());
    for holding in devices.flatten() {
        match holding.is_listed() {
            true => of(&mut listed, holding.policy).merge(holding),
            false => *not_listed.entry(holding.policy).or_default() += 1,
        }
    }
    let mut policies: Vec<_> = listed.iter().map(|holding| holding.policy).chain(not_listed.keys().copied()).collect();
    policies.sort_unstable();
    policies.dedup();
    let line = |policy: u32| {
        let sum = of(&mut listed, policy).clone();
        let stuck = match sum.all_stuck() {
            0 => String::new(),
            stuck => format!(", {stuck} of them stuck ({})", sum.causes()),
        };
        let unknown = match not_listed.get(&policy) {
            None => String::new(),
            Some(1) => "; 1 device is not listed, so what is on it is not known".to_owned(),
            Some(devices) => format!("; {devices} devices are not listed, so what is on them is not known"),
        };
        format!("hand-offs of policy {policy}: {} of {} left{stuck}{unknown}", sum.left(), sum.handoffs)
    };
    policies.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(policy: u32, handoffs: u64, gone: u64) -> Holding {
        let (partitions, primaries) = (handoffs + 10, 10);
        Holding { policy, listed: 5.0, ring: "a".into(), partitions, primaries, handoffs, gone, ..Holding::default() }
    }

    #[test]
    fn what_jobs_counted_adds_up_by_policy_with_the_first_cause_of_each() {
        let mut sum = vec![holding(1, 20, 0)];
        for job in 0..3 {
            let mut counted = Vec::new();
            of(&mut counted, 1).gone += 2;
            of(&mut counted, 1).stays(Some(Cause::Full));
            of(&mut counted, 1).stays(if job == 0 { None } else { Some(Cause::Unreachable) });
            merge(&mut sum, &counted);
        }
        merge(&mut sum, &[holding(0, 1, 1)]);
        assert_eq!(sum.iter().map(|holding| holding.policy).collect::<Vec<_>>(), [0, 1]);
        let one = &sum[1];
        assert_eq!((one.left(), one.all_stuck(), one.waiting), (14, 5, 1));
        assert_eq!((one.causes().as_str(), one.listed, one.ring.as_str()), ("3 disk full, 2 unreachable", 5.0, "a"));
    }

    #[test]
    fn a_line_for_each_policy_says_what_is_left_and_what_is_not_known() {
        let mut stuck = holding(0, 12, 9);
        stuck.stays(Some(Cause::Unreachable));
        let unlisted = Holding { policy: 1, trouble: Some("not mounted".into()), ..Holding::default() };
        let devices = [vec![stuck, unlisted.clone()], vec![holding(0, 3, 3), unlisted]];
        assert_eq!(
            lines(devices.iter().map(Vec::as_slice)),
            [
                "hand-offs of policy 0: 3 of 15 left, 1 of them stuck (1 unreachable)",
                "hand-offs of policy 1: 0 of 0 left; 2 devices are not listed, so what is on them is not known",
            ]
        );
        assert!(lines(std::iter::empty()).is_empty());
    }

    #[test]
    fn causes_of_a_later_version_are_kept_by_their_names() {
        let read: Holding = serde_json::from_str(r#"{"policy": 3, "stuck": {"moon": 2}, "more": []}"#).unwrap();
        assert_eq!((read.all_stuck(), read.causes().as_str(), read.is_listed()), (2, "2 moon", false));
    }
}
