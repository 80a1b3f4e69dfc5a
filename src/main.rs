//! The program: reads the command line, runs the daemon, the check, the dry run, the status or an order, and turns the outcome
//! into output and an exit code.

use std::io::Write;
use std::panic::{catch_unwind, resume_unwind};
use std::process::ExitCode;

use swift_object_replicator::cli::{self, Arguments, Exit, Mode, Stream};
use swift_object_replicator::{check, control, daemon, dry_run, rebalance, status, sys};

fn main() -> ExitCode {
    sys::settle_inherited();
    match catch_unwind(run) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(stop)) => {
            // Whoever closed the stream does not want to know.
            let _ = match stop.stream {
                Stream::Stdout => std::io::stdout().write_all(stop.text.as_bytes()),
                Stream::Stderr => std::io::stderr().write_all(stop.text.as_bytes()),
            };
            ExitCode::from(stop.exit_code)
        }
        // The panic itself was shown, or logged.
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<u8, Exit> {
    let arguments = cli::parse(std::env::args_os().skip(1))?;
    catch_unwind(|| act(&arguments)).unwrap_or_else(|panic| match arguments.json {
        true => Err(Exit::tool_failure("the program has a fault; standard error says where", 1, true)),
        false => resume_unwind(panic),
    })
}

fn act(arguments: &Arguments) -> Result<u8, Exit> {
    let shown = match arguments.mode {
        Mode::Check { write } => check::run(arguments, write),
        Mode::Status => status::run(arguments),
        Mode::DryRun => dry_run::run(arguments),
        Mode::Rebalance { all_nodes } => rebalance::run(arguments, all_nodes),
        Mode::Order => control::run(arguments),
        Mode::First => return first(arguments),
        Mode::Replicate => return replicate(arguments),
    };
    Err(shown)
}

fn first(arguments: &Arguments) -> Result<u8, Exit> {
    if let Some(shown) = control::first(arguments) {
        return Err(shown);
    }
    // Whoever closed the stream does not want to know.
    let _ = writeln!(
        std::io::stderr(),
        "No daemon runs with this configuration: a single pass over these partitions alone."
    );
    replicate(arguments)
}

fn replicate(arguments: &Arguments) -> Result<u8, Exit> {
    daemon::run(arguments).map_err(|failure| {
        let exit_code = failure.exit_code();
        Exit::tool_failure(failure, exit_code, arguments.json)
    })
}
