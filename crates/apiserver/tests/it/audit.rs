//! The audit log of real requests.

use std::path::Path;
use std::sync::Arc;

use apimachinery::status::ApiError;
use async_trait::async_trait;
use ferrovirt_apiserver::{
    AuditLog, AuditLogOptions, AuditMode, AuditPolicy, Response, Subresource,
    SubresourceRegistration, SubresourceRequest,
};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::{Server, eventually};
use crate::wire::{self, Client, full, request};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ["/metrics", "/readyz*"]}
- {level: None, userGroups: [system:masters]}
- {level: Metadata, resources: [{group: "", resources: [secrets, "serviceaccounts/token"]}]}
- {level: Request, verbs: [patch], resources: [{resources: [configmaps]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}], omitStages: [RequestReceived]}
- {level: Metadata}
"#;

/// A subresource with a bug.
struct Broken;

#[async_trait]
impl Subresource for Broken {
    async fn call(&self, request: SubresourceRequest) -> Result<Response, ApiError> {
        panic!("asked for {}", request.info.name)
    }
}

async fn server(path: &Path, mode: AuditMode) -> Server {
    let options = AuditLogOptions {
        path: path.to_owned(),
        mode,
        max_size: 0,
        max_backups: 0,
    };
    let log = AuditLog::open(&options).unwrap();
    wire::server_with(|config| {
        config.audit = Some((AuditPolicy::parse(POLICY).unwrap(), log));
        config.subresources.push(SubresourceRegistration {
            group: "subresources.example.com".to_owned(),
            versions: vec!["v1".to_owned()],
            resource: "machines".to_owned(),
            subresource: "broken".to_owned(),
            namespaced: true,
            kind: "Broken".to_owned(),
            verbs: vec!["get".to_owned()],
            handler: Arc::new(Broken),
        });
    })
    .await
}

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_logged_as_the_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let server = server(&path, AuditMode::Blocking).await;
    let mut client = Client::new(&server, "modest-token").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let mut create = request("modest-token", Method::POST, maps, full(map.to_string()));
    create
        .headers_mut()
        .insert("audit-id", "my-id".parse().unwrap());
    create
        .headers_mut()
        .insert("user-agent", "tester/1".parse().unwrap());
    create
        .headers_mut()
        .insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let answer = client.send(create).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["audit-id"]),
        (201, &"my-id".parse().unwrap())
    );
    answer.into_body().collect().await.unwrap();

    // Blocking: what was answered is written.
    let logged = events(&path);
    let [event] = logged.as_slice() else {
        panic!("{logged:#?}")
    };
    for (field, value) in [
        ("/stage", json!("ResponseComplete")),
        ("/level", json!("RequestResponse")),
        ("/auditID", json!("my-id")),
        ("/verb", json!("create")),
        ("/requestURI", json!(maps)),
        ("/user/username", json!("modest")),
        ("/userAgent", json!("tester/1")),
        ("/sourceIPs", json!(["192.0.2.7", "127.0.0.1"])),
        (
            "/objectRef",
            json!({"resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1"}),
        ),
        ("/responseStatus", json!({"metadata": {}, "code": 201})),
        ("/requestObject/data/k", json!("v")),
        ("/responseObject/data/k", json!("v")),
        (
            "/annotations/authorization.k8s.io~1decision",
            json!("allow"),
        ),
    ] {
        assert_eq!(event.pointer(field), Some(&value), "{field} of {event:#}");
    }
    assert!(
        event["annotations"]["authorization.k8s.io/reason"]
            .as_str()
            .unwrap()
            .contains("ClusterRoleBinding \"clients\"")
    );
    assert!(event.pointer("/responseObject/metadata/uid").is_some());
    assert!(
        event
            .pointer("/responseObject/metadata/managedFields")
            .is_none()
    );

    // A Secret and what is wrong with it stay out of the log, at every stage.
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hunter2"}});
    assert_eq!(client.ask(Method::POST, secrets, secret).await.0, 201);
    let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}, "type": "hunter3\u{7}", "data": {"hunter4 ": "aHVudGVyNQ=="}});
    assert!(client.ask(Method::POST, secrets, wrong).await.0 >= 400);
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}});
    assert_eq!(client.ask(Method::POST, accounts, account).await.0, 201);
    let (code, answer) = client
        .ask(Method::POST, &format!("{accounts}/a/token"), token)
        .await;
    assert_eq!(code, 201, "{answer}");
    let secret_token = answer["status"]["token"].as_str().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for hidden in [
        "hunter2",
        "aHVudGVyMg",
        "hunter4",
        secret_token,
        "modest-token",
    ] {
        assert!(!text.contains(hidden), "{hidden} is in the log");
    }
    let of_secrets: Vec<Value> = events(&path)
        .into_iter()
        .filter(|e| e["objectRef"]["resource"] == "secrets")
        .collect();
    let stages: Vec<&str> = of_secrets
        .iter()
        .map(|e| e["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages,
        [
            "RequestReceived",
            "ResponseComplete",
            "RequestReceived",
            "ResponseComplete"
        ]
    );

    // A patch at level Request has no answer in it.
    let mut patch = request(
        "modest-token",
        Method::PATCH,
        &format!("{maps}/m"),
        full(r#"{"data":{"k":"w"}}"#),
    );
    patch.headers_mut().insert(
        "content-type",
        "application/merge-patch+json".parse().unwrap(),
    );
    client
        .send(patch)
        .await
        .into_body()
        .collect()
        .await
        .unwrap();
    let event = events(&path).pop().unwrap();
    assert_eq!(
        (&event["verb"], &event["requestObject"]),
        (&json!("patch"), &json!({"data": {"k": "w"}}))
    );
    assert!(event.get("responseObject").is_none());

    // Impersonation; a denial; nobody.
    let mut other = request("modest-token", Method::GET, "/api/v1/nodes", full(""));
    other
        .headers_mut()
        .insert("impersonate-user", "jim".parse().unwrap());
    assert_eq!(client.send(other).await.status(), 403);
    let event = events(&path).pop().unwrap();
    assert_eq!(event["impersonatedUser"]["username"], "jim");
    assert_eq!(
        event["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(event["responseStatus"]["reason"], "Forbidden");
    let mut nobody = Client::new(&server, "wrong-token").await;
    assert_eq!(nobody.get("/api/v1/nodes").await.0, 401);
    let event = events(&path).pop().unwrap();
    assert_eq!(
        (&event["responseStatus"]["code"], &event["user"]),
        (&json!(401), &json!({"username": ""}))
    );

    // A bug of ours: said as such, and the connection goes on.
    let broken = "/apis/subresources.example.com/v1/namespaces/default/machines/m/broken";
    assert_eq!(client.get(broken).await.0, 500);
    let event = events(&path).pop().unwrap();
    assert_eq!(
        (&event["stage"], &event["responseStatus"]["code"]),
        (&json!("Panic"), &json!(500))
    );

    // A watch: started when it begins, complete when it is over.
    let watch = format!("{maps}?watch=1&timeoutSeconds=1");
    assert_eq!(client.get(&watch).await.0, 200);
    let complete = || async {
        let all = events(&path);
        let stages: Vec<&Value> = all
            .iter()
            .filter(|e| e["verb"] == "watch")
            .map(|e| &e["stage"])
            .collect();
        stages == [&json!("ResponseStarted"), &json!("ResponseComplete")]
    };
    eventually("the end of the watch is logged", complete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_device_stops_requests_in_strict_mode_alone() {
    for (mode, code) in [
        (AuditMode::Blocking, 200),
        (AuditMode::Batch, 200),
        (AuditMode::BlockingStrict, 500),
    ] {
        let server = server(Path::new("/dev/full"), mode).await;
        let mut client = Client::new(&server, "modest-token").await;
        let (status, text) = client.get("/api/v1/namespaces/default/secrets").await;
        assert_eq!(status, code, "{mode:?} {text}");
        let mut admin = Client::new(&server, "admin-token").await;
        let lost = async || {
            let mut admin = Client::new(&server, "admin-token").await;
            wire::metric(&mut admin, "apiserver_audit_error_total{").await
        };
        eventually("the loss is counted", || async { lost().await >= 1.0 }).await;
        assert_eq!(admin.get("/readyz").await.0, 200);
    }
}
