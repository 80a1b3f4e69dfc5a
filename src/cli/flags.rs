//! The options, and which of them go together.

use std::ffi::OsString;

use clap::Parser;

use super::Mode;

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
    /// Replicate only the devices with these names, separated by commas; needs --once or --dry-run
    #[arg(short, long)]
    pub(super) devices: Option<OsString>,

    /// Replicate only the partitions with these numbers, separated by commas; needs --once or --dry-run
    #[arg(short, long)]
    pub(super) partitions: Option<OsString>,

    /// Replicate only the policies with these indices, separated by commas; needs --once or --dry-run
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

    /// With --check, --dry-run or --status: print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Write a report of the pass to this file, whose name ends with .json or .html; needs --once
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) report: Option<OsString>,

    /// Exit with 3 if anything failed, and with 4 if the pass was not complete; needs --once
    #[arg(long)]
    pub(super) strict: bool,

    /// Show the version and exit
    #[arg(long)]
    pub(super) version: bool,

    /// CONFIG, and words
    #[arg(hide = true, value_hint = clap::ValueHint::AnyPath)]
    pub(super) words: Vec<OsString>,
}

impl Flags {
    /// What the program is to be.
    ///
    /// # Errors
    /// What is wrong, in a line, where options exclude each other or lack the one that they belong to.
    pub(super) fn mode(&self) -> Result<Mode, String> {
        let modes = [
            ("--check", self.check, Mode::Check { write: self.write }),
            ("--dry-run", self.dry_run, Mode::DryRun),
            ("--status", self.status, Mode::Status),
        ];
        let modes: Vec<_> = modes.into_iter().filter(|(_, is_set, _)| *is_set).collect();
        if self.json && modes.is_empty() {
            return Err("--json option requires --check, --dry-run or --status".to_owned());
        }
        if self.write && !self.check {
            return Err("--write option requires --check".to_owned());
        }
        let of_pass = [("--report", self.report.is_some()), ("--strict", self.strict)];
        let of_pass = of_pass.into_iter().filter_map(|(name, is_set)| (is_set && !modes.is_empty()).then_some(name));
        let exclusive: Vec<_> = modes.iter().map(|(name, ..)| *name).chain(of_pass).collect();
        match exclusive[..] {
            [one, other, ..] => Err(format!("{one} and {other} options exclude each other")),
            _ => Ok(modes.into_iter().next().map_or(Mode::Replicate, |(.., mode)| mode)),
        }
    }
}
