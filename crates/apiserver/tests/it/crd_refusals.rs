//! What a CRD may not say, and where the refusal points: as in Kubernetes, whose internal form keeps once, beside the
//! versions, what all versions say alike.

use serde_json::{Value, json};

use crate::harness::Server;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn crd(version: &Value) -> Value {
    let mut versions = json!([{"name": "v1", "served": true, "storage": true}]);
    let members = version.as_object().unwrap().clone();
    versions[0].as_object_mut().unwrap().extend(members);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": versions,
        },
    })
}

/// A CRD with this schema of `.a`.
fn with_a(a: &Value) -> Value {
    crd(&json!({"schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": a}}}}))
}

/// What is wrong with a CRD: fields and reasons, sorted; nothing when it is accepted.
async fn faults(server: &Server, object: &Value) -> Vec<String> {
    let answer = server.post(&format!("{CRDS}?dryRun=All"), object).await;
    if answer.code == 201 {
        return Vec::new();
    }
    let status = answer.expect(422);
    let causes = status["details"]["causes"].as_array().unwrap();
    let text = |cause: &Value| {
        let (field, reason) = (&cause["field"], &cause["reason"]);
        let (field, reason) = (field.as_str().unwrap(), reason.as_str().unwrap());
        let field = field.replace("spec.validation.openAPIV3Schema.properties[a]", "a");
        format!("{field} {}", reason.replace("FieldValue", ""))
    };
    let mut faults: Vec<String> = causes.iter().map(text).collect();
    faults.sort();
    faults
}

#[tokio::test]
async fn schemas() {
    let server = Server::start().await;
    let string = json!({"type": "string"});
    let keyed = |keys: Value, items: Value| json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items});
    let item = json!({"type": "object", "properties": {"x": string}, "required": ["x"]});
    let cases: Vec<(Value, &[&str])> = vec![
        // Closed and open objects.
        (
            json!({"type": "object", "additionalProperties": false}),
            &[],
        ),
        (
            json!({"type": "object", "properties": {"x": string}, "additionalProperties": true}),
            &[],
        ),
        (
            json!({"type": "object", "properties": {"x": string}, "additionalProperties": false}),
            &["a.additionalProperties Forbidden"],
        ),
        // Types: what cannot be read is not missing too.
        (json!({"type": "strang"}), &["a.type NotSupported"]),
        (
            json!({"type": "null"}),
            &["a.type Forbidden", "a.type NotSupported"],
        ),
        (
            json!({"type": "array", "items": [string]}),
            &["a.items Forbidden"],
        ),
        // Keys of map lists.
        (keyed(json!(["x"]), item.clone()), &[]),
        (
            keyed(json!(["x", "x"]), item.clone()),
            &["a.x-kubernetes-list-map-keys Invalid"],
        ),
        (
            keyed(json!(["x"]), string.clone()),
            &["a.items.type Invalid"],
        ),
        // Logic does not carry rules.
        (
            json!({"type": "object", "allOf": [{"x-kubernetes-validations": [{"rule": "true"}]}]}),
            &["a.allOf[0].x-kubernetes-validations Forbidden"],
        ),
    ];
    for (a, expected) in cases {
        assert_eq!(faults(&server, &with_a(&a)).await, expected, "{a}");
    }
}

#[tokio::test]
async fn defaults() {
    let server = Server::start().await;
    let rule = json!([{"rule": "self != 'x'"}]);
    let a = json!({"type": "string", "default": "x", "x-kubernetes-validations": rule});
    assert_eq!(
        faults(&server, &with_a(&a)).await,
        ["a.default Invalid"],
        "a default keeps the rules"
    );
    let first = json!([{"rule": "oldSelf.hasValue() || self == 'y'", "optionalOldSelf": true}]);
    let a = json!({"type": "string", "default": "x", "x-kubernetes-validations": first});
    assert_eq!(
        faults(&server, &with_a(&a)).await,
        ["a.default Invalid"],
        "also when it is the first value"
    );
    let schema = json!({"type": "object", "properties": {
        "kind": {"type": "string", "default": "Widget"},
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "n"}}},
    }});
    let at = "spec.validation.openAPIV3Schema.properties";
    assert_eq!(
        faults(
            &server,
            &crd(&json!({"schema": {"openAPIV3Schema": schema}}))
        )
        .await,
        [
            format!("{at}[kind].default Forbidden"),
            format!("{at}[metadata].properties[name].default Forbidden"),
        ],
        "what every object has from its client has no default"
    );
}

