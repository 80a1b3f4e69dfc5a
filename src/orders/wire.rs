//! What goes over the control socket: one request, one answer, each a line of JSON. `docs/control.md` describes both.
//!
//! A daemon says no to what it does not know, so a newer command is not misunderstood by an older daemon. Of an answer
//! everything has a default, so that any command reads those of any daemon.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::first::FirstShown;
use super::limits::LimitInForce;
use super::pauses::Pause;

/// The socket's name, in the folder of the recon cache.
pub(crate) const SOCKET: &str = "object-replicator.sock";
/// The most bytes of a socket's path: what `sun_path` holds, but for the NUL at its end.
const LONGEST_PATH: usize = 107;

/// What is wrong with the path of a socket, if it is too long for one.
pub(crate) fn socket_path_is_too_long(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    (length > LONGEST_PATH).then(|| {
        format!(
            "the path {} has {length} bytes, and that of a socket may have {LONGEST_PATH}: choose a shorter \
             recon_cache_path",
            path.display()
        )
    })
}

/// The most bytes of a request, without the end of its line.
pub(crate) const LONGEST_REQUEST: usize = 1 << 20;
/// The most bytes of an answer.
pub(crate) const LONGEST_ANSWER: u64 = 16 << 20;
/// The most characters of a reason.
pub(crate) const LONGEST_REASON: usize = 500;

/// What is asked of a daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What is in force?
    Show {},
    /// Begin nothing more on these; on nothing at all if none is named.
    Pause {
        #[serde(default)]
        devices: Vec<String>,
        /// Like `10.0.0.7:6200/sdc`.
        #[serde(default)]
        peers: Vec<String>,
        #[serde(default)]
        terms: Terms,
    },
    /// End the pauses of these; all if none is named.
    Resume {
        #[serde(default)]
        devices: Vec<String>,
        #[serde(default)]
        peers: Vec<String>,
        #[serde(default)]
        terms: Terms,
    },
    /// Let partitions go first: these, what has moved since a ring, or what goes to a peer.
    First {
        #[serde(default)]
        partitions: Option<Vec<u64>>,
        /// The path of the former ring.
        #[serde(default)]
        moved: Option<String>,
        /// Like `10.0.0.7:6200/sdc`.
        #[serde(default)]
        to: Option<String>,
        /// Of these devices only.
        #[serde(default)]
        devices: Option<Vec<String>>,
        /// Of these policies only.
        #[serde(default)]
        policies: Option<Vec<u64>>,
        #[serde(default)]
        terms: Terms,
    },
    /// How far is the order of what goes first that has this number?
    FirstState { number: u64 },
    /// Set limits, each like `concurrency=4` or `concurrency=default`.
    Set {
        limits: Vec<String>,
        #[serde(default)]
        terms: Terms,
    },
}

/// The terms of an order, as somebody asks for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Terms {
    /// For how long, in seconds; `None`: until somebody orders otherwise.
    pub seconds: Option<f64>,
    pub reason: Option<String>,
    /// Whether it outlives the daemon.
    pub keep: bool,
    /// Who is behind the user, as `sudo` says; only what root says is believed.
    pub behind: Option<String>,
}

/// What a daemon answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Of the daemon.
    pub pid: u32,
    /// Of the daemon's program.
    pub version: String,
    /// Why it does not do what was asked, if so.
    pub error: Option<String>,
    /// What it did, and what the asker should know, in a line each.
    pub lines: Vec<String>,
    /// What is in force now.
    pub orders: Shown,
    /// The order that was given, or asked about, of what goes first.
    pub first: Option<FirstShown>,
}

/// All orders, and limits, that are in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shown {
    pub pauses: Vec<Pause>,
    pub limits: Vec<LimitInForce>,
    /// The option, as it is in force.
    pub quiet_hours: Option<String>,
    /// What goes before all else.
    pub first: Vec<FirstShown>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_that_says_no_more_than_is_known() {
        let request = Request::Pause { devices: vec!["sdb".into()], peers: Vec::new(), terms: Terms::default() };
        let line = serde_json::to_string(&request).unwrap();
        assert!(line.starts_with(r#"{"verb":"pause","devices":["sdb"]"#) && !line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        let short: Request = serde_json::from_str(r#"{"verb":"resume"}"#).unwrap();
        assert_eq!(short, Request::Resume { devices: Vec::new(), peers: Vec::new(), terms: Terms::default() });
        for junk in [
            "",
            "{}",
            r#"{"verb":"dance"}"#,
            r#"{"verb":"show","and":"more"}"#,
            r#"{"verb":"pause","terms":{"until":"noon"}}"#,
            r#"{"verb":"set"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_understood() {
        let answer: Answer = serde_json::from_str(r#"{"pid":7,"news":[1],"orders":{"later":3}}"#).unwrap();
        assert_eq!(answer, Answer { pid: 7, ..Answer::default() });
    }
}
