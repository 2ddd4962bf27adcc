//! An Event that a decision asks for.

use reconcile::EventKind;

/// What to tell, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub kind: EventKind,
    pub reason: &'static str,
    pub message: String,
}
