//! The command line (B1.1-B1.7).
//!
//! The options are defined with clap, which also makes the help. But the reference reads its command line with Python's
//! optparse, and scripts and `swift-init` rely on the habits of that. So `optparse` goes over the words first and gives
//! clap the full names.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};
use thiserror::Error;

use crate::config::value;
use crate::job::scope::Overrides;
use crate::orders::wire::Request;
use crate::printable::{printable, printable_bytes};
pub(crate) use first::FirstArguments;
use flags::Flags;
use paths::absolute;

mod first;
mod flags;
mod optparse;
mod orders;
mod paths;

/// Words behind CONFIG that are no mistake: options by their other name, of which all but two mean nothing here (B1.4).
const WORDS: [&str; 5] = ["once", "verbose", "devices", "partitions", "policies"];

/// The program's name, whatever it was started as.
pub const PROGRAM: &str = "swift-object-replicator";

/// What the program is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The replicator.
    Replicate,
    /// A check of everything; `write`: also by writing, whether peers can be written to.
    Check { write: bool },
    /// A look at the status of other processes.
    Status,
    /// A pass that only shows what it would do.
    DryRun,
    /// A look at the hand-offs that are left on this node, or on all of the rings' nodes.
    Rebalance { all_nodes: bool },
    /// An order to a running daemon.
    Order,
    /// An order to let partitions go first, or where nobody is to be ordered, a single pass over them.
    First,
}

/// What the command line asks for.
#[derive(Debug)]
pub struct Arguments {
    /// The configuration file or folder; an absolute path.
    pub config: PathBuf,
    /// One pass was asked for here; the configuration may ask for it as well (B1.7).
    pub once: bool,
    /// Log to the console too.
    pub verbose: bool,
    /// What to be.
    pub mode: Mode,
    /// Print JSON.
    pub json: bool,
    /// Where the report of a single pass goes.
    pub report: Option<ReportFile>,
    /// Tell by the exit code how a single pass went.
    pub strict: bool,
    /// What a running daemon is asked.
    pub(crate) request: Option<Request>,
    /// What is to go first.
    pub(crate) first: Option<FirstArguments>,
    devices: Option<OsString>,
    partitions: Option<OsString>,
    policies: Option<OsString>,
    /// Words behind CONFIG that mean nothing.
    unknown_words: Vec<OsString>,
}

/// A report's file, an absolute path, by the form that its name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportFile {
    Json(PathBuf),
    Html(PathBuf),
}

impl ReportFile {
    fn new(name: &OsStr) -> Result<Self, String> {
        let path = absolute(name)?;
        match path.extension().and_then(OsStr::to_str) {
            Some("json") => Ok(Self::Json(path)),
            Some("html") => Ok(Self::Html(path)),
            _ => Err(format!("--report: {} ends neither with .json nor with .html", name.display())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Json(path) | Self::Html(path) => path,
        }
    }
}

/// A list of numbers in which something is no whole number.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("option {option}: {value:?} is not a whole number")]
pub struct BadList {
    option: &'static str,
    value: String,
}

/// What a process that cannot go on leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    /// To print as it is.
    pub text: String,
    pub stream: Stream,
    pub exit_code: u8,
}

impl Exit {
    /// A line on stderr that says why, whatever the names in it are made of.
    pub fn failure(why: impl fmt::Display, exit_code: u8) -> Self {
        Self { text: format!("{}\n", printable(&why.to_string())), stream: Stream::Stderr, exit_code }
    }

