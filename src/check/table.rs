//! Findings for people: a line per finding, or several where the terminal is narrow.

use std::fmt::Write as _;

use super::finding::{Findings, Verdict};

/// Subjects longer than this do not push the texts of all others to the right.
const MAX_SUBJECT: usize = 32;
/// Texts are not squeezed into less; then they stand below their subjects.
const MIN_TEXT: usize = 30;
const INDENT: usize = 2;
/// Between columns.
const GAP: usize = 2;

/// The findings as a table and, below it, how many are bad. `width` is the terminal's; without one no line is broken, for
/// programs like grep.
pub(super) fn render(findings: &Findings, width: Option<usize>, colours: bool) -> String {
    let mut out = String::new();
    let verdicts = Verdict::Warning.word().len() + GAP;
    let subjects = findings.0.iter().map(|finding| length(&finding.subject).min(MAX_SUBJECT)).max().unwrap_or(0) + GAP;
    for finding in &findings.0 {
        let verdict = paint(finding.verdict, colours);
        let padding = " ".repeat(verdicts - finding.verdict.word().len());
        // A subject that is longer than its column keeps a gap behind it.
        let subject = subjects.max(length(&finding.subject) + GAP);
        let head = format!("{verdict}{padding}{:<subject$}", finding.subject);
        match width {
            None => line(&mut out, &format!("{head}{}", finding.text)),
            Some(width) => {
                let column = verdicts + subject;
                if column + MIN_TEXT <= width {
                    hang(&mut out, &head, &finding.text, column, width);
                } else {
                    hang(&mut out, &format!("{verdict} "), &finding.subject, finding.verdict.word().len() + 1, width);
                    hang(&mut out, &" ".repeat(INDENT), &finding.text, INDENT, width);
                }
            }
        }
    }
    hang(&mut out, "", &summary(findings), 0, width.unwrap_or(usize::MAX));
    out
}

fn summary(findings: &Findings) -> String {
    let count = |verdict, one: &str, many: &str| match findings.count(verdict) {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    format!("{}, {}", count(Verdict::Error, "error", "errors"), count(Verdict::Warning, "warning", "warnings"))
}

fn paint(verdict: Verdict, colours: bool) -> String {
    let colour = match verdict {
        _ if !colours => return verdict.word().to_owned(),
        Verdict::Ok => 32,
        Verdict::Warning => 33,
        Verdict::Error => 31,
    };
    format!("\x1b[{colour}m{}\x1b[0m", verdict.word())
}

/// Appends the text behind `head`, broken at spaces, its further lines below its first one.
fn hang(out: &mut String, head: &str, text: &str, column: usize, width: usize) {
    let room = width.saturating_sub(column).max(1);
    let mut head = head.to_owned();
    for part in wrap(text, room) {
        line(out, &format!("{head}{part}"));
        head = " ".repeat(column);
    }
}

/// The text in pieces of at most `room` characters, broken at spaces where there are any.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() || length(last) + 1 + length(word) <= room {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        while length(lines.last().expect("there is always one")) > room {
            let long = lines.pop().expect("there is always one");
            let cut = long.char_indices().nth(room).map_or(long.len(), |(at, _)| at);
            lines.push(long[..cut].to_owned());
            lines.push(long[cut..].to_owned());
        }
    }
    lines
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Finding;
    use super::*;

    fn findings() -> Findings {
        Findings(vec![
            Finding::ok("device sdb1", "mounted and writable, 43% full"),
            Finding::error("peer 10.0.0.2:6200", "Connection refused"),
        ])
    }

    #[test]
    fn without_a_terminal_each_finding_is_one_line() {
        assert_eq!(
            render(&findings(), None, false),
            "ok       device sdb1         mounted and writable, 43% full\n\
             error    peer 10.0.0.2:6200  Connection refused\n\
             1 error, 0 warnings\n"
        );
    }

    #[test]
    fn a_long_subject_keeps_a_gap_behind_it() {
        let subject = "module storage-node-number-17.example.invalid::object_sda";
        let findings = Findings(vec![Finding::ok("rsync", "fine"), Finding::error(subject, "no address")]);
        let table = render(&findings, None, false);
        assert!(table.contains(&format!("error    {subject}  no address\n")), "{table}");
        let table = render(&findings, Some(120), false);
        assert!(table.contains(&format!("error    {subject}  no address\n")), "{table}");
    }

    #[test]
    fn a_wide_terminal_breaks_texts_below_each_other() {
        let mut findings = findings();
        findings.0[0].text = "the quick brown fox jumps over the lazy dog".to_owned();
        assert_eq!(
            render(&findings, Some(62), false),
            "ok       device sdb1         the quick brown fox jumps over\n\
             \x20                            the lazy dog\n\
             error    peer 10.0.0.2:6200  Connection refused\n\
             1 error, 0 warnings\n"
        );
    }

    #[test]
    fn a_terminal_of_20_columns_is_never_exceeded() {
        let mut findings = findings();
        findings.0[0].text = "/srv/node/sdb1/objects/1234567890/abc is unreadable".to_owned();
        let table = render(&findings, Some(20), false);
        assert_eq!(
            table,
            "ok device sdb1\n  /srv/node/sdb1/obj\n  ects/1234567890/ab\n  c is unreadable\n\
             error peer\n      10.0.0.2:6200\n  Connection refused\n1 error, 0 warnings\n"
        );
    }

    #[test]
    fn verdicts_have_colours_that_take_no_room() {
        let table = render(&findings(), None, true);
        assert!(table.starts_with("\x1b[32mok\x1b[0m       device sdb1"), "{table:?}");
    }
}
