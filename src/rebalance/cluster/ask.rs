//! Which nodes there are by the rings, and what each of them answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bounded::{self, Job};
use crate::peer::authority;
use crate::peer::recon::{self, Question, ReconError, Replication, RingSums, Unmounted, Usage};
use crate::rebalance::rings::PolicyRing;

/// How long one question may take, and how many nodes are asked at a time.
const PATIENCE: Duration = Duration::from_secs(5);
const AT_A_TIME: usize = 32;
/// What a node may take in all: it has two addresses at most, and four questions.
const PATIENCE_WITH_ONE: Duration = Duration::from_secs(26);

/// A node of the rings: an object server by its replication address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub name: String,
    /// Where its recon middleware may answer: at the replication address, or at the other one.
    places: Vec<(String, u16)>,
    /// The names of its devices, by policy.
    pub devices: BTreeMap<u32, BTreeSet<String>>,
}

/// What a node answered; `Err` has what went wrong in a few words.
#[derive(Debug)]
pub(super) struct Answers {
    pub rings: Result<RingSums, String>,
    pub replication: Result<Replication, String>,
    pub usage: Result<Usage, String>,
    pub unmounted: Result<Unmounted, String>,
}

/// Every node of the rings, by name.
pub(super) fn servers(rings: &[PolicyRing]) -> Vec<Server> {
    let mut servers: BTreeMap<String, Server> = BTreeMap::new();
    for ring in rings {
        for device in ring.view.ring.devices.iter().flatten() {
            let server = servers.entry(authority(device)).or_insert_with_key(|name| {
                let mut places = vec![(device.replication_ip.clone(), device.replication_port)];
                places.push((device.ip.clone(), device.port));
                places.dedup();
                Server { name: name.clone(), places, devices: BTreeMap::new() }
            });
            server.devices.entry(ring.index()).or_default().insert(device.device.clone());
        }
    }
    servers.into_values().collect()
}

/// What all of them answer, in their order.
pub(super) fn ask_all(servers: &[Server]) -> Vec<Answers> {
    let jobs = servers.iter().cloned().map(|server| Box::new(move || server.ask()) as Job<_>).collect();
    let rounds = u32::try_from(servers.len().div_ceil(AT_A_TIME)).unwrap_or(u32::MAX).max(1);
    let answers = bounded::run(jobs, AT_A_TIME, PATIENCE_WITH_ONE.saturating_mul(rounds));
    answers.into_iter().map(|answers| answers.unwrap_or_else(|| Answers::none("no answer in time"))).collect()
}

impl Server {
    /// Asks where the node answers first. Who does not answer one question is not asked the next.
    fn ask(&self) -> Answers {
        let mut first: Option<ReconError> = None;
        for (host, port) in &self.places {
            match recon::ask::<RingSums>(host, *port, PATIENCE) {
                Ok(rings) => return Answers::of(rings, host, *port),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Answers::none(&first.map_or_else(|| "no address".to_owned(), |error| error.to_string()))
    }
}

impl Answers {
    fn none(why: &str) -> Self {
        let why = || why.to_owned();
        Self { rings: Err(why()), replication: Err(why()), usage: Err(why()), unmounted: Err(why()) }
    }

    fn of(rings: RingSums, host: &str, port: u16) -> Self {
        let mut silence = None;
        Self {
            rings: Ok(rings),
            replication: next(host, port, &mut silence),
            usage: next(host, port, &mut silence),
            unmounted: next(host, port, &mut silence),
        }
    }
}

fn next<Q: Question>(host: &str, port: u16, silence: &mut Option<String>) -> Result<Q, String> {
    if let Some(why) = silence {
        return Err(why.clone());
    }
    recon::ask(host, port, PATIENCE).map_err(|error| {
        let text = error.to_string();
        *silence = error.is_silence().then(|| text.clone());
        text
    })
}
