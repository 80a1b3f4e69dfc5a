//! The process: once and forever; signals, privileges, stdio.
