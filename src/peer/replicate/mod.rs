//! The REPLICATE request (B7): what hashes has the peer, and please look again at what was pushed.
//!
//! One [`Client`] serves all threads. A request goes over the connection that was kept from the last one to the same
//! peer, if there is one (`idle`), else over a new one; a kept one that turns out to be dead costs one more attempt,
//! which is harmless, since asking twice changes nothing. Statuses are values, nothing is followed or decompressed, no
//! proxy is used, and whatever a peer sends is bounded in size and time.

mod client;
mod error;
mod head;
mod idle;
mod object;
mod target;
mod wire;

pub use self::client::Client;
pub use self::error::ReplicateError;
pub use self::object::{Description, Served};

#[cfg(test)]
mod tests;
