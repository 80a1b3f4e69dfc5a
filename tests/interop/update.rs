//! Partitions that belong here: what differs is pushed, what does not is left alone.

use crate::support::cluster::{Cluster, Spec};
use crate::support::object::time;
use crate::support::replicator::Which;
use crate::support::rsync::FakeRsync;

both! {
    nothing_is_pushed_where_all_is_in_sync,
    data_metadata_and_tombstones_reach_every_primary,
    only_the_suffixes_that_differ_are_pushed,
    what_only_the_peer_has_is_ignored,
    newer_data_on_the_peer_is_kept,
    a_tombstone_ends_older_data_on_the_peer,
    an_empty_partition_is_in_sync_with_nothing,
    the_last_partial_row_of_a_ring_counts,
    only_chosen_devices_and_partitions_are_replicated,
    a_second_pass_has_nothing_to_do,
}

/// Four nodes, three replicas: every node has partitions of its own, and some that it has no part in.
fn cluster() -> Spec {
    Spec::nodes(4)
}

/// A partition that belongs on the first node.
fn local_partition(cluster: &Cluster) -> u32 {
    cluster.partitions_at(0, 0)[0]
}

fn nothing_is_pushed_where_all_is_in_sync(which: Which) {
    let cluster = cluster().lease();
    let object = cluster.object_in(0, local_partition(&cluster));
    cluster.put_everywhere(&object, &time(1), b"the same");
    let rsync = FakeRsync::recording();
    let outcome = cluster.pass(which, 0).rsync(&rsync).run();
    outcome.clean().counts(&[("attempted", 1), ("hashmatch", 2), ("success", 2), ("failure", 0), ("rsync", 0)]);
    assert!(rsync.runs().is_empty(), "{:?}", rsync.runs());
}

fn data_metadata_and_tombstones_reach_every_primary(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    let here = cluster.home(0, part, 0);
    let (data, meta, dead) = (cluster.object_in(0, part), cluster.object_in(0, part), cluster.object_in(0, part));
    cluster.put(&here, &data, &time(1), b"data");
    cluster.put(&here, &meta, &time(1), b"more data");
    cluster.post(&here, &meta, &time(2), &[("X-Object-Meta-Colour", "blue")]);
    cluster.delete(&here, &dead, &time(3));
    let outcome = cluster.replicate(which, 0);
    outcome.clean().counts(&[("rsync", 2), ("success", 2), ("suffix_count", 3), ("suffix_sync", 6), ("remove", 0)]);
    cluster.assert_everywhere(&data, b"data");
    cluster.assert_everywhere(&meta, b"more data");
    for disk in cluster.primaries(0, part) {
        assert_eq!(cluster.get(&disk, &meta).meta, [("x-object-meta-colour".to_owned(), "blue".to_owned())]);
        assert_eq!(dead.files(&disk), [format!("{}.ts", time(3))]);
    }
}

fn only_the_suffixes_that_differ_are_pushed(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    let here = cluster.home(0, part, 0);
    let (same, new) = (cluster.object_in(0, part), cluster.object_in(0, part));
    assert_ne!(same.suffix(), new.suffix());
    cluster.put_everywhere(&same, &time(1), b"the same");
    cluster.put(&here, &new, &time(1), b"new");
    let rsync = FakeRsync::recording();
    let pass = cluster.pass(which, 0).plainly().rsync(&rsync).set("rsync_bwlimit", "50m").set("rsync_io_timeout", 17);
    pass.run().clean().counts(&[("rsync", 2), ("suffix_count", 4 - 2), ("suffix_sync", 2)]);
    let mut pushes = rsync.pushes();
    pushes.sort();
    let expected = |target: &crate::support::cluster::Disk| {
        let source = here.partition(0, part).join(new.suffix()).display().to_string();
        let target = format!("{}::object/{}/objects/{part}", target.address, target.name);
        let class = "[0-9a-zA-Z]".repeat(6);
        let mut words = [
            "--recursive",
            "--whole-file",
            "--human-readable",
            "--xattrs",
            "--itemize-changes",
            "--ignore-existing",
            "--timeout=17",
            "--contimeout=17",
            "--bwlimit=50m",
        ]
        .map(str::to_owned)
        .to_vec();
        words.extend([format!("--exclude=.*.{class}"), source, target]);
        words
    };
    let mut wanted: Vec<_> = cluster.peers(0, part, 0).iter().map(expected).collect();
    wanted.sort();
    assert_eq!(pushes, wanted);
    cluster.assert_everywhere(&new, b"new");
}

