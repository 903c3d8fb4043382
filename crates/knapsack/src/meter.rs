//! What solving may cost.

/// What solving may cost, in elementary steps, which bounds the time it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many states may be looked at; one takes some 3 to 15 ns. With 0 the
    /// answer is the best of the simple ones (break, greedy, one exchange).
    pub states: u64,
}

impl Default for Budget {
    /// About 5 ms, or 10 on a slow machine.
    fn default() -> Self {
        Self { states: 1 << 19 }
    }
}

/// How many states go by between two looks at the caller's clock.
const BETWEEN_LOOKS: u64 = 1 << 14;

/// Counts what was spent, and asks the caller whether to go on.
pub(crate) struct Meter<'a> {
    left: u64,
    /// What may not be spent for now.
    reserved: u64,
    until_look: u64,
    go_on: &'a mut dyn FnMut() -> bool,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: Budget, go_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self {
            left: budget.states,
            reserved: 0,
            until_look: BETWEEN_LOOKS,
            go_on,
        }
    }

    /// Allows only `states`, and a quarter of what is left at most, to be spent
    /// until [`Self::release`].
    pub(crate) fn reserve_all_but(&mut self, states: usize) {
        self.reserved = self.left - (states as u64).min(self.left / 4);
    }

    /// Allows everything to be spent.
    pub(crate) fn release(&mut self) {
        self.reserved = 0;
    }

    /// Whether nothing can be paid any more.
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Pays for `states`; false when that cannot be paid.
    pub(crate) fn pay(&mut self, states: usize) -> bool {
        let states = states as u64;
        if self.left - self.reserved < states {
            self.left = self.reserved;
            return false;
        }
        self.left -= states;
        match self.until_look.checked_sub(states) {
            Some(rest) => self.until_look = rest,
            None => {
                self.until_look = BETWEEN_LOOKS;
                if !(self.go_on)() {
                    self.left = 0;
                    self.reserved = 0;
                    return false;
                }
            }
        }
        true
    }
}
