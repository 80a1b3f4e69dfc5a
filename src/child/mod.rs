//! Child processes: started while that is allowed, watched with time limits, killed, and reaped.

mod end;
mod gate;
mod hang;
mod reaper;
mod run;

pub(crate) use self::end::end;
pub(crate) use self::gate::SpawnGate;
pub(crate) use self::hang::Wait;
pub(crate) use self::run::{Children, End, Output, RunError, RunLimits, Stream};
