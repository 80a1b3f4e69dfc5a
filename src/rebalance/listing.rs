//! What a device holds of a policy, by a listing of its folder: nothing is opened, and nothing changed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::bounded::{self, Job};
use crate::clock::unix;
use crate::config::settings::Settings;
use crate::device::mount::check_drive;
use crate::job::view::{Placement, PolicyView};
use crate::names::Partition;
use crate::report::holding::Holding;

/// How many devices are listed at a time, and how long that may take in all.
const AT_A_TIME: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// A device to be listed.
pub(super) struct Question {
    pub devices: PathBuf,
    pub device: String,
    pub mount_check: bool,
    pub view: Arc<PolicyView>,
}

impl Question {
    pub(super) fn new(settings: &Settings, device: &str, view: &Arc<PolicyView>) -> Self {
        let (devices, mount_check) = (settings.devices.clone(), settings.mount_check);
        Self { devices, device: device.to_owned(), mount_check, view: view.clone() }
    }

    /// What the device holds, or why that cannot be told.
    fn answer(&self) -> Result<Holding, String> {
        let device = check_drive(&self.devices, &self.device, self.mount_check).map_err(|error| error.to_string())?;
        let datadir = device.join(self.view.policy.index.datadir());
        let listed = match fs::read_dir(&datadir) {
            Ok(entries) => self.count(entries),
            // Nothing of the policy has come here yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Holding::default()),
            Err(error) => Err(error),
        };
        let holding = listed.map_err(|error| format!("{} cannot be listed: {error}", datadir.display()))?;
        // An empty folder is what is left of a device that went meanwhile.
        check_drive(&self.devices, &self.device, self.mount_check).map_err(|error| error.to_string())?;
        let (policy, ring) = (self.view.policy.index.number(), self.view.ring.digest.clone());
        Ok(Holding { policy, ring, listed: unix(SystemTime::now()), ..holding })
    }

    fn count(&self, entries: fs::ReadDir) -> io::Result<Holding> {
        let mut holding = Holding::default();
        for entry in entries {
            let entry = entry?;
            let Some(partition) = Partition::from_dir_name(&entry.file_name()) else { continue };
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            holding.partitions += 1;
            match self.view.placement(&self.device, partition) {
                Ok(Placement::Here { .. }) => holding.primaries += 1,
                Ok(Placement::Elsewhere { .. }) => holding.handoffs += 1,
                Ok(Placement::Nowhere) | Err(_) => {}
            }
        }
        Ok(holding)
    }
}

/// The answers to all of them, in their order; a disk that hangs holds up nobody for long.
pub(super) fn list(questions: Vec<Question>) -> Vec<Result<Holding, String>> {
    let hanging = || format!("it does not answer within {}s", PATIENCE.as_secs());
    let jobs = questions.into_iter().map(|question| Box::new(move || question.answer()) as Job<_>).collect();
    let answers = bounded::run(jobs, AT_A_TIME, PATIENCE);
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(hanging()))).collect()
}
