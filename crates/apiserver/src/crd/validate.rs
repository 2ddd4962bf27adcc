//! What a CRD must be like, beyond the shape of its fields.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::{meta, name};
use serde_json::Value;

use super::{status, versions};
use crate::admission::client_config;
use crate::conversion::REVIEWS;

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Everything wrong with a CRD.
pub(super) fn crd(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    identity(object, &spec, old.is_none(), &mut errors);
    names(object, &spec.child("names"), &mut errors);
    protected(object, old, &mut errors);
    versions::validate(object, &spec, &mut errors);
    let established = old.is_some_and(status::is_established);
    conversion(object, established, &spec.child("conversion"), &mut errors);
    if object.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)) {
        errors.push(FieldError::invalid(
            &spec.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    if let Some(old) = old {
        immutable(object, old, established, &mut errors);
    }
    stored(object, &mut errors);
    errors
}

fn identity(object: &Value, spec: &FieldPath, is_new: bool, errors: &mut Vec<FieldError>) {
    let (group, plural) = (
        text(object, "/spec/group"),
        text(object, "/spec/names/plural"),
    );
    if group.is_empty() {
        errors.push(FieldError::required(&spec.child("group"), ""));
    } else {
        let mut wrong = name::dns1123_subdomain(group).join(",");
        if wrong.is_empty() && !group.contains('.') {
            "should be a domain with at least one dot".clone_into(&mut wrong);
        }
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&spec.child("group"), group, wrong));
        }
    }
    let given = meta::name(object).unwrap_or_default();
    if is_new && given != format!("{plural}.{group}") {
        let path = FieldPath::new("metadata").child("name");
        errors.push(FieldError::invalid(
            &path,
            given,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    match text(object, "/spec/scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.push(FieldError::required(&spec.child("scope"), "")),
        other => errors.push(FieldError::not_supported(
            &spec.child("scope"),
            other,
            &["Cluster", "Namespaced"],
        )),
    }
}

fn names(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut label = |at: FieldPath, given: &str, mixed_case: bool| {
        let wrong = if mixed_case {
            name::dns1035_label(&given.to_lowercase())
        } else {
            name::dns1035_label(given)
        };
        if !wrong.is_empty() {
            let prefix = if mixed_case {
                "may have mixed case, but should otherwise match: "
            } else {
                ""
            };
            let detail = format!("{prefix}{}", wrong.join(","));
            errors.push(FieldError::invalid(&at, given, detail));
        }
    };
    for (key, mixed_case) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        match text(object, &format!("/spec/names/{key}")) {
            "" => {}
            given => label(path.child(key), given, mixed_case),
        }
    }
    for key in ["shortNames", "categories"] {
        let list = object.pointer(&format!("/spec/names/{key}"));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        for (index, given) in list.filter_map(Value::as_str).enumerate() {
            label(path.child(key).index(index), given, false);
        }
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(object, &format!("/spec/names/{key}")).is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
    }
    let kind = text(object, "/spec/names/kind");
    if !kind.is_empty() && kind == text(object, "/spec/names/listKind") {
        errors.push(FieldError::invalid(
            &path.child("listKind"),
            kind,
            "kind and listKind may not be the same",
        ));
    }
}

/// The annotation by which the Kubernetes community approves of a CRD in one of its groups.
pub(super) const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether a group belongs to the Kubernetes community.
pub(super) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|suffix| {
        group
            .strip_suffix(suffix)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// What the annotation says: nothing, `unapproved`, where it was approved, or something else.
fn approval(value: Option<&str>) -> u8 {
    match value {
        None | Some("") => 0,
        Some(value) if value.starts_with("unapproved") => 1,
        Some(value) if value.starts_with("https://") || value.starts_with("http://") => 2,
        Some(_) => 3,
    }
}

/// Groups of the Kubernetes community need an approval; one that stays as it was is no news.
fn protected(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let state = |crd: &Value| approval(meta::annotation(crd, APPROVED));
    if !is_protected(text(object, "/spec/group"))
        || old.is_some_and(|old| state(old) == state(object))
    {
        return;
    }
    let path = FieldPath::new("metadata")
        .child("annotations")
        .key(APPROVED);
    match meta::annotation(object, APPROVED) {
        None | Some("") => errors.push(FieldError::required(
            &path,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        )),
        given if approval(given) < 3 => {}
        Some(value) => errors.push(FieldError::invalid(&path, value, "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111")),
    }
}

fn conversion(object: &Value, established: bool, path: &FieldPath, errors: &mut Vec<FieldError>) {
    // Paths are those of upstream's internal form, where the webhook's fields lie one level higher.
    let (config, reviews) = (
        path.child("webhookClientConfig"),
        path.child("conversionReviewVersions"),
    );
    let given = object.pointer("/spec/conversion/webhook");
    let given = given.filter(|webhook| !webhook.is_null());
    match text(object, "/spec/conversion/strategy") {
        "None" | "" => {
            let part = |key: &str| given.and_then(|webhook| webhook.get(key));
            let detail = "should not be set when strategy is not set to Webhook";
            if part("clientConfig").is_some_and(|config| !config.is_null()) {
                errors.push(FieldError::forbidden(&config, detail));
            }
            let versions = part("conversionReviewVersions").and_then(Value::as_array);
            if versions.is_some_and(|versions| !versions.is_empty()) {
                errors.push(FieldError::forbidden(&reviews, detail));
            }
        }
        "Webhook" => {
            match given.and_then(|webhook| webhook.get("clientConfig")) {
                Some(given) => {
                    let mut found = Vec::new();
                    client_config(given, &config, &mut found);
                    // Tools add the CA later, and put something else in its place until then.
                    let bundle = config.child("caBundle");
                    found.retain(|error| established || error.path != bundle);
                    errors.extend(found);
                }
                None => errors.push(FieldError::required(
                    &config,
                    "required when strategy is set to Webhook",
                )),
            }
            let versions = given.and_then(|webhook| webhook.get("conversionReviewVersions"));
            review_versions(versions.unwrap_or(&Value::Null), &reviews, errors);
        }
        other => errors.push(FieldError::not_supported(
            &path.child("strategy"),
            other,
            &["None", "Webhook"],
        )),
    }
}

fn review_versions(versions: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let list: Vec<&str> = versions
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if list.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    for (index, version) in list.iter().enumerate() {
        let at = path.index(index);
        if list.iter().take(index).any(|earlier| earlier == version) {
            errors.push(FieldError::invalid(&at, *version, "duplicate version"));
        }
        for detail in name::dns1035_label(version) {
            errors.push(FieldError::invalid(&at, *version, detail));
        }
    }
    if !list.iter().any(|version| REVIEWS.contains(version)) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, versions.clone(), detail));
    }
}

