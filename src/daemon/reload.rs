//! SIGHUP: the daemon goes on with its configuration as it is now. (The reference dies of it, B1.10.)
//!
//! A thread of its own reads the configuration, `swift.conf` and the rings, for their disk may hang, and a signal that
//! ends the process must not wait behind that. Only if all of it can be used are the passes interrupted; so a mistake in
//! the file costs nothing but an ERROR. The thread of the passes lets the jobs at hand end, and goes on with what was
//! read; which partitions were left is not forgotten, nor which jobs are stuck.
//!
//! What is settled once at the start (user, priorities) stays as it is until a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, process};

use crossbeam_channel::Receiver;
use log::{error, warn};

use super::{Failure, systemd, threads};
use crate::config::settings::{self, Loaded, Settings};
use crate::config::swift_conf;
use crate::locks::lock;
use crate::notice;
use crate::pass::interrupt::{Interrupt, Interrupter};
use crate::pass::{ProcessState, Replicator};

/// What passes are made from.
pub(super) struct LoadedConfig {
    pub settings: Arc<Settings>,
    pub replicator: Replicator,
}

impl LoadedConfig {
    /// Reads `swift.conf` and the rings for these settings.
    pub(super) fn new(settings: Arc<Settings>, lasting: &ProcessState, interrupt: Interrupt) -> Result<Self, Failure> {
        let swift_conf = swift_conf::load(Path::new(swift_conf::PATH))?;
        let replicator = Replicator::new(Arc::clone(&settings), &swift_conf, lasting, interrupt)?;
        Ok(Self { settings, replicator })
    }
}

/// What was read and has not been taken over.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Option<LoadedConfig>>>);

impl Pending {
    /// Takes over what was read last.
    pub(super) fn take(&self) -> Option<LoadedConfig> {
        lock(&self.0).take()
    }

    fn put(&self, loaded: LoadedConfig) {
        let former = lock(&self.0).replace(loaded);
        if let Some(former) = former {
            former.replicator.finish();
        }
    }
}

/// Reads the configuration again and again.
pub(super) struct Reloader {
    pub config: PathBuf,
    pub lasting: ProcessState,
    /// Those in force.
    pub settings: Arc<Settings>,
    /// Of the configuration in force.
    pub interrupter: Interrupter,
    pub next: Pending,
}

impl Reloader {
    /// Reads whenever something comes, on a thread of its own.
    pub(super) fn start(mut self, requests: Receiver<()>) -> io::Result<()> {
        threads::start("reload", move || {
            for () in requests {
                systemd::notify(&systemd::reloading());
                match self.read() {
                    Ok(()) => notice!(
                        "SIGHUP received ({}): the configuration is read again; it is in force once the jobs at hand are done",
                        process::id()
                    ),
                    Err(failure) => {
                        error!("SIGHUP received ({}): the configuration stays as it was: {failure}", process::id());
                    }
                }
                systemd::notify("READY=1");
            }
        })
    }

    /// Makes the next configuration ready, and interrupts the passes of the one in force.
    fn read(&mut self) -> Result<(), Failure> {
        let Loaded { settings, warnings } = settings::load(&self.config)?;
        let settings = Arc::new(settings);
        let (interrupter, interrupt) = Interrupter::new();
        let loaded = LoadedConfig::new(Arc::clone(&settings), &self.lasting, interrupt)?;
        // Nobody is to miss its thread before the jobs at hand are done.
        loaded.replicator.registration().beat_after(Duration::MAX);
        warnings.iter().for_each(|warning| warn!("{warning}"));
        for option in needs_restart(&self.settings, &settings) {
            warn!("{option} has changed, which takes effect only with a restart");
        }
        self.settings = settings;
        self.next.put(loaded);
        // To let go of the former one is what interrupts.
        self.interrupter = interrupter;
        Ok(())
    }
}

/// The options that differ, of those that count only at the start.
fn needs_restart(old: &Settings, new: &Settings) -> impl Iterator<Item = &'static str> {
    let changed = [
        ("user", old.user != new.user),
        ("daemonize", old.daemonize != new.daemonize),
        ("metrics_listen", old.metrics_listen != new.metrics_listen),
        ("nice_priority", old.nice_priority != new.nice_priority),
        ("ionice_class or ionice_priority", old.ionice != new.ionice),
    ];
    changed.into_iter().filter(|(_, has_changed)| *has_changed).map(|(option, _)| option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_only_at_the_start_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, lines: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("[object-replicator]\n{lines}\n")).unwrap();
            settings::load(&path).unwrap().settings
        };
        let old = read("old", "concurrency = 1\nuser = swift\nionice_class = IOPRIO_CLASS_BE");
        let new = read("new", "concurrency = 8\nuser = root\nionice_class = IOPRIO_CLASS_IDLE\nlog_level = DEBUG");
        let told: Vec<_> = needs_restart(&old, &new).collect();
        assert_eq!(told, ["user", "ionice_class or ionice_priority"]);
        assert_eq!(needs_restart(&old, &old).count(), 0);
    }
}
