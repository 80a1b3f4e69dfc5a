//! What stands between the log and whoever takes its lines: an end to waiting, and a count of what got lost.
//!
//! A syslog daemon that hangs, or a terminal that was paused, must not stop replication. So a line waits a moment at
//! most, and after one that was not taken the next ones do not wait at all for a while. Lines that nobody took are
//! dropped; how many they were is the first line when lines are taken again.

use std::io;
use std::time::{Duration, Instant};

use super::severity::Severity;

/// How long a line may wait until it is taken.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// For how long no line waits after one that waited in vain.
const NO_WAIT: Duration = Duration::from_secs(30);

/// Takes lines.
pub(super) trait Sink {
    /// Hands the line on, within [`WAIT`] if it may wait, else at once; `WouldBlock` if that was not possible in time.
    fn deliver(&mut self, severity: Severity, line: &str, may_wait: bool) -> io::Result<()>;
}

/// A sink with its history.
pub(super) struct Outlet<S> {
    log_name: String,
    sink: S,
    lost: u64,
    no_wait_until: Option<Instant>,
}

impl<S: Sink> Outlet<S> {
    /// The way into a sink, for the log of this name.
    pub(super) fn new(log_name: &str, sink: S) -> Self {
        Self { log_name: log_name.to_owned(), sink, lost: 0, no_wait_until: None }
    }

    /// Sends a line, or counts it as lost.
    pub(super) fn send(&mut self, severity: Severity, line: &str) {
        if self.lost > 0 {
            let notice = format!("{}: {} log lines before this one were lost", self.log_name, self.lost);
            if self.deliver(Severity::Warning, &notice).is_ok() {
                self.lost = 0;
            }
        }
        if self.lost > 0 || self.deliver(severity, line).is_err() {
            self.lost += 1;
        }
    }

    fn deliver(&mut self, severity: Severity, line: &str) -> io::Result<()> {
        let may_wait = self.no_wait_until.is_none_or(|end| Instant::now() >= end);
        let outcome = self.sink.deliver(severity, line, may_wait);
        if may_wait && outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.no_wait_until = Some(Instant::now() + NO_WAIT);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        failure: Option<io::ErrorKind>,
        taken: Vec<(Severity, String)>,
        waits: Vec<bool>,
    }

    impl Sink for Fake {
        fn deliver(&mut self, severity: Severity, line: &str, may_wait: bool) -> io::Result<()> {
            self.waits.push(may_wait);
            match self.failure {
                Some(kind) => Err(kind.into()),
                None => {
                    self.taken.push((severity, line.to_owned()));
                    Ok(())
                }
            }
        }
    }

    #[test]
    fn lost_lines_are_counted_and_told_once() {
        let mut outlet = Outlet::new("name", Fake::default());
        outlet.send(Severity::Info, "one");
        outlet.sink.failure = Some(io::ErrorKind::NotFound);
        outlet.send(Severity::Error, "two");
        outlet.send(Severity::Debug, "three");
        outlet.sink.failure = None;
        outlet.send(Severity::Notice, "four");
        outlet.send(Severity::Critical, "five");
        let taken: Vec<_> = outlet.sink.taken.iter().map(|(severity, line)| (*severity, line.as_str())).collect();
        let notice = "name: 2 log lines before this one were lost";
        assert_eq!(
            taken,
            [
                (Severity::Info, "one"),
                (Severity::Warning, notice),
                (Severity::Notice, "four"),
                (Severity::Critical, "five")
            ]
        );
    }

    #[test]
    fn after_a_line_that_waited_in_vain_the_next_ones_do_not_wait() {
        let mut outlet = Outlet::new("name", Fake::default());
        outlet.sink.failure = Some(io::ErrorKind::WouldBlock);
        outlet.send(Severity::Info, "one");
        outlet.send(Severity::Info, "two");
        assert_eq!(outlet.sink.waits, [true, false]);
        outlet.no_wait_until = Some(Instant::now());
        outlet.send(Severity::Info, "three");
        assert_eq!(outlet.sink.waits, [true, false, true]);
    }

    #[test]
    fn a_refused_line_does_not_make_others_impatient() {
        let mut outlet = Outlet::new("name", Fake::default());
        outlet.sink.failure = Some(io::ErrorKind::ConnectionRefused);
        outlet.send(Severity::Info, "one");
        outlet.send(Severity::Info, "two");
        assert_eq!(outlet.sink.waits, [true, true]);
    }
}
