//! A list of partitions that does not go through at once is tried again in other ways. The log's errors are what failed in
//! the end; what only took a second try is below them.

use crate::support::cluster::{Cluster, Lease, Spec};
use crate::support::object::{Object, time};
use crate::support::replicator::{Outcome, Which};
use crate::support::rsync::FakeRsync;

const BUSY: &str = "@ERROR: max connections (1) reached -- try again later";
const NO_ROOM: &str = "rsync: [receiver] write failed on \"sda/objects/x\" (in object): No space left on device (28)";
const BAD: &str = "Bad rsync return code: ";

/// An object in each of the first node's partitions, which its peers lack.
fn stored() -> (Lease, Vec<Object>) {
    let cluster = Spec::nodes(3).lease();
    let parts = cluster.partitions_at(0, 0);
    let objects = parts.iter().map(|&part| {
        let object = cluster.object_in(0, part);
        cluster.put(&cluster.home(0, part, 0), &object, &time(1), b"x");
        object
    });
    let objects = objects.collect();
    (cluster, objects)
}

/// Pushes the list without this partition, and then does this, where the list had it.
fn without(part: u32, shell: &str) -> FakeRsync {
    FakeRsync::doing(&format!(
        "[ $dry = yes ] && exec \"$rsync\" \"$@\"
list=$(tr '\\0' '\\n')
printf '%s\\n' \"$list\" | grep -v '^{part}/' | tr '\\n' '\\0' | \"$rsync\" \"$@\" || exit $?
printf '%s\\n' \"$list\" | grep -q '^{part}/' || exit 0
{shell}"
    ))
}

/// The messages at ERROR.
fn errors(outcome: &Outcome) -> Vec<&str> {
    let messages = outcome.syslog.iter().zip(outcome.messages());
    messages.filter(|(line, _)| line.severity() <= 3).map(|(_, message)| message).collect()
}

fn pass(cluster: &Cluster, rsync: &FakeRsync) -> Outcome {
    cluster.pass(Which::Ours, 0).set("concurrency", 1).rsync(rsync).run()
}

#[test]
fn what_arrives_at_the_second_try_is_no_error() {
    for shell in ["exit 23", "echo 'rsync: connection reset' >&2; exit 12", "kill -KILL $$"] {
        let (cluster, objects) = stored();
        let once = tempfile::tempdir().expect("a folder");
        let shell = format!("mkdir '{}/once' 2>/dev/null && {{ {shell}; }}", once.path().display());
        let rsync = FakeRsync::doing(&format!("[ $dry = yes ] || {shell}\nexec \"$rsync\" \"$@\""));
        let outcome = pass(&cluster, &rsync);
        outcome.clean().says(" is tried again: Bad rsync return code: ").counts(&[("failure", 0)]);
        objects.iter().for_each(|object| cluster.assert_everywhere(object, b"x"));
    }
}

#[test]
fn the_one_that_fails_again_alone_is_an_error_for_each_target_as_the_reference_has_it() {
    let (cluster, objects) = stored();
    let rsync = without(objects[0].partition, "echo 'rsync: [sender] read failed' >&2; exit 23");
    let outcome = pass(&cluster, &rsync);
    outcome.ended(0).counts(&[("failure", 2)]);
    let errors = errors(&outcome);
    let bad = errors.iter().filter(|line| line.starts_with(&format!("{BAD}23 <- ['rsync', '--recursive', "))).count();
    assert_eq!((errors.len(), bad), (4, 2), "{errors:#?}\n{}", outcome.all());
    objects[1..].iter().for_each(|object| cluster.assert_everywhere(object, b"x"));
}

/// It is known to be the only one that is lacking, so there is no other run that could say so.
#[test]
fn the_only_one_for_which_there_is_no_room_is_an_error_without_another_run() {
    let (cluster, objects) = stored();
    let outcome = pass(&cluster, &without(objects[0].partition, &format!("echo '{NO_ROOM}' >&2; exit 11")));
    outcome.ended(0).counts(&[("failure", 2)]).says(" has no room for ");
    let errors = errors(&outcome);
    let bad = errors.iter().filter(|line| line.starts_with(BAD)).count();
    assert_eq!((errors.len(), bad), (4, 2), "{errors:#?}\n{}", outcome.all());
}

/// What is tried again is not always tried again in the end.
#[test]
fn a_list_whose_target_is_closed_before_its_second_try_is_an_error() {
    let (cluster, objects) = stored();
    let rsync = FakeRsync::doing(&format!("echo '{NO_ROOM}' >&2; exit 11"));
    let outcome = pass(&cluster, &rsync);
    let failures = i64::try_from(2 * objects.len()).expect("few partitions");
    outcome.ended(0).counts(&[("failure", failures)]).says(" is full: nothing more is pushed to it in this pass");
    let errors = errors(&outcome);
    // Two partitions alone, and what is left of the list; twice that, for two targets.
    let bad = errors.iter().filter(|line| line.starts_with(BAD)).count();
    assert_eq!(bad, 2 * 3, "{errors:#?}\n{}", outcome.all());
}

#[test]
fn a_target_that_is_too_busy_all_the_time_is_an_error_once_and_for_a_moment_none() {
    let (cluster, _) = stored();
    let outcome = pass(&cluster, &FakeRsync::doing(&format!("echo '{BUSY}'; exit 5")));
    let errors = errors(&outcome);
    let bad = errors.iter().filter(|line| line.starts_with(&format!("{BAD}5 <- "))).count();
    assert_eq!(bad, 2, "{errors:#?}\n{}", outcome.all());
    assert!(outcome.count(BAD) > bad, "{}", outcome.all());
}
