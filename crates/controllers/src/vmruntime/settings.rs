//! What of the settings is in effect, in status and conditions (G-X01, G-X07). Pure.
//!
//! A setting that cannot be honoured is never ignored silently: it is refused at admission, or there is a
//! condition that says so.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use api::vmruntime::{
    EvictionPolicy, EvictionStrategy, FEATURE_GATES, FeatureGate, StorageSettings, VMRuntimeSpec,
    VmImageFormat,
};

/// Annotation of the cluster's default StorageClass.
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// What a condition says: its type, whether it holds, why, in words.
pub(super) type Words = (&'static str, bool, &'static str, String);

/// A StorageClass, as the runtime sees it.
#[derive(Debug, Clone)]
pub(super) struct ClassFacts {
    pub name: String,
    pub is_default: bool,
}

impl ClassFacts {
    pub(super) fn of(class: &StorageClass) -> Self {
        Self {
            name: class.name_any(),
            is_default: class
                .annotations()
                .get(IS_DEFAULT)
                .is_some_and(|v| v == "true"),
        }
    }
}

/// The classes in effect: those of the spec, else the cluster's default, else none.
pub(super) fn storage(spec: &VMRuntimeSpec, classes: &[ClassFacts]) -> StorageSettings {
    let default = classes
        .iter()
        .find(|c| c.is_default)
        .map(|c| c.name.as_str());
    let or_default = |class: Option<&str>| class.or(default).map(str::to_owned);
    StorageSettings {
        default_storage_class: or_default(spec.default_storage_class()),
        default_scratch_space_storage_class: or_default(spec.default_scratch_space_storage_class()),
    }
}

/// The features in effect: none of those that are known is there.
pub(super) fn feature_gates() -> BTreeMap<String, FeatureGate> {
    FEATURE_GATES
        .map(|name| (name.to_owned(), FeatureGate::Disabled))
        .into()
}

/// All that is to be said of the settings.
pub(super) fn words(spec: &VMRuntimeSpec, classes: &[ClassFacts]) -> [Words; 4] {
    [
        format(spec),
        eviction(spec),
        gates(spec),
        classes_found(spec, classes),
    ]
}

fn format(spec: &VMRuntimeSpec) -> Words {
    let type_ = "ImageFormatHonoured";
    // Importers write raw images only, so far; what was asked for is answered.
    match spec.effective_image_format() {
        VmImageFormat::Raw => (type_, true, "Raw", "images are imported as raw".to_owned()),
        VmImageFormat::Qcow2 => (
            type_,
            false,
            "Qcow2NotHonoured",
            "spec.vmImageFormat asks for qcow2, which this version cannot honour: images are imported as raw"
                .to_owned(),
        ),
    }
}

fn eviction(spec: &VMRuntimeSpec) -> Words {
    let type_ = "EvictionPolicyHonoured";
    let restart = "the guests of a drained node are shut down; a VM that is to run always starts again when a node takes it";
    match spec.eviction_policy.as_ref().map(EvictionPolicy::strategy) {
        None => (
            type_,
            true,
            "NotSet",
            format!("spec.evictionPolicy is not set: {restart}"),
        ),
        Some(EvictionStrategy::Restart) => (type_, true, "Restart", restart.to_owned()),
        Some(EvictionStrategy::LiveMigrate) => (
            type_,
            false,
            "LiveMigrationNotAvailable",
            format!(
                "spec.evictionPolicy asks for live migration, which this version does not have: {restart}, and the settings of migrations have no effect"
            ),
        ),
    }
}

fn gates(spec: &VMRuntimeSpec) -> Words {
    let type_ = "FeatureGatesHonoured";
    let mut problems = Vec::new();
    for (name, gate) in spec.feature_gates.iter().flatten() {
        let is_known = FEATURE_GATES.contains(&name.as_str());
        match (is_known, gate) {
            (true, FeatureGate::Disabled) => {}
            (true, FeatureGate::Enabled) => {
                problems.push(format!(
                    "{name} is not part of this version and stays disabled"
                ));
            }
            (false, _) => problems.push(format!("{name} is not known")),
        }
    }
    if problems.is_empty() {
        let message = "every feature gate that is set is honoured".to_owned();
        return (type_, true, "Honoured", message);
    }
    (type_, false, "NotHonoured", problems.join("; "))
}

