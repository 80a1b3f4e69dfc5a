//! Suffixes that a receiver cannot look at, and what becomes of the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

/// What Swift's receiver says where there is a file in the place of a suffix's folder.
const NO_FOLDER: &str = ":ERROR: 0 \"[Errno 20] Not a directory: '/srv/node/sdb/objects/7/abc'\"";

/// A receiver of any number of conversations. It breaks off where something of these suffixes is offered, and takes all
/// else.
struct Picky {
    device: Device,
    bad: Arc<Mutex<BTreeSet<Suffix>>>,
    conversations: Arc<AtomicUsize>,
    arrived: Arc<Mutex<BTreeSet<ObjectHash>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Picky {
    fn new(bad: impl IntoIterator<Item = Suffix>, line: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let device = device("127.0.0.1", listener.local_addr().unwrap().port());
        let bad = Arc::new(Mutex::new(bad.into_iter().collect::<BTreeSet<_>>()));
        let (conversations, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
        let is_over = Arc::new(AtomicBool::new(false));
        let of_thread = (bad.clone(), conversations.clone(), arrived.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            let (bad, conversations, arrived, is_over) = of_thread;
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                conversations.fetch_add(1, Ordering::Relaxed);
                let mut receiver = Receiver { stream: BufReader::new(stream.unwrap()) };
                converse(&mut receiver, &bad.lock().unwrap(), &mut arrived.lock().unwrap(), line);
                let _ = receiver.stream.get_ref().shutdown(Shutdown::Both);
            }
        });
        Self { device, bad, conversations, arrived, is_over, thread: Some(thread) }
    }

    /// How many conversations there were since this was last asked.
    fn conversations(&self) -> usize {
        self.conversations.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.device.replication_port)));
        self.thread.take().map(JoinHandle::join);
    }
}

fn converse(receiver: &mut Receiver, bad: &BTreeSet<Suffix>, arrived: &mut BTreeSet<ObjectHash>, line: &'static str) {
    receiver.head();
    receiver.raw(HEAD);
    receiver.say("");
    receiver.message();
    let offered = receiver.until(":MISSING_CHECK: END");
    let offered: Vec<_> = offered.iter().map(|line| ObjectHash::from_name(&line.as_bytes()[..32]).unwrap()).collect();
    if offered.iter().any(|hash| bad.contains(&hash.suffix())) {
        return receiver.say(line);
    }
    receiver.say(OK[1]);
    for hash in offered.iter().filter(|hash| !arrived.contains(hash)) {
        receiver.say(&format!("{hash} d"));
    }
    receiver.say(OK[3]);
    let is_begun = receiver.message().is_some_and(|line| line == ":UPDATES: START\r\n");
    if is_begun {
        receiver.until(":UPDATES: END");
        receiver.say_all(&[":UPDATES: START", ":UPDATES: END"]);
        receiver.message();
        arrived.extend(offered);
    }
}

/// A partition with an object in each of so many suffixes; the objects, by suffix.
fn objects_in(count: usize) -> (Fixture, Vec<ObjectHash>) {
    let fixture = Fixture::new();
    let mut objects: Vec<ObjectHash> = Vec::new();
    for name in (0..).map(|at| format!("/a/c/{at}")) {
        if objects.len() == count {
            break;
        }
        let hash = fixture.hash(&name);
        if objects.iter().all(|other| other.suffix() != hash.suffix()) {
            objects.push(fixture.put(&name, T1, b"data", &[]));
        }
    }
    objects.sort_by_key(|hash| hash.suffix());
    (fixture, objects)
}

fn without(objects: &[ObjectHash], bad: &[usize]) -> BTreeSet<ObjectHash> {
    let others = objects.iter().enumerate().filter(|(at, _)| !bad.contains(at));
    others.map(|(_, hash)| *hash).collect()
}

#[test]
fn a_suffix_that_the_receiver_cannot_look_at_costs_that_suffix_only() {
    for bad in [&[0][..], &[63], &[17], &[3, 40], &[20, 21, 22], &[5, 20, 40, 60]] {
        let (fixture, objects) = objects_in(64);
        let receiver = Picky::new(bad.iter().map(|at| objects[*at].suffix()), NO_FOLDER);
        let (outcome, lines) = push(&fixture, &receiver.device);
        let error = outcome.unwrap_err();
        assert_eq!(*receiver.arrived.lock().unwrap(), without(&objects, bad), "{bad:?}");
        assert_eq!(error.confirmed.hashes(), without(&objects, bad));
        assert!(error.confirmed.iter().all(|candidate| candidate.marks.len() == 1));
        assert!(
            objects.iter().all(|hash| error.confirmed.get(*hash).is_some() == without(&objects, bad).contains(hash))
        );
        assert!(receiver.conversations() <= 1 + 2 * 6 * bad.len());
        assert!(error.is_about_objects() && !error.is_busy());
        assert_eq!((error.cause(), error.kept.count), (Cause::Push, bad.len()));
        assert_eq!(error.bytes, 4 * (64 - bad.len() as u64));
        // One line for the push, and one that names each suffix.
        assert_eq!(lines.iter().filter(|line| line.starts_with("ERROR ")).count(), 1 + bad.len(), "{lines:?}");
        for at in bad {
            let name = format!("/sdb/7/{} Unexpected response: ", objects[*at].suffix());
            assert!(lines.iter().any(|line| line.contains(&name)), "{lines:?}");
        }
    }
}

