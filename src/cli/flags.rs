//! The options, and which of them go together.

use std::ffi::OsString;

use clap::Parser;

use super::Mode;

/// What somebody wants a daemon to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Pause,
    Resume,
    Set,
}

#[derive(Parser)]
#[command(
    name = super::PROGRAM,
    override_usage = "swift-object-replicator CONFIG [options]",
    help_template = "{usage-heading} {usage}\n\n{about}\n\nOptions:\n{options}",
    disable_version_flag = true,
    args_override_self = true
)]
/// Replicate the objects of this node's devices as the configuration file or folder CONFIG says.
pub(super) struct Flags {
    /// Replicate only the devices with these names, separated by commas; needs --once, --dry-run or --first. With --pause
    /// or --resume: these devices
    #[arg(short, long)]
    pub(super) devices: Option<OsString>,

    /// Replicate only the partitions with these numbers, separated by commas; needs --once, --dry-run or --first
    #[arg(short, long)]
    pub(super) partitions: Option<OsString>,

    /// Replicate only the policies with these indices, separated by commas; needs --once, --dry-run or --first
    #[arg(short = 'i', long)]
    pub(super) policies: Option<OsString>,

    /// Log to the console too
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Make one pass and exit
    #[arg(short, long)]
    pub(super) once: bool,

    /// Check configuration, rings, devices and peers, and exit with 0 (all is well), 1 (warnings) or 2 (errors)
    #[arg(long)]
    pub(super) check: bool,

    /// With --check: write a small file into every device of the peers, and remove it again
    #[arg(long)]
    pub(super) write: bool,

    /// Show what a replicator with this configuration is doing, and exit with 0 (it is well), 1 (it looks stuck) or 2 (it
    /// is not running)
    #[arg(long)]
    pub(super) status: bool,

    /// Show what a pass would do, without doing it; exit with 0, or 1 if anything could not be looked at
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Show how many hand-offs are left on this node's devices, how many are stuck and why, and for how long; exit with 0,
    /// or 2 if something cannot be told
    #[arg(long)]
    pub(super) rebalance: bool,

    /// With --rebalance: ask every node of the rings whether the next ring may be pushed; exit with 0 (yes), 1 (wait) or 2 (it
    /// cannot be told)
    #[arg(long)]
    pub(super) cluster: bool,

    /// Let a running daemon begin nothing more: on these devices (-d), to these peers (--to), or at all
    #[arg(long)]
    pub(super) pause: bool,

    /// Let a running daemon go on with what is paused: on these devices (-d), to these peers (--to), or with everything
    #[arg(long)]
    pub(super) resume: bool,

    /// Show the limits of a running daemon, or set those that are named behind CONFIG: concurrency=4 rsync_bwlimit=20000;
    /// NAME=default lets the configuration have its way again
    #[arg(long)]
    pub(super) set: bool,

    /// With --pause or --resume: these peers, separated by commas: 10.0.0.7, 10.0.0.7:6200 or 10.0.0.7/sdc. With --first:
    /// what goes to this peer
    #[arg(long, value_name = "PEERS")]
    pub(super) to: Option<OsString>,

    /// With --pause or --set: for so long, like 90s, 30m, 2h or 1d
    #[arg(long = "for", value_name = "TIME")]
    pub(super) for_time: Option<OsString>,

    /// With --pause, --resume, --set or --first: why, for those who will wonder
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<OsString>,

    /// With --pause or --set: also after a restart of the daemon
    #[arg(long)]
    pub(super) keep: bool,

