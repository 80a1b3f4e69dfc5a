//! What Python does in a way of its own, and other programs rely on: how it writes numbers, strings, JSON and errors, and
//! how it reads numbers and format specs.

pub(crate) mod errors;
pub(crate) mod format_spec;
pub(crate) mod json;
pub(crate) mod numbers;
mod repr;

pub use self::errors::{errno_text, error_text};
pub use self::repr::{repr_float, repr_list, repr_str, round};
