//! What all pushes by SSYNC have in common.

use std::sync::Arc;
use std::time::Duration;

use super::broken_off::BrokenOff;
use super::failure::Limits;
use super::push::SsyncOptions;
use super::suspects::Suspects;
use crate::peer::outage::Outages;

/// Pushes objects; to be shared by all threads.
#[derive(Clone, Debug)]
pub struct Sender {
    pub(super) options: SsyncOptions,
    pub(super) limits: Limits,
    pub(super) outages: Arc<Outages>,
    pub(super) suspects: Arc<Suspects>,
    pub(super) broken_off: Arc<BrokenOff>,
}

impl Sender {
    /// A sender.
    pub fn new(options: SsyncOptions) -> Self {
        let limits = Limits { conn: options.conn_timeout, node: options.node_timeout, http: options.http_timeout };
        let (outages, suspects) = (Arc::new(Outages::of("SSYNC of ")), Arc::default());
        Self { options, limits, outages, suspects, broken_off: Arc::default() }
    }

    /// Which receivers do not answer; whoever pushes need not ask here.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// After so long at most a push is over that comes to nothing: to a receiver that does not answer, or that takes the
    /// request and then says nothing of use. One that gets on takes as long as there is something to send.
    pub fn longest_silence(&self) -> Duration {
        let Limits { conn, node, http } = self.limits;
        conn.saturating_add(node).saturating_add(http)
    }
}