    /// With --check, --dry-run, --rebalance, --status or an order to a daemon: print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Write a report of the pass to this file, whose name ends with .json or .html; needs --once
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) report: Option<OsString>,

    /// Exit with 3 if anything failed, and with 4 if the pass was not complete; needs --once
    #[arg(long)]
    pub(super) strict: bool,

    /// Let partitions go before all else: those of --partitions, --moved or --to; in the daemon that runs with this
    /// configuration, or else in a single pass over them alone, with the exit status of --strict
    #[arg(long)]
    pub(super) first: bool,

    /// With --first: what has moved since this was the ring, a file that is kept from before
    #[arg(long, value_name = "OLD.ring.gz", value_hint = clap::ValueHint::FilePath)]
    pub(super) moved: Option<OsString>,

    /// With --first: wait until each of them has been tried, and exit with 0, or 3 if any failed
    #[arg(long)]
    pub(super) wait: bool,

    /// Show the version and exit
    #[arg(long)]
    pub(super) version: bool,

    /// CONFIG, and words
    #[arg(hide = true, value_hint = clap::ValueHint::AnyPath)]
    pub(super) words: Vec<OsString>,
}

impl Flags {
    /// What a daemon is to be asked, if anything.
    pub(super) fn verb(&self) -> Option<Verb> {
        let verbs = [(self.pause, Verb::Pause), (self.resume, Verb::Resume), (self.set, Verb::Set)];
        verbs.into_iter().find(|(is_set, _)| *is_set).map(|(_, verb)| verb)
    }

    /// Whether the options of orders belong to one, and those of passes do not.
    fn check_orders(&self) -> Result<(), String> {
        let of_orders = [
            ("--to", self.to.is_some()),
            ("--for", self.for_time.is_some()),
            ("--reason", self.reason.is_some()),
            ("--keep", self.keep),
        ];
        let is_set = |(name, is_set): (&'static str, bool)| is_set.then_some(name);
        match (self.verb(), of_orders.into_iter().find_map(is_set)) {
            (None, _) if self.first => return Ok(()),
            (None, Some(name)) => return Err(format!("{name} option requires --pause, --resume, --set or --first")),
            (None, None) => return Ok(()),
            (Some(_), _) => {}
        }
        let of_passes = [
            ("--once", self.once),
            ("--partitions", self.partitions.is_some()),
            ("--policies", self.policies.is_some()),
        ];
        of_passes.into_iter().find_map(is_set).map_or(Ok(()), |name| {
            Err(format!("{name} has no meaning with --pause, --resume or --set, which are for a running daemon"))
        })
    }

    /// What the program is to be.
    ///
    /// # Errors
    /// What is wrong, in a line, where options exclude each other or lack the one that they belong to.
    pub(super) fn mode(&self) -> Result<Mode, String> {
        let modes = [
            ("--check", self.check, Mode::Check { write: self.write }),
            ("--dry-run", self.dry_run, Mode::DryRun),
            ("--rebalance", self.rebalance, Mode::Rebalance { all_nodes: self.cluster }),
            ("--pause", self.pause, Mode::Order),
            ("--resume", self.resume, Mode::Order),
            ("--set", self.set, Mode::Order),
            ("--first", self.first, Mode::First),
            ("--status", self.status, Mode::Status),
        ];
        let modes: Vec<_> = modes.into_iter().filter(|(_, is_set, _)| *is_set).collect();
        if self.json && modes.is_empty() {
            return Err(
                "--json option requires --check, --dry-run, --rebalance, --status, --pause, --resume, --set or --first"
                    .to_owned(),
            );
        }
        if self.write && !self.check {
            return Err("--write option requires --check".to_owned());
        }
        if self.cluster && !self.rebalance {
            return Err("--cluster option requires --rebalance".to_owned());
        }
        self.check_orders()?;
        let of_pass = [("--report", self.report.is_some()), ("--strict", self.strict)];
        let of_pass = of_pass.into_iter().filter_map(|(name, is_set)| (is_set && !modes.is_empty()).then_some(name));
        let exclusive: Vec<_> = modes.iter().map(|(name, ..)| *name).chain(of_pass).collect();
        match exclusive[..] {
            [one, other, ..] => Err(format!("{one} and {other} options exclude each other")),
            _ => Ok(modes.into_iter().next().map_or(Mode::Replicate, |(.., mode)| mode)),
        }
    }
}