/// What the names of stored objects are made of cannot change; the rest of the identity is fixed once it is served.
fn immutable(object: &Value, old: &Value, established: bool, errors: &mut Vec<FieldError>) {
    for (pointer, always) in [
        ("/spec/group", true),
        ("/spec/scope", false),
        ("/spec/names/kind", false),
        ("/spec/names/plural", true),
    ] {
        let given = text(object, pointer);
        if (always || established) && given != text(old, pointer) {
            let path = pointer
                .trim_start_matches('/')
                .split('/')
                .fold(FieldPath::root(), |path, step| path.child(step));
            errors.push(FieldError::invalid(&path, given, "field is immutable"));
        }
    }
}

/// Every version that objects may be stored in stays in the list.
fn stored(object: &Value, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("status").child("storedVersions");
    let list = object.pointer("/status/storedVersions");
    let list = list.and_then(Value::as_array).map(Vec::as_slice);
    let stored: Vec<&str> = (list.unwrap_or_default().iter())
        .filter_map(Value::as_str)
        .collect();
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        errors.push(FieldError::invalid(&path, Value::Null, detail));
        return;
    }
    let versions = object.pointer("/spec/versions").and_then(Value::as_array);
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    for version in versions {
        let name = text(version, "/name");
        if version.get("storage") == Some(&Value::Bool(true)) && !stored.contains(&name) {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(&path, stored.clone(), detail));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions
            .iter()
            .any(|version| text(version, "/name") == *name)
        {
            errors.push(FieldError::invalid(
                &path.index(index),
                *name,
                format!("missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"),
            ));
        }
    }
}
