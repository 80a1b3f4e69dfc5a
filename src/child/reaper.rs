//! Children that do not die although they were killed.
//!
//! A process that waits for a failing disk takes no signal until the disk answers, which may take days. Whoever killed it
//! cannot wait that long, and a child that nobody waits for becomes a zombie. So it is handed over to the [`Reaper`],
//! whose thread looks at its children now and then for as long as there are any (B8.9).

use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::locks::lock;

/// How often the thread looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits for children whose deaths nobody else can wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reaper(Arc<Mutex<Unreaped>>);

#[derive(Debug, Default)]
struct Unreaped {
    children: Vec<Child>,
    /// Whether the thread runs.
    reaping: bool,
}

impl Reaper {
    /// Takes over a killed child. A thread that cannot be started now is started with the next child.
    pub(super) fn adopt(&self, child: Child) {
        let mut state = self.state();
        state.children.push(child);
        if !state.reaping {
            let reaper = self.clone();
            let reap = move || {
                while reaper.poll() {
                    thread::sleep(INTERVAL);
                }
            };
            state.reaping = thread::Builder::new().name("reaper".into()).stack_size(64 << 10).spawn(reap).is_ok();
        }
    }

    /// How many children are still there.
    pub(super) fn waiting(&self) -> usize {
        self.state().children.len()
    }

    /// Reaps who has died; false, and the end of the thread, if nobody is left.
    fn poll(&self) -> bool {
        let mut state = self.state();
        // A child that cannot be waited for was reaped by someone else.
        state.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        state.reaping = !state.children.is_empty();
        state.reaping
    }

    fn state(&self) -> MutexGuard<'_, Unreaped> {
        // Nothing in here leaves the state half changed.
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;

    /// A child that lives until its standard input ends, and the folder that `/proc` has of it, zombie or not.
    fn child() -> (Child, PathBuf) {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        (child, proc)
    }

    fn wait_until(what: impl Fn() -> bool) {
        for _ in 0..600 {
            if what() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("it did not happen within 30 s");
    }

    #[test]
    fn children_are_reaped_once_they_die_b8_9() {
        let reaper = Reaper::default();
        for _ in 0..2 {
            let (mut child, proc) = child();
            let stdin = child.stdin.take();
            reaper.adopt(child);
            assert_eq!(reaper.waiting(), 1);
            assert!(proc.exists());
            drop(stdin);
            wait_until(|| reaper.waiting() == 0);
            assert!(!proc.exists(), "a zombie is left");
        }
    }

    #[test]
    fn the_dead_are_reaped_while_others_live_on() {
        let reaper = Reaper::default();
        let (mut dying, proc_of_dying) = child();
        let (mut living, proc_of_living) = child();
        let (stdin_of_dying, stdin_of_living) = (dying.stdin.take(), living.stdin.take());
        reaper.adopt(dying);
        reaper.adopt(living);
        drop(stdin_of_dying);
        wait_until(|| reaper.waiting() == 1);
        assert!(!proc_of_dying.exists() && proc_of_living.exists());
        drop(stdin_of_living);
        wait_until(|| reaper.waiting() == 0);
    }
}
