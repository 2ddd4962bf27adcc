//! `console`: the guest's serial port, over a WebSocket in KubeVirt's protocol.
//!
//! ```text
//!   wait for phase Running (bounded, with reasons) ─► upgrade ─► raw mode ─┬─ standard input ─► messages
//!                                                                          └─ messages ─► standard output
//! ```
//!
//! Only the guest's bytes go to standard output. Ctrl+] ends the session on a terminal and in a pipe
//! alike. The end of standard input does not: `console vm1 </dev/null` shows what the guest writes.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::catalog::{Catalog, encode};
use crate::error::Error;
use crate::limits::REFUSAL_BYTES;
use crate::power::{Machine, path};
use crate::progress::{Display, follow};
use crate::session::Session;
use crate::terminal::RawMode;
use crate::until::{Until, Waited, gist, reason, until};

const PROTOCOL: &str = "plain.kubevirt.io";
/// Ctrl+], which is also Ctrl+5.
const ESCAPE: u8 = 0x1d;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Options of `console`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt console vm1\n  ferrovirt console vm1 --timeout 10\n  ferrovirt console vm1 </dev/null | tee vm1.log\n\nCtrl+] (or Ctrl+5) ends the session. A new session takes the console over from an older one."
)]
pub struct ConsoleOptions {
    /// The virtual machine
    name: String,
    /// Minutes to wait for it to run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=10_080), value_name = "MINUTES")]
    timeout: u64,
}

/// How a session ended.
#[derive(Debug, PartialEq)]
enum Ended {
    /// By Ctrl+] or a signal.
    ByUser,
    /// By the other side, with what it said.
    ByServer(String),
}

