//! Tells the reconciler when a Pod's process has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use host::process::{Exit, Identity, Process};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

/// Ended Pods that wait to be looked at. A full queue holds the watchers up, nobody else.
const QUEUE: usize = 256;

/// Who is watched, and how those ended that nobody has asked about yet.
#[derive(Debug, Clone)]
pub(super) struct Exits {
    tx: mpsc::Sender<ObjectRef<Pod>>,
    watched: Arc<Mutex<HashMap<Identity, Option<Exit>>>>,
}

/// The watchers, and the stream of Pods whose process has ended.
pub(super) fn channel() -> (Exits, impl Stream<Item = ObjectRef<Pod>> + Send + 'static) {
    let (tx, rx) = mpsc::channel(QUEUE);
    let exits = Exits {
        tx,
        watched: Arc::default(),
    };
    let stream = futures_util::stream::unfold(rx, |mut rx| async move {
        let pod = rx.recv().await?;
        Some((pod, rx))
    });
    (exits, stream)
}

impl Exits {
    /// Watches `process` until it ends, then wakes the reconciler of its Pod. Watching twice is
    /// watching once.
    pub fn watch(&self, pod: ObjectRef<Pod>, process: Process) {
        let identity = process.identity();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.contains_key(&identity) {
            return;
        }
        watched.insert(identity, None);
        drop(watched);
        let this = self.clone();
        tokio::spawn(async move {
            let exit = process.exited().await.unwrap_or(Exit::Unknown);
            this.watched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(identity, Some(exit));
            // The receiver is gone only when the whole node runtime is.
            let _ = this.tx.send(pod).await;
        });
    }

    /// Whether a watcher is there.
    pub fn is_watched(&self, identity: &Identity) -> bool {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(identity)
    }

    /// How a watched process ended; forgets it.
    pub fn take(&self, identity: &Identity) -> Option<Exit> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get(identity) {
            Some(Some(exit)) => {
                let exit = *exit;
                watched.remove(identity);
                Some(exit)
            }
            _ => None,
        }
    }
}
