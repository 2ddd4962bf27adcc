//! CRDs of the size and style of large projects, through the real kubectl.
//!
//! The schemas are made here, in the manner of code generators: what cert-manager, the Prometheus operator, Argo,
//! Istio, Crossplane and Cluster API ship is a few hundred KiB of descriptions, embedded Pod specifications, several
//! served versions, every `x-kubernetes-` extension, and CEL rules within budgets.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::harness::Server;

/// For one installation by kubectl, start of kubectl included. A quiet machine takes about a second.
const PATIENCE: Duration = Duration::from_secs(30);

fn described(mut schema: Value, words: usize) -> Value {
    schema["description"] =
        Value::String("What this field is for, and when to set it. ".repeat(words));
    schema
}

fn text() -> Value {
    described(json!({"type": "string"}), 3)
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    let fields: Map<String, Value> = fields
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    described(json!({"type": "object", "properties": fields}), 2)
}

fn list(items: Value) -> Value {
    let mut schema = json!({"type": "array"});
    schema["items"] = items;
    described(schema, 1)
}

fn keyed(items: Value, keys: &[&str]) -> Value {
    let mut items = items;
    items["required"] = json!(keys);
    json!({
        "type": "array", "items": items,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
    })
}

fn quantity() -> Value {
    json!({
        "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true,
        "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$",
    })
}

fn label_selector() -> Value {
    let mut selector = object(vec![
        (
            "matchLabels",
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        (
            "matchExpressions",
            list(object(vec![
                ("key", text()),
                ("operator", text()),
                ("values", list(text())),
            ])),
        ),
    ]);
    selector["x-kubernetes-map-type"] = json!("atomic");
    selector
}

/// A specification of Pods, written out as generators do.
fn pod_spec() -> Value {
    let reference = || {
        let mut reference = object(vec![
            ("name", json!({"type": "string", "default": ""})),
            ("key", text()),
            ("optional", json!({"type": "boolean"})),
        ]);
        reference["x-kubernetes-map-type"] = json!("atomic");
        reference
    };
    let resources = || json!({"type": "object", "additionalProperties": quantity()});
    let probe = || {
        object(vec![
            ("exec", object(vec![("command", list(text()))])),
            (
                "httpGet",
                object(vec![
                    ("path", text()),
                    (
                        "port",
                        json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}),
                    ),
                    (
                        "httpHeaders",
                        list(object(vec![("name", text()), ("value", text())])),
                    ),
                ]),
            ),
            (
                "periodSeconds",
                json!({"type": "integer", "format": "int32"}),
            ),
            (
                "failureThreshold",
                json!({"type": "integer", "format": "int32", "minimum": 1}),
            ),
        ])
    };
    let container = || {
        object(vec![
            ("name", text()),
            ("image", text()),
            ("command", list(text())),
            ("args", list(text())),
            (
                "env",
                keyed(
                    object(vec![
                        ("name", text()),
                        ("value", text()),
                        (
                            "valueFrom",
                            object(vec![
                                ("configMapKeyRef", reference()),
                                ("secretKeyRef", reference()),
                            ]),
                        ),
                    ]),
                    &["name"],
                ),
            ),
            (
                "ports",
                keyed(
                    object(vec![
                        (
                            "containerPort",
                            json!({"type": "integer", "format": "int32"}),
                        ),
                        ("protocol", json!({"type": "string", "default": "TCP"})),
                        ("name", text()),
                    ]),
                    &["containerPort", "protocol"],
                ),
            ),
            (
                "resources",
                object(vec![("limits", resources()), ("requests", resources())]),
            ),
            ("livenessProbe", probe()),
            ("readinessProbe", probe()),
            ("startupProbe", probe()),
        ])
    };
    let term = || {
        object(vec![
            ("labelSelector", label_selector()),
            ("namespaceSelector", label_selector()),
            ("topologyKey", text()),
        ])
    };
    let affinity = || {
        object(vec![
            (
                "requiredDuringSchedulingIgnoredDuringExecution",
                list(term()),
            ),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                list(object(vec![
                    ("weight", json!({"type": "integer"})),
                    ("podAffinityTerm", term()),
                ])),
            ),
        ])
    };
    let mut spec = object(vec![
        ("containers", keyed(container(), &["name"])),
        ("initContainers", keyed(container(), &["name"])),
        (
            "affinity",
            object(vec![
                ("podAffinity", affinity()),
                ("podAntiAffinity", affinity()),
            ]),
        ),
        (
            "nodeSelector",
            json!({"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}),
        ),
        (
            "tolerations",
            list(object(vec![
                ("key", text()),
                ("operator", text()),
                (
                    "tolerationSeconds",
                    json!({"type": "integer", "format": "int64"}),
                ),
            ])),
        ),
        (
            "volumes",
            keyed(
                object(vec![
                    ("name", text()),
                    ("secret", reference()),
                    (
                        "ephemeral",
                        object(vec![(
                            "volumeClaimTemplate",
                            json!({
                                "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                            }),
                        )]),
                    ),
                ]),
                &["name"],
            ),
        ),
    ]);
    spec["required"] = json!(["containers"]);
    spec
}

fn conditions() -> Value {
    keyed(
        object(vec![
            (
                "type",
                json!({"type": "string", "maxLength": 316, "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"}),
            ),
            (
                "status",
                json!({"type": "string", "enum": ["True", "False", "Unknown"]}),
            ),
            (
                "lastTransitionTime",
                json!({"type": "string", "format": "date-time"}),
            ),
            ("reason", text()),
            ("message", json!({"type": "string", "maxLength": 32768})),
        ]),
        &["type"],
    )
}

/// Rules as generators' markers make them.
fn ruled(mut schema: Value, rules: &[(&str, &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(rule, message)| json!({"rule": rule, "message": message}))
        .collect();
    schema["x-kubernetes-validations"] = json!(rules);
    schema
}

/// A CRD whose `spec` and `status` are these, served in `versions`, of which the first is stored.
fn crd(group: &str, kind: &str, spec: &Value, versions: &[&str]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, name)| {
            json!({
                "name": name, "served": true, "storage": index == 0, "deprecated": index > 1,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "required": ["spec"],
                    "properties": {
                        "apiVersion": text(), "kind": text(), "metadata": {"type": "object"},
                        "spec": spec,
                        "status": object(vec![("conditions", conditions()), ("observedGeneration", json!({"type": "integer", "format": "int64"}))]),
                    },
                }},
            })
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"controller-gen.kubebuilder.io/version": "v0.16.0"},
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "categories": ["large"]},
            "versions": versions,
        },
    })
}

