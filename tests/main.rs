//! The integration tests, as one binary: what a process does (`process`), formats held against the reference
//! (`oracle`), and passes between real servers (`interop`).

mod interop;
mod oracle;
mod process;
mod support;
