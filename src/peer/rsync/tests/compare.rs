//! What a target lacks, by real rsync daemons.

use std::io::{BufRead, BufReader};

use super::*;
use crate::ring::Device;
use std::path::PathBuf;
use std::process::Command;

/// An attribute as Swift has it, longer than what rsync compares byte by byte.
const METADATA: (&str, &[u8]) = ("user.swift.metadata", &[b'm'; 200]);

/// Partitions of a local device whose files have metadata, and a node to which they were pushed.
struct Pushed {
    local: Local,
    node: Node,
    parts: Vec<PartSuffixes>,
}

impl Pushed {
    fn new(partitions: &[u32]) -> Self {
        let files: Vec<_> = partitions.iter().map(|partition| format!("{partition}/abc/h/1.data")).collect();
        let local = Local::with(&files.iter().map(String::as_str).collect::<Vec<_>>());
        for file in &files {
            xattr::set(local.datadir.join(file), METADATA.0, METADATA.1)
                .expect("the temporary folder has no attributes");
        }
        let parts = partitions.iter().map(|partition| part(*partition, &["abc"])).collect();
        let pushed = Self { local, node: Node::start(""), parts };
        Rsync::new(options()).push(&pushed.local.push(&pushed.parts, &pushed.node.device), &()).unwrap();
        pushed
    }

    fn lacking(&self) -> Result<Vec<Lacking>, PushError> {
        Rsync::new(options()).compare(&self.local.push(&self.parts, &self.node.device), &())
    }

    fn theirs(&self, partition: u32) -> PathBuf {
        self.node.datadir().join(format!("{partition}/abc/h/1.data"))
    }
}

fn missing(name: &str) -> Lacking {
    Lacking { missing: 1, examples: vec![name.into()], ..Lacking::default() }
}

fn wrong(name: &str) -> Lacking {
    Lacking { wrong: 1, examples: vec![name.into()], ..Lacking::default() }
}

#[test]
fn a_target_that_has_all_lacks_nothing() {
    for partitions in [&[1][..], &[1, 2, 30]] {
        let pushed = Pushed::new(partitions);
        assert_eq!(pushed.lacking().unwrap(), vec![Lacking::default(); partitions.len()]);
        assert_eq!(tree(&pushed.node.datadir()), tree(&pushed.local.datadir), "nothing was written");
    }
}

#[test]
fn what_is_not_the_object_is_not_taken_for_it() {
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 9] = [
        ("an empty file", |file| fs::write(file, "").unwrap()),
        ("a cut one", |file| fs::File::options().write(true).open(file).unwrap().set_len(3).unwrap()),
        ("all bytes without metadata", |file| xattr::remove(file, METADATA.0).unwrap()),
        ("other metadata of that length", |file| xattr::set(file, METADATA.0, &[b'n'; 200]).unwrap()),
        ("an empty folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("a folder with something in it", |file| {
            fs::remove_file(file).unwrap();
            write(file.join("more"), "");
        }),
        ("a dangling link", |file| {
            fs::remove_file(file).unwrap();
            symlink("/nonexistent", file).unwrap();
        }),
        ("a link to the same content", |file| {
            let other = file.with_extension("other");
            fs::rename(file, &other).unwrap();
            symlink(&other, file).unwrap();
        }),
        ("a fifo", |file| {
            fs::remove_file(file).unwrap();
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }),
    ];
    let partitions: Vec<_> = (0..u32::try_from(harms.len()).unwrap() + 2).collect();
    let pushed = Pushed::new(&partitions);
    for (partition, (_, harm)) in (0..).zip(harms) {
        harm(&pushed.theirs(partition));
    }
    let gone = u32::try_from(harms.len()).unwrap();
    fs::remove_file(pushed.theirs(gone)).unwrap();
    let lacking = pushed.lacking().unwrap();
    for (partition, (name, _)) in (0..).zip(harms) {
        let expected = wrong(&format!("{partition}/abc/h/1.data"));
        // From the fifth on it is no file.
        let obstructed = if partition < 4 { Vec::new() } else { expected.examples.clone() };
        let expected = Lacking { in_the_way: obstructed.len() as u64, obstructed, ..expected };
        assert_eq!(lacking[partition as usize], expected, "{name}");
    }
    assert_eq!(lacking[gone as usize], missing(&format!("{gone}/abc/h/1.data")));
    assert!(lacking[gone as usize + 1].is_nothing());
}

