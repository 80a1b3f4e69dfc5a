//! Tests of hashing a suffix.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;

use super::*;
use crate::device::fixture::age;
use crate::device::listing::faults;
use crate::format::hashes::digest_to_hex;
use crate::names::{Partition, PolicyIndex};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const ONE: &str = "77777777777777777777777777777abc";
const TWO: &str = "88888888888888888888888888888abc";
/// The hash of a suffix in which nothing counts (B6.14).
const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

struct Tree {
    root: tempfile::TempDir,
    dir: PartitionDir,
}

impl Tree {
    fn new(files: &[(&str, &[&str])]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = PartitionDir::new(root.path(), "sd1", PolicyIndex::new(0), Partition::new(7));
        let tree = Self { root, dir };
        fs::create_dir_all(tree.suffix()).unwrap();
        for (object, names) in files {
            fs::create_dir_all(tree.suffix().join(object)).unwrap();
            for name in *names {
                fs::write(tree.suffix().join(object).join(name), "").unwrap();
            }
        }
        tree
    }

    fn suffix(&self) -> PathBuf {
        self.dir.suffix_path(suffix())
    }

    fn try_hash(&self) -> Result<Option<String>, SuffixError> {
        let folder = fs::File::open(self.dir.path()).unwrap();
        let hash = SuffixHasher::new(&self.dir, folder.as_fd(), WEEK).hash(suffix())?;
        Ok(hash.map(|digest| String::from_utf8(digest_to_hex(&digest).to_vec()).unwrap()))
    }

    fn hash(&self) -> Option<String> {
        self.try_hash().unwrap()
    }

