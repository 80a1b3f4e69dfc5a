//! Processes and folders that do not outlive the process that uses them.
//!
//! Each server has a keeper: a shell that starts it in a mount namespace of its own, then reads from a pipe that only
//! we hold open. The read ends when we close the pipe, panic, or are killed; then the keeper kills its server. So
//! nothing has to be remembered, and clusters may live in statics, which are never dropped.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::oracle::project;

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `$@` with the folder `$ETC` as `/etc/swift`, and kills it when stdin ends. A server may have made a session
/// of its own, and may have children in our group.
const KEEPER: &str = r#"
[ -z "$ETC" ] || mount --bind "$ETC" /etc/swift || exit 1
"$@" </dev/null &
server=$!
read -r _
kill -KILL "$server"
kill -KILL -- "-$server"
wait "$server"
kill -KILL 0
"#;

/// Removes the folder `$1`, and what is mounted in it, when stdin ends. Servers that die at the same time may still
/// write.
const JANITOR: &str = r#"
read -r _
grep -F " $1/" /proc/mounts | cut -d ' ' -f 2 | sort -r | while read -r mounted; do umount -l "$mounted"; done
for attempt in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit; sleep 0.2; done
"#;

/// Makes `/etc/swift` if it is not there, says so, and removes it when stdin ends and nobody else needs it: all who do
/// have it locked. A mark in it tells that it was made here.
const ETC_KEEPER: &str = r#"
mark=/etc/swift/.made-for-tests
mkdir /etc/swift 2>/dev/null && : >$mark
exec 8</etc/swift && flock -s 8 && [ /etc/swift -ef /proc/$$/fd/8 ] || exit
echo
read -r _
[ -e $mark ] && flock -n -x 8 && rm -f $mark && rmdir /etc/swift
"#;

/// A server that is killed when this is dropped, or when the process ends in whatever way.
pub struct Guarded {
    keeper: Child,
}

/// Whether a process in a mount namespace of its own sees what is mounted and unmounted outside of it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// It keeps what it began with.
    Fixed,
    /// It sees what happens below mount points that are shared.
    Followed,
}

impl Mounts {
    fn propagation(self) -> &'static str {
        match self {
            Self::Fixed => "--propagation=private",
            Self::Followed => "--propagation=slave",
        }
    }
}

