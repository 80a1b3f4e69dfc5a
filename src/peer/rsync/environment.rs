//! What rsync finds in its environment.
//!
//! Operators tell rsync there how to reach a peer: `RSYNC_PASSWORD`, `RSYNC_CONNECT_PROG`, `RSYNC_PROXY` and so on. As
//! with the reference, rsync gets all of that. Only variables that would change what a push does, or what it prints,
//! are removed.

use std::ffi::OsStr;

/// The variables that rsync is started without.
const UNWANTED: [&str; 5] = [
    // `--iconv`: other names at the target.
    "RSYNC_ICONV",
    // `--partial-dir`: leaves cut files behind, in folders of their own.
    "RSYNC_PARTIAL_DIR",
    // How arguments get to the other side; ours hold nothing that needs care, and some daemons take only the usual way.
    "RSYNC_PROTECT_ARGS",
    "RSYNC_OLD_ARGS",
    // What files and attributes are checked with: `none`, or something weak, would let anything pass for the same.
    "RSYNC_CHECKSUM_LIST",
];

/// Whether a variable is one that rsync is started without.
pub(super) fn is_unwanted(variable: &OsStr) -> bool {
    UNWANTED.iter().any(|name| variable == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_a_peer_is_passed_on_and_what_changes_a_push_is_not() {
        for name in ["RSYNC_PASSWORD", "RSYNC_CONNECT_PROG", "RSYNC_PROXY", "RSYNC_RSH", "RSYNC_SHELL", "PATH", "HOME"]
        {
            assert!(!is_unwanted(OsStr::new(name)), "{name}");
        }
        for name in ["RSYNC_ICONV", "RSYNC_PARTIAL_DIR", "RSYNC_CHECKSUM_LIST"] {
            assert!(is_unwanted(OsStr::new(name)), "{name}");
        }
    }
}
