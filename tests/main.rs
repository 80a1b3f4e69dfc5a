//! The integration tests, as one binary: what a process does (`process`), formats held against the reference
//! (`oracle`), passes between real servers (`interop`), and what is left when everything fails (`chaos`).

mod chaos;
mod interop;
mod oracle;
mod process;
mod support;
