//! How to talk to another node: ask for its hashes, push to it. SSYNC reads the objects that it sends by itself.
//!
//! Nothing that a peer does is trusted to end, or to be of any size: every wait and every answer has a limit.

pub(crate) mod connect;
pub(crate) mod diskusage;
pub mod module;
mod node;
pub(crate) mod outage;
pub(crate) mod recon;
pub mod replicate;
pub mod rsync;
pub mod rsyncd;
pub mod ssync;

pub(crate) use self::node::authority;
pub use self::node::node_string;
