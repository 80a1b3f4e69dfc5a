//! What clients know: which operations they asked for, what became of each, and so what may be seen of an object.
//!
//! # What "acknowledged" means here
//! A client sends an operation to some of an object's devices, as a proxy does, and gets an answer from each, or none.
//! - A device *took* it if it said so (2xx; for a deletion 404 too, since that leaves a tombstone all the same).
//! - A device *may have taken* it if the answer got lost: a time limit, a reset, any 5xx. A server that was killed, or
//!   whose disk filled up or became read-only in the middle, may have stored the file before it failed.
//! - A device has *not* taken it if nobody listened there, or if it refused (404 for a POST, 409).
//!
//! The operation is *acknowledged* if more than half of the replicas took it: that is what a proxy needs to tell its
//! user that it worked. The promise to the user is about these only. The harness asks for more, because in it no device
//! is ever lost: one that dies comes back with all that it had, and one that is full keeps what it took before. So
//! whatever *one* device took is [`Certain`](Fate::Certain): it must be in the end on every primary, unless a newer
//! operation took its place. What some device may have taken is [`Possible`](Fate::Possible): it may be there in the
//! end, on every primary, or nowhere. What no device can have taken is not kept.
//!
//! Every operation has a time of its own, and the newest wins; so the end does not depend on the order in which devices
//! learn of operations, and what must and what may be seen follows from the list alone.

use std::fmt;

/// A time as Swift counts it: units of 10 microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How many of them make a second.
    pub const PER_SECOND: u64 = 100_000;

    /// Reads what stands before the extension of a file's name.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, fraction) = text.split_once('.')?;
        let units = |text: &str, digits| {
            (text.len() == digits && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse::<u64>().ok())?
        };
        Some(Self(units(seconds, 10)? * Self::PER_SECOND + units(fraction, 5)?))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}.{:05}", self.0 / Self::PER_SECOND, self.0 % Self::PER_SECOND)
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Put,
    Post,
    Delete,
}

/// What became of an operation that may have left something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// At least one device took it.
    Certain,
    /// None said that it took it, but one may have.
    Possible,
}

/// An operation on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Moment,
    pub deed: Deed,
    pub fate: Fate,
}

/// Data or a tombstone, whichever is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    Data,
    Tombstone,
}

/// What is known of an object in one place: by one device, or by the operations on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The newest data or tombstone.
    pub main: Option<(Moment, Main)>,
    /// Metadata that is newer than that.
    pub meta: Option<Moment>,
}

impl State {
    /// Takes in data, a tombstone or metadata of some time.
    pub fn learn(&mut self, at: Moment, deed: Deed) {
        match deed {
            Deed::Put => self.main = self.main.max_by_time((at, Main::Data)),
            Deed::Delete => self.main = self.main.max_by_time((at, Main::Tombstone)),
            Deed::Post => self.meta = self.meta.max(Some(at)),
        }
        if self.main.is_some_and(|(main, _)| self.meta.is_some_and(|meta| meta < main)) {
            self.meta = None;
        }
    }

    /// Takes in all that another place knows.
    pub fn merge(&mut self, other: &Self) {
        if let Some((at, main)) = other.main {
            self.learn(at, if main == Main::Data { Deed::Put } else { Deed::Delete });
        }
        if let Some(at) = other.meta {
            self.learn(at, Deed::Post);
        }
    }

    /// What can be seen of it: metadata that came after a tombstone waits for data that will hardly come, and counts
    /// neither for clients nor for hashes.
    pub fn visible(&self) -> Self {
        Self { main: self.main, meta: self.meta.filter(|_| !matches!(self.main, Some((_, Main::Tombstone)))) }
    }

    /// Whether this place knows all that the other one does, or newer.
    pub fn covers(&self, other: &Self) -> bool {
        let mut both = *self;
        both.merge(other);
        both.visible() == self.visible()
    }

    /// Whether there is an object to be read.
    pub fn is_stored(&self) -> bool {
        matches!(self.main, Some((_, Main::Data)))
    }
}

trait MaxByTime {
    fn max_by_time(self, other: (Moment, Main)) -> Self;
}

impl MaxByTime for Option<(Moment, Main)> {
    fn max_by_time(self, other: (Moment, Main)) -> Self {
        self.filter(|(at, _)| *at > other.0).or(Some(other))
    }
}

/// The operations on one object, in the order of their times.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<Event>);

impl History {
    /// Takes note of an operation; it must be newer than all before.
    pub fn push(&mut self, event: Event) {
        assert!(self.0.last().is_none_or(|last| last.at < event.at), "times of an object go on");
        self.0.push(event);
    }

    /// The operations.
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// What the cluster as a whole must know at least.
    pub fn certain(&self) -> State {
        let mut state = State::default();
        self.0.iter().filter(|event| event.fate == Fate::Certain).for_each(|event| state.learn(event.at, event.deed));
        state
    }

