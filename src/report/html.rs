//! The report of a pass as one page, for a browser or a mail.
//!
//! Mail programs drop scripts, style sheets and drawings, so the page is tables with their styles in place, and bars are
//! coloured cells. Everything that comes from a configuration, a ring or a peer is escaped.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::counts::Counts;
use super::pass_report::{DeviceReport, Ending, PassReport};
use super::timeline::Moment;
use super::units::{bytes, duration, utc};
use crate::printable::printable;

/// More peers than this are not listed; those with failures come first.
const MAX_PEERS: usize = 100;
/// So many bars make the timeline, at most.
const BARS: usize = 60;
/// The height of its highest bar, in pixels.
const HEIGHT: f64 = 96.0;

const IN_SYNC: &str = "#4c9f70";
const PUSHED: &str = "#3b7dd8";
const FAILED: &str = "#d1495b";
const LEFT: &str = "#c9ced6";
const INK: &str = "#1d2733";
const FAINT: &str = "#64707d";
const LINE: &str = "#e3e7ec";
const PAPER: &str = "#ffffff";
const DESK: &str = "#f3f5f8";

/// The page.
pub fn page(report: &PassReport) -> String {
    let mut page = String::with_capacity(32 << 10);
    head(&mut page, report);
    summary(&mut page, report);
    timeline(&mut page, report);
    devices(&mut page, report);
    peers(&mut page, report);
    slowest(&mut page, report);
    let _ = writeln!(
        page,
        "<p style=\"color:{FAINT};font-size:12px;margin:24px 0 0\">swift-object-replicator {}</p></td></tr></table></td></tr>\
         </table></body></html>",
        escape(&report.version)
    );
    page
}

fn head(page: &mut String, report: &PassReport) {
    let host = escape(&report.host);
    let (colour, word) = match report.ending {
        Ending::Incomplete(_) => (FAILED, "incomplete"),
        Ending::Complete if report.nothing_succeeded() => (FAILED, "nothing succeeded"),
        Ending::Complete if report.total().failures() > 0 => ("#c77d11", "complete, with failures"),
        Ending::Complete => (IN_SYNC, "complete"),
    };
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Replication on {host}: {word}</title></head>\
         <body style=\"margin:0;background:{DESK};color:{INK};font:14px/1.45 -apple-system,'Segoe UI',Roboto,'DejaVu \
         Sans',Arial,sans-serif\"><table role=\"presentation\" width=\"100%\" cellspacing=\"0\" cellpadding=\"0\" \
         style=\"background:{DESK}\"><tr><td align=\"center\" style=\"padding:24px 8px\">\
         <table role=\"presentation\" width=\"100%\" cellspacing=\"0\" cellpadding=\"0\" style=\"max-width:880px;\
         background:{PAPER};border:1px solid {LINE};border-radius:8px;text-align:left\"><tr><td \
         style=\"padding:24px 28px\"><h1 style=\"font-size:22px;margin:0 0 4px\">Replication on {host} \
         <span style=\"background:{colour};color:{PAPER};border-radius:4px;font-size:13px;font-weight:600;\
         padding:3px 8px;vertical-align:3px\">{word}</span></h1><p style=\"color:{FAINT};margin:0 0 16px\">\
         {} to {}, {}</p>",
        utc(report.began),
        utc(report.began + report.took),
        duration(report.took)
    );
    if let Ending::Incomplete(reasons) = &report.ending {
        for reason in reasons {
            let _ = write!(
                page,
                "<p style=\"background:#fdecef;border-left:4px solid {FAILED};margin:0 0 8px;padding:8px 12px\">{}</p>",
                escape(reason)
            );
        }
    }
    for order in &report.orders {
        let line = format!("In force: {}", escape(order));
        let _ = write!(page, "<p style=\"border-left:4px solid {LINE};margin:0 0 8px;padding:8px 12px\">{line}</p>");
    }
}

