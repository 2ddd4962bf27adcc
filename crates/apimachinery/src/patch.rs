//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.
//!
//! ```text
//!   application/json-patch+json             json_patch(object, operations)
//!   application/merge-patch+json            merge_patch(object, patch)
//!   application/strategic-merge-patch+json  strategic::apply(object, patch, what lists mean)
//! ```
//!
//! All of them work on plain JSON; defaulting and validation come after. A patch that fails leaves the
//! object as it was. Bounds are in [`crate::limits`]: a small patch must not grow an object without
//! end, nest it deeper than parsers read, or keep a CPU busy.

mod json;
mod merge;
mod order;
pub mod strategic;

pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::{ListStrategy, MapStrategy, PatchMeta};

use crate::status::{ApiError, Reason, StatusDetails};

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The document is no patch of its kind: 400.
    #[error("{0}")]
    Malformed(String),
    /// A JSON patch has too many operations: 413.
    #[error("The allowed maximum operations in a JSON patch is {limit}, got {actual}")]
    TooManyOperations {
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    DoesNotApply(String),
    /// A `test` of a JSON patch found something else: 422.
    #[error("{0}")]
    TestFailed(String),
    /// The patch would do more than the bounds allow: 422.
    #[error("{0}")]
    TooMuch(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Malformed(message) => Self::bad_request(message),
            PatchError::TooManyOperations { .. } => Self::too_large(error),
            PatchError::DoesNotApply(message)
            | PatchError::TestFailed(message)
            | PatchError::TooMuch(message) => {
                // Upstream's message ends before the colon, and its details are empty.
                let message = format!(
                    "the server rejected our request due to an error in our request: {message}"
                );
                Self::new(Reason::Invalid, message, Some(StatusDetails::default()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
