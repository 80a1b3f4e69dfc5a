//! What was offered to a receiver, what it wants, and what it therefore has.

use std::collections::BTreeSet;

use super::codec::Want;
use super::kept::Why;
use crate::device::object_files::FileMark;
use crate::device::survey::Found;
use crate::format::object::ObjectHash;

/// The objects that were offered, in that order.
#[derive(Debug, Default)]
pub(super) struct Offers {
    offers: Vec<Offer>,
    /// Places in `offers`, sorted by hash.
    by_hash: Vec<u32>,
    /// Places of what is wanted, in the order in which it was asked for.
    wanted: Vec<u32>,
}

/// An object that was offered.
#[derive(Debug)]
struct Offer {
    hash: ObjectHash,
    /// What identifies its files, if that is of interest.
    marks: Box<[FileMark]>,
    want: Want,
    sending: Sending,
}

/// How far the sending of an object that is wanted has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// Its turn has not come.
    Waits,
    /// Something is in the way: it cannot be read, or is not the one any more that was offered.
    Failed,
    /// All was sent that was wanted, of the very files that were offered.
    Done,
}

/// How far a conversation came: what of it makes an offer a confirmed one.
///
/// By not wanting an object the receiver says, before any update and whatever becomes of these, that it has it: it opened
/// its own copy, and found data, or a tombstone, and metadata that are as new as what was offered, or newer. To open it
/// means that its metadata were read and their checksum was right, that they have the name of what was opened, and that
/// the data are as long as the metadata say; else it moves its copy to quarantine and wants ours. It does not read the
/// data, so it does not hold them against their ETag: that is the auditor's, there as here. So what was not wanted is as
/// safe as what a push with rsync finds there already, and what was sent is safer, since its data are hashed and synced to
/// disk as they arrive. (It goes by the name in the metadata that it finds in the object's folder. Where these are
/// another object's, it looks at that one's folder instead. Nothing but a damaged or meddled with disk puts them there.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// The receiver's list of what it wants has not come in whole: nothing is confirmed.
    #[default]
    Nothing,
    /// It has: what it does not want is confirmed.
    Comparison,
    /// It has also said that all that was sent has arrived.
    Outcome,
}

impl Offers {
    pub(super) fn push(&mut self, found: Found) {
        let Found { hash, marks, .. } = found;
        self.offers.push(Offer { hash, marks: marks.into(), want: Want::default(), sending: Sending::Waits });
    }

    pub(super) fn len(&self) -> usize {
        self.offers.len()
    }

    /// To be called when all has been offered, before it is looked for.
    pub(super) fn sort(&mut self) {
        let offers = &self.offers;
        self.by_hash = (0..offers.len() as u32).collect();
        self.by_hash.sort_unstable_by_key(|at| offers[*at as usize].hash);
    }

    /// Takes note of what is wanted of an object; false if it was not offered.
    pub(super) fn want(&mut self, hash: ObjectHash, want: Want) -> bool {
        let Ok(place) = self.by_hash.binary_search_by_key(&hash, |at| self.offers[*at as usize].hash) else {
            return false;
        };
        let at = self.by_hash[place];
        let offer = &mut self.offers[at as usize];
        if !offer.want.anything() {
            self.wanted.push(at);
        }
        offer.want = want;
        true
    }

    /// Has these sent after all others.
    pub(super) fn put_last(&mut self, last: &BTreeSet<ObjectHash>) {
        let offers = &self.offers;
        self.wanted.sort_by_key(|at| last.contains(&offers[*at as usize].hash));
    }

    /// Whether this one is wanted.
    pub(super) fn is_wanted(&self, hash: ObjectHash) -> bool {
        let place = self.by_hash.binary_search_by_key(&hash, |at| self.offers[*at as usize].hash);
        place.is_ok_and(|place| self.offers[self.by_hash[place] as usize].want.anything())
    }

    /// Which objects are wanted, in the order in which they are sent.
    pub(super) fn all_wanted(&self) -> impl Iterator<Item = ObjectHash> {
        self.wanted.iter().map(|at| self.offers[*at as usize].hash)
    }

    /// How many objects are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// The object that is wanted as the nth, and what of it.
    pub(super) fn nth_wanted(&self, n: usize) -> (ObjectHash, Want) {
        let offer = &self.offers[self.wanted[n] as usize];
        (offer.hash, offer.want)
    }

