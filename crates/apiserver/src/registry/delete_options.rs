//! `DeleteOptions`, from the body or the query.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupKind;
use apimachinery::status::ApiError;
use serde_json::Value;

use crate::request::Query;

/// What happens to dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub grace_period: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// The body wins over the query where both speak.
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let body_text = |key: &str| body.and_then(|b| b.get(key)).and_then(Value::as_str);
        if let Some(body) = body {
            let kind = body_text("kind").unwrap_or("DeleteOptions");
            if !body.is_object() || kind != "DeleteOptions" {
                return Err(ApiError::bad_request(
                    "the body of a delete must be DeleteOptions",
                ));
            }
        }
        let grace_period = match (
            body.and_then(|b| b.get("gracePeriodSeconds"))
                .and_then(Value::as_i64),
            query.get("gracePeriodSeconds"),
        ) {
            (Some(given), _) => Some(given),
            (None, Some(text)) if !text.is_empty() => Some(text.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            })?),
            _ => None,
        };
        let orphan = body
            .and_then(|b| b.get("orphanDependents"))
            .and_then(Value::as_bool)
            .or_else(|| {
                query
                    .get("orphanDependents")
                    .map(|_| query.flag("orphanDependents"))
            });
        let policy = body_text("propagationPolicy")
            .or_else(|| query.get("propagationPolicy"))
            .filter(|p| !p.is_empty());
        let path = FieldPath::new("propagationPolicy");
        if orphan.is_some() && policy.is_some() {
            errors.push(FieldError::invalid(
                &path,
                policy.unwrap_or_default(),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let propagation = match (policy, orphan) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                errors.push(FieldError::not_supported(
                    &path,
                    other,
                    &["Background", "Foreground", "Orphan"],
                ));
                None
            }
        };
        let dry_runs: Vec<&str> = match body.and_then(|b| b.get("dryRun")).and_then(Value::as_array)
        {
            Some(list) => list.iter().filter_map(Value::as_str).collect(),
            None => query.all("dryRun").filter(|d| !d.is_empty()).collect(),
        };
        if dry_runs.iter().any(|d| *d != "All") {
            errors.push(FieldError::not_supported(
                &FieldPath::new("dryRun"),
                format!("{dry_runs:?}"),
                &["All"],
            ));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(
                &GroupKind::new("meta.k8s.io", "DeleteOptions"),
                "",
                errors,
            ));
        }
        let precondition = |key: &str| {
            body.and_then(|b| b.get("preconditions"))
                .and_then(|p| p.get(key))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Ok(DeleteOptions {
            grace_period,
            propagation,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: !dry_runs.is_empty(),
        })
    }
}
