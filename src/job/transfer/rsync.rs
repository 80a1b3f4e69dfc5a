//! Transfer by rsync: push, tell the node about it, and for hand-offs have it proven that all arrived.

use std::time::Instant;

use log::error;

use super::proof;
use super::push::{Reason, push};
use crate::cause::Cause;
use crate::job::outcome::{Arrival, Delivery, HandedOver, Pushed};
use crate::job::slot::Step;
use crate::job::work::{Offer, Transfer, Work};
use crate::peer::node_string;
use crate::peer::rsync::PartSuffixes;
use crate::ring::Device;

/// This way.
pub(crate) struct ByRsync;

impl Transfer for ByRsync {
    fn takes_lists(&self) -> bool {
        true
    }

    fn leaves_out_irregular(&self) -> bool {
        true
    }

    fn is_to_be_told(&self) -> bool {
        true
    }

    fn update(&self, work: &mut Work<'_>, node: &Device, parts: &[PartSuffixes]) -> Vec<Pushed> {
        push(work, Reason::Update, node, parts)
    }

    fn hand_over(&self, work: &mut Work<'_>, node: &Device, offers: &[Offer<'_>]) -> HandedOver {
        let begun = Instant::now();
        let parts: Vec<_> = offers.iter().map(|offer| offer.part.clone()).collect();
        let pushed = push(work, Reason::Revert, node, &parts);
        if let Some(suspect) = pushed.iter().find_map(|pushed| pushed.suspect_of_slow()) {
            return HandedOver::TakesLong { suspect };
        }
        let told: Vec<_> = parts.iter().zip(&pushed).map(|(part, pushed)| tell_of(work, node, part, pushed)).collect();
        let to_be_there = parts.iter().zip(&told).filter(|(_, told)| told.is_ok()).map(|(part, _)| part);
        let mut proven = proof::prove(work, node, &to_be_there.collect::<Vec<_>>(), begun).into_iter();
        let delivery = |told| match told {
            Ok(arrival) if proven.next() == Some(true) => Delivery::Held(arrival),
            Ok(_) => Delivery::Failed(Some(Cause::Verify)),
            Err(cause) => Delivery::Failed(cause),
        };
        HandedOver::Each(told.into_iter().map(delivery).collect())
    }

    fn is_served(&self, work: &Work<'_>, node: &Device, part: &PartSuffixes) -> bool {
        proof::is_served(work, node, part, proof::Known::Pushed)
    }
}

/// Tells the node what it got of a partition; only an answer of 200 lets it go on. Gives whether the node has it on
/// its disk.
fn tell_of(work: &Work<'_>, node: &Device, part: &PartSuffixes, pushed: &Pushed) -> Result<Arrival, Option<Cause>> {
    let Pushed::Yes(arrival) = *pushed else { return Err(pushed.cause()) };
    work.step_with(node, part.partition, Step::Telling);
    match work.tools.client.rehash(node, work.view.policy.index, part.partition, &part.suffixes) {
        Ok(200) => Ok(arrival),
        Ok(status) => {
            error!("Invalid response {status} from {}", node_string(node));
            Err(Some(Cause::BadAnswer))
        }
        Err(error) => {
            error!("Error syncing handoff partition: {error}");
            Err(Some(error.cause()))
        }
    }
}