    /// Takes note that the nth wanted object was sent, from files with these marks.
    pub(super) fn sent(&mut self, n: usize, marks: &[FileMark]) {
        let offer = &mut self.offers[self.wanted[n] as usize];
        // An object that has changed since is not the one that may go.
        let is_same = offer.marks.is_empty() || *offer.marks == *marks;
        offer.sending = if is_same { Sending::Done } else { Sending::Failed };
    }

    /// Takes note that the nth wanted object was not sent, or not in whole.
    pub(super) fn not_sent(&mut self, n: usize) {
        self.offers[self.wanted[n] as usize].sending = Sending::Failed;
    }

    /// What is not confirmed, after a conversation that came so far, and why.
    pub(super) fn unconfirmed(&self, reached: Reached, if_not_sent: Why) -> impl Iterator<Item = (ObjectHash, Why)> {
        self.offers.iter().filter(move |offer| !offer.is_confirmed(reached)).map(move |offer| {
            let why = match offer.sending {
                _ if reached == Reached::Nothing => Why::NotReached,
                Sending::Failed => Why::NotSent,
                Sending::Waits => if_not_sent,
                Sending::Done => Why::Refused,
            };
            (offer.hash, why)
        })
    }

    /// What is confirmed, but has nothing that identifies its files, after a conversation that came so far.
    pub(super) fn unmarked(&self, reached: Reached) -> impl Iterator<Item = ObjectHash> {
        let unmarked = move |offer: &&Offer| offer.is_confirmed(reached) && offer.marks.is_empty();
        self.offers.iter().filter(unmarked).map(|offer| offer.hash)
    }

    /// What the receiver has confirmed to have in a conversation that came so far.
    pub(super) fn into_candidates(self, reached: Reached) -> Candidates {
        let confirmed = self.offers.into_iter().filter(|offer| offer.is_confirmed(reached));
        let mut objects: Vec<_> = confirmed.map(|Offer { hash, marks, .. }| Candidate { hash, marks }).collect();
        objects.sort_unstable_by_key(|candidate| candidate.hash);
        Candidates { objects }
    }
}

impl Offer {
    fn is_confirmed(&self, reached: Reached) -> bool {
        match reached {
            Reached::Nothing => false,
            Reached::Comparison => !self.want.anything(),
            Reached::Outcome => !self.want.anything() || self.sending == Sending::Done,
        }
    }
}

/// An object that a peer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The hash of its name.
    pub hash: ObjectHash,
    /// The local files of which the peer has what they hold, or something newer. Nothing else may be removed on the
    /// peer's word. None if nothing is to be removed, or nothing may be.
    pub marks: Box<[FileMark]>,
}

/// The objects that a peer has confirmed to have, by their hashes (B9.20).
///
/// In it is no object that could not be read, was damaged, or changed while it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    objects: Vec<Candidate>,
}

