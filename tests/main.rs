//! The integration tests, as one binary: what `--check` finds (`check`), what a process does (`process`), formats held against the reference
//! (`oracle`), what is installed beside the program (`packaging`), and passes between real servers (`interop`).

mod check;
mod interop;
mod oracle;
mod packaging;
mod process;
mod support;
