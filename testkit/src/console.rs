//! A console session over a WebSocket, in KubeVirt's protocol (`plain.kubevirt.io`).

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

const PROTOCOL: &str = "plain.kubevirt.io";
/// How much of what was read is kept: enough for a boot.
const KEPT: usize = 1 << 20;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed(pub Option<u16>);

/// An open session.
pub struct Console {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    seen: String,
}

impl Console {
    /// Opens the console of a VMI.
    ///
    /// # Errors
    /// When the server refuses: with its words.
    pub async fn open(client: &Client, namespace: &str, vmi: &str) -> Result<Self> {
        let path = format!(
            "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi}/console"
        );
        let request = Request::get(&path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
            .body(Body::empty())
            .context("making the request")?;
        let response = client.send(request).await.context("asking for a console")?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let body = response.into_body().collect_bytes().await?;
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        ensure!(
            chosen.is_some_and(|p| p == PROTOCOL),
            "the server chose the protocol {chosen:?}, not {PROTOCOL}"
        );
        let upgraded = hyper::upgrade::on(response).await.context("upgrading")?;
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(Self {
            socket,
            seen: String::new(),
        })
    }

    /// Types something.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn type_in(&mut self, text: &str) -> Result<()> {
        let message = Message::Binary(text.as_bytes().to_vec().into());
        self.socket.send(message).await.context("typing")
    }

    /// Everything read so far.
    #[must_use]
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Reads until `text` appears in what has not been looked at yet; returns what came before it.
    ///
    /// # Errors
    /// When the session ends or the bound is reached: with what was read instead.
    pub async fn expect(&mut self, text: &str, bound: Duration) -> Result<String> {
        let found = self.find(&[text], bound).await?;
        Ok(found.1)
    }

    /// Reads until one of `texts` appears; says which.
    ///
    /// # Errors
    /// As [`Console::expect`].
    pub async fn expect_one(&mut self, texts: &[&str], bound: Duration) -> Result<usize> {
        let found = self.find(texts, bound).await?;
        Ok(found.0)
    }

    /// Which of `texts` comes first, and what came before it.
    async fn find(&mut self, texts: &[&str], bound: Duration) -> Result<(usize, String)> {
        let deadline = Instant::now() + bound;
        loop {
            let first = texts
                .iter()
                .enumerate()
                .filter_map(|(i, text)| Some((self.seen.find(text)?, i, text.len())))
                .min();
            if let Some((at, which, length)) = first {
                let rest = self.seen.split_off(at + length);
                let mut before = std::mem::replace(&mut self.seen, rest);
                before.truncate(at);
                return Ok((which, before));
            }
            match timeout_at(deadline, self.read()).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(closed))) => bail!(
                    "the console ended ({closed:?}) while waiting for {texts:?}; seen: {:?}",
                    self.seen
                ),
                Ok(Err(error)) => return Err(error.context(format!("seen: {:?}", self.seen))),
                Err(_) => bail!(
                    "waited {} s for {texts:?} on the console; seen: {:?}",
                    bound.as_secs(),
                    self.seen
                ),
            }
        }
    }

    /// Reads to the end of the session.
    ///
    /// # Errors
    /// When it does not end within the bound.
    pub async fn closed(&mut self, bound: Duration) -> Result<Closed> {
        let deadline = Instant::now() + bound;
        loop {
            match timeout_at(deadline, self.read()).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(closed))) => return Ok(closed),
                Ok(Err(_)) => return Ok(Closed(None)),
                Err(_) => bail!("the console did not end within {} s", bound.as_secs()),
            }
        }
    }

    /// One message.
    async fn read(&mut self) -> Result<Option<Closed>> {
        match self.socket.next().await {
            None => return Ok(Some(Closed(None))),
            Some(message) => match message.context("reading from the console")? {
                Message::Binary(data) => self.seen.push_str(&String::from_utf8_lossy(&data)),
                Message::Text(text) => self.seen.push_str(&text),
                Message::Close(frame) => return Ok(Some(Closed(frame.map(|f| f.code.into())))),
                _ => {}
            },
        }
        if self.seen.len() > KEPT {
            let mut cut = self.seen.len() - KEPT;
            while !self.seen.is_char_boundary(cut) {
                cut += 1;
            }
            self.seen.drain(..cut);
        }
        Ok(None)
    }

    /// Logs in as root if need be, runs a command and returns its output.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn shell(&mut self, command: &str, bound: Duration) -> Result<String> {
        // The marks are computed by the guest's shell, so the echo of what is typed is not one.
        self.type_in(&format!(
            "\r\necho be$((1))gin; {command}; echo en$((1))d\r\n"
        ))
        .await?;
        self.expect("be1gin", bound).await?;
        let output = self.expect("en1d", bound).await?;
        Ok(output.replace('\r', "").trim().to_owned())
    }

    /// Logs in as root, unless a session before this one did.
    ///
    /// # Errors
    /// When neither a prompt to log in nor a shell answers.
    pub async fn log_in(&mut self, bound: Duration) -> Result<()> {
        // What was printed before is no answer to the key.
        self.seen.clear();
        self.type_in("\r").await?;
        if self.expect_one(&["tiny login: ", "# "], bound).await? == 0 {
            self.type_in("root\r").await?;
            self.expect("# ", bound).await?;
        }
        Ok(())
    }
}
