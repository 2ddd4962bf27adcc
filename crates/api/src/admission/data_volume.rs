//! Rules of a DataVolume, with CDI's paths.

use apimachinery::field::FieldPath;
use apimachinery::name;
use apimachinery::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;

use super::cause::{Cause, named};
use crate::cdi::{DataVolume, DataVolumeSpec, HttpSource, StorageSpec};

/// Access modes that Kubernetes has.
const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
/// Smallest disk: 1 MiB.
const MIN_SIZE: i64 = 1 << 20;

/// Where the causes of a spec point to.
pub(super) struct Paths {
    spec: FieldPath,
    source: FieldPath,
    missing_source: &'static str,
}

impl Paths {
    fn own() -> Self {
        let spec = FieldPath::new("spec");
        Self {
            source: spec.child("source"),
            spec,
            missing_source: "Missing Data volume source",
        }
    }

    /// Of a template in a VirtualMachine; KubeVirt spells the path of its source without the plural.
    pub(super) fn of_template(template: &FieldPath, odd: &FieldPath) -> Self {
        Self {
            spec: template.child("spec"),
            source: odd.child("source"),
            missing_source: "Missing dataVolume valid source",
        }
    }
}

/// Rules of a DataVolume.
pub(super) fn validate(dv: &DataVolume, raw: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(old) = old {
        let same = stored_spec(old).is_some_and(|old| old == dv.spec);
        if !same {
            causes.push(Cause::new(
                "DataVolume.Spec",
                apimachinery::field::FieldErrorKind::Duplicate,
                "Cannot update DataVolume Spec",
            ));
        }
        return causes;
    }
    spec(&mut causes, &dv.spec, raw.get("spec"), &Paths::own());
    causes
}

fn stored_spec(object: &Value) -> Option<DataVolumeSpec> {
    DataVolumeSpec::deserialize(object.get("spec")?).ok()
}

/// Rules of a spec.
pub(super) fn spec(
    causes: &mut Vec<Cause>,
    spec: &DataVolumeSpec,
    raw: Option<&Value>,
    paths: &Paths,
) {
    if let Some(content) = &spec.content_type
        && !matches!(content.as_str(), "" | "kubevirt")
    {
        let field = paths.spec.child("contentType");
        let is_blank = spec.source.as_ref().is_some_and(|s| s.blank.is_some());
        causes.push(match content.as_str() {
            "archive" if is_blank => Cause::invalid(
                &field,
                "SourceType cannot be blank and the contentType be archive",
            ),
            "archive" => Cause::not_supported(
                &field,
                format!(
                    "{field} 'archive' is not honoured by this version of Ferrovirt; use kubevirt"
                ),
            ),
            _ => Cause::invalid(
                &field,
                format!("ContentType not one of: kubevirt, archive: {content}"),
            ),
        });
    }
    source(causes, spec, raw, paths);
    storage(causes, spec, paths);
}

fn source(causes: &mut Vec<Cause>, spec: &DataVolumeSpec, raw: Option<&Value>, paths: &Paths) {
    let path = &paths.source;
    let Some(source) = &spec.source else {
        // A source reference is not honoured and has its own cause.
        if raw.is_none_or(|r| r.get("sourceRef").is_none()) {
            causes.push(Cause::invalid(
                path,
                "Data volume should have either Source or SourceRef, or be externally populated",
            ));
        }
        return;
    };
    match (&source.http, &source.blank) {
        (Some(_), Some(_)) => causes.push(Cause::invalid(path, "Multiple Data volume sources")),
        (None, None) => {
            let other = raw.and_then(|r| r.get("source")?.as_object());
            if other.is_none_or(serde_json::Map::is_empty) {
                causes.push(Cause::invalid(path, paths.missing_source));
            }
        }
        (Some(http), None) => self::http(causes, http, path),
        (None, Some(_)) => {}
    }
}

