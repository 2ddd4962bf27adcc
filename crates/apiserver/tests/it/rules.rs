//! Rules of custom resources and admission policies, as kubectl meets them.

use serde_json::json;

use crate::harness::{Server, eventually};

fn crd(rule: &str) -> String {
    format!(
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gauges.example.com}}
spec:
  group: example.com
  scope: Namespaced
  names: {{plural: gauges, kind: Gauge}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {{type: integer}}
              id: {{type: string, x-kubernetes-validations: [{{rule: self == oldSelf, message: id is immutable}}]}}
            x-kubernetes-validations: [{{rule: "{rule}", message: size must be positive}}]
"#
    )
}

fn gauge(spec: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Gauge\nmetadata: {{name: g}}\nspec: {{{spec}}}\n")
}

const APPLY: &[&str] = &["apply", "-f", "-"];

#[tokio::test(flavor = "multi_thread")]
async fn rules_judge_custom_resources() {
    let server = Server::start().await;
    let deep = format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000));
    for (rule, why) in [
        ("self.x > 0", "undefined field 'x'"),
        ("self.size >", "Syntax error"),
        ("self.size", "must evaluate to a bool"),
        (&deep, "nests too deep"),
    ] {
        let told = server.kubectl_fails(APPLY, &crd(rule)).await;
        assert!(told.contains(why), "{told}");
    }
    // As deep as is allowed: the stacks of the server must suffice.
    let nested = format!("{}self.size > 0{}", "(".repeat(40), ")".repeat(40));
    server.kubectl_with(APPLY, &crd(&nested)).await;
    let told = server.kubectl_fails(APPLY, &gauge("size: 0")).await;
    assert!(told.contains("size must be positive"), "{told}");
    server.kubectl_with(APPLY, &gauge("size: 1, id: a")).await;
    let told = server.kubectl_fails(APPLY, &gauge("size: 1, id: b")).await;
    assert!(told.contains("id is immutable"), "{told}");
    server.kubectl_with(APPLY, &gauge("size: 2, id: a")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_judge_every_kind() {
    let server = Server::start().await;
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: guard}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, DELETE], resources: [configmaps]}
  validations:
  - {expression: "request.operation == 'DELETE' || has(object.data)", message: no data}
  - {expression: "request.operation != 'DELETE' || !has(oldObject.data.keep)", messageExpression: "'keep ' + oldObject.metadata.name"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: guard}
spec: {policyName: guard, validationActions: [Deny]}
"#;
    server.kubectl_with(APPLY, policy).await;
    // Known at once: the answer to a write waits for the index.
    let told = server
        .kubectl_fails(&["create", "configmap", "bare"], "")
        .await;
    assert!(
        told.contains(
            "ValidatingAdmissionPolicy 'guard' with binding 'guard' denied request: no data"
        ),
        "{told}"
    );
    server
        .kubectl(&["create", "configmap", "kept", "--from-literal=keep=1"])
        .await;
    let told = server
        .kubectl_fails(&["delete", "configmap", "kept"], "")
        .await;
    assert!(told.contains("keep kept"), "{told}");
    server
        .kubectl(&["delete", "validatingadmissionpolicybinding", "guard"])
        .await;
    server.kubectl(&["delete", "configmap", "kept"]).await;
}

#[tokio::test]
async fn the_status_of_a_policy_warns_of_what_no_kind_has() {
    let server = Server::start().await;
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["apps"],
            "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
        "validations": [{"expression": "object.replicas > 1"}, {"expression": "object.spec.replicas > 1"}]}});
    server.post(policies, &policy).await.expect(201);
    let path = format!("{policies}/p");
    let observed = async |generation: i64| {
        eventually("a status", async || {
            let policy = server.get(&path).await.expect(200);
            policy["status"]["observedGeneration"] == generation
        })
        .await;
        server.get(&path).await.expect(200)["status"]["typeChecking"].clone()
    };
    assert_eq!(
        observed(1).await,
        json!({"expressionWarnings": [{
            "fieldRef": "spec.validations[0].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
        }]})
    );
    let patch = json!([{"op": "remove", "path": "/spec/validations/0"}]);
    server
        .patch(&path, "json-patch+json", &patch)
        .await
        .expect(200);
    assert_eq!(observed(2).await, json!({}));
}
