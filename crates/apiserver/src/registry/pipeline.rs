//! The steps that every written object goes through, see [`super`].

use apimachinery::field::{FieldError, FieldErrorKind, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use schema::{AdditionalProperties, Schema};
use serde_json::Value;
use store::{Committed, Op, Precondition, Space, StoreError, Write};

use super::{Call, FieldValidation, checks, codec, store_error, versions};
use crate::conversion::with_versions;
use crate::kinds::Kind;
use crate::strategy::Operation;

/// Raw admission, pruning, defaults. Gives the errors that remain to be reported with the others.
pub(super) fn conform(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
    duplicates: &[String],
    patched: bool,
) -> Result<Vec<FieldError>, ApiError> {
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let name = meta::name(object).unwrap_or_default().to_owned();
    let cx = call.context(operation, &name);
    let strategies = call.registry.strategies(call.kind);
    let refused: Vec<FieldError> = strategies
        .iter()
        .flat_map(|s| s.admit_raw(&cx, object, old))
        .collect();
    if !refused.is_empty() {
        return Err(ApiError::invalid(&call.kind.group_kind(), &name, refused));
    }
    let Some(schema) = call.kind.schema() else {
        return Ok(Vec::new());
    };
    let builtin = !call.kind.is_crd();
    if !builtin && let Some(fault) = schema::malformed_metadata(&schema, object) {
        return Err(undecodable(call, object, &fault, patched));
    }
    if builtin
        && !call
            .kind
            .is("apiextensions.k8s.io", "customresourcedefinitions")
        && !call.kind.is("apps", "controllerrevisions")
    {
        drop_nulls(object);
        drop_empty(&schema, object);
    }
    let unknown = schema::prune(&schema, object);
    unknown_fields(call, duplicates, &unknown, patched)?;
    schema::default(&schema, object).map_err(|_| {
        ApiError::bad_request("the defaults of this kind make the object too large")
    })?;
    if !builtin {
        return Ok(Vec::new());
    }
    let errors = schema::validate(&schema, object, old, &FieldPath::root());
    // Where Kubernetes decodes into typed structs, a value of the wrong type is no object of the kind at all.
    if let Some(first) = errors
        .iter()
        .find(|e| e.kind == FieldErrorKind::TypeInvalid)
    {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {first}",
            call.kind.kind, call.kind.version, call.kind.kind
        )));
    }
    // Where elements of a list must differ, the strategies say so in their own words.
    Ok(errors
        .into_iter()
        .filter(|e| e.kind != FieldErrorKind::Duplicate)
        .collect())
}

/// What cannot be decoded is no object of the kind; of a patch, it is the patch that is at fault.
fn undecodable(call: &Call<'_>, object: &Value, fault: &str, patched: bool) -> ApiError {
    let kind = &call.kind.kind;
    if patched {
        let error = FieldError::invalid(&FieldPath::new("patch"), object.to_string(), fault);
        return ApiError::invalid(&call.kind.group_kind(), call.name, vec![error]);
    }
    ApiError::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {kind}: {fault}",
        call.kind.version
    ))
}

/// Prunes and defaults an object that admission changed.
pub(crate) fn complete_again(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let Some(schema) = kind.schema() else {
        return Ok(());
    };
    schema::prune(&schema, object);
    schema::default(&schema, object)
        .map_err(|_| ApiError::bad_request("the defaults of this kind make the object too large"))
}

/// Typed servers do not write empty maps and lists of optional fields; neither do we.
fn drop_empty(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                let Some(child) = schema.properties.get(key) else {
                    if let AdditionalProperties::Schema(child) = &schema.additional_properties {
                        drop_empty(child, value);
                    }
                    return true;
                };
                drop_empty(child, value);
                let optional = !schema.required.iter().any(|r| r == key);
                let is_map = !matches!(child.additional_properties, AdditionalProperties::None);
                let empty = match value {
                    Value::Object(map) => map.is_empty() && is_map,
                    Value::Array(list) => list.is_empty(),
                    _ => false,
                };
                !(empty && optional && !ALWAYS_WRITTEN.contains(&key.as_str()))
            });
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| drop_empty(items, item));
            }
        }
        _ => {}
    }
}

/// Lists that are written even when they are empty.
const ALWAYS_WRITTEN: [&str; 4] = ["rules", "endpoints", "limits", "storedVersions"];

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn unknown_fields(
    call: &Call<'_>,
    duplicates: &[String],
    unknown: &[String],
    patched: bool,
) -> Result<(), ApiError> {
    let texts = || {
        let duplicates = duplicates
            .iter()
            .map(|path| format!("duplicate field {path:?}"));
        duplicates.chain(unknown.iter().map(|path| format!("unknown field {path:?}")))
    };
    match call.options.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            texts().for_each(|text| call.warn(text));
            Ok(())
        }
        FieldValidation::Strict => {
            let all: Vec<String> = texts().collect();
            if all.is_empty() {
                return Ok(());
            }
            if patched {
                let error = FieldError::invalid(
                    &FieldPath::new("patch"),
                    all.join(", "),
                    "strict decoding error",
                );
                return Err(ApiError::invalid(
                    &call.kind.group_kind(),
                    call.name,
                    vec![error],
                ));
            }
            Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                call.kind.kind,
                call.kind.version,
                call.kind.kind,
                all.join(", ")
            )))
        }
    }
}

