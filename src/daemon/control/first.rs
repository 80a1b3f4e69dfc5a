//! Orders of what goes first. To find out what that is takes a look at the devices, and at a former ring, which may hang: so
//! it is done on a thread of its own, and whoever gave the order asks what came of it.

use std::path::PathBuf;
use std::thread::Builder;

use log::info;

use crate::daemon::first::hanging;
use crate::job::scope::Overrides;
use crate::orders::Order;
use crate::orders::peer_name::PeerName;
use crate::orders::wire::Request;
use crate::pass::ProcessState;
use crate::pass::first::{What, in_words};
use crate::printable::printable;

/// So many orders may be looked for at a time.
const MOST_LOOKS: usize = 8;

/// Takes the order; its number, and what is said of it.
///
/// # Errors
/// A line that says why it is not taken.
pub(super) fn give(lasting: &ProcessState, request: &Request, order: Order) -> Result<(u64, String), String> {
    let (what, overrides) = asked(request)?;
    let finder = lasting.finder.get().ok_or("the rings are not read yet")?;
    let first = &lasting.orders.first;
    if first.shown(order.since).iter().filter(|order| order.is_looked_for).count() >= MOST_LOOKS {
        return Err("too many orders of what goes first are being looked for: a device may hang".to_owned());
    }
    let line = format!("first: {}, {}", in_words(&what, &overrides), order.by_whom());
    let since = order.since;
    let number = first.announce(printable(&in_words(&what, &overrides)).into_owned(), order);
    let (own, hanging) = (lasting.orders.clone(), hanging(lasting));
    let look = move || {
        finder.carry_out(&what, overrides, &hanging, &own.first, number);
        let found = own.first.find(number, since).unwrap_or_default();
        found.lines.iter().chain(&found.refused).for_each(|line| info!("Orders: {line}"));
    };
    if let Err(error) = Builder::new().name("first".to_owned()).spawn(look) {
        first.refuse(number, format!("cannot start a thread: {error}"));
    }
    Ok((number, printable(&line).into_owned()))
}

/// What is asked for, in one of three ways.
fn asked(request: &Request) -> Result<(What, Overrides), String> {
    let Request::First { partitions, moved, to, devices, policies, .. } = request else {
        return Err("this is no order of what goes first".to_owned());
    };
    let what = match (partitions, moved, to) {
        (Some(_), None, None) => What::Named,
        (None, Some(path), None) => What::MovedSince(absolute(path)?),
        (None, None, Some(peer)) => What::To(PeerName::parse(peer).map_err(|error| error.to_string())?),
        _ => return Err("one of partitions, moved and to has to be given".to_owned()),
    };
    let (devices, partitions, policies) = (devices.clone(), partitions.clone(), policies.clone());
    Ok((what, Overrides { devices, partitions, policies, ..Overrides::default() }))
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err(format!("{} is no absolute path", path.display())) }
}
