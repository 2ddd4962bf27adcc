//! A device that fails, or is slow: what the caller hears, what readers see, what is there afterwards.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::{entries, open};
use crate::log::writer::Medium;
use crate::log::{LogStore, Options};
use crate::{Revision, Store, StoreError, WatchItem, Write};

/// What the device is to do; shared with the test.
#[derive(Default)]
struct Device {
    plan: Mutex<Plan>,
    changed: Condvar,
    syncs: AtomicUsize,
}

#[derive(Default, Clone)]
struct Plan {
    /// The next append writes so many bytes and fails.
    append: Option<(usize, ErrorKind)>,
    sync: Option<ErrorKind>,
    cut: Option<ErrorKind>,
    /// Syncs wait.
    held: bool,
}

impl Device {
    fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
        self.changed.notify_all();
    }

    fn open(self: &Arc<Self>, directory: &Path) -> LogStore {
        let device = Arc::clone(self);
        let wrap = Arc::new(move |file| -> Box<dyn Medium> {
            Box::new(Faulty(file, Arc::clone(&device)))
        });
        LogStore::open_on(directory, Options::default(), wrap).unwrap()
    }

    fn syncs(&self) -> usize {
        self.syncs.load(Ordering::SeqCst)
    }
}

struct Faulty(File, Arc<Device>);

impl Medium for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.1.plan.lock().unwrap().append.take() {
            Some((written, kind)) => {
                self.0.append(&bytes[..written.min(bytes.len())])?;
                Err(kind.into())
            }
            None => self.0.append(bytes),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        let plan = self
            .1
            .changed
            .wait_while(self.1.plan.lock().unwrap(), |plan| plan.held)
            .unwrap();
        match plan.sync {
            Some(kind) => Err(kind.into()),
            None => self.0.sync(),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        match self.1.plan.lock().unwrap().cut {
            Some(kind) => Err(kind.into()),
            None => self.0.cut(length),
        }
    }
}

async fn put(store: &LogStore, key: &str) -> Result<Revision, StoreError> {
    store
        .commit(Write::put(key, "value"))
        .await
        .map(|committed| committed.revision)
}

#[tokio::test]
async fn a_full_device_refuses_writes_until_there_is_space() {
    for written in [0, 1, 11, 12, 30, 1000] {
        let directory = tempfile::tempdir().unwrap();
        let device = Arc::new(Device::default());
        let store = device.open(directory.path());
        put(&store, "/before").await.unwrap();
        device.set(|plan| plan.append = Some((written, ErrorKind::StorageFull)));
        assert!(matches!(
            put(&store, "/refused").await,
            Err(StoreError::Full)
        ));
        assert_eq!(store.get("/refused").await.unwrap(), (None, Revision(1)));
        assert_eq!(
            store.get("/before").await.unwrap().0.unwrap().value,
            "value"
        );
        assert_eq!(put(&store, "/after").await.unwrap(), Revision(2));
        let state = entries(&store).await;
        drop(store);
        assert_eq!(
            entries(&open(directory.path())).await,
            state,
            "{written} bytes of the refused write got through"
        );
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_retried() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Device::default());
    let store = device.open(directory.path());
    put(&store, "/before").await.unwrap();
    let mut watch = store.watch("", Revision::ZERO).await.unwrap();
    device.set(|plan| plan.sync = Some(ErrorKind::Other));
    let syncs = device.syncs();
    assert!(matches!(
        put(&store, "/lost").await,
        Err(StoreError::Io { doing: "sync", .. })
    ));
    device.set(|plan| plan.sync = None);
    for _ in 0..3 {
        let Err(StoreError::Poisoned { cause }) = put(&store, "/later").await else {
            panic!("it was accepted")
        };
        assert!(cause.contains("cannot sync"), "{cause}");
    }
    assert_eq!(device.syncs(), syncs + 1);
    // Reads go on, and never show what was not acknowledged.
    assert_eq!(store.get("/lost").await.unwrap(), (None, Revision(1)));
    assert!(
        matches!(watch.next().await.unwrap(), WatchItem::Event(event) if event.revision == Revision(1))
    );
    assert_eq!(
        watch.next().await.unwrap(),
        WatchItem::Progress(Revision(1))
    );
    assert_eq!(watch.poll_now().unwrap(), None);
    drop(store);
    // What the device did with it is open, what was acknowledged is not.
    let store = open(directory.path());
    assert!(store.get("/before").await.unwrap().0.is_some());
    put(&store, "/again").await.unwrap();
}

