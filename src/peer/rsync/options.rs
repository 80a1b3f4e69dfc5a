//! How to push.

use std::time::Duration;

/// How to push.
#[derive(Clone, Debug)]
pub struct RsyncOptions {
    /// For one partition (`rsync_timeout`).
    pub timeout: Duration,
    /// Pasted into `--timeout` and `--contimeout` (`rsync_io_timeout`).
    pub io_timeout: String,
    /// Pasted into `--bwlimit` (`rsync_bwlimit`).
    pub bwlimit: String,
    /// Whether to compress what goes to another region (`rsync_compress`).
    pub compress: bool,
    /// The template of the targets' modules (`rsync_module`); empty for the default.
    pub module: String,
    /// The template of those that are there where a daemon has no module of the first one's name (`vm_test_mode`).
    pub fallback_module: Option<String>,
    /// Whether lines about single files are logged (`log_rsync_transfers`).
    pub log_transfers: bool,
    /// Where to cut the lines that hold rsync's arguments; 0 for nowhere (`rsync_error_log_line_length`).
    pub error_line_length: usize,
    /// Whether the sockets get `TCP_NODELAY` (`rsync_nodelay`): else every step of the handshake waits some 40 ms.
    pub nodelay: bool,
}
