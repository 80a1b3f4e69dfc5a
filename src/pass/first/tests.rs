//! Tests of what is found of partitions that are to go first.

use super::*;

#[test]
fn the_name_of_a_ring_tells_its_policy_with_whatever_a_backup_has_before_it() {
    let policy = |name: &str| policy_by_name(Path::new(name));
    assert_eq!(policy("/etc/swift/object.ring.gz"), Some(0));
    assert_eq!(policy("/etc/swift/backups/1700000000.object-12.ring.gz"), Some(12));
    assert_eq!(policy("before.object.ring.gz"), Some(0));
    for other in ["old.ring.gz", "container.ring.gz", "object-x.ring.gz", "object.ring", "objects.ring.gz", "/"] {
        assert_eq!(policy(other), None, "{other}");
    }
}

#[test]
fn only_folders_with_the_name_of_a_partition_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["3", "12", "07", "junk"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("5"), "").unwrap();
    assert_eq!(named(folder.path(), &[12, 3, 5, 7, 12, 1 << 40]), [3, 12].map(Partition::new));
    let mut all = listed(folder.path()).unwrap();
    all.sort();
    assert_eq!(all, [3, 5, 12].map(Partition::new));
    assert_eq!(listed(&folder.path().join("nothing")).unwrap(), []);
}

#[test]
fn of_named_partitions_the_answer_says_how_many_are_here_and_which_are_not() {
    let key = |partition| (PolicyIndex::new(0), Partition::new(partition));
    let devices = vec![("sdb".to_owned(), vec![key(1), key(2)]), ("sdc".to_owned(), vec![key(2)])];
    let found = Found { devices, trouble: Vec::new() };
    let about = |numbers: &[u64]| Overrides { partitions: Some(numbers.to_vec()), ..Overrides::default() };
    let line = found.line_about(&about(&[1, 2, 2, 9, 7]));
    assert_eq!(line, "2 of the 4 partitions are here and go first: sdb 2, sdc 1; not here: 7,9");
    assert_eq!(found.line_about(&about(&[2])), "1 of the 1 partitions are here and go first: sdb 2, sdc 1");
    let many: Vec<_> = (10..50).collect();
    let line = Found::default().line_about(&about(&many));
    assert!(line.starts_with("0 of the 40 partitions are here and go first: none; not here: 10,11,"), "{line}");
    assert!(line.ends_with(",28,29 and 20 more"), "{line}");
}

#[test]
fn an_order_is_told_in_a_few_words() {
    let asked = Overrides {
        partitions: Some(vec![12, 99]),
        policies: Some(vec![1]),
        devices: Some(vec!["sdb".into(), "sdc".into()]),
        ..Overrides::default()
    };
    assert_eq!(in_words(&What::Named, &asked), "partitions 12,99, of policies 1, on sdb,sdc");
    let peer = What::To(PeerName::parse("10.0.0.7/sdc").unwrap());
    assert_eq!(in_words(&peer, &Overrides::default()), "what goes to 10.0.0.7/sdc");
}
