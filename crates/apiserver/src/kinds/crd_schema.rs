//! The schema of a CRD's version, parsed when first needed: a start with many CRDs parses none.

use std::sync::{Arc, OnceLock};

use schema::Schema;
use serde_json::{Value, json};

/// A schema that is kept as text until somebody asks.
#[derive(Debug)]
pub(crate) struct CrdSchema {
    document: Box<[u8]>,
    parsed: OnceLock<Arc<Schema>>,
}

impl CrdSchema {
    /// Keeps an `openAPIV3Schema` for later.
    pub(crate) fn new(document: &Value) -> Self {
        let document = serde_json::to_vec(document).unwrap_or_default();
        CrdSchema {
            document: document.into_boxed_slice(),
            parsed: OnceLock::new(),
        }
    }

    /// The schema. Admission has refused what is not structural; should such a one be stored all the same, its
    /// objects are kept as they are.
    pub(crate) fn get(&self) -> Arc<Schema> {
        let parse = || {
            let document: Value = serde_json::from_slice(&self.document).unwrap_or_default();
            Schema::parse(&document).unwrap_or_else(|errors| {
                tracing::error!(first = ?errors.first().map(ToString::to_string), "the schema of a stored CRD is not structural; its objects are not validated");
                let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
                Schema::parse(&open).unwrap_or_default()
            })
        };
        Arc::clone(self.parsed.get_or_init(|| Arc::new(parse())))
    }
}
