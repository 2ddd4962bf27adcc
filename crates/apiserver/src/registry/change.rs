//! What an update proposes, computed from the object as it is.

use apimachinery::status::ApiError;
use serde_json::Value;

/// A proposed new state.
pub(crate) struct Proposal {
    pub object: Value,
    pub duplicates: Vec<String>,
    /// The result of server-side apply: `managedFields` are already right.
    pub applied: bool,
    /// The client wrote this whole object, so its resourceVersion is a demand.
    pub whole: bool,
}

/// Computes a proposal from the present object; `None` when there is none. Called again after a conflict.
pub(crate) trait Change: Sync {
    /// `versions` shows objects in other versions of the kind, for its field managers.
    fn propose(
        &self,
        old: Option<&Value>,
        versions: Option<&dyn smd::Versions>,
    ) -> Result<Proposal, ApiError>;
    /// Whether an absent object is created.
    fn creates(&self) -> bool;
}
