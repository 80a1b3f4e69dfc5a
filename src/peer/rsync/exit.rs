//! What rsync's ends mean: one table, from its exit code and what it said to what follows from that. Nothing else looks at
//! the codes, nor at the words on stderr.
//!
//! What it said counts only on the stream and in the form that rsync uses. Both are rsync's own:
//! - Errors come on stderr, whichever end had them; what a peer's daemon has to show its visitors (the message of the
//!   day) and what is told of single files come on stdout.
//! - Names of files stand in quotes, and line breaks in them are escaped. A failed system call's error comes after the
//!   name, at the line's end, with its number in parentheses. So no name can pass for an error, nor for a line.
//! - A daemon's refusal is a line of its own that begins with `@ERROR`. rsync ends with 5 after it.

use crate::cause::Cause;
use crate::names::Partition;

/// Whether another attempt may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It would end the same way.
    No,
    /// The target is too busy.
    Later,
    /// One of several partitions may be to blame: the same once more, then less at a time.
    Divided,
}

/// Who or what is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node's rsync daemon cannot be reached.
    Node,
    /// The device that is pushed to: nothing else of the node need be affected.
    Device,
    /// The module: not there, closed, or not for us; or there is no rsync daemon that could be talked to.
    Module,
    /// Something among the files, here or there.
    Files,
    /// Something here that has nothing to do with what is pushed: the program, its arguments, memory, a signal.
    Here,
}

/// What follows from a failed push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What a report calls it.
    pub cause: Cause,
    pub again: Again,
    pub fault: Fault,
}

impl Verdict {
    pub(super) const fn new(cause: Cause, again: Again, fault: Fault) -> Self {
        Self { cause, again, fault }
    }

    /// Whether it counts as an outage of the node's rsync daemon. Only a connection that did not come about does: a
    /// daemon that says nothing for too long (30) may be waiting for one hanging disk.
    pub fn is_outage(&self) -> bool {
        self.fault == Fault::Node
    }

    /// Whether the end may be chance, or one partition's fault: it is worth the same once more.
    pub fn may_be_chance(&self) -> bool {
        self.again == Again::Divided || self.may_be_a_lost_refusal()
    }

    /// Whether the daemon may have refused an option: it hangs up at once then, and what it said may be lost with the
    /// connection.
    pub fn may_be_a_lost_refusal(&self) -> bool {
        self.cause == Cause::BadAnswer
    }

    /// Whether the target device has no room for something.
    pub fn is_target_full(&self) -> bool {
        self.cause == Cause::Full
    }
}

/// A process of rsync's, as it calls itself in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// This side.
    Here,
    /// The other side, before it begins with files: it looks for the folder that all of them go to.
    Preparing,
    /// The other side, at work on some file.
    Receiving,
}

/// More of an option's name is not kept.
const MAX_OPTION: usize = 64;

/// What a disk or a file system says of what it cannot read, however often it is asked.
const UNREADABLE: [&str; 5] =
    ["Input/output error", "Structure needs cleaning", "Bad message", "No data available", "Permission denied"];

/// What rsync said on stderr, as far as it matters for what its end means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The limit of connections that is reached, by the daemon's words; a module is closed by a negative one.
    max_connections: Option<i64>,
    /// The daemon turned us away for another reason.
    turned_away: bool,
    /// The module, or the file system below it, takes nothing from anybody.
    read_only: bool,
    /// The target's disk is full.
    no_space: bool,
    /// The connection broke before the daemon had greeted, or opened the module.
    broke_at_once: bool,
    /// A connection that was there broke.
    broke: bool,
    /// Something cannot be read here.
    unread_here: bool,
    /// Anything went wrong that was not said to be here.
    failed_there: bool,
    /// Who said last that it stops.
    ended: Option<Role>,
    /// There is no such module.
    no_module: bool,
    /// An option that one of the ends does not know or refuses.
    pub(super) option: Option<Unwanted>,
}

