//! What evaluation may cost, and how it fails.

use kube_cel::cel::Value;

use crate::construct::Constructed;
use crate::ops::as_optional;

/// Why an expression has no value. Prints in the words of cel-go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An operator or function does not take these values.
    #[error("no such overload")]
    Overload,
    /// A map or object has no such key.
    #[error("no such key: {0}")]
    NoKey(String),
    /// A list has no such element.
    #[error("index out of bounds: {0}")]
    Bounds(i64),
    /// Division by zero.
    #[error("division by zero")]
    Division,
    /// Remainder of a division by zero.
    #[error("modulus by zero")]
    Modulus,
    /// The result of arithmetic is out of range.
    #[error("integer overflow")]
    Overflow,
    /// A name that nothing declares.
    #[error("undeclared reference to '{0}'")]
    Undeclared(String),
    /// A function failed, in its own words.
    #[error("{0}")]
    Function(String),
    /// The budget is spent.
    #[error("operation cancelled: actual cost limit exceeded")]
    Exhausted,
}

/// Cost units that may still be spent.
///
/// One unit is about one step of evaluation, or ten bytes of text touched.
#[derive(Debug, Clone)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of so many units.
    #[must_use]
    pub fn new(units: u64) -> Self {
        Budget { left: units }
    }

    /// The budget of one object (or of one policy with one binding).
    #[must_use]
    pub fn of_object() -> Self {
        Budget::new(crate::limits::OBJECT_COST)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Takes a part for one call, at most `most`; what is left of it comes back with [`Self::put_back`].
    pub(crate) fn take(&mut self, most: u64) -> Budget {
        let part = self.left.min(most);
        self.left -= part;
        Budget { left: part }
    }

    /// Returns what a call did not spend.
    pub(crate) fn put_back(&mut self, rest: &Budget) {
        self.left += rest.left;
    }

    /// Spends; all that is left is lost when it does not suffice.
    pub(crate) fn charge(&mut self, units: u64) -> Result<(), Fault> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Fault::Exhausted)
            }
        }
    }

    /// Spends what touching all of `value` costs.
    pub(crate) fn charge_for(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::String(s) => self.charge(text_cost(s.len())),
            Value::Bytes(b) => self.charge(text_cost(b.len())),
            Value::List(list) => {
                self.charge(1)?;
                list.iter().try_for_each(|item| self.charge_for(item))
            }
            Value::Map(map) => {
                self.charge(1)?;
                map.map.values().try_for_each(|item| self.charge_for(item))
            }
            Value::Opaque(_) => {
                self.charge(1)?;
                if let Some(made) = Constructed::of(value) {
                    return made.values().try_for_each(|item| self.charge_for(item));
                }
                match as_optional(value).and_then(|optional| optional.value()) {
                    Some(held) => self.charge_for(held),
                    None => Ok(()),
                }
            }
            _ => self.charge(1),
        }
    }
}

/// Cost of passing over so many bytes of text.
pub(crate) fn text_cost(bytes: usize) -> u64 {
    1 + bytes as u64 / 10
}