/// Pods, and settings by the hundred, as a monitoring operator has them.
fn monitoring() -> Value {
    let mut fields: Vec<(String, Value)> = (0..150)
        .map(|n| {
            (
                format!("setting{n}"),
                described(
                    json!({"type": "string", "pattern": "^(0|([0-9]+h)?([0-9]+m)?([0-9]+s)?)$"}),
                    6,
                ),
            )
        })
        .collect();
    fields.push(("podSpec".into(), pod_spec()));
    fields.push((
        "replicas".into(),
        json!({"type": "integer", "format": "int32", "default": 1, "minimum": 0}),
    ));
    fields.push((
        "retention".into(),
        json!({"type": "string", "default": "24h"}),
    ));
    fields.push(("storage".into(), quantity()));
    let fields: Map<String, Value> = fields.into_iter().collect();
    json!({"type": "object", "properties": fields})
}

/// Steps with a Pod each, as a workflow engine has them: the largest kind.
fn workflow() -> Value {
    let step = || {
        object(vec![
            ("name", text()),
            ("podSpec", pod_spec()),
            (
                "inputs",
                object(vec![(
                    "parameters",
                    keyed(
                        object(vec![
                            ("name", text()),
                            (
                                "value",
                                json!({"x-kubernetes-preserve-unknown-fields": true}),
                            ),
                        ]),
                        &["name"],
                    ),
                )]),
            ),
            ("when", text()),
        ])
    };
    object(vec![
        ("templates", keyed(step(), &["name"])),
        ("onExit", step()),
        ("templateDefaults", step()),
        ("podSpecPatch", pod_spec()),
        (
            "arguments",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        ),
    ])
}

