//! The reference of API requests: Debian's etcd doing bare puts, over gRPC, on the same device.
//!
//! A put is one unary call of `etcdserverpb.KV`; its message has two fields, so it is written here by hand.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::sleep;

const READY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// A running etcd with a data directory of its own. Dropped, it is gone.
pub(crate) struct Etcd {
    child: Child,
    port: u16,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr().context("finding a free port")?.port())
}

/// How many calls etcd has answered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Calls {
    pub(crate) txn: f64,
    pub(crate) range: f64,
}

impl Calls {
    /// Reads etcd's metrics, in the text format of Prometheus.
    fn parse(text: &str) -> Self {
        let of = |method: &str| {
            let method = format!("grpc_method=\"{method}\"");
            text.lines()
                .filter(|l| l.starts_with("grpc_server_started_total{") && l.contains(&method))
                .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        Self {
            txn: of("Txn"),
            range: of("Range"),
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            txn: self.txn - before.txn,
            range: self.range - before.range,
        }
    }
}

impl Etcd {
    /// Starts one and waits until it answers.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        start(dir).await
    }

    /// Its URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has answered so far.
    pub(crate) async fn calls(&self) -> Result<Calls> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .await
            .context("connecting to etcd's metrics")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("beginning HTTP with etcd")?;
        tokio::spawn(connection);
        let request = Request::get("/metrics")
            .header("host", "etcd")
            .body(Full::new(Bytes::new()))
            .context("making a request of etcd")?;
        let answer = sender.send_request(request).await;
        let answer = answer.context("asking for etcd's metrics")?;
        let body = answer.into_body().collect().await;
        let body = body.context("reading etcd's metrics")?.to_bytes();
        Ok(Calls::parse(&String::from_utf8_lossy(&body)))
    }

    /// Puts a second of so many clients, each with a connection of its own, of values with so many bytes; keys are of
    /// this `round`.
    pub(crate) async fn puts_per_second(
        &self,
        round: &str,
        clients: usize,
        bytes: usize,
        duration: Duration,
    ) -> Result<f64> {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(connect(self.port).await?);
        }
        let value = vec![b'v'; bytes];
        let begun = Instant::now();
        let all = connections
            .into_iter()
            .enumerate()
            .map(async |(n, mut connection)| {
                let mut count = 0_u32;
                while begun.elapsed() < duration {
                    let key = format!("/bench/{round}/c{n}-{count}");
                    put(&mut connection, &key, &value).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            });
        let total: u32 = try_join_all(all).await?.into_iter().sum();
        Ok(f64::from(total) / begun.elapsed().as_secs_f64())
    }
}

async fn start(dir: &Path) -> Result<Etcd> {
    let (port, peer) = (free_port()?, free_port()?);
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer}");
    let log = std::fs::File::create(dir.join("etcd.log")).context("making etcd's log")?;
    let child = Command::new("etcd")
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting etcd (Debian's etcd-server)")?;
    let mut etcd = Etcd { child, port };
    let until = Instant::now() + READY;
    loop {
        if let Ok(mut connection) = connect(port).await
            && put(&mut connection, "ready", b"").await.is_ok()
        {
            return Ok(etcd);
        }
        if let Some(status) = etcd.child.try_wait().context("waiting for etcd")? {
            bail!("etcd ended with {status}");
        }
        ensure!(Instant::now() < until, "etcd does not answer");
        sleep(LOOK).await;
    }
}

async fn connect(port: u16) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .context("connecting to etcd")?;
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .context("beginning HTTP/2 with etcd")?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A length-delimited field of protobuf.
fn field(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(value);
}

async fn put(connection: &mut SendRequest<Full<Bytes>>, key: &str, value: &[u8]) -> Result<()> {
    let mut message = Vec::with_capacity(value.len() + key.len() + 16);
    field(1, key.as_bytes(), &mut message);
    field(2, value, &mut message);
    let length = u32::try_from(message.len()).context("the message's length")?;
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&message);
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://etcd/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(frame)))
        .context("making a request of etcd")?;
    connection.ready().await.context("etcd's connection")?;
    let answer = connection.send_request(request).await.context("putting")?;
    let early = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.context("putting")?;
    let status = early.or_else(|| body.trailers()?.get("grpc-status").cloned());
    ensure!(
        status.as_ref().is_some_and(|s| s == "0"),
        "etcd refused a put: {status:?}"
    );
    Ok(())
}

/// Puts a second into an etcd of its own.
pub(crate) async fn puts_per_second(
    dir: &Path,
    clients: usize,
    bytes: usize,
    duration: Duration,
) -> Result<f64> {
    let dir = tempfile::tempdir_in(dir).context("making a directory for etcd")?;
    let etcd = start(dir.path()).await?;
    etcd.puts_per_second("alone", clients, bytes, duration)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method() {
        let text = "# HELP x\n\
            grpc_server_started_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 7\n\
            grpc_server_started_total{grpc_method=\"RangeStream\",grpc_service=\"x\",grpc_type=\"unary\"} 100\n\
            grpc_server_started_total{grpc_method=\"Txn\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1e+03\n";
        let calls = Calls::parse(text);
        let expected = Calls {
            txn: 1000.0,
            range: 7.0,
        };
        assert_eq!(calls, expected);
        assert_eq!(calls.since(&expected), Calls::default());
    }

    #[test]
    fn fields_are_those_of_protobuf() {
        let mut out = Vec::new();
        field(1, b"key", &mut out);
        field(2, &[b'v'; 300], &mut out);
        assert_eq!(out[..5], *b"\x0a\x03key");
        assert_eq!(out[5..8], [0x12, 0xac, 0x02]);
        assert_eq!(out.len(), 308);
    }
}
