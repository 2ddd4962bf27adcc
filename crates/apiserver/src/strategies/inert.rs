//! Kinds that are stored but not acted upon yet: whoever writes one is told.

use serde_json::Value;

use crate::strategy::{Context, Strategy};

/// Warns with its text on every write.
pub(super) struct Inert(pub &'static str);

impl Strategy for Inert {
    fn warnings(&self, _cx: &Context<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        vec![self.0.to_owned()]
    }
}
