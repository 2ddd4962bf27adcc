//! Is this object what the URL says it is, and is its metadata well formed?

use std::collections::BTreeSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use apimachinery::{meta, name};
use serde_json::Value;

use super::Call;
use crate::limits;

/// The body must be an object of the kind and version of the URL. Built-in kinds may leave both out.
pub(super) fn type_of(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let kind = call.kind;
    let Some(map) = object.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; it is not an object",
            kind.kind
        )));
    };
    let text = |key: &str| {
        map.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (given_version, given_kind) = (text("apiVersion"), text("kind"));
    let api_version = kind.api_version();
    if kind.is_crd() && !given_kind.is_empty() && given_kind != kind.kind {
        let error = FieldError::invalid(
            &FieldPath::new("kind"),
            given_kind.as_str(),
            format!("must be {}", kind.kind),
        );
        let name = meta::name(object).unwrap_or_default();
        let named = apimachinery::gvk::GroupKind::new(kind.group.clone(), given_kind.clone());
        return Err(ApiError::invalid(&named, name, vec![error]));
    }
    let missing = given_version.is_empty() || given_kind.is_empty();
    if missing && kind.is_crd() {
        let what = if given_kind.is_empty() {
            "Object 'Kind' is missing"
        } else {
            "Object 'apiVersion' is missing"
        };
        return Err(ApiError::bad_request(what));
    }
    if (!given_kind.is_empty() && given_kind != kind.kind)
        || (!given_version.is_empty() && given_version != api_version)
    {
        let shown = if given_kind.is_empty() {
            &kind.kind
        } else {
            &given_kind
        };
        return Err(ApiError::bad_request(format!(
            "{shown} in version {given_version:?} cannot be handled as a {}: expected {} in version {api_version:?}",
            kind.kind, kind.kind
        )));
    }
    map.insert("apiVersion".to_owned(), Value::String(api_version));
    map.insert("kind".to_owned(), Value::String(kind.kind.clone()));
    match map.get("metadata") {
        Some(Value::Object(_)) => {
            let mut errors = Vec::new();
            types(
                object,
                kind.is_crd(),
                &FieldPath::new("metadata"),
                &mut errors,
            );
            match errors.first() {
                None => Ok(()),
                Some(error) => Err(ApiError::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: {error}",
                    kind.kind, kind.version, kind.kind
                ))),
            }
        }
        None | Some(Value::Null) => {
            map.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
            Ok(())
        }
        Some(_) => Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: json: cannot unmarshal into Go struct field ObjectMeta.metadata",
            kind.kind,
            kind.api_version(),
            kind.kind
        ))),
    }
}

/// The namespace and name in the body must be those of the URL.
pub(super) fn place(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    match meta::namespace(object) {
        None if call.kind.namespaced => meta::set_namespace(object, Some(call.namespace)),
        Some(given) if call.kind.namespaced && given != call.namespace => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        _ => {}
    }
    if !call.name.is_empty() {
        match meta::name(object) {
            None => meta::set_name(object, call.name),
            Some(given) if given != call.name => {
                return Err(ApiError::bad_request(format!(
                    "the name of the object ({given}) does not match the name on the URL ({})",
                    call.name
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Everything wrong with `metadata`.
pub(super) fn metadata(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = FieldPath::new("metadata");
    let mut errors = Vec::new();
    if old.is_none() {
        names(call, object, &path, &mut errors);
    }
    labels(object, &path, &mut errors);
    annotations(object, &path, &mut errors);
    finalizers(call, object, old, &path, &mut errors);
    owners(object, &path, &mut errors);
    errors
}

/// `custom`: typed structs read a label that is `null` as the empty text, custom resources do not.
fn types(object: &Value, custom: bool, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(meta) = meta::metadata(object) else {
        return;
    };
    for field in ["labels", "annotations"] {
        match meta.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (key, value) in map {
                    if !(value.is_string() || (value.is_null() && !custom)) {
                        errors.push(FieldError::type_invalid(
                            &path.child(field).key(key),
                            value.clone(),
                            "must be of type string",
                        ));
                    }
                }
            }
            Some(other) => errors.push(FieldError::type_invalid(
                &path.child(field),
                other.clone(),
                "must be of type object",
            )),
        }
    }
    for field in ["finalizers", "ownerReferences"] {
        match meta.get(field) {
            None | Some(Value::Null | Value::Array(_)) => {}
            Some(other) => errors.push(FieldError::type_invalid(
                &path.child(field),
                other.clone(),
                "must be of type array",
            )),
        }
    }
    for field in [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
    ] {
        match meta.get(field) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => errors.push(FieldError::type_invalid(
                &path.child(field),
                other.clone(),
                "must be of type string",
            )),
        }
    }
}

/// Which rule names of a kind follow.
fn name_rule(call: &Call<'_>) -> fn(&str) -> Vec<String> {
    match (call.kind.group.as_str(), call.kind.plural.as_str()) {
        ("rbac.authorization.k8s.io", _) | ("apiregistration.k8s.io", "apiservices") => {
            name::path_segment
        }
        ("", "namespaces") => name::dns1123_label,
        // Since 1.36 Services may be named like other labels.
        ("", "services") => name::dns1123_label,
        _ => name::dns1123_subdomain,
    }
}

fn names(call: &Call<'_>, object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    match meta::name(object) {
        None => errors.push(FieldError::required(
            &path.child("name"),
            "name or generateName is required",
        )),

        Some(given) => {
            generated(call, object, path, errors);
            let path = path.child("name");
            for detail in name_rule(call)(given) {
                errors.push(FieldError::invalid(&path, given, detail));
            }
        }
    }
}

/// A name made from a bad `generateName` is the fault of the latter too.
fn generated(call: &Call<'_>, object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(base) = meta::generate_name(object) else {
        return;
    };
    // What follows the base is well formed, so a dash at its end is no fault.
    for detail in name_rule(call)(base.trim_end_matches('-')) {
        errors.push(FieldError::invalid(
            &path.child("generateName"),
            base,
            detail,
        ));
    }
}

fn labels(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let path = path.child("labels");
    for (key, value) in meta::labels(object).into_iter().flatten() {
        for detail in name::label_key(key) {
            errors.push(FieldError::invalid(&path, key.as_str(), detail));
        }
        let value = value.as_str().unwrap_or_default();
        for detail in name::label_value(value) {
            errors.push(FieldError::invalid(&path, value, detail));
        }
        if errors.len() > limits::MAX_CAUSES {
            return;
        }
    }
}

const MAX_ANNOTATIONS: usize = 256 * 1024;

fn annotations(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let path = path.child("annotations");
    let mut size = 0;
    for (key, value) in meta::annotations(object).into_iter().flatten() {
        for detail in name::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(&path, key.as_str(), detail));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
        if errors.len() > limits::MAX_CAUSES {
            return;
        }
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(&path, MAX_ANNOTATIONS));
    }
}

