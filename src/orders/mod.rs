//! What operators have ordered of the passes that run: what is paused, and which limits are in force.
//!
//! [`Orders`] is shared by all passes of a process, and outlives them as well as a reload of the configuration. It knows
//! rules only: who gives orders, and by what way they come, is for others, and so is the clock, which every question
//! brings along. An order that has a time is over when that comes, whether or not anybody has looked.
//!
//! Data is never at stake: what is paused is done later. What a paused peer lacks stays where it is.

pub(crate) mod first;
pub(crate) mod limit;
pub(crate) mod limits;
pub(crate) mod moment;
pub(crate) mod pauses;
pub(crate) mod peer_name;
pub(crate) mod quiet_hours;
pub(crate) mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::locks::lock;
use first::First;
use limit::Limit;
use limits::{Configured, LimitInForce, Limits, SetLimit};
use moment::Moment;
use pauses::{Pause, Pauses, Subject};
use peer_name::PeerAddress;
use wire::Shown;

/// Who ordered something, why, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Order {
    /// The user, as the system says.
    pub by: String,
    /// In the user's words.
    pub reason: Option<String>,
    /// As Unix time.
    pub since: f64,
    /// When it is over, as Unix time; `None`: when somebody orders otherwise.
    pub until: Option<f64>,
    /// Whether it outlives the process.
    pub keep: bool,
}

impl Order {
    /// Like `by root: for the move of the rack`.
    pub(crate) fn by_whom(&self) -> String {
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("by {}{reason}", self.by)
    }

    /// Whether it still holds.
    pub(crate) fn holds(&self, now: f64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What operators have ordered.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The partitions that go before all else.
    pub first: Arc<First>,
    state: Mutex<State>,
    /// Whether anything may be paused, so that those who ask for every partition need no lock.
    may_pause: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pauses: Pauses,
    limits: Limits,
}

/// Orders that outlive the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub pauses: Vec<Pause>,
    pub limits: Vec<SetLimit>,
}

/// An order whose time is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Over {
    Pause(Pause),
    Limit(SetLimit),
}

impl Orders {
    /// Pauses these, each by itself. What is paused already is so by this order from now on.
    pub(crate) fn pause(&self, what: &[Subject], order: &Order) {
        let mut state = lock(&self.state);
        what.iter().for_each(|subject| state.pauses.add(Pause { what: subject.clone(), order: order.clone() }));
        self.may_pause.store(true, Ordering::Release);
    }

    /// Ends the pauses of these, or all if none is named; gives those that were in force.
    pub(crate) fn resume(&self, what: &[Subject], now: f64) -> Vec<Pause> {
        let mut state = lock(&self.state);
        let ended = state.pauses.end(what);
        self.may_pause.store(!state.pauses.is_empty(), Ordering::Release);
        ended.into_iter().filter(|pause| pause.order.holds(now)).collect()
    }

    /// Whether nothing at all is to be begun.
    pub(crate) fn is_everything_paused(&self, now: f64) -> bool {
        self.may_pause() && lock(&self.state).pauses.of_everything(now).is_some()
    }

    /// Why nothing is to be begun on a local device, if so.
    pub(crate) fn pause_of_device(&self, device: &str, now: f64) -> Option<Pause> {
        if !self.may_pause() {
            return None;
        }
        lock(&self.state).pauses.of_device(device, now).cloned()
    }

    /// Why nothing is to be begun with a device of a peer, if so. (A pause of everything is not about peers.)
    pub(crate) fn pause_of_peer(&self, peer: &PeerAddress<'_>, now: f64) -> Option<Pause> {
        if !self.may_pause() {
            return None;
        }
        lock(&self.state).pauses.of_peer(peer, now).cloned()
    }

    /// Whether anything may be paused: a quick look.
    pub(crate) fn may_pause(&self) -> bool {
        self.may_pause.load(Ordering::Acquire)
    }

    /// What the configuration says that is in force.
    pub(crate) fn configure(&self, configured: Configured) {
        lock(&self.state).limits.configure(configured);
    }

    /// Sets a limit, or with `None` lets the configuration have its way again.
    pub(crate) fn set(&self, limit: Limit, value: Option<&str>, order: &Order) {
        lock(&self.state).limits.set(limit, value, order);
    }

    /// The value of a limit, if another one than the configuration's option is in force.
    pub(crate) fn limit(&self, limit: Limit, now: Moment) -> Option<String> {
        lock(&self.state).limits.value(limit, now)
    }

