//! The stack, the marks and the memo of a machine that reads pickles, within limits.

use super::fault::PickleFault::{self, Malformed, TooMany};

/// Honest pickles put at most 1,000 pairs on the stack at once, or all of them.
const MAX_STACK: usize = 1 << 14;
/// Honest pickles remember at most six things for each pair.
const MAX_MEMO: usize = 1 << 16;
/// Honest pickles have a tuple in a dict.
const MAX_MARKS: usize = 4;

/// There is nothing to take, in front of the last mark.
const UNDERFLOW: PickleFault = Malformed("stack underflow");
const NO_MARK: PickleFault = Malformed("no mark");
const NOT_IN_MEMO: PickleFault = Malformed("nothing in that place of the memo");

/// Values, marks between them, and what is remembered for later.
pub(in crate::format) struct Stack<V> {
    values: Vec<V>,
    /// The heights of the stack at open marks.
    marks: Vec<usize>,
    memo: Vec<Option<V>>,
    /// How many places of the memo are taken.
    memoized: usize,
    has_dict: bool,
}

impl<V: Copy> Stack<V> {
    pub(in crate::format) fn new() -> Self {
        Self {
            values: Vec::with_capacity(64),
            marks: Vec::new(),
            memo: Vec::with_capacity(64),
            memoized: 0,
            has_dict: false,
        }
    }

    pub(in crate::format) fn push(&mut self, value: V) -> Result<(), PickleFault> {
        if self.values.len() >= MAX_STACK {
            return Err(TooMany("too many values at once"));
        }
        self.values.push(value);
        Ok(())
    }

    /// Pushes the dict. There is one in honest pickles, so that nothing nests.
    pub(in crate::format) fn push_dict(&mut self, dict: V) -> Result<(), PickleFault> {
        if self.has_dict {
            return Err(TooMany("more than one dict"));
        }
        self.has_dict = true;
        self.push(dict)
    }

    pub(in crate::format) fn pop(&mut self) -> Result<V, PickleFault> {
        if self.values.len() <= self.fence() {
            return Err(UNDERFLOW);
        }
        self.values.pop().ok_or(UNDERFLOW)
    }

    /// The height of the stack below which an open mark hides everything.
    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(in crate::format) fn mark(&mut self) -> Result<(), PickleFault> {
        if self.marks.len() >= MAX_MARKS {
            return Err(TooMany("too many marks"));
        }
        self.marks.push(self.values.len());
        Ok(())
    }

    /// Closes the last mark; what has been pushed since begins at this height.
    pub(in crate::format) fn unmark(&mut self) -> Result<usize, PickleFault> {
        self.marks.pop().ok_or(NO_MARK)
    }

    /// The height at which the last two values begin.
    pub(in crate::format) fn below_two(&self) -> Result<usize, PickleFault> {
        self.values.len().checked_sub(2).ok_or(UNDERFLOW)
    }

    /// The values from this height on, but none that an open mark hides.
    pub(in crate::format) fn above(&self, height: usize) -> &[V] {
        self.values.get(height.max(self.fence())..).unwrap_or_default()
    }

    /// The value just below this height.
    pub(in crate::format) fn below(&self, height: usize) -> Result<V, PickleFault> {
        if height <= self.fence() || height > self.values.len() {
            return Err(UNDERFLOW);
        }
        Ok(self.values[height - 1])
    }

    /// Takes away all from this height on.
    pub(in crate::format) fn truncate(&mut self, height: usize) {
        self.values.truncate(height);
    }

    /// Remembers the topmost value.
    pub(in crate::format) fn put(&mut self, at: usize) -> Result<(), PickleFault> {
        if at >= MAX_MEMO {
            return Err(TooMany("too many things in the memo"));
        }
        let value = *self.above(0).last().ok_or(UNDERFLOW)?;
        if at >= self.memo.len() {
            self.memo.resize(at + 1, None);
        }
        if self.memo[at].replace(value).is_none() {
            self.memoized += 1;
        }
        Ok(())
    }

    /// Remembers the topmost value in the next place, as Python counts them.
    pub(in crate::format) fn put_next(&mut self) -> Result<(), PickleFault> {
        self.put(self.memoized)
    }

    /// Pushes what is remembered in that place.
    pub(in crate::format) fn get(&mut self, at: usize) -> Result<(), PickleFault> {
        match self.memo.get(at) {
            Some(Some(value)) => self.push(*value),
            _ => Err(NOT_IN_MEMO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_hides_what_is_below_it() {
        let mut stack = Stack::new();
        stack.push('a').unwrap();
        stack.mark().unwrap();
        assert_eq!((stack.pop(), stack.put(0), stack.below(1)), (Err(UNDERFLOW), Err(UNDERFLOW), Err(UNDERFLOW)));
        stack.push('b').unwrap();
        assert_eq!(stack.above(0), ['b']);
        assert_eq!(stack.unmark(), Ok(1));
        assert_eq!((stack.below(1), stack.below_two(), stack.above(0)), (Ok('a'), Ok(0), &['a', 'b'][..]));
        stack.truncate(1);
        assert_eq!((stack.pop(), stack.pop(), stack.unmark()), (Ok('a'), Err(UNDERFLOW), Err(NO_MARK)));
    }

    #[test]
    fn the_memo_keeps_what_was_topmost_and_counts_its_places() {
        let mut stack = Stack::new();
        stack.push('a').unwrap();
        stack.put(5).unwrap();
        stack.push('b').unwrap();
        stack.put_next().unwrap();
        stack.get(5).unwrap();
        stack.get(1).unwrap();
        assert_eq!(stack.above(0), ['a', 'b', 'a', 'b']);
        assert_eq!((stack.get(0), stack.get(7)), (Err(NOT_IN_MEMO), Err(NOT_IN_MEMO)));
    }

    #[test]
    fn nothing_grows_beyond_its_limit() {
        let mut stack = Stack::new();
        (0..MAX_STACK).for_each(|_| stack.push(0).unwrap());
        assert_eq!(stack.push(0), Err(TooMany("too many values at once")));
        (0..MAX_MARKS).for_each(|_| stack.mark().unwrap());
        assert_eq!(stack.mark(), Err(TooMany("too many marks")));
        stack.unmark().unwrap();
        stack.pop().unwrap_err();
        let mut stack = Stack::new();
        stack.push_dict(0).unwrap();
        assert_eq!(stack.push_dict(0), Err(TooMany("more than one dict")));
        assert_eq!(stack.put(MAX_MEMO), Err(TooMany("too many things in the memo")));
    }
}
