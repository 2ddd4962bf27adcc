//! The store in etcd: several servers over one database, none of which is special.
//!
//! ```text
//! get, list ──► current: what is the newest commit? ──► wait for the mirror to have it ──► answer from memory
//!   ..._since ─────────────────────────────────────────────────────────────────────────────► answer from memory
//! commit ─────► one transaction that compares mod_revision ──► wait for the mirror ──► receipt
//! watch ──────► feed of the mirror
//!               mirror ◄── one watch of the whole prefix
//!               compactor: now and then
//! ```
//! A revision is etcd's `mod_revision`. What a read costs etcd is one look at one small key, shared by all readers of the
//! moment; lists, watches and histories cost it nothing. Where things are is in `keys.rs`.
//!
//! When a member fails, another endpoint is tried. When none answers, reads and writes wait a bounded time
//! (seconds) and fail with [`StoreError::Unavailable`]; a write that was under way fails with [`StoreError::Undecided`].
//! The mirror goes on from where it was. It never answers for etcd.
//!
//! Needs etcd 3.4 or newer. Its `--max-request-bytes` (1.5 MiB) is a smaller bound of a value than ours, and is said by
//! [`StoreError::Oversized`].

mod client;
mod commit;
mod compactor;
mod current;
mod endpoint;
mod grpc;
mod keys;
mod limits;
mod mirror;
mod position;
mod proto;
#[cfg(any(test, feature = "conformance"))]
pub mod server;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::committer::check_size;
use crate::contract::Store;
use crate::error::{OpenError, StoreError};
use crate::feed::Undo;
use crate::model::{Committed, Entry, ListRequest, Listing, Precondition, Revision, Write};
use crate::retention::Retention;
use crate::watch::Watch;
use client::{Client, Repeat};
use current::Current;
use endpoint::Endpoint;
use keys::Keys;
use mirror::Mirror;
use proto::{Compare, CompareResult, CompareTarget, PutRequest, Request, RequestOp, path};
use proto::{TxnRequest, TxnResponse};
pub use tls::Tls;

/// Where etcd is, and how it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// URLs of the members for clients, `http[s]://host[:port]`. Another one is tried when one fails.
    pub endpoints: Vec<String>,
    /// For `https` URLs.
    pub tls: Option<Tls>,
    /// Below which all keys are: a path such as `/ferrovirt`. All servers of one control plane have the same.
    pub prefix: String,
    /// How much history is kept in memory.
    pub retention: Retention,
    /// The period of compaction: etcd keeps its history for one to two of them.
    pub compact_every: Duration,
    /// How long to wait for etcd at the start.
    pub patience: Duration,
}

impl Options {
    /// The defaults: five minutes of history in etcd.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            prefix: "/ferrovirt".to_owned(),
            retention: Retention::default(),
            compact_every: Duration::from_secs(300),
            patience: limits::OPEN,
        }
    }
}

/// A store in etcd; see the module. Dropping it ends its watches.
pub struct EtcdStore {
    client: Arc<Client>,
    keys: Keys,
    mirror: Arc<Mirror>,
    current: Current,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("position", &self.mirror.position())
            .finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects to etcd, reads the state, and follows it from then on. Waits for etcd at most [`Options::patience`],
    /// and as long as reading takes.
    ///
    /// # Errors
    /// [`OpenError::Options`] if they make no sense, [`OpenError::Unreachable`] if etcd does not answer or refuses.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let (endpoints, keys) = check(&options)?;
        let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        let client = Arc::new(Client::new(endpoints, options.tls.clone()));
        let deadline = Instant::now() + options.patience;
        let mut waiting = false;
        loop {
            let error = match Self::start(&client, &keys, &options).await {
                Ok(store) => return Ok(store),
                Err(error) => error,
            };
            let again = matches!(
                error,
                StoreError::Unavailable { .. } | StoreError::Undecided { .. }
            );
            if !again || Instant::now() >= deadline {
                return Err(OpenError::Unreachable {
                    endpoints: names.join(", "),
                    why: error.to_string().into(),
                });
            }
            if !waiting {
                waiting = true;
                tracing::info!(%error, "waiting for etcd");
            }
            tokio::time::sleep(limits::PAUSE_MOST).await;
        }
    }

    async fn start(
        client: &Arc<Client>,
        keys: &Keys,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let floor = prepare(client, keys).await?;
        let newest = current::ask(client, keys).await?;
        let (c, k) = (|| Arc::clone(client), || keys.clone());
        let mirror = Mirror::load(c(), k(), options.retention, newest, floor).await?;
        let mirror = Arc::new(mirror);
        let mut tasks = JoinSet::new();
        let (current, serve) = Current::new(c(), k(), Arc::clone(&mirror));
        tasks.spawn(serve);
        let follower = Arc::clone(&mirror);
        tasks.spawn(async move { follower.follow().await });
        let compactor = compactor::run(c(), k(), Arc::clone(&mirror), options.compact_every);
        tasks.spawn(compactor);
        let store = Self {
            client: c(),
            keys: k(),
            mirror,
            current,
            _tasks: tasks,
        };
        store.show(newest.last).await?;
        Ok(store)
    }

    /// Waits for the mirror.
    async fn show(&self, revision: Revision) -> Result<(), StoreError> {
        if self.mirror.position() >= revision || self.mirror.reach(revision, limits::READ).await {
            return Ok(());
        }
        let why = format!("the changes up to revision {revision} did not come in time");
        Err(StoreError::Unavailable { why: why.into() })
    }

    /// Waits until the mirror has every commit acknowledged by now.
    async fn refresh(&self) -> Result<(), StoreError> {
        let newest = self.current.revision().await?;
        self.show(newest).await
    }

    /// Makes sure that the mirror has what this store has told before. It is behind that only after it was read anew.
    async fn has(&self, known: Revision) -> Result<(), StoreError> {
        if self.mirror.position() >= known {
            return Ok(());
        }
        self.refresh().await
    }

    /// Makes sure that `revision` has happened.
    async fn happened(&self, revision: Revision) -> Result<(), StoreError> {
        if self.mirror.position() >= revision {
            return Ok(());
        }
        self.refresh().await?;
        let current = self.mirror.position();
        if revision > current {
            return Err(StoreError::Future {
                asked: revision,
                current,
            });
        }
        Ok(())
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.mirror.feed.close();
    }
}

