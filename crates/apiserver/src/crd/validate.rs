//! What a CRD must be like, beyond the shape of its fields.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::jsonpath::JsonPath;
use apimachinery::{meta, name};
use schema::Schema;
use serde_json::Value;

use super::selectable;
use crate::admission::client_config;
use crate::conversion::REVIEWS;
use crate::stack;

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 9] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "name",
    "password",
];

/// Longest text of `deprecationWarning`.
const MAX_WARNING: usize = 256;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
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
    protected(object, &mut errors);
    versions(object, &spec.child("versions"), &mut errors);
    conversion(object, &spec.child("conversion"), &mut errors);
    if object.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)) {
        errors.push(FieldError::invalid(
            &spec.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    if let Some(old) = old {
        immutable(object, old, &mut errors);
        stored(object, &mut errors);
    }
    errors
}

fn identity(object: &Value, spec: &FieldPath, is_new: bool, errors: &mut Vec<FieldError>) {
    let (group, plural) = (
        text(object, "/spec/group"),
        text(object, "/spec/names/plural"),
    );
    if group.is_empty() {
        errors.push(FieldError::required(&spec.child("group"), ""));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(
            &spec.child("group"),
            group,
            "should be a domain with at least one dot",
        ));
    } else {
        for detail in name::dns1123_subdomain(group) {
            errors.push(FieldError::invalid(&spec.child("group"), group, detail));
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
    let plain =
        |key: &str, errors: &mut Vec<FieldError>| match text(object, &format!("/spec/names/{key}"))
        {
            "" => errors.push(FieldError::required(&path.child(key), "")),
            given => {
                for detail in name::dns1035_label(given) {
                    errors.push(FieldError::invalid(&path.child(key), given, detail));
                }
            }
        };
    plain("plural", errors);
    plain("singular", errors);
    for key in ["kind", "listKind"] {
        match text(object, &format!("/spec/names/{key}")) {
            "" => errors.push(FieldError::required(&path.child(key), "")),
            given => {
                for detail in name::dns1035_label(&given.to_lowercase()) {
                    errors.push(FieldError::invalid(
                        &path.child(key),
                        given,
                        format!("may have mixed case, but should otherwise match: {detail}"),
                    ));
                }
            }
        }
    }
    for key in ["shortNames", "categories"] {
        let list = object
            .pointer(&format!("/spec/names/{key}"))
            .and_then(Value::as_array);
        for (index, given) in list
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .enumerate()
        {
            for detail in name::dns1035_label(given) {
                errors.push(FieldError::invalid(
                    &path.child(key).index(index),
                    given,
                    detail,
                ));
            }
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

/// Groups of the Kubernetes community need an approval.
fn protected(object: &Value, errors: &mut Vec<FieldError>) {
    if !is_protected(text(object, "/spec/group")) {
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
        Some(value) if value.starts_with("https://") || value.starts_with("http://") || value.starts_with("unapproved") => {}
        Some(value) => errors.push(FieldError::invalid(&path, value, "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111")),
    }
}

fn versions(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let list = object
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut seen = Vec::new();
    let mut storages = 0;
    for (index, version) in list.iter().enumerate() {
        let at = path.index(index);
        let given = text(version, "/name");
        for detail in name::dns1035_label(given) {
            if index == 0 {
                // The old single `version` is the first of the list.
                let old = FieldPath::new("spec").child("version");
                errors.push(FieldError::invalid(&old, given, detail.clone()));
            }
            errors.push(FieldError::invalid(&at.child("name"), given, detail));
        }
        if seen.contains(&given) {
            errors.push(FieldError::invalid(
                path,
                given,
                "must contain unique version names",
            ));
        }
        seen.push(given);
        storages += usize::from(version.get("storage") == Some(&Value::Bool(true)));
        schema(version, &at, errors);
        columns(version, &at.child("additionalPrinterColumns"), errors);
        subresources(version, &at.child("subresources"), errors);
        selectable::validate(version, &at.child("selectableFields"), errors);
        deprecation(version, &at.child("deprecationWarning"), errors);
    }
    if list.is_empty() {
        errors.push(FieldError::required(path, "must have at least one version"));
    } else if storages != 1 {
        errors.push(FieldError::invalid(
            path,
            Value::Array(list.to_vec()),
            "must have exactly one version marked as storage version",
        ));
    }
}

fn deprecation(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let mut wrong = |detail: String| errors.push(FieldError::invalid(path, warning, detail));
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if warning.len() > MAX_WARNING {
        wrong(format!("must be <= {MAX_WARNING} characters long"));
    }
    if let Some(at) = warning.find(char::is_control) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn schema(version: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let path = at.child("schema").child("openAPIV3Schema");
    match version.pointer("/schema/openAPIV3Schema") {
        None | Some(Value::Null) => {
            errors.push(FieldError::required(&path, "schemas are required"));
        }
        Some(document) => {
            let compiled = Schema::parse_at(document, &path).and_then(|schema| {
                if !has_rules(document) {
                    return Ok(());
                }
                stack::compiling(|| cel::rules::compile(&schema, &path).map(drop))
                    .unwrap_or_else(|| Err(vec![FieldError::internal(&path, stack::NO_STACK)]))
            });
            if let Err(found) = compiled {
                errors.extend(found);
            }
        }
    }
}

/// Whether a schema says anything in expressions; most say nothing.
fn has_rules(document: &Value) -> bool {
    match document {
        Value::Object(map) => {
            map.contains_key("x-kubernetes-validations") || map.values().any(has_rules)
        }
        Value::Array(list) => list.iter().any(has_rules),
        _ => false,
    }
}

fn columns(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let list = version
        .pointer("/additionalPrinterColumns")
        .and_then(Value::as_array);
    for (index, column) in list.into_iter().flatten().enumerate() {
        let at = path.index(index);
        if text(column, "/name").is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        match text(column, "/type") {
            "" => errors.push(FieldError::required(
                &at.child("type"),
                format!("must be one of {}", TYPES.join(",")),
            )),
            ty if TYPES.contains(&ty) => {}
            ty => errors.push(FieldError::invalid(
                &at.child("type"),
                ty,
                format!("must be one of {}", TYPES.join(",")),
            )),
        }
        let format = text(column, "/format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.push(FieldError::invalid(
                &at.child("format"),
                format,
                format!("must be one of {}", FORMATS.join(",")),
            ));
        }
        match text(column, "/jsonPath") {
            "" => errors.push(FieldError::required(&at.child("jsonPath"), "")),
            given => {
                if let Err(e) = JsonPath::parse(given) {
                    errors.push(FieldError::invalid(
                        &at.child("jsonPath"),
                        given,
                        e.to_string(),
                    ));
                }
            }
        }
    }
}

fn subresources(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(scale) = version
        .pointer("/subresources/scale")
        .filter(|s| s.is_object())
    else {
        return;
    };
    let path = path.child("scale");
    for (key, root, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", "", false),
    ] {
        let given = text(scale, &format!("/{key}"));
        let at = path.child(key);
        if given.is_empty() {
            if required {
                errors.push(FieldError::required(&at, ""));
            }
        } else if given.contains('[') {
            errors.push(FieldError::invalid(
                &at,
                given,
                "must be a json path without array notation",
            ));
        } else if !root.is_empty() && !given.starts_with(root) {
            errors.push(FieldError::invalid(
                &at,
                given,
                format!("should be a json path under {}", root.trim_end_matches('.')),
            ));
        } else if root.is_empty() && !given.starts_with(".spec.") && !given.starts_with(".status.")
        {
            errors.push(FieldError::invalid(
                &at,
                given,
                "should be a json path under either .status or .spec",
            ));
        }
    }
}

fn conversion(object: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    // Paths are those of upstream's internal form, where the webhook's fields lie one level higher.
    let (config, reviews) = (
        path.child("webhookClientConfig"),
        path.child("conversionReviewVersions"),
    );
    let given = object.pointer("/spec/conversion/webhook");
    let given = given.filter(|webhook| !webhook.is_null());
    match text(object, "/spec/conversion/strategy") {
        "None" | "" => {
            if given.is_some() {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden(&config, detail));
            }
        }
        "Webhook" => {
            match given.and_then(|webhook| webhook.get("clientConfig")) {
                Some(given) => client_config(given, &config, errors),
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

fn immutable(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for pointer in [
        "/spec/group",
        "/spec/scope",
        "/spec/names/kind",
        "/spec/names/plural",
    ] {
        let given = text(object, pointer);
        if given != text(old, pointer) {
            let path = pointer
                .trim_start_matches('/')
                .split('/')
                .fold(FieldPath::root(), |path, step| path.child(step));
            errors.push(FieldError::invalid(&path, given, "field is immutable"));
        }
    }
}

fn stored(object: &Value, errors: &mut Vec<FieldError>) {
    let names: Vec<&str> = object
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|v| text(v, "/name"))
        .collect();
    let path = FieldPath::new("status").child("storedVersions");
    let list = object
        .pointer("/status/storedVersions")
        .and_then(Value::as_array);
    for (index, version) in list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if !names.contains(&version) {
            errors.push(FieldError::invalid(
                &path.index(index),
                version,
                format!("missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"),
            ));
        }
    }
}
