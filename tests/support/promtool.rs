//! Prometheus' own checker, where there is one: `make promtool` brings it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::oracle::project;

/// The program: `SWIFT_TEST_PROMTOOL`, what `make promtool` brought, or that of the machine.
fn program() -> Option<PathBuf> {
    let given = std::env::var_os("SWIFT_TEST_PROMTOOL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    let mut candidates = given.into_iter().chain([project().join("target/tools/promtool")]).chain(installed);
    candidates.find(|program| Path::new(program).exists())
}

/// The exit code, and all that promtool says of this input; `None`, and a line that says so, where there is none.
pub fn promtool(words: &[&str], input: &str) -> Option<(Option<i32>, String)> {
    let Some(program) = program() else {
        println!("SKIPPED: promtool {}: there is none here, make promtool brings it", words.join(" "));
        return None;
    };
    let mut command = Command::new(program);
    let mut child = command
        .args(words)
        .current_dir(project())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_owned());
    // It may say more than a pipe holds before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let (mut said, mut complaints) = (String::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut complaints).expect("text");
    let status = child.wait().expect("it ends");
    writer.join().expect("it ends");
    Some((status.code(), said + &complaints))
}
