//! Partitions that belong here: what differs is pushed, what does not is left alone.

use crate::support::cluster::Spec;
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

both! {
    nothing_is_pushed_where_all_is_in_sync,
    data_metadata_and_tombstones_reach_every_primary,
}

fn nothing_is_pushed_where_all_is_in_sync(which: Which) {
    let cluster = Spec::nodes(3).lease();
    let object = cluster.object_in(0, 5);
    for disk in cluster.primaries(0, 5) {
        cluster.put(&disk, &object, &time(1), b"the same");
    }
    let rsync = FakeRsync::recording();
    let outcome = cluster.pass(which, 0).rsync(&rsync).run();
    outcome.clean().counts(&[("attempted", 1), ("hashmatch", 2), ("success", 2), ("failure", 0), ("rsync", 0)]);
    assert!(rsync.runs().is_empty(), "{:?}", rsync.runs());
}

fn data_metadata_and_tombstones_reach_every_primary(which: Which) {
    let cluster = Spec::nodes(3).lease();
    let here = cluster.home(0, 5, 0);
    let (data, meta, dead) = (cluster.object_in(0, 5), cluster.object_in(0, 5), cluster.object_in(0, 5));
    cluster.put(&here, &data, &time(1), b"data");
    cluster.put(&here, &meta, &time(1), b"more data");
    cluster.post(&here, &meta, &time(2), &[("X-Object-Meta-Colour", "blue")]);
    cluster.delete(&here, &dead, &time(3));
    cluster.replicate(which, 0).clean();
    cluster.assert_everywhere(&data, b"data");
    cluster.assert_everywhere(&meta, b"more data");
    for disk in cluster.primaries(0, 5) {
        assert_eq!(cluster.get(&disk, &meta).meta, [("x-object-meta-colour".to_owned(), "blue".to_owned())]);
        assert_eq!(dead.files(&disk), [format!("{}.ts", time(3))]);
    }
}