/// An option that is not known, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwanted {
    /// With its dashes.
    pub(super) name: String,
    /// Whether by the program here.
    pub(super) here: bool,
}

impl Heard {
    /// Takes in a line of stderr.
    pub(super) fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        // rsync asks for a password on the same line; there is nobody who could answer.
        let line = line.strip_prefix("Password: ").unwrap_or(line);
        if let Some(refusal) = line.strip_prefix("@ERROR") {
            match max_connections(refusal) {
                Some(limit) => self.max_connections = Some(limit),
                None => self.turned_away = true,
            }
            self.no_module |= is_unknown_module(line);
        } else if line == "ERROR: module is read only" {
            self.read_only = true;
        } else if let Some(end) = line.strip_prefix("rsync error: ") {
            self.ended = role_of(end);
        } else if let Some((option, here)) = unwanted_option(line).or_else(|| Some((unrecognized_option(line)?, true)))
        {
            let name = option.chars().take(MAX_OPTION).collect();
            self.option.get_or_insert(Unwanted { name, here });
        } else if let Some(said) = line.strip_prefix("rsync: ") {
            self.error(said);
        }
    }

    /// Whether a run that ended with this code met with a daemon that has no such module.
    pub(super) fn lacks_module(&self, code: i32) -> bool {
        code == 5 && self.no_module
    }

    /// `[role] what failed "where": why (number)`; up to 3.1 there was no role before some of them.
    fn error(&mut self, said: &str) {
        let at_the_target = !said.starts_with("[sender]");
        if at_the_target && said.ends_with(')') {
            self.no_space |= is_error(said, "No space left on device") || is_error(said, "Disk quota exceeded");
            self.read_only |= is_error(said, "Read-only file system");
        }
        self.failed_there |= at_the_target;
        self.unread_here |= !at_the_target && UNREADABLE.iter().any(|text| is_error(said, text));
        let said = said.strip_prefix("[sender] ").unwrap_or(said);
        self.broke_at_once |= said.starts_with("safe_read failed to read")
            || said.starts_with("connection unexpectedly closed (0 bytes received so far)");
        self.broke |= said.starts_with("read error: ") || said.starts_with("write error: ");
    }
}

/// Whether a daemon says with this line that it has no such module.
pub(crate) fn is_unknown_module(line: &str) -> bool {
    line.starts_with("@ERROR: Unknown module ")
}

/// The N of `: max connections (N) reached -- try again later`.
fn max_connections(refusal: &str) -> Option<i64> {
    let (limit, rest) = refusal.strip_prefix(": max connections (")?.split_once(')')?;
    rest.starts_with(" reached").then(|| limit.parse().ok()).flatten()
}

/// Whether a line ends with an error of the system: `: text (number)`.
fn is_error(said: &str, text: &str) -> bool {
    let Some((before, number)) = said.rsplit_once(" (") else { return false };
    let is_number = number.strip_suffix(')').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    is_number && before.strip_suffix(text).is_some_and(|before| before.ends_with(": "))
}

/// Which process ended, from the brackets at the end of `... at main.c(1394) [sender=3.5.0]`.
fn role_of(end: &str) -> Option<Role> {
    let (_, role) = end.strip_suffix(']')?.rsplit_once('[')?;
    match role.split('=').next()? {
        "sender" | "client" => Some(Role::Here),
        "receiver" | "generator" => Some(Role::Receiving),
        _ => Some(Role::Preparing),
    }
}

