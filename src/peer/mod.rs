//! How to talk to another node: ask for its hashes, push to it. Knows nothing of local devices but paths.
//!
//! Nothing that a peer does is trusted to end, or to be of any size: every wait and every answer has a limit.

pub mod births;
pub mod connect;
pub mod module;
pub mod outage;
pub mod reaper;
pub mod replicate;
pub mod rsync;
pub mod rsyncd;
pub mod ssync;

use crate::ring::Device;

/// Where a device is found on the replication network, as log lines have it: `ip:port/device`, IPv6 in brackets.
pub fn node_string(device: &Device) -> String {
    format!("{}/{}", authority(device), device.device)
}

/// The address of the object server that answers for a device on the replication network: `ip:port`.
pub(crate) fn authority(device: &Device) -> String {
    let Device { replication_ip: ip, replication_port: port, .. } = device;
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