    /// What is in a folder of the suffix.
    fn left(&self, object: &str) -> Vec<String> {
        let entries = fs::read_dir(self.suffix().join(object)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn suffix() -> Suffix {
    Suffix::from_name(b"abc").unwrap()
}

fn md5(text: &str) -> String {
    String::from_utf8(digest_to_hex(&Md5::digest(text).into()).to_vec()).unwrap()
}

fn ago(seconds: u64) -> String {
    let now = clock::now().as_secs();
    format!("{}.00000", now - seconds)
}

#[test]
fn objects_count_in_the_order_of_their_hashes() {
    let tree =
        Tree::new(&[(TWO, &["1400000000.00002.data", "1400000005.00000.meta"]), (ONE, &["1400000000.00001.data"])]);
    // B6.15: of one object the metadata come before the data.
    assert_eq!(tree.hash().unwrap(), "0bf63558895f7c78f4dc913581661e2c");
}

#[test]
fn obsolete_files_go_and_strays_stay() {
    let names = [
        "1400000000.00000.data",
        "1400000001.00000.data",
        "1400000002.00000.meta",
        "1400000003.00000-19.meta",
        "1400000000.50000.ts",
        "junk",
        ".1400000009.00000.data.Ab12Cd",
    ];
    let tree = Tree::new(&[(ONE, &names)]);
    // B6.15, worked by the reference.
    assert_eq!(tree.hash().unwrap(), "2b69ce6493d220cc4fd9a2591f6ffcd6");
    assert_eq!(tree.left(ONE), [".1400000009.00000.data.Ab12Cd", names[1], names[3], "junk"]);
}

#[test]
fn an_offset_is_part_of_the_hash() {
    let tree = Tree::new(&[(ONE, &["1400000000.00000_0000000000000001.data"])]);
    assert_eq!(tree.hash().unwrap(), "941bdc56c7604ed82f827fd6e9e180ec");
}

#[test]
fn old_tombstones_and_old_stray_metadata_go_and_what_is_empty_goes_with_them() {
    let week = WEEK.as_secs();
    let (old, young) = (ago(week + 60), ago(week - 60));
    let tree = Tree::new(&[(ONE, &[&format!("{old}.ts")]), (TWO, &[&format!("{old}.meta")])]);
    assert_eq!(tree.hash(), None);
    assert!(!tree.suffix().exists());
    let tree = Tree::new(&[(ONE, &[&format!("{young}.ts")]), (TWO, &[&format!("{young}.meta")])]);
    assert_eq!(tree.hash().unwrap(), md5(&format!("{young}.ts")));
    assert_eq!(tree.left(TWO), [format!("{young}.meta")]);
}

#[test]
fn a_tombstone_stays_while_what_it_made_obsolete_cannot_go() {
    let (older, old) = (ago(WEEK.as_secs() + 70), ago(WEEK.as_secs() + 60));
    let tree = Tree::new(&[(ONE, &[&format!("{old}.ts")])]);
    // A folder cannot be unlinked.
    fs::create_dir(tree.suffix().join(ONE).join(format!("{older}.data"))).unwrap();
    assert_eq!(tree.hash().unwrap(), NOTHING, "the hash is that of the reference, where both count as gone");
    assert_eq!(tree.left(ONE), [format!("{older}.data"), format!("{old}.ts")]);
}

#[test]
fn what_has_no_timestamp_keeps_its_place_and_does_not_count() {
    let tree = Tree::new(&[(ONE, &["junk", "inf.data", "nan.ts"])]);
    assert_eq!(tree.hash().unwrap(), NOTHING);
    assert_eq!(tree.left(ONE), ["inf.data", "junk", "nan.ts"]);
}

#[test]
fn unexpected_files_are_named() {
    let line = |name: &str| unexpected(Path::new("/a").join(name).as_path(), OsStr::new(name));
    let warning = "Unexpected file /a/x.data: Invalid Timestamp value in filename 'x.data'".to_owned();
    assert_eq!(line("x.data"), (Level::Warn, warning));
    let tempfile = ".1400000009.00000.data.Ab12Cd";
    assert_eq!(line(tempfile), (Level::Debug, format!("Rsync tempfile: /a/{tempfile}")));
}

/// An object server makes the folders, and only then opens a file in them.
#[test]
fn what_is_empty_and_new_is_left_for_who_made_it() {
    let tree = Tree::new(&[(ONE, &[])]);
    assert_eq!(tree.hash(), None, "there is nothing in it yet");
    assert!(tree.suffix().join(ONE).exists());
    age(&tree.suffix());
    assert_eq!(tree.hash(), None);
    assert!(tree.suffix().join(ONE).exists());
    fs::remove_dir(tree.suffix().join(ONE)).unwrap();
    assert_eq!(tree.hash(), None, "between the making of the two folders");
    assert!(tree.suffix().exists());
}

#[test]
fn an_empty_and_new_folder_beside_an_object_does_not_count() {
    let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &[])]);
    let hash = tree.hash();
    age(&tree.suffix().join(TWO));
    assert_eq!(tree.hash(), hash);
    assert!(!tree.suffix().join(TWO).exists());
}

#[test]
fn missing_empty_and_misplaced_suffixes_have_no_hash() {
    let tree = Tree::new(&[(ONE, &[])]);
    age(&tree.suffix().join(ONE));
    assert_eq!(tree.hash(), None);
    assert!(!tree.suffix().exists(), "an empty one is removed");
    assert_eq!(tree.hash(), None, "a missing one");
    fs::write(tree.suffix(), "").unwrap();
    assert_eq!(tree.hash(), None, "a file");
    assert!(tree.suffix().exists());
}

#[test]
fn a_file_in_an_objects_place_is_quarantined_and_the_rest_hashed() {
    let tree = Tree::new(&[(TWO, &["1400000000.00002.data"])]);
    fs::write(tree.suffix().join(ONE), "precious").unwrap();
    assert_eq!(tree.hash().unwrap(), md5("1400000000.00002.data"));
    let quarantined = tree.root.path().join("sd1/quarantined/objects").join(ONE);
    assert_eq!(fs::read_to_string(quarantined).unwrap(), "precious");
    assert_eq!(fs::read_to_string(tree.dir.path().join("hashes.invalid")).unwrap(), "abc\n");
}

