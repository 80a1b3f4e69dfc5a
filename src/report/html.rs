//! The report of a pass as one page, for a browser or a mail.
//!
//! Scripts would be dropped by mail programs, so there are none. The style sheet is in the page; where that is dropped too,
//! the page is plain but whole, and bars have their colours, since these stand in place. In a narrow window rows are cards,
//! and where people want it dark, it is. Everything that comes from a configuration, a ring or a peer is escaped.

mod peers;
mod rows;
mod sheet;

use std::cmp::Reverse;
use std::fmt::Write as _;

use self::peers::peers;
use self::rows::{Cell, bar, escape, failures, heading, legend, name as named, pushed, stack, table};
use self::sheet::{FAILED, IN_SYNC, PUSHED, SHEET};
use super::pass_report::{DeviceReport, Ending, PassReport, SlowPartition};
use super::timeline::Moment;
use super::units::{bytes, duration, utc};

/// More devices of this node than this are not listed; the worst come first. There is no node with as many.
const MAX_DEVICES: usize = 500;
/// More reasons why a pass is not complete than this are not listed.
const MAX_REASONS: usize = 10;
/// So many bars make the timeline, at most.
const BARS: usize = 60;
/// The height of its highest bar, in pixels.
const HEIGHT: f64 = 96.0;

/// The page.
pub fn page(report: &PassReport) -> String {
    let mut page = String::with_capacity(32 << 10);
    head(&mut page, report);
    summary(&mut page, report);
    timeline(&mut page, report);
    devices(&mut page, report);
    peers(&mut page, &report.peers);
    slowest(&mut page, report);
    let version = escape(&report.version);
    let _ = writeln!(page, "<p class=\"faint\">swift-object-replicator {version}</p></main></body></html>");
    page
}

fn head(page: &mut String, report: &PassReport) {
    let host = escape(&report.host);
    let (class, word) = match report.ending {
        Ending::Incomplete(_) => ("bad", "incomplete"),
        Ending::Complete if report.nothing_succeeded() => ("bad", "nothing succeeded"),
        Ending::Complete if report.total().failures() > 0 => ("fair", "complete, with failures"),
        Ending::Complete if report.handoffs_only => ("fair", "over hand-offs only"),
        Ending::Complete => ("good", "complete"),
    };
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>Replication on {host}: {word}</title><style>{SHEET}</style></head><body><main><h1>Replication on {host} \
         <span class=\"word {class}\">{word}</span></h1><p class=\"faint\">{} to {}, {}</p>",
        utc(report.began),
        utc(report.began + report.took),
        duration(report.took)
    );
    if let Ending::Incomplete(reasons) = &report.ending {
        let shown = reasons.iter().take(MAX_REASONS).map(|reason| escape(reason));
        let more = reasons.len().checked_sub(MAX_REASONS).filter(|more| *more > 0);
        for reason in shown.chain(more.map(|more| format!("and {more} more reasons"))) {
            let _ = write!(page, "<p class=\"reason\">{reason}</p>");
        }
    }
    for order in &report.orders {
        let line = format!("In force: {}", escape(order));
        let _ = write!(page, "<p class=\"order\">{line}</p>");
    }
}

fn summary(page: &mut String, report: &PassReport) {
    let total = report.total();
    let tiles = [
        // Where not all was found, a hundred per cent would say that nothing is left.
        match report.is_all_of_what_was_found() {
            true => (total.attempted.to_string(), "partitions, all that were found".to_owned()),
            false => (format!("{:.1}%", report.coverage() * 100.0), format!("of {} partitions", report.found())),
        },
        (total.in_sync.to_string(), "in sync".to_owned()),
        (total.pushed.to_string(), format!("pushed, {}", bytes(total.bytes))),
        (total.removed.to_string(), "hand-offs removed".to_owned()),
        (total.failures().to_string(), "failures".to_owned()),
    ];
    page.push_str("<div>");
    for (number, label) in tiles {
        let class = if label == "failures" && total.failures() > 0 { " class=\"failures\"" } else { "" };
        let _ = write!(page, "<div class=\"tile\"><b{class}>{number}</b> <span class=\"faint\">{label}</span></div> ");
    }
    page.push_str("</div>");
}

