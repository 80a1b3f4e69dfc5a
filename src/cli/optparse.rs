//! The habits of Python's optparse, for words that clap would understand in another way.
//!
//! Options may stand after other words, `-d=x` means the device `=x`, an option takes the next word as its value
//! whatever that looks like, and a long option may be abbreviated as long as only one matches. The result is a command
//! line that clap reads in one way only: `--name` or `--name=value` for each option, then `--`, then everything else.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Arg;
use thiserror::Error;

/// The options that the Python replicator has. What is short for one of them stays so, whatever options may come.
const LEGACY: [&str; 6] = ["devices", "help", "once", "partitions", "policies", "verbose"];

/// Why to go no further.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Help was asked for.
    Help,
    Error(UsageError),
}

/// An option that does not exist or is used wrongly, in optparse's words.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum UsageError {
    #[error("no such option: {0}")]
    Unknown(String),
    #[error("ambiguous option: {0} ({1}?)")]
    Ambiguous(String, String),
    #[error("{0} option requires 1 argument")]
    NoValue(String),
    #[error("{0} option does not take a value")]
    UnwantedValue(String),
}

/// Gives every option its full name and its value, and puts everything else behind them.
pub(super) fn full_names(
    command: &clap::Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, End> {
    let mut reader = Reader { command, words: words.into_iter().collect(), options: vec![super::PROGRAM.into()] };
    let mut others = Vec::new();
    while let Some(word) = reader.words.pop_front() {
        match word.as_bytes() {
            b"--" => break,
            [b'-', b'-', ..] => reader.long(&word)?,
            [b'-', _, ..] => reader.cluster(&word)?,
            _ => others.push(word),
        }
    }
    let mut result = reader.options;
    result.push("--".into());
    result.extend(others);
    result.extend(reader.words);
    Ok(result)
}

struct Reader<'a> {
    command: &'a clap::Command,
    /// Yet to be read.
    words: VecDeque<OsString>,
    options: Vec<OsString>,
}

impl<'a> Reader<'a> {
    /// `--name`, `--na`, `--name=value`.
    fn long(&mut self, word: &OsStr) -> Result<(), End> {
        let mut parts = word.as_bytes()[2..].splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let value = parts.next().map(|value| OsStr::from_bytes(value).to_owned());
        let option = self.find_long(&name)?;
        let shown = format!("--{}", name_of(option));
        if !takes_value(option) && value.is_some() {
            return Err(UsageError::UnwantedValue(shown).into());
        }
        self.push(option, value, shown)
    }

    /// `-v`, `-vo`, `-d x`, `-dx`, `-vdx`.
    fn cluster(&mut self, word: &OsStr) -> Result<(), End> {
        let mut rest = &word.as_bytes()[1..];
        while let [letter, tail @ ..] = rest {
            let option = self.find_short(char::from(*letter)).ok_or_else(|| {
                // More than one byte may make up the letter that is meant.
                let letter = String::from_utf8_lossy(rest).chars().next().unwrap_or_default();
                UsageError::Unknown(format!("-{letter}"))
            })?;
            rest = if takes_value(option) { b"" } else { tail };
            let value = (takes_value(option) && !tail.is_empty()).then(|| OsStr::from_bytes(tail).to_owned());
            self.push(option, value, format!("-{}", char::from(*letter)))?;
        }
        Ok(())
    }

    /// Adds an option; if it needs a value and has none, the next word is it.
    fn push(&mut self, option: &Arg, value: Option<OsString>, shown: String) -> Result<(), End> {
        if matches!(option.get_action(), clap::ArgAction::Help) {
            return Err(End::Help);
        }
        let mut full = OsString::from(format!("--{}", name_of(option)));
        if takes_value(option) {
            let value = value.or_else(|| self.words.pop_front()).ok_or(UsageError::NoValue(shown))?;
            full.push("=");
            full.push(value);
        }
        self.options.push(full);
        Ok(())
    }

