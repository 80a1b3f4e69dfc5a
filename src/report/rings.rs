//! The rings by which a process replicates, as the status has them.

use serde::{Deserialize, Serialize};

use super::units::{duration, utc};

/// A policy's ring. Times are Unix times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RingStatus {
    /// The policy's number.
    pub policy: u32,
    /// Its name.
    pub name: String,
    /// Of the file that the ring in force was read from, as `swift-recon --md5` has it; nothing, if none is in force.
    pub md5: Option<String>,
    /// The builder's count of changes, if the file has it.
    pub version: Option<u64>,
    /// When that file was last modified.
    pub modified: Option<f64>,
    /// Since when the process goes by it.
    pub since: Option<f64>,
    /// Its part power is about to change, so that the policy is not replicated.
    pub is_part_power_changing: bool,
    /// When the file was last looked at.
    pub looked: Option<f64>,
    /// Why it could not be read then, if so.
    pub trouble: Option<String>,
    /// Since when it cannot.
    pub trouble_since: Option<f64>,
}

impl RingStatus {
    /// What is wrong, and what comes of it, if anything is; `now` is the time of the status.
    pub(crate) fn complaint(&self, now: f64) -> Option<String> {
        let error = self.trouble.as_ref()?;
        let since = self.trouble_since.map_or_else(String::new, |since| format!(" for {}", duration(now - since)));
        let what = match self.md5 {
            Some(_) => "goes on with the ring that it had, and removes no hand-off",
            None => "is not replicated",
        };
        Some(format!("policy {} ({}) {what}, since its ring cannot be read{since}: {error}", self.policy, self.name))
    }

    /// The ring in force, for people.
    pub(crate) fn line(&self, now: f64) -> String {
        let mut pieces = Vec::new();
        match &self.md5 {
            None => pieces.push("none is in force".to_owned()),
            Some(md5) => {
                pieces.extend(self.version.map(|version| format!("version {version}")));
                pieces.extend(self.modified.map(|modified| format!("written {}", utc(modified))));
                pieces.extend(self.since.map(|since| format!("in force since {}", utc(since))));
                pieces.push(format!("MD5 {md5}"));
            }
        }
        if self.is_part_power_changing {
            pieces.push("its part power is about to change, so the policy is not replicated".to_owned());
        }
        match (self.looked, &self.trouble) {
            (Some(looked), None) => pieces.push(format!("the file was looked at {} ago", duration(now - looked))),
            (Some(looked), Some(_)) => {
                pieces.push(format!("the file COULD NOT BE READ {} ago", duration(now - looked)));
            }
            (None, _) => {}
        }
        format!("policy {} ({}): {}", self.policy, self.name, pieces.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_800_001_000.0;

    fn ring() -> RingStatus {
        RingStatus {
            policy: 1,
            name: "gold".into(),
            md5: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
            version: Some(7),
            modified: Some(NOW - 1000.0),
            since: Some(NOW - 400.0),
            looked: Some(NOW - 12.0),
            ..RingStatus::default()
        }
    }

    #[test]
    fn a_ring_in_force_says_which_it_is_and_since_when() {
        let ring = ring();
        assert_eq!(ring.complaint(NOW), None);
        assert_eq!(
            ring.line(NOW),
            "policy 1 (gold): version 7, written 2027-01-15 08:00:00 UTC, in force since 2027-01-15 08:10:00 UTC, MD5 \
             d41d8cd98f00b204e9800998ecf8427e, the file was looked at 12s ago"
        );
    }

    #[test]
    fn one_that_cannot_be_read_says_why_and_what_comes_of_it() {
        let trouble = (Some("cannot load ring x: No such file".to_owned()), Some(NOW - 90.0));
        let mut ring = RingStatus { trouble: trouble.0, trouble_since: trouble.1, ..ring() };
        assert_eq!(
            ring.complaint(NOW).unwrap(),
            "policy 1 (gold) goes on with the ring that it had, and removes no hand-off, since its ring cannot be read \
             for 1m 30s: cannot load ring x: No such file"
        );
        assert!(ring.line(NOW).ends_with(", the file COULD NOT BE READ 12s ago"), "{}", ring.line(NOW));
        ring.md5 = None;
        assert!(ring.complaint(NOW).unwrap().starts_with("policy 1 (gold) is not replicated, since"));
        assert_eq!(ring.line(NOW), "policy 1 (gold): none is in force, the file COULD NOT BE READ 12s ago");
    }
}
