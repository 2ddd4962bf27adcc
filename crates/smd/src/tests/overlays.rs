//! Apply configurations of mutating policies.

use super::*;

fn deployment() -> (Arc<Schema>, Value) {
    let gvk = GroupVersionKind {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
    };
    let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "i", "command": ["c"]}]}}}});
    (schema::builtin::schema(&gvk).unwrap(), live)
}

fn laid(spec: Value) -> Result<Value, String> {
    let (schema, live) = deployment();
    let configuration = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec});
    overlay(&schema, &live, &configuration).map(|mut object| object["spec"].take())
}

#[test]
fn lists_of_named_elements_are_merged() {
    let containers = json!([{"name": "a", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}]);
    assert_eq!(
        laid(json!({"replicas": 3, "template": {"spec": {"containers": containers}}})),
        Ok(json!({"replicas": 3, "template": {"spec": {"containers": [
            {"name": "a", "image": "i", "command": ["c"], "env": [{"name": "E", "value": "1"}]}, {"name": "b"}]}}}))
    );
}

#[test]
fn what_is_replaced_as_a_whole_is_refused() {
    assert_eq!(
        laid(json!({"selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "a", "command": ["x"]}]}}})),
        Err("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector, .spec.template.spec.containers[0].command".to_owned())
    );
}

#[test]
fn what_does_not_fit_the_kind_is_refused() {
    let unknown = laid(json!({"nope": 1})).unwrap_err();
    assert!(
        unknown.starts_with("failed to convert patch object to typed object: ")
            && unknown.contains("field not declared in schema"),
        "{unknown}"
    );
    laid(json!({"replicas": "three"})).unwrap_err();
}
