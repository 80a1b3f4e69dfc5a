//! What a node says that its devices have free: by recon at its object server's address.
//!
//! The answer is taken as far as it is understood: a device that is not mounted, or of which it says something else than
//! two numbers, is left out.

use std::collections::HashMap;
use std::time::Duration;

use super::recon::{self, Usage};
use crate::ring::Device;

/// How long a node may take for the whole answer.
const LIMIT: Duration = Duration::from_secs(3);

/// The room on a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub size: u64,
    /// What others than root can have of it.
    pub free: u64,
}

/// The room on a node's devices, by their names.
pub(crate) type Rooms = HashMap<String, Room>;

/// Asks the node of a device. `None` if it does not say within a few seconds.
pub(crate) fn ask(of: &Device) -> Option<Rooms> {
    recon::ask(&of.ip, of.port, LIMIT).ok().map(rooms)
}

fn rooms(Usage(disks): Usage) -> Rooms {
    let room = |disk: recon::Disk| {
        let room = Room { size: disk.size.as_u64()?, free: disk.avail.as_u64()? };
        Some((disk.device, room))
    };
    disks.into_iter().filter_map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_mounted_have_room_and_others_are_left_out() {
        let said = r#"[{"device": "sdb1", "avail": 99, "mounted": true, "used": 1, "size": 100},
            {"device": "sdc1", "avail": "", "mounted": false, "used": "", "size": ""},
            {"device": "sdd1", "avail": -5, "mounted": true, "used": 1, "size": 100}]"#;
        let expected = HashMap::from([("sdb1".to_owned(), Room { size: 100, free: 99 })]);
        assert_eq!(rooms(serde_json::from_str(said).unwrap()), expected);
    }
}
