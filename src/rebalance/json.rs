//! What was found out, for programs.

use serde::Serialize;

use crate::printable::printable_json;

/// The value as JSON.
pub(super) fn render(value: &impl Serialize) -> String {
    // Names, numbers and texts: nothing in it can fail.
    printable_json(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")
}
