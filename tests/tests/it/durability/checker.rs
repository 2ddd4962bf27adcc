//! Is a recorded history linearizable? The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993)
//! with Lowe's memory of visited configurations ("Testing for linearizability", 2017).
//!
//! ```text
//! configuration: which operations took effect, and the registers after them
//!   next: any operation that was invoked before the first of the others had returned, if its answer fits
//! linearizable: some path takes effect of all
//! ```
//!
//! The model is a few registers, each absent or holding a number that is written once; a list reads all at one instant.
//! A compare-and-swap names the number that it expects, as a resourceVersion does; an overwrite needs something there.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// How many configurations are looked at before the search gives up.
const BOUND: usize = 2_000_000;

/// A register's content.
pub(super) type Content = Option<u32>;

/// What was asked, and what the answer was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Get {
        key: usize,
        found: Content,
    },
    List {
        found: Vec<Content>,
    },
    /// Puts `to` where `from` is (absent: creates). `done` is false if the server said that `from` is not there.
    Swap {
        key: usize,
        from: Content,
        to: Content,
        done: bool,
    },
    /// Puts `to` in place of whatever is there. `done` is false if the server said that nothing is there.
    Overwrite {
        key: usize,
        to: u32,
        done: bool,
    },
}

impl Act {
    /// Does it to the registers; `None` if the answer does not fit them.
    fn apply(&self, registers: &[Content]) -> Option<Vec<Content>> {
        match self {
            Self::Get { key, found } => (registers[*key] == *found).then(|| registers.to_vec()),
            Self::List { found } => (registers == found).then(|| registers.to_vec()),
            Self::Swap {
                key,
                from,
                to,
                done,
            } => {
                let mut after = registers.to_vec();
                if *done {
                    after[*key] = *to;
                }
                ((registers[*key] == *from) == *done).then_some(after)
            }
            Self::Overwrite { key, to, done } => {
                let mut after = registers.to_vec();
                if *done {
                    after[*key] = Some(*to);
                }
                (registers[*key].is_some() == *done).then_some(after)
            }
        }
    }
}

/// An operation with the instants of its invocation and return, by one clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Operation {
    pub(super) invoked: u64,
    pub(super) returned: u64,
    pub(super) act: Act,
}