#[test]
fn what_is_only_asked_for_is_divided_too() {
    let (fixture, objects) = objects_in(8);
    let receiver = Picky::new([objects[2].suffix()], NO_FOLDER);
    receiver.arrived.lock().unwrap().extend(&objects[..4]);
    let only: BTreeSet<_> = objects.iter().copied().collect();
    let error = push_only(&fixture, &receiver.device, Duration::from_secs(20), Some(&only)).0.unwrap_err();
    assert_eq!(error.confirmed.hashes(), without(&objects, &[2, 4, 5, 6, 7]));
    assert_eq!(receiver.arrived.lock().unwrap().len(), 4, "nothing is sent");
}

#[test]
fn a_suffix_that_is_repaired_is_pushed_as_ever() {
    let (fixture, objects) = objects_in(8);
    let receiver = Picky::new([objects[2].suffix()], NO_FOLDER);
    let sender = sender(&fixture, Duration::from_secs(20));
    push_by(&sender, &fixture, &receiver.device, None).0.unwrap_err();
    receiver.bad.lock().unwrap().clear();
    receiver.conversations();
    let synced = push_by(&sender, &fixture, &receiver.device, None).0.unwrap();
    assert_eq!((synced.candidates.len(), receiver.conversations()), (8, 1));
}

/// Otherwise thousands of suffixes would cost thousands of conversations, for every partition and in every pass.
#[test]
fn a_receiver_that_breaks_off_everything_is_soon_left_alone() {
    let (fixture, objects) = objects_in(200);
    let receiver = Picky::new(objects.iter().map(|hash| hash.suffix()), NO_FOLDER);
    let sender = sender(&fixture, Duration::from_secs(20));
    let (outcome, lines) = push_by(&sender, &fixture, &receiver.device, None);
    let error = outcome.unwrap_err();
    assert!(error.confirmed.is_empty() && !error.is_about_objects());
    assert_eq!(receiver.conversations(), 40);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("200 of 200 suffixes are left for another pass"), "{lines:?}");
    for _ in 0..3 {
        push_by(&sender, &fixture, &receiver.device, None).0.unwrap_err();
        assert_eq!(receiver.conversations(), 3);
    }
    // Once it takes a part of something all is as it was.
    receiver.bad.lock().unwrap().retain(|suffix| *suffix == objects[0].suffix());
    let error = push_by(&sender, &fixture, &receiver.device, None).0.unwrap_err();
    assert_eq!(error.confirmed.len(), 199);
}

#[test]
fn many_suffixes_that_cannot_be_looked_at_take_a_bounded_number_of_conversations() {
    let (fixture, objects) = objects_in(1024);
    let bad: Vec<_> = (0..1024).step_by(64).collect();
    let receiver = Picky::new(bad.iter().map(|at| objects[*at].suffix()), NO_FOLDER);
    let (outcome, lines) = push(&fixture, &receiver.device);
    let error = outcome.unwrap_err();
    assert_eq!(receiver.conversations(), 201);
    assert!(lines.last().unwrap().contains(" of 1024 suffixes are left for another pass"), "{lines:?}");
    assert!(!error.is_about_objects(), "something was not tried");
    let healthy = without(&objects, &bad);
    assert!(error.confirmed.hashes().is_subset(&healthy) && error.confirmed.len() > healthy.len() * 9 / 10);
}

#[test]
fn what_is_not_about_something_of_the_receivers_own_is_not_divided() {
    for line in [
        ":ERROR: 0 '15 seconds: /srv/node/sdb/objects/7/.lock-replication'",
        ":ERROR: 503 b'busy'",
        ":ERROR: 408 '60 seconds: missing_check line'",
        "what?",
    ] {
        let (fixture, objects) = objects_in(8);
        let receiver = Picky::new([objects[2].suffix()], line);
        push(&fixture, &receiver.device).0.unwrap_err();
        assert_eq!(receiver.conversations(), 1, "{line}");
    }
    let (fixture, _) = one_object();
    let receiver = Picky::new([fixture.hash("/a/c/o").suffix()], NO_FOLDER);
    let (outcome, lines) = push(&fixture, &receiver.device);
    assert_eq!((receiver.conversations(), lines.len()), (1, 1));
    assert!(!outcome.unwrap_err().is_about_objects());
}
