//! Printer columns and subresources of a version: what may be said of them.

use apimachinery::field::{FieldError, FieldPath};
use serde_json::Value;

use super::validate::text;

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

/// The only rule for a path that comes from a CRD; a column that cannot be read is not shown.
fn simple_path(given: &str, path: &FieldPath) -> Result<(), FieldError> {
    if given.starts_with('.') {
        return Ok(());
    }
    let detail = "must be a simple json path starting with .";
    Err(FieldError::invalid(path, given, detail))
}

/// Everything wrong with the columns of a version.
pub(super) fn validate(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let list = version
        .pointer("/additionalPrinterColumns")
        .and_then(Value::as_array);
    for (index, column) in list.into_iter().flatten().enumerate() {
        let at = path.index(index);
        if text(column, "/name").is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        let must = format!("must be one of {}", TYPES.join(","));
        match text(column, "/type") {
            "" => errors.push(FieldError::required(&at.child("type"), must)),
            ty if TYPES.contains(&ty) => {}
            ty => errors.push(FieldError::invalid(&at.child("type"), ty, must)),
        }
        let format = text(column, "/format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let must = format!("must be one of {}", FORMATS.join(","));
            errors.push(FieldError::invalid(&at.child("format"), format, must));
        }
        let at = at.child("JSONPath");
        match text(column, "/jsonPath") {
            "" => errors.push(FieldError::required(&at, "")),
            given => errors.extend(simple_path(given, &at).err()),
        }
    }
}

/// Everything wrong with the subresources of a version.
pub(super) fn subresources(version: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let scale = version.pointer("/subresources/scale");
    let Some(scale) = scale.filter(|scale| scale.is_object()) else {
        return;
    };
    let path = path.child("scale");
    let paths: [(&str, &[&str], &str); 3] = [
        ("specReplicasPath", &[".spec."], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            "either .spec or .status",
        ),
    ];
    for (key, roots, under) in paths {
        let given = text(scale, &format!("/{key}"));
        let at = path.child(key);
        if given.is_empty() {
            if key != "labelSelectorPath" {
                errors.push(FieldError::required(&at, ""));
            }
        } else if let Err(error) = simple_path(given, &at) {
            errors.push(error);
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            let detail = format!("should be a json path under {under}");
            errors.push(FieldError::invalid(&at, given, detail));
        }
    }
}
