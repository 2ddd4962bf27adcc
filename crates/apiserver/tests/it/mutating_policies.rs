//! MutatingAdmissionPolicies, and the `authorizer` of policies and match conditions.

use authz::User;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::hook::Hook;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rules(group: &str, version: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": [version],
        "operations": ["CREATE", "UPDATE"], "resources": [resource]}]})
}

fn json_patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn configuration(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn policy(name: &str, constraints: &Value, mutations: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": mutations}})
}

fn binding(policy: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": policy}, "spec": {"policyName": policy}})
}

/// Stores a policy and a binding of its name.
async fn bind(server: &Server, policy: &Value, binding: &Value) -> Value {
    let made = server
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), policy)
        .await
        .expect(201);
    server
        .post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding)
        .await
        .expect(201);
    made
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn policies_change_objects_one_mutation_after_another() {
    let server = Server::start().await;
    let mutations = [
        json_patch(
            "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'n': string(object.data.size())}}]",
        ),
        // Sees what the first did; and a test that fails changes nothing.
        json_patch(
            "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('l.n'), value: object.metadata.labels.n}]",
        ),
        json_patch(
            "[JSONPatch{op: 'test', path: '/data/k', value: 'x'}, JSONPatch{op: 'remove', path: '/data/k'}]",
        ),
        configuration(
            "Object{metadata: Object.metadata{annotations: {'by': request.userInfo.username}}}",
        ),
    ];
    let made = bind(
        &server,
        &policy("maps", &rules("", "v1", "configmaps"), &mutations),
        &binding("maps"),
    )
    .await;
    assert_eq!(made["spec"]["failurePolicy"], "Fail");
    assert_eq!(
        made["spec"]["matchConstraints"]["matchPolicy"],
        "Equivalent"
    );
    assert_eq!(made["metadata"]["generation"], 1);
    let made = server
        .post(MAPS, &map("a", &json!({"k": "v"})))
        .await
        .expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"n": "1"}));
    assert_eq!(made["metadata"]["annotations"], json!({"by": "tester"}));
    assert_eq!(made["data"], json!({"k": "v", "l.n": "1"}));
    // It is stored, and updates are changed as well.
    let patch = json!({"data": {"k": "x", "m": "y"}});
    let changed = server
        .patch(&format!("{MAPS}/a"), "merge-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(changed["data"], json!({"m": "y", "l.n": "3"}));
    assert_eq!(
        server.get(&format!("{MAPS}/a")).await.expect(200)["data"],
        changed["data"]
    );
    // A dry run shows what it would be.
    let dry = server
        .post(&format!("{MAPS}?dryRun=All"), &map("b", &json!({"k": "v"})))
        .await;
    assert_eq!(dry.expect(201)["metadata"]["labels"], json!({"n": "1"}));

    let shown = server
        .kubectl(&[
            "get",
            "mutatingadmissionpolicies,mutatingadmissionpolicybindings",
        ])
        .await;
    assert!(
        shown.contains("MUTATIONS") && shown.contains("POLICYNAME"),
        "{shown}"
    );
}