    /// The same for a tool that prints JSON if it is asked to: then an object on stdout, which says why under "error".
    pub fn tool_failure(why: impl fmt::Display, exit_code: u8, json: bool) -> Self {
        if !json {
            return Self::failure(why, exit_code);
        }
        let object = serde_json::json!({ "error": printable(&why.to_string()) });
        Self { text: format!("{object:#}\n"), stream: Stream::Stdout, exit_code }
    }
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Understands the words after the program's name.
///
/// # Errors
/// [`Exit`] if help or the version was asked for, the words are wrong, or the configuration does not exist: what to
/// print, on which stream, and the exit code (B1.3, B1.10).
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, Exit> {
    let mut command = command();
    let words = optparse::full_names(&command, words).map_err(|end| match end {
        optparse::End::Help => Exit { text: command.render_help().to_string(), stream: Stream::Stdout, exit_code: 0 },
        optparse::End::Error(error) => misuse(&mut command, &error.to_string()),
    })?;
    let matches = command.try_get_matches_from_mut(words);
    let flags = matches.and_then(|mut matches| Flags::from_arg_matches_mut(&mut matches)).map_err(unexpected)?;
    if flags.version {
        let text = format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"));
        return Err(Exit { text, stream: Stream::Stdout, exit_code: 0 });
    }
    let mode = flags.mode().map_err(|error| misuse(&mut command, &error))?;
    let first = first::arguments(&flags).map_err(|error| misuse(&mut command, &error))?;
    let report = flags.report.as_deref().map(ReportFile::new).transpose();
    let report = report.map_err(|error| misuse(&mut command, &error))?;
    // The code of a check that went wrong is 2, whatever went wrong.
    let json = flags.json;
    let exit_code = match mode {
        Mode::Check { .. } | Mode::Status | Mode::Rebalance { .. } | Mode::Order | Mode::First => 2,
        Mode::Replicate | Mode::DryRun => 1,
    };
    let behind_config = flags.words.get(1..).unwrap_or_default();
    let request = flags.verb().map(|verb| orders::request(verb, &flags, behind_config)).transpose();
    let request = request.map_err(|error| misuse(&mut command, &error))?;
    arguments(flags, mode, report, (request, first)).map_err(|error| {
        if json {
            return Exit::tool_failure(error, exit_code, json);
        }
        let text = format!("{}Error: {}\n", usage(&mut command), printable(&error));
        Exit { text, stream: Stream::Stdout, exit_code }
    })
}

fn misuse(command: &mut clap::Command, error: &str) -> Exit {
    let text = format!("{}{PROGRAM}: error: {}\n", usage(command), printable(error));
    Exit { text, stream: Stream::Stderr, exit_code: 2 }
}

/// The command line's definition, for what is made from it.
pub fn command() -> clap::Command {
    let mut command = Flags::command();
    command.build();
    command
}

fn usage(command: &mut clap::Command) -> String {
    format!("{}\n\n", command.render_usage())
}

/// For what clap refuses although the words have been gone over.
fn unexpected(error: clap::Error) -> Exit {
    let text: String = error.to_string().lines().map(|line| format!("{}\n", printable(line))).collect();
    Exit { text, stream: Stream::Stderr, exit_code: 2 }
}

fn arguments(
    flags: Flags,
    mode: Mode,
    report: Option<ReportFile>,
    (request, first): (Option<Request>, Option<FirstArguments>),
) -> Result<Arguments, String> {
    let (config, words) = flags.words.split_first().ok_or("missing config path argument")?;
    let config = absolute(config)?;
    // A tool that prints JSON says so itself, in its own form.
    if !flags.json && !config.exists() {
        return Err(format!("unable to locate {}", printable_bytes(config.as_os_str().as_bytes())));
    }
    // swift-init says these instead of the options; all other words are ignored (B1.4).
    let said = |word| words.iter().any(|w| w == word);
    Ok(Arguments {
        config,
        once: flags.once || said("once") || first.is_some(),
        verbose: flags.verbose || said("verbose"),
        mode,
        json: flags.json,
        report,
        strict: flags.strict || first.is_some(),
        request,
        first,
        devices: flags.devices,
        partitions: flags.partitions,
        policies: flags.policies,
        unknown_words: words.iter().filter(|word| !WORDS.iter().any(|known| word == known)).cloned().collect(),
    })
}

impl Arguments {
    /// What of the command line has no effect, in a line each; `once` is whether there is a single pass.
    pub fn ignored(&self, once: bool) -> Vec<String> {
        let restrictions =
            [("--devices", &self.devices), ("--partitions", &self.partitions), ("--policies", &self.policies)];
        let restrictions = restrictions.into_iter().filter(|(_, value)| !once && value.is_some());
        let restrictions = restrictions.map(|(name, _)| format!("Option {name} is ignored: it needs --once"));
        let words = self.unknown_words.iter().map(|word| {
            let word = printable_bytes(word.as_bytes());
            format!("The word '{word}' behind the configuration means nothing and is ignored; those known are once and verbose")
        });
        restrictions.chain(words).collect()
    }

