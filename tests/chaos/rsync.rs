//! The rsync that the replicators of a node find in their `PATH`: the real one, until it is told to do badly.
//!
//! Times of operations are milliseconds apart, so a pattern over the third decimal of a file's name leaves half of the
//! files out. Dry runs are honest: nobody could find out that a thing is missing if everyone said that it is there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::plan::RsyncManner;

/// The stand-in of one node.
pub struct NodeRsync {
    folder: PathBuf,
}

impl NodeRsync {
    /// Makes it in the folder, which is to be the first of the `PATH`.
    pub fn install(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("the node's folder is writable");
        let script = format!(
            "#!/bin/sh
manner=$(cat '{manner}')
case \"$manner $* \" in
lingers*) ;;
*' --dry-run '*) manner=well ;;
esac
case $manner in
lingers) '{rsync}' \"$@\"
    code=$?
    sleep 0.$(( $$ % 10 ))
    exit $code ;;
drops-half) exec '{rsync}' '--exclude=*.??[02468]??.*' \"$@\" ;;
dies) exec 3<&0
    '{rsync}' \"$@\" <&3 & pid=$!
    sleep 0.0$(( $$ % 10 ))
    kill -KILL $pid
    wait $pid ;;
*) exec '{rsync}' \"$@\" ;;
esac
",
            manner = folder.join("manner").display(),
            rsync = real().display(),
        );
        let program = folder.join("rsync");
        fs::write(&program, script).expect("the node's folder is writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the script is ours");
        let stand_in = Self { folder };
        stand_in.behave(None);
        stand_in
    }

    /// How the next runs do; `None`: well.
    pub fn behave(&self, manner: Option<RsyncManner>) {
        let word = match manner {
            None => "well",
            Some(RsyncManner::DropsHalf) => "drops-half",
            Some(RsyncManner::DiesHalfWay) => "dies",
            Some(RsyncManner::Lingers) => "lingers",
        };
        let next = self.folder.join("manner.new");
        fs::write(&next, word).expect("the node's folder is writable");
        fs::rename(next, self.folder.join("manner")).expect("the node's folder is writable");
    }

    /// A search path with the stand-in before all others.
    pub fn search_path(&self) -> OsString {
        let rest = std::env::var_os("PATH").expect("a PATH");
        let folders = std::iter::once(self.folder.clone()).chain(std::env::split_paths(&rest));
        std::env::join_paths(folders).expect("a path without colons")
    }
}

/// The real rsync.
fn real() -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("rsync")).find(|program: &PathBuf| program.exists());
    found.expect("rsync is installed: `make setup` does it")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Pushes four files; how many arrived, and whether rsync said that all is well.
    fn pushed(manner: Option<RsyncManner>, words: &[&str]) -> (usize, bool) {
        let root = tempfile::tempdir().expect("a folder");
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        [&from, &to].iter().for_each(|folder| fs::create_dir(folder).expect("a new folder"));
        for digit in 1..=4 {
            fs::write(from.join(format!("1700000000.00{digit}00.data")), "x").expect("a new folder");
        }
        let rsync = NodeRsync::install(root.path().join("bin"));
        rsync.behave(manner);
        let source = format!("{}/", from.display());
        let mut command = Command::new(rsync.folder.join("rsync"));
        let ended = command.arg("--recursive").args(words).args([Path::new(&source), &to]).status().expect("it runs");
        (fs::read_dir(to).expect("a folder").count(), ended.success())
    }

    #[test]
    fn it_drops_half_of_the_files_and_says_that_all_is_well() {
        assert_eq!(pushed(None, &[]), (4, true));
        assert_eq!(pushed(Some(RsyncManner::DropsHalf), &[]), (2, true));
        assert_eq!(pushed(Some(RsyncManner::DropsHalf), &["--dry-run"]), (0, true));
        assert_eq!(pushed(Some(RsyncManner::Lingers), &[]), (4, true));
    }

    #[test]
    fn it_dies() {
        // With a limit, or it would be done before it can be killed.
        let slowly = ["--bwlimit=1", "--whole-file"];
        let root = tempfile::tempdir().expect("a folder");
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::write(&from, vec![0; 1 << 20]).expect("a new folder");
        let rsync = NodeRsync::install(root.path().join("bin"));
        rsync.behave(Some(RsyncManner::DiesHalfWay));
        let ended = Command::new(rsync.folder.join("rsync")).args(slowly).args([&from, &to]).status();
        assert!(!ended.expect("it runs").success());
        assert!(!to.exists());
    }
}