#[tokio::test]
async fn sidecars_are_merged_by_name_and_defaulted() {
    let server = Server::start().await;
    let sidecar =
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        containers: [Object.spec.template.spec.containers{name: 'proxy', image: 'mesh:1'}]}}}}";
    let object = policy(
        "sidecars",
        &rules("apps", "v1", "deployments"),
        &[configuration(sidecar)],
    );
    bind(&server, &object, &binding("sidecars")).await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "main", "image": "app:1"}]}}}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let made = server.post(deployments, &deployment).await.expect(201);
    let containers = made["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let names: Vec<&Value> = containers.iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["main", "proxy"]);
    assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent");
    // A custom resource is changed by its own schema.
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ships.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "ships", "kind": "Ship"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "sails": {"type": "integer"}, "crew": {"type": "string", "default": "none"}}}}}}}]}});
    server
        .post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &crd,
        )
        .await
        .expect(201);
    let object = policy(
        "ships",
        &rules("example.com", "v1", "ships"),
        &[configuration(
            "Object{spec: Object.spec{sails: object.spec.sails * 2}}",
        )],
    );
    bind(&server, &object, &binding("ships")).await;
    let ship = json!({"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {"name": "s"}, "spec": {"sails": 2}});
    let made = server
        .post("/apis/example.com/v1/namespaces/default/ships", &ship)
        .await
        .expect(201);
    assert_eq!(made["spec"], json!({"sails": 4, "crew": "none"}));
}

#[tokio::test]
async fn failures_count_as_the_policy_says() {
    let server = Server::start().await;
    let mut object = policy(
        "broken",
        &rules("", "v1", "configmaps"),
        &[configuration(
            "Object{data: {'n': string(object.data.nope)}}",
        )],
    );
    bind(&server, &object, &binding("broken")).await;
    let refused = server.post(MAPS, &map("a", &json!({"k": "v"}))).await;
    let status = refused.expect(403);
    let message = "policy 'broken' with binding 'broken' denied request: no such key: nope";
    assert_eq!(status["message"], message);
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(
        status["details"],
        json!({"name": "a", "kind": "configmaps", "causes": [{"message": message}]})
    );
    object["spec"]["mutations"] = json!([configuration("Object{immutable: 'yes'}")]);
    let path = format!("{GROUP}/mutatingadmissionpolicies/broken");
    let spec = json!({"spec": object["spec"]});
    server
        .patch(&path, "merge-patch+json", &spec)
        .await
        .expect(200);
    let message = server
        .post(MAPS, &map("a", &json!({"k": "v"})))
        .await
        .fails(403);
    assert!(
        message.starts_with("policy 'broken' with binding 'broken' denied request: error applying patch: failed to convert patch object to typed object: "),
        "{message}"
    );
    // What is no field of the kind is the policy's fault, and nobody else's.
    let spec = json!({"spec": {"mutations": [json_patch("[JSONPatch{op: 'add', path: '/nope', value: 1}]")]}});
    server
        .patch(&path, "merge-patch+json", &spec)
        .await
        .expect(200);
    let message = server
        .post(MAPS, &map("a", &json!({"k": "v"})))
        .await
        .fails(500);
    assert!(message.contains("unknown field \"nope\""), "{message}");
    let spec = json!({"spec": {"failurePolicy": "Ignore", "mutations": [
        json_patch("[JSONPatch{op: 'remove', path: '/nope'}]"),
        json_patch("[JSONPatch{op: 'add', path: '/data/m', value: 'n'}]")]}});
    server
        .patch(&path, "merge-patch+json", &spec)
        .await
        .expect(200);
    let made = server
        .post(MAPS, &map("a", &json!({"k": "v"})))
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"k": "v", "m": "n"}));
}

#[tokio::test]
async fn parameters_and_bindings_choose() {
    let server = Server::start().await;
    let mut object = policy(
        "team",
        &rules("", "v1", "configmaps"),
        &[configuration(
            "Object{metadata: Object.metadata{labels: {'team': params.data.team}}}",
        )],
    );
    object["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    object["spec"]["matchConditions"] =
        json!([{"name": "no-params", "expression": "object.metadata.name != 'team'"}]);
    let mut bound = binding("team");
    bound["spec"]["paramRef"] =
        json!({"name": "team", "namespace": "default", "parameterNotFoundAction": "Deny"});
    bound["spec"]["matchResources"] = json!({"objectSelector": {"matchLabels": {"x": "y"}}});
    bind(&server, &object, &bound).await;
    let mut labelled = map("a", &json!({"k": "v"}));
    labelled["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(
        server.post(MAPS, &labelled).await.fails(403),
        "policy 'team' with binding 'team' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    server
        .post(MAPS, &map("team", &json!({"team": "blue"})))
        .await
        .expect(201);
    let made = server.post(MAPS, &labelled).await.expect(201);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"x": "y", "team": "blue"})
    );
    let made = server.post(MAPS, &map("b", &json!({}))).await.expect(201);
    assert_eq!(made["metadata"].get("labels"), None);
}

