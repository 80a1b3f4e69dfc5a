//! An object server of a peer: does it answer REPLICATE for each of its devices?
//!
//! A few devices are asked at a time, so that a node with many of them has little more to do than in a pass. A server that
//! does not answer at all is asked only a few times, whatever it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::clock::Ahead;
use super::targets::Target;
use crate::bounded::{self, Job};
use crate::check::finding::Finding;
use crate::peer::replicate::{Client, ReplicateError};

/// How many devices of a server are asked at a time.
const AT_A_TIME: usize = 4;
/// After so many questions without any answer the server is left alone.
const UNANSWERED: usize = 3;
/// More devices are not named.
const NAMED: usize = 6;

/// What was learned of a server.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub findings: Vec<Finding>,
    /// The targets of which it has something in the partition that was asked for.
    pub held: Vec<Target>,
    pub clock: Option<Ahead>,
}

/// What became of a question.
#[derive(Debug)]
enum Answer {
    Hashes { took: Duration, any: bool, clock: Option<Ahead> },
    Failed(ReplicateError),
    NotAsked,
}

/// Asks a server for a partition of each of its devices.
pub(super) fn ask(client: &Arc<Client>, server: &str, targets: &[Target], limit: Duration) -> Asked {
    let breaker = Arc::new(Breaker::default());
    let jobs = targets.iter().cloned().map(|target| {
        let (client, breaker) = (client.clone(), breaker.clone());
        Box::new(move || breaker.put(&client, &target)) as Job<Answer>
    });
    let answers = bounded::run(jobs.collect(), AT_A_TIME, limit);
    let answers = answers.into_iter().map(|answer| answer.unwrap_or(Answer::NotAsked));
    let mut sorted = Answers::sorted(targets.iter().zip(answers));
    if let (None, Some(refused)) = (sorted.asked.clock, &sorted.refused) {
        let asked = SystemTime::now();
        let date = client.date(&refused.device, refused.policy, refused.partition);
        sorted.asked.clock = date.map(|date| Ahead::of_answer(date, asked, SystemTime::now()));
    }
    sorted.told(&format!("peer {server}"), targets.len())
}

/// Whether the server has answered, even if not with hashes.
fn is_answer(error: &ReplicateError) -> bool {
    matches!(error, ReplicateError::Unmounted | ReplicateError::Status(_) | ReplicateError::Busy { .. })
}

/// Keeps from asking a server that does not answer.
#[derive(Debug, Default)]
struct Breaker {
    answered: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Breaker {
    fn put(&self, client: &Client, target: &Target) -> Answer {
        if self.answered.load(Ordering::Relaxed) == 0 && self.unanswered.load(Ordering::Relaxed) >= UNANSWERED {
            return Answer::NotAsked;
        }
        let (asked, begin) = (SystemTime::now(), Instant::now());
        let answer = client.dated_hashes(&target.device, target.policy, target.partition);
        let took = begin.elapsed();
        let counter = if answer.as_ref().err().is_none_or(is_answer) { &self.answered } else { &self.unanswered };
        counter.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok((hashes, date)) => {
                let clock = date.map(|date| Ahead::of_answer(date, asked, SystemTime::now()));
                Answer::Hashes { took, any: !hashes.is_empty(), clock }
            }
            Err(ReplicateError::LeftAlone | ReplicateError::Silent | ReplicateError::Later) => Answer::NotAsked,
            Err(error) => Answer::Failed(error),
        }
    }
}

/// Why a device gave no hashes.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Unmounted,
    Other(String),
}

/// The answers of a server's devices.
#[derive(Default)]
struct Answers {
    asked: Asked,
    /// How many devices gave hashes, and how long the slowest of them took.
    well: usize,
    slowest: Duration,
    /// Why others did not, and which.
    failed: Vec<(Failure, Vec<String>)>,
    not_asked: usize,
    /// One that was answered, but not with hashes.
    refused: Option<Target>,
}

