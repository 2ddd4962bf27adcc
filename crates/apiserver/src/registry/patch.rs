//! Patch: JSON patch, merge patch, strategic merge patch, server-side apply.

use apimachinery::patch as patches;
use apimachinery::status::{ApiError, Reason, StatusCause};
use http::HeaderMap;
use serde_json::Value;

use super::change::{Change, Proposal};
use super::update::{Outcome, update};
use super::{Call, FieldValidation, pipeline};
use crate::decode::{BodyFormat, Decoded, decode_as};
use crate::kinds::Kind;

/// The forms of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

const BUILTIN: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

impl PatchType {
    /// Reads `Content-Type`.
    pub(crate) fn parse(headers: &HeaderMap, kind: &Kind) -> Result<Self, ApiError> {
        let header = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let accepted = if kind.is_crd() { CUSTOM } else { BUILTIN };
        match header.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" if !kind.is_crd() => Ok(PatchType::Strategic),
            "application/apply-patch+yaml" => Ok(PatchType::Apply),
            _ => Err(ApiError::unsupported_media_type(accepted)),
        }
    }
}

/// Patches the object of the call.
pub(crate) async fn patch(
    call: &Call<'_>,
    ty: PatchType,
    body: &[u8],
) -> Result<Outcome, ApiError> {
    let format = if ty == PatchType::Apply {
        BodyFormat::Yaml
    } else {
        BodyFormat::Json
    };
    let decoded = decode_as(format, body)?;
    if ty == PatchType::Apply {
        return apply(call, decoded).await;
    }
    if call.options.force_given {
        return Err(bad_option(
            "force",
            "Forbidden: may not be specified for non-apply patch",
        ));
    }
    update(call, &Patch { call, ty, decoded }).await
}

/// Server-side apply of what was decoded.
pub(super) async fn apply(call: &Call<'_>, decoded: Decoded) -> Result<Outcome, ApiError> {
    if !call.options.manager_given {
        return Err(bad_option(
            "fieldManager",
            "Required value: is required for apply patch",
        ));
    }
    update(call, &Apply { call, decoded }).await
}

fn bad_option(field: &str, message: &str) -> ApiError {
    let reason = if message.starts_with("Required") {
        "FieldValueRequired"
    } else {
        "FieldValueForbidden"
    };
    let mut error = ApiError::new(
        Reason::Invalid,
        format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {message}"),
        Some(apimachinery::status::StatusDetails {
            group: "meta.k8s.io".to_owned(),
            kind: "PatchOptions".to_owned(),
            ..Default::default()
        }),
    );
    error = error.with_cause(StatusCause {
        reason: reason.to_owned(),
        message: message.to_owned(),
        field: field.to_owned(),
    });
    error
}

struct Patch<'a> {
    call: &'a Call<'a>,
    ty: PatchType,
    decoded: Decoded,
}

impl Change for Patch<'_> {
    fn propose(
        &self,
        old: Option<&Value>,
        _versions: Option<&dyn smd::Versions>,
    ) -> Result<Proposal, ApiError> {
        let mut object = old.cloned().unwrap_or_default();
        let patch = &self.decoded.value;
        match self.ty {
            PatchType::Json => patches::json_patch(&mut object, patch).map_err(ApiError::from)?,
            PatchType::Merge => {
                if !patch.is_object() {
                    return Err(ApiError::bad_request(
                        "error decoding patch: a merge patch of an object must be an object",
                    ));
                }
                patches::merge_patch(&mut object, patch).map_err(ApiError::from)?;
            }
            PatchType::Strategic | PatchType::Apply => {
                let schema = self
                    .call
                    .kind
                    .schema()
                    .ok_or_else(|| ApiError::unsupported_media_type(CUSTOM))?;
                object =
                    patches::strategic::apply(&object, patch, &*schema).map_err(ApiError::from)?;
            }
        }
        Ok(Proposal {
            object,
            duplicates: self.decoded.duplicates.clone(),
            applied: false,
            whole: false,
        })
    }

    fn creates(&self) -> bool {
        false
    }
}

struct Apply<'a> {
    call: &'a Call<'a>,
    decoded: Decoded,
}

impl Change for Apply<'_> {
    fn propose(
        &self,
        old: Option<&Value>,
        versions: Option<&dyn smd::Versions>,
    ) -> Result<Proposal, ApiError> {
        let call = self.call;
        let mut applied = self.decoded.value.clone();
        if applied.get("apiVersion").is_none_or(|v| v == "")
            || applied.get("kind").is_none_or(|k| k == "")
        {
            return Err(ApiError::bad_request(
                "an apply configuration must name its apiVersion and kind",
            ));
        }
        super::checks::type_of(call, &mut applied)?;
        super::metadata::tidy(&mut applied);
        if apimachinery::meta::metadata(&applied).is_some_and(|m| m.contains_key("managedFields")) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        super::checks::place(call, &mut applied)?;
        let schema = call
            .kind
            .schema()
            .ok_or_else(|| ApiError::unsupported_media_type(CUSTOM))?;
        let unknown = schema::prune(&schema, &mut applied);
        let notes = self.decoded.duplicates.clone();
        if !notes.is_empty() && call.options.field_validation == FieldValidation::Strict {
            let all: Vec<String> = notes
                .iter()
                .map(|n| format!("duplicate field {n:?}"))
                .collect();
            return Err(ApiError::bad_request(format!(
                "error strict decoding YAML: {}",
                all.join(", ")
            )));
        }
        // Whoever applies a field that the kind does not have would own nothing: that is an error in every mode
        // of field validation, and upstream gives it no reason and the code of an internal error.
        if !unknown.is_empty() {
            let all: Vec<String> = unknown
                .iter()
                .map(|u| format!(".{u}: field not declared in schema"))
                .collect();
            let message = format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): {}",
                call.namespace,
                call.name,
                call.kind.api_version(),
                call.kind.kind,
                match all.as_slice() {
                    [one] => one.clone(),
                    many => format!("errors:\n  {}", many.join("\n  ")),
                }
            );
            return Err(ApiError::new(Reason::Unknown, message, None));
        }
        let subresource = Some(call.subresource).filter(|s| !s.is_empty());
        let api_version = call.kind.api_version();
        let object = smd::apply(smd::ApplyRequest {
            live: old,
            applied: &applied,
            schema: &schema,
            manager: &call.options.manager,
            api_version: &api_version,
            subresource,
            force: call.options.force,
            now: call.now,
            reset: pipeline::reset_fields(call),
            versions,
        })
        .map_err(|e| apply_error(call, e))?;
        if call.options.field_validation == FieldValidation::Warn {
            for note in notes {
                call.warn(format!("duplicate field {note:?}"));
            }
        }
        Ok(Proposal {
            object,
            duplicates: Vec::new(),
            applied: true,
            whole: false,
        })
    }

    fn creates(&self) -> bool {
        self.call.subresource.is_empty()
    }
}

fn apply_error(call: &Call<'_>, error: smd::ApplyError) -> ApiError {
    match error {
        smd::ApplyError::Conflicts(conflicts) => {
            let message = smd::conflict_message(&conflicts);
            let causes = conflicts
                .iter()
                .map(|c| StatusCause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: c.cause_message(),
                    field: c.field.clone(),
                })
                .collect();
            ApiError::apply_conflict(message, causes)
        }
        smd::ApplyError::Invalid(errors) => {
            ApiError::invalid(&call.kind.group_kind(), call.name, errors)
        }
    }
}
