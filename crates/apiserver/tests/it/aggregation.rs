//! Groups that another server serves: a second server of ours, behind the front-proxy protocol.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrovirt_apiserver::{FrontProxy, parse_token_file};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use pki::{Authority, Pair};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::extension;
use crate::harness::{Server, eventually};
use crate::https::Https;

const DAY: Duration = Duration::from_secs(86_400);
const NAME: &str = "front-proxy-client";

const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: ships, singular: ship, kind: Ship, listKind: ShipList, shortNames: [sh]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              cargo: {type: string, description: What is on board.}
";

/// The CA of front proxies, in a directory of its own.
struct Proxies {
    authority: Authority,
    _dir: tempfile::TempDir,
}

impl Proxies {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        Proxies {
            authority,
            _dir: dir,
        }
    }

    fn pair(&self, name: &str) -> Pair {
        self.authority.issue_client(name, &[], DAY).unwrap()
    }

    fn believed(&self) -> FrontProxy {
        FrontProxy::new(self.authority.ca_pem(), vec![NAME.to_owned()])
    }
}

/// A server that believes front proxies, with ships and consoles.
async fn backend(proxies: &Proxies) -> Server {
    let server = Server::with(|config| {
        config.front_proxy = Some(proxies.believed());
        config.subresources.push(extension::console());
    })
    .await;
    server.kubectl_with(&["create", "-f", "-"], CRD).await;
    server
        .kubectl(&[
            "wait",
            "crd/ships.example.com",
            "--for=condition=Established",
        ])
        .await;
    server
}

async fn front(proxies: &Proxies) -> Server {
    let server = Server::with(|config| {
        config.front_proxy = Some(proxies.believed());
        config.proxy_client = Some(proxies.pair(NAME));
        config.static_tokens = parse_token_file("joe-token,joe,7,\"sailors\"\n").unwrap();
    })
    .await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    server
        .kubectl_with(&["create", "-f", "-"], &service.to_string())
        .await;
    server
}

/// An APIService for a group of the backend.
fn apiservice(group: &str, backend: &Server, ca: &str) -> Value {
    apiservice_at(group, backend.address.port(), ca)
}

fn apiservice_at(group: &str, port: u16, ca: &str) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "caBundle": STANDARD.encode(ca),
            "service": {"namespace": "default", "name": "backend", "port": port}}})
}

async fn aggregate(front: &Server, backend: &Server, group: &str) {
    let object = apiservice(group, backend, backend.authority.ca_pem());
    front
        .kubectl_with(&["create", "-f", "-"], &object.to_string())
        .await;
    let name = format!("apiservice/v1.{group}");
    front
        .kubectl(&["wait", &name, "--for=condition=Available", "--timeout=60s"])
        .await;
}

/// The condition of an APIService.
async fn condition(front: &Server, group: &str) -> Value {
    let name = format!("v1.{group}");
    let text = front
        .kubectl(&[
            "get",
            "apiservice",
            &name,
            "-o",
            "jsonpath={.status.conditions[0]}",
        ])
        .await;
    serde_json::from_str(&text).unwrap_or_default()
}