impl Answers {
    fn sorted<'a>(answers: impl Iterator<Item = (&'a Target, Answer)>) -> Self {
        let mut sorted = Self::default();
        for (target, answer) in answers {
            match answer {
                Answer::Hashes { took, any, clock } => {
                    sorted.well += 1;
                    sorted.slowest = sorted.slowest.max(took);
                    sorted.asked.held.extend(any.then(|| target.clone()));
                    let known = sorted.asked.clock;
                    sorted.asked.clock = known.into_iter().chain(clock).reduce(Ahead::and);
                }
                Answer::Failed(error) => sorted.fail(target, &error),
                Answer::NotAsked => sorted.not_asked += 1,
            }
        }
        sorted
    }

    fn fail(&mut self, target: &Target, error: &ReplicateError) {
        if is_answer(error) {
            self.refused = Some(target.clone());
        }
        let failure = match error {
            ReplicateError::Unmounted => Failure::Unmounted,
            error => Failure::Other(error.to_string()),
        };
        match self.failed.iter_mut().find(|(known, _)| *known == failure) {
            Some((_, devices)) => devices.push(target.name()),
            None => self.failed.push((failure, vec![target.name()])),
        }
    }

    fn told(self, subject: &str, all: usize) -> Asked {
        let Self { mut asked, well, slowest, failed, not_asked, .. } = self;
        let took = format!("answers REPLICATE, in {} ms", slowest.as_millis());
        let well = match well {
            0 => None,
            _ if all == 1 => Some(took),
            well if well == all => Some(format!("{took} at most, for each of its {all} devices")),
            well => Some(format!("{took} at most, for {well} of its {all} devices")),
        };
        asked.findings.extend(well.map(|text| Finding::ok(subject, text)));
        let mut rest = (not_asked > 0).then(|| match not_asked {
            1 => "1 of its devices was not asked".to_owned(),
            _ => format!("{not_asked} of its devices were not asked"),
        });
        for (failure, devices) in failed {
            let (word, devices) = (if devices.len() == 1 { "device" } else { "devices" }, named(&devices));
            let rest = rest.take().map(|rest| format!("; {rest}")).unwrap_or_default();
            asked.findings.push(match failure {
                Failure::Unmounted => {
                    Finding::warning(subject, format!("its {word} {devices} {}{rest}", ReplicateError::Unmounted))
                }
                Failure::Other(error) => Finding::error(subject, format!("REPLICATE of {devices}: {error}{rest}")),
            });
        }
        asked.findings.extend(rest.map(|rest| Finding::error(subject, format!("{rest}: it is too slow"))));
        asked
    }
}

/// The first few names.
fn named(devices: &[String]) -> String {
    match devices.len() {
        ..=NAMED => devices.join(", "),
        count => format!("{} and {} more", devices[..NAMED - 1].join(", "), count - (NAMED - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Verdict;
    use crate::config::settings::ReplicateSettings;
    use crate::names::{Partition, PolicyIndex};
    use crate::ring::Device;

    fn target(port: u16, device: &str) -> Target {
        let device = Device {
            id: 0,
            region: 1,
            zone: 1,
            ip: "127.0.0.1".into(),
            port,
            device: device.into(),
            weight: 1.0,
            meta: String::new(),
            replication_ip: "127.0.0.1".into(),
            replication_port: port,
        };
        Target { device, policy: PolicyIndex::new(0), partition: Partition::new(1) }
    }

    fn hashes() -> Answer {
        Answer::Hashes { took: Duration::from_millis(7), any: true, clock: None }
    }

    fn told(answers: Vec<(&str, Answer)>) -> Vec<(Verdict, String)> {
        let targets: Vec<_> = answers.iter().map(|(device, _)| target(1, device)).collect();
        let count = targets.len();
        let answers = targets.iter().zip(answers.into_iter().map(|(_, answer)| answer));
        let asked = Answers::sorted(answers).told("peer x", count);
        asked.findings.into_iter().map(|finding| (finding.verdict, finding.text)).collect()
    }

    #[test]
    fn devices_that_fail_alike_are_told_of_in_one_line() {
        assert_eq!(told(vec![("sda", hashes())]), [(Verdict::Ok, "answers REPLICATE, in 7 ms".to_owned())]);
        let text = "answers REPLICATE, in 7 ms at most, for each of its 2 devices";
        assert_eq!(told(vec![("sda", hashes()), ("sdb", hashes())]), [(Verdict::Ok, text.to_owned())]);
        let unmounted = || Answer::Failed(ReplicateError::Unmounted);
        let found = told(vec![
            ("sda", hashes()),
            ("sdb", unmounted()),
            ("sdc", Answer::Failed(ReplicateError::Status(500))),
            ("sdd", unmounted()),
            ("sde", Answer::NotAsked),
        ]);
        let expected = [
            (Verdict::Ok, "answers REPLICATE, in 7 ms at most, for 1 of its 5 devices"),
            (Verdict::Warning, "its devices sdb, sdd responded as unmounted; 1 of its devices was not asked"),
            (Verdict::Error, "REPLICATE of sdc: Invalid response 500"),
        ];
        assert_eq!(found, expected.map(|(verdict, text)| (verdict, text.to_owned())));
        let many: Vec<_> = (0..60).map(|number| format!("sd{number}")).collect();
        assert_eq!(named(&many), "sd0, sd1, sd2, sd3, sd4 and 55 more");
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_a_few_times_only() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = ReplicateSettings { conn_timeout: Duration::from_secs(5), http_timeout: Duration::from_secs(1) };
        let client = Arc::new(Client::new(&settings, "a test"));
        let targets: Vec<_> = (0..60).map(|number| target(port, &format!("sd{number}"))).collect();
        let begin = Instant::now();
        let asked = ask(&client, "x", &targets, Duration::from_secs(30));
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        let [finding] = &asked.findings[..] else { panic!("{:?}", asked.findings) };
        assert_eq!(finding.verdict, Verdict::Error);
        assert!(finding.text.contains(": Timeout (1s); 5"), "{}", finding.text);
        listener.set_nonblocking(true).unwrap();
        let visitors = std::iter::from_fn(|| listener.accept().ok()).count();
        assert!((3..=AT_A_TIME + UNANSWERED).contains(&visitors), "{visitors}");
    }
}