    /// Whether what was seen in the end, by the rules above, is something that must or may be seen.
    pub fn allows(&self, seen: &State) -> bool {
        let certain = self.certain();
        let main_is_known = seen.main == certain.main
            || seen.main.is_some_and(|(at, main)| {
                let deed = if main == Main::Data { Deed::Put } else { Deed::Delete };
                certain.main.is_none_or(|(floor, _)| at > floor) && self.has(at, deed)
            });
        main_is_known && (!seen.is_stored() || self.allows_meta(seen))
    }

    /// Metadata of something that is not there does not matter.
    fn allows_meta(&self, seen: &State) -> bool {
        let after_main = |at: &Moment| seen.main.is_none_or(|(main, _)| *at > main);
        let posts = self.0.iter().filter(|event| event.deed == Deed::Post && after_main(&event.at));
        let floor = posts.filter(|event| event.fate == Fate::Certain).map(|event| event.at).max();
        seen.meta == floor || seen.meta > floor && seen.meta.is_some_and(|at| self.has(at, Deed::Post))
    }

    fn has(&self, at: Moment, deed: Deed) -> bool {
        self.0.iter().any(|event| event.at == at && event.deed == deed)
    }
}

#[cfg(test)]
mod tests {
    use super::Deed::{Delete, Post, Put};
    use super::Fate::{Certain, Possible};
    use super::*;

    fn history(events: &[(u64, Deed, Fate)]) -> History {
        let mut history = History::default();
        events.iter().for_each(|&(at, deed, fate)| history.push(Event { at: Moment(at), deed, fate }));
        history
    }

    fn state(events: &[(u64, Deed)]) -> State {
        let mut state = State::default();
        events.iter().for_each(|&(at, deed)| state.learn(Moment(at), deed));
        state
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let moment = Moment(1_700_000_000 * Moment::PER_SECOND + 1200);
        assert_eq!(moment.to_string(), "1700000000.01200");
        assert_eq!(Moment::parse("1700000000.01200"), Some(moment));
        for junk in ["1700000000", "1700000000.012", "1700000000.01200_0001", "+700000000.01200", ""] {
            assert_eq!(Moment::parse(junk), None, "{junk}");
        }
    }

    #[test]
    fn the_order_in_which_operations_arrive_does_not_matter() {
        let expected = state(&[(1, Put), (2, Post), (3, Put), (4, Post)]);
        assert_eq!(expected, State { main: Some((Moment(3), Main::Data)), meta: Some(Moment(4)) });
        assert_eq!(state(&[(4, Post), (3, Put), (1, Put), (2, Post)]), expected);
        assert_eq!(state(&[(3, Delete), (2, Put), (1, Post)]).main, Some((Moment(3), Main::Tombstone)));
    }

    #[test]
    fn a_place_covers_what_is_not_newer() {
        let newer = state(&[(3, Put)]);
        assert!(newer.covers(&state(&[(1, Put), (2, Post)])));
        assert!(newer.covers(&State::default()));
        assert!(!newer.covers(&state(&[(3, Put), (4, Post)])));
        assert!(!newer.covers(&state(&[(4, Delete)])));
        assert!(!State::default().covers(&newer));
        assert!(
            state(&[(3, Delete)]).covers(&state(&[(1, Put), (4, Post)])),
            "there is nothing that it could belong to"
        );
    }

    #[test]
    fn what_one_device_took_must_be_seen() {
        let history = history(&[(1, Put, Certain), (2, Put, Certain)]);
        assert!(history.allows(&state(&[(2, Put)])));
        assert!(!history.allows(&state(&[(1, Put)])), "lost");
        assert!(!history.allows(&State::default()), "lost");
        assert!(!history.allows(&state(&[(2, Delete)])), "nobody deleted it");
        assert!(!history.allows(&state(&[(3, Put)])), "nobody stored it");
    }

    #[test]
    fn a_deleted_object_must_not_come_back() {
        let history = history(&[(1, Put, Certain), (2, Delete, Certain)]);
        assert!(history.allows(&state(&[(2, Delete)])));
        assert!(!history.allows(&state(&[(1, Put)])));
    }

    #[test]
    fn what_a_device_may_have_taken_may_be_seen() {
        let history = history(&[(1, Put, Possible), (2, Put, Certain), (3, Delete, Possible), (4, Put, Possible)]);
        for seen in [&[(2, Put)][..], &[(3, Delete)], &[(4, Put)]] {
            assert!(history.allows(&state(seen)), "{seen:?}");
        }
        assert!(!history.allows(&state(&[(1, Put)])), "something newer is certain");
    }

    #[test]
    fn metadata_follows_the_same_rule() {
        let history = history(&[(1, Put, Certain), (2, Post, Certain), (3, Post, Possible), (4, Put, Possible)]);
        for seen in [&[(1, Put), (2, Post)][..], &[(1, Put), (3, Post)], &[(4, Put)]] {
            assert!(history.allows(&state(seen)), "{seen:?}");
        }
        for seen in [&[(1, Put)][..], &[(2, Post)], &[(4, Put), (5, Post)]] {
            assert!(!history.allows(&state(seen)), "{seen:?}");
        }
    }
}