fn http(causes: &mut Vec<Cause>, http: &HttpSource, path: &FieldPath) {
    let field = path.child("HTTP").child("url");
    if http.url.is_empty() {
        causes.push(Cause::invalid(
            &field,
            format!("{path} source URL is empty"),
        ));
        return;
    }
    match http.url.split_once("://") {
        Some((_, rest)) if rest.is_empty() || rest.starts_with('/') || has_blank(rest) => {
            causes.push(Cause::invalid(
                &field,
                format!("{path} Invalid source URL: {}", http.url),
            ));
        }
        Some(("http" | "https", _)) => {}
        Some(("gs", _)) => causes.push(Cause::not_supported(
            &field,
            format!("{path} source URL scheme gs is not honoured by this version of Ferrovirt; use http or https"),
        )),
        Some(_) => causes.push(Cause::invalid(
            &field,
            format!("{path} Invalid source URL scheme: {}", http.url),
        )),
        None => causes.push(Cause::invalid(
            &field,
            format!("{path} Invalid source URL: {}", http.url),
        )),
    }
    for (reference, word) in [
        (&http.secret_ref, "secretRef"),
        (&http.cert_config_map, "certConfigMap"),
    ] {
        if let Some(reference) = reference {
            named(
                causes,
                &path.child("http").child(word),
                reference,
                name::dns1123_subdomain,
            );
        }
    }
}

fn has_blank(text: &str) -> bool {
    text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn storage(causes: &mut Vec<Cause>, spec: &DataVolumeSpec, paths: &Paths) {
    let (claim, word, plain) = match (&spec.storage, &spec.pvc) {
        (Some(_), Some(_)) => {
            causes.push(Cause::invalid(
                paths.spec.child("PVC").child("Storage"),
                "Duplicate storage definition, both target storage and target pvc defined",
            ));
            return;
        }
        (None, None) => {
            causes.push(Cause::invalid(
                paths.spec.child("PVC"),
                "Missing Data volume PVC",
            ));
            return;
        }
        (Some(claim), None) => (claim, "Storage", "storage"),
        (None, Some(claim)) => (claim, "PVC", "pvc"),
    };
    size(causes, claim, word, &paths.spec);
    let modes = paths.spec.child("PVC").child("accessModes");
    if word == "PVC" && claim.access_modes.is_empty() {
        causes.push(Cause::invalid(
            &modes,
            "Required value: at least 1 access mode is required",
        ));
    }
    for mode in &claim.access_modes {
        if !ACCESS_MODES.contains(&mode.as_str()) {
            let supported = ACCESS_MODES.map(|m| format!("\"{m}\"")).join(", ");
            causes.push(Cause::invalid(
                &modes,
                format!("Unsupported value: \"{mode}\": supported values: {supported}"),
            ));
        }
    }
    let path = paths.spec.child(plain);
    if let Some(mode) = &claim.volume_mode
        && !["Filesystem", "Block"].contains(&mode.as_str())
    {
        causes.push(Cause::invalid(
            path.child("volumeMode"),
            format!("Unsupported value: \"{mode}\": supported values: \"Block\", \"Filesystem\""),
        ));
    }
    if let Some(class) = &claim.storage_class_name
        && !class.is_empty()
    {
        if class.len() > 253 {
            causes.push(Cause::invalid(
                "",
                "Name cannot be longer than 253 characters",
            ));
        } else {
            named(
                causes,
                &path.child("storageClassName"),
                class,
                name::dns1123_subdomain,
            );
        }
    }
}

fn size(causes: &mut Vec<Cause>, claim: &StorageSpec, word: &str, spec: &FieldPath) {
    let field = spec
        .child(word)
        .child("resources")
        .child("requests")
        .child("size");
    let message = match claim.size() {
        None => format!("{word} size is missing"),
        Some(text) => match Quantity::parse(&text.0) {
            Err(error) => format!("{word} size '{}': {error}", text.0),
            Ok(size) if size.milli_value() <= 0 => {
                format!("{word} size can't be equal or less than zero")
            }
            Ok(size) if size.value() < MIN_SIZE => format!("{word} size should be at least 1MiB"),
            Ok(_) => return,
        },
    };
    causes.push(Cause::invalid(&field, message));
}
