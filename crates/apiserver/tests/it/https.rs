//! A small HTTPS server on loopback, with a CA of its own: what others run.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pki::Authority;
use tokio_util::sync::CancellationToken;

/// Ends when it is dropped.
pub struct Https {
    pub port: u16,
    /// PEM.
    pub ca: String,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for Https {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Https {
    pub async fn start(
        names: &[&str],
        answer: impl Fn(Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = authority.issue_server(&names, &[loopback], Duration::from_secs(3600));
        let (chain, key) = pair.unwrap().parse().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = tokio::net::TcpListener::bind((loopback, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(move |request| {
                        let answer = answer(request);
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
        let ca = authority.ca_pem().to_owned();
        Https {
            port,
            ca,
            stop,
            _dir: dir,
        }
    }
}
