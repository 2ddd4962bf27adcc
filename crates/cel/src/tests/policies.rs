//! Admission policies.

use serde_json::{Value as Json, json};

use super::nobody;
use crate::budget::Budget;
use crate::policy::matching::Request;
use crate::policy::{Action, Binding, Inputs, Policy, Verdict, validate};

fn policy(spec: Json) -> Json {
    let mut spec = spec;
    spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"], "resources": ["widgets"]}]});
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn evaluate(spec: Json, object: Json, params: Option<Json>) -> Verdict {
    let object_of_policy = policy(spec);
    assert_eq!(validate::policy(&object_of_policy), []);
    let request = json!({"operation": "CREATE", "userInfo": {"username": "joe"}});
    let namespace = json!({"metadata": {"name": "ns"}});
    Policy::compile(&object_of_policy).evaluate(
        &Inputs {
            object: Some(&object),
            old_object: None,
            request: &request,
            params: params.as_ref(),
            namespace_object: Some(&namespace),
            authorizer: &nobody(),
        },
        &mut Budget::of_object(),
    )
}

fn messages(verdict: &Verdict) -> Vec<&str> {
    verdict
        .refusals
        .iter()
        .map(|r| r.message.as_str())
        .collect()
}

#[test]
fn messages_and_reasons() {
    let spec = json!({"validations": [
        {"expression": "object.n <= 5", "messageExpression": "'n is ' + string(object.n) + ' in ' + namespaceObject.metadata.name", "reason": "Forbidden"},
        {"expression": "!has(object.m)", "message": "no m"},
        {"expression": "request.userInfo.username == 'joe'"},
        {"expression": "oldObject == null"}]});
    let verdict = evaluate(spec.clone(), json!({"n": 9, "m": 1}), None);
    assert_eq!(messages(&verdict), ["n is 9 in ns", "no m"]);
    assert_eq!(verdict.refusals[0].reason, "Forbidden");
    assert_eq!(verdict.refusals[1].reason, "Invalid");
    assert_eq!(evaluate(spec, json!({"n": 1}), None), Verdict::default());
}

#[test]
fn the_failure_policy_decides_about_errors() {
    let spec = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": "object.spec.absent == 1"}]});
    let object = json!({"spec": {}});
    assert_eq!(
        messages(&evaluate(spec("Fail"), object.clone(), None)),
        ["expression 'object.spec.absent == 1' resulted in error: no such key: absent"]
    );
    assert!(evaluate(spec("Ignore"), object, None).refusals.is_empty());
    assert_eq!(
        messages(&evaluate(
            spec("Ignore"),
            json!({"spec": {"absent": 2}}),
            None
        )),
        ["failed expression: object.spec.absent == 1"]
    );
}

#[test]
fn variables_conditions_params_and_annotations() {
    let spec = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"},
        "matchConditions": [{"name": "not-free", "expression": "!has(object.free)"}],
        "variables": [
            {"name": "items", "expression": "has(object.items) ? object.items : []"},
            {"name": "total", "expression": "variables.items.map(i, i.n).sum()"},
            {"name": "never", "expression": "1 / 0"}],
        "validations": [{"expression": "variables.total <= params.max", "messageExpression": "'total ' + string(variables.total)"}],
        "auditAnnotations": [{"key": "total", "valueExpression": "string(variables.total)"}]});
    let params = Some(json!({"max": 10}));
    let verdict = evaluate(
        spec.clone(),
        json!({"items": [{"n": 7}, {"n": 8}]}),
        params.clone(),
    );
    assert_eq!(messages(&verdict), ["total 15"]);
    assert_eq!(
        verdict.annotations,
        [("p/total".to_owned(), "15".to_owned())]
    );
    let verdict = evaluate(spec.clone(), json!({"items": [{"n": 7}]}), params.clone());
    assert!(verdict.refusals.is_empty());
    assert_eq!(
        evaluate(spec, json!({"free": 1, "items": [{"n": 70}]}), params),
        Verdict::default()
    );
}

#[test]
fn invalid_policies() {
    let fields = |spec: Json| -> Vec<(String, &'static str)> {
        validate::policy(&policy(spec))
            .iter()
            .map(|e| (e.path.to_string(), e.reason()))
            .collect()
    };
    let at = |path: &str, reason: &'static str| (path.to_owned(), reason);
    let expression = at("spec.validations[0].expression", "FieldValueInvalid");
    for source in [
        "object.spec.n <",
        "1",
        "params.x == 1",
        "request.nope == 1",
        "variables.x == 1",
        "authorizer.path('/')",
        "authorizer.requestResource.allowed()",
        "authorizer.serviceAccount('a', 'b').requestResource.check('get').allowed()",
        "Object{} == object",
        "jsonpatch.escapeKey('a') == 'a'",
    ] {
        assert_eq!(
            fields(json!({"validations": [{"expression": source}]})),
            std::slice::from_ref(&expression),
            "{source}"
        );
    }
    assert_eq!(
        fields(json!({"validations": [{"expression": "true", "reason": "Whatever"}]})),
        [at("spec.validations[0].reason", "FieldValueNotSupported")]
    );
    assert_eq!(
        fields(json!({"validations": []})),
        [
            at("spec.validations", "FieldValueRequired"),
            at("spec.auditAnnotations", "FieldValueRequired")
        ]
    );
    assert_eq!(
        fields(
            json!({"validations": [{"expression": "true"}], "variables": [{"name": "a-b", "expression": "1"}]})
        ),
        [at("spec.variables[0].name", "FieldValueInvalid")]
    );
    let binding = |actions: Json| -> Vec<String> {
        validate::binding(&json!({"spec": {"policyName": "p", "validationActions": actions}}))
            .iter()
            .map(|e| e.path.to_string())
            .collect()
    };
    assert_eq!(binding(json!(["Deny", "Warn"])), ["spec.validationActions"]);
    assert_eq!(binding(json!([])), ["spec.validationActions"]);
    assert!(binding(json!(["Warn", "Audit"])).is_empty());
}