fn what_only_the_peer_has_is_ignored(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    let (common, theirs) = (cluster.object_in(0, part), cluster.object_in(0, part));
    cluster.put_everywhere(&common, &time(1), b"common");
    for peer in cluster.peers(0, part, 0) {
        cluster.put(&peer, &theirs, &time(1), b"theirs");
    }
    let outcome = cluster.replicate(which, 0);
    outcome.clean().counts(&[("hashmatch", 2), ("rsync", 0), ("suffix_count", 1)]);
    assert!(theirs.files(&cluster.home(0, part, 0)).is_empty());
}

fn newer_data_on_the_peer_is_kept(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    let object = cluster.object_in(0, part);
    cluster.put(&cluster.home(0, part, 0), &object, &time(1), b"old");
    for peer in cluster.peers(0, part, 0) {
        cluster.put(&peer, &object, &time(2), b"new");
    }
    cluster.replicate(which, 0).clean().counts(&[("rsync", 2), ("success", 2)]);
    for peer in cluster.peers(0, part, 0) {
        assert_eq!(cluster.get(&peer, &object).body, b"new");
    }
}

fn a_tombstone_ends_older_data_on_the_peer(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    let object = cluster.object_in(0, part);
    cluster.put_everywhere(&object, &time(1), b"doomed");
    cluster.delete(&cluster.home(0, part, 0), &object, &time(2));
    cluster.replicate(which, 0).clean();
    for disk in cluster.primaries(0, part) {
        assert_eq!(cluster.get(&disk, &object).status, 404);
        // The peer looks at its files when it is asked for its hashes.
        cluster.hashes(&disk, 0, part);
        assert_eq!(object.files(&disk), [format!("{}.ts", time(2))]);
    }
}

fn an_empty_partition_is_in_sync_with_nothing(which: Which) {
    let cluster = cluster().lease();
    let part = local_partition(&cluster);
    std::fs::create_dir(cluster.home(0, part, 0).partition(0, part)).expect("the device is writable");
    let outcome = cluster.replicate(which, 0);
    outcome.clean().counts(&[("attempted", 1), ("hashmatch", 2), ("suffix_count", 0), ("rsync", 0)]);
}

fn the_last_partial_row_of_a_ring_counts(which: Which) {
    let cluster = Spec::nodes(4).replicas(2.5).ring_version(2).lease();
    let here = |part: &u32| cluster.primaries(0, *part)[0].node == 0;
    let parts: Vec<u32> = (0..16).filter(here).collect();
    let objects: Vec<_> = parts.iter().map(|&part| cluster.object_in(0, part)).collect();
    for object in &objects {
        cluster.put(&cluster.home(0, object.partition, 0), object, &time(1), b"some have two copies, some three");
    }
    let copies = |part: u32| cluster.primaries(0, part).len();
    assert!(parts.iter().any(|&part| copies(part) == 2) && parts.iter().any(|&part| copies(part) == 3), "{parts:?}");
    let pushes: usize = parts.iter().map(|&part| copies(part) - 1).sum();
    cluster.replicate(which, 0).clean().counts(&[("rsync", i64::try_from(pushes).expect("a small number"))]);
    for object in &objects {
        cluster.assert_everywhere(object, b"some have two copies, some three");
    }
}

fn only_chosen_devices_and_partitions_are_replicated(which: Which) {
    let cluster = Spec::nodes(3).devices(2).lease();
    let on_device = |name: &str| (0..16).find(|&part| cluster.home(0, part, 0).name == name).expect("such a partition");
    let (a, b) = (on_device("sda"), on_device("sdb"));
    let other = (0..16).rfind(|&part| part != a && cluster.home(0, part, 0).name == "sda").expect("another partition");
    let objects = [a, b, other].map(|part| cluster.object_in(0, part));
    for object in &objects {
        cluster.put(&cluster.home(0, object.partition, 0), object, &time(1), b"x");
    }
    let outcome = cluster.pass(which, 0).words(&["-d", "sda", "-p", &format!("{a},{b}")]).run();
    outcome.clean().says("1/1 (100.00%) partitions replicated");
    assert_eq!(outcome.recon, None, "a pass over a part says nothing of the whole (B5.19)");
    cluster.assert_everywhere(&objects[0], b"x");
    for object in &objects[1..] {
        assert!(cluster.peers(0, object.partition, 0).iter().all(|peer| object.files(peer).is_empty()));
    }
}

fn a_second_pass_has_nothing_to_do(which: Which) {
    let cluster = cluster().lease();
    for &part in &cluster.partitions_at(0, 0) {
        cluster.put(&cluster.home(0, part, 0), &cluster.object_in(0, part), &time(1), b"x");
    }
    let count = i64::try_from(cluster.partitions_at(0, 0).len()).expect("a small number");
    cluster.replicate(which, 0).clean().counts(&[("attempted", count), ("rsync", 2 * count), ("hashmatch", 0)]);
    let again = cluster.replicate(which, 0);
    again.clean().counts(&[("attempted", count), ("rsync", 0), ("hashmatch", 2 * count), ("suffix_hash", 0)]);
}
