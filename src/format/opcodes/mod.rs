//! What every reader and writer of pickles here stands on: the opcodes, the input, the stack with its marks and memo.

pub(super) mod input;
pub(super) mod op;
pub(super) mod stack;
