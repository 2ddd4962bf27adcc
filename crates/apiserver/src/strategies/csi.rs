//! What CSI drivers and nodes tell of volumes: CSIDrivers, CSINodes, capacities and attachments.

use std::collections::HashSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{child, default};
use super::spot::{Faults, IMMUTABLE, NOT_NEGATIVE, Spot};
use super::volume_sources::csi_driver;
use crate::strategy::{Context, Strategy};

pub(super) struct CsiDriver;
pub(super) struct CsiNode;
pub(super) struct CsiStorageCapacity;
pub(super) struct VolumeAttachment;

fn complete_driver(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    default(spec, "attachRequired", true);
    default(spec, "podInfoOnMount", false);
    default(spec, "storageCapacity", false);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default(spec, "requiresRepublish", false);
    default(spec, "seLinuxMount", false);
    default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

#[async_trait]
impl Strategy for CsiDriver {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_driver(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_driver(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        driver(&Spot::of(object, "spec"), &mut faults);
        if let Some(old) = old {
            let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
            // The spelling is upstream's.
            let attach = Spot::new(
                spec.child("attachRequired").value,
                spec.at("attachedRequired"),
            );
            faults.immutable(&attach, &before.child("attachRequired"));
            let modes = "volumeLifecycleModes";
            faults.immutable(&spec.child(modes), &before.child(modes));
        }
        Ok(faults.0)
    }
}

fn driver(spec: &Spot<'_>, faults: &mut Faults) {
    const POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
    const MODES: [&str; 2] = ["Ephemeral", "Persistent"];
    const SHORTEST: i64 = 600;
    const LONGEST: i64 = 1 << 32;
    faults.choice_if_given(spec, "fsGroupPolicy", &POLICIES);
    for mode in spec.items("volumeLifecycleModes") {
        if !MODES.contains(&mode.as_text()) {
            let at = spec.at("volumeLifecycleModes");
            faults.not_supported(&at, mode.as_text(), &MODES);
        }
    }
    let mut audiences = HashSet::new();
    for token in spec.items("tokenRequests") {
        let audience = token.text("audience");
        if !audiences.insert(audience) {
            faults.duplicate(&token.at("audience"), audience);
            continue;
        }
        let at = token.at("expirationSeconds");
        match token.int("expirationSeconds") {
            Some(given) if given < SHORTEST => {
                let detail = "may not specify a duration less than 10 minutes";
                faults.invalid(&at, given, detail);
            }
            Some(given) if given > LONGEST => {
                let detail = "may not specify a duration larger than 2^32 seconds";
                faults.invalid(&at, given, detail);
            }
            _ => {}
        }
    }
    const PERIOD: &str = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(given) = spec.int(PERIOD).filter(|seconds| *seconds < 10) {
        let detail = "must be greater than or equal to 10 seconds";
        faults.invalid(&spec.at(PERIOD), given, detail);
    }
}

#[async_trait]
impl Strategy for CsiNode {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        node(object, old, &mut faults);
        Ok(faults.0)
    }
}

fn node(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    const LONGEST: usize = 256;
    let spec = Spot::of(object, "spec");
    let mut names = HashSet::new();
    for driver in spec.items("drivers") {
        csi_driver(&driver, "name", faults);
        let id = driver.text("nodeID");
        if id.is_empty() {
            faults.required(&driver.at("nodeID"), "");
        } else if id.len() > LONGEST {
            let detail = format!("must be {LONGEST} characters or less");
            faults.invalid(&driver.at("nodeID"), id, detail);
        }
        faults.not_negative(&driver.child("allocatable"), &["count"]);
        if !names.insert(driver.text("name")) {
            faults.duplicate(&driver.at("name"), driver.text("name"));
        }
        let mut keys = HashSet::new();
        for key in driver.items("topologyKeys").map(|key| key.as_text()) {
            if key.is_empty() {
                faults.required(&driver.path, "");
            }
            if !keys.insert(key) {
                faults.duplicate(&driver.path, key);
            }
            faults.named(&driver.path, key, name::qualified_name);
        }
    }
    let Some(old) = old else {
        return;
    };
    // What a driver can take may change, what it is may not.
    let fixed = |value: &Value| {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            map.remove("allocatable");
        }
        value
    };
    for before in Spot::of(old, "spec").items("drivers") {
        for driver in spec.items("drivers") {
            let same = driver.text("name") == before.text("name");
            if same && fixed(driver.value) != fixed(before.value) {
                faults.invalid(&spec.at("drivers"), driver.value.clone(), IMMUTABLE);
            }
        }
    }
}

