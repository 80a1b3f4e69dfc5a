//! Objects that a real receiver does not take, and what becomes of their neighbours.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;

use swift_object_replicator::peer::ssync::{KeptEntry, Why};

use super::ssync::{Scene, md5, write_data, write_with_etag};
use crate::support::cluster::Disk;
use crate::support::object::{Object, time};

/// Has a node refuse an object for ever: in its folder there is a file of another object.
fn refuse(disk: &Disk, object: &Object) {
    let other = Object { name: format!("{}-other", object.name), ..object.clone() };
    write_with_etag(disk, &other, 4, &md5(b"data"), &time(0)).write_all(b"data").expect("the device is writable");
}

#[test]
fn what_a_receiver_refuses_does_not_keep_what_it_has() {
    let scene = Scene::new();
    let objects: Vec<Object> = (0..30).map(|_| scene.object()).collect();
    objects.iter().for_each(|object| write_data(&scene.from, object, b"some data"));
    refuse(&scene.to, &objects[7]);
    for _ in 0..2 {
        let error = scene.push().unwrap_err();
        assert!(matches!(error.refused(), Some((1, _))), "{error}");
        let confirmed: BTreeSet<_> = error.confirmed.iter().map(|candidate| candidate.hash).collect();
        let healthy = objects.iter().enumerate().filter(|(n, _)| *n != 7);
        assert_eq!(confirmed, healthy.map(|(_, object)| Scene::hash(object)).collect());
        assert!(error.confirmed.iter().all(|candidate| candidate.marks.len() == 1));
        let refused = KeptEntry { path: objects[7].folder(&scene.from), why: Why::Refused };
        assert_eq!((error.kept.count, error.kept.examples), (1, vec![refused]));
    }
}

/// A receiver breaks off once it has refused a hundred, and more than it took.
#[test]
fn a_hundred_refused_objects_do_not_keep_the_others_from_being_sent() {
    let scene = Scene::new();
    let objects: Vec<Object> = (0..300).map(|_| scene.object()).collect();
    objects.iter().for_each(|object| write_data(&scene.from, object, b"some data"));
    let (refused, healthy) = objects.split_at(240);
    refused.iter().for_each(|object| refuse(&scene.to, object));
    let error = scene.push().unwrap_err();
    assert!(error.to_string().contains("Too many 100 failures to "), "{error}");
    let confirmed: BTreeSet<_> = error.confirmed.iter().map(|candidate| candidate.hash).collect();
    assert_eq!(confirmed, healthy.iter().map(Scene::hash).collect());
    assert_eq!(error.kept.count, refused.len());
}

/// Its receiver cannot make a number of this, and breaks off.
#[test]
fn an_object_that_breaks_the_receiver_does_not_keep_the_others_from_being_sent() {
    let mut scene = Scene::new();
    let objects: Vec<Object> = (0..20).map(|_| scene.object()).collect();
    for (n, object) in objects.iter().enumerate() {
        let length = if n % 7 == 3 { "it's" } else { "4" };
        let items = [("X-Timestamp", time(1)), ("content-length", length.to_owned())];
        let items = items.each_ref().map(|(key, value)| (*key, value.as_str()));
        scene.write(object, &format!("{}.data", time(1)), b"data", &items, false, 65_536);
    }
    let error = scene.push().unwrap_err();
    assert!(error.to_string().contains(":ERROR: 0 "), "{error}");
    assert_eq!((error.confirmed.len(), error.kept.count), (17, 3));
}

/// Its receiver breaks off before it says what it wants of all the others, and does not say why.
#[test]
fn a_file_in_the_place_of_a_suffix_does_not_keep_the_others_from_being_sent() {
    let scene = Scene::new();
    let objects: Vec<Object> = (0..200).map(|_| scene.object()).collect();
    objects.iter().for_each(|object| write_data(&scene.from, object, b"some data"));
    let place = objects[7].folder(&scene.to).parent().expect("a suffix").to_owned();
    fs::create_dir_all(place.parent().expect("a partition")).expect("the device is writable");
    fs::write(&place, "no folder").expect("the device is writable");
    let error = scene.push().unwrap_err();
    assert!(error.to_string().contains("Not a directory"), "{error}");
    let (bad, healthy): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.suffix() == objects[7].suffix());
    let confirmed: BTreeSet<_> = error.confirmed.iter().map(|candidate| candidate.hash).collect();
    assert_eq!(confirmed, healthy.into_iter().map(Scene::hash).collect());
    assert_eq!(error.kept.count, bad.len());
    assert!(error.is_about_objects());
    // Once it is out of the way all goes.
    fs::remove_file(&place).expect("it is there");
    assert_eq!(scene.push().expect("nothing is wrong any more").candidates.len(), 200);
}
