//! Wakes the reconciler when a launcher publishes a new state.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::kubevirt::VirtualMachineInstance as Vmi;
use futures_util::Stream;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

/// VMIs that wait to be looked at. A full queue holds the watchers up, nobody else.
const QUEUE: usize = 256;
/// A launcher that was just spawned opens its socket within moments.
const CONNECT_AGAIN: Duration = Duration::from_millis(2);
/// For how long that is tried before the reconciler has to ask again.
const CONNECT_TRIES: u32 = 2500;

/// The watchers: one per launcher directory.
#[derive(Debug, Clone)]
pub(crate) struct Launchers {
    tx: mpsc::Sender<ObjectRef<Vmi>>,
    watched: Arc<Mutex<HashSet<PathBuf>>>,
}

/// The watchers, and the stream of VMIs whose launcher has news.
pub(crate) fn channel() -> (
    Launchers,
    impl Stream<Item = ObjectRef<Vmi>> + Send + 'static,
) {
    let (tx, rx) = mpsc::channel(QUEUE);
    let launchers = Launchers {
        tx,
        watched: Arc::default(),
    };
    let stream = futures_util::stream::unfold(rx, |mut rx| async move {
        let vmi = rx.recv().await?;
        Some((vmi, rx))
    });
    (launchers, stream)
}

impl Launchers {
    /// Follows the launcher in `dir` until it is gone; following twice is following once.
    pub(crate) fn follow(&self, vmi: ObjectRef<Vmi>, dir: PathBuf) {
        let fresh = self
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(dir.clone());
        if !fresh {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = this.watch(&vmi, &dir) => {}
                // The agent has stopped: nobody is to be woken any more.
                () = this.tx.closed() => {}
            }
            this.watched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&dir);
            // Once more without a watcher, so that whatever comes next is followed again.
            let _ = this.tx.send(vmi).await;
        });
    }

    async fn watch(&self, vmi: &ObjectRef<Vmi>, dir: &std::path::Path) {
        let mut states = None;
        for _ in 0..CONNECT_TRIES {
            match launcher_api::watch(dir).await {
                Ok(watch) => {
                    states = Some(watch);
                    break;
                }
                Err(_) if dir.exists() => tokio::time::sleep(CONNECT_AGAIN).await,
                Err(_) => return,
            }
        }
        let Some(mut states) = states else { return };
        // The content is not passed on: the reconciler reads the present state itself.
        while let Ok(Some(_)) = states.next().await {
            if self.tx.send(vmi.clone()).await.is_err() {
                return;
            }
        }
    }
}