#[async_trait]
impl Strategy for CsiStorageCapacity {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        let root = Spot::new(object, FieldPath::root());
        faults.selector(&root, "nodeTopology");
        let class = root.child("storageClassName");
        faults.named(&class.path, class.as_text(), name::dns1123_subdomain);
        let capacity = root.child("capacity");
        if capacity
            .quantity()
            .is_some_and(|amount| amount.is_negative())
        {
            faults.invalid(&capacity.path, capacity.value.clone(), NOT_NEGATIVE);
        }
        if let Some(old) = old {
            let before = Spot::new(old, FieldPath::root());
            for field in ["nodeTopology", "storageClassName"] {
                faults.immutable(&root.child(field), &before.child(field));
            }
        }
        Ok(faults.0)
    }
}

#[async_trait]
impl Strategy for VolumeAttachment {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        attachment(object, &mut faults);
        if let Some(old) = old {
            faults.immutable(&Spot::of(object, "spec"), &Spot::of(old, "spec"));
        }
        Ok(faults.0)
    }
}

fn attachment(object: &Value, faults: &mut Faults) {
    let spec = Spot::of(object, "spec");
    csi_driver(&spec, "attacher", faults);
    let source = spec.child("source");
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let named = source.has("persistentVolumeName");
    match (source.has("inlineVolumeSpec"), named) {
        (false, false) => faults.required(&source.path, ONE),
        (true, true) => faults.forbidden(&source.path, ONE),
        (false, true) if source.text("persistentVolumeName").is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            faults.required(&source.at("persistentVolumeName"), detail);
        }
        _ => {}
    }
    if named {
        let given = source.text("persistentVolumeName");
        faults.named(
            &source.at("persistentVolumeName"),
            given,
            name::dns1123_subdomain,
        );
    }
    faults.named(
        &spec.at("nodeName"),
        spec.text("nodeName"),
        name::dns1123_subdomain,
    );
    let status = Spot::of(object, "status");
    for field in ["attachError", "detachError"] {
        const LONGEST: usize = 1024;
        let error = status.child(field);
        if error.text("message").len() > LONGEST {
            faults
                .0
                .push(FieldError::too_long(&error.at("message"), 256 * 1024));
        }
        if let Some(code) = error.int("errorCode").filter(|code| *code < 0) {
            let detail = "must be between 0 and 2147483647, inclusive";
            faults.invalid(&error.at("errorCode"), code, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    #[test]
    fn a_driver_is_judged_by_field() {
        let spec = json!({
            "fsGroupPolicy": "Odd", "volumeLifecycleModes": ["Odd"], "nodeAllocatableUpdatePeriodSeconds": 1,
            "tokenRequests": [{"audience": "a", "expirationSeconds": 60}, {"audience": "a"}],
        });
        let spot = Spot::new(&spec, FieldPath::new("spec"));
        assert_eq!(
            judged(|faults| driver(&spot, faults)),
            [
                "spec.fsGroupPolicy NotSupported",
                "spec.nodeAllocatableUpdatePeriodSeconds Invalid",
                "spec.tokenRequests[0].expirationSeconds Invalid",
                "spec.tokenRequests[1].audience Duplicate",
                "spec.volumeLifecycleModes NotSupported",
            ]
        );
    }

    #[test]
    fn a_node_keeps_its_drivers() {
        let of = |drivers: Value| json!({"spec": {"drivers": drivers}});
        let old = of(json!([{"name": "d.io", "nodeID": "n"}]));
        let grown = of(
            json!([{"name": "d.io", "nodeID": "n", "allocatable": {"count": 3}}, {"name": "e.io", "nodeID": "n"}]),
        );
        assert!(judged(|faults| node(&grown, Some(&old), faults)).is_empty());
        let moved = of(
            json!([{"name": "d.io", "nodeID": "m"}, {"name": "d.io", "topologyKeys": ["a b", "x", "x"]}]),
        );
        assert_eq!(
            judged(|faults| node(&moved, Some(&old), faults)),
            [
                "spec.drivers Invalid",
                "spec.drivers[1] Duplicate",
                "spec.drivers[1] Invalid",
                "spec.drivers[1].name Duplicate",
                "spec.drivers[1].nodeID Required",
            ]
        );
    }

    #[test]
    fn an_attachment_names_one_volume_and_a_node() {
        let good = json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
        assert!(judged(|faults| attachment(&good, faults)).is_empty());
        assert_eq!(
            judged(|faults| attachment(&json!({"spec": {}}), faults)),
            [
                "spec.attacher Invalid",
                "spec.attacher Required",
                "spec.nodeName Invalid",
                "spec.source Required",
            ]
        );
    }
}