/// Many rules with budgets, as a gateway or a cluster's topology has them.
fn ruled_topology() -> Value {
    let backend = || {
        ruled(
            object(vec![
                (
                    "group",
                    json!({"type": "string", "default": "", "maxLength": 253}),
                ),
                (
                    "kind",
                    json!({"type": "string", "default": "Service", "minLength": 1, "maxLength": 63}),
                ),
                (
                    "name",
                    json!({"type": "string", "minLength": 1, "maxLength": 253}),
                ),
                (
                    "port",
                    json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535}),
                ),
                (
                    "weight",
                    json!({"type": "integer", "format": "int32", "default": 1, "minimum": 0, "maximum": 1_000_000}),
                ),
            ]),
            &[(
                "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
                "Must have port for Service reference",
            )],
        )
    };
    let header = || {
        object(vec![
            (
                "name",
                json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$"}),
            ),
            (
                "value",
                json!({"type": "string", "minLength": 1, "maxLength": 4096}),
            ),
        ])
    };
    let mut headers = keyed(header(), &["name"]);
    headers["maxItems"] = json!(16);
    let mut backends = list(backend());
    backends["maxItems"] = json!(16);
    let mut rules = list(ruled(
        object(vec![
            ("name", json!({"type": "string", "maxLength": 63})),
            ("headers", headers),
            ("backends", backends),
            (
                "path",
                ruled(
                    object(vec![
                        (
                            "type",
                            json!({"type": "string", "default": "PathPrefix", "enum": ["Exact", "PathPrefix", "RegularExpression"]}),
                        ),
                        (
                            "value",
                            json!({"type": "string", "default": "/", "maxLength": 1024}),
                        ),
                    ]),
                    &[
                        (
                            "(self.type in ['Exact', 'PathPrefix']) ? self.value.startsWith('/') : true",
                            "value must be an absolute path and start with '/'",
                        ),
                        (
                            "(self.type in ['Exact', 'PathPrefix']) ? !self.value.contains('//') : true",
                            "must not contain '//'",
                        ),
                        (
                            "self.type == 'RegularExpression' || self.value.matches(r\"\"\"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$\"\"\")",
                            "must only contain valid characters",
                        ),
                    ],
                ),
            ),
        ]),
        &[(
            "!has(self.backends) || self.backends.all(b, b.weight >= 0)",
            "weights are not negative",
        )],
    ));
    rules["maxItems"] = json!(16);
    ruled(
        object(vec![
            (
                "hostnames",
                json!({"type": "array", "maxItems": 16, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 253}}),
            ),
            ("rules", rules),
            (
                "class",
                ruled(
                    json!({"type": "string", "maxLength": 63}),
                    &[("self == oldSelf", "Value is immutable")],
                ),
            ),
        ]),
        &[(
            "!has(self.rules) || self.rules.all(r, !has(r.name) || self.rules.exists_one(o, has(o.name) && o.name == r.name))",
            "Rule name must be unique within the route",
        )],
    )
}

/// Half a thousand small fields in three versions, as generated providers of clouds have them.
fn provider() -> Value {
    let fields: Map<String, Value> = (0..250)
        .map(|n| {
            let field = match n % 4 {
                0 => text(),
                1 => described(json!({"type": "number"}), 5),
                2 => list(object(vec![
                    ("id", text()),
                    (
                        "tags",
                        json!({"type": "object", "additionalProperties": {"type": "string"}}),
                    ),
                ])),
                _ => object(vec![
                    ("enabled", json!({"type": "boolean", "default": true})),
                    ("name", text()),
                ]),
            };
            (format!("field{n}"), field)
        })
        .collect();
    let policy = json!({"type": "string", "default": "Delete", "enum": ["Orphan", "Delete"]});
    ruled(
        object(vec![
            (
                "forProvider",
                json!({"type": "object", "properties": fields}),
            ),
            ("deletionPolicy", policy),
            (
                "managementPolicies",
                json!({"type": "array", "default": ["*"], "items": {"type": "string", "enum": ["Observe", "Create", "Update", "Delete", "LateInitialize", "*"]}}),
            ),
            (
                "providerConfigRef",
                json!({"type": "object", "default": {"name": "default"}, "required": ["name"], "properties": {"name": text(), "policy": {"type": "object", "properties": {"resolution": {"type": "string", "default": "Required"}}}}}),
            ),
        ]),
        &[(
            "!('*' in self.managementPolicies) || has(self.forProvider)",
            "spec.forProvider is a required parameter",
        )],
    )
}

/// Installs by kubectl, and tells how long that took.
async fn install(server: &Server, args: &[&str], crd: &Value) -> Duration {
    let body = crd.to_string();
    let begin = Instant::now();
    server.kubectl_with(args, &body).await;
    let took = begin.elapsed();
    let name = crd["metadata"]["name"].as_str().unwrap();
    println!("{name}: {} KiB in {took:?}", body.len() >> 10);
    assert!(took < PATIENCE, "{name}: {took:?}");
    took
}

const APPLY: [&str; 4] = ["apply", "--server-side", "-f", "-"];