/// Does `console`.
pub(crate) async fn run(session: &Session, options: &ConsoleOptions) -> Result<(), Error> {
    let name = options
        .name
        .strip_prefix("vmi/")
        .or_else(|| options.name.strip_prefix("vm/"))
        .unwrap_or(&options.name);
    running(session, name, Duration::from_secs(options.timeout * 60)).await?;
    let socket = connect(session, name).await?;
    eprintln!("Successfully connected to {name} console. Press Ctrl+] or Ctrl+5 to exit console.");
    let ended = {
        let _raw = RawMode::enter().map_err(Error::io("setting the terminal to raw mode"))?;
        pump(socket).await?
    };
    let Ended::ByServer(said) = ended else {
        eprintln!();
        return Ok(());
    };
    let said = if said.is_empty() {
        "the connection broke"
    } else {
        &said
    };
    eprintln!("\nYou were disconnected from the console: {said}.");
    let vmi = vmi_path(session, name);
    let now = session.get("asking for the state of the VMI", &vmi).await;
    let running = |v: &Value| v.pointer("/status/phase").is_some_and(|p| p == "Running");
    match now {
        Ok(vmi) if running(&vmi) => Err(Error::Refused(format!(
            "{name} is still running: another session has taken its console over, or the network failed"
        ))),
        Ok(vmi) => {
            eprintln!("{name}: {}", reason(&vmi, &Until::Created));
            Ok(())
        }
        Err(error) if error.is_not_found() => {
            eprintln!("{name} was stopped.");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn vmi_path(session: &Session, name: &str) -> String {
    format!(
        "/apis/kubevirt.io/v1/namespaces/{}/virtualmachineinstances/{}",
        encode(&session.namespace),
        encode(name)
    )
}

/// Waits until the VMI runs, saying what it waits for; fails at once where there is nothing to wait for.
async fn running(session: &Session, name: &str, timeout: Duration) -> Result<(), Error> {
    let doing = format!("connecting to the console of {name}");
    let state = "jsonpath={.status.phase}=Running";
    let state: Until = state.parse().map_err(Error::Refused)?;
    let vmi = session.get(&doing, &vmi_path(session, name)).await;
    match vmi {
        Ok(vmi) if state.is_met(Some(&vmi)) => return Ok(()),
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let catalog = Catalog::fetch(session).await?;
    let vms = catalog.by_type("virtualmachines.kubevirt.io")?;
    let vm = session
        .get(&doing, &vms.object(&session.namespace, name))
        .await;
    let (resource, state) = match (vm, vmi) {
        // The VM's status is what tells reasons; it is ready or at least running when its instance is.
        (Ok(_), _) => {
            let state = "jsonpath={.status.printableStatus}=Running";
            (vms, state.parse().map_err(Error::Refused)?)
        }
        (Err(error), Ok(_)) if error.is_not_found() => (
            catalog.by_type("virtualmachineinstances.kubevirt.io")?,
            state,
        ),
        (Err(error), _) => return Err(error),
    };
    let display = Display::new();
    let mut said = String::new();
    let mut seen = |object: &Value| {
        display.learn(resource, object);
        let mut now = reason(object, &state);
        if object
            .pointer("/status/printableStatus")
            .is_some_and(|s| s == "Stopped")
        {
            now.push_str(&format!(" (start it with `ferrovirt start {name}`)"));
        }
        if gist(&now) != said && !state.is_met(Some(object)) {
            display.say(&format!("Waiting for {name} to run: {now}"));
            said = gist(&now);
        }
    };
    let place = (session.namespace.as_str(), name);
    let waited = tokio::select! {
        waited = until(session, resource, place, &state, timeout, &mut seen) => waited?,
        () = follow(session, &session.namespace, &display) => return Ok(()),
    };
    display.finish();
    match waited {
        Waited::Met => Ok(()),
        Waited::TimedOut { last } => Err(Error::Refused(format!(
            "{doing}: it does not run after {} minutes: {}",
            timeout.as_secs() / 60,
            last.unwrap_or_default()
        ))),
        Waited::Absent | Waited::Vanished => {
            Err(Error::Refused(format!("{doing}: it was deleted meanwhile")))
        }
    }
}

/// Upgrades to a WebSocket with KubeVirt's subprotocol (kube's own `connect` knows only those of exec).
async fn connect(session: &Session, name: &str) -> Result<Socket, Error> {
    let doing = format!("connecting to the console of {name}");
    let key = generate_key();
    let request = Request::get(path(Machine::Vmi, &session.namespace, name, "console"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Body::empty())
        .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
    let response = session.client.send(request).await;
    let response = response.map_err(session.failed(doing.clone()))?;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), REFUSAL_BYTES)
            .collect()
            .await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        return Err(match serde_json::from_slice(&body) {
            Ok(status) => session.failed(doing)(kube::Error::Api(Box::new(status))),
            Err(_) => Error::Refused(format!(
                "{doing}: the server answered {code}: {}",
                crate::output::visible(&String::from_utf8_lossy(&body))
            )),
        });
    }
    let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Error::Refused(format!(
            "{doing}: the server's handshake is wrong (RFC 6455, 4.1)"
        )));
    }
    if header(SEC_WEBSOCKET_PROTOCOL).is_some_and(|p| p != PROTOCOL) {
        return Err(Error::Refused(format!(
            "{doing}: the server does not speak {PROTOCOL}"
        )));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

/// What to send of a piece of input, and whether the session ends after it.
fn until_escape(input: &[u8]) -> (&[u8], bool) {
    match input.iter().position(|b| *b == ESCAPE) {
        Some(at) => (input.get(..at).unwrap_or_default(), true),
        None => (input, false),
    }
}

/// Standard input, piece by piece. Its reads cannot be cancelled, so a thread that nobody waits for has them.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = stdin.read(&mut buffer) {
            let piece = buffer.get(..n).unwrap_or_default().to_vec();
            if send.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    receive
}

async fn pump(mut socket: Socket) -> Result<Ended, Error> {
    let watch = |kind| signal(kind).map_err(Error::io("watching for signals"));
    let mut terminated = watch(SignalKind::terminate())?;
    let mut hung_up = watch(SignalKind::hangup())?;
    let mut interrupted = watch(SignalKind::interrupt())?;
    let mut input = input();
    let mut more = true;
    let ended = loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(data))) => show(&data)?,
                Some(Ok(Message::Text(text))) => show(text.as_bytes())?,
                Some(Ok(Message::Close(frame))) => {
                    break Ended::ByServer(frame.map(|f| f.reason.to_string()).unwrap_or_default());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Ended::ByServer(error.to_string()),
                None => break Ended::ByServer(String::new()),
            },
            piece = input.recv(), if more => {
                let Some(piece) = piece else {
                    more = false;
                    continue;
                };
                let (data, escaped) = until_escape(&piece);
                if !data.is_empty() && let Err(error) = socket.send(Message::binary(data.to_vec())).await {
                    break Ended::ByServer(error.to_string());
                }
                if escaped {
                    break Ended::ByUser;
                }
            }
            _ = terminated.recv() => break Ended::ByUser,
            _ = hung_up.recv() => break Ended::ByUser,
            _ = interrupted.recv() => break Ended::ByUser,
        }
    };
    if ended == Ended::ByUser {
        // The other side learns it from the close or from the connection's end.
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
    }
    Ok(ended)
}

fn show(data: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(data)
        .and_then(|()| out.flush())
        .map_err(Error::io("writing to standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_before_the_escape_is_sent() {
        assert_eq!(until_escape(b"ls\r"), (&b"ls\r"[..], false));
        assert_eq!(until_escape(b"ab\x1dcd"), (&b"ab"[..], true));
        assert_eq!(until_escape(b"\x1d"), (&b""[..], true));
    }
}
