//! The shells' completions as the command line's definition makes them.

use clap_complete::{Shell, generate};
use swift_object_replicator::cli;

/// Every script with the name of its file.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let files = [
        (Shell::Bash, "swift-object-replicator.bash"),
        (Shell::Zsh, "_swift-object-replicator"),
        (Shell::Fish, "swift-object-replicator.fish"),
    ];
    files.map(|(shell, name)| (name, script(shell))).into()
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut cli::command(), cli::PROGRAM, &mut script);
    script
}
