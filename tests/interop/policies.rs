//! Storage policies: each with its ring, its folders, and its fate.

use std::fs::{self, File};
use std::io::Write as _;

use crate::support::cluster::Spec;
use crate::support::object::time;
use crate::support::replicator::Which;

both! {
    every_policy_is_replicated_in_its_own_folders,
    a_chosen_policy_is_replicated_alone,
    a_hand_off_of_another_policy_is_moved,
    an_erasure_coded_policy_is_left_alone,
    a_policy_whose_part_power_grows_is_skipped,
}

fn two_policies() -> Spec {
    Spec::nodes(4).policy(1)
}

fn every_policy_is_replicated_in_its_own_folders(which: Which) {
    let cluster = two_policies().lease();
    let objects = [0, 1].map(|policy| cluster.object_in(policy, cluster.partitions_at(policy, 0)[0]));
    for object in &objects {
        cluster.put(&cluster.home(object.policy, object.partition, 0), object, &time(1), b"here and there");
    }
    cluster.replicate(which, 0).clean().counts(&[("attempted", 2), ("rsync", 4), ("success", 4)]);
    for object in &objects {
        cluster.assert_everywhere(object, b"here and there");
    }
}

fn a_chosen_policy_is_replicated_alone(which: Which) {
    let cluster = two_policies().lease();
    let objects = [0, 1].map(|policy| cluster.object_in(policy, cluster.partitions_at(policy, 0)[0]));
    for object in &objects {
        cluster.put(&cluster.home(object.policy, object.partition, 0), object, &time(1), b"x");
    }
    cluster.pass(which, 0).words(&["-i", "1"]).run().clean().says("1/1 (100.00%) partitions replicated");
    cluster.assert_everywhere(&objects[1], b"x");
    assert!(cluster.peers(0, objects[0].partition, 0).iter().all(|peer| objects[0].files(peer).is_empty()));
}

fn a_hand_off_of_another_policy_is_moved(which: Which) {
    let cluster = two_policies().lease();
    let (part, disk) = cluster.misplaced_at(1, 0);
    let object = cluster.object_in(1, part);
    cluster.put(&disk, &object, &time(1), b"home at last");
    cluster.replicate(which, 0).clean().counts(&[("remove", 1), ("rsync", 3)]);
    cluster.assert_gone(&disk, 1, part);
    cluster.assert_everywhere(&object, b"home at last");
}

fn an_erasure_coded_policy_is_left_alone(which: Which) {
    let cluster = Spec::nodes(4).lease();
    let mut conf = File::options().append(true).open(cluster.etc().join("swift.conf")).expect("the cluster's own");
    writeln!(
        conf,
        "[storage-policy:7]\nname = coded\npolicy_type = erasure_coding\nec_type = liberasurecode_rs_vand\n\
         ec_num_data_fragments = 2\nec_num_parity_fragments = 1"
    )
    .expect("the cluster's own");
    let fragments = cluster.disks()[0].path.join("objects-7/1/abc");
    fs::create_dir_all(&fragments).expect("the device is writable");
    let object = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
    cluster.put(&cluster.home(0, object.partition, 0), &object, &time(1), b"whole");
    cluster.replicate(which, 0).clean().counts(&[("attempted", 1), ("rsync", 2)]);
    assert!(fragments.exists());
    cluster.assert_everywhere(&object, b"whole");
}

fn a_policy_whose_part_power_grows_is_skipped(which: Which) {
    let mut cluster = two_policies().lease();
    cluster.announce_next_part_power(0);
    let objects = [0, 1].map(|policy| cluster.object_in(policy, cluster.partitions_at(policy, 0)[0]));
    for object in &objects {
        cluster.put(&cluster.home(object.policy, object.partition, 0), object, &time(1), b"x");
    }
    let outcome = cluster.replicate(which, 0);
    outcome.clean().says("next_part_power set in policy 'policy-0'. Skipping").counts(&[("attempted", 1)]);
    cluster.assert_everywhere(&objects[1], b"x");
    assert!(cluster.peers(0, objects[0].partition, 0).iter().all(|peer| objects[0].files(peer).is_empty()));
}

#[test]
fn every_policy_whose_part_power_grows_is_skipped_from_the_first_pass() {
    let mut cluster = two_policies().lease();
    cluster.announce_next_part_power(1);
    let object = cluster.object_in(1, cluster.partitions_at(1, 0)[0]);
    cluster.put(&cluster.home(1, object.partition, 0), &object, &time(1), b"x");
    let outcome = cluster.replicate(Which::Ours, 0);
    outcome.clean().says("next_part_power set in policy 'policy-1'. Skipping").counts(&[("attempted", 0)]);
    assert!(cluster.peers(1, object.partition, 0).iter().all(|peer| object.files(peer).is_empty()));
}

#[test]
fn a_ring_that_cannot_be_loaded_costs_only_its_own_policy() {
    let cluster = two_policies().lease();
    let object = cluster.object_in(0, cluster.partitions_at(0, 0)[0]);
    cluster.put(&cluster.home(0, object.partition, 0), &object, &time(1), b"x");
    fs::write(cluster.ring(1), b"no ring at all").expect("the cluster's own");
    let outcome = cluster.replicate(Which::Ours, 0);
    outcome.ended(0).says(&cluster.ring(1).file_name().expect("a file").to_string_lossy());
    outcome.counts(&[("attempted", 1), ("rsync", 2)]);
    cluster.assert_everywhere(&object, b"x");
}
