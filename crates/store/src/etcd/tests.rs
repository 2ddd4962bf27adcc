//! Tests of the etcd engine, against the real one.

mod conformance;
mod kill;
mod neighbours;
mod outage;
mod proxy;
mod tls;

use std::path::Path;
use std::time::Duration;

use super::server::EtcdServer;
use super::{EtcdStore, Options};
use crate::{Entry, ListRequest, Retention, Revision, Store, Watch, WatchItem, Write};

/// No wait takes longer than this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(server: &EtcdServer) -> Options {
    Options {
        patience: PATIENCE,
        ..Options::new(vec![server.url()])
    }
}

/// A window that nothing of a test leaves.
fn wide() -> Retention {
    Retention {
        revisions: 1_000_000,
        bytes: 1 << 30,
    }
}

async fn put(store: &EtcdStore, key: &str, value: &str) -> Revision {
    let write = Write::put(key, value.to_owned());
    store.commit(write).await.unwrap().revision
}

async fn entries(store: &EtcdStore) -> Vec<Entry> {
    store.list(ListRequest::default()).await.unwrap().entries
}

/// The revisions that a watch has up to now.
async fn revisions(watch: &mut Watch) -> Vec<Revision> {
    let mut seen = Vec::new();
    watch.request_progress();
    loop {
        match watch.next().await.unwrap() {
            WatchItem::Event(event) => seen.push(event.revision),
            WatchItem::Progress(_) => return seen,
        }
    }
}

/// Ends a wait that takes too long.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it comes to an end in time")
}

/// Calls until the answer is `Some`.
async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn etcd(directory: &Path) -> EtcdServer {
    EtcdServer::start(directory, &[])
}