#[test]
fn only_what_makes_the_object_counts() {
    let pushed = Pushed::new(&[1, 2]);
    let theirs = pushed.theirs(1);
    fs::File::open(&theirs).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(theirs.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    write(theirs.with_file_name("0.ts"), "older");
    write(theirs.with_file_name("2.data"), "newer");
    write(pushed.node.datadir().join("1/def/h/1.data"), "of another suffix");
    // As root rsync would compare all namespaces; a label is the machine's own affair.
    let labelled = xattr::set(&theirs, "trusted.label", b"theirs").is_ok();
    assert_eq!(pushed.lacking().unwrap(), vec![Lacking::default(); 2], "with a label: {labelled}");
}

#[test]
fn what_is_missing_is_named_up_to_a_number() {
    let pushed = Pushed::new(&[1, 2]);
    for file in 0..30 {
        write(pushed.local.datadir.join(format!("1/abc/h{file}/a\nb.data")), "");
    }
    fs::remove_dir_all(pushed.node.datadir().join("2")).unwrap();
    let lacking = pushed.lacking().unwrap();
    assert_eq!((lacking[0].missing, lacking[0].wrong, lacking[0].examples.len()), (30, 0, 10));
    assert!(lacking[0].examples[0].ends_with("a\nb.data"), "{:?}", lacking[0].examples);
    assert_eq!(lacking[1], missing("2/abc/h/1.data"));
}

#[test]
fn what_rsync_skips_here_has_not_arrived() {
    let pushed = Pushed::new(&[1, 2, 3, 4, 5]);
    let local = |name: &str| pushed.local.datadir.join(name);
    // A suffix, a hash folder and a file that are links; rsync does not follow any of them, and ends with 0.
    for (partition, name) in [(1, "1/abc"), (2, "2/abc/h"), (3, "3/abc/h/1.data")] {
        let elsewhere = pushed.local.folder.path().join(format!("elsewhere-{partition}"));
        fs::rename(local(name), &elsewhere).unwrap();
        symlink(&elsewhere, local(name)).unwrap();
    }
    // A partition that is one works.
    let elsewhere = pushed.local.folder.path().join("elsewhere");
    fs::rename(local("4"), &elsewhere).unwrap();
    symlink(&elsewhere, local("4")).unwrap();
    fs::remove_dir_all(pushed.node.datadir().join("4")).unwrap();
    let sent = Rsync::new(options()).push(&pushed.local.push(&pushed.parts, &pushed.node.device), &()).unwrap();
    assert_eq!(sent.files, 1);
    assert!(pushed.node.datadir().join("4").symlink_metadata().unwrap().is_dir());
    let lacking = pushed.lacking().unwrap();
    assert_eq!(lacking[..3], ["1/abc", "2/abc/h", "3/abc/h/1.data"].map(missing));
    assert_eq!(lacking[3..], [Lacking::default(), Lacking::default()]);
}

#[test]
fn what_is_gone_or_empty_here_is_not_lacking_there() {
    let mut pushed = Pushed::new(&[1, 2, 3]);
    fs::remove_dir_all(pushed.local.datadir.join("1")).unwrap();
    fs::create_dir_all(pushed.local.datadir.join("2/def/h")).unwrap();
    write(pushed.local.datadir.join("2/def/h/.1.data.aB3xYz"), "rsync's own temporary file");
    pushed.parts[1] = part(2, &["abc", "def"]);
    assert_eq!(pushed.lacking().unwrap(), vec![Lacking::default(); 3]);
}

#[test]
fn without_datadir_nothing_is_there() {
    let pushed = Pushed::new(&[1, 2]);
    fs::remove_dir_all(pushed.node.datadir()).unwrap();
    assert_eq!(pushed.lacking().unwrap(), ["1/abc/h/1.data", "2/abc/h/1.data"].map(missing));
    assert!(!pushed.node.datadir().exists());
}

#[test]
fn a_daemon_that_takes_no_dry_run_is_told_apart() {
    let (local, node) = (Local::with(&["1/abc/h/1.data"]), Node::start("refuse options = checksum dry-run"));
    let parts = [part(1, &["abc"])];
    let error = Rsync::new(options()).compare(&local.push(&parts, &node.device), &()).unwrap_err();
    assert!(matches!(&error, PushError::Refused { option, here: false } if option == "--dry-run"), "{error:?}");
    assert_eq!((error.cause(), error.verdict().again), (Cause::Refused, Again::No));
}

/// A daemon that says this after the module's name, and hangs up.
fn daemon_that_says(words: &'static str) -> Device {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            socket.get_mut().write_all(b"@RSYNCD: 31.0\n").unwrap();
            for _ in 0..2 {
                socket.read_line(&mut String::new()).unwrap();
            }
            let _ = socket.get_mut().write_all(words.as_bytes());
        }
    });
    device_on(port)
}

#[test]
fn silence_is_no_proof() {
    let local = Local::with(&["1/abc/h/1.data", "2/abc/h/1.data"]);
    let parts = [part(1, &["abc"]), part(2, &["abc"])];
    for words in ["@RSYNCD: EXIT\n", "object\tall that is there\n@RSYNCD: EXIT\n"] {
        let to = daemon_that_says(words);
        // rsync ends with 0.
        assert_eq!(Rsync::new(options()).push(&local.push(&parts, &to), &()).unwrap().files, 0);
        let lacking = Rsync::new(options()).compare(&local.push(&parts, &to), &()).unwrap();
        assert_eq!(lacking, ["1/abc", "2/abc"].map(missing));
    }
}

#[test]
fn lines_that_were_not_asked_for_prove_nothing() {
    let script =
        Script::new("printf '%s\\n' '.f          1/abc/h/1.data' ' .d          1/abc/' 'x .d          1/abc/'");
    let local = Local::with(&["1/abc/h/1.data"]);
    let rsync = Rsync::new(options()).with_program(script.program());
    let lacking = rsync.compare(&local.push(&[part(1, &["abc"])], &device_on(1)), &()).unwrap();
    assert_eq!(lacking, [missing("1/abc")]);
}
