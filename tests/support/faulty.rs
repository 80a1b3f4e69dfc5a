//! A file or folder whose every use fails with an error of choice: a FUSE file system that answers nothing else.
//!
//! Processes get the error from the system call, as from a disk. Like [`super::hang::Hang`], it is seen by processes that
//! start afterwards, and by those that follow the mounts of the place.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::hang::{Mounted, greeting};

/// FORGET and BATCH_FORGET, which want no answer.
const WITHOUT_ANSWER: [u32; 2] = [2, 42];

/// A file system that fails, mounted on a folder or a file until this is dropped.
pub struct Faulty {
    mounted: Mounted,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Faulty {
    /// Whatever is done with `place` ends with the error of this number.
    pub fn at(place: &Path, errno: i32) -> Self {
        let (mounted, device) = Mounted::at(place);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let server = std::thread::spawn(move || serve(device, errno, &stopped));
        Self { mounted, stop, server: Some(server) }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        self.mounted.unmount();
    }
}

fn serve(mut device: File, errno: i32, stop: &AtomicBool) {
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
            let _ = device.write_all(&greeting(unique));
        } else if !WITHOUT_ANSWER.contains(&kind) {
            // Whoever asked may have gone.
            let _ = device.write_all(&refusal(unique, errno));
        }
    }
}

/// `fuse_out_header` with an error and nothing behind it.
fn refusal(unique: &[u8], errno: i32) -> Vec<u8> {
    [&16_u32.to_ne_bytes()[..], &(-errno).to_ne_bytes(), unique].concat()
}
