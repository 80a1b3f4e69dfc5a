//! Which rsyncs know `--fsync`.
//!
//! With that option the target has a file on its disk before the file gets its name. rsync has it since 3.2.4, both ends
//! have to know it, and a daemon may refuse it. So it is tried, and what was learned is kept for an hour: a daemon may
//! be replaced meanwhile.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::locks::lock;

/// For how long it is believed that a rsync has no `--fsync`.
const BELIEVED: Duration = Duration::from_secs(3600);
/// What stands for the program here.
const HERE: &str = "";

/// What is known; to be shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Fsync {
    /// By module, or for the program here: whether it knows the option, and since when that is known.
    known: Mutex<HashMap<String, (bool, Instant)>>,
}

impl Fsync {
    /// Whether both the program here and the module know the option; `None` if that has to be tried.
    pub(super) fn known(&self, module: &str) -> Option<bool> {
        let mut known = lock(&self.known);
        known.retain(|_, (knows, since)| *knows || since.elapsed() < BELIEVED);
        let here = known.get(HERE).map(|(knows, _)| *knows);
        let there = known.get(module).map(|(knows, _)| *knows);
        if here == Some(false) { here } else { there }
    }

    /// Notes that the module knows the option, and so does the program here.
    pub(super) fn works(&self, module: &str) {
        self.note(module, true);
    }

    /// Notes, and says, that the module or the program here does not know the option.
    pub(super) fn fails(&self, module: &str, here: bool) {
        if !self.note(if here { HERE } else { module }, false) {
            return;
        }
        let who = if here { "This machine's rsync".to_owned() } else { format!("The rsync daemon of {module}") };
        log::warn!(
            "{who} does not take --fsync (rsync has it since 3.2.4): what is pushed there is not known to be on its disk, \
             so hand-offs are not removed at once after a push"
        );
    }

    /// False if that was known.
    fn note(&self, who: &str, knows: bool) -> bool {
        let mut known = lock(&self.known);
        let former = known.insert(who.to_owned(), (knows, Instant::now()));
        former.is_none_or(|(knew, _)| knew != knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_known_of_a_module_or_of_all() {
        let fsync = Fsync::default();
        assert_eq!(fsync.known("a::object"), None);
        fsync.works("a::object");
        fsync.fails("b::object", false);
        assert_eq!((fsync.known("a::object"), fsync.known("b::object")), (Some(true), Some(false)));
        assert_eq!(fsync.known("c::object"), None);
        fsync.fails("c::object", true);
        assert_eq!((fsync.known("a::object"), fsync.known("d::object")), (Some(false), Some(false)));
    }

    #[test]
    fn a_daemon_that_did_not_know_it_is_asked_again_after_an_hour() {
        let fsync = Fsync::default();
        fsync.fails("a::object", false);
        assert!(!fsync.note("a::object", false), "said once");
        let Some(earlier) = Instant::now().checked_sub(BELIEVED) else { return };
        fsync.known.lock().unwrap().insert("a::object".into(), (false, earlier));
        assert_eq!(fsync.known("a::object"), None);
        assert!(fsync.note("a::object", false), "said anew");
    }
}