fn timeline(page: &mut String, report: &PassReport) {
    let bars = bars(&report.timeline, report.took);
    let highest = bars.iter().map(|bar| bar.succeeded.saturating_add(bar.failures)).max().unwrap_or(0);
    if highest == 0 {
        return;
    }
    heading(page, "Over time", "partitions that succeeded (green) and failures (red)");
    page.push_str("<table role=\"presentation\" class=\"time\"><tbody><tr>");
    for bar in &bars {
        let height = |count: u64| (count as f64 / highest as f64 * HEIGHT).ceil() as u64;
        let title = format!(
            "until {}: {} begun, {} succeeded, {} failures, {}",
            duration(bar.at),
            bar.attempted,
            bar.succeeded,
            bar.failures,
            bytes(bar.bytes)
        );
        let _ = write!(page, "<td height=\"{HEIGHT}\" title=\"{title}\">");
        for (count, colour) in [(bar.failures, FAILED), (bar.succeeded, IN_SYNC)] {
            if count > 0 {
                let _ =
                    write!(page, "<div style=\"background:{colour};height:{}px;line-height:0\"></div>", height(count));
            }
        }
        page.push_str("</td>");
    }
    let took = duration(report.took);
    let _ = write!(page, "</tr></tbody></table><p class=\"faint\">from the beginning to its end after {took}</p>");
}

/// The moments put together in bars of equal time.
fn bars(moments: &[Moment], took: f64) -> Vec<Moment> {
    let end = moments.iter().map(|moment| moment.at).fold(took, f64::max);
    if end.is_nan() || end <= 0.0 {
        return Vec::new();
    }
    // With more bars than moments there would be gaps that mean nothing.
    let count = moments.len().clamp(1, BARS);
    let mut bars: Vec<_> =
        (1..=count).map(|n| Moment { at: end * n as f64 / count as f64, ..Moment::default() }).collect();
    for moment in moments {
        let place = (moment.at / end * count as f64).ceil().max(1.0) as usize - 1;
        let bar = &mut bars[place.min(count - 1)];
        bar.attempted = bar.attempted.saturating_add(moment.attempted);
        bar.succeeded = bar.succeeded.saturating_add(moment.succeeded);
        bar.failures = bar.failures.saturating_add(moment.failures);
        bar.bytes = bar.bytes.saturating_add(moment.bytes);
    }
    bars
}

fn devices(page: &mut String, report: &PassReport) {
    let mut devices: Vec<_> = report.devices.iter().collect();
    // Those that nothing is known of are worse than those of which something failed.
    devices.sort_by_key(|(_, device)| Reverse((device.left.is_some(), device.counts.failures())));
    let is_wrong = |device: &DeviceReport| device.left.is_some() || device.counts.failures() > 0;
    let wrong = devices.iter().filter(|(_, device)| is_wrong(device)).count();
    let note = match wrong {
        0 => String::new(),
        wrong => format!("{wrong} of {} with failures or with partitions left, those first", devices.len()),
    };
    heading(page, "Devices here", &note);
    legend(page);
    table(page, devices.iter().take(MAX_DEVICES).map(|(name, device)| device_row(name, device)));
    if let Some(more) = devices.len().checked_sub(MAX_DEVICES).filter(|more| *more > 0) {
        let _ = write!(page, "<p class=\"faint\">and {more} more</p>");
    }
}

fn device_row(name: &str, device: &DeviceReport) -> Vec<Cell<'static>> {
    let DeviceReport { found, counts, left, .. } = device;
    let failed = match (counts.failures(), left) {
        (0, None) => "0".to_owned(),
        (0, Some(reason)) => failures(reason),
        (_, None) => failures(&counts.causes_by_side()),
        (_, Some(reason)) => failures(&format!("{}; {reason}", counts.causes_by_side())),
    };
    vec![
        ("Device", named(name)),
        ("Partitions", format!("{}&nbsp;of&nbsp;{found}", counts.attempted)),
        ("", bar(*found, counts)),
        ("Pushed", pushed(counts)),
        ("Removed", counts.removed.to_string()),
        ("Failures", failed),
    ]
}

