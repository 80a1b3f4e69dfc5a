//! What every reader and writer of pickles here stands on: the opcodes, the instructions that they and their arguments
//! make, the input, the stack with its marks and memo.

pub(super) mod fault;
pub(super) mod input;
pub(super) mod instruction;
pub(super) mod op;
pub(super) mod stack;
