//! The configuration: the ini dialect, the daemon's settings, and `swift.conf`.

pub(crate) mod ini;
pub(crate) mod interpolation;
pub(crate) mod options;
pub mod policies;
pub mod settings;
pub mod swift_conf;
pub mod value;
