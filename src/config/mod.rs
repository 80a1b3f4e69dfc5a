//! The configuration: the ini dialect, the daemon's settings, and `swift.conf`.

pub mod ini;
pub mod interpolation;
pub mod options;
pub mod policies;
pub mod settings;
pub mod swift_conf;
pub mod value;
