//! Passes between real servers.
