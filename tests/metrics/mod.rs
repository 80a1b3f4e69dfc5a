//! The metrics as others read them: the text's format, which a checker of ours and Prometheus' own look at; what it says of
//! real passes.

mod format;
mod listen;
mod passes;
mod rules;
