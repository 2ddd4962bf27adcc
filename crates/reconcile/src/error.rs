//! Why a pass over an object failed.

use thiserror::Error;

/// A failed pass: what was being done, and why it failed.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The API refused or could not be reached.
    #[error("{doing}")]
    Api {
        /// What was being done, to what: "creating Pod ns/name".
        doing: String,
        /// The API's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something outside the API failed.
    #[error("{doing}: {why}")]
    Other {
        /// What was being done, to what.
        doing: String,
        /// Why it failed.
        why: String,
    },
}

impl ReconcileError {
    /// An error that did not come from the API.
    pub fn other(doing: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Other {
            doing: doing.into(),
            why: why.to_string(),
        }
    }

    /// Whether somebody else changed or removed the object meanwhile: a newer truth, not a failure.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(s) if s.code == 409 && s.reason == "Conflict")
            }
            Self::Other { .. } => false,
        }
    }

    /// Whether the store had no space for a write. Deletions still work, so this is a state to go on in.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(s) if s.code == 507)
            }
            Self::Other { .. } => false,
        }
    }

    /// Whether the object, or the namespace around it, went away meanwhile: there is nothing left
    /// to do for it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let Self::Api { source, .. } = self else {
            return false;
        };
        match source.as_ref() {
            kube::Error::Api(s) if s.code == 404 => true,
            kube::Error::Api(s) => s
                .details
                .iter()
                .any(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating")),
            _ => false,
        }
    }

    /// The error and its causes on one line, for logs, events and conditions.
    #[must_use]
    pub fn chain(&self) -> String {
        match self {
            Self::Api { doing, source } => match source.as_ref() {
                kube::Error::Api(status) => format!("{doing}: {}", status.message),
                other => format!("{doing}: {other}"),
            },
            Self::Other { .. } => self.to_string(),
        }
    }
}

/// Says what was being done when the API failed.
pub trait ResultExt<T> {
    /// Wraps an API error with what was being done.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError>;
}

impl<T> ResultExt<T> for Result<T, kube::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::Api {
            doing: what(),
            source: Box::new(source),
        })
    }
}
