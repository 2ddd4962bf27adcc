//! `launcher.sock`: connections to requests. Policy is the loop's; here are only lines and bounds.

use std::io;
use std::sync::Arc;

use launcher_api::line::{self, LineError};
use launcher_api::{LauncherState, Refusal, RefusalReason, Reply, Request, SOCKET};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::console::Session;
use crate::limits;

const REQUEST_BYTES: usize = launcher_api::limits::REQUEST_BYTES;
const STATE_BYTES: usize = launcher_api::limits::STATE_BYTES;

/// A request on its way to the loop.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub request: Request,
    pub answer: oneshot::Sender<Answer>,
}

/// The loop's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub reply: Reply,
    /// For `Console`, when accepted: where to hand the connection in.
    pub console: Option<mpsc::Sender<Session>>,
}

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Server {
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Server {
    /// Listens in the working directory, for the same user and root only.
    pub(crate) fn listen(
        inbox: mpsc::Sender<Inbound>,
        states: watch::Receiver<Arc<LauncherState>>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(SOCKET);
        rustix::process::umask(mask);
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(listener?, connections.clone(), inbox, states));
        Ok(Self {
            accepting,
            connections,
        })
    }

    /// Takes no more connections and lets those that are there have the last state.
    pub(crate) async fn farewell(self) {
        self.accepting.abort();
        self.connections.close();
        if timeout(limits::FAREWELL, self.connections.wait())
            .await
            .is_err()
        {
            tracing::debug!("a connection did not take the last state");
        }
        let _ = std::fs::remove_file(SOCKET);
    }
}

async fn accept(
    listener: UnixListener,
    connections: TaskTracker,
    inbox: mpsc::Sender<Inbound>,
    states: watch::Receiver<Arc<LauncherState>>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, for example: connections that end will free some.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(limits::CONNECT_AGAIN).await;
                continue;
            }
        };
        if connections.len() >= limits::CONNECTIONS {
            tokio::spawn(turn_away(stream));
            continue;
        }
        connections.spawn(serve(stream, inbox.clone(), states.clone()));
    }
}

async fn turn_away(mut stream: UnixStream) {
    let message = format!(
        "the launcher serves {} connections already",
        limits::CONNECTIONS
    );
    let refusal = Reply::Refused(Refusal {
        reason: RefusalReason::Busy,
        message,
    });
    let _ = timeout(
        limits::FAREWELL,
        line::write(&mut stream, &refusal, STATE_BYTES),
    )
    .await;
}

async fn serve(
    stream: UnixStream,
    inbox: mpsc::Sender<Inbound>,
    mut states: watch::Receiver<Arc<LauncherState>>,
) {
    let mut stream = BufReader::with_capacity(1024, stream);
    loop {
        let mut ended = states.clone();
        let request = tokio::select! {
            request = line::read::<Request, _>(&mut stream, REQUEST_BYTES) => request,
            _ = ended.wait_for(|state| state.phase.is_ended()) => return,
        };
        let served = match request {
            Ok(None) | Err(LineError::Io(_) | LineError::Truncated) => return,
            Ok(Some(Request::Watch)) => {
                watch(&mut stream, &mut states).await;
                return;
            }
            Ok(Some(Request::Console)) => {
                console(stream, &inbox).await;
                return;
            }
            Ok(Some(request)) => match ask(&inbox, request).await {
                Some(answer) => line::write(stream.get_mut(), &answer.reply, STATE_BYTES)
                    .await
                    .is_ok(),
                None => false,
            },
            Err(error) => {
                let message = crate::directory::causes(&error);
                let refusal = Reply::Refused(Refusal {
                    reason: RefusalReason::Invalid,
                    message,
                });
                let written = line::write(stream.get_mut(), &refusal, STATE_BYTES)
                    .await
                    .is_ok();
                written && matches!(error, LineError::Json(_))
            }
        };
        if !served {
            return;
        }
    }
}

/// `None` when the loop has ended.
async fn ask(inbox: &mpsc::Sender<Inbound>, request: Request) -> Option<Answer> {
    let (answer, answered) = oneshot::channel();
    inbox.send(Inbound { request, answer }).await.ok()?;
    answered.await.ok()
}

/// Sends the present state, then every newer one, until the machine ended or the client is gone.
async fn watch(
    stream: &mut BufReader<UnixStream>,
    states: &mut watch::Receiver<Arc<LauncherState>>,
) {
    let mut first = true;
    loop {
        let state = states.borrow_and_update().clone();
        let ended = state.phase.is_ended();
        let written = if first {
            line::write(
                stream.get_mut(),
                &Reply::State(Box::new((*state).clone())),
                STATE_BYTES,
            )
            .await
        } else {
            line::write(stream.get_mut(), &*state, STATE_BYTES).await
        };
        if written.is_err() || (ended && !first) {
            return;
        }
        first = false;
        if ended {
            continue;
        }
        let mut byte = [0];
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            // A watcher says nothing more; what comes is its end.
            _ = stream.read(&mut byte) => return,
        }
    }
}

async fn console(mut stream: BufReader<UnixStream>, inbox: &mpsc::Sender<Inbound>) {
    let Some(Answer { reply, console }) = ask(inbox, Request::Console).await else {
        return;
    };
    if line::write(stream.get_mut(), &reply, STATE_BYTES)
        .await
        .is_err()
    {
        return;
    }
    if let Some(console) = console {
        let typed = stream.buffer().to_vec();
        // A port that closed meanwhile drops the session: its end of stream.
        let _ = console
            .send(Session {
                stream: stream.into_inner(),
                typed,
            })
            .await;
    }
}
