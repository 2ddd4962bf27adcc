//! Label and field selectors: `app=web,tier in (a,b),!old` and `spec.nodeName=n1,status.phase!=Failed`.
//!
//! ```text
//!   query text ───────────────► LabelSelector ──matches(labels)──► bool
//!   metav1.LabelSelector JSON ──►      │
//!                                      └── Display: the canonical text, sorted by key
//!   query text ───────────────► FieldSelector ──matches(path -> value)──► bool
//! ```
//!
//! Errors have kube's wording. Matching does not allocate for [`LabelSelector`].

mod field;
mod label;
mod parse;
mod validate;

pub use field::{FieldOperator, FieldRequirement, FieldSelector};
pub use label::{LabelSelector, LabelSet, Operator, Requirement};
pub use validate::{label_errors, label_selector_errors};

/// Why a text (or object) is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text of a label selector, or a requirement in it, is malformed.
    #[error("{0}")]
    Label(String),
    /// A term of a field selector has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The part without an operator.
        term: String,
    },
    /// A backslash in a field selector stands before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A value in a field selector has a bare `=`.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
    /// The text is too long.
    #[error("selector is longer than {0} bytes")]
    TooLong(usize),
}

#[cfg(test)]
mod tests;
