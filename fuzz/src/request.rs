//! Whole requests to a whole API server, in this process.
//!
//! Input: a line `METHOD path?query`, lines `name: value` of headers up to an empty one, the body. Writes are dry
//! runs, so that the same input does the same whatever came before.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apiserver::{ApiServer, Config};
use authz::User;
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use pki::ServiceAccountKeys;
use serde_json::Value;
use store::log::{LogStore, Options};
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// How much of an answer is read.
const ANSWER: usize = 64 << 20;
/// An answer that takes longer is a failure: nothing that is asked for here takes a tenth of it.
const BOUND: Duration = Duration::from_secs(8);

struct World {
    runtime: Runtime,
    server: ApiServer,
    /// The server's files, for as long as it runs.
    _directory: tempfile::TempDir,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let server = runtime.block_on(async {
            let keys = ServiceAccountKeys::load_or_create(directory.path().join("pki"));
            let store = LogStore::open(directory.path().join("store"), Options::default());
            let config = Config::new(
                Arc::new(store.expect("a store")),
                Arc::new(keys.expect("keys")),
            );
            let server = ApiServer::new(config).await.expect("a server");
            for (path, body) in OBJECTS {
                let request = Request::post(*path)
                    .header("content-type", "application/yaml")
                    .body(Full::new(Bytes::from_static(body.as_bytes())));
                let answer = server
                    .as_user(User::new("fuzz", &["system:masters"]))
                    .oneshot(request.expect("a request"))
                    .await
                    .expect("an answer");
                assert!(answer.status().is_success(), "{path}: {}", answer.status());
            }
            server
        });
        World {
            runtime,
            server,
            _directory: directory,
        }
    })
}

/// What is there to be read and changed.
const OBJECTS: &[(&str, &str)] = &[
    // Or else each Pod would wait for it.
    (
        "/api/v1/namespaces/default/serviceaccounts",
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}",
    ),
    (
        "/api/v1/namespaces/default/configmaps",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: web}}, data: {k: v}}",
    ),
    (
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        include_str!("../seeds/crd.yaml"),
    ),
];

fn parse(data: &[u8]) -> Option<Request<Full<Bytes>>> {
    let (head, body) = match data.windows(2).position(|w| w == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let (method, uri) = lines.next()?.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let mut uri = uri.to_owned();
    if !matches!(method, Method::GET | Method::HEAD) {
        uri.push(if uri.contains('?') { '&' } else { '?' });
        uri.push_str("dryRun=All");
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri.parse::<Uri>().ok()?);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        // Who asks is not for the input to say.
        if !name.to_ascii_lowercase().starts_with("impersonate") {
            request = request.header(name, value);
        }
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).ok()
}

pub(crate) fn run(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    let watches = request.uri().query().is_some_and(|q| q.contains("watch"))
        || request.uri().path().contains("watch");
    let world = world();
    let service = world.server.as_user(User::new("fuzz", &["system:masters"]));
    let answered = world.runtime.block_on(async {
        let answer = async {
            let answer = service.oneshot(request).await.expect("an answer");
            let (parts, body) = answer.into_parts();
            if watches {
                return (parts, Bytes::new());
            }
            let body = http_body_util::Limited::new(body, ANSWER).collect().await;
            (parts, body.expect("a bounded answer").to_bytes())
        };
        tokio::time::timeout(BOUND, answer).await
    });
    let (parts, body) = answered.expect("an answer in time");
    let code = parts.status.as_u16();
    // An apply configuration with a field that its kind does not have is a 500 without a reason, as upstream; what
    // went wrong in the server itself has the reason `InternalError`.
    let said = String::from_utf8_lossy(&body);
    let refused = code == 500 && said.contains("\"message\":\"failed to create typed patch object");
    assert!(
        code < 500 || refused || matches!(code, 501 | 503 | 504),
        "{code}: {said}"
    );
    let media = parts
        .headers
        .get("content-type")
        .map(http::HeaderValue::as_bytes);
    let encoded = parts.headers.contains_key("content-encoding");
    if media == Some(b"application/json") && !body.is_empty() && !encoded {
        let value: Value = serde_json::from_slice(&body).expect("an answer in JSON");
        if code >= 400 {
            assert_eq!(value["kind"], "Status", "{value}");
            assert_eq!(value["code"], code, "{value}");
        }
    }
}
