//! Two replicators on the same devices (cron beside the daemon, two daemons): found at the start, and said.
//!
//! They lose nothing, since they respect each other's partition locks, but they read every disk twice, and each waits for
//! the other. So a process holds a lock for each device that it works on, in a file beside the recon cache that names the
//! process. A lock goes with its process, however that ends; the files stay, and mean nothing without the lock. Nobody
//! ever waits for such a lock, and a file that cannot be opened, or a disk that hangs, only costs the warning.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use log::info;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::regular::{Links, open_with};

/// More of a lock's file is not read.
const MAX_BYTES: u64 = 200;
/// How long the folder's disk is waited for. The service manager waits for the first pass meanwhile.
const MOMENT: Duration = Duration::from_millis(250);

/// The locks of the devices that this process works on; they go with this.
#[derive(Debug, Default)]
pub(super) struct DeviceLocks {
    _held: Vec<File>,
    /// The devices on which another process works, by its name.
    others: BTreeMap<String, Vec<String>>,
}

impl DeviceLocks {
    /// The same as [`Self::take`], unless the folder's disk hangs: then none, after a moment.
    pub(super) fn take_soon(folder: &Path, devices: Vec<String>, process: String) -> Self {
        let (done, locks) = bounded(1);
        let folder = folder.to_owned();
        let take = move || drop(done.send(Self::take(&folder, &devices, &process)));
        let started = thread::Builder::new().name("instance".into()).spawn(take).map_err(|error| error.to_string());
        started
            .and_then(|_| locks.recv_timeout(MOMENT).map_err(|_| "the recon cache's disk hangs".to_owned()))
            .unwrap_or_else(|error| {
                info!("Another replicator on the same devices would not be seen: {error}");
                Self::default()
            })
    }

    /// Takes the locks of these devices, in this folder, in the name of this process; those that another has it notes.
    pub(super) fn take(folder: &Path, devices: &[String], process: &str) -> Self {
        let (mut held, mut others) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for device in devices {
            let path = lock_file(folder, device);
            match take(&path, process) {
                Ok(Ok(file)) => held.push(file),
                Ok(Err(other)) => others.entry(other).or_default().push(device.clone()),
                Err(error) => info!("Another replicator on {device} would not be seen: {}: {error}", path.display()),
            }
        }
        Self { _held: held, others }
    }

    /// A line for each other process that works on the same devices.
    pub(super) fn complaints(&self) -> Vec<String> {
        let complaint = |(other, devices): (&String, &Vec<_>)| {
            format!("Another replicator ({other}) works on {}", devices.join(", "))
        };
        self.others.iter().map(complaint).collect()
    }
}

/// The file of a device's lock. A ring may have any text for a name, and two devices never have one file: a process that
/// has both would take itself for another.
fn lock_file(folder: &Path, device: &str) -> PathBuf {
    let mut name = "object-replicator.".to_owned();
    for byte in device.bytes() {
        match byte {
            b'.' | b'_' | b'-' => name.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    folder.join(name + ".lock")
}

/// The lock, or who has it.
fn take(path: &Path, process: &str) -> io::Result<Result<File, String>> {
    let open = |options: &mut OpenOptions| open_with(path, Links::Refused, options);
    // Another user's file can be locked, but not written.
    let mut file = open(OpenOptions::new().read(true).write(true).create(true).truncate(false))
        .or_else(|_| open(OpenOptions::new().read(true)))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            if file.set_len(0).is_ok() {
                file.write_all(process.as_bytes())?;
            }
            Ok(Ok(file))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.rewind()?;
            let read = file.take(MAX_BYTES).read_to_string(&mut text);
            let is_named = read.is_ok() && !text.is_empty();
            Ok(Err(if is_named { text } else { "whose name is not known".to_owned() }))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_device_is_one_process_s_until_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = DeviceLocks::take(folder.path(), &devices(&["sda", "sdb"]), "a daemon, process 7");
        assert_eq!(first.complaints(), [""; 0]);
        let second = DeviceLocks::take(folder.path(), &devices(&["sda", "sdb", "sdc"]), "process 8");
        assert_eq!(second.complaints(), ["Another replicator (a daemon, process 7) works on sda, sdb"]);
        let third = DeviceLocks::take(folder.path(), &devices(&["sda", "sdc"]), "process 9");
        let expected =
            ["Another replicator (a daemon, process 7) works on sda", "Another replicator (process 8) works on sdc"];
        assert_eq!(third.complaints(), expected);
        drop(first);
        assert_eq!(DeviceLocks::take(folder.path(), &devices(&["sda"]), "10").complaints(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_locked_is_no_reason_to_wait_or_to_complain() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert_eq!(DeviceLocks::take(&missing, &devices(&["sda"]), "7").complaints(), [""; 0]);
        let path = lock_file(folder.path(), "sda");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(DeviceLocks::take(folder.path(), &devices(&["sda"]), "7").complaints(), [""; 0]);
    }

    #[test]
    fn a_device_of_any_name_has_its_lock_in_the_folder() {
        assert_eq!(lock_file(Path::new("/r"), "../x y"), Path::new("/r/object-replicator...%2Fx%20y.lock"));
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::take(folder.path(), &devices(&["x y", "x_y", "x%20y"]), "process 7");
        assert_eq!((locks.complaints().len(), locks._held.len()), (0, 3));
    }
}
