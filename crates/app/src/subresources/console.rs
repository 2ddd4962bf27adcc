//! `virtualmachineinstances/console`: the guest's first serial port over a WebSocket, in KubeVirt's
//! protocol: `plain.kubevirt.io`, binary messages both ways.

use std::path::PathBuf;

use api::kubevirt::{VirtualMachineInstance as Vmi, VmiPhase};
use apimachinery::status::ApiError;
use apiserver::{Message, Response, Subresource, SubresourceRequest, WebSocket};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tracing::debug;

use super::{conflict, object, typed};

const PROTOCOL: &str = "plain.kubevirt.io";
/// One read of the serial port.
const CHUNK: usize = 4096;
/// Close codes of RFC 6455.
const NORMAL: u16 = 1000;

pub(super) struct Console {
    pods_dir: PathBuf,
}

impl Console {
    pub(super) fn new(pods_dir: PathBuf) -> Self {
        Self { pods_dir }
    }
}

/// The launcher's directory of a VMI that runs.
pub(super) fn launcher_dir(pods_dir: &std::path::Path, vmi: &Vmi) -> Result<PathBuf, ApiError> {
    let name = vmi.metadata.name.as_deref().unwrap_or_default();
    let status = vmi.status.as_ref();
    if status.and_then(|s| s.phase) != Some(VmiPhase::Running) {
        let phase = status
            .and_then(|s| s.phase)
            .map_or("Pending", VmiPhase::as_str);
        let why = format!("VMI is not running (phase {phase})");
        return Err(conflict("virtualmachineinstances", name, &why));
    }
    let pod = status.and_then(|s| s.active_pods.keys().next());
    let pod = pod.filter(|uid| node::is_plain(uid)).ok_or_else(|| {
        conflict(
            "virtualmachineinstances",
            name,
            "the VMI has no launcher Pod",
        )
    })?;
    Ok(pods_dir.join(pod).join("work"))
}

#[async_trait]
impl Subresource for Console {
    async fn call(&self, mut request: SubresourceRequest) -> Result<Response, ApiError> {
        let (reader, info) = (request.reader.clone(), request.info.clone());
        let value = object(&reader, &info, "kubevirt.io", "virtualmachineinstances").await?;
        let vmi: Vmi = typed(value)?;
        let devices = &vmi.spec.domain.devices;
        if devices.autoattach_serial_console == Some(false) {
            return Err(ApiError::bad_request(
                "No serial consoles are present: spec.domain.devices.autoattachSerialConsole is false",
            ));
        }
        let dir = launcher_dir(&self.pods_dir, &vmi)?;
        // Before the launcher is asked: a new session takes the console from the old one.
        if !request.is_websocket() {
            return Err(ApiError::bad_request(
                "the console is a WebSocket: the request does not ask for one",
            ));
        }
        let serial = launcher_api::console(&dir).await.map_err(|e| {
            ApiError::service_unavailable(format!("connecting to the launcher: {e}"))
        })?;
        let (response, socket) = request.websocket(&[PROTOCOL])?;
        tokio::spawn(async move {
            match socket.await {
                Ok(socket) => splice(socket, serial).await,
                Err(error) => debug!(%error, "a console's handshake was not completed"),
            }
        });
        Ok(response)
    }
}

/// Copies both ways until either side ends.
async fn splice(socket: WebSocket, serial: UnixStream) {
    let (mut from_client, mut to_client) = socket.split();
    let (mut from_guest, mut to_guest) = serial.into_split();
    let out = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = from_guest.read(&mut buffer).await.unwrap_or(0);
            let Some(data) = buffer.get(..n).filter(|d| !d.is_empty()) else {
                break;
            };
            let message = Message::Binary(Bytes::copy_from_slice(data));
            if to_client.send(message).await.is_err() {
                return;
            }
        }
        // The guest has ended, or another session has taken the console over.
        let _ = to_client.close(NORMAL, "the console was closed").await;
    };
    let inward = async {
        while let Ok(Some(message)) = from_client.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::from(text),
            };
            if to_guest.write_all(&data).await.is_err() {
                // The way out says why: it ends as well.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = inward => {}
    }
}
