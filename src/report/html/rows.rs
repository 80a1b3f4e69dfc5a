//! The page's tables and bars, and how text gets into it.

use std::fmt::Write as _;

use super::super::counts::Counts;
use super::super::units::bytes;
use super::sheet::{FAILED, IN_SYNC, LEFT, PUSHED};
use crate::printable::printable;

/// A cell's title, and what is in it, as HTML.
pub(super) type Cell<'a> = (&'a str, String);

pub(super) fn heading(page: &mut String, text: &str, note: &str) {
    let _ = write!(page, "<h2>{text} <span class=\"faint\">{note}</span></h2>");
}

pub(super) fn legend(page: &mut String) {
    page.push_str("<p class=\"faint\">");
    for (colour, word) in [(IN_SYNC, "in sync"), (PUSHED, "pushed"), (FAILED, "failed"), (LEFT, "not attempted")] {
        let _ = write!(page, "<span style=\"color:{colour}\">&#9632;</span> {word} &nbsp; ");
    }
    page.push_str("</p>");
}

/// A table of these rows, each of which has the same titles.
pub(super) fn table<'a>(page: &mut String, rows: impl Iterator<Item = Vec<Cell<'a>>>) {
    page.push_str("<table class=\"rows\"><tbody>");
    let mut has_titles = false;
    for row in rows {
        if !std::mem::replace(&mut has_titles, true) {
            page.push_str("<tr class=\"titles\">");
            for (title, _) in &row {
                let _ = write!(page, "<th>{title}</th>");
            }
            page.push_str("</tr>");
        }
        page.push_str("<tr>");
        for (title, cell) in row {
            // What has no title is a bar.
            let _ = match title {
                "" => write!(page, "<td class=\"wide\">{cell}</td>"),
                title => write!(page, "<td title=\"{title}\">{cell}</td>"),
            };
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
}

/// Partitions that were pushed, and how large that was.
pub(super) fn pushed(counts: &Counts) -> String {
    format!("{} ({})", counts.pushed, bytes(counts.bytes)).replace(' ', "&nbsp;")
}

/// What a row is about.
pub(super) fn name(text: &str) -> String {
    format!("<span class=\"name\">{}</span>", escape(text))
}

/// What failed, in the colour of that.
pub(super) fn failures(text: &str) -> String {
    format!("<span class=\"failures\">{}</span>", escape(text))
}

/// What became of a device's or peer's partitions. What failed in part has failed: nothing else has its colour.
pub(super) fn bar(found: u64, counts: &Counts) -> String {
    let all = found.max(counts.attempted).max(1) as f64;
    let share = |count: u64| count as f64 / all * 100.0;
    let (in_sync, pushed) = counts.whole();
    let not_whole = counts.attempted.saturating_sub(in_sync.saturating_add(pushed));
    // One partition can have several failures, and what hangs was not even attempted. Any failure is to be seen.
    let failed = match counts.flawed {
        0 => counts.failures().min(not_whole.max(1)),
        flawed => flawed.min(not_whole),
    };
    let left = found.saturating_sub(counts.attempted);
    stack(&[(share(in_sync), IN_SYNC), (share(pushed), PUSHED), (share(failed), FAILED), (share(left), LEFT)])
}

/// A bar of parts, in percent. A part that is not nothing can be seen.
pub(super) fn stack(parts: &[(f64, &str)]) -> String {
    let mut bar = "<table role=\"presentation\" class=\"bar\"><tbody><tr>".to_owned();
    let shown: Vec<_> = parts.iter().filter(|(width, _)| *width > 0.0).collect();
    let sum: f64 = shown.iter().map(|(width, _)| width.max(1.0)).sum();
    let scale = if sum > 100.0 { 100.0 / sum } else { 1.0 };
    for (width, colour) in &shown {
        let width = width.max(1.0) * scale;
        let _ = write!(bar, "<td style=\"background:{colour};width:{width:.1}%\">&nbsp;</td>");
    }
    if sum < 99.5 {
        bar.push_str("<td>&nbsp;</td>");
    }
    bar + "</tr></tbody></table>"
}

/// Text for an element or an attribute.
pub(super) fn escape(text: &str) -> String {
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
    use super::*;
    use crate::cause::Cause;

    /// The parts of a bar, in percent, by colour.
    fn parts(found: u64, counts: &Counts) -> Vec<(String, String)> {
        let bar = bar(found, counts);
        let parts = bar.split("background:").skip(1);
        parts
            .map(|part| {
                let (colour, rest) = part.split_once(";width:").unwrap();
                (colour.to_owned(), rest.split_once('%').unwrap().0.to_owned())
            })
            .collect()
    }

    fn named(parts: &[(&str, &str)]) -> Vec<(String, String)> {
        parts.iter().map(|&(colour, width)| (colour.to_owned(), width.to_owned())).collect()
    }

    #[test]
    fn nothing_that_failed_with_any_target_has_a_good_colour() {
        // Each got to one of its targets, and failed with the other.
        let mut counts = Counts { attempted: 100, pushed: 100, flawed: 100, ..Counts::default() };
        counts.fail_times(Cause::Unreachable, 100);
        assert_eq!(parts(100, &counts), named(&[(FAILED, "100.0")]));
        (counts.flawed, counts.in_sync, counts.pushed) = (25, 50, 40);
        assert_eq!(
            parts(200, &counts),
            named(&[(IN_SYNC, "25.0"), (PUSHED, "12.5"), (FAILED, "12.5"), (LEFT, "50.0")])
        );
    }

    #[test]
    fn a_device_on_which_nothing_succeeded_is_red() {
        let mut counts = Counts { attempted: 8, flawed: 8, ..Counts::default() };
        counts.fail_times(Cause::Local, 8);
        assert_eq!(parts(8, &counts), named(&[(FAILED, "100.0")]));
        // A report of an earlier version has no such count.
        counts.flawed = 0;
        assert_eq!(parts(8, &counts), named(&[(FAILED, "100.0")]));
    }

    #[test]
    fn a_failure_that_is_about_no_partition_is_seen_all_the_same() {
        let mut counts = Counts { attempted: 100, in_sync: 100, ..Counts::default() };
        counts.fail(Cause::Stuck);
        let parts = parts(100, &counts);
        assert!(parts.iter().any(|(colour, _)| colour == FAILED), "{parts:?}");
    }
}