#[test]
fn a_folder_that_cannot_be_listed_is_quarantined() {
    for errno in [Errno::NODATA, Errno::UCLEAN] {
        let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
        let hash = faults::with(ONE, errno, || tree.hash());
        assert_eq!(hash.unwrap(), md5("1400000000.00002.data"));
        assert!(tree.root.path().join("sd1/quarantined/objects").join(ONE).join("1400000000.00001.data").exists());
    }
}

#[test]
fn a_folder_that_cannot_be_moved_takes_its_suffix_with_it() {
    let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
    let hash = || faults::with(&format!("rename {ONE}"), Errno::IO, || tree.try_hash());
    faults::with(ONE, Errno::NODATA, hash).unwrap();
    assert!(!tree.suffix().exists());
    assert!(tree.root.path().join("sd1/quarantined/objects/abc").join(TWO).exists());
}

#[test]
fn a_folder_that_has_no_place_in_quarantine_leaves_its_suffix_where_it_is() {
    let tree = Tree::new(&[(ONE, &["1400000000.00001.data"]), (TWO, &["1400000000.00002.data"])]);
    fs::write(tree.root.path().join("sd1/quarantined"), "in the way").unwrap();
    let error = faults::with(ONE, Errno::NODATA, || tree.try_hash()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("Error hashing suffix {}: cannot quarantine ", tree.suffix().display())));
    assert_eq!((tree.left(ONE).len(), tree.left(TWO).len()), (1, 1));
}

#[test]
fn any_other_error_leaves_the_suffix_without_a_hash() {
    let tree = Tree::new(&[(ONE, &["1400000000.00001.data"])]);
    let error = faults::with(ONE, Errno::IO, || tree.try_hash()).unwrap_err().to_string();
    assert_eq!(error, format!("Error hashing suffix {}: Input/output error (os error 5)", tree.suffix().display()));
    let error = faults::with("abc", Errno::IO, || tree.try_hash()).unwrap_err().to_string();
    assert_eq!(error, format!("Error hashing suffix {}: Input/output error (os error 5)", tree.suffix().display()));
    symlink(TWO, tree.suffix().join(TWO)).unwrap();
    assert!(tree.try_hash().is_err(), "a symlink that leads nowhere but to itself");
}

#[test]
fn nothing_is_removed_behind_a_symlink() {
    let week = WEEK.as_secs();
    let tombstone = format!("{}.ts", ago(week + 60));
    for names in [&["1400000000.00001.data", "1400000000.00002.data"][..], &[&tombstone], &[]] {
        let tree = Tree::new(&[]);
        let elsewhere = tree.root.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        names.iter().for_each(|name| fs::write(elsewhere.join(name), "").unwrap());
        age(&elsewhere);
        symlink(&elsewhere, tree.suffix().join(ONE)).unwrap();
        let hash = tree.hash().unwrap();
        assert_eq!(tree.left(ONE), names);
        // What the reference makes of it, since it takes what is obsolete for gone.
        assert_eq!(hash, if names.len() == 2 { md5("1400000000.00002.data") } else { NOTHING.to_owned() });
    }
}

#[test]
fn a_symlink_that_leads_to_no_folder_is_moved_itself() {
    let tree = Tree::new(&[(TWO, &["1400000000.00002.data"])]);
    let elsewhere = tree.root.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, tree.suffix().join(ONE)).unwrap();
    assert_eq!(tree.hash().unwrap(), md5("1400000000.00002.data"));
    assert!(tree.root.path().join("sd1/quarantined/objects").join(ONE).is_symlink());
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "precious");
}

#[test]
fn an_object_behind_a_symlink_is_listed_through_it() {
    let tree = Tree::new(&[(ONE, &["1400000000.00001.data"])]);
    symlink(ONE, tree.suffix().join(TWO)).unwrap();
    assert_eq!(tree.hash().unwrap(), md5("1400000000.00001.data1400000000.00001.data"));
}