#[tokio::test(flavor = "multi_thread")]
async fn they_install_complete_and_prune() {
    let server = Server::start().await;
    let kinds = [
        crd("monitoring.example.com", "Monitor", &monitoring(), &["v1"]),
        crd(
            "workflows.example.com",
            "Workflow",
            &workflow(),
            &["v1alpha1"],
        ),
        crd(
            "gateway.example.com",
            "Route",
            &ruled_topology(),
            &["v1", "v1beta1"],
        ),
        crd(
            "cloud.example.com",
            "Instance",
            &provider(),
            &["v1beta2", "v1beta1", "v1alpha1"],
        ),
    ];
    let bytes: usize = kinds.iter().map(|k| k.to_string().len()).sum();
    assert!(bytes > 400 << 10, "{} KiB is not large", bytes >> 10);
    for kind in &kinds {
        install(&server, &APPLY, kind).await;
        // What is there already is not written again.
        install(&server, &APPLY, kind).await;
        let name = kind["metadata"]["name"].as_str().unwrap();
        server
            .kubectl(&[
                "wait",
                "--for=condition=Established",
                &format!("crd/{name}"),
                "--timeout=20s",
            ])
            .await;
    }
    let monitor = r"
apiVersion: monitoring.example.com/v1
kind: Monitor
metadata: {name: m}
spec:
  setting3: 30s
  storage: 10Gi
  podSpec:
    containers:
    - {name: c, image: x, ports: [{containerPort: 9090}], unknown: dropped, env: [{name: A, valueFrom: {secretKeyRef: {key: k}}}]}
    volumes: [{name: v, ephemeral: {volumeClaimTemplate: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: x}, spec: {free: true}}}}]
";
    server
        .kubectl_with(&["create", "--validate=warn", "-f", "-"], monitor)
        .await;
    let stored = server.kubectl(&["get", "monitor", "m", "-o", "json"]).await;
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let container = &stored["spec"]["podSpec"]["containers"][0];
    assert_eq!(stored["spec"]["replicas"], 1);
    assert_eq!(stored["spec"]["retention"], "24h");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(container["env"][0]["valueFrom"]["secretKeyRef"]["name"], "");
    assert_eq!(container.get("unknown"), None, "{container}");
    let claim = &stored["spec"]["podSpec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"];
    assert_eq!(claim["spec"]["free"], true);
    let wrong = monitor
        .replace(", unknown: dropped", "")
        .replace("30s", "half an hour")
        .replace("10Gi", "much");
    let error = server
        .kubectl_fails(
            &["apply", "--server-side", "--validate=ignore", "-f", "-"],
            &wrong,
        )
        .await;
    assert!(
        error.contains("spec.setting3") && error.contains("spec.storage"),
        "{error}"
    );

    let instance = "apiVersion: cloud.example.com/v1alpha1\nkind: Instance\nmetadata: {name: i}\nspec: {forProvider: {field3: {name: x}}}\n";
    server.kubectl_with(&["create", "-f", "-"], instance).await;
    let shown = "jsonpath={.apiVersion} {.spec.forProvider.field3.enabled} {.spec.deletionPolicy} {.spec.managementPolicies} {.spec.providerConfigRef.name}";
    assert_eq!(
        server
            .kubectl(&["get", "instances.cloud.example.com", "i", "-o", shown])
            .await,
        r#"cloud.example.com/v1beta2 true Delete ["*"] default"#
    );
    let table = server.kubectl(&["get", "large"]).await;
    assert!(
        table.contains("monitor.monitoring.example.com/m"),
        "{table}"
    );
    assert!(
        server
            .kubectl(&[
                "explain",
                "workflow.spec.templates.podSpec.containers.image"
            ])
            .await
            .contains("What this field is for")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn their_rules_hold() {
    let server = Server::start().await;
    install(
        &server,
        &["create", "-f", "-"],
        &crd("gateway.example.com", "Route", &ruled_topology(), &["v1"]),
    )
    .await;
    let route = |rules: &str, class: &str| {
        format!(
            "apiVersion: gateway.example.com/v1\nkind: Route\nmetadata: {{name: r}}\nspec: {{class: {class}, rules: {rules}}}\n"
        )
    };
    let good = "[{name: a, path: {value: /x}, backends: [{name: s, port: 80}]}, {name: b}]";
    server.kubectl_with(&APPLY, &route(good, "one")).await;
    for (rules, class, expected) in [
        (
            "[{path: {value: x}}]",
            "one",
            "value must be an absolute path",
        ),
        ("[{path: {value: /a//b}}]", "one", "must not contain '//'"),
        (
            "[{backends: [{name: s}]}]",
            "one",
            "Must have port for Service reference",
        ),
        (
            "[{name: a}, {name: a}]",
            "one",
            "Rule name must be unique within the route",
        ),
        (good, "two", "Value is immutable"),
    ] {
        let error = server.kubectl_fails(&APPLY, &route(rules, class)).await;
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