#[test]
fn matching() {
    let object = json!({"metadata": {"name": "w", "labels": {"check": "1"}}});
    let namespace = json!({"metadata": {"labels": {"guarded": "yes"}}});
    let request = Request {
        operation: "CREATE",
        group: "example.com",
        version: "v1",
        resource: "widgets",
        subresource: "",
        name: "w",
        namespaced: true,
        object: Some(&object),
        old_object: None,
        namespace: Some(&namespace),
    };
    let compiled = |change: fn(&mut Json)| {
        let mut object = policy(json!({"validations": [{"expression": "true"}]}));
        change(&mut object["spec"]["matchConstraints"]);
        Policy::compile(&object).constraints
    };
    assert!(compiled(|_| {}).matches(&request));
    assert!(
        compiled(|m| m["objectSelector"] = json!({"matchLabels": {"check": "1"}}))
            .matches(&request)
    );
    assert!(
        !compiled(|m| m["objectSelector"] = json!({"matchLabels": {"check": "2"}}))
            .matches(&request)
    );
    assert!(
        !compiled(|m| m["namespaceSelector"] = json!({"matchLabels": {"guarded": "no"}}))
            .matches(&request)
    );
    assert!(
        !compiled(
            |m| m["excludeResourceRules"] = json!([{"apiGroups": ["*"], "apiVersions": ["*"],
        "operations": ["*"], "resources": ["*"]}])
        )
        .matches(&request)
    );
    assert!(
        !compiled(|m| m["resourceRules"][0]["resources"] = json!(["widgets/status"]))
            .matches(&request)
    );
    assert!(!compiled(|_| {}).matches(&Request {
        operation: "DELETE",
        ..request
    }));
    assert!(compiled(|_| {}).matches(&Request {
        version: "v2",
        ..request
    }));
    assert!(
        !compiled(|m| m["matchPolicy"] = json!("Exact")).matches(&Request {
            version: "v2",
            ..request
        })
    );
    assert!(!compiled(|m| m["resourceRules"][0]["resourceNames"] = json!(["v"])).matches(&request));
    let binding = Binding::read(
        &json!({"metadata": {"name": "b"}, "spec": {"policyName": "p",
        "validationActions": ["Deny", "Audit"], "paramRef": {"name": "l", "parameterNotFoundAction": "Deny"},
        "matchResources": {"namespaceSelector": {"matchLabels": {"guarded": "yes"}}}}}),
    );
    assert_eq!(binding.actions, [Action::Deny, Action::Audit]);
    assert!(binding.resources.unwrap().admits(&request));
    assert!(!binding.param_ref.unwrap().allow_not_found);
}

#[test]
fn type_checking_finds_what_no_kind_has() {
    let kind = |group: &str, version: &str, kind: &str| crate::policy::Matched {
        schema: schema::builtin::schema(&apimachinery::gvk::GroupVersionKind::new(
            group, version, kind,
        ))
        .unwrap(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    };
    let kinds = [
        kind("", "v1", "ConfigMap"),
        kind("apps", "v1", "Deployment"),
        // A schema that is a part of itself.
        kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ];
    let check = |kinds, spec: Json| {
        let found = crate::policy::type_check(&json!({"spec": spec}), kinds, None);
        let found = found.into_iter().map(|w| (w.field, w.warning));
        found.collect::<Vec<_>>()
    };
    assert_eq!(
        check(
            &kinds[1..2],
            json!({"validations": [
                {"expression": "object.spec.replicas > 1 && has(object.metadata.labels.a) && oldObject == null"},
                {"expression": "object.replicas > 1", "messageExpression": "string(object.spec.paused) + object.spec.nope"},
                {"expression": "variables.n == 'x'"}],
                "variables": [{"name": "n", "expression": "object.spec.replicas"}]})
        ),
        [
            (
                "spec.validations[1].expression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n".to_owned()
            ),
            (
                "spec.validations[1].messageExpression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:41: undefined field 'nope'\n | string(object.spec.paused) + object.spec.nope\n | ........................................^\n".to_owned()
            ),
            (
                "spec.validations[2].expression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n | variables.n == 'x'\n | ............^\n".to_owned()
            ),
        ]
    );
    let both = check(
        &kinds,
        json!({"validations": [{"expression": "object.data['k'] == 'v'"}]}),
    );
    assert_eq!(both.len(), 1);
    assert!(
        both[0]
            .1
            .contains("\n\napiextensions.k8s.io/v1, Kind=CustomResourceDefinition: ERROR: "),
        "{}",
        both[0].1
    );
}
