//! What an order does, and what is said of it.

use crate::config::settings::SyncMethod;
use crate::orders::limit::Limit;
use crate::orders::moment::{Moment, wall_clock};
use crate::orders::pauses::{Pause, Subject};
use crate::orders::peer_name::PeerName;
use crate::orders::wire::{LONGEST_REASON, Request, Terms};
use crate::orders::{Order, Orders};
use crate::pass::policies::Policies;
use crate::printable::printable;
use crate::report::orders as words;
use crate::sys;

/// The longest time that an order can be for, in seconds: a hundred years.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;
/// So many names of what there is are said.
const NAMED: usize = 20;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub uid: u32,
}

impl Caller {
    /// The user's name, and who is behind it, as far as that is to be believed.
    fn name(&self, terms: &Terms) -> String {
        let name = sys::user_name(self.uid).unwrap_or_else(|| format!("user {}", self.uid));
        match &terms.behind {
            Some(behind) if self.uid == 0 && !behind.is_empty() && behind.len() <= 100 && *behind != name => {
                format!("{name} ({behind})")
            }
            _ => name,
        }
    }

    pub(super) fn order(&self, terms: &Terms, now: f64) -> Result<Order, String> {
        let until = match terms.seconds {
            Some(seconds) if seconds > 0.0 && seconds <= LONGEST => Some(now + seconds),
            Some(seconds) => return Err(format!("an order cannot be for {seconds} seconds")),
            None => None,
        };
        let reason = terms.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        if reason.is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
            return Err(format!("a reason has at most {LONGEST_REASON} characters"));
        }
        let reason = reason.map(|reason| printable(reason).into_owned());
        let by = printable(&self.name(terms)).into_owned();
        Ok(Order { by, reason, since: now, until, keep: terms.keep })
    }
}

/// Does what is asked; what was done, in a line each, or why nothing was.
pub(super) fn obey(
    orders: &Orders,
    policies: &Policies,
    request: &Request,
    caller: &Caller,
    now: Moment,
) -> Result<Vec<String>, String> {
    match request {
        Request::Show {} => Ok(Vec::new()),
        Request::Pause { devices, peers, terms } => {
            let order = caller.order(terms, now.unix)?;
            let mut what = subjects(devices, peers)?;
            check_known(&what, policies)?;
            if what.is_empty() {
                what.push(Subject::Everything);
            }
            orders.pause(&what, &order);
            let done = what.into_iter().map(|what| words::pause(&Pause { what, order: order.clone() }));
            Ok(done.collect())
        }
        Request::Resume { devices, peers, terms } => {
            let order = caller.order(terms, now.unix)?;
            resume(orders, &subjects(devices, peers)?, &order, now.unix)
        }
        Request::Set { limits, terms } => set(orders, limits, &caller.order(terms, now.unix)?),
        // These take others than the orders to answer.
        Request::First { .. } | Request::FirstState { .. } => Ok(Vec::new()),
    }
}

/// What the asker should know besides.
pub(super) fn advice(request: &Request, sync_method: SyncMethod) -> Vec<String> {
    match request {
        Request::Pause { .. } => {
            vec![
                "Jobs at hand end; nothing new begins on what is paused. --status shows what is still at work."
                    .to_owned(),
            ]
        }
        Request::Set { limits, .. }
            if sync_method == SyncMethod::Ssync && limits.iter().any(|limit| is_for_rsync(limit)) =>
        {
            vec!["rsync_bwlimit limits nothing here, since sync_method is ssync.".to_owned()]
        }
        Request::Set { limits, .. } if limits.iter().any(|limit| is_for_rsync(limit)) => {
            vec!["rsync_bwlimit is for each rsync: one that runs already keeps its own until it ends.".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn is_for_rsync(assignment: &str) -> bool {
    assignment.trim_start().starts_with(Limit::RsyncBwlimit.name())
}

fn subjects(devices: &[String], peers: &[String]) -> Result<Vec<Subject>, String> {
    let devices = devices.iter().map(|name| Ok(Subject::Device(name.clone())));
    let peers = peers.iter().map(|name| PeerName::parse(name).map(Subject::Peer).map_err(|error| error.to_string()));
    devices.chain(peers).collect()
}

/// A typing error would pause nothing, and be taken for a pause.
fn check_known(what: &[Subject], policies: &Policies) -> Result<(), String> {
    let devices = policies.local_devices();
    let peers = policies.peers();
    for subject in what {
        match (subject, &devices) {
            (Subject::Device(name), Some(known)) if !known.contains(name) => {
                return Err(format!("no device here is {name:?}: this node has {}", listed(known.iter().cloned())));
            }
            (Subject::Peer(name), _) if !peers.iter().any(|peer| name.means(&peer.address())) => {
                let nodes = peers.iter().map(|peer| format!("{}:{}", peer.replication_ip, peer.replication_port));
                return Err(format!("no other node of the rings is {name}: there are {}", listed(nodes)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{}, and {more} more", names.join(", ")),
    }
}

fn resume(orders: &Orders, what: &[Subject], order: &Order, now: f64) -> Result<Vec<String>, String> {
    let ended = orders.resume(what, now);
    let still = orders.shown(Moment { unix: now, minute: 0 }).pauses;
    let resumed = ended.iter().map(|pause| format!("{} resumed, {}", pause.what, order.by_whom()));
    let mut done: Vec<_> = resumed.map(|line| printable(&line).into_owned()).collect();
    let missing = what.iter().filter(|what| !ended.iter().any(|pause| pause.what == **what));
    done.extend(missing.map(|what| printable(&format!("{what} was not paused by itself")).into_owned()));
    if what.is_empty() && ended.is_empty() {
        done.push("Nothing was paused".to_owned());
    }
    done.extend(still.iter().map(|pause| format!("Still: {}", words::pause(pause))));
    Ok(done)
}

fn set(orders: &Orders, limits: &[String], order: &Order) -> Result<Vec<String>, String> {
    let parse = |assignment: &String| match assignment.split_once('=') {
        Some((name, value)) if value.trim() == "default" => Limit::parse_name(name).map(|limit| (limit, None)),
        _ => Limit::parse_assignment(assignment).map(|(limit, value)| (limit, Some(value))),
    };
    let limits: Vec<_> = limits.iter().map(parse).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    for (limit, value) in &limits {
        orders.set(*limit, value.as_deref(), order);
    }
    let now = Moment { unix: order.since, ..Moment::now() };
    let in_force = orders.limits(now).into_iter().filter(|limit| limits.iter().any(|(name, _)| *name == limit.name));
    let mut done: Vec<_> = in_force.map(|limit| words::limit(&limit)).collect();
    if limits.iter().any(|(_, value)| value.is_none()) {
        done.extend(wall_clock().map(|time| format!("The local time is {time}")));
    }
    Ok(done)
}
