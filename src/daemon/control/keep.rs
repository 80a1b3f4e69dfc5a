//! Orders that outlive the process (`--keep`): a file beside the recon cache.
//!
//! It is written as a whole whenever such an order comes or goes, and removed with the last of them. What is not exactly
//! what this program writes is not acted on: half an order may mean something else.

use std::path::Path;
use std::{fs, io};

use crate::orders::wire::LONGEST_REASON;
use crate::orders::{Kept, Order};
use crate::regular::{self, Links};
use crate::report::files;

/// The file's name, in the folder of the recon cache.
const FILE: &str = "object-replicator.orders";
/// More of a file is not read.
const MAX_BYTES: u64 = 1 << 20;

/// What was kept in this folder; nothing if there is no file.
///
/// # Errors
/// A line that says why the file is of no use.
pub(super) fn read(folder: &Path) -> Result<Kept, String> {
    let path = folder.join(FILE);
    let failed = |error: String| format!("{}: {error}", path.display());
    let content = match regular::read(&path, Links::Refused, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        content => content.map_err(|error| failed(error.to_string()))?,
    };
    let kept: Kept = serde_json::from_slice(&content).map_err(|error| failed(error.to_string()))?;
    let orders = kept.pauses.iter().map(|pause| &pause.order).chain(kept.limits.iter().map(|set| &set.order));
    let is_sound = orders.into_iter().all(is_sound) && kept.limits.iter().all(|set| set.name.check(&set.value).is_ok());
    if is_sound { Ok(kept) } else { Err(failed("it holds what no order can be".to_owned())) }
}

fn is_sound(order: &Order) -> bool {
    let is_time = |time: f64| time.is_finite() && time >= 0.0;
    let is_text = |text: &str| !text.is_empty() && text.len() <= 8 * LONGEST_REASON;
    order.keep
        && is_text(&order.by)
        && order.reason.as_deref().is_none_or(is_text)
        && is_time(order.since)
        && order.until.is_none_or(is_time)
}

/// Puts what is to be kept into the folder.
///
/// # Errors
/// A line that says why that cannot be.
pub(super) fn write(folder: &Path, kept: &Kept) -> Result<(), String> {
    let path = folder.join(FILE);
    if *kept == Kept::default() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", path.display()))
            }
            _ => Ok(()),
        };
    }
    // Names, numbers and texts: nothing in it can fail.
    let json = serde_json::to_string_pretty(kept).unwrap_or_default() + "\n";
    files::replace(&path, json.as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::pauses::{Pause, Subject};

    fn kept() -> Kept {
        let order = Order { by: "root".into(), since: 5.0, until: Some(7.0), keep: true, reason: Some("why".into()) };
        Kept { pauses: vec![Pause { what: Subject::Device("sdb".into()), order }], limits: Vec::new() }
    }

    #[test]
    fn what_is_written_is_read_and_the_last_order_takes_the_file_along() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Ok(Kept::default()));
        write(folder.path(), &kept()).unwrap();
        assert_eq!(read(folder.path()), Ok(kept()));
        write(folder.path(), &Kept::default()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write(folder.path(), &Kept::default()).unwrap();
    }

    #[test]
    fn what_this_program_does_not_write_is_not_acted_on() {
        let folder = tempfile::tempdir().unwrap();
        let sound = serde_json::to_string(&kept()).unwrap();
        for junk in [
            "",
            "{}",
            "null",
            &sound[..sound.len() - 2],
            &sound.replace("sdb\"", "sdb\",\"x"),
            &sound.replace("\"limits\"", "\"more\":1,\"limits\""),
            &sound.replace("true", "false"),
            &sound.replace("5.0", "-5.0"),
            &sound.replace("root", ""),
            r#"{"pauses":[],"limits":[{"name":"concurrency","value":"0","by":"root","since":1.0,"keep":true}]}"#,
            r#"{"pauses":[{"what":{"peer":"/"},"by":"root","since":1.0,"keep":true}],"limits":[]}"#,
        ] {
            fs::write(folder.path().join(FILE), junk).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(error.contains("object-replicator.orders: "), "{junk}: {error}");
        }
    }
}