    /// How many jobs may be at work, if another number than the configuration's option is in force.
    pub(crate) fn concurrency(&self, now: Moment) -> Option<usize> {
        self.limit(Limit::Concurrency, now)?.parse().ok()
    }

    /// Every limit as it is now, and why.
    pub(crate) fn limits(&self, now: Moment) -> Vec<LimitInForce> {
        lock(&self.state).limits.in_force(now)
    }

    /// All that is in force, for whoever asks.
    pub(crate) fn shown(&self, now: Moment) -> Shown {
        let state = lock(&self.state);
        Shown {
            pauses: state.pauses.in_force(now.unix).cloned().collect(),
            limits: state.limits.in_force(now),
            quiet_hours: state.limits.quiet_hours().map(ToString::to_string),
            first: self.first.shown(now.unix),
        }
    }

    /// Forgets the orders whose time is over; gives them.
    pub(crate) fn expire(&self, now: f64) -> Vec<Over> {
        let mut state = lock(&self.state);
        let pauses = state.pauses.expire(now);
        self.may_pause.store(!state.pauses.is_empty(), Ordering::Release);
        let limits = state.limits.expire(now);
        pauses.into_iter().map(Over::Pause).chain(limits.into_iter().map(Over::Limit)).collect()
    }

    /// The orders that are to outlive the process.
    pub(crate) fn kept(&self, now: f64) -> Kept {
        let state = lock(&self.state);
        Kept {
            pauses: state.pauses.in_force(now).filter(|pause| pause.order.keep).cloned().collect(),
            limits: state.limits.set_by_order(now).filter(|set| set.order.keep).cloned().collect(),
        }
    }

    /// Takes up orders that an earlier process has kept.
    pub(crate) fn restore(&self, kept: Kept) {
        for Pause { what, order } in kept.pauses {
            self.pause(&[what], &order);
        }
        for SetLimit { name, value, order } in kept.limits {
            self.set(name, Some(&value), &order);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn order(until: Option<f64>) -> Order {
        Order { by: "root".into(), since: 100.0, until, ..Order::default() }
    }

    fn at(unix: f64) -> Moment {
        Moment { unix, minute: 0 }
    }

    fn device(name: &str) -> Subject {
        Subject::Device(name.into())
    }

    #[test]
    fn a_pause_holds_until_its_time_or_until_somebody_resumes() {
        let orders = Orders::default();
        assert!(orders.pause_of_device("sda", 100.0).is_none());
        orders.pause(&[device("sda"), device("sdb")], &order(Some(200.0)));
        assert!(orders.pause_of_device("sda", 199.0).is_some() && orders.pause_of_device("sdc", 199.0).is_none());
        assert!(orders.pause_of_device("sda", 200.0).is_none(), "whether or not anybody has looked");
        assert_eq!(orders.resume(&[device("sda")], 150.0).len(), 1);
        assert_eq!(orders.resume(&[device("sda")], 150.0), []);
        assert!(!orders.is_everything_paused(150.0));
        assert_eq!(orders.expire(200.0).len(), 1);
        assert_eq!(orders.expire(200.0), []);
    }

    #[test]
    fn to_resume_without_names_ends_every_pause_and_no_limit() {
        let orders = Orders::default();
        orders.pause(&[Subject::Everything, device("sda")], &order(None));
        orders.set(Limit::Concurrency, Some("1"), &order(None));
        assert!(orders.is_everything_paused(1e9) && orders.pause_of_device("sdz", 1e9).is_some());
        assert_eq!(orders.resume(&[], 100.0).len(), 2);
        assert!(orders.pause_of_device("sda", 100.0).is_none());
        assert_eq!(orders.concurrency(at(100.0)), Some(1));
    }

    #[test]
    fn what_is_to_be_kept_comes_back_and_nothing_else() {
        let orders = Orders::default();
        let keep = |until| Order { keep: true, ..order(until) };
        orders.pause(&[device("sda")], &keep(Some(200.0)));
        orders.pause(&[device("sdb")], &order(None));
        orders.set(Limit::RsyncBwlimit, Some("5m"), &keep(None));
        let kept: Kept = serde_json::from_str(&serde_json::to_string(&orders.kept(150.0)).unwrap()).unwrap();
        let later = Orders::default();
        later.restore(kept);
        assert!(later.pause_of_device("sda", 150.0).is_some() && later.pause_of_device("sdb", 150.0).is_none());
        assert_eq!(later.limit(Limit::RsyncBwlimit, at(150.0)).as_deref(), Some("5m"));
        assert_eq!(orders.kept(200.0).pauses, [], "what is over is not kept");
    }
}
