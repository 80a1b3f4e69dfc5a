//! The integration tests, as one binary: what a process does (`process`), formats held against the reference
//! (`oracle`), what is installed beside the program (`packaging`), what `--check` finds (`check`), what is reported
//! of passes (`report`), metrics as others read them (`metrics`), passes between real servers (`interop`), what happens to
//! one that runs for long (`daemon`), what one fault costs (`matrix`), what is left when everything fails (`chaos`), that
//! what documents name is there (`documents`), that rooms of the sources stay in order (`structure`), and that the tests
//! themselves leave nothing (`leftovers`).

mod chaos;
mod check;
mod daemon;
mod documents;
mod interop;
mod leftovers;
mod matrix;
mod metrics;
mod oracle;
mod packaging;
mod process;
mod rebalance;
mod report;
mod structure;
mod support;
