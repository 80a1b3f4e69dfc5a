//! What a process does: arguments, exit codes, streams.
