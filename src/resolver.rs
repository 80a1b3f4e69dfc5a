//! Names of hosts: asked for beside the work, for as long as somebody has time to wait.
//!
//! Rings and configurations nearly always have plain addresses, for which nobody need be asked. Where they have names, the
//! system's resolver is asked in a thread of its own, since it takes as long as it likes and cannot be interrupted: whoever
//! waits for it leaves when his time is over, and its answer serves the next one. For each name at most one such thread is
//! under way, however many wait for it. What it says is used for a minute by everybody in this process, and for a few
//! seconds if it knows no address, so that a pass over thousands of partitions does not ask as often.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::locks::{lock, wait_timeout};

/// How long addresses are used.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// How long a name without addresses is not asked for again.
const BAD_FOR: Duration = Duration::from_secs(5);
/// So many addresses of a name are used.
const MAX_ADDRESSES: usize = 16;

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The name service knows none.
    #[error("no address found")]
    Unknown,
    /// The time was over before there was an answer.
    #[error("no answer of the name service in time")]
    TooLate,
    /// The system has no thread to ask in.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The addresses of a host, which may be one itself; at least one.
///
/// # Errors
/// [`ResolveError::Unknown`] if the host has no address, [`ResolveError::TooLate`] if the name service does not answer
/// before the deadline, [`ResolveError::Io`] if no thread can be started to ask it.
pub(crate) fn addresses(host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ResolveError> {
    static NAMES: LazyLock<Arc<Names>> = LazyLock::new(|| Arc::new(Names::new(look_up)));
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Ok(vec![ip]),
        Err(_) => NAMES.addresses(host, deadline),
    }
}

fn look_up(host: &str) -> Vec<IpAddr> {
    let found = (host, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
    found.unwrap_or_default()
}

/// Asks for the addresses of a name, for as long as that takes.
type LookUp = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// What is known of hosts' names.
struct Names {
    look_up: Box<LookUp>,
    known: Mutex<HashMap<String, Name>>,
    is_answered: Condvar,
}

enum Name {
    /// A thread is asking.
    Asked,
    /// None, if nobody knows the name.
    Known { addresses: Vec<IpAddr>, until: Instant },
}

impl Names {
    fn new(look_up: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        Self { look_up: Box::new(look_up), known: Mutex::default(), is_answered: Condvar::new() }
    }

    /// The addresses of a name, before the deadline.
    fn addresses(self: &Arc<Self>, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ResolveError> {
        let mut known = self.known();
        loop {
            let now = Instant::now();
            match known.get(host) {
                Some(Name::Known { addresses, until }) if now < *until => {
                    return if addresses.is_empty() { Err(ResolveError::Unknown) } else { Ok(addresses.clone()) };
                }
                Some(Name::Asked) => {}
                Some(Name::Known { .. }) | None => {
                    known.retain(|_, name| !matches!(name, Name::Known { until, .. } if *until <= now));
                    known.insert(host.to_owned(), Name::Asked);
                    if let Err(error) = self.ask(host) {
                        known.remove(host);
                        return Err(error.into());
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ResolveError::TooLate);
            }
            known = wait_timeout(&self.is_answered, known, left);
        }
    }

    fn ask(self: &Arc<Self>, host: &str) -> io::Result<()> {
        let (names, host) = (Arc::clone(self), host.to_owned());
        let ask = move || {
            let mut addresses = (names.look_up)(&host);
            addresses.dedup();
            addresses.truncate(MAX_ADDRESSES);
            let until = Instant::now() + if addresses.is_empty() { BAD_FOR } else { GOOD_FOR };
            names.known().insert(host, Name::Known { addresses, until });
            names.is_answered.notify_all();
        };
        thread::Builder::new().name("resolver".to_owned()).spawn(ask).map(drop)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        // Nothing in here leaves the map half changed.
        lock(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// Names that are looked up in this way, and how often that was done.
    fn names(look_up: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> (Arc<Names>, Arc<AtomicUsize>) {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let names = Names::new(move |host| {
            counted.fetch_add(1, Ordering::SeqCst);
            look_up(host)
        });
        (Arc::new(names), count)
    }

    /// Lets the time be over for which a name is known.
    fn age(names: &Names, by: Duration) {
        for name in names.known().values_mut() {
            if let Name::Known { until, .. } = name {
                *until = until.checked_sub(by).expect("this machine has run for longer");
            }
        }
    }

    #[test]
    fn a_name_is_looked_up_once_a_minute() {
        let (names, count) = names(|_| vec![HERE]);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(names.addresses("node-1", within(60)).unwrap(), [HERE]));
            }
        });
        age(&names, GOOD_FOR - Duration::from_secs(30));
        names.addresses("node-1", within(60)).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        age(&names, Duration::from_secs(30));
        names.addresses("node-1", within(60)).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_name_without_addresses_is_looked_up_again_after_some_seconds() {
        let (names, count) = names(|_| Vec::new());
        for _ in 0..3 {
            assert!(matches!(names.addresses("node-1", within(60)), Err(ResolveError::Unknown)));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        age(&names, BAD_FOR);
        assert!(matches!(names.addresses("node-1", within(60)), Err(ResolveError::Unknown)));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn nobody_waits_longer_than_he_has_time_and_one_thread_asks_for_all() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let (names, count) = names(move |host| {
            if host == "slow" {
                let _ = released.lock().unwrap().recv();
            }
            vec![HERE]
        });
        let begin = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                let soon = Instant::now() + Duration::from_millis(200);
                let names = &names;
                scope.spawn(move || assert!(matches!(names.addresses("slow", soon), Err(ResolveError::TooLate))));
            }
        });
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        assert_eq!(names.addresses("quick", within(60)).unwrap(), [HERE], "others are asked for meanwhile");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        release.send(()).unwrap();
        assert_eq!(names.addresses("slow", within(60)).unwrap(), [HERE], "the late answer is of use");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_is_known_of_names_is_forgotten_in_time() {
        let (names, _) = names(|_| vec![HERE]);
        for number in 0..100 {
            names.addresses(&format!("node-{number}"), within(60)).unwrap();
            age(&names, GOOD_FOR);
        }
        assert_eq!(names.known().len(), 1);
    }
}
