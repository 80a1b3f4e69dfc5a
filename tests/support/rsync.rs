//! A stand-in for rsync: a folder for the front of `PATH` whose `rsync` notes its arguments, and may do more than the
//! real one, or something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::daemon::with_search_path;

/// The stand-in.
pub struct FakeRsync {
    folder: TempDir,
}

impl FakeRsync {
    /// Notes its arguments and does what rsync does.
    pub fn recording() -> Self {
        Self::doing("exec \"$rsync\" \"$@\"")
    }

    /// Does what rsync does, and then the lines of shell; its exit code is rsync's. Dry runs are only dry runs.
    pub fn followed_by(shell: &str) -> Self {
        Self::doing(&format!("\"$rsync\" \"$@\"\ncode=$?\n[ $dry = yes ] || {{\n{shell}\n}}\nexit $code"))
    }

    /// Does the lines of shell instead; `$rsync` is the real one, `$dry` tells whether this is a dry run.
    pub fn doing(shell: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the script");
        let (program, runs) = (folder.path().join("rsync"), folder.path().join("runs"));
        fs::create_dir(&runs).expect("the folder is new");
        let script = format!(
            "#!/bin/sh
printf '%s\\0' \"$@\" > '{runs}'/$$
rsync={real}
dry=no
case \" $* \" in *' --dry-run '*) dry=yes;; esac
{shell}
",
            runs = runs.display(),
            real = real().display(),
        );
        fs::write(&program, script).expect("the folder is writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the script is ours");
        Self { folder }
    }

    /// The folder for the front of `PATH`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments of every run, in the order in which they started.
    pub fn runs(&self) -> Vec<Vec<String>> {
        let entries = fs::read_dir(self.folder.path().join("runs")).expect("the folder is ours");
        let mut runs: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("the folder is ours").path();
                let started = fs::metadata(&path).and_then(|meta| meta.modified()).expect("the file is ours");
                (started, String::from_utf8(fs::read(path).expect("the file is ours")).expect("arguments are text"))
            })
            .collect();
        runs.sort();
        runs.into_iter().map(|(_, arguments)| arguments.split_terminator('\0').map(str::to_owned).collect()).collect()
    }

    /// The runs that were to change something.
    pub fn pushes(&self) -> Vec<Vec<String>> {
        self.runs().into_iter().filter(|run| !run.iter().any(|word| word == "--dry-run")).collect()
    }
}

impl Drop for FakeRsync {
    /// What was started by it, or by a replicator that had it, and was left behind as that was killed.
    fn drop(&mut self) {
        for process in with_search_path(self.folder()) {
            process.kill();
        }
    }
}

/// The real rsync.
fn real() -> std::path::PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    let found = std::env::split_paths(&path).map(|folder| folder.join("rsync")).find(|program| program.exists());
    found.expect("rsync is installed: `make setup` does it")
}