/// Judges the completed object; `errors` are those found before.
pub(super) async fn judge(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
    mut errors: Vec<FieldError>,
) -> Result<(), ApiError> {
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let name = meta::name(object).unwrap_or_default();
    errors.extend(checks::metadata(call, object, old));
    if call.kind.is_crd()
        && let Some(schema) = call.kind.schema()
    {
        let mut wrong = schema::validate(&schema, object, old, &FieldPath::root());
        let is_misshapen = !wrong.is_empty();
        rules(call, object, old, &mut wrong);
        errors.extend(wrong);
        if is_misshapen {
            // Rules of a kind read an object of its shape; of another one they could not say more.
            return Err(ApiError::invalid(&call.kind.group_kind(), name, errors));
        }
    }
    let cx = call.context(operation, name);
    for strategy in call.registry.strategies(call.kind) {
        errors.extend(strategy.validate(&cx, object, old).await?);
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&call.kind.group_kind(), name, errors));
    }
    for strategy in call.registry.strategies(call.kind) {
        strategy
            .warnings(&cx, object, old)
            .into_iter()
            .for_each(|w| call.warn(w));
    }
    crate::policies::admit(call, operation, Some(object), old).await
}

/// The rules of a custom resource's schema; they see only objects of the right shape.
fn rules(call: &Call<'_>, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let Some(rules) = call.kind.rules().filter(|rules| !rules.is_empty()) else {
        return;
    };
    let shapeless = |error: &FieldError| {
        matches!(
            error.kind,
            FieldErrorKind::Required
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
                | FieldErrorKind::TypeInvalid
        )
    };
    if errors.iter().any(shapeless) {
        errors.push(FieldError::new(
            FieldErrorKind::Invalid,
            &FieldPath::root(),
            Some(Value::Null),
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ));
        return;
    }
    let mut budget = cel::Budget::of_object();
    errors.extend(rules.evaluate(object, old, &FieldPath::root(), &mut budget));
}

/// Records who set which fields.
pub(super) async fn manage(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(schema) = call.kind.schema() else {
        return Ok(());
    };
    let api_version = call.kind.api_version();
    let track = |new: &mut Value, versions: Option<&dyn smd::Versions>| {
        smd::update(smd::UpdateRequest {
            old,
            new,
            schema: &schema,
            manager: &call.options.manager,
            api_version: &api_version,
            subresource: Some(call.subresource).filter(|s| !s.is_empty()),
            now: call.now,
            reset: reset_fields(call),
            versions,
        });
    };
    if call
        .kind
        .crd
        .as_ref()
        .is_none_or(|crd| crd.conversion.is_none())
    {
        track(object, None);
        return Ok(());
    }
    let before = &*object;
    let tracked = with_versions(call.registry, call.kind, |versions| {
        let mut new = before.clone();
        track(&mut new, versions);
        new
    });
    let tracked = tracked.await?;
    *object = tracked;
    Ok(())
}

/// Fields that this endpoint resets, so nobody comes to own them through it.
pub(super) fn reset_fields(call: &Call<'_>) -> &'static [&'static [&'static str]] {
    match (call.kind.behaviour.status, call.subresource) {
        (true, "") => &[&["status"]],
        (true, "status") if call.kind.is_crd() => &[
            &["spec"],
            &["metadata", "labels"],
            &["metadata", "annotations"],
        ],
        (true, "status") => &[&["spec"]],
        _ => &[],
    }
}

/// A write that lost against another.
pub(super) enum CommitError {
    /// The entry is not as it was read.
    Lost,
    Failed(ApiError),
}

/// Stores the object (or removes it) if the precondition holds; gives it its new resourceVersion.
pub(super) async fn commit(
    call: &Call<'_>,
    name: &str,
    precondition: Precondition,
    object: Option<&mut Value>,
) -> Result<Committed, CommitError> {
    let key = call.kind.key(call.namespace, name);
    let mut shown = None;
    let op = match &object {
        Some(object) => {
            let sealing = &call.registry.sealing;
            let forms = versions::stored(call, object).await;
            let value = match forms.map_err(CommitError::Failed)? {
                None => codec::encode(sealing, call.kind, &key, object),
                Some(forms) => {
                    shown = Some(forms.shown);
                    codec::encode(sealing, call.kind, &key, &forms.stored)
                }
            };
            Op::Put(value.map_err(CommitError::Failed)?)
        }
        None => Op::Delete,
    };
    // What is being deleted frees space: it must go on where there is none left.
    let space = match &object {
        Some(object) if !meta::is_deleting(object) => Space::Ordinary,
        _ => Space::Reserve,
    };
    let committed = match call
        .registry
        .store
        .commit(Write {
            key: key.into(),
            precondition,
            op,
            space,
        })
        .await
    {
        Ok(committed) => committed,
        Err(StoreError::Conflict { .. }) => return Err(CommitError::Lost),
        Err(e) => return Err(CommitError::Failed(store_error(e))),
    };
    if let Some(object) = object {
        if let Some(shown) = shown {
            *object = shown;
        }
        meta::set_resource_version(object, Some(&committed.revision.0.to_string()));
    }
    if call.settles {
        call.registry.settle(call.kind, committed.revision).await;
    }
    Ok(committed)
}