fn summary(page: &mut String, report: &PassReport) {
    let total = report.total();
    let tiles = [
        (format!("{:.1}%", report.coverage() * 100.0), format!("of {} partitions", report.found())),
        (total.in_sync.to_string(), "in sync".to_owned()),
        (total.pushed.to_string(), format!("pushed, {}", bytes(total.bytes))),
        (total.removed.to_string(), "hand-offs removed".to_owned()),
        (total.failures().to_string(), "failures".to_owned()),
    ];
    page.push_str("<table role=\"presentation\" width=\"100%\" cellspacing=\"0\" cellpadding=\"0\"><tr>");
    for (number, label) in tiles {
        let _ = write!(
            page,
            "<td width=\"20%\" style=\"padding:8px 8px 8px 0;vertical-align:top\"><div style=\"font-size:22px;\
             font-weight:600\">{number}</div><div style=\"color:{FAINT};font-size:12px\">{label}</div></td>"
        );
    }
    page.push_str("</tr></table>");
}

fn timeline(page: &mut String, report: &PassReport) {
    let bars = bars(&report.timeline, report.took);
    let highest = bars.iter().map(|bar| bar.succeeded.saturating_add(bar.failures)).max().unwrap_or(0);
    if highest == 0 {
        return;
    }
    heading(page, "Over time", "partitions that succeeded (green) and failures (red)");
    let _ = write!(
        page,
        "<table role=\"presentation\" width=\"100%\" cellspacing=\"0\" cellpadding=\"0\" style=\"border-bottom:1px solid \
         {LINE};table-layout:fixed\"><tr>"
    );
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
        let _ =
            write!(page, "<td height=\"{HEIGHT}\" title=\"{title}\" style=\"padding:0 1px;vertical-align:bottom\">");
        for (count, colour) in [(bar.failures, FAILED), (bar.succeeded, IN_SYNC)] {
            if count > 0 {
                let _ =
                    write!(page, "<div style=\"background:{colour};height:{}px;line-height:0\"></div>", height(count));
            }
        }
        page.push_str("</td>");
    }
    let _ = write!(
        page,
        "</tr></table><table role=\"presentation\" width=\"100%\" cellspacing=\"0\" cellpadding=\"0\"><tr>\
         <td style=\"color:{FAINT};font-size:12px\">0s</td><td align=\"right\" style=\"color:{FAINT};font-size:12px\">{}</td>\
         </tr></table>",
        duration(report.took)
    );
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
    heading(page, "Devices here", "");
    legend(page);
    table(page, &["Device", "Partitions", "", "Pushed", "Removed", "Failures"]);
    for (name, device) in &report.devices {
        let DeviceReport { found, counts, left } = device;
        let failures = match (counts.failures(), left) {
            (0, None) => "0".to_owned(),
            (0, Some(reason)) => escape(reason),
            (_, None) => escape(&counts.causes_by_side()),
            (_, Some(reason)) => escape(&format!("{}; {reason}", counts.causes_by_side())),
        };
        let cells = [
            escape(name),
            format!("{}&nbsp;of&nbsp;{found}", counts.attempted),
            bar(*found, counts),
            format!("{} ({})", counts.pushed, bytes(counts.bytes)).replace(' ', "&nbsp;"),
            counts.removed.to_string(),
            failures,
        ];
        row(page, &cells);
    }
    page.push_str("</table>");
}

fn peers(page: &mut String, report: &PassReport) {
    if report.peers.is_empty() {
        return;
    }
    heading(page, "Peers", "those with failures first");
    table(page, &["Peer", "Partitions", "", "Pushed", "Failures"]);
    let mut peers: Vec<_> = report.peers.iter().collect();
    peers.sort_by_key(|(_, counts)| Reverse(counts.failures()));
    for (name, counts) in peers.iter().take(MAX_PEERS) {
        let failures = if counts.failures() == 0 { "0".to_owned() } else { escape(&counts.causes()) };
        let cells = [
            escape(name),
            counts.attempted.to_string(),
            bar(counts.attempted, counts),
            format!("{} ({})", counts.pushed, bytes(counts.bytes)).replace(' ', "&nbsp;"),
            failures,
        ];
        row(page, &cells);
    }
    page.push_str("</table>");
    if let Some(more) = peers.len().checked_sub(MAX_PEERS).filter(|more| *more > 0) {
        let _ = write!(page, "<p style=\"color:{FAINT};margin:8px 0 0\">and {more} more</p>");
    }
}

