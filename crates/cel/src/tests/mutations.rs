//! Mutating policies: what their expressions make.

use serde_json::{Value as Json, json};

use super::nobody;
use crate::budget::Budget;
use crate::policy::{Inputs, MutatingPolicy, Patch, validate};

fn policy(mutations: Json) -> Json {
    json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]},
        "variables": [{"name": "labels", "expression": "has(object.metadata.labels) ? object.metadata.labels : {}"}],
        "reinvocationPolicy": "Never", "mutations": mutations}})
}

fn json_patch(expression: &str) -> Json {
    json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}])
}

fn configuration(expression: &str) -> Json {
    json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}])
}

fn make(mutations: Json) -> Result<Patch, String> {
    let object = policy(mutations);
    assert_eq!(validate::mutating_policy(&object), []);
    let deployment =
        json!({"metadata": {"name": "d", "labels": {"a/b~c": "1"}}, "spec": {"replicas": 3}});
    let inputs = Inputs {
        object: Some(&deployment),
        old_object: None,
        request: &json!({"operation": "CREATE"}),
        params: None,
        namespace_object: None,
        authorizer: &nobody(),
    };
    let policy = MutatingPolicy::compile(&object);
    let mut budget = Budget::of_object();
    assert_eq!(policy.matches(&inputs, &mut budget), Ok(true));
    policy.patch(0, &inputs, &mut budget)
}

#[test]
fn json_patches() {
    let patch = make(json_patch(
        "[JSONPatch{op: 'test', path: '/spec/replicas', value: object.spec.replicas},
          JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: 'x'},
          JSONPatch{op: 'add', path: '/spec/template', value: Object.spec.template{spec: Object.spec.template.spec{n: 2.0}}},
          JSONPatch{op: 'move', from: '/a', path: '/b'},
          JSONPatch{op: 'add', path: '/c', value: null}]
         + (variables.labels.size() > 5 ? [JSONPatch{op: 'remove', path: '/d'}] : [])",
    ));
    assert_eq!(
        patch,
        Ok(Patch::Json(json!([
            {"op": "test", "path": "/spec/replicas", "value": 3},
            {"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "x"},
            {"op": "add", "path": "/spec/template", "value": {"spec": {"n": 2}}},
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/c", "value": null},
        ])))
    );
}

#[test]
fn apply_configurations() {
    let made = make(configuration(
        "Object{
            metadata: Object.metadata{labels: {'n': string(object.spec.replicas)}},
            spec: Object.spec{
                ?paused: optional.none(),
                ?replicas: object.spec[?'replicas'],
                template: Object.spec.template{spec: Object.spec.template.spec{
                    containers: ['a', 'b'].map(n, Object.spec.template.spec.containers{name: n})}}}}",
    ));
    assert_eq!(
        made,
        Ok(Patch::Configuration(json!({
            "metadata": {"labels": {"n": "3"}},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}},
        })))
    );
}

#[test]
fn objects_are_named_by_their_path() {
    assert_eq!(
        make(configuration("Object{spec: Object.specx{replicas: 1}}")),
        Err("type mismatch: unexpected type name \"Object.specx\", expected \"Object.spec\", which matches field name path from root Object type".to_owned())
    );
    assert!(
        make(json_patch(
            "[JSONPatch{op: 'add', path: '/x', value: Object.a{b: [Object.b{}]}}]"
        ))
        .unwrap_err()
        .contains("expected \"Object.a.b\"")
    );
}

#[test]
fn shared_parts_cannot_be_unfolded_without_end() {
    let mut object = policy(configuration("Object{spec: variables.v39}"));
    let mut variables = vec![json!({"name": "v0", "expression": "{'a': 'b'}"})];
    for index in 1..40 {
        let before = index - 1;
        let expression = format!("{{'a': variables.v{before}, 'b': variables.v{before}}}");
        variables.push(json!({"name": format!("v{index}"), "expression": expression}));
    }
    object["spec"]["variables"] = Json::Array(variables);
    let inputs = Inputs {
        object: Some(&json!({})),
        old_object: None,
        request: &json!({}),
        params: None,
        namespace_object: None,
        authorizer: &nobody(),
    };
    let made = MutatingPolicy::compile(&object).patch(0, &inputs, &mut Budget::of_object());
    assert_eq!(
        made,
        Err("operation cancelled: actual cost limit exceeded".to_owned())
    );
}

fn faults(mutations: Json) -> Vec<(String, &'static str)> {
    let errors = validate::mutating_policy(&policy(mutations));
    let shown = errors.iter().map(|e| (e.path.to_string(), e.reason()));
    shown.collect()
}

#[test]
fn what_makes_no_patch_is_refused() {
    for (mutations, path) in [
        (json_patch("[]"), "jsonPatch.expression"),
        (json_patch("JSONPatch{op: 'add'}"), "jsonPatch.expression"),
        (json_patch("[JSONPatch{op: 1}]"), "jsonPatch.expression"),
        (json_patch("[JSONPatch{verb: 'a'}]"), "jsonPatch.expression"),
        (
            configuration("{'spec': 1}"),
            "applyConfiguration.expression",
        ),
        (
            configuration("Object.spec{}"),
            "applyConfiguration.expression",
        ),
        (configuration("Thing{}"), "applyConfiguration.expression"),
    ] {
        let at = format!("spec.mutations[0].{path}");
        assert_eq!(
            faults(mutations.clone()),
            [(at, "FieldValueInvalid")],
            "{mutations}"
        );
    }
}

#[test]
fn the_shape_of_mutations_is_checked() {
    let at = |path: &str, reason: &'static str| (path.to_owned(), reason);
    assert_eq!(
        faults(json!([])),
        [at("spec.mutations", "FieldValueRequired")]
    );
    assert_eq!(
        faults(json!([{"jsonPatch": {"expression": "[]"}}])),
        [at("spec.mutations[0].patchType", "FieldValueRequired")]
    );
    assert_eq!(
        faults(json!([{"patchType": "Merge"}])),
        [at("spec.mutations[0].patchType", "FieldValueNotSupported")]
    );
    assert_eq!(
        faults(
            json!([{"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}])
        ),
        [
            at("spec.mutations[0].jsonPatch", "FieldValueRequired"),
            at("spec.mutations[0].applyConfiguration", "FieldValueInvalid"),
        ]
    );
    assert_eq!(
        faults(configuration(" ")),
        [at(
            "spec.mutations[0].applyConfiguration.expression",
            "FieldValueRequired"
        )]
    );
    let mut object = policy(configuration("Object{}"));
    object["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]);
    object["spec"]["reinvocationPolicy"] = json!("Always");
    let errors = validate::mutating_policy(&object);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            "spec.reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
        ]
    );
    let binding = json!({"spec": {"policyName": "", "matchResources": {"resourceRules": [{"apiGroups": [""],
        "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}]}}});
    let errors = validate::mutating_binding(&binding);
    let paths: Vec<String> = errors.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "spec.policyName",
            "spec.matchResources.resourceRules.operations"
        ]
    );
}