fn ship(name: &str, cargo: &str) -> String {
    format!(
        "apiVersion: example.com/v1\nkind: Ship\nmetadata: {{name: {name}}}\nspec: {{cargo: {cargo}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_with_a_group_of_another_server() {
    let proxies = Proxies::new();
    let (front, backend) = (front(&proxies).await, backend(&proxies).await);
    aggregate(&front, &backend, "example.com").await;
    assert_eq!(condition(&front, "example.com").await["reason"], "Passed");

    let resources = front
        .kubectl(&["api-resources", "--api-group=example.com"])
        .await;
    assert!(
        resources.contains("ships") && resources.contains("sh"),
        "{resources}"
    );
    front
        .kubectl_with(&["apply", "--server-side", "-f", "-"], &ship("a", "tea"))
        .await;
    front
        .kubectl_with(&["create", "-f", "-"], &ship("b", "salt"))
        .await;
    // It lies there, not here.
    let cargo = ["get", "ship", "a", "-o", "jsonpath={.spec.cargo}"];
    assert_eq!(backend.kubectl(&cargo).await, "tea");
    assert_eq!(front.kubectl(&cargo).await, "tea");
    let patch = [
        "patch",
        "ship",
        "a",
        "--type=merge",
        "-p",
        r#"{"spec":{"cargo":"gold"}}"#,
    ];
    front.kubectl(&patch).await;
    assert_eq!(backend.kubectl(&cargo).await, "gold");
    let table = front.kubectl(&["get", "sh", "-A"]).await;
    assert!(
        table.contains("NAMESPACE") && table.contains("b "),
        "{table}"
    );
    let fields = front.kubectl(&["explain", "ship.spec"]).await;
    assert!(fields.contains("What is on board."), "{fields}");
    let index = front.kubectl(&["get", "--raw", "/openapi/v3"]).await;
    assert!(index.contains("apis/example.com/v1"), "{index}");
    // The older form too, each kind with what it consists of.
    let document = front.kubectl(&["get", "--raw", "/openapi/v2"]).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let path = "/apis/example.com/v1/namespaces/{namespace}/ships/{name}";
    assert!(document["paths"][path]["get"].is_object());
    let ship = document["definitions"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| name.ends_with("example.v1.Ship"));
    let (_, ship) = ship.unwrap();
    let cargo = &ship["properties"]["spec"]["properties"]["cargo"];
    assert_eq!(cargo["type"], "string");
    assert!(document["paths"]["/api/v1/namespaces/{namespace}/pods"].is_object());
    // What both servers have is there once.
    assert!(
        document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2"].is_null()
    );
    let groups = front.kubectl(&["get", "--raw", "/apis"]).await;
    assert!(groups.contains("example.com/v1"), "{groups}");
    let group = front.kubectl(&["get", "--raw", "/apis/example.com"]).await;
    assert!(group.contains("\"preferredVersion\""), "{group}");
    let error = front.kubectl_fails(&["get", "ship", "none"], "").await;
    assert!(
        error.contains("ships.example.com \"none\" not found"),
        "{error}"
    );
    front.kubectl(&["delete", "ship", "b"]).await;

    // Without its APIService the group is gone, and nothing of it is served.
    front
        .kubectl(&["delete", "apiservice", "v1.example.com"])
        .await;
    eventually("the route is gone", || async {
        let ships = ["get", "--raw", "/apis/example.com/v1/ships"];
        let error = front.run("kubeconfig", &ships, "").await.stderr;
        String::from_utf8_lossy(&error).contains("NotFound")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_streams_through() {
    let proxies = Proxies::new();
    let (front, backend) = (front(&proxies).await, backend(&proxies).await);
    aggregate(&front, &backend, "example.com").await;
    let watch = [
        "get",
        "ships",
        "--watch",
        "-o",
        "jsonpath={.metadata.name}={.spec.cargo}{'\\n'}",
    ];
    backend
        .kubectl_with(&["create", "-f", "-"], &ship("a", "tea"))
        .await;
    let mut child = front.spawn_kubectl(&watch);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
    assert_eq!(next.await.unwrap().unwrap().unwrap(), "a=tea");
    backend
        .kubectl_with(&["apply", "-f", "-"], &ship("c", "salt"))
        .await;
    let next = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
    assert_eq!(next.await.unwrap().unwrap().unwrap(), "c=salt");
    child.kill().await.unwrap();
}

/// Both servers judge: this one whether the caller may ask at all, the other with the caller's own rights.
#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_who_he_is_on_the_other_side() {
    let proxies = Proxies::new();
    let (front, backend) = (front(&proxies).await, backend(&proxies).await);
    aggregate(&front, &backend, "example.com").await;
    front.write_kubeconfig("joe", "token: joe-token");
    let denied = async |who: &str| {
        let output = front.run("joe", &["get", "ships"], "").await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.contains("User \"joe\" cannot list resource \"ships\""),
            "{who}: {error}"
        );
    };
    denied("front").await;
    let role = [
        "create",
        "clusterrole",
        "ships",
        "--verb=*",
        "--resource=ships.example.com",
    ];
    let binding = [
        "create",
        "clusterrolebinding",
        "ships",
        "--clusterrole=ships",
        "--group=sailors",
    ];
    // Roles name resources that the server knows.
    front.kubectl(&role).await;
    front.kubectl(&binding).await;
    denied("backend").await;
    backend.kubectl(&role).await;
    backend.kubectl(&binding).await;
    let output = front.run("joe", &["get", "ships"], "").await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_hurts_only_its_group() {
    let proxies = Proxies::new();
    let (front, mut backend) = (front(&proxies).await, backend(&proxies).await);
    aggregate(&front, &backend, "example.com").await;
    backend.go_deaf().await;
    let asked = || async {
        // Somebody has to notice.
        let output = front.run(
            "kubeconfig",
            &["get", "--raw", "/apis/example.com/v1/ships"],
            "",
        );
        let error = output.await.stderr;
        String::from_utf8_lossy(&error).contains("ServiceUnavailable")
    };
    eventually("requests fail", asked).await;
    eventually("the condition says so", || async {
        condition(&front, "example.com").await["reason"] == "FailedDiscoveryCheck"
    })
    .await;
    let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let document = get(&front, Some(&front.admin), "/apis", &[("accept", media)])
        .await
        .1;
    let items = document["items"].as_array().unwrap();
    let group = items
        .iter()
        .find(|i| i["metadata"]["name"] == "example.com")
        .unwrap();
    assert_eq!(group["versions"][0]["freshness"], "Stale");
    // What it served is still known.
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "ships");
    front.kubectl(&["get", "configmaps", "-A"]).await;
    backend.listen().await;
    front
        .kubectl(&[
            "wait",
            "apiservice/v1.example.com",
            "--for=condition=Available",
            "--timeout=120s",
        ])
        .await;
    front.kubectl(&["get", "ships"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_be_the_one_that_was_meant() {
    let proxies = Proxies::new();
    let (front, backend) = (front(&proxies).await, backend(&proxies).await);
    let wrong = apiservice("example.com", &backend, front.authority.ca_pem());
    front
        .kubectl_with(&["create", "-f", "-"], &wrong.to_string())
        .await;
    eventually("the certificate is refused", || async {
        let condition = condition(&front, "example.com").await;
        let message = condition["message"].as_str().unwrap_or_default().to_owned();
        condition["reason"] == "FailedDiscoveryCheck" && message.contains("certificate")
    })
    .await;
    let error = front
        .kubectl_fails(&["get", "--raw", "/apis/example.com/v1/ships"], "")
        .await;
    assert!(error.contains("ServiceUnavailable"), "{error}");
    // Unless an administrator says that anyone will do.
    let insecure = r#"{"spec":{"insecureSkipTLSVerify":true,"caBundle":null}}"#;
    front
        .kubectl(&[
            "patch",
            "apiservice",
            "v1.example.com",
            "--type=merge",
            "-p",
            insecure,
        ])
        .await;
    front
        .kubectl(&[
            "wait",
            "apiservice/v1.example.com",
            "--for=condition=Available",
            "--timeout=60s",
        ])
        .await;
    front
        .kubectl(&["get", "--raw", "/apis/example.com/v1/ships"])
        .await;
    // Nobody takes over what is built in.
    let apps = apiservice("apps", &backend, backend.authority.ca_pem());
    front
        .kubectl_with(&["replace", "-f", "-"], &apps.to_string())
        .await;
    let list = front
        .kubectl(&["get", "--raw", "/apis/apps/v1/deployments"])
        .await;
    assert!(list.contains("DeploymentList"), "{list}");
}

/// Status and body of a GET over TLS, with or without a certificate.
async fn get(
    server: &Server,
    certificate: Option<&Pair>,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (u16, Value) {
    let mut tls = server.authority.client_config(certificate).unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header(header::HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_front_proxy_speaks_for_others() {
    let proxies = Proxies::new();
    let server = Server::with(|config| config.front_proxy = Some(proxies.believed())).await;
    let root = [
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
    ];
    let secrets = "/api/v1/secrets";
    let of = async |pair: Option<&Pair>| get(&server, pair, secrets, &root).await;
    assert_eq!(of(Some(&proxies.pair(NAME))).await.0, 200);
    // Another name of the same CA, a user of ours, and nobody.
    let (code, answer) = of(Some(&proxies.pair("system:masters"))).await;
    assert_eq!(code, 403);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("system:anonymous"),
        "{answer}"
    );
    let joe = server.authority.issue_client("joe", &[], DAY).unwrap();
    let (code, answer) = of(Some(&joe)).await;
    assert_eq!(code, 403);
    assert!(
        answer["message"].as_str().unwrap().contains("\"joe\""),
        "{answer}"
    );
    assert_eq!(of(None).await.0, 403);
    // A proxy that says nothing is nobody, whatever its certificate's groups are.
    let powerful = proxies
        .authority
        .issue_client(NAME, &["system:masters".to_owned()], DAY)
        .unwrap();
    assert_eq!(get(&server, Some(&powerful), secrets, &[]).await.0, 403);

    // Others learn from a ConfigMap whom to believe; it is kept.
    let map = [
        "get",
        "cm",
        "-n",
        "kube-system",
        "extension-apiserver-authentication",
        "-o",
        "json",
    ];
    let delete = [
        "delete",
        "cm",
        "-n",
        "kube-system",
        "extension-apiserver-authentication",
    ];
    for round in 0..2 {
        eventually("the ConfigMap is there", || async {
            server.run("kubeconfig", &map, "").await.status.success()
        })
        .await;
        let data: Value = serde_json::from_str(&server.kubectl(&map).await).unwrap();
        let data = &data["data"];
        assert_eq!(data["client-ca-file"], server.authority.ca_pem());
        assert_eq!(
            data["requestheader-client-ca-file"],
            proxies.authority.ca_pem()
        );
        assert_eq!(
            data["requestheader-allowed-names"],
            "[\"front-proxy-client\"]"
        );
        assert_eq!(
            data["requestheader-username-headers"],
            "[\"X-Remote-User\"]"
        );
        if round == 0 {
            server.kubectl(&delete).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through() {
    let proxies = Proxies::new();
    let (front, backend) = (front(&proxies).await, backend(&proxies).await);
    aggregate(&front, &backend, "subresources.example.com").await;
    let tls = front.authority.client_config(Some(&front.admin)).unwrap();
    let stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let url =
        "wss://localhost/apis/subresources.example.com/v1/namespaces/default/machines/m/console";
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(
        "Sec-WebSocket-Protocol",
        "plain.kubevirt.io".parse().unwrap(),
    );
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    assert_eq!(
        response.headers()["Sec-WebSocket-Protocol"],
        "plain.kubevirt.io"
    );
    for text in ["hello", "and again"] {
        let message = tungstenite::Message::Binary(text.into());
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

/// What a server of others answers that keeps to no rules.
fn rogue(request: &Request<hyper::body::Incoming>) -> http::Response<Full<bytes::Bytes>> {
    let answer = http::Response::builder();
    let path = request.uri().path();
    match path
        .strip_prefix("/apis/rogue.example.com/v1")
        .unwrap_or(path)
    {
        "" => {
            let list = json!({"kind": "APIResourceList", "resources": []}).to_string();
            answer.body(list.into())
        }
        "/elsewhere" => answer
            .status(302)
            .header(header::LOCATION, "https://localhost/secret")
            .body(Full::default()),
        "/echo" => {
            let mut seen: std::collections::BTreeMap<&str, Vec<&str>> = Default::default();
            for (name, value) in request.headers() {
                seen.entry(name.as_str())
                    .or_default()
                    .push(value.to_str().unwrap());
            }
            let answer = answer
                .header("proxy-authenticate", "Basic")
                .header("x-own", "kept");
            answer.body(json!(seen).to_string().into())
        }
        "/much" => answer.body(format!("\"{}\"", "7".repeat(8 * 1024 * 1024)).into()),
        _ => answer.status(404).body(Full::default()),
    }
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_to_no_rules_is_kept_to_them() {
    let proxies = Proxies::new();
    let front = front(&proxies).await;
    let server = Https::start(&["backend.default.svc"], |request| rogue(&request)).await;
    let object = apiservice_at("rogue.example.com", server.port, &server.ca);
    front
        .kubectl_with(&["create", "-f", "-"], &object.to_string())
        .await;
    let name = "apiservice/v1.rogue.example.com";
    front
        .kubectl(&["wait", name, "--for=condition=Available", "--timeout=60s"])
        .await;
    let base = "/apis/rogue.example.com/v1";
    let ask = async |path: &str, headers: &[(&'static str, &str)]| {
        get(
            &front,
            Some(&front.admin),
            &format!("{base}/{path}"),
            headers,
        )
        .await
    };
    let (code, answer) = ask("elsewhere", &[]).await;
    assert_eq!(code, 502);
    assert!(
        answer["message"].as_str().unwrap().contains("redirect"),
        "{answer}"
    );
    let received = [
        ("x-remote-user", "root"),
        ("x-remote-group", "all"),
        ("x-remote-extra-scopes", "all"),
        ("authorization", "Bearer secret"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("x-mine", "2"),
    ];
    let (code, seen) = ask("echo", &received).await;
    assert_eq!(code, 200);
    assert_eq!(seen["x-remote-user"], json!(["admin"]));
    assert_eq!(
        seen["x-remote-group"],
        json!(["system:masters", "system:authenticated"])
    );
    assert_eq!(seen["x-mine"], json!(["2"]));
    for stays in [
        "authorization",
        "x-hop",
        "x-remote-extra-scopes",
        "connection",
    ] {
        assert!(seen[stays].is_null(), "{stays}: {seen}");
    }
    // 8 MiB, more than any buffer on the way.
    let (code, much) = ask("much", &[]).await;
    assert_eq!(code, 200);
    assert_eq!(much.as_str().map(str::len), Some(8 * 1024 * 1024));

    let giant = |_: Request<hyper::body::Incoming>| {
        let spaces = " ".repeat(5 * 1024 * 1024);
        let list = json!({"kind": "APIResourceList", "resources": []}).to_string();
        http::Response::new(Full::from(format!("{spaces}{list}")))
    };
    let server = Https::start(&["backend.default.svc"], giant).await;
    let object = apiservice_at("giant.example.com", server.port, &server.ca);
    front
        .kubectl_with(&["create", "-f", "-"], &object.to_string())
        .await;
    eventually("its document is refused", || async {
        let condition = condition(&front, "giant.example.com").await;
        let message = condition["message"].as_str().unwrap_or_default().to_owned();
        condition["status"] == "False" && message.contains("limit")
    })
    .await;
}
