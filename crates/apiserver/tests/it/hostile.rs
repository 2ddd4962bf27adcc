//! Hostile input: every request here is refused (or served) in bounded time and memory, with the `Status` that a
//! Kubernetes server gives.
//!
//! The bounds are generous, because the machine may be loaded and the build unoptimised; what they tell from one
//! another is work that grows with the input from work that explodes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::harness::Server;

/// For one answer. Nothing here takes more than a second or two of a quiet machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much the process may grow at its peak, the test's own copies of the bodies included.
const GROWTH: u64 = 384 << 20;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// The largest resident size of this process so far, in bytes (`VmHWM` of proc(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

struct Target {
    server: Server,
    client: kube::Client,
    before: u64,
}

impl Target {
    async fn start() -> Self {
        let server = Server::start().await;
        let client = server.client();
        let target = Target {
            server,
            client,
            before: 0,
        };
        // What is made once, on first use, is not the input's.
        target
            .send("POST", CONFIG_MAPS, JSON, named("warm", &json!({})))
            .await;
        Target {
            before: peak(),
            ..target
        }
    }

    /// Sends a request in bounded time; gives code and body.
    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(Body::from(body.into()))
            .unwrap();
        let begin = Instant::now();
        let shown = &path[..path.len().min(80)];
        let answer = tokio::time::timeout(PATIENCE, async {
            let response = self.client.send(request).await.unwrap();
            let code = response.status().as_u16();
            let bytes = response.into_body().collect_bytes().await.unwrap();
            (code, bytes)
        });
        let (code, bytes) = answer
            .await
            .unwrap_or_else(|_| panic!("{method} {shown}: no answer in time"));
        // A body that never yields would outlive the timeout.
        assert!(
            begin.elapsed() < PATIENCE,
            "{method} {shown}: {:?}",
            begin.elapsed()
        );
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{method} {shown}: {code}, and the body is no JSON"));
        (code, value)
    }

    /// A request that is refused with this code and reason.
    async fn refused(
        &self,
        (method, path, content_type): (&str, &str, &str),
        body: impl Into<Vec<u8>>,
        (code, reason): (u16, &str),
    ) -> Value {
        let body = body.into();
        // A value may be quoted in the message and in the cause.
        let bound = (1 << 20) + 3 * body.len();
        let (got, status) = self.send(method, path, content_type, body).await;
        let text = status.to_string();
        let shown = text.chars().take(400).collect::<String>();
        assert_eq!(got, code, "{method} {path}: {shown}");
        assert_eq!(status["kind"], "Status", "{shown}");
        assert_eq!(status["status"], "Failure", "{shown}");
        assert_eq!(status["code"], code, "{shown}");
        assert_eq!(status["reason"], reason, "{shown}");
        assert!(!status["message"].as_str().unwrap().is_empty(), "{shown}");
        assert!(text.len() < bound, "a refusal of {} bytes", text.len());
        status
    }

    /// After all that the server answers at once, and has not grown beyond all bounds.
    async fn unharmed(&self) {
        let (code, _) = self
            .send("GET", &format!("{CONFIG_MAPS}/warm"), JSON, "")
            .await;
        assert_eq!(code, 200);
        let grown = peak().saturating_sub(self.before);
        assert!(grown < GROWTH, "the process grew by {} MiB", grown >> 20);
        assert!(self.server.address.port() > 0);
    }
}

fn named(name: &str, data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
        .to_string()
}