fn slowest(page: &mut String, report: &PassReport) {
    if report.slowest.is_empty() {
        return;
    }
    heading(page, "Slowest partitions", "");
    table(page, &["Partition", "Time", ""]);
    let longest = report.slowest.first().map_or(1.0, |slow| slow.seconds).max(f64::MIN_POSITIVE);
    for slow in &report.slowest {
        let width = (slow.seconds / longest * 100.0).clamp(0.0, 100.0);
        let cells = [
            escape(&format!("{}/{}/{}", slow.device, slow.datadir, slow.partition)),
            duration(slow.seconds),
            stack(&[(width, PUSHED)]),
        ];
        row(page, &cells);
    }
    page.push_str("</table>");
}

fn heading(page: &mut String, text: &str, note: &str) {
    let _ = write!(
        page,
        "<h2 style=\"font-size:16px;margin:28px 0 8px\">{text} <span style=\"color:{FAINT};font-size:12px;\
         font-weight:400\">{note}</span></h2>"
    );
}

fn legend(page: &mut String) {
    let _ = write!(page, "<p style=\"color:{FAINT};font-size:12px;margin:0 0 4px\">");
    for (colour, word) in [(IN_SYNC, "in sync"), (PUSHED, "pushed"), (FAILED, "failed"), (LEFT, "not attempted")] {
        let _ = write!(page, "<span style=\"color:{colour}\">&#9632;</span> {word} &nbsp; ");
    }
    page.push_str("</p>");
}

fn table(page: &mut String, titles: &[&str]) {
    page.push_str("<table width=\"100%\" cellspacing=\"0\" cellpadding=\"0\" style=\"border-collapse:collapse\"><tr>");
    for title in titles {
        let _ = write!(
            page,
            "<th align=\"left\" style=\"border-bottom:1px solid {LINE};color:{FAINT};font-size:12px;font-weight:600;\
             padding:4px 8px 4px 0\">{title}</th>"
        );
    }
    page.push_str("</tr>");
}

/// A row of cells that are HTML already.
fn row(page: &mut String, cells: &[String]) {
    page.push_str("<tr>");
    for cell in cells {
        let _ = write!(
            page,
            "<td style=\"border-bottom:1px solid {LINE};padding:6px 8px 6px 0;vertical-align:top\">{cell}</td>"
        );
    }
    page.push_str("</tr>");
}

/// What became of a device's or peer's partitions. One that failed with several peers failed once here.
fn bar(found: u64, counts: &Counts) -> String {
    let all = found.max(counts.attempted).max(1) as f64;
    let share = |count: u64| count as f64 / all * 100.0;
    let good = counts.in_sync.saturating_add(counts.pushed);
    // A partition that reached one peer and failed with another is among the good ones; its failure is seen all the same.
    let failed = counts.failures().min(counts.attempted.saturating_sub(good).max(1));
    let left = found.saturating_sub(counts.attempted);
    stack(&[
        (share(counts.in_sync), IN_SYNC),
        (share(counts.pushed), PUSHED),
        (share(failed), FAILED),
        (share(left), LEFT),
    ])
}

/// A bar of parts, in percent. A part that is not nothing can be seen.
fn stack(parts: &[(f64, &str)]) -> String {
    let mut bar =
        "<table role=\"presentation\" cellspacing=\"0\" cellpadding=\"0\" style=\"height:12px;margin-top:4px;\
                   min-width:160px;width:100%\"><tr>"
            .to_owned();
    let shown: Vec<_> = parts.iter().filter(|(width, _)| *width > 0.0).collect();
    let sum: f64 = shown.iter().map(|(width, _)| width.max(1.0)).sum();
    let scale = if sum > 100.0 { 100.0 / sum } else { 1.0 };
    for (width, colour) in &shown {
        let _ = write!(
            bar,
            "<td width=\"{0:.1}%\" style=\"background:{colour};font-size:0;line-height:0;width:{0:.1}%\">&nbsp;</td>",
            width.max(1.0) * scale
        );
    }
    if sum < 99.5 {
        bar.push_str("<td style=\"font-size:0;line-height:0\">&nbsp;</td>");
    }
    bar + "</tr></table>"
}

/// Text for an element or an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::pass_report::example::report;
    use super::*;

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
        for foreign in ["http://", "https://", "<script", "<style", "<svg", "src=", "url("] {
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
    fn more_peers_than_anybody_reads_are_counted() {
        let mut report = report();
        let peers = (0..MAX_PEERS).map(|n| (format!("10.1.0.{n}:6200/sda"), Counts::default()));
        report.peers.extend(peers);
        assert!(page(&report).contains("and 3 more"));
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