#[tokio::test]
async fn other_failures_of_a_write_poison_too() {
    for break_it in [
        (|plan: &mut Plan| plan.append = Some((3, ErrorKind::Other))) as fn(&mut Plan),
        |plan| {
            plan.append = Some((3, ErrorKind::StorageFull));
            plan.cut = Some(ErrorKind::Other);
        },
        |plan| {
            plan.append = Some((3, ErrorKind::StorageFull));
            plan.sync = Some(ErrorKind::Other);
        },
    ] {
        let directory = tempfile::tempdir().unwrap();
        let device = Arc::new(Device::default());
        let store = device.open(directory.path());
        put(&store, "/before").await.unwrap();
        device.set(break_it);
        assert!(matches!(
            put(&store, "/lost").await,
            Err(StoreError::Io { .. })
        ));
        assert!(matches!(
            put(&store, "/later").await,
            Err(StoreError::Poisoned { .. })
        ));
        drop(store);
        let store = open(directory.path());
        assert_eq!(entries(&store).await.len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Device::default());
    let store = Arc::new(device.open(directory.path()));
    let mut watch = store.watch("", Revision::ZERO).await.unwrap();
    assert_eq!(
        watch.next().await.unwrap(),
        WatchItem::Progress(Revision::ZERO)
    );
    device.set(|plan| plan.held = true);
    let before = device.syncs();
    let writer = Arc::clone(&store);
    let writer = tokio::spawn(async move { put(&writer, "/k").await });
    while device.syncs() == before {
        tokio::task::yield_now().await;
    }
    // The write is in the file, and its sync under way.
    assert_eq!(store.get("/k").await.unwrap(), (None, Revision::ZERO));
    assert!(entries(&*store).await.is_empty());
    assert_eq!(watch.poll_now().unwrap(), None);
    assert!(!writer.is_finished());
    device.set(|plan| plan.held = false);
    assert_eq!(writer.await.unwrap().unwrap(), Revision(1));
    assert!(store.get("/k").await.unwrap().0.is_some());
}

#[tokio::test]
async fn concurrent_writers_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Device::default());
    let store = device.open(directory.path());
    device.set(|plan| plan.held = true);
    let before = device.syncs();
    let mut first = Box::pin(put(&store, "/first"));
    while device.syncs() == before {
        assert!(futures_poll(first.as_mut()).await.is_none());
    }
    // The first sync is under way: whoever comes now shares the second one.
    let mut others: Vec<_> = (0..100)
        .map(|n| {
            let key = format!("/{n}");
            let store = &store;
            Box::pin(async move { put(store, &key).await })
        })
        .collect();
    for other in &mut others {
        assert!(futures_poll(other.as_mut()).await.is_none());
    }
    device.set(|plan| plan.held = false);
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(device.syncs(), before + 2);
    assert_eq!(store.revision().await.unwrap(), Revision(101));
}

/// Polls once; the result if it is ready.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_reports_progress_every_five_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut watch = store.watch("", Revision::ZERO).await.unwrap();
    assert_eq!(
        watch.next().await.unwrap(),
        WatchItem::Progress(Revision::ZERO)
    );
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        assert_eq!(
            watch.next().await.unwrap(),
            WatchItem::Progress(Revision::ZERO)
        );
        assert_eq!(
            before.elapsed().as_secs(),
            crate::limits::PROGRESS_EVERY.as_secs()
        );
    }
}
