//! Conflicts of an apply, in kube-apiserver's words.

use std::fmt::Write;

use apimachinery::quote::quoted;

use crate::managed::{Manager, Operation, Owned};
use crate::path::Path;
use crate::set::FieldSet;

/// One field that the apply would change and another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Name of the owner.
    pub manager: String,
    /// How the owner came to own it.
    pub operation: Operation,
    /// Version in which the owner wrote it.
    pub api_version: String,
    /// Subresource through which the owner wrote it; empty for the object itself.
    pub subresource: String,
    /// The field, such as `.spec.containers[name="c"].image`.
    pub field: String,
}

impl Conflict {
    pub(crate) fn of(manager: &Manager, owned: &Owned, fields: &FieldSet) -> Vec<Conflict> {
        fields
            .paths()
            .iter()
            .map(|path: &Path| Conflict {
                manager: manager.name.clone(),
                operation: manager.operation,
                api_version: owned.api_version.clone(),
                subresource: manager.subresource.clone(),
                field: path.to_string(),
            })
            .collect()
    }

    /// The owner: `"hpa" with subresource "scale" using apps/v1`; appliers without the version.
    pub fn describe(&self) -> String {
        let mut text = quoted(&self.manager);
        // Writing to a String cannot fail.
        if !self.subresource.is_empty() {
            let _ = write!(text, " with subresource {}", quoted(&self.subresource));
        }
        if self.operation == Operation::Update {
            let _ = write!(text, " using {}", self.api_version);
        }
        text
    }

    /// The message of the conflict's `FieldManagerConflict` cause; its field is [`Conflict::field`].
    pub fn cause_message(&self) -> String {
        format!("conflict with {}", self.describe())
    }
}

/// The message of the 409 for conflicts sorted by owner, as [`crate::apply`] gives them.
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.describe(),
            one.field
        );
    }
    let mut lines = Vec::new();
    let mut last_owner = None;
    for conflict in conflicts {
        let owner = conflict.describe();
        if last_owner.as_ref() != Some(&owner) {
            lines.push(format!("conflicts with {owner}:"));
            last_owner = Some(owner);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}
