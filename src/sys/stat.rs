//! What `/proc/<pid>/stat` says of a process: `<pid> (<name>) <state> <parent> ... <when it began> ...`.

use std::fs;

/// A process that is there and not merely the remains of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivingProcess {
    /// The process id of its parent.
    pub parent: i32,
    /// When it began, in the kernel's ticks since it booted.
    pub began: u64,
}

impl LivingProcess {
    /// Looks at the process with this id; `None` if there is none, or only a zombie.
    pub fn look_at(pid: u32) -> Option<Self> {
        let (is_dead, process) = look_at(pid)?;
        (!is_dead).then_some(process)
    }
}

/// When this process began, if it is a zombie and a child of that parent.
pub fn zombie(pid: i32, parent: i32) -> Option<u64> {
    let (is_dead, process) = look_at(u32::try_from(pid).ok()?)?;
    (is_dead && process.parent == parent).then_some(process.began)
}

/// A process, and whether it is only the remains of one.
fn look_at(pid: u32) -> Option<(bool, LivingProcess)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may hold anything, brackets too.
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = String::from_utf8_lossy(&stat[end_of_name + 1..]);
    let mut fields = rest.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    let (parent, began) = (fields.next()?.parse().ok()?, fields.nth(17)?.parse().ok()?);
    Some((is_dead, LivingProcess { parent, began }))
}