/// Why a history was not accepted.
pub(super) enum Verdict {
    /// No order explains it: the operations that were under way where the longest explanation ends.
    Violation(Vec<Operation>),
    /// The search went beyond its bound.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(stuck) => {
                f.write_str("not linearizable; no order of these explains their answers:")?;
                stuck.iter().try_for_each(|operation| {
                    let Operation {
                        invoked,
                        returned,
                        act,
                    } = operation;
                    write!(f, "\n  {invoked} to {returned}: {act:?}")
                })
            }
            Self::Undecided => write!(f, "undecided after {BOUND} configurations"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration {
    /// All operations before this one took effect.
    base: usize,
    /// And these behind it.
    more: BTreeSet<usize>,
    registers: Vec<Content>,
}

impl Configuration {
    fn with(&self, taken: usize, registers: Vec<Content>) -> Self {
        let mut next = Self {
            base: self.base,
            more: self.more.clone(),
            registers,
        };
        next.more.insert(taken);
        while next.more.remove(&next.base) {
            next.base += 1;
        }
        next
    }

    /// Those that may take effect next.
    fn candidates(&self, history: &[Operation]) -> Vec<usize> {
        let mut first_return = u64::MAX;
        let mut found = Vec::new();
        for (index, operation) in history.iter().enumerate().skip(self.base) {
            if operation.invoked > first_return {
                break;
            }
            if !self.more.contains(&index) {
                first_return = first_return.min(operation.returned);
                found.push(index);
            }
        }
        found.retain(|&index| history[index].invoked <= first_return);
        found
    }
}

/// Whether a history of so many registers, all absent at first, is linearizable.
pub(super) fn check(mut history: Vec<Operation>, registers: usize) -> Result<(), Verdict> {
    history.sort_by_key(|operation| operation.invoked);
    let start = Configuration {
        base: 0,
        more: BTreeSet::new(),
        registers: vec![None; registers],
    };
    let mut visited = HashSet::from([start.clone()]);
    let mut longest = start.clone();
    let mut stack = vec![start];
    while let Some(configuration) = stack.pop() {
        if configuration.base == history.len() {
            return Ok(());
        }
        if configuration.base + configuration.more.len() > longest.base + longest.more.len() {
            longest = configuration.clone();
        }
        // The oldest is tried first: it is pushed last.
        for index in configuration.candidates(&history).into_iter().rev() {
            if let Some(registers) = history[index].act.apply(&configuration.registers) {
                let next = configuration.with(index, registers);
                if visited.insert(next.clone()) {
                    stack.push(next);
                }
            }
        }
        if visited.len() > BOUND {
            return Err(Verdict::Undecided);
        }
    }
    let stuck = longest.candidates(&history);
    Err(Verdict::Violation(
        stuck.into_iter().map(|i| history[i].clone()).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(invoked: u64, returned: u64, act: Act) -> Operation {
        Operation {
            invoked,
            returned,
            act,
        }
    }

    fn get(found: Content) -> Act {
        Act::Get { key: 0, found }
    }

    fn swap(from: Content, to: Content, done: bool) -> Act {
        Act::Swap {
            key: 0,
            from,
            to,
            done,
        }
    }

    fn violated(history: Vec<Operation>, registers: usize) -> bool {
        matches!(check(history, registers), Err(Verdict::Violation(_)))
    }

    #[test]
    fn a_read_beside_a_write_may_see_either_side() {
        for found in [None, Some(1)] {
            let history = vec![at(0, 10, swap(None, Some(1), true)), at(5, 6, get(found))];
            assert!(check(history, 1).is_ok(), "{found:?}");
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let write = at(0, 1, swap(None, Some(1), true));
        assert!(violated(vec![write.clone(), at(2, 3, get(None))], 1));
        assert!(check(vec![write, at(2, 3, get(Some(1)))], 1).is_ok());
    }

    #[test]
    fn two_reads_that_see_a_write_and_then_do_not_are_found() {
        let write = at(0, 10, swap(None, Some(1), true));
        let history = vec![write, at(1, 2, get(Some(1))), at(3, 4, get(None))];
        assert!(violated(history, 1));
    }

    #[test]
    fn a_lost_update_is_found() {
        let history = vec![
            at(0, 1, swap(None, Some(1), true)),
            at(2, 9, swap(Some(1), Some(2), true)),
            at(3, 8, swap(Some(1), Some(3), true)),
        ];
        assert!(violated(history.clone(), 1));
        let mut one_refused = history;
        one_refused[2].act = swap(Some(1), Some(3), false);
        assert!(check(one_refused, 1).is_ok());
    }

    #[test]
    fn a_refusal_without_a_reason_is_found() {
        let history = vec![
            at(0, 1, swap(None, Some(1), true)),
            at(2, 3, swap(Some(1), Some(2), false)),
        ];
        assert!(violated(history, 1));
    }

    #[test]
    fn a_lost_overwrite_is_found() {
        let overwrite = |to, done| Act::Overwrite { key: 0, to, done };
        let history = |found| {
            vec![
                at(0, 1, swap(None, Some(1), true)),
                at(2, 3, overwrite(2, true)),
                at(4, 5, get(found)),
            ]
        };
        assert!(check(history(Some(2)), 1).is_ok());
        assert!(violated(history(Some(1)), 1));
        let of_nothing = |done| vec![at(0, 1, overwrite(1, done))];
        assert!(check(of_nothing(false), 1).is_ok());
        assert!(violated(of_nothing(true), 1));
    }

    #[test]
    fn a_list_that_mixes_two_instants_is_found() {
        let second = |key, to| Act::Swap {
            key,
            from: None,
            to: Some(to),
            done: true,
        };
        let list = |found: [Content; 2]| Act::List {
            found: found.to_vec(),
        };
        let history = |found| {
            vec![
                at(0, 1, second(0, 1)),
                at(2, 3, second(1, 2)),
                at(0, 9, list(found)),
            ]
        };
        for found in [[None, None], [Some(1), None], [Some(1), Some(2)]] {
            assert!(check(history(found), 2).is_ok(), "{found:?}");
        }
        assert!(violated(history([None, Some(2)]), 2));
    }
}