impl Candidates {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether nothing was offered.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects, sorted by hash.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.objects.iter()
    }

    /// The object with this hash.
    pub fn get(&self, hash: ObjectHash) -> Option<&Candidate> {
        let place = self.objects.binary_search_by_key(&hash, |candidate| candidate.hash).ok()?;
        Some(&self.objects[place])
    }

    /// The hashes, as a check of another node of the same region takes them (B10.4).
    pub fn hashes(&self) -> BTreeSet<ObjectHash> {
        self.objects.iter().map(|candidate| candidate.hash).collect()
    }

    /// Adds those of other suffixes.
    pub(super) fn extend(&mut self, others: Self) {
        self.objects.extend(others.objects);
        self.objects.sort_unstable_by_key(|candidate| candidate.hash);
    }

    /// Leaves only the objects that the other peer has as well, from the same files (B10.5).
    pub fn retain_common(&mut self, other: &Self) {
        self.objects.retain(|candidate| other.get(candidate.hash).is_some_and(|found| found.marks == candidate.marks));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::device::object_files::FileIdentity;
    use crate::format::object::Times;
    use crate::format::timestamp::Timestamp;

    fn hash(digit: char) -> ObjectHash {
        ObjectHash::from_name(digit.to_string().repeat(32).as_bytes()).unwrap()
    }

    /// The mark of a new file.
    fn mark() -> [FileMark; 1] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "").unwrap();
        [(c"1.data".to_owned(), FileIdentity::from(&rustix::fs::stat(file.path()).unwrap()))]
    }

    fn offers(objects: &[(char, &[FileMark])]) -> Offers {
        let mut offers = Offers::default();
        for (digit, marks) in objects {
            let times = Times { data: Timestamp::ZERO, meta: None, content_type: None };
            offers.push(Found { hash: hash(*digit), times, marks: marks.to_vec() });
        }
        offers.sort();
        offers
    }

    fn names(candidates: &Candidates) -> String {
        candidates.iter().map(|candidate| char::from(candidate.hash.to_hex()[0])).collect()
    }

    const DATA: Want = Want { data: true, meta: false };

    #[test]
    fn what_is_not_wanted_or_was_sent_is_there() {
        let mut offers = offers(&[('c', &[]), ('a', &[]), ('b', &[]), ('d', &[])]);
        assert!(offers.want(hash('d'), DATA) && offers.want(hash('b'), DATA));
        assert_eq!(offers.wanted(), 2);
        assert_eq!(offers.nth_wanted(0).0, hash('d'), "in the receiver's order");
        offers.sent(0, &mark());
        assert_eq!(names(&offers.into_candidates(Reached::Outcome)), "acd");
    }

    #[test]
    fn what_is_not_wanted_is_there_whatever_becomes_of_the_updates() {
        let all = || {
            let mut offers = offers(&[('a', &[]), ('b', &[]), ('c', &[]), ('d', &[])]);
            assert!(['d', 'c', 'b'].iter().all(|digit| offers.want(hash(*digit), DATA)));
            offers.sent(0, &[]);
            offers.not_sent(1);
            offers
        };
        assert_eq!(names(&all().into_candidates(Reached::Nothing)), "");
        assert_eq!(names(&all().into_candidates(Reached::Comparison)), "a");
        assert_eq!(names(&all().into_candidates(Reached::Outcome)), "ad");
        let mut unconfirmed = [Reached::Nothing, Reached::Comparison, Reached::Outcome]
            .map(|reached| -> Vec<_> { all().unconfirmed(reached, Why::Lacking).collect() });
        unconfirmed.iter_mut().for_each(|objects| objects.sort_by_key(|(hash, _)| *hash));
        let expected = [(hash('b'), Why::Lacking), (hash('c'), Why::NotSent), (hash('d'), Why::Refused)];
        assert_eq!(unconfirmed[0].len(), 4);
        assert_eq!(unconfirmed[1], expected);
        assert_eq!(unconfirmed[2], expected[..2]);
    }

    #[test]
    fn suspects_are_sent_last_and_the_others_in_the_receivers_order() {
        let mut offers = offers(&[('a', &[]), ('b', &[]), ('c', &[]), ('d', &[])]);
        assert!(['d', 'b', 'a'].iter().all(|digit| offers.want(hash(*digit), DATA)));
        offers.put_last(&BTreeSet::from([hash('d'), hash('c')]));
        assert_eq!(offers.all_wanted().collect::<Vec<_>>(), ['b', 'a', 'd'].map(hash));
        assert!(offers.is_wanted(hash('d')) && !offers.is_wanted(hash('c')) && !offers.is_wanted(hash('e')));
    }

    #[test]
    fn what_is_wanted_twice_counts_once_and_what_was_not_offered_not_at_all() {
        let mut offers = offers(&[('a', &[])]);
        assert!(offers.want(hash('a'), DATA));
        assert!(offers.want(hash('a'), Want { data: false, meta: true }));
        assert!(!offers.want(hash('b'), DATA));
        assert_eq!(offers.wanted(), 1);
        assert!(offers.nth_wanted(0).1.meta, "the last word counts, as in the reference");
    }

    #[test]
    fn what_changed_while_it_was_sent_is_no_candidate() {
        let (before, after) = (mark(), mark());
        let mut offers = offers(&[('a', &before), ('b', &before)]);
        offers.want(hash('a'), DATA);
        offers.want(hash('b'), DATA);
        offers.sent(0, &before);
        offers.sent(1, &after);
        let candidates = offers.into_candidates(Reached::Outcome);
        assert_eq!(names(&candidates), "a");
        assert_eq!(*candidates.get(hash('a')).unwrap().marks, before);
    }

    #[test]
    fn only_what_all_have_from_the_same_files_is_common() {
        let (one, other) = (mark(), mark());
        let of = |objects: &[(char, &[FileMark])]| offers(objects).into_candidates(Reached::Outcome);
        let mut candidates = of(&[('a', &one), ('b', &one), ('c', &one)]);
        candidates.retain_common(&of(&[('a', &one), ('b', &other), ('d', &one)]));
        assert_eq!(names(&candidates), "a");
        assert_eq!(candidates.hashes(), BTreeSet::from([hash('a')]));
    }
}
