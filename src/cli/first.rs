//! `--first`: which partitions are to go before all else.

use super::flags::Flags;
use super::list;
use super::orders::terms;
use super::paths::absolute;
use crate::orders::peer_name::PeerName;
use crate::orders::wire::Terms;
use crate::pass::first::What;

/// What is to go first.
#[derive(Debug)]
pub(crate) struct FirstArguments {
    pub what: What,
    /// Wait until it has been tried.
    pub wait: bool,
    pub terms: Terms,
}

/// What is to go first, if anything is to.
///
/// # Errors
/// What is wrong, in a line, where options exclude each other, lack the one that they belong to, or name nothing.
pub(super) fn arguments(flags: &Flags) -> Result<Option<FirstArguments>, String> {
    let is_set = |(name, is_set): (&'static str, bool)| is_set.then_some(name);
    let named = [
        ("--partitions", flags.partitions.is_some()),
        ("--moved", flags.moved.is_some()),
        ("--to", flags.to.is_some()),
    ];
    let named: Vec<_> = named.into_iter().filter_map(is_set).collect();
    let of_first = [("--moved", flags.moved.is_some()), ("--wait", flags.wait)];
    let of_others = [("--for", flags.for_time.is_some()), ("--keep", flags.keep)];
    if !flags.first {
        let name = of_first.into_iter().find_map(is_set);
        return name.map_or(Ok(None), |name| Err(format!("{name} option requires --first")));
    }
    if let Some(name) = of_others.into_iter().find_map(is_set) {
        return Err(format!("{name} has no meaning with --first: what goes first does so until it has succeeded"));
    }
    match named[..] {
        [] => Err("--first option requires --partitions, --moved or --to".to_owned()),
        [one, other, ..] => Err(format!("{one} and {other} options exclude each other")),
        [_] => Ok(Some(FirstArguments { what: what(flags)?, wait: flags.wait, terms: terms(flags)? })),
    }
}

fn what(flags: &Flags) -> Result<What, String> {
    if let Some(path) = &flags.moved {
        return absolute(path).map(What::MovedSince);
    }
    let Some(peer) = &flags.to else {
        // Elsewhere an empty list means all.
        let numbers = list(&flags.partitions);
        return numbers.map(|_| What::Named).ok_or_else(|| "--partitions names no partition".to_owned());
    };
    PeerName::parse(&peer.to_string_lossy()).map(What::To).map_err(|error| format!("--to: {error}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Arguments, Exit, Mode, parse};
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments, Exit> {
        parse(["/", "--first"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn what_goes_first_is_named_in_one_of_three_ways() {
        let first = |words: &[&str]| parsed(words).unwrap().first.unwrap();
        let arguments = parsed(&["-p", "12,99", "--wait", "--reason", "a b"]).unwrap();
        assert!(arguments.mode == Mode::First && arguments.once && arguments.strict);
        assert_eq!(arguments.overrides().unwrap().partitions, Some(vec![12, 99]));
        let named = arguments.first.unwrap();
        assert!(named.what == What::Named && named.wait && named.terms.reason.as_deref() == Some("a b"));
        assert_eq!(first(&["--moved", "/a/../b.ring.gz"]).what, What::MovedSince("/b.ring.gz".into()));
        assert_eq!(first(&["--to", "10.0.0.7/sdc"]).what, What::To(PeerName::parse("10.0.0.7/sdc").unwrap()));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        for (words, expected) in [
            (&["--first"][..], "--first option requires --partitions, --moved or --to"),
            (&["--first", "-p", "1", "--to", "10.0.0.7"], "--partitions and --to options exclude each other"),
            (&["--first", "--moved", "/a", "--to", "10.0.0.7"], "--moved and --to options exclude each other"),
            (&["--first", "-p", " ,"], "--partitions names no partition"),
            (&["--first", "--to", "/sdc"], "--to: \"/sdc\" names no peer"),
            (&["--first", "-p", "1", "--for", "1h"], "--for has no meaning with --first"),
            (&["--first", "-p", "1", "--status"], "--first and --status options exclude each other"),
            (&["--first", "-p", "1", "--report", "r.html"], "--first and --report options exclude each other"),
            (&["--moved", "/a"], "--moved option requires --first"),
            (&["--once", "--wait"], "--wait option requires --first"),
        ] {
            let stop = parse(["/"].iter().chain(words).map(OsString::from)).unwrap_err();
            assert_eq!(stop.exit_code, 2);
            assert!(stop.text.contains(&format!("error: {expected}")), "{words:?}: {}", stop.text);
        }
    }
}