#[tokio::test]
async fn policies_run_before_webhooks_and_again_when_they_want_to_know() {
    let server = Server::start().await;
    let hook = Hook::start(&server, |review| {
        let patch = json!([{"op": "add", "path": "/data/hook", "value": "1"}]);
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {
            "uid": review["request"]["uid"], "allowed": true,
            "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}})
    })
    .await;
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "hook"}, "webhooks": [{
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": hook.url, "caBundle": hook.ca},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]});
    server
        .post(
            &format!("{GROUP}/mutatingwebhookconfigurations"),
            &configuration,
        )
        .await
        .expect(201);
    let count = "[JSONPatch{op: 'add', path: '/data/count', value: string(object.data.size())}]";
    let mut object = policy(
        "count",
        &rules("", "v1", "configmaps"),
        &[json_patch(count)],
    );
    bind(&server, &object, &binding("count")).await;
    let made = server
        .post(MAPS, &map("a", &json!({"k": "v"})))
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"k": "v", "count": "1", "hook": "1"}));
    let review = hook.take().pop().unwrap();
    assert_eq!(review["request"]["object"]["data"]["count"], "1");

    object["spec"]["reinvocationPolicy"] = json!("IfNeeded");
    let path = format!("{GROUP}/mutatingadmissionpolicies/count");
    let spec = json!({"spec": object["spec"]});
    server
        .patch(&path, "merge-patch+json", &spec)
        .await
        .expect(200);
    let made = server
        .post(MAPS, &map("b", &json!({"k": "v"})))
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"k": "v", "count": "3", "hook": "1"}));
    assert_eq!(hook.take().len(), 1, "the webhook did not want to know");
}

#[tokio::test]
async fn what_is_no_policy_is_refused() {
    let server = Server::start().await;
    let policies = format!("{GROUP}/mutatingadmissionpolicies");
    let mut object = policy(
        "p",
        &rules("", "v1", "configmaps"),
        &[json_patch("Object{}"), json!({"patchType": "Nope"})],
    );
    object["spec"]
        .as_object_mut()
        .unwrap()
        .remove("reinvocationPolicy");
    let status = server.post(&policies, &object).await.expect(422);
    let causes = status["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes
        .iter()
        .map(|c| c["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "spec.mutations[1].patchType",
            "spec.reinvocationPolicy",
            "spec.mutations[0].jsonPatch.expression",
        ]
    );
    // As in Kubernetes 1.36, only v1 is served.
    let groups = server
        .get("/apis/admissionregistration.k8s.io")
        .await
        .expect(200);
    assert_eq!(groups["versions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn policies_and_conditions_may_ask_who_may() {
    let server = Server::start().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]},
            {"apiGroups": ["example.com"], "resources": ["keys"], "verbs": ["turn"], "resourceNames": ["front"]},
            {"nonResourceURLs": ["/gate"], "verbs": ["get"]}]});
    let to = |kind: &str, name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            "subjects": [if kind == "User" { json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}) }
                else { json!({"kind": kind, "name": name, "namespace": "default"}) }]})
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    server
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    for binding in [to("User", "joe"), to("ServiceAccount", "robot")] {
        let path = format!("{rbac}/clusterrolebindings");
        server.post(&path, &binding).await.expect(201);
    }
    let validating = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "keys"}, "spec": {"matchConstraints": rules("", "v1", "configmaps"),
        "matchConditions": [{"name": "not-admins", "expression": "!authorizer.group('').resource('nodes').check('delete').allowed()"}],
        "variables": [{"name": "front", "expression": "authorizer.group('example.com').resource('keys').name('front')"}],
        "validations": [
            {"expression": "variables.front.check('turn').allowed()", "message": "no front key"},
            {"expression": "authorizer.path('/gate').check('get').allowed()", "message": "no gate"},
            {"expression": "authorizer.requestResource.check('create').reason().contains('ClusterRoleBinding')", "message": "no reason"},
            {"expression": "authorizer.serviceAccount('default', 'robot').group('example.com').resource('keys').name('front').check('turn').allowed()"},
            {"expression": "!authorizer.serviceAccount('default', 'other').path('/gate').check('get').allowed()"},
            {"expression": "object.metadata.name != 'back' || authorizer.group('example.com').resource('keys').name('back').check('turn').allowed()", "message": "no back key"}]}});
    let bound = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "keys"}, "spec": {"policyName": "keys", "validationActions": ["Deny"]}});
    server
        .post(&format!("{GROUP}/validatingadmissionpolicies"), &validating)
        .await
        .expect(201);
    server
        .post(
            &format!("{GROUP}/validatingadmissionpolicybindings"),
            &bound,
        )
        .await
        .expect(201);
    let mutating = configuration(
        "Object{metadata: Object.metadata{labels: {'trusted': string(authorizer.path('/gate').check('get').allowed())}}}",
    );
    let object = policy("trust", &rules("", "v1", "configmaps"), &[mutating]);
    bind(&server, &object, &binding("trust")).await;

    let hook = Hook::start(&server, |review| {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {
            "uid": review["request"]["uid"], "allowed": true}})
    })
    .await;
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "hook"}, "webhooks": [{
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": hook.url, "caBundle": hook.ca},
            "matchConditions": [{"name": "not-admins", "expression": "!authorizer.group('').resource('nodes').check('delete').allowed()"}],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]});
    server
        .post(
            &format!("{GROUP}/validatingwebhookconfigurations"),
            &configuration,
        )
        .await
        .expect(201);

    let create = async |name: &str| {
        let body = map(name, &json!({})).to_string();
        let joe = User::new("joe", &["sailors"]);
        let json = [("content-type", "application/json")];
        server.send_as(joe, "POST", MAPS, &json, body).await
    };
    let made = create("a").await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"trusted": "true"}));
    let message = create("back").await.fails(422);
    assert!(
        message.ends_with("denied request: no back key"),
        "{message}"
    );
    // Administrators are let through by the match condition.
    server
        .post(MAPS, &map("back", &json!({})))
        .await
        .expect(201);
}

