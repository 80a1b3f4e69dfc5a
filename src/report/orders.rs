//! Orders, and the limits in force, in words: for `--status`, for whoever gives orders, and for the log.

use super::units::utc;
use crate::orders::first::{FirstPartition, FirstShown};
use crate::orders::limits::{LimitInForce, Why};
use crate::orders::pauses::Pause;
use crate::orders::wire::Shown;
use crate::orders::{Order, Over};
use crate::printable::printable;

/// Like `by root since 2026-11-29 10:00:00 UTC, until 2026-11-29 12:00:00 UTC: new disk`.
fn terms(order: &Order) -> String {
    let until = match order.until {
        Some(until) => format!(", until {}", utc(until)),
        None => ", until somebody orders otherwise".to_owned(),
    };
    let kept = if order.keep { ", kept over a restart" } else { "" };
    let reason = order.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("by {} since {}{until}{kept}{reason}", order.by, utc(order.since))
}

/// A pause, in a line.
pub(crate) fn pause(pause: &Pause) -> String {
    printable(&format!("{} is paused, {}", pause.what, terms(&pause.order))).into_owned()
}

/// A limit and why it is what it is, in a line.
pub(crate) fn limit(limit: &LimitInForce) -> String {
    let LimitInForce { name, value, configured, why } = limit;
    let configured = format!("{configured} in the configuration");
    let line = match why {
        Why::Configuration => format!("{name} is {value}, as in the configuration"),
        Why::QuietHours(hours) => format!("{name} is {value} ({configured}), by quiet_hours {hours} of local time"),
        Why::Order(order) => format!("{name} is {value} ({configured}), {}", terms(order)),
    };
    printable(&line).into_owned()
}

/// So many partitions of an order are named in its line.
const NAMED: usize = 8;

/// An order of what goes first, in a line.
pub(crate) fn first(first: &FirstShown) -> String {
    let FirstShown { what, order, total, done, failed, at_work, .. } = first;
    let since = format!("{} since {}", order.by_whom(), utc(order.since));
    if first.is_looked_for {
        return printable(&format!("first: {what}, {since}: being looked for")).into_owned();
    }
    let left = total.saturating_sub(*done);
    let named: Vec<_> = first.left.iter().take(NAMED).map(partition).collect();
    let more = left.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let line = format!(
        "first: {what}, {since}: {left} of {total} left, {at_work} at work, {failed} failed and tried again in each \
         pass: {}{more}",
        named.join(", ")
    );
    printable(&line).into_owned()
}

/// Like `sdb/12 (1 timeout)`, or `sdb/objects-1/12` for one of another policy than the first.
pub(crate) fn partition(partition: &FirstPartition) -> String {
    let FirstPartition { device, policy, partition, why, .. } = partition;
    let place = match policy {
        0 => format!("{device}/{partition}"),
        policy => format!("{device}/objects-{policy}/{partition}"),
    };
    why.as_ref().map_or(place.clone(), |why| format!("{place} ({why})"))
}

/// What is out of the ordinary: pauses, limits that are other than the configuration's, what goes first, in a line each.
pub(crate) fn out_of_the_ordinary(shown: &Shown) -> Vec<String> {
    let limits = shown.limits.iter().filter(|limit| limit.why != Why::Configuration);
    shown.pauses.iter().map(pause).chain(limits.map(limit)).chain(shown.first.iter().map(first)).collect()
}

/// An order whose time is over, in a line.
pub(crate) fn over(over: &Over) -> String {
    let line = match over {
        Over::Pause(pause) => {
            format!("The time is over for which {} was paused {}", pause.what, pause.order.by_whom())
        }
        Over::Limit(set) => {
            format!("The time is over for which {} was {} {}", set.name, set.value, set.order.by_whom())
        }
    };
    printable(&line).into_owned()
}

/// A limit that has changed, in a line.
pub(crate) fn change(old: &LimitInForce, new: &LimitInForce) -> String {
    format!("Limits: {}; it was {}", limit(new), printable(&old.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::limit::Limit;
    use crate::orders::pauses::Subject;

    fn order(reason: &str) -> Order {
        Order { by: "root".into(), reason: Some(reason.into()), since: 0.0, until: Some(7200.0), keep: false }
    }

    #[test]
    fn what_goes_first_is_told_with_how_far_it_is_and_what_is_left() {
        let failed =
            FirstPartition { device: "sdb".into(), partition: 12, why: Some("1 timeout".into()), ..Default::default() };
        let waiting = FirstPartition { device: "sdc".into(), policy: 1, partition: 9, ..Default::default() };
        let mut shown = FirstShown {
            what: "what goes to 10.0.0.7".into(),
            order: order("new disk"),
            total: 30,
            done: 10,
            at_work: 2,
            failed: 1,
            left: vec![failed, waiting],
            ..FirstShown::default()
        };
        let start = "first: what goes to 10.0.0.7, by root: new disk since 1970-01-01 00:00:00 UTC: ";
        let rest = "20 of 30 left, 2 at work, 1 failed and tried again in each pass: sdb/12 (1 timeout), sdc/objects-1/9 and 18 more";
        assert_eq!(first(&shown), format!("{start}{rest}"));
        shown.is_looked_for = true;
        assert_eq!(first(&shown), format!("{start}being looked for"));
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_told_with_who_why_and_until_when() {
        let in_force = |value: &str, why| LimitInForce {
            name: Limit::Concurrency,
            value: value.into(),
            configured: "8".into(),
            why,
        };
        let shown = Shown {
            pauses: vec![Pause { what: Subject::Device("sdb".into()), order: order("new\ndisk") }],
            limits: vec![
                in_force("8", Why::Configuration),
                in_force("1", Why::QuietHours("08:00-19:00".into())),
                in_force("4", Why::Order(Order { until: None, keep: true, reason: None, ..order("") })),
            ],
            ..Shown::default()
        };
        assert_eq!(
            out_of_the_ordinary(&shown),
            [
                "device sdb is paused, by root since 1970-01-01 00:00:00 UTC, until 1970-01-01 02:00:00 UTC: new#012disk",
                "concurrency is 1 (8 in the configuration), by quiet_hours 08:00-19:00 of local time",
                "concurrency is 4 (8 in the configuration), by root since 1970-01-01 00:00:00 UTC, until somebody orders \
                 otherwise, kept over a restart",
            ]
        );
    }
}
