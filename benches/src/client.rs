//! A client that costs as little as one can: HTTP/1.1 on one TLS connection, bodies as bytes.
//!
//! What is measured is the server. A client that builds objects of what it reads takes more of the processors than
//! the server does, and both are on the same machine.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where the server is, and who we are.
#[derive(Clone)]
pub(crate) struct Server {
    authority: String,
    host: ServerName<'static>,
    tls: TlsConnector,
}

impl Server {
    /// Reads a kubeconfig.
    pub(crate) async fn of(kubeconfig: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .context("understanding the kubeconfig")?;
        let url = &config.cluster_url;
        let host = url.host().context("the server's URL has no host")?;
        let tls = config.rustls_client_config().context("setting TLS up")?;
        Ok(Self {
            authority: format!("{host}:{}", url.port_u16().unwrap_or(443)),
            host: ServerName::try_from(host.to_owned()).context("the server's name")?,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    /// Opens a connection; what it costs is over when this returns.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("connecting to {}", self.authority))?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        let stream = self.tls.connect(self.host.clone(), stream).await;
        let stream = TokioIo::new(stream.context("the TLS handshake")?);
        let (sender, connection) = handshake(stream).await.context("beginning HTTP")?;
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            authority: self.authority.clone(),
        })
    }

    /// Opens so many connections.
    pub(crate) async fn connections(&self, count: usize) -> Result<Vec<Connection>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.connect().await?);
        }
        Ok(all)
    }
}

/// A connection; one request at a time.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        media: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, media)
            .body(Full::new(body))
            .context("making a request")?;
        self.sender.ready().await.context("the connection ended")?;
        let response = self.sender.send_request(request).await;
        let response = response.with_context(|| format!("{method} {path}"))?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!(
                "{method} {path}: {status}: {}",
                String::from_utf8_lossy(&text)
            );
        }
        Ok(response)
    }

    /// Sends a request and reads the answer; returns how long its body was.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        media: &str,
        body: Bytes,
    ) -> Result<usize> {
        let mut body = self.send(method, path, media, body).await?.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame
                .context("reading an answer")?
                .data_ref()
                .map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// Creates an object.
    pub(crate) async fn create(&mut self, path: &str, object: Bytes) -> Result<()> {
        let length = self.ask(Method::POST, path, JSON, object).await?;
        ensure!(length > 0, "POST {path}: an empty answer");
        Ok(())
    }

    /// Reads something; returns its length.
    pub(crate) async fn get(&mut self, path: &str) -> Result<usize> {
        self.ask(Method::GET, path, JSON, Bytes::new()).await
    }

    /// Deletes something.
    pub(crate) async fn remove(&mut self, path: &str) -> Result<()> {
        self.ask(Method::DELETE, path, JSON, Bytes::new())
            .await
            .map(|_| ())
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn merge(&mut self, path: &str, patch: Bytes) -> Result<()> {
        self.ask(Method::PATCH, path, "application/merge-patch+json", patch)
            .await
            .map(|_| ())
    }
}

const JSON: &str = "application/json";