#[tokio::test]
async fn nobody_reads_through_a_policy_what_they_may_not_read() {
    let server = Server::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]});
    let grant = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]});
    server
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    server
        .post(&format!("{rbac}/clusterrolebindings"), &grant)
        .await
        .expect(201);
    let post = async |plural: &str, body: &Value| {
        let joe = User::new("joe", &["sailors"]);
        let json = [("content-type", "application/json")];
        let path = format!("{GROUP}/{plural}");
        server
            .send_as(joe, "POST", &path, &json, body.to_string())
            .await
    };
    let labels = "Object{metadata: Object.metadata{labels: params.data}}";
    let of = |name: &str, kind: &str| {
        let mut object = policy(name, &rules("", "v1", "pods"), &[configuration(labels)]);
        object["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": kind});
        object
    };
    post("mutatingadmissionpolicies", &of("maps", "ConfigMap"))
        .await
        .expect(201);
    let message = post("mutatingadmissionpolicies", &of("secrets", "Secret"))
        .await
        .fails(422);
    assert!(
        message.contains("spec.paramKind: Forbidden: user joe must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"),
        "{message}"
    );
    server
        .post(
            &format!("{GROUP}/mutatingadmissionpolicies"),
            &of("secrets", "Secret"),
        )
        .await
        .expect(201);
    let bound = |policy: &str| {
        let mut object = binding(policy);
        object["spec"]["paramRef"] =
            json!({"name": "x", "namespace": "default", "parameterNotFoundAction": "Deny"});
        object
    };
    post("mutatingadmissionpolicybindings", &bound("maps"))
        .await
        .expect(201);
    let message = post("mutatingadmissionpolicybindings", &bound("secrets"))
        .await
        .fails(422);
    assert!(
        message.contains("spec.paramRef: Forbidden: user joe does not have \"get\" permission"),
        "{message}"
    );
}