    fn find_short(&self, letter: char) -> Option<&'a Arg> {
        self.command.get_arguments().find(|option| option.get_short() == Some(letter))
    }

    fn find_long(&self, name: &str) -> Result<&'a Arg, UsageError> {
        let named = || self.command.get_arguments().filter(|option| option.get_long().is_some());
        if let Some(option) = named().find(|option| name_of(option) == name) {
            return Ok(option);
        }
        let (legacy, new): (Vec<_>, Vec<_>) =
            named().filter(|option| name_of(option).starts_with(name)).partition(|o| LEGACY.contains(&name_of(o)));
        let candidates = if legacy.is_empty() { new } else { legacy };
        match candidates.as_slice() {
            [] => Err(UsageError::Unknown(format!("--{name}"))),
            [option] => Ok(option),
            several => {
                let mut names: Vec<_> = several.iter().map(|option| format!("--{}", name_of(option))).collect();
                names.sort();
                Err(UsageError::Ambiguous(format!("--{name}"), names.join(", ")))
            }
        }
    }
}

impl From<UsageError> for End {
    fn from(error: UsageError) -> Self {
        Self::Error(error)
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn name_of(option: &Arg) -> &str {
    option.get_long().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    /// The legacy options that the tests need, and a few that are new.
    fn command() -> clap::Command {
        let value = |name: &'static str| Arg::new(name).long(name);
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let mut command = clap::Command::new("x").args([
            value("devices").short('d'),
            value("partitions").short('p'),
            value("policies").short('i'),
            flag("verbose").short('v'),
            flag("once").short('o'),
            flag("dry-run"),
            flag("drain"),
        ]);
        command.build();
        command
    }

    fn expand(words: &[&str]) -> Result<String, End> {
        let words = full_names(&command(), words.iter().map(OsString::from))?;
        Ok(words[1..].join(OsStr::new(" ")).into_string().unwrap())
    }

    fn error(words: &[&str]) -> String {
        match expand(words).unwrap_err() {
            End::Error(error) => error.to_string(),
            End::Help => "help".to_owned(),
        }
    }

    #[test]
    fn values_are_taken_as_they_come() {
        let same = ["--devices=a"; 4];
        let forms: [&[&str]; 4] = [&["-d", "a"], &["-da"], &["--devices", "a"], &["--devices=a"]];
        assert_eq!(forms.map(|words| expand(words).unwrap()), same.map(|option| format!("{option} --")));
        assert_eq!(expand(&["-d=a"]), Ok("--devices==a --".into()));
        assert_eq!(expand(&["-d", "-v"]), Ok("--devices=-v --".into()));
        assert_eq!(expand(&["-d", "--"]), Ok("--devices=-- --".into()));
        assert_eq!(expand(&["--devices="]), Ok("--devices= --".into()));
    }

    #[test]
    fn flags_may_be_joined_and_the_last_may_have_a_value() {
        assert_eq!(expand(&["-vo"]), Ok("--verbose --once --".into()));
        assert_eq!(expand(&["-vda", "-vp", "1"]), Ok("--verbose --devices=a --verbose --partitions=1 --".into()));
    }

    #[test]
    fn what_is_no_option_comes_last_and_after_a_double_dash_nothing_is() {
        assert_eq!(expand(&["a", "-v", "-", "", "--", "-o", "--"]), Ok("--verbose -- a -  -o --".into()));
    }

    #[test]
    fn abbreviations_mean_what_they_always_meant() {
        assert_eq!(expand(&["--d=a", "--verb", "--on"]), Ok("--devices=a --verbose --once --".into()));
        assert_eq!(expand(&["--dry"]), Ok("--dry-run --".into()));
        assert_eq!(error(&["--dr"]), "ambiguous option: --dr (--drain, --dry-run?)");
        assert_eq!(error(&["--p", "1"]), "ambiguous option: --p (--partitions, --policies?)");
        assert_eq!(
            error(&["--=x"]),
            "ambiguous option: -- (--devices, --help, --once, --partitions, --policies, --verbose?)"
        );
    }

    #[test]
    fn errors_are_optparses() {
        assert_eq!(error(&["--bogus=1"]), "no such option: --bogus");
        assert_eq!(error(&["-vx"]), "no such option: -x");
        assert_eq!(error(&["-é"]), "no such option: -é");
        assert_eq!(error(&["--dev"]), "--devices option requires 1 argument");
        assert_eq!(error(&["-vd"]), "-d option requires 1 argument");
        assert_eq!(error(&["--onc=1"]), "--once option does not take a value");
    }

    #[test]
    fn help_ends_the_reading_where_it_stands() {
        assert_eq!(expand(&["-vh", "--bogus"]), Err(End::Help));
        assert_eq!(error(&["--bogus", "-h"]), "no such option: --bogus");
    }
}
