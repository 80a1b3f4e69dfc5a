//! How log lines and requests name a device of a node.

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