fn classes_found(spec: &VMRuntimeSpec, classes: &[ClassFacts]) -> Words {
    let type_ = "StorageClassesFound";
    let asked = [
        ("defaultStorageClass", spec.default_storage_class()),
        (
            "defaultScratchSpaceStorageClass",
            spec.default_scratch_space_storage_class(),
        ),
    ];
    let missing: Vec<String> = asked
        .into_iter()
        .filter_map(|(field, class)| {
            let class = class.filter(|c| !classes.iter().any(|have| have.name == *c))?;
            Some(format!(
                "spec.storage.{field}: StorageClass {class:?} does not exist"
            ))
        })
        .collect();
    if missing.is_empty() {
        let message = "every StorageClass that is set exists".to_owned();
        return (type_, true, "Found", message);
    }
    let message = format!(
        "{}; disks that need it wait until it does",
        missing.join("; ")
    );
    (type_, false, "NotFound", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> VMRuntimeSpec {
        serde_json::from_value(value).unwrap()
    }

    fn classes() -> Vec<ClassFacts> {
        [("local", true), ("fast", false)]
            .map(|(name, is_default)| ClassFacts {
                name: name.into(),
                is_default,
            })
            .into()
    }

    fn said(value: Value, type_: &str) -> (bool, &'static str, String) {
        let all = words(&spec(value), &classes());
        let found = all.into_iter().find(|w| w.0 == type_).unwrap();
        (found.1, found.2, found.3)
    }

    #[test]
    fn classes_come_from_the_spec_then_the_cluster_then_nowhere() {
        let own = spec(json!({"storage": {"defaultStorageClass": "fast"}}));
        let resolved = storage(&own, &classes());
        assert_eq!(resolved.default_storage_class.as_deref(), Some("fast"));
        let scratch = resolved.default_scratch_space_storage_class;
        assert_eq!(scratch.as_deref(), Some("local"));
        assert_eq!(storage(&spec(json!({})), &[]), StorageSettings::default());
        let gone = json!({"storage": {"defaultStorageClass": "gone"}});
        let (found, _, message) = said(gone, "StorageClassesFound");
        assert!(
            !found && message.contains("\"gone\" does not exist"),
            "{message}"
        );
    }

    #[test]
    fn what_is_asked_for_and_not_there_is_said() {
        let empty = json!({});
        for type_ in [
            "ImageFormatHonoured",
            "EvictionPolicyHonoured",
            "FeatureGatesHonoured",
        ] {
            assert!(said(empty.clone(), type_).0, "{type_}");
        }
        assert!(!said(json!({"vmImageFormat": "qcow2"}), "ImageFormatHonoured").0);
        // {} takes the defaults, which are live migration.
        let migrate = said(json!({"evictionPolicy": {}}), "EvictionPolicyHonoured");
        assert_eq!((migrate.0, migrate.1), (false, "LiveMigrationNotAvailable"));
        let restart = json!({"evictionPolicy": {"evictionStrategy": "Restart"}});
        assert!(said(restart, "EvictionPolicyHonoured").0);
        let off = json!({"featureGates": {"EjectableCDROMs": "Disabled"}});
        assert!(said(off, "FeatureGatesHonoured").0);
        let on = json!({"featureGates": {"EjectableCDROMs": "Enabled", "Other": "Disabled"}});
        let (honoured, _, message) = said(on, "FeatureGatesHonoured");
        assert!(!honoured);
        assert!(
            message.contains("EjectableCDROMs is not part of this version"),
            "{message}"
        );
        assert!(message.contains("Other is not known"), "{message}");
    }
}