#[tokio::test]
async fn the_root_beside_a_status() {
    let server = Server::start().await;
    let with = |key: &str, value: Value| {
        let mut schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        schema[key] = value;
        crd(&json!({"subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}))
    };
    for (key, value) in [
        ("required", json!(["spec"])),
        ("description", json!("A widget.")),
        (
            "x-kubernetes-validations",
            json!([{"rule": "has(self.spec)"}]),
        ),
        ("oneOf", json!([])),
    ] {
        let none: [&str; 0] = [];
        assert_eq!(faults(&server, &with(key, value)).await, none, "{key}");
    }
    for (key, value) in [
        ("oneOf", json!([{"required": ["spec"]}])),
        ("maxProperties", json!(5)),
    ] {
        assert_eq!(
            faults(&server, &with(key, value)).await,
            ["spec.validation.openAPIV3Schema Invalid"],
            "{key}"
        );
    }
}

#[tokio::test]
async fn rules() {
    let server = Server::start().await;
    let ruled = |rule: Value| {
        with_a(
            &json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": [rule]}),
        )
    };
    let at = "a.x-kubernetes-validations[0]";
    let cases: Vec<(Value, Vec<String>)> = vec![
        (json!({"rule": "true", "fieldPath": ".n"}), vec![]),
        (
            json!({"rule": "true", "fieldPath": " "}),
            vec![format!("{at}.fieldPath Invalid"); 2],
        ),
        (
            json!({"rule": "true", "fieldPath": ".n\n"}),
            vec![format!("{at}.fieldPath Invalid"); 2],
        ),
        (
            json!({"rule": "true ||\nfalse"}),
            vec![format!("{at}.message Required")],
        ),
        (
            json!({"rule": "true", "optionalOldSelf": false}),
            vec![format!("{at}.optionalOldSelf Invalid")],
        ),
    ];
    for (rule, expected) in cases {
        assert_eq!(
            faults(&server, &ruled(rule.clone())).await,
            expected,
            "{rule}"
        );
    }
    let member =
        json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let atomic =
        json!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"n": member}});
    assert_eq!(
        faults(&server, &with_a(&atomic)).await,
        ["a.properties[n].x-kubernetes-validations[0].rule Invalid"],
        "what is replaced as a whole has no old members"
    );
}

#[tokio::test]
async fn columns_scale_and_versions() {
    let server = Server::start().await;
    let open = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let column = |path: &str| {
        let columns = json!([{"name": "A", "type": "string", "jsonPath": path}]);
        crd(&json!({"schema": open, "additionalPrinterColumns": columns}))
    };
    let none: [&str; 0] = [];
    for path in [".spec.a", ".spec[?(@.x==1)].a", ".spec["] {
        assert_eq!(faults(&server, &column(path)).await, none, "{path}");
    }
    for path in ["spec.a", "{.spec.a}"] {
        let expected = ["spec.additionalPrinterColumns[0].JSONPath Invalid"];
        assert_eq!(faults(&server, &column(path)).await, expected, "{path}");
    }
    let scale = json!({"scale": {"specReplicasPath": "spec.r", "labelSelectorPath": ".meta.x"}});
    assert_eq!(
        faults(
            &server,
            &crd(&json!({"schema": open, "subresources": scale}))
        )
        .await,
        [
            "spec.subresources.scale.labelSelectorPath Invalid",
            "spec.subresources.scale.specReplicasPath Invalid",
            "spec.subresources.scale.statusReplicasPath Required",
        ]
    );
    // What versions say differently is reported of the version.
    let mut two = crd(&json!({"schema": open}));
    let wrong = json!({"openAPIV3Schema": {"type": "string"}});
    let second = json!({"name": "v2", "served": true, "storage": false, "schema": wrong});
    two["spec"]["versions"].as_array_mut().unwrap().push(second);
    assert_eq!(
        faults(&server, &two).await,
        ["spec.versions[1].schema.openAPIV3Schema.type Invalid"]
    );
    let mut bare = crd(&json!({"schema": open}));
    bare["spec"]["versions"] = json!([]);
    assert_eq!(
        faults(&server, &bare).await,
        ["spec.versions Invalid", "status.storedVersions Invalid"]
    );
}

#[tokio::test]
async fn conversion() {
    let server = Server::start().await;
    let with = |conversion: Value| {
        let mut object = with_a(&json!({"type": "string"}));
        object["spec"]["conversion"] = conversion;
        object
    };
    let webhook = |ca: &str| {
        let config = json!({"url": "https://hook.example.com/", "caBundle": ca});
        json!({"conversionReviewVersions": ["v1"], "clientConfig": config})
    };
    // "foo": the CA is often added when the kind is there.
    let none: [&str; 0] = [];
    let early = with(json!({"strategy": "Webhook", "webhook": webhook("Zm9v")}));
    assert_eq!(faults(&server, &early).await, none);
    let idle = with(json!({"strategy": "None", "webhook": webhook("")}));
    assert_eq!(
        faults(&server, &idle).await,
        [
            "spec.conversion.conversionReviewVersions Forbidden",
            "spec.conversion.webhookClientConfig Forbidden",
        ]
    );
}
