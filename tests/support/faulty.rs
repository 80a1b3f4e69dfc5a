//! A file or folder whose every use fails with an error of choice: a FUSE file system that answers nothing else.
//!
//! Processes get the error from the system call, as from a disk. Like [`super::hang::Hang`], it is seen by processes that
//! start afterwards, and by those that follow the mounts of the place.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::hang::{Mounted, take_requests};

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
        let answer = move |kind, unique: &[u8]| (!WITHOUT_ANSWER.contains(&kind)).then(|| refusal(unique, errno));
        let server = std::thread::spawn(move || take_requests(device, &stopped, answer));
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

/// `fuse_out_header` with an error and nothing behind it.
fn refusal(unique: &[u8], errno: i32) -> Vec<u8> {
    [&16_u32.to_ne_bytes()[..], &(-errno).to_ne_bytes(), unique].concat()
}