/// A ConfigMap with this after its name, as text.
fn with(metadata: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"h",{metadata}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_document_is_a_bad_request() {
    let target = Target::start().await;
    let deep = 100_000;
    let nested = |open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(deep), close.repeat(deep))
    };
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let last = format!("*a{}", level - 1);
        let all = vec![last; 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{all}]").unwrap();
    }
    let digits = format!(
        r#"{{"metadata":{{"generation":{}}}}}"#,
        "9".repeat(1_000_000)
    );
    let documents: Vec<(&str, Vec<u8>)> = vec![
        (JSON, nested("[", "", "]").into()),
        (JSON, nested(r#"{"a":"#, "1", "}").into()),
        (JSON, "[".repeat(1 << 20).into()),
        (YAML, nested("[", "", "]").into()),
        (YAML, "- ".repeat(deep).into()),
        (YAML, nested("{a: ", "1", "}").into()),
        (YAML, laughs.into()),
        (YAML, "a: &a [*a]".into()),
        (JSON, b"{\"kind\":\"\xff\xfe\"}".to_vec()),
        (YAML, b"kind: \xff\xfe".to_vec()),
        (JSON, br#"{"kind":"ConfigMap","data":{"k":1e400}}"#.to_vec()),
        (JSON, br#"{"kind":"\ud800"}"#.to_vec()),
        (JSON, digits.into()),
        // No server takes compressed bodies: the bytes are no JSON.
        (JSON, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\xff\xff\xff\xff\x0f".to_vec(),
        ),
        ("application/vnd.kubernetes.protobuf", vec![b'k'; 1 << 20]),
    ];
    for (content_type, document) in documents {
        target
            .refused(
                ("POST", CONFIG_MAPS, content_type),
                document,
                (400, "BadRequest"),
            )
            .await;
    }
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let twice = r#""k":"v","#.repeat(100_000);
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"h"}},"data":{{{twice}"k":"v"}}}}"#
    );
    target
        .refused(("POST", &strict, JSON), body, (400, "BadRequest"))
        .await;
    let unknown = (0..50_000).fold(String::new(), |mut all, n| {
        write!(all, r#""u{n}":1,"#).unwrap();
        all
    });
    let body =
        format!(r#"{{{unknown}"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"h"}}}}"#);
    target
        .refused(("POST", &strict, JSON), body, (400, "BadRequest"))
        .await;
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_unread() {
    let target = Target::start().await;
    let huge = named("h", &json!({"k": "x".repeat(10 << 20)}));
    for (method, path, content_type) in [
        ("POST", CONFIG_MAPS, JSON),
        ("POST", CONFIG_MAPS, YAML),
        ("PUT", "/api/v1/namespaces/default/configmaps/h", JSON),
        (
            "PATCH",
            "/api/v1/namespaces/default/configmaps/h",
            MERGE_PATCH,
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default/configmaps/h?fieldManager=m",
            APPLY,
        ),
        ("DELETE", "/api/v1/namespaces/default/configmaps/h", JSON),
    ] {
        target
            .refused(
                (method, path, content_type),
                huge.as_str(),
                (413, "RequestEntityTooLarge"),
            )
            .await;
    }
    // Within the bound of bodies, beyond that of one kind.
    let large = named("h", &json!({"k": "x".repeat(2 << 20)}));
    target
        .refused(("POST", CONFIG_MAPS, JSON), large, (422, "Invalid"))
        .await;
    // Within the bounds of body and kind, beyond what is stored of one object.
    let annotations = (0..120_000).fold(String::new(), |mut all, n| {
        write!(all, r#""l{n}":"v{n}","#).unwrap();
        all
    });
    let labels = format!(r#""labels":{{{}"z":"z"}}"#, annotations);
    target
        .refused(
            ("POST", CONFIG_MAPS, JSON),
            with(&labels),
            (413, "RequestEntityTooLarge"),
        )
        .await;
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_in_masses_is_judged_in_bounded_time() {
    let target = Target::start().await;
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(one).collect();
        all.join(",")
    };
    let wrong = [
        format!(
            r#""labels":{{{}}}"#,
            many(100_000, &|n| format!(r#""-bad {n}":"x y""#))
        ),
        format!(
            r#""annotations":{{{}}}"#,
            many(100_000, &|n| format!(r#""k{n}":"v""#))
        ),
        format!(
            r#""finalizers":[{}]"#,
            many(50_000, &|n| format!(r#""no domain {n}""#))
        ),
        format!(
            r#""ownerReferences":[{}]"#,
            many(20_000, &|n| format!(r#"{{"uid":"{n}","controller":true}}"#))
        ),
    ];
    for metadata in wrong {
        target
            .refused(
                ("POST", CONFIG_MAPS, JSON),
                with(&metadata),
                (422, "Invalid"),
            )
            .await;
    }
    // Well formed, so it is served; what follows from it is bounded too.
    let labels = format!(
        r#""labels":{{{}}}"#,
        many(10_000, &|n| format!(r#""l{n}":"v""#))
    );
    let (code, _) = target.send("POST", CONFIG_MAPS, JSON, with(&labels)).await;
    assert_eq!(code, 201);
    let one = format!("{CONFIG_MAPS}/h");
    let (code, _) = target
        .send(
            "PATCH",
            &one,
            MERGE_PATCH,
            r#"{"metadata":{"labels":{"l5":null}}}"#,
        )
        .await;
    assert_eq!(code, 200);
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_bounded() {
    let target = Target::start().await;
    let terms: Vec<String> = (0..2_000).map(|n| format!("k{n}")).collect();
    let requirements = terms.join(",");
    let (code, _) = target
        .send(
            "GET",
            &format!("{CONFIG_MAPS}?labelSelector={requirements}"),
            JSON,
            "",
        )
        .await;
    assert_eq!(code, 200);
    for query in [
        "limit=99999999999999999999",
        "limit=ten",
        "continue=garbage",
        "labelSelector=a%20b%20c",
        "labelSelector=((((((((((",
        "labelSelector=a%20in%20(",
        "fieldSelector=spec.nope%3D1",
        "fieldSelector=metadata.name",
        "resourceVersion=-1",
        "resourceVersion=18446744073709551616",
        "timeoutSeconds=never",
    ] {
        target
            .refused(
                ("GET", &format!("{CONFIG_MAPS}?{query}"), JSON),
                "",
                (400, "BadRequest"),
            )
            .await;
    }
    let token = "A".repeat(12_000);
    target
        .refused(
            (
                "GET",
                &format!("{CONFIG_MAPS}?limit=1&continue={token}"),
                JSON,
            ),
            "",
            (400, "BadRequest"),
        )
        .await;
    // A future that never comes is waited for a moment only.
    let future = "resourceVersion=9000000000000000000&resourceVersionMatch=NotOlderThan";
    let (code, status) = target
        .send("GET", &format!("{CONFIG_MAPS}?{future}"), JSON, "")
        .await;
    assert_eq!(code, 504, "{status}");
    assert_eq!(status["reason"], "Timeout", "{status}");
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_do_not_multiply() {
    let target = Target::start().await;
    let one = format!("{CONFIG_MAPS}/p");
    let (code, _) = target
        .send(
            "POST",
            CONFIG_MAPS,
            JSON,
            named("p", &json!({"k": "x".repeat(100_000)})),
        )
        .await;
    assert_eq!(code, 201);
    // Each copy doubles what there is.
    let doubling: Vec<Value> = (0..30)
        .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}))
        .collect();
    target
        .refused(
            ("PATCH", &one, JSON_PATCH),
            json!(doubling).to_string(),
            (422, "Invalid"),
        )
        .await;
    let many: Vec<Value> = (0..10_001)
        .map(|_| json!({"op": "test", "path": "/data/none", "value": null}))
        .collect();
    target
        .refused(
            ("PATCH", &one, JSON_PATCH),
            json!(many).to_string(),
            (413, "RequestEntityTooLarge"),
        )
        .await;
    let deep = format!(
        r#"[{{"op":"test","path":"{}","value":1}}]"#,
        "/a".repeat(500_000)
    );
    let (code, status) = target.send("PATCH", &one, JSON_PATCH, deep).await;
    assert!(matches!(code, 400 | 422), "{status}");
    let nested = format!("{}1{}", r#"{"data":"#.repeat(50_000), "}".repeat(50_000));
    for ty in [MERGE_PATCH, STRATEGIC] {
        target
            .refused(("PATCH", &one, ty), nested.as_str(), (400, "BadRequest"))
            .await;
    }
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_lists_in_masses_merge_in_bounded_time() {
    let target = Target::start().await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let pods = "/api/v1/namespaces/default/pods";
    let environment = |count: usize, value: &str| {
        let all: Vec<Value> = (0..count)
            .map(|n| json!({"name": format!("V{n}"), "value": value}))
            .collect();
        json!(all)
    };
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    target
        .send(
            "POST",
            "/api/v1/namespaces/default/serviceaccounts",
            JSON,
            account.to_string(),
        )
        .await;
    let pod = |value: &str, annotation: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "many", "annotations": {"a": annotation}},
            "spec": {
                "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "x", "env": environment(4_000, value)}],
            },
        })
        .to_string()
    };
    let (code, status) = target.send("POST", pods, JSON, pod("1", "x")).await;
    assert_eq!(code, 201, "{}", status["message"]);
    // Every element of the patch is looked for in the list; then nothing but images may change.
    target
        .refused(
            ("PATCH", &format!("{pods}/many"), STRATEGIC),
            pod("2", "y"),
            (422, "Invalid"),
        )
        .await;
    let path = format!("{pods}/many?fieldManager=m&force=true");
    let (code, status) = target.send("PATCH", &path, APPLY, pod("1", "z")).await;
    assert_eq!(code, 200, "{}", status["message"]);
    let ports: Vec<Value> = (0..30_000)
        .map(|n| json!({"name": format!("p{n}"), "port": 80}))
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
        "addressType": "IPv4", "endpoints": [], "ports": ports,
    });
    target
        .refused(("POST", slices, JSON), slice.to_string(), (422, "Invalid"))
        .await;
    target.unharmed().await;
}

/// A CRD of kind `H` with this schema of its `spec`.
fn crd(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hs.hostile.example.com"},
        "spec": {
            "group": "hostile.example.com", "scope": "Namespaced",
            "names": {"plural": "hs", "kind": "H"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_explode_are_refused() {
    let target = Target::start().await;
    let mut doubled = json!({"type": "string", "minLength": 1});
    for _ in 0..14 {
        doubled = json!({"allOf": [doubled, doubled]});
    }
    let mut tower = json!({"type": "string"});
    for _ in 0..110 {
        tower = json!({"type": "array", "items": tower});
    }
    let mut loops = "self.all(x0, true)".to_owned();
    for level in 1..12 {
        loops = format!("self.all(x{level}, {loops})");
    }
    let text = |more: Value| {
        let mut schema = json!({"type": "string"});
        if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
            schema.extend(more);
        }
        schema
    };
    let rule = |rule: &str| json!({"x-kubernetes-validations": [{"rule": rule, "message": "m"}]});
    let hostile = [
        text(json!({"pattern": "(a{1000}){1000}"})),
        text(json!({"pattern": "((((a{100}){100}){100}){100})"})),
        text(json!({"pattern": "(".repeat(10_000)})),
        text(rule(&format!("self == '{}'", "x".repeat(100_000)))),
        text(rule(&"(".repeat(5_000))),
        text(rule(&format!("{}true", "!".repeat(8_001)))),
        text(rule(&vec!["self"; 4_000].join(" + "))),
        {
            let mut list = json!({"type": "array", "items": {"type": "string"}});
            if let (Some(list), Value::Object(more)) = (list.as_object_mut(), rule(&loops)) {
                list.extend(more);
            }
            list
        },
        tower,
    ];
    for schema in hostile {
        let shown = schema.to_string().chars().take(100).collect::<String>();
        let (code, status) = target
            .send("POST", CRDS, JSON, crd(&schema).to_string())
            .await;
        let message = status.to_string().chars().take(300).collect::<String>();
        assert!(matches!(code, 400 | 422), "{shown}: {code} {message}");
        assert_eq!(status["kind"], "Status", "{shown}");
    }
    // Sixteen thousand sub-schemas are much, yet no explosion: either answer will do, in time.
    let sound = json!({"type": "string", "allOf": [doubled]});
    let (code, status) = target
        .send("POST", CRDS, JSON, crd(&sound).to_string())
        .await;
    assert!(matches!(code, 201 | 422), "{}", status["message"]);
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_hostile_kind_are_judged_in_bounded_time() {
    let target = Target::start().await;
    let schema = json!({
        "type": "object",
        "properties": {
            // Catastrophic for engines that backtrack.
            "text": {"type": "string", "pattern": "^(a+)+$"},
            "keyed": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {
                    "k": {"type": "string"}, "d": {"type": "string", "default": "filled in"},
                }},
            },
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ruled": {
                "type": "array", "maxItems": 500, "items": {"type": "string", "maxLength": 50},
                "x-kubernetes-validations": [{"rule": "self.all(a, self.exists_one(b, a == b))"}],
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    let (code, status) = target
        .send("POST", CRDS, JSON, crd(&schema).to_string())
        .await;
    assert_eq!(code, 201, "{}", status["message"]);
    let path = "/apis/hostile.example.com/v1/namespaces/default/hs";
    let object = |name: &str, spec: Value| {
        json!({
            "apiVersion": "hostile.example.com/v1", "kind": "H",
            "metadata": {"name": name}, "spec": spec,
        })
        .to_string()
    };
    let text = format!("{}b", "a".repeat(1_000_000));
    target
        .refused(
            ("POST", path, JSON),
            object("t", json!({"text": text})),
            (422, "Invalid"),
        )
        .await;
    let same: Vec<Value> = (0..60_000).map(|_| json!({"k": "same"})).collect();
    target
        .refused(
            ("POST", path, JSON),
            object("k", json!({"keyed": same})),
            (422, "Invalid"),
        )
        .await;
    let set: Vec<String> = (0..100_000).map(|n| format!("e{}", n / 2)).collect();
    target
        .refused(
            ("POST", path, JSON),
            object("s", json!({"set": set})),
            (422, "Invalid"),
        )
        .await;
    // The estimate admits the rule, its budget at run time ends it.
    let ruled: Vec<String> = (0..500).map(|n| format!("{n:050}")).collect();
    let (code, status) = target
        .send("POST", path, JSON, object("r", json!({"ruled": ruled})))
        .await;
    assert!(matches!(code, 201 | 422), "{}", status["message"]);
    let apply = |count: usize| {
        let keyed: Vec<Value> = (0..count).map(|n| json!({"k": format!("k{n}")})).collect();
        object("a", json!({"keyed": keyed}))
    };
    for manager in ["one", "two"] {
        let path = format!("{path}/a?fieldManager={manager}");
        let (code, status) = target.send("PATCH", &path, APPLY, apply(5_000)).await;
        assert!(matches!(code, 200 | 201), "{}", status["message"]);
    }
    let deep = (0..90).fold(json!(1), |inner, _| json!({"d": inner}));
    let (code, status) = target
        .send("POST", path, JSON, object("d", json!({"free": deep})))
        .await;
    assert_eq!(code, 201, "{}", status["message"]);
    target.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_beyond_reason_are_no_amounts() {
    let target = Target::start().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    for amount in [
        json!("1e999999999"),
        json!("9".repeat(100_000)),
        json!(format!("0.{}1", "0".repeat(100_000))),
        json!("1e"),
        json!("--1"),
    ] {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
            "spec": {"hard": {"cpu": amount}},
        });
        target
            .refused(
                ("POST", quotas, JSON),
                quota.to_string(),
                (400, "BadRequest"),
            )
            .await;
    }
    target.unharmed().await;
}
