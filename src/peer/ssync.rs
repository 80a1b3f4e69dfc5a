//! The SSYNC sender.

pub mod answer;
pub mod codec;
