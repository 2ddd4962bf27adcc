//! A webhook on loopback, with a certificate of the server's authority; by URL, and behind a Service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::harness::Server;

/// The name in its certificate, beside the address.
const SERVICE: &str = "hook.default.svc";

pub struct Hook {
    pub url: String,
    port: u16,
    /// As in `caBundle`.
    pub ca: String,
    /// The reviews that came, in their order.
    calls: Arc<Mutex<Vec<Value>>>,
    /// Path and query, and `Host`, of the last one.
    asked: Arc<Mutex<(String, String)>>,
    _stop: DropGuard,
}

impl Hook {
    /// Answers every review with what `answer` makes of it.
    pub async fn start(
        server: &Server,
        answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
        let pair = server
            .authority
            .issue_server(
                &[SERVICE.to_owned()],
                &[loopback],
                Duration::from_secs(3600),
            )
            .unwrap();
        let tls = server.authority.server_config(&pair).unwrap();
        let listener = tokio::net::TcpListener::bind((loopback, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("https://127.0.0.1:{port}/convert");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(Mutex::new((String::new(), String::new())));
        let stop = CancellationToken::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let (seen, answer, stopped) = (Arc::clone(&calls), Arc::new(answer), stop.clone());
        let last = Arc::clone(&asked);
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let (answer, last) = (Arc::clone(&answer), Arc::clone(&last));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service =
                        service_fn(move |request: http::Request<hyper::body::Incoming>| {
                            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                            *last.lock().unwrap() = (
                                request.uri().to_string(),
                                request.headers()["host"].to_str().unwrap().to_owned(),
                            );
                            async move {
                                let body = request.into_body().collect().await?.to_bytes();
                                let review: Value = serde_json::from_slice(&body).unwrap();
                                let reply = answer(&review).to_string();
                                seen.lock().unwrap().push(review);
                                Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(
                                    reply,
                                ))))
                            }
                        });
                    // The server keeps connections; how one ends is of no interest.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        }));
        Hook {
            url,
            port,
            asked,
            ca: base64::engine::general_purpose::STANDARD.encode(server.authority.ca_pem()),
            calls,
            _stop: stop.drop_guard(),
        }
    }

    /// A `clientConfig` that leads to it through the Service `name`, made here, which resolves to this host.
    pub async fn behind(&self, server: &Server, name: &str, path: &str) -> Value {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "ExternalName", "externalName": "localhost"}});
        let services = "/api/v1/namespaces/default/services";
        server.post(services, &service).await.expect(201);
        json!({"caBundle": self.ca, "service":
            {"namespace": "default", "name": name, "port": self.port, "path": path}})
    }

    /// Where the last review was sent: path with query, and host.
    pub fn asked(&self) -> (String, String) {
        self.asked.lock().unwrap().clone()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The reviews since the last time.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}
