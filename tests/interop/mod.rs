//! Passes between real object servers and real rsync daemons, by the reference and by ours.

/// Makes two tests of each scenario: one with the reference's replicator, one with ours. Both must do the same.
macro_rules! both {
    ($($scenario:ident),+ $(,)?) => {
        mod reference {
            $(#[test] fn $scenario() { super::$scenario($crate::support::replicator::Which::Reference) })+
        }
        mod ours {
            $(#[test] fn $scenario() { super::$scenario($crate::support::replicator::Which::Ours) })+
        }
    };
}

mod claims;
mod drain;
mod dry_run;
mod first_tries;
mod junk;
mod live;
mod peers;
mod policies;
mod proof;
mod regions;
mod revert;
mod rsync;
mod same_pass;
mod served;
mod ssync;
mod ssync_neighbours;
mod ssync_pass;
mod startup;
mod target_reserve;
mod unmounted;
mod update;
mod walk;
