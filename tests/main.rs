//! The integration tests, as one binary: what a process does (`process`), formats held against the reference
//! (`oracle`), what is installed beside the program (`packaging`), passes between real servers (`interop`), and what
//! happens to one that runs for long (`daemon`).

mod daemon;
mod interop;
mod oracle;
mod packaging;
mod process;
mod support;
