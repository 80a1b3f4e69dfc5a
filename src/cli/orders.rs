//! Orders to a running daemon, from the words of the command line.

use std::ffi::OsString;

use super::flags::{Flags, Verb};
use super::list;
use crate::orders::limit::Limit;
use crate::orders::peer_name::PeerName;
use crate::orders::wire::{Request, Terms};

/// The request that the options, and the words behind the configuration, make.
///
/// # Errors
/// What is wrong, in a line.
pub(super) fn request(verb: Verb, flags: &Flags, words: &[OsString]) -> Result<Request, String> {
    let (devices, peers) = (names(&flags.devices), names(&flags.to));
    for peer in &peers {
        PeerName::parse(peer).map_err(|error| format!("--to: {error}"))?;
    }
    let terms = terms(flags)?;
    match verb {
        Verb::Pause | Verb::Resume if !words.is_empty() => Err(format!(
            "nothing is paused or resumed by the word {:?}: name a device with -d and a peer with --to",
            words[0].to_string_lossy()
        )),
        Verb::Pause => Ok(Request::Pause { devices, peers, terms }),
        Verb::Resume if flags.for_time.is_some() || flags.keep => {
            Err("--for and --keep belong to --pause and --set".to_owned())
        }
        Verb::Resume => Ok(Request::Resume { devices, peers, terms }),
        Verb::Set if !devices.is_empty() || !peers.is_empty() => {
            Err("--devices and --to belong to --pause and --resume: a limit is for the whole daemon".to_owned())
        }
        Verb::Set if words.is_empty() && terms_are_given(flags) => Err(format!(
            "--set with terms needs something to set: {}",
            Limit::ALL.map(|limit| format!("{limit}=VALUE")).join(" or ")
        )),
        Verb::Set if words.is_empty() => Ok(Request::Show {}),
        Verb::Set => Ok(Request::Set { limits: assignments(words)?, terms }),
    }
}

/// Lists may be split at commas, and be given in one option only.
fn names(option: &Option<OsString>) -> Vec<String> {
    list(option).unwrap_or_default()
}

fn terms_are_given(flags: &Flags) -> bool {
    flags.for_time.is_some() || flags.keep || flags.reason.is_some()
}

/// The terms of an order.
///
/// # Errors
/// What is wrong, in a line.
pub(super) fn terms(flags: &Flags) -> Result<Terms, String> {
    let seconds = flags.for_time.as_ref().map(|text| duration(&text.to_string_lossy())).transpose()?;
    let reason = flags.reason.as_ref().map(|text| text.to_string_lossy().into_owned());
    let behind = std::env::var("SUDO_USER").ok();
    Ok(Terms { seconds, reason, keep: flags.keep, behind })
}

fn assignments(words: &[OsString]) -> Result<Vec<String>, String> {
    let assignment = |word: &OsString| {
        let text = word.to_string_lossy().into_owned();
        match text.split_once('=') {
            Some((name, "default")) => Limit::parse_name(name).map(drop),
            _ => Limit::parse_assignment(&text).map(drop),
        }
        .map_err(|error| format!("--set: {error}"))?;
        Ok(text)
    };
    words.iter().map(assignment).collect()
}

/// Reads `90s`, `30m`, `2h`, `1d` or several of them, as `1h30m`; in seconds.
fn duration(text: &str) -> Result<f64, String> {
    let bad = || format!("--for: {text:?} is no time: write 90s, 30m, 2h, 1d or 1h30m");
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = rest.split_at(end);
        let scale = match unit.chars().next() {
            Some('s') => 1.0,
            Some('m') => 60.0,
            Some('h') => 3600.0,
            Some('d') => 86_400.0,
            _ => return Err(bad()),
        };
        seconds += number.parse::<f64>().map_err(|_| bad())? * scale;
        rest = &unit[1..];
    }
    let is_sensible = seconds > 0.0 && seconds <= 10.0 * 365.0 * 86_400.0;
    if is_sensible { Ok(seconds) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Arguments, Exit, Mode, parse};
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments, Exit> {
        parse(["/"].iter().chain(words).map(OsString::from))
    }

    fn request_of(words: &[&str]) -> Request {
        parsed(words).unwrap().request.unwrap()
    }

    fn error_of(words: &[&str]) -> String {
        let stop = parsed(words).unwrap_err();
        assert_eq!(stop.exit_code, 2, "{}", stop.text);
        stop.text.lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn an_order_is_made_from_options_and_words() {
        let words = ["--pause", "-d", "sdb,sdc", "--to", "10.0.0.7/sdc", "--for", "1h30m", "--reason", "a b", "--keep"];
        assert_eq!(parsed(&words).unwrap().mode, Mode::Order);
        let Request::Pause { devices, peers, terms } = request_of(&words) else { panic!("a pause") };
        assert_eq!((devices.join(" ").as_str(), peers.join(" ").as_str()), ("sdb sdc", "10.0.0.7/sdc"));
        assert_eq!((terms.seconds, terms.reason.as_deref(), terms.keep), (Some(5400.0), Some("a b"), true));
        assert!(matches!(request_of(&["--resume"]), Request::Resume { .. }));
        assert_eq!(request_of(&["--set"]), Request::Show {});
        let Request::Set { limits, .. } = request_of(&["--set", "concurrency=4", "rsync_bwlimit=default"]) else {
            panic!("limits")
        };
        assert_eq!(limits, ["concurrency=4", "rsync_bwlimit=default"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
        for (words, expected) in [
            (&["--set", "speed=1"][..], "--set: \"speed\" cannot be set"),
            (&["--set", "concurrency=none"], "must be an integer from 1"),
            (&["--set", "--for", "2h"], "needs something to set: concurrency=VALUE or rsync_bwlimit=VALUE"),
            (&["--set", "concurrency=1", "-d", "sda"], "a limit is for the whole daemon"),
            (&["--pause", "--for", "2"], "--for: \"2\" is no time"),
            (&["--pause", "--for", "0s"], "--for: \"0s\" is no time"),
            (&["--pause", "--for", "2 hours"], "is no time"),
            (&["--pause", "--to", "a b"], "names no peer"),
            (&["--resume", "--keep"], "belong to --pause and --set"),
            (&["--pause", "--resume"], "--pause and --resume options exclude each other"),
            (&["--pause", "--once"], "--once"),
            (&["--pause", "sdb"], "nothing is paused or resumed by the word \"sdb\""),
            (&["--pause", "-p", "1"], "--partitions"),
            (&["--to", "10.0.0.7"], "--to option requires"),
            (&["--keep"], "--keep option requires"),
        ] {
            let error = error_of(words);
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(
            ["90s", "1.5h", "1d2h", "30m"].map(|text| duration(text).unwrap()),
            [90.0, 5400.0, 93_600.0, 1800.0]
        );
        for junk in ["", "h", "1x", "1h-1m", "nan", "1e9d", "99999999d", "1.2.3h", "é"] {
            assert!(duration(junk).is_err(), "{junk}");
        }
    }
}
