//! rsync here, and the servers of every peer: do they answer, and would they take a push?
//!
//! Nodes are asked side by side. A node that does not answer costs a few time limits, however many devices it has.

mod clock;
mod interrupt;
mod modules;
mod servers;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use self::clock::Ahead;
use self::modules::{PATIENCE, Trial};
use self::servers::Asked;
use self::targets::Node;
use super::finding::Finding;
use super::rings::PolicyRing;
use crate::bounded::{self, Job};
use crate::config::settings::{ReplicateSettings, Settings, SyncMethod};
use crate::peer::replicate::Client;
use crate::peer::rsync::Rsync;

/// How many nodes are asked at a time.
const AT_A_TIME: usize = 32;
/// How long a node's servers of one kind may take, and how much longer for each of its devices.
const PATIENCE_WITH_NODE: Duration = Duration::from_secs(60);
const PATIENCE_WITH_DEVICE: Duration = Duration::from_secs(10);

/// The rsync program of this machine.
pub(super) fn rsync(settings: &Settings) -> Finding {
    const SUBJECT: &str = "rsync";
    match Rsync::new(modules::options(settings)).version() {
        Ok(Some(version)) if !version.xattrs => {
            Finding::error(SUBJECT, format!("version {} cannot copy extended attributes", version.number))
        }
        Ok(Some(version)) => Finding::ok(SUBJECT, format!("version {}, with extended attributes", version.number)),
        Ok(None) => Finding::warning(SUBJECT, "does not tell its version; is it rsync?"),
        Err(error) => Finding::error(SUBJECT, error.to_string()),
    }
}

/// Asks every server that the rings name.
pub(super) fn check(settings: &Settings, rings: &[PolicyRing], write: bool) -> Vec<Finding> {
    let client = Arc::new(client(settings));
    let trial = match settings.sync_method {
        SyncMethod::Ssync => None,
        SyncMethod::Rsync => match Trial::new(settings, streams(settings, rings), write) {
            Ok(trial) => Some(Arc::new(trial)),
            Err(error) => return vec![Finding::error("rsync", format!("nothing to try it with: {error}"))],
        },
    };
    let nodes = targets::nodes(rings);
    let hosts: Vec<_> = nodes.iter().map(|node| (node.host.clone(), node.is_here)).collect();
    // Each has its share of the time after those before it.
    let rounds = u32::try_from(nodes.len().div_ceil(AT_A_TIME)).unwrap_or(u32::MAX);
    let longest = nodes.iter().map(patience).max().unwrap_or_default();
    let jobs = nodes.into_iter().map(|node| {
        let (client, trial) = (client.clone(), trial.clone());
        Box::new(move || ask(&client, trial.as_ref(), &node)) as Job<_>
    });
    let outcomes = bounded::run(jobs.collect(), AT_A_TIME, (longest * 3).saturating_mul(rounds));
    trial.iter().for_each(|trial| trial.settle());
    let (mut findings, mut differences) = (Vec::new(), Vec::new());
    for ((host, is_here), outcome) in hosts.iter().zip(outcomes) {
        let hanging = || Finding::error(format!("peer {host}"), "not asked in time, in which others were asked");
        let (found, clock) = outcome.unwrap_or_else(|| (vec![hanging()], None));
        findings.extend(found);
        let difference = clock.map(Ahead::difference);
        findings.extend(difference.flatten().map(|difference| clock::judge(host, difference)));
        differences.extend(difference.filter(|_| !is_here));
    }
    findings.extend(clock::judge_own(&differences));
    findings
}

/// What is found of a node, and its clock.
fn ask(client: &Arc<Client>, trial: Option<&Arc<Trial>>, node: &Node) -> (Vec<Finding>, Option<Ahead>) {
    let limit = patience(node);
    let mut all = Asked::default();
    for (server, targets) in &node.servers {
        let Asked { findings, held, clock } = servers::ask(client, server, targets, limit);
        all.findings.extend(findings);
        all.held.extend(held);
        all.clock = all.clock.into_iter().chain(clock).reduce(Ahead::and);
    }
    all.findings.extend(trial.into_iter().flat_map(|trial| trial.node(node, &all.held, limit)));
    (all.findings, all.clock)
}

fn patience(node: &Node) -> Duration {
    PATIENCE_WITH_NODE + PATIENCE_WITH_DEVICE.saturating_mul(u32::try_from(node.targets().count()).unwrap_or(u32::MAX))
}

/// How many pushes this node makes at a time.
pub(super) fn streams(settings: &Settings, rings: &[PolicyRing]) -> usize {
    let devices = rings.iter().map(|ring| ring.local.len()).max().unwrap_or(0);
    settings.concurrency.saturating_mul(settings.replicator_workers.min(devices).max(1))
}

fn client(settings: &Settings) -> Client {
    let settings = ReplicateSettings {
        conn_timeout: settings.replicate.conn_timeout.min(PATIENCE),
        http_timeout: settings.replicate.http_timeout.min(PATIENCE),
    };
    Client::new(&settings, &format!("object-replicator {}", std::process::id()))
}
