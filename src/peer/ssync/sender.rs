//! What all pushes by SSYNC have in common.

use std::sync::Arc;
use std::time::Duration;

use super::broken_off::BrokenOff;
use super::failure::TalkLimits;
use super::suspects::Suspects;
use crate::config::settings::SsyncSettings;
use crate::format::object::Salts;
use crate::peer::outage::Outages;

/// Pushes objects; to be shared by all threads.
#[derive(Clone, Debug)]
pub struct Sender {
    pub(super) settings: SsyncSettings,
    /// How long tombstones are kept.
    pub(super) reclaim_age: Duration,
    /// What is hashed along with the names of objects.
    pub(super) salts: Salts,
    pub(super) limits: TalkLimits,
    pub(super) outages: Arc<Outages>,
    pub(super) suspects: Arc<Suspects>,
    pub(super) broken_off: Arc<BrokenOff>,
}

impl Sender {
    /// A sender.
    pub fn new(settings: &SsyncSettings, reclaim_age: Duration, salts: Salts) -> Self {
        let settings = settings.clone();
        let limits =
            TalkLimits { conn: settings.conn_timeout, node: settings.node_timeout, http: settings.http_timeout };
        let (outages, suspects) = (Arc::new(Outages::of("SSYNC of ")), Arc::default());
        Self { settings, reclaim_age, salts, limits, outages, suspects, broken_off: Arc::default() }
    }

    /// Which receivers do not answer; whoever pushes need not ask here.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// After so long at most a push is over that comes to nothing: to a receiver that does not answer, or that takes the
    /// request and then says nothing of use. One that gets on takes as long as there is something to send.
    pub fn longest_silence(&self) -> Duration {
        let TalkLimits { conn, node, http } = self.limits;
        conn.saturating_add(node).saturating_add(http)
    }
}
