//! Options of writes, from the query.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupKind;
use apimachinery::status::ApiError;
use http::HeaderMap;

use crate::request::Query;

/// What happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    /// Field manager: the parameter, else the first part of the user agent.
    pub manager: String,
    /// Whether the manager was named by parameter.
    pub manager_given: bool,
    pub force: bool,
    pub force_given: bool,
}

const MAX_MANAGER: usize = 128;

impl WriteOptions {
    /// Reads the options; `kind` is `CreateOptions` and the like, for error texts.
    pub(crate) fn parse(query: &Query, headers: &HeaderMap, kind: &str) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_runs: Vec<&str> = query.all("dryRun").collect();
        if dry_runs.iter().any(|d| *d != "All" && !d.is_empty()) {
            errors.push(FieldError::not_supported(
                &FieldPath::new("dryRun"),
                format!("{dry_runs:?}"),
                &["All"],
            ));
        }
        let field_validation = match query.get("fieldValidation") {
            None | Some("") => FieldValidation::default(),
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    &FieldPath::new("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::default()
            }
        };
        let given = query.get("fieldManager").unwrap_or_default();
        let path = FieldPath::new("fieldManager");
        if given.len() > MAX_MANAGER {
            errors.push(FieldError::too_long(&path, MAX_MANAGER));
        } else if given.chars().any(char::is_control) {
            errors.push(FieldError::invalid(
                &path,
                given,
                "should only contain printable characters",
            ));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(
                &GroupKind::new("meta.k8s.io", kind),
                "",
                errors,
            ));
        }
        let manager = if given.is_empty() {
            manager_from_agent(headers)
        } else {
            given.to_owned()
        };
        Ok(WriteOptions {
            dry_run: !dry_runs.is_empty() && dry_runs.iter().any(|d| !d.is_empty()),
            field_validation,
            manager,
            manager_given: !given.is_empty(),
            force: query.flag("force"),
            force_given: query.get("force").is_some(),
        })
    }
}

/// `kubectl/v1.32 (linux/amd64)` is `kubectl`.
fn manager_from_agent(headers: &HeaderMap) -> String {
    let agent = headers
        .get(http::header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let name: String = agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let mut end = name.len().min(MAX_MANAGER);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    match name.get(..end) {
        Some("") | None => "unknown".to_owned(),
        Some(name) => name.to_owned(),
    }
}
