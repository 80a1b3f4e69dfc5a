//! The recon cache (B12.14-B12.16).

use std::path::Path;

use serde_json::{Map, Value};

/// Why the recon cache could not be updated.
#[derive(Debug, thiserror::Error)]
#[error("TODO")]
pub struct ReconError {}

/// Merges the entries into `<cache_dir>/object.recon`.
pub fn dump(_cache_dir: &Path, _entries: &Map<String, Value>) -> Result<(), ReconError> {
    todo!()
}

/// What `<cache_dir>/object.recon` holds; nothing if it is missing or is no JSON.
pub fn load(_cache_dir: &Path) -> Result<Map<String, Value>, ReconError> {
    todo!()
}