/// The option that a line says is refused or not known, and whether the program here says it.
fn unwanted_option(line: &str) -> Option<(&str, bool)> {
    if let Some(option) = line.strip_prefix("rsync: The server is configured to refuse ") {
        return Some((option.split(' ').next()?, false));
    }
    // A file system that has none, as the receiver finds out. (An error of the disk is another matter.)
    let failed = line.strip_prefix("rsync: [receiver] ").unwrap_or(line);
    let none = ["Invalid argument", "Function not implemented", "Operation not supported"];
    if failed.starts_with("fsync failed on ") && none.iter().any(|text| is_error(failed, text)) {
        return Some(("--fsync", false));
    }
    let there = line.strip_prefix("rsync: on remote machine: ");
    if let Some(option) = there.or_else(|| line.strip_prefix("rsync: "))?.strip_suffix(": unknown option") {
        return option.starts_with('-').then_some((option, there.is_none()));
    }
    None
}

/// The option that the program here does not know, in getopt_long(3)'s words, as openrsync has them.
fn unrecognized_option(line: &str) -> Option<&str> {
    let (_, option) = line.split_once(": unrecognized option ")?;
    let option = option.trim_matches(['\'', '`', '"']);
    option.starts_with('-').then_some(option)
}

/// Whether a run with this code did all that it was asked to do but for some of the files, of which it told.
pub(super) fn is_but_for_some(code: i32) -> bool {
    code == 23
}

/// The same, or some of the files vanished meanwhile: the rest may have arrived.
pub(super) fn is_partial(code: i32) -> bool {
    is_but_for_some(code) || code == 24
}

/// What a run's end with this code means: the number of a signal is negative.
pub(super) fn verdict(code: i32, heard: &Heard) -> Verdict {
    use {Again::*, Fault::*};
    if heard.no_space {
        // It may be one file that is too large for what is left.
        return Verdict::new(Cause::Full, Divided, Device);
    }
    let (cause, again, fault) = match code {
        5 => match heard.max_connections {
            Some(..0) => (Cause::Closed, No, Module),
            Some(_) => (Cause::Busy, Later, Module),
            None if heard.turned_away => (Cause::Refused, No, Module),
            None => (Cause::BadAnswer, No, Module),
        },
        _ if heard.read_only => (Cause::Refused, No, Device),
        // The greeting's protocol; and an option, or another thing, that is asked for.
        2 | 4 => (Cause::Refused, No, Module),
        1 => (Cause::Push, No, Here),
        // No connection came about. (With the same code ends one that breaks on the way.)
        10 if !heard.broke => (Cause::Unreachable, No, Node),
        35 => (Cause::Unreachable, No, Node),
        30 => (Cause::Timeout, No, Device),
        // It is about a file, or there about where all of them should go.
        11 if matches!(heard.ended, Some(Role::Here | Role::Receiving)) => (Cause::Push, Divided, Files),
        11 => (Cause::Push, No, Device),
        12 if heard.broke_at_once => (Cause::BadAnswer, No, Module),
        // Another attempt tells a dead target (10 will follow) from something over which the other rsync stumbles.
        10 | 12 => (Cause::Push, Divided, Files),
        // All else has arrived, or could have.
        23 if heard.unread_here && !heard.failed_there => (Cause::Local, Divided, Files),
        23 | 24 => (Cause::Push, Divided, Files),
        // The program is not there, or cannot be run.
        126 | 127 => (Cause::Push, No, Here),
        _ => (Cause::Push, Divided, Here),
    };
    Verdict::new(cause, again, fault)
}

