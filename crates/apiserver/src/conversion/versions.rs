//! An object in other versions, for field managers that wrote in those.
//!
//! ```text
//! smd asks (pure) ─► known? ── yes ─► answer
//!                      │ no: noted, and the result of this round is thrown away
//!                      ▼
//!        the caller converts what was noted (async) and lets smd begin again
//! ```
//! Merging is pure code and cannot wait for a webhook. So it runs with what is known; what it missed is converted
//! and it runs again, until nothing is missing. Each round knows one more object at least, and rounds are bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::status::ApiError;
use serde_json::Value;

use super::convert;
use crate::kinds::{CrdSchema, Kind};
use crate::limits;
use crate::registry::Registry;

/// An object, as text, and a version.
type Question = (String, String);

#[derive(Debug, Default)]
struct Known {
    objects: Mutex<HashMap<Question, Arc<Value>>>,
    missing: Mutex<Vec<Question>>,
}

/// Runs `attempt` until it has every object that it asks for.
pub(crate) async fn with_versions<T>(
    registry: &Registry,
    kind: &Kind,
    mut attempt: impl FnMut(Option<&dyn smd::Versions>) -> T,
) -> Result<T, ApiError> {
    let Some(conversion) = kind.crd.as_ref().and_then(|crd| crd.conversion.as_ref()) else {
        return Ok(attempt(None));
    };
    let known = Known::default();
    for _ in 0..limits::CONVERSION_ROUNDS {
        let done = attempt(Some(&Asked {
            kind,
            known: &known,
        }));
        let missing = std::mem::take(&mut *lock(&known.missing));
        if missing.is_empty() {
            return Ok(done);
        }
        for (text, version) in missing {
            let object = serde_json::from_str(&text).unwrap_or_default();
            let converted = convert(registry, conversion, vec![object], &version).await?;
            if let Some(mut object) = converted.into_iter().next() {
                if let Some(schema) = schema_of(kind, &version) {
                    let _ = schema::prune(&schema.get(), &mut object);
                }
                lock(&known.objects).insert((text, version), Arc::new(object));
            }
        }
    }
    Err(ApiError::internal(
        "field managers of too many versions: their fields cannot be converted",
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Asked<'a> {
    kind: &'a Kind,
    known: &'a Known,
}

impl smd::Versions for Asked<'_> {
    fn in_version(&self, object: &Value, api_version: &str) -> Option<smd::Versioned> {
        let schema = schema_of(self.kind, api_version)?;
        let versioned = |object: Arc<Value>| smd::Versioned {
            object,
            schema: schema.get(),
        };
        if object.get("apiVersion").is_some_and(|v| v == api_version) {
            return Some(versioned(Arc::new(object.clone())));
        }
        let question = (object.to_string(), api_version.to_owned());
        if let Some(known) = lock(&self.known.objects).get(&question) {
            return Some(versioned(Arc::clone(known)));
        }
        let mut missing = lock(&self.known.missing);
        if !missing.contains(&question) {
            missing.push(question);
        }
        None
    }
}

/// The schema of a version of the kind.
fn schema_of<'k>(kind: &'k Kind, api_version: &str) -> Option<&'k Arc<CrdSchema>> {
    let (group, version) = api_version.rsplit_once('/')?;
    let crd = kind.crd.as_ref().filter(|_| group == kind.group)?;
    crd.schemas.get(version)
}
