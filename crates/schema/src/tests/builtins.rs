//! The built-in definitions: complete, well formed, with the facts that merging needs.

use apimachinery::gvk::GroupVersionKind;
use serde_json::json;

use super::admit;
use crate::{ListType, MapType, builtin, prune};

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, version, kind)
}

fn keys(keys: &[&str]) -> Option<ListType> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Some(ListType::Map { keys })
}

#[test]
fn every_definition_parses() {
    let mut names: Vec<&str> = Vec::new();
    for definition in builtin::definitions() {
        let json = definition.to_value();
        assert!(json.is_object() && definition.schema().docs.description.is_none());
        names.push(definition.name());
    }
    assert!(names.len() > 400, "{}", names.len());
    assert!(names.is_sorted(), "look-up is by binary search");
}

#[test]
fn references_lead_somewhere() {
    for definition in builtin::definitions() {
        for part in definition.json().split("\"$ref\":\"").skip(1) {
            let target = part.split('"').next().unwrap_or_default();
            let name = target.strip_prefix(builtin::REFERENCE_PREFIX).unwrap();
            assert!(
                builtin::definition(name).is_some(),
                "{} refers to {name}",
                definition.name()
            );
        }
    }
}

#[test]
fn lists_of_pods_have_keys() {
    let pod = builtin::schema(&gvk("", "v1", "Pod")).unwrap();
    let spec = pod.member("spec").unwrap();
    let containers = spec.member("containers").unwrap();
    assert_eq!(containers.list_type, keys(&["name"]));
    assert_eq!(containers.patch_merge_key.as_deref(), Some("name"));
    let container = containers.items.as_ref().unwrap();
    let ports = container.member("ports").unwrap();
    assert_eq!(ports.list_type, keys(&["containerPort", "protocol"]));
    let protocol = ports.items.as_ref().unwrap().member("protocol").unwrap();
    assert_eq!(protocol.default, Some(json!("TCP")));
    assert_eq!(
        spec.member("nodeSelector").unwrap().map_type,
        Some(MapType::Atomic)
    );
    assert_eq!(
        spec.member("tolerations").unwrap().list_type,
        Some(ListType::Atomic)
    );
    let metadata = pod.member("metadata").unwrap();
    assert_eq!(
        metadata.member("finalizers").unwrap().list_type,
        Some(ListType::Set)
    );
    assert_eq!(
        metadata.member("ownerReferences").unwrap().list_type,
        keys(&["uid"])
    );
}

#[test]
fn facts_beside_a_reference_make_a_schema_of_its_own() {
    let pv = builtin::schema(&gvk("", "v1", "PersistentVolume")).unwrap();
    let claim = pv
        .member("spec")
        .unwrap()
        .properties
        .get("claimRef")
        .unwrap();
    assert_eq!(claim.map_type, Some(MapType::Granular));
    assert!(claim.properties.contains_key("uid"));
    let deployment = builtin::schema(&gvk("apps", "v1", "Deployment")).unwrap();
    let strategy = deployment
        .member("spec")
        .unwrap()
        .member("strategy")
        .unwrap();
    assert_eq!(strategy.patch_strategy.as_deref(), Some("retainKeys"));
    let selector = deployment
        .member("spec")
        .unwrap()
        .member("selector")
        .unwrap();
    assert_eq!(selector.map_type, Some(MapType::Atomic));
}

#[test]
fn a_pod_passes_and_its_faults_are_found() {
    let pod = builtin::schema(&gvk("", "v1", "Pod")).unwrap();
    let good = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": "y"}},
        "spec": {
            "containers": [{
                "name": "c", "image": "i",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    });
    let (object, unknown, errors) = admit(&pod, good);
    assert_eq!((unknown.len(), errors), (0, Vec::new()));
    assert_eq!(
        object["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    assert!(object["spec"]["volumes"][0]["emptyDir"].is_object());
    let bad = json!({
        "metadata": {"name": "a", "lables": {}},
        "spec": {"containers": [{"name": 1, "image": "i", "comand": []}], "hostnam": "x"},
    });
    let (_, unknown, errors) = admit(&pod, bad);
    assert_eq!(
        unknown,
        [
            "metadata.lables",
            "spec.containers[0].comand",
            "spec.hostnam"
        ]
    );
    assert!(
        errors[0].starts_with("FieldValueTypeInvalid spec.containers[0].name"),
        "{errors:?}"
    );
}

#[test]
fn quantities_are_strings_or_numbers() {
    let quota = builtin::schema(&gvk("", "v1", "ResourceQuota")).unwrap();
    let hard = |value| admit(&quota, json!({"spec": {"hard": {"cpu": value}}})).2;
    assert!(hard(json!("500m")).is_empty());
    assert!(hard(json!(2)).is_empty());
    assert!(hard(json!(0.5)).is_empty());
    assert!(!hard(json!(true)).is_empty());
    assert!(hard(json!("many"))[0].starts_with("FieldValueTypeInvalid spec.hard.cpu"));
}

#[test]
fn free_form_parts_are_kept() {
    let crd = builtin::schema(&gvk(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    ))
    .unwrap();
    let mut object = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "type": "object", "odd": 1,
        "properties": {"a": {"type": "array", "items": {"type": "string"}, "default": ["x"], "odd": 1}},
        "additionalProperties": true,
    }}}]}});
    assert_eq!(
        prune(&crd, &mut object),
        [
            "spec.versions[0].schema.openAPIV3Schema.odd",
            "spec.versions[0].schema.openAPIV3Schema.properties.a.odd",
        ]
    );
    let revision = builtin::schema(&gvk("apps", "v1", "ControllerRevision")).unwrap();
    let mut object = json!({"data": {"any": {"thing": 1}}, "revision": 1});
    assert_eq!(prune(&revision, &mut object), [""; 0]);
}

#[test]
fn strategic_merge_knows_the_kinds() {
    use apimachinery::patch::strategic::{ListStrategy, MapStrategy, PatchMeta};
    let by = |key: &str| ListStrategy::MergeByKey(key.to_owned());
    let pod = builtin::schema(&gvk("", "v1", "Pod")).unwrap();
    assert_eq!(pod.list_strategy(&["spec", "containers"]), by("name"));
    assert_eq!(
        pod.list_strategy(&["spec", "containers", "env"]),
        by("name")
    );
    assert_eq!(
        pod.list_strategy(&["spec", "containers", "command"]),
        ListStrategy::Replace
    );
    assert_eq!(
        pod.list_strategy(&["metadata", "finalizers"]),
        ListStrategy::MergeSet
    );
    assert_eq!(pod.list_strategy(&["no", "such"]), ListStrategy::Replace);
    let service = builtin::schema(&gvk("", "v1", "Service")).unwrap();
    assert_eq!(service.list_strategy(&["spec", "ports"]), by("port"));
    let budget = builtin::schema(&gvk("policy", "v1", "PodDisruptionBudget")).unwrap();
    assert_eq!(
        budget.map_strategy(&["spec", "selector"]),
        MapStrategy::Replace
    );
    assert_eq!(
        budget.map_strategy(&["metadata", "labels"]),
        MapStrategy::Merge
    );
}
