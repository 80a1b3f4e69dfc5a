//! The findings of a check, and the worst of them.

use serde::Serialize;

use crate::printable::printable;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// It works, but hardly as somebody wants it.
    Warning,
    /// Something will not be replicated, or worse.
    Error,
}

impl Verdict {
    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub verdict: Verdict,
    /// What was looked at: `device sdb1`.
    pub subject: String,
    /// What was found, in one line.
    pub text: String,
}

impl Finding {
    /// It is as it should be.
    pub(super) fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, subject, text)
    }

    /// It is worth a look.
    pub(super) fn warning(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, subject, text)
    }

    /// It does not work.
    pub(super) fn error(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Verdict::Error, subject, text)
    }

    fn new(verdict: Verdict, subject: impl Into<String>, text: impl Into<String>) -> Self {
        // A value of the configuration, the name of a device, or what a peer says, may have any characters.
        let line = |text: String| printable(&text).into_owned();
        Self { verdict, subject: line(subject.into()), text: line(text.into()) }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings(pub Vec<Finding>);

impl Findings {
    /// The worst verdict.
    pub(super) fn worst(&self) -> Verdict {
        self.0.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// How many findings have a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// 0: all is well; 1: there are warnings; 2: there are errors.
    pub(super) fn exit_code(&self) -> u8 {
        match self.worst() {
            Verdict::Ok => 0,
            Verdict::Warning => 1,
            Verdict::Error => 2,
        }
    }

    /// The findings for programs: an object with `verdict` (the worst), `warnings`, `errors` and `findings`; and with
    /// `error` if something could not be used at all, so that there was no more to find.
    pub(super) fn json(&self, unusable: Option<String>) -> String {
        let mut value = serde_json::json!({
            "verdict": self.worst(),
            "warnings": self.count(Verdict::Warning),
            "errors": self.count(Verdict::Error),
            "findings": self.0,
        });
        if let Some(error) = unusable {
            value["error"] = printable(&error).into();
        }
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let (ok, warning, error) = (Finding::ok("a", ""), Finding::warning("b", ""), Finding::error("c", ""));
        let code = |findings: &[&Finding]| Findings(findings.iter().map(|&f| f.clone()).collect()).exit_code();
        assert_eq!((code(&[]), code(&[&ok]), code(&[&warning, &ok]), code(&[&ok, &error, &warning])), (0, 0, 1, 2));
    }

    #[test]
    fn programs_get_every_finding_and_the_counts() {
        let findings = Findings(vec![
            Finding::ok("device sda\u{202e}", "fine"),
            Finding::warning("rsync", "old\nand \u{1b}[1m bold"),
        ]);
        let json: serde_json::Value = serde_json::from_str(&findings.json(None)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "verdict": "warning",
                "warnings": 1,
                "errors": 0,
                "findings": [
                    {"verdict": "ok", "subject": "device sda#342#200#256", "text": "fine"},
                    {"verdict": "warning", "subject": "rsync", "text": "old#012and #033[1m bold"},
                ],
            })
        );
        let json: serde_json::Value = serde_json::from_str(&Findings::default().json(Some("no\nfile".into()))).unwrap();
        assert_eq!(json["error"], "no#012file");
    }
}
