//! HTTP over TLS without a client library in between: for what libraries never do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::harness::Server;

pub type Body = BoxBody<Bytes, std::io::Error>;

/// Tokens of three users without any special group; the first is the greedy one.
pub const TOKENS: &str = "greedy-token,greedy,1,clients\nmodest-token,modest,2,clients\nadmin-token,root,3,\"system:masters\"\n";

/// A server whose users `greedy` and `modest` may do everything, without being exempt from anything.
pub async fn server_with(change: impl FnOnce(&mut ferrovirt_apiserver::Config)) -> Server {
    let server = Server::with(|config| {
        config.static_tokens = ferrovirt_apiserver::parse_token_file(TOKENS).unwrap();
        change(config);
    })
    .await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let mut admin = Client::new(&server, "admin-token").await;
    let answer = admin
        .ask(
            Method::POST,
            bindings,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "clients"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "clients"}],
            }),
        )
        .await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    server
}

/// A TLS connection; `window` bounds what the kernel takes for a client that does not read.
pub async fn connect(server: &Server, protocol: &str, window: Option<u32>) -> TlsStream<TcpStream> {
    let mut tls = server.authority.client_config(None).unwrap();
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(window) = window {
        socket.set_recv_buffer_size(window).unwrap();
    }
    let stream = socket.connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed()
}

pub fn request(token: &str, method: Method, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body).unwrap()
}

/// One connection, HTTP/1.1.
pub struct Client {
    token: String,
    sender: http1::SendRequest<Body>,
}

impl Client {
    pub async fn new(server: &Server, token: &str) -> Self {
        let stream = connect(server, "http/1.1", None).await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client {
            token: token.to_owned(),
            sender,
        }
    }

    pub async fn send(&mut self, request: Request<Body>) -> http::Response<Incoming> {
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let request = request(&self.token, Method::GET, path, full(""));
        let response = self.send(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub async fn ask(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => full(""),
            body => full(body.to_string()),
        };
        let response = self.send(request(&self.token, method, path, body)).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// A request whose body is announced and does not come.
pub fn announce(token: &str, path: &str, bytes: usize) -> Request<Body> {
    let frames = futures_util::stream::pending::<std::io::Result<http_body::Frame<Bytes>>>();
    let body = BoxBody::new(StreamBody::new(frames));
    let mut request = request(token, Method::POST, path, body);
    let length = bytes.to_string().parse().unwrap();
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    request
}

/// One connection, HTTP/2.
pub async fn http2(server: &Server) -> http2::SendRequest<Body> {
    let stream = connect(server, "h2", None).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// The value of a sample of `/metrics`, whose line begins with `name`.
pub async fn metric(client: &mut Client, name: &str) -> f64 {
    let (status, text) = client.get("/metrics").await;
    assert_eq!(status, 200);
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The time that 99 of 100 stay below.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() * 99).div_ceil(100) - 1]
}