fn slowest(page: &mut String, report: &PassReport) {
    if report.slowest.is_empty() {
        return;
    }
    heading(page, "Slowest partitions", "");
    let longest = report.slowest.first().map_or(1.0, |slow| slow.seconds).max(f64::MIN_POSITIVE);
    let row = |slow: &SlowPartition| {
        let width = (slow.seconds / longest * 100.0).clamp(0.0, 100.0);
        let name = named(&format!("{}/{}/{}", slow.device, slow.datadir, slow.partition));
        vec![("Partition", name), ("Time", duration(slow.seconds)), ("", stack(&[(width, PUSHED)]))]
    };
    table(page, report.slowest.iter().map(row));
}

#[cfg(test)]
mod tests {
    use super::super::counts::Counts;
    use super::super::pass_report::example::report;
    use super::*;
    use crate::cause::Cause;

    /// Fails unless every tag is closed in its turn.
    fn assert_well_formed(page: &str) {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1) {
            let name = tag.split(['>', ' ']).next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "in {tag}"),
                None if ["meta", "!DOCTYPE"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    #[test]
    fn the_page_has_every_device_peer_and_slow_partition() {
        let page = page(&report());
        assert_well_formed(&page);
        for part in ["node-1", "incomplete", "sda", "sdb", "sdc", "10.0.0.3:6200/sda", "sdc/objects-1/17", "1m 33s"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("2027-01-15 08:00:00 UTC to 2027-01-15 08:12:34 UTC, 12m 34s"));
        for foreign in ["http://", "https://", "<script", "<svg", "src=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}: the page must be whole by itself");
        }
    }

    #[test]
    fn an_empty_pass_makes_a_page_too() {
        let page = page(&PassReport::default());
        assert_well_formed(&page);
        assert!(page.contains("100.0%") && !page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let mut report = report();
        report.host = "<script>alert('x')</script>".into();
        report.ending = Ending::Incomplete(vec!["a & \"b\" <i>".into()]);
        let page = page(&report);
        assert_well_formed(&page);
        assert!(!page.contains("<script>") && page.contains("a &amp; &quot;b&quot; &lt;i&gt;"));
        report.host = "\u{1b}[2J\u{202e}".into();
        assert!(self::page(&report).contains("Replication on #033[2J#342#200#256 "));
    }

    #[test]
    fn a_node_of_sixty_devices_shows_the_worst_first() {
        let mut report = PassReport::default();
        for number in 0..60 {
            let counts = Counts { attempted: 10, in_sync: 10, ..Counts::default() };
            report
                .devices
                .insert(format!("d{number:02}"), DeviceReport { found: 10, counts, ..DeviceReport::default() });
        }
        report.devices.get_mut("d07").unwrap().counts.fail_times(Cause::Local, 3);
        report.devices.get_mut("d31").unwrap().left = Some("hangs: listing partitions".into());
        report.add_reasons((0..60).map(|number| format!("d{number} hangs")).collect());
        let page = page(&report);
        assert_well_formed(&page);
        let names: Vec<_> =
            page.split("<td title=\"Device\"><span class=\"name\">").skip(1).map(|cell| &cell[..3]).collect();
        assert_eq!((names.len(), &names[..4]), (60, &["d31", "d07", "d00", "d01"][..]));
        assert!(page.contains("2 of 60 with failures or with partitions left") && page.contains("and 50 more reasons"));
        assert!(page.contains(">600</b>") && !page.contains(">100.0%</b>"), "it is not known how many there are");
    }

    #[test]
    fn moments_become_bars_of_equal_time_and_none_is_lost() {
        let bars = bars(&report().timeline, report().took);
        assert_eq!(bars.len(), 25);
        assert_eq!(bars.iter().map(|bar| bar.attempted).sum::<u64>(), 19 * 130 + 6 * 42);
        assert!(super::bars(&[], 0.0).is_empty());
        assert!(super::bars(&[], f64::NAN).is_empty());
    }
}
