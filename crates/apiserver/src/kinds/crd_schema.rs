//! The schema of a CRD's version, parsed when first needed: a start with many CRDs parses none.

use std::sync::{Arc, OnceLock};

use apimachinery::field::FieldPath;
use cel::rules::{CompiledRules, compile};
use schema::Schema;
use serde_json::{Value, json};

use crate::stack;

/// A schema that is kept as text until somebody asks.
#[derive(Debug)]
pub(crate) struct CrdSchema {
    document: Box<[u8]>,
    parsed: OnceLock<Arc<Schema>>,
    rules: OnceLock<Arc<CompiledRules>>,
    digest: OnceLock<String>,
}

impl CrdSchema {
    /// Keeps an `openAPIV3Schema` for later.
    pub(crate) fn new(document: &Value) -> Self {
        let document = serde_json::to_vec(document).unwrap_or_default();
        CrdSchema {
            document: document.into_boxed_slice(),
            parsed: OnceLock::new(),
            rules: OnceLock::new(),
            digest: OnceLock::new(),
        }
    }

    /// A hash of the document.
    pub(crate) fn digest(&self) -> &str {
        self.digest
            .get_or_init(|| schema::openapi::document_hash(&self.document))
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

    /// The rules, compiled when the first object is judged. Admission has refused what does not compile; should
    /// such a schema be stored all the same, its objects are judged without rules.
    pub(crate) fn rules(&self) -> Arc<CompiledRules> {
        let compiled = || {
            let schema = self.get();
            let compiled = stack::compiling(|| compile(&schema, &FieldPath::root()));
            match compiled {
                Some(Ok(rules)) => rules,
                Some(Err(errors)) => {
                    tracing::error!(first = ?errors.first().map(ToString::to_string), "the rules of a stored CRD do not compile; its objects are judged without them");
                    CompiledRules::default()
                }
                None => CompiledRules::default(),
            }
        };
        Arc::clone(self.rules.get_or_init(|| Arc::new(compiled())))
    }
}