/// Names without a domain and path that Kubernetes itself uses.
const PLAIN_FINALIZERS: [&str; 3] = ["foregroundDeletion", "orphan", "kubernetes"];

/// Of built-in kinds, a finalizer without a path is one of Kubernetes; of custom kinds it may be any, and clients are
/// told what is better.
fn finalizers(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let path = path.child("finalizers");
    let now = meta::finalizers(object);
    let extension = matches!(
        call.kind.group.as_str(),
        "apiextensions.k8s.io" | "apiregistration.k8s.io"
    );
    for (index, finalizer) in now.iter().enumerate() {
        if errors.len() > limits::MAX_CAUSES {
            return;
        }
        for detail in name::qualified_name(finalizer) {
            errors.push(FieldError::invalid(&path, *finalizer, detail));
        }
        if name::qualified_name(finalizer).is_empty()
            && !finalizer.contains('/')
            && !PLAIN_FINALIZERS.contains(finalizer)
            && !extension
        {
            if call.kind.is_crd() {
                if !old.is_some_and(|old| meta::finalizers(old).contains(finalizer)) {
                    call.warn(format!(
                        "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
                    ));
                }
                continue;
            }
            errors.push(FieldError::invalid(
                &path.index(index),
                *finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    if now.contains(&"orphan") && now.contains(&"foregroundDeletion") {
        errors.push(FieldError::invalid(
            &path,
            format!("{now:?}"),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    if let Some(old) = old.filter(|old| meta::is_deleting(old)) {
        let before: BTreeSet<&str> = meta::finalizers(old).into_iter().collect();
        let added: Vec<&str> = now.into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                &path,
                format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"),
            ));
        }
    }
}

fn owners(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let path = path.child("ownerReferences");
    let mut controllers = Vec::new();
    for owner in &meta::owner_references(object) {
        if errors.len() > limits::MAX_CAUSES {
            return;
        }
        let at = &path;
        for (field, value, what) in [
            (
                "apiVersion",
                &owner.api_version,
                "version must not be empty",
            ),
            ("kind", &owner.kind, "must not be empty"),
            ("name", &owner.name, "must not be empty"),
            ("uid", &owner.uid, "must not be empty"),
        ] {
            if value.is_empty() {
                errors.push(FieldError::invalid(&at.child(field), value.as_str(), what));
            }
        }
        if (owner.api_version.as_str(), owner.kind.as_str()) == ("v1", "Event") {
            errors.push(FieldError::invalid(
                at,
                "/v1, Kind=Event",
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.controller == Some(true) {
            controllers.push(format!("{}/{}", owner.kind, owner.name));
        }
    }
    if controllers.len() > 1 {
        errors.push(FieldError::invalid(
            &path,
            controllers.join(", "),
            format!("Only one reference can have Controller set to true. Found {:?} in references for {}", "true", controllers.join(" and ")),
        ));
    }
}
