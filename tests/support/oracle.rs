//! The reference as an oracle: a Python process in the venv that answers questions, one JSON line each.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the venv that holds the reference: `SWIFT_VENV`, or `target/swift` (which `make test` fills).
pub fn venv(program: &str) -> PathBuf {
    let venv = std::env::var_os("SWIFT_VENV").map_or_else(|| project().join("target/swift"), PathBuf::from);
    let path = venv.join("bin").join(program);
    assert!(path.exists(), "{} is missing: run `make venv`, which installs the reference", path.display());
    path
}

/// A running script of `tests/oracle/`: it reads one JSON value per line and answers each with one.
pub struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts `tests/oracle/<script>`.
    pub fn start(script: &str) -> Self {
        let mut child = Command::new(venv("python3"))
            .arg(project().join("tests/oracle").join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the venv's python3 starts");
        let questions = child.stdin.take().expect("stdin is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, questions, answers }
    }

    /// Asks one question and waits for its answer.
    pub fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").expect("the oracle reads");
        self.questions.flush().expect("the oracle reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the oracle answers");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("the oracle answered {line:?} to {question}: {e}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