    /// What a single pass is restricted to; a pass of many is not (B1.5, B1.6).
    ///
    /// # Errors
    /// [`BadList`] if a partition or policy is not a number.
    pub fn overrides(&self) -> Result<Overrides, BadList> {
        let mut negative = Vec::new();
        Ok(Overrides {
            devices: list(&self.devices),
            partitions: numbers("--partitions", &self.partitions, &mut negative)?,
            policies: numbers("--policies", &self.policies, &mut negative)?,
            negative,
            choice: None,
        })
    }
}

/// The parts of a comma-separated list; a list without any restricts nothing.
fn list(option: &Option<OsString>) -> Option<Vec<String>> {
    let text = option.as_ref()?.to_string_lossy();
    let parts: Vec<String> = value::list(&text).map(str::to_owned).collect();
    (!parts.is_empty()).then_some(parts)
}

/// Negative numbers are numbers, but those of no partition or policy: they restrict the pass to nothing.
fn numbers(
    name: &'static str,
    option: &Option<OsString>,
    negative: &mut Vec<(&'static str, i64)>,
) -> Result<Option<Vec<u64>>, BadList> {
    let Some(parts) = list(option) else {
        return Ok(None);
    };
    let mut numbers = Vec::new();
    for part in parts {
        let Ok(number) = value::integer(&part) else {
            return Err(BadList { option: name, value: part });
        };
        match u64::try_from(number) {
            Ok(number) => numbers.push(number),
            Err(_) => negative.push((name, number)),
        }
    }
    Ok(Some(numbers))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse_words(words: &[&str]) -> Result<Arguments, Exit> {
        parse(words.iter().map(OsString::from))
    }

    /// The options of words that stand behind a configuration that exists.
    fn overrides(words: &[&str]) -> Overrides {
        parse_words(&[&["/"], words].concat()).unwrap().overrides().unwrap()
    }

    /// The names of all options: short, if there is one, and long.
    fn options() -> Vec<(Option<char>, String)> {
        let command = command();
        let named = |arg: &clap::Arg| Some((arg.get_short(), arg.get_long()?.to_owned()));
        command.get_arguments().filter_map(named).collect()
    }

    #[test]
    fn options_and_words_may_stand_anywhere() {
        let arguments = parse_words(&["-v", "/", "--once"]).unwrap();
        assert!(arguments.once && arguments.verbose);
        let arguments = parse_words(&["/", "once", "devices", "whatever", "verbose"]).unwrap();
        assert!(arguments.once && arguments.verbose);
        let arguments = parse_words(&["/"]).unwrap();
        assert!(!arguments.once && !arguments.verbose);
    }

    #[test]
    fn a_check_may_print_json_and_ends_with_2_without_a_configuration() {
        let arguments = parse_words(&["/", "--check", "--json"]).unwrap();
        assert!(arguments.mode == Mode::Check { write: false } && arguments.json);
        let stop = parse_words(&["/", "--json"]).unwrap_err();
        assert_eq!((stop.stream, stop.exit_code), (Stream::Stderr, 2));
        assert!(
            stop.text.ends_with(
                "error: --json option requires --check, --dry-run, --rebalance, --status, --pause, --resume, --set or \
                 --first\n"
            ),
            "{}",
            stop.text
        );
        assert_eq!(parse_words(&["/no/such/file", "--check"]).unwrap_err().exit_code, 2);
    }

    #[test]
    fn a_report_has_the_form_that_its_name_asks_for() {
        let report = |name: &str| parse_words(&["/", "--report", name]).map(|arguments| arguments.report);
        assert_eq!(report("/a/../b/r.json").unwrap(), Some(ReportFile::Json("/b/r.json".into())));
        let here = std::env::current_dir().unwrap();
        assert_eq!(report("r.html").unwrap(), Some(ReportFile::Html(here.join("r.html"))));
        for name in ["/r", "/r.txt", "/.json", ""] {
            let stop = report(name).unwrap_err();
            assert_eq!((stop.stream, stop.exit_code), (Stream::Stderr, 2));
            let expected = format!("error: --report: {name} ends neither with .json nor with .html\n");
            assert!(stop.text.ends_with(&expected), "{}", stop.text);
        }
    }

    #[test]
    fn a_dry_run_may_print_json_and_is_no_check() {
        let arguments = parse_words(&["/", "--dry-run", "--json", "-d", "sda"]).unwrap();
        assert!(arguments.mode == Mode::DryRun && arguments.json);
        let stop = parse_words(&["/", "--dry", "--check"]).unwrap_err();
        assert!(stop.text.ends_with("error: --check and --dry-run options exclude each other\n"), "{}", stop.text);
        let stop = parse_words(&["/", "--status", "--strict"]).unwrap_err();
        assert!(stop.text.ends_with("error: --status and --strict options exclude each other\n"), "{}", stop.text);
    }

    #[test]
    fn the_version_is_told_without_a_configuration_and_takes_no_abbreviation_away() {
        let stop = parse_words(&["--version"]).unwrap_err();
        let text = format!("swift-object-replicator {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(stop, Exit { text, stream: Stream::Stdout, exit_code: 0 });
        assert!(parse_words(&["/", "--ver"]).unwrap().verbose);
    }

    #[test]
    fn lists_are_split_at_commas_and_empty_ones_restrict_nothing() {
        let overrides = overrides(&["-d", "sda1, sdb1,", "-p2, 3", "-i", "0"]);
        assert_eq!(overrides.devices, Some(vec!["sda1".to_owned(), "sdb1".to_owned()]));
        assert_eq!((overrides.partitions, overrides.policies), (Some(vec![2, 3]), Some(vec![0])));
        let overrides = self::overrides(&["-d", " ,", "-p", ""]);
        assert_eq!((overrides.devices, overrides.partitions), (None, None));
    }

    #[test]
    fn a_negative_number_restricts_to_nothing() {
        assert_eq!(overrides(&["-p", "-1"]).partitions, Some(vec![]));
    }

    #[test]
    fn a_list_of_no_numbers_is_one_line_once_it_is_needed() {
        let arguments = parse_words(&["/", "-p", "2,x"]).unwrap();
        let error = arguments.overrides().unwrap_err().to_string();
        assert_eq!(error, "option --partitions: \"x\" is not a whole number");
    }

    #[test]
    fn names_in_complaints_forge_no_lines() {
        let stop = parse(["/no/such\u{1b}[2J\nfile"].map(OsString::from)).unwrap_err();
        assert!(stop.text.ends_with("Error: unable to locate /no/such#033[2J#012file\n"), "{}", stop.text);
        let stop = parse([OsString::from_vec(b"/no/\xff".to_vec())]).unwrap_err();
        assert!(stop.text.ends_with("Error: unable to locate /no/#377\n"), "{}", stop.text);
        let stop = parse_words(&["--x\u{1b}\ny"]).unwrap_err();
        assert!(stop.text.ends_with("error: no such option: --x#033#012y\n"), "{}", stop.text);
        assert_eq!(Exit::failure("a\nb", 1).text, "a#012b\n");
    }

    #[test]
    fn who_wants_json_gets_it_whatever_goes_wrong_once_the_words_are_understood() {
        for (mode, exit_code) in [("--check", 2), ("--status", 2), ("--dry-run", 1), ("--rebalance", 2), ("--set", 2)] {
            let stop = parse_words(&["--json", mode]).unwrap_err();
            assert_eq!((stop.stream, stop.exit_code), (Stream::Stdout, exit_code));
            let json: serde_json::Value = serde_json::from_str(&stop.text).unwrap();
            assert_eq!(json, serde_json::json!({ "error": "missing config path argument" }));
            assert_eq!(parse_words(&[mode]).unwrap_err().exit_code, exit_code);
            // The tools themselves say that there is none.
            assert!(parse_words(&["/nonexistent", "--json", mode]).is_ok());
        }
        assert_eq!(Exit::tool_failure("a\nb", 1, true).text, "{\n  \"error\": \"a#012b\"\n}\n");
        assert_eq!(Exit::tool_failure("a", 1, false), Exit::failure("a", 1));
    }

    #[test]
    fn help_is_no_error_and_names_every_option() {
        let stop = parse_words(&["-h"]).unwrap_err();
        assert_eq!((stop.stream, stop.exit_code), (Stream::Stdout, 0));
        assert!(stop.text.starts_with("Usage: swift-object-replicator CONFIG [options]\n"), "{}", stop.text);
        for (_, long) in options() {
            assert!(stop.text.contains(&format!("--{long}")), "{long}");
        }
    }

    #[test]
    fn the_manual_page_names_every_option() {
        let page = include_str!("../man/swift-object-replicator.1");
        for (short, long) in options() {
            let long = long.replace('-', "\\-");
            let entry = match short {
                Some(short) => format!("\\fB\\-{short}\\fR, \\fB\\-\\-{long}\\fR"),
                None => format!("\\fB\\-\\-{long}\\fR"),
            };
            assert!(page.contains(&entry), "{entry}");
        }
    }
}