impl Guarded {
    /// Starts `command` in a mount namespace where `etc` is `/etc/swift`; its output goes to `output`.
    pub fn start(command: &[&str], etc: &Path, output: &Path, mounts: Mounts) -> Self {
        let log = File::options().create(true).append(true).open(output).expect("the server's log is writable");
        let keeper = Command::new("unshare")
            .args(["--mount", mounts.propagation(), "sh", "-c", KEEPER, "keeper"])
            .args(command)
            .env("ETC", etc)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a descriptor is to be had"))
            .stderr(log)
            .spawn()
            .expect("unshare starts");
        Self { keeper }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// A folder that is removed when this is dropped, or when the process ends in whatever way.
///
/// With `SWIFT_TEST_KEEP` in the environment it stays, for a look at what a test left.
pub struct Scratch {
    path: PathBuf,
    janitor: Option<Child>,
    /// Locked: `tests/guarded` clears up behind runs that were killed, and knows them by folders that nobody has locked.
    _lock: File,
}

impl Scratch {
    /// Makes a folder below `target/`, which is on a real file system with user xattrs.
    pub fn new(prefix: &str) -> Self {
        let parent = folder_of_this_run();
        let (path, lock) = loop {
            let path = tempfile::Builder::new().prefix(prefix).tempdir_in(&parent).expect("target/ is writable").keep();
            // Between the two it may have been taken for one that a dead run left.
            if let Ok(lock) = File::open(&path)
                && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && path.exists()
            {
                break (path, lock);
            }
        };
        if std::env::var_os("SWIFT_TEST_KEEP").is_some() {
            File::create(path.join(".kept")).expect("the folder is new");
            return Self { path, janitor: None, _lock: lock };
        }
        let mut janitor = Command::new("sh");
        janitor.args(["-c", JANITOR, "janitor"]).arg(&path).process_group(0).stdin(Stdio::piped());
        Self { path, janitor: Some(janitor.spawn().expect("sh starts")), _lock: lock }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(janitor) = &mut self.janitor {
            end(janitor);
        }
    }
}

/// Where this run has its folders: where `tests/guarded` says, or beside those of other runs.
fn folder_of_this_run() -> PathBuf {
    if let Some(folder) = std::env::var_os("SWIFT_TEST_SCRATCH") {
        return folder.into();
    }
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| must(Command::new(project().join("tests/guarded")).arg("--sweep")));
    let clusters = project().join("target/clusters");
    std::fs::create_dir_all(&clusters).expect("target/ is writable");
    clusters
}

/// Makes sure that there is an `/etc/swift` for clusters to mount theirs on; one that was not there before goes when this
/// process ends, or the last of several that need it.
pub fn need_etc_swift() {
    static KEEPER: OnceLock<Child> = OnceLock::new();
    KEEPER.get_or_init(|| {
        // It fails where another run removes the folder at the same time.
        (0..10).find_map(|_| etc_keeper()).expect("/etc/swift can be made: these tests run as root")
    });
}

/// The shell, once the folder is there.
fn etc_keeper() -> Option<Child> {
    let mut keeper = Command::new("sh");
    keeper.args(["-c", ETC_KEEPER]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = keeper.spawn().expect("sh starts");
    let mut said = [0];
    let is_there = keeper.stdout.take().is_some_and(|mut stdout| stdout.read_exact(&mut said).is_ok());
    if is_there {
        return Some(keeper);
    }
    end(&mut keeper);
    None
}

/// Closes the pipe that the shell reads from and waits until the shell has done what it does then.
fn end(shell: &mut Child) {
    drop(shell.stdin.take());
    let _ = shell.wait();
}

/// A command that runs `program` with the folder `etc` as its `/etc/swift`, and ends when that does.
pub fn with_etc(etc: &Path, program: &Path) -> Command {
    with_etc_and_mounts(etc, Mounts::Fixed, program)
}

/// The same, with a choice of what the program sees of later mounts.
pub fn with_etc_and_mounts(etc: &Path, mounts: Mounts, program: &Path) -> Command {
    // Whoever runs the tests may ignore signals (`nohup` does): the daemons must not inherit that.
    let mut command = Command::new("env");
    command
        .args([
            "--default-signal",
            "unshare",
            "--mount",
            mounts.propagation(),
            "sh",
            "-c",
            r#"mount --bind "$0" /etc/swift && exec "$@""#,
        ])
        .args([etc, program])
        .stdin(Stdio::null());
    command
}

/// Waits until a server takes connections at `address`.
pub fn wait_for_port(address: SocketAddr, output: &Path) {
    // Loading Swift takes a server half a second of CPU, and many may start on a busy machine.
    let listening = until(4 * PATIENCE, || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
    assert!(listening, "nothing listens at {address}; the server said:\n{}", read_lossy(output));
}

/// Asks `done` every few milliseconds until it says yes or the time is over; whether it said yes.
pub fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file's text, as far as it is there and text.
pub fn read_lossy(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Err(e) = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        return format!("({}: {e})", path.display());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e: io::Error| panic!("{command:?} does not start: {e}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder that is read-only for processes that start while this lives; those that run already see no change.
pub struct ReadOnly<'a> {
    folder: &'a Path,
}

impl<'a> ReadOnly<'a> {
    /// Makes `folder` read-only, as a file system is after an error.
    pub fn make(folder: &'a Path) -> Self {
        must(Command::new("mount").arg("--bind").args([folder, folder]));
        let guard = Self { folder };
        must(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(folder));
        guard
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder).status();
    }
}

/// A folder under a file system that has no extended attributes, for processes that start while this lives.
pub struct WithoutXattrs<'a> {
    folder: &'a Path,
}

impl<'a> WithoutXattrs<'a> {
    /// Mounts an empty one there.
    pub fn make(folder: &'a Path) -> Self {
        must(Command::new("mount").args(["-t", "ramfs", "none"]).arg(folder));
        Self { folder }
    }
}

impl Drop for WithoutXattrs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder).status();
    }
}
