//! The one place for `unsafe` code and raw libc calls: what std and rustix do not offer. Each use says why it is sound.

mod addresses;
#[cfg(test)]
pub(crate) mod heap;
mod inherited;
mod local_time;
mod process;
mod sockets;
mod stat;
mod unsent;

pub use addresses::{interface_addresses, numeric_address};
pub use inherited::{is_ignored, settle_inherited};
pub use local_time::{LocalTime, local_time};
pub use process::*;
pub use sockets::round_trip;
pub use stat::{LivingProcess, zombie};
pub use unsent::limit_unsent;