fn check(options: &Options) -> Result<(Vec<Endpoint>, Keys), OpenError> {
    let endpoints = options
        .endpoints
        .iter()
        .map(|url| Endpoint::parse(url))
        .collect::<Result<Vec<_>, _>>()?;
    let refused = |what: String| Err(OpenError::Options { what });
    if endpoints.is_empty() || endpoints.len() > limits::ENDPOINTS {
        return refused(format!(
            "there must be 1 to {} etcd servers, not {}",
            limits::ENDPOINTS,
            endpoints.len()
        ));
    }
    let https = endpoints.iter().filter(|endpoint| endpoint.https).count();
    if https > 0 && options.tls.is_none() {
        return refused("https URLs of etcd servers need the file of their CA".to_owned());
    }
    if https < endpoints.len() && options.tls.is_some() {
        return refused("with a CA file, all URLs of etcd servers must be https".to_owned());
    }
    Ok((endpoints, Keys::new(&options.prefix)?))
}

/// Makes `meta/last` if it is missing. Returns the revision that it was made at: nothing of ours is older.
async fn prepare(client: &Client, keys: &Keys) -> Result<Revision, StoreError> {
    let op = |request| RequestOp {
        request: Some(request),
    };
    let request = TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: keys.last.clone(),
            mod_revision: Some(0),
        }],
        success: vec![op(Request::Put(PutRequest {
            key: keys.last.clone(),
            ..PutRequest::default()
        }))],
        failure: vec![op(Request::Range(mirror::ask_newest(keys)))],
    };
    let answer: TxnResponse = client
        .call(path::TXN, &request, Repeat::Always, limits::READ)
        .await?;
    let found = answer
        .responses
        .into_iter()
        .next()
        .and_then(|op| op.response);
    let revision = match found {
        Some(proto::Response::Range(range)) => range.kvs.first().map(|kv| kv.create_revision),
        _ => answer.header.map(|header| header.revision),
    };
    Ok(Revision(
        revision.unwrap_or_default().try_into().unwrap_or_default(),
    ))
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.refresh().await?;
        Ok(self.mirror.memory.get(key))
    }

    async fn get_since(
        &self,
        key: &str,
        known: Revision,
    ) -> Result<(Option<Entry>, Revision), StoreError> {
        self.has(known).await?;
        Ok(self.mirror.memory.get(key))
    }

    async fn list_since(&self, prefix: &str, known: Revision) -> Result<Listing, StoreError> {
        self.has(known).await?;
        let view = self.mirror.memory.view();
        let request = ListRequest::prefix(prefix);
        Ok(view.list(&request, view.revision, &Undo::new()))
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        match request.at {
            None => self.refresh().await?,
            Some(at) => self.happened(at).await?,
        }
        let view = self.mirror.memory.view();
        let at = request.at.unwrap_or(view.revision);
        if at == view.revision {
            return Ok(view.list(&request, at, &Undo::new()));
        }
        let feed = &self.mirror.feed;
        let (view, undo) = feed.undo(&request.prefix, at, || self.mirror.memory.view())?;
        Ok(view.list(&request, at, &undo))
    }

    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        check_size(&write)?;
        let known = match write.precondition {
            Precondition::At(modified) => {
                let (entry, _) = self.mirror.memory.get(&write.key);
                entry.filter(|entry| entry.modified == modified)
            }
            _ => None,
        };
        let request = commit::transaction(&self.keys, &write, known.is_some());
        let answer = self
            .client
            .call(path::TXN, &request, Repeat::IfNotDone, limits::WRITE)
            .await?;
        let committed = commit::outcome(&self.keys, answer, known)?;
        // So that what this server itself derives from the store is not behind its own answers. The write is durable
        // whether this succeeds or not, and readers ask etcd anyway.
        self.mirror.reach(committed.revision, limits::SHOWN).await;
        Ok(committed)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.happened(after).await?;
        Watch::new(&self.mirror.feed, prefix, after)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.refresh().await?;
        Ok(self.mirror.position())
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.refresh().await?;
        let through = through.min(self.mirror.position());
        self.mirror.feed.compact(through);
        compactor::compact(&self.client, through).await
    }
}
