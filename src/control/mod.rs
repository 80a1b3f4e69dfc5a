//! `--pause`, `--resume` and `--set`: gives a running daemon an order, over the socket that it has beside its recon cache,
//! and shows what it answers.
//!
//! Which daemon that is says the configuration alone, also one that cannot be used now. Where nobody answers, it is said
//! why: no daemon, one that has died, one that has no socket, another user's.

mod first;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::cli::{Arguments, Exit, Stream};
use crate::config::settings;
use crate::orders::moment::wall_clock;
use crate::orders::wire::{Answer, LONGEST_ANSWER, Request, SOCKET, socket_path_is_too_long};
use crate::printable::{printable, printable_json};
use crate::report::orders as words;
use crate::report::status::{self, Kind, process_began};

/// The exit code if the daemon does not do what it was asked.
const REFUSED: u8 = 1;
/// The exit code if nobody was asked.
const NOBODY: u8 = 2;
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub use first::first;

/// Gives the order; what to print, and with which code to exit.
pub fn run(arguments: &Arguments) -> Exit {
    let found = settings::recon_cache_path(&arguments.config).map_err(|error| error.to_string());
    let answer = found.and_then(|found| ask(&found.path, arguments.request.as_ref().unwrap_or(&Request::Show {})));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Exit::tool_failure(error, NOBODY, arguments.json),
    };
    let exit_code = if answer.error.is_some() { REFUSED } else { 0 };
    if arguments.json {
        // Names, numbers and texts: nothing in it can fail.
        let text = printable_json(serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n");
        return Exit { text, stream: Stream::Stdout, exit_code };
    }
    match &answer.error {
        Some(error) => Exit::failure(error, exit_code),
        None => Exit { text: as_text(&answer, arguments.request.as_ref()), stream: Stream::Stdout, exit_code },
    }
}

fn as_text(answer: &Answer, request: Option<&Request>) -> String {
    let mut lines = answer.lines.clone();
    if matches!(request, None | Some(Request::Show {})) {
        let orders = &answer.orders;
        lines.extend(orders.limits.iter().map(words::limit));
        let time = wall_clock().map_or_else(String::new, |time| format!(" (it is {time} now)"));
        lines.extend(orders.quiet_hours.iter().map(|hours| format!("quiet_hours = {hours}{time}")));
        lines.extend(orders.pauses.iter().map(words::pause));
    }
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

/// Asks the daemon that has its recon cache in this folder.
///
/// # Errors
/// A line that says why there is no answer.
fn ask(folder: &Path, request: &Request) -> Result<Answer, String> {
    let path = folder.join(SOCKET);
    if let Some(complaint) = socket_path_is_too_long(&path) {
        return Err(format!("no daemon can take orders: {complaint}"));
    }
    let stream = UnixStream::connect(&path).map_err(|error| nobody(folder, &path, &error))?;
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("the daemon at {} has not answered for {} s", path.display(), PATIENCE.as_secs())
        }
        _ => format!("the daemon at {} broke off: {error}", path.display()),
    };
    let line = exchange(&stream, request).map_err(broken)?;
    if line.is_empty() {
        return Err(format!("the daemon at {} broke off without an answer", path.display()));
    }
    serde_json::from_slice(&line).map_err(|error| format!("the answer of the daemon cannot be understood: {error}"))
}

fn exchange(stream: &UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A daemon that refuses at once may not read all of it.
    let written = (&mut &*stream).write_all(&line);
    let mut answer = Vec::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() { written.map(|()| answer) } else { Ok(answer) }
}

/// Whether it is for sure that no daemon has its recon cache in this folder.
fn is_nobody_there(folder: &Path) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let unreached = UnixStream::connect(folder.join(SOCKET)).err().map(|error| error.kind());
    matches!(unreached, Some(NotFound | ConnectionRefused)) && daemon(folder).is_none()
}

/// Why nobody can be reached at the socket.
fn nobody(folder: &Path, path: &Path, error: &io::Error) -> String {
    let socket = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("only root and the user of the daemon may give it orders: {socket}: {error}")
        }
        io::ErrorKind::NotFound => match daemon(folder) {
            Some((pid, version)) => format!(
                "the daemon runs (process {pid}, version {version}), but takes no orders: there is no {socket}. Either it \
                 is of an older version, or it could not make the socket, which its log says"
            ),
            None => format!("no daemon runs with this configuration: there is no {socket}"),
        },
        io::ErrorKind::ConnectionRefused => match daemon(folder) {
            Some((pid, _)) => format!("the daemon (process {pid}) does not listen at {socket}; its log may say why"),
            None => format!("no daemon runs with this configuration: {socket} is left from one that is gone"),
        },
        _ => format!("cannot ask the daemon: {socket}: {error}"),
    }
}

/// The process and the version of the daemon that keeps its status here, if it lives.
fn daemon(folder: &Path) -> Option<(u32, String)> {
    let status = status::read(folder, Kind::Daemon).ok()?;
    let lives = !status.has_ended && process_began(status.pid) == Some(status.process_began);
    lives.then_some((status.pid, status.version))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn show(folder: &Path) -> Result<Answer, String> {
        ask(folder, &Request::Show {})
    }

    #[test]
    fn where_nobody_answers_it_is_said_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = show(folder.path()).unwrap_err();
        assert!(error.starts_with("no daemon runs with this configuration: there is no "), "{error}");
        drop(UnixListener::bind(folder.path().join(SOCKET)).unwrap());
        let error = show(folder.path()).unwrap_err();
        assert!(error.ends_with("object-replicator.sock is left from one that is gone"), "{error}");
        let error = show(&folder.path().join("x".repeat(120))).unwrap_err();
        assert!(error.contains("may have 107"), "{error}");
    }

    #[test]
    fn an_older_daemon_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let process_began = process_began(pid).unwrap();
        let status = status::Status { pid, process_began, version: "0.2.0".into(), ..status::Status::default() };
        status.write(folder.path(), Kind::Daemon).unwrap();
        let error = show(folder.path()).unwrap_err();
        assert!(error.starts_with(&format!("the daemon runs (process {pid}, version 0.2.0), but")), "{error}");
    }

    #[test]
    fn what_is_no_answer_is_one_line() {
        for (answer, expected) in [("", "broke off"), ("junk\n", "cannot be understood")] {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let error = show(folder.path()).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
            server.join().unwrap();
        }
    }
}