/// How far a run came before its time was over.
///
/// rsync names a file when it begins to send it, and writes each such line at once. But it sends in one stream, of which
/// up to some hundred kilobytes lie in buffers on either side. So what was begun before the last one need not have
/// arrived, and where the *target* hangs it may be any of them, or none. Where this side hangs in reading a file it is
/// known which, for the kernel tells what the process is waiting for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The partitions that were begun, in order; nothing is known of what arrived of them.
    pub begun: Vec<Partition>,
    /// The partition in which this side hangs. `None`: it does not, it waits for the other side; or that cannot be told.
    pub suspect: Option<Partition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Heard {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.line(line.as_bytes()));
        heard
    }

    fn meaning(code: i32, lines: &[&str]) -> (Cause, Again, Fault) {
        let Verdict { cause, again, fault } = verdict(code, &heard(lines));
        (cause, again, fault)
    }

    #[test]
    fn a_full_target_is_told_by_the_system_calls_that_failed_there() {
        for line in [
            "rsync: [receiver] write failed on \"/full/objects/1/abc/h/big\" (in object): No space left on device (28)",
            "rsync: [generator] recv_generator: mkdir \"/full/objects/1\" (in object) failed: No space left on device (28)",
            "rsync: [receiver] mkstemp \"/1/.x\" (in object) failed: Disk quota exceeded (122)",
            "rsync: write failed on \"sd1/objects/1\" (in object): No space left on device (28)",
        ] {
            assert_eq!(meaning(23, &[line]), (Cause::Full, Again::Divided, Fault::Device), "{line}");
        }
        for line in [
            "No space left on device",
            "No space left on device (28)",
            "rsync: [sender] mkstemp \"/tmp/x\" failed: No space left on device (28)",
            "rsync: [receiver] mkstemp \"/: No space left on device (28)\" failed: Permission denied (13)",
            "rsync: [receiver] mkstemp \"/No space left on device\" failed: Permission denied (13)",
            "file has vanished: \"/a/No space left on device (28)\"",
        ] {
            assert_eq!(meaning(23, &[line]), (Cause::Push, Again::Divided, Fault::Files), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_here_is_told_from_what_goes_wrong_there() {
        let unread = "rsync: [sender] read errors mapping \"/a: No space left on device (28)\": Input/output error (5)";
        let stat = "rsync: [sender] readlink_stat(\"/srv/a\") failed: Structure needs cleaning (117)";
        let end = "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1) [sender=3]";
        assert_eq!(meaning(23, &[unread, end]), (Cause::Local, Again::Divided, Fault::Files));
        assert_eq!(meaning(23, &[stat, unread]), (Cause::Local, Again::Divided, Fault::Files));
        for line in [
            "rsync: [receiver] mkstemp \"/1/.x\" (in object) failed: Permission denied (13)",
            "rsync: [generator] recv_generator: mkdir \"/1\" (in object) failed: Input/output error (5)",
            "rsync: read errors mapping \"/srv/b\": Input/output error (5)",
        ] {
            assert_eq!(meaning(23, &[unread, line]), (Cause::Push, Again::Divided, Fault::Files), "{line}");
            assert_eq!(meaning(23, &[line]), (Cause::Push, Again::Divided, Fault::Files), "{line}");
        }
        let vanished = "rsync: [sender] link_stat \"/srv/a\" failed: No such file or directory (2)";
        assert_eq!(meaning(23, &[vanished]), (Cause::Push, Again::Divided, Fault::Files));
    }

    #[test]
    fn a_closed_module_is_told_from_a_busy_one_and_from_one_that_is_not_for_us() {
        let limit = |limit: &str| format!("@ERROR: max connections ({limit}) reached -- try again later");
        assert_eq!(meaning(5, &[&limit("8")]), (Cause::Busy, Again::Later, Fault::Module));
        assert_eq!(meaning(5, &[&limit("-1")]), (Cause::Closed, Again::No, Fault::Module));
        for line in [
            "@ERROR: Unknown module 'max connections (2) reached'",
            "@ERROR: access denied to object from node-1 (10.0.0.1)",
            "Password: @ERROR: auth failed on module object",
            "@ERROR: chdir failed",
        ] {
            assert_eq!(meaning(5, &[line]), (Cause::Refused, Again::No, Fault::Module), "{line}");
        }
        let no_daemon = "rsync: server sent \"HTTP/1.1 400 Bad\" rather than greeting";
        assert_eq!(meaning(5, &[no_daemon]), (Cause::BadAnswer, Again::No, Fault::Module));
        let read_only = ["ERROR: module is read only", "rsync error: syntax or usage error (code 1) at main.c(1185)"];
        assert_eq!(meaning(1, &read_only), (Cause::Refused, Again::No, Fault::Device));
        let read_only = "rsync: [generator] recv_generator: mkdir \"/a\" (in o) failed: Read-only file system (30)";
        assert_eq!(meaning(23, &[read_only]), (Cause::Refused, Again::No, Fault::Device));
    }

    #[test]
    fn only_a_connection_that_does_not_come_about_is_an_outage() {
        let refused = "rsync: [sender] failed to connect to 10.0.0.1 (10.0.0.1): Connection refused (111)";
        assert!(verdict(10, &heard(&[refused])).is_outage() && verdict(35, &heard(&[])).is_outage());
        assert_eq!(meaning(30, &[]), (Cause::Timeout, Again::No, Fault::Device));
        let broke = "rsync: [sender] read error: Connection reset by peer (104)";
        assert_eq!(meaning(10, &[broke]), (Cause::Push, Again::Divided, Fault::Files));
        for code in [1, 2, 3, 4, 5, 11, 12, 23, 24, 30, -9] {
            assert!(!verdict(code, &heard(&[])).is_outage(), "{code}");
        }
    }

    #[test]
    fn a_connection_that_breaks_at_once_is_not_the_files_fault() {
        for line in [
            "rsync: [sender] safe_read failed to read 1 bytes: Connection reset by peer (104)",
            "rsync: connection unexpectedly closed (0 bytes received so far) [sender]",
        ] {
            assert_eq!(meaning(12, &[line]), (Cause::BadAnswer, Again::No, Fault::Module), "{line}");
        }
        let later = "rsync: connection unexpectedly closed (1,024 bytes received so far) [sender]";
        assert_eq!(meaning(12, &[later]), (Cause::Push, Again::Divided, Fault::Files));
    }

    #[test]
    fn an_error_in_file_io_is_the_devices_only_before_it_comes_to_files() {
        let ends = |role: &str| format!("rsync error: error in file IO (code 11) at main.c(808) [{role}=3.5.0]");
        assert_eq!(meaning(11, &[&ends("Receiver")]), (Cause::Push, Again::No, Fault::Device));
        for role in ["sender", "receiver", "generator"] {
            assert_eq!(meaning(11, &[&ends(role)]), (Cause::Push, Again::Divided, Fault::Files));
        }
        assert_eq!(meaning(11, &[]), (Cause::Push, Again::No, Fault::Device));
    }

    #[test]
    fn an_option_that_either_end_does_not_take_is_named() {
        for (line, name, here) in [
            ("rsync: The server is configured to refuse --fsync", "--fsync", false),
            ("rsync: The server is configured to refuse --dry-run (-n)", "--dry-run", false),
            ("rsync: on remote machine: --fsync: unknown option", "--fsync", false),
            ("rsync: [receiver] fsync failed on \"/a\" (in object): Invalid argument (22)", "--fsync", false),
            ("rsync: --fsync: unknown option", "--fsync", true),
            ("rsync: unrecognized option `--fsync'", "--fsync", true),
            ("openrsync: unrecognized option '--fsync'", "--fsync", true),
        ] {
            assert_eq!(heard(&[line]).option, Some(Unwanted { name: name.into(), here }), "{line}");
        }
        for line in [
            "rsync: x: unknown option",
            "rsync: [sender] link_stat \"a: unknown option\" failed: gone (2)",
            "rsync: [receiver] fsync failed on \"/a\" (in object): Input/output error (5)",
            "",
        ] {
            assert_eq!(heard(&[line]).option, None, "{line}");
        }
    }

    #[test]
    fn what_may_be_one_partitions_fault_is_tried_with_less() {
        for code in [3, 13, 14, 21, 22, 23, 24, -9] {
            assert_eq!(verdict(code, &heard(&[])).again, Again::Divided, "{code}");
        }
        for code in [1, 2, 4, 127] {
            assert_eq!(verdict(code, &heard(&[])).again, Again::No, "{code}");
        }
    }
}
