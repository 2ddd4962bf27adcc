//! Calls to whichever member of etcd answers.
//!
//! ```text
//! call ─► connection (one, shared; made when needed, to the next endpoint after a failure)
//!      ─► unary ─► answer
//!               └► failure ─► certainly not done: again, until the deadline      Unavailable
//!                             maybe done: a read again, a write not              Undecided
//!                             etcd says no: said                                 Refused, Full, Oversized
//! ```
//! Invariant: a write is sent at most once to a server that can have done it.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::grpc::{Connection, Failure, code};
use super::limits;
use super::tls::Tls;
use crate::error::StoreError;

/// Whether a call may be made again when nobody knows whether it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// It changes nothing.
    Always,
    /// It is a write.
    IfNotDone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    endpoints: Vec<Arc<Endpoint>>,
    tls: Option<Tls>,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// With its number, so that a failure of an old one does not end a new one.
    connection: Option<(u64, Connection)>,
    number: u64,
    /// Index of the endpoint to try first.
    next: usize,
}

impl Client {
    pub(super) fn new(endpoints: Vec<Endpoint>, tls: Option<Tls>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            tls,
            current: Mutex::default(),
        }
    }

    /// The current connection, or a new one. Tries every endpoint once; others wait meanwhile.
    pub(super) async fn connection(&self) -> Result<(u64, Connection), Failure> {
        let mut current = self.current.lock().await;
        if let Some((number, connection)) = &current.connection
            && !connection.is_closed()
        {
            return Ok((*number, connection.clone()));
        }
        current.connection = None;
        let mut last = Failure::NotSent("there are no endpoints".into());
        for _ in 0..self.endpoints.len() {
            let endpoint = Arc::clone(&self.endpoints[current.next % self.endpoints.len()]);
            match tokio::time::timeout(limits::CONNECT, self.dial(&endpoint)).await {
                Ok(Ok(connection)) => {
                    current.number += 1;
                    let made = (current.number, connection);
                    current.connection = Some(made.clone());
                    return Ok(made);
                }
                Ok(Err(failure)) => last = failure,
                Err(_) => {
                    let why = format!("{endpoint} did not accept a connection in time");
                    last = Failure::NotSent(why.into());
                }
            }
            current.next = (current.next + 1) % self.endpoints.len();
        }
        Err(last)
    }

    async fn dial(&self, endpoint: &Arc<Endpoint>) -> Result<Connection, Failure> {
        let tls = match (&self.tls, endpoint.https) {
            (Some(files), true) => {
                let loaded = files.load().await;
                Some(loaded.map_err(|why| Failure::NotSent(why.into()))?)
            }
            _ => None,
        };
        Connection::open(Arc::clone(endpoint), tls).await
    }

    /// Gives a connection up: the next call makes another one, to the next endpoint.
    pub(super) async fn give_up(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current
            .connection
            .as_ref()
            .is_some_and(|(n, _)| *n == number)
        {
            current.connection = None;
            current.next = (current.next + 1) % self.endpoints.len();
        }
    }

    /// Makes a call, until `patience` has passed.
    pub(super) async fn call<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
        repeat: Repeat,
        patience: Duration,
    ) -> Result<A, StoreError> {
        let deadline = Instant::now() + patience;
        let mut pause = limits::PAUSE;
        loop {
            let failure = match self.attempt(path, request, repeat, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let error = judge(&failure);
            let again = match &error {
                StoreError::Unavailable { .. } => true,
                StoreError::Undecided { .. } => repeat == Repeat::Always,
                _ => false,
            };
            if !again || Instant::now() + pause >= deadline {
                return Err(match error {
                    StoreError::Undecided { why } if repeat == Repeat::Always => {
                        StoreError::Unavailable { why }
                    }
                    error => error,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::PAUSE_MOST);
        }
    }

    async fn attempt<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<A, Failure> {
        let (number, connection) = tokio::time::timeout_at(deadline, self.connection())
            .await
            .unwrap_or_else(|_| Err(Failure::NotSent("no connection came about in time".into())))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = match repeat {
            Repeat::Always => left.min(limits::ATTEMPT.max(left / 2)),
            Repeat::IfNotDone => left,
        };
        let call = connection.unary(path, request, patience);
        let outcome = tokio::time::timeout(patience, call)
            .await
            .unwrap_or_else(|_| {
                let why = format!("{} did not answer in time", connection.endpoint());
                Err(Failure::Cut(why.into()))
            });
        if let Err(failure) = &outcome
            && !matches!(
                judge(failure),
                StoreError::Refused { .. } | StoreError::Oversized { .. } | StoreError::Full
            )
        {
            self.give_up(number).await;
        }
        outcome
    }
}

/// What a failure means for what was asked.
pub(super) fn judge(failure: &Failure) -> StoreError {
    let why: Arc<str> = failure.to_string().into();
    let Failure::Status { code, message } = failure else {
        return match failure {
            Failure::NotSent(_) => StoreError::Unavailable { why },
            _ => StoreError::Undecided { why },
        };
    };
    // etcd's errors are texts (`api/v3rpc/rpctypes/error.go`); the statuses alone do not tell them apart.
    if message.contains("database space exceeded") {
        return StoreError::Full;
    }
    // Beyond `--max-request-bytes`; beyond half a MiB more, gRPC refuses before etcd has read it.
    if message.contains("request is too large") || message.contains("message larger than max") {
        return StoreError::Oversized { why };
    }
    // Said before anything was proposed to the other members.
    if message.contains("etcdserver: no leader") || message.contains("too many requests") {
        return StoreError::Unavailable { why };
    }
    match *code {
        code::UNAVAILABLE
        | code::DEADLINE_EXCEEDED
        | code::CANCELLED
        | code::UNKNOWN
        | code::INTERNAL => StoreError::Undecided { why },
        _ => StoreError::Refused { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whether_the_write_can_have_been_done() {
        let status = |code: u32, message: &str| Failure::Status {
            code,
            message: message.into(),
        };
        for (failure, expected) in [
            (Failure::NotSent("x".into()), "Unavailable"),
            (Failure::Cut("x".into()), "Undecided"),
            (Failure::Malformed("x".into()), "Undecided"),
            (status(14, "etcdserver: no leader"), "Unavailable"),
            (status(8, "etcdserver: too many requests"), "Unavailable"),
            (status(14, "etcdserver: request timed out"), "Undecided"),
            (status(14, "etcdserver: leader changed"), "Undecided"),
            (status(4, "context deadline exceeded"), "Undecided"),
            (status(2, "etcdserver: server stopped"), "Undecided"),
            (
                status(8, "etcdserver: mvcc: database space exceeded"),
                "Full",
            ),
            (status(3, "etcdserver: request is too large"), "Oversized"),
            (
                status(8, "grpc: received message larger than max (3 vs. 2)"),
                "Oversized",
            ),
            (status(7, "etcdserver: permission denied"), "Refused"),
            (status(16, "etcdserver: invalid auth token"), "Refused"),
            (status(3, "etcdserver: user name is empty"), "Refused"),
        ] {
            let judged = format!("{:?}", judge(&failure));
            assert!(judged.starts_with(expected), "{failure:?}: {judged}");
        }
    }
}
