//! A disk that hangs: a FUSE file system whose server takes no request, or takes them and never answers.
//!
//! A process that uses it waits as for a real disk (state D). What was not taken yet is given up when the process is
//! killed; what was taken keeps the process until it is answered, whatever it is sent, as a disk does that waits for its
//! controller. When the server goes, everybody who waits gets an error.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::guard::must;
use super::replicator::Running;

/// A file system that hangs, mounted on a folder or a file until this is dropped.
///
/// Processes that start afterwards see it in its place; servers that ran before see what lies below.
pub struct Hang {
    mounted: Mounted,
    /// Open as long as the server is there.
    device: Option<File>,
    server: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Hang {
    /// Nothing that is done with `place` ends, but who waits for it can be killed.
    pub fn at(place: &Path) -> Self {
        let (mounted, device) = Mounted::at(place);
        Self { mounted, device: Some(device), server: None }
    }

    /// The same in a running replicator.
    pub fn at_for(place: &Path, running: &Running) -> Self {
        let mut mount = Command::new("nsenter");
        mount.args(["--mount", "--target", &running.id().to_string(), "mount"]);
        let (mounted, device) = Mounted::by(mount, place);
        Self { mounted, device: Some(device), server: None }
    }

    /// The same, but who waits for it cannot even be killed.
    pub fn unkillable_at(place: &Path) -> Self {
        let mut hang = Self::at(place);
        let device = hang.device.as_ref().expect("it was just opened").try_clone().expect("a descriptor is to be had");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        hang.server = Some((stop, std::thread::spawn(move || take_requests(device, &stopped, |_, _| None))));
        hang
    }

    /// The server goes: what waits fails, also in a running replicator, which then sees what lies below.
    pub fn end_for(mut self, running: &Running) {
        self.end();
        let namespace = running.id().to_string();
        let place = &self.mounted.place;
        must(Command::new("nsenter").args(["--mount", "--target", &namespace, "umount", "--lazy"]).arg(place));
    }

    fn end(&mut self) {
        if let Some((stop, server)) = self.server.take() {
            stop.store(true, Ordering::Relaxed);
            let _ = server.join();
        }
        self.device = None;
        self.mounted.unmount();
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        if self.device.is_some() {
            self.end();
        }
    }
}

/// A FUSE file system that is mounted somewhere.
pub struct Mounted {
    place: PathBuf,
    /// The name that it has among the mounts.
    source: String,
}

impl Mounted {
    /// Mounts one on a folder or file; who holds the device is its server.
    pub fn at(place: &Path) -> (Self, File) {
        Self::by(Command::new("mount"), place)
    }

    /// The same with a command that mounts it somewhere else.
    fn by(command: Command, place: &Path) -> (Self, File) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let source = format!("hang-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let device = mount(command, place, &source);
        (Self { place: place.to_owned(), source }, device)
    }

    /// Unmounts it, wherever it is by now: a folder that is moved takes with it what is mounted in it.
    pub fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        for line in mounts.lines().rev() {
            let mut words = line.split(' ');
            if words.next() == Some(self.source.as_str())
                && let Some(place) = words.next()
            {
                let _ = Command::new("umount").arg("--lazy").arg(place).status();
            }
        }
    }
}

fn mount(mut mount: Command, place: &Path, source: &str) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = device.expect("these tests need /dev/fuse: a kernel with FUSE, and in a container the device");
    let root = if place.is_dir() { "40000" } else { "100644" };
    let options = format!("fd=0,rootmode={root},user_id=0,group_id=0,allow_other");
    let stdin = device.try_clone().expect("a descriptor is to be had");
    // Without a helper, which would look for a server of its own.
    mount.args(["-i", "-t", "fuse", "-o", &options, source]).arg(place).stdin(Stdio::from(stdin));
    must(&mut mount);
    device
}

/// Takes requests until it is to stop. The kernel's first, which asks for the protocol's version, is answered; what is
/// said to each of the others is up to the caller, who gets its kind and its number.
pub fn take_requests(mut device: File, stop: &AtomicBool, answer: impl Fn(u32, &[u8]) -> Option<Vec<u8>>) {
    let mut request = vec![0; 1 << 20];
    let mut is_greeted = false;
    while !stop.load(Ordering::Relaxed) {
        let pause = Timespec::try_from(Duration::from_millis(20)).expect("a short time");
        if poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&pause)) != Ok(1) {
            continue;
        }
        let Ok(length) = device.read(&mut request) else { return };
        if length < 16 {
            continue;
        }
        let (kind, unique) = (u32::from_ne_bytes(request[4..8].try_into().expect("four bytes")), &request[8..16]);
        if !is_greeted {
            is_greeted = true;
            device.write_all(&greeting(unique)).expect("the kernel waits for it");
        } else if let Some(answer) = answer(kind, unique) {
            // Whoever asked may have gone.
            let _ = device.write_all(&answer);
        }
    }
}

/// `fuse_init_out` of version 7.19 behind its `fuse_out_header`.
fn greeting(unique: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let (length, no_error) = (16 + 24, 0);
    let (version, read_ahead, flags, background, write) = ([7, 19], 0, 0, 0, 4096);
    [words(&[length, no_error]), unique.to_vec(), words(&version), words(&[read_ahead, flags, background, write])]
        .concat()
}
