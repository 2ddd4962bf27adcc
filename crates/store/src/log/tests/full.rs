//! A device that is really full: a small file system in memory, which needs root.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{entries, open};
use crate::log::LogStore;
use crate::{ListRequest, Revision, Space, Store, StoreError, WatchError, WatchItem, Write};

const VALUE: usize = 2000;
/// More than what may be left in the last block of a file.
const BLOCKS: usize = 8192;

/// A device of so many KiB; it goes with this, also when a test fails.
struct Device {
    directory: tempfile::TempDir,
}

impl Device {
    fn new(kib: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={kib}k")).unwrap();
        let none = MountFlags::empty();
        mount("tmpfs", directory.path(), "tmpfs", none, options.as_c_str())
            .expect("this test mounts a file system: run it as root");
        Self { directory }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Somebody else takes all space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.directory.path().join("others");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = unmount(self.directory.path(), UnmountFlags::DETACH);
    }
}

fn key(n: usize) -> String {
    format!("/k/{n:06}")
}

/// Creates until the device is full; gives the number of keys.
async fn create_until_full(store: &LogStore) -> usize {
    for n in 0.. {
        match store.commit(Write::create(key(n), vec![b'v'; VALUE])).await {
            Ok(_) => {}
            Err(StoreError::Full) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

async fn delete(store: &LogStore, key: String) {
    let modified = store.get(&key).await.unwrap().0.unwrap().modified;
    store
        .commit(Write::delete(key.as_str(), modified))
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Tries again until there is space.
async fn put_in_the_end(store: &LogStore, key: &str) {
    let started = Instant::now();
    loop {
        match store.commit(Write::put(key, vec![b'n'; VALUE])).await {
            Ok(_) => return,
            Err(StoreError::Full) if started.elapsed() < Duration::from_secs(60) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{key}: {error}"),
        }
    }
}

async fn reopened(store: LogStore, directory: &Path) -> LogStore {
    let (state, revision) = (entries(&store).await, store.revision().await.unwrap());
    drop(store);
    let store = open(directory);
    assert_eq!(store.revision().await.unwrap(), revision);
    assert!(entries(&store).await == state, "the state is another");
    store
}

#[tokio::test]
async fn deletions_free_a_full_device() {
    let device = Device::new(8 << 10);
    let store = open(&device.store());
    let keys = create_until_full(&store).await;
    device.fill();
    assert!(keys > 1000, "{keys}");
    // A smaller write may fit once more; then it is full for every one that takes space, and for nothing else.
    let mut fitted = 0;
    while store.commit(Write::put(key(0), "small")).await.is_ok() {
        fitted += 1;
        assert!(fitted < 1000, "it is not full");
    }
    for _ in 0..20 {
        let refused = store.commit(Write::put(key(0), "small")).await;
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    }
    let (seen, revision) = store.get(&key(keys - 1)).await.unwrap();
    assert!(seen.is_some());
    let mut watch = store.watch("/k/", revision).await.unwrap();
    for n in 0..keys {
        if n % 10 != 0 {
            delete(&store, key(n)).await;
        }
        while let Ok(Some(item)) = watch.poll_now() {
            if let WatchItem::Event(event) = item {
                assert_eq!((&*event.key, event.value), (key(n).as_str(), None));
            }
        }
    }
    let left = store.list(ListRequest::prefix("/k/")).await.unwrap();
    assert_eq!(left.entries.len(), keys.div_ceil(10));
    let store = reopened(store, &device.store()).await;
    for n in 0..keys / 2 {
        put_in_the_end(&store, &key(n)).await;
    }
    reopened(store, &device.store()).await;
}

#[tokio::test]
async fn what_is_on_the_way_to_a_deletion_may_take_reserved_space() {
    let device = Device::new(4 << 10);
    let store = open(&device.store());
    create_until_full(&store).await;
    device.fill();
    let entry = store.get(&key(0)).await.unwrap().0.unwrap();
    let marked = |more: usize| Write {
        space: Space::Reserve,
        ..Write::update(key(0), entry.modified, vec![b'm'; VALUE + more])
    };
    let grown = store
        .commit(marked(crate::limits::RESERVED_GROWTH + 1))
        .await;
    assert!(matches!(grown, Err(StoreError::Full)), "{grown:?}");
    store.commit(marked(100)).await.unwrap();
    delete(&store, key(0)).await;
    reopened(store, &device.store()).await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_decided_anew_without_what_takes_space() {
    let device = Device::new(4 << 10);
    let store = Arc::new(open(&device.store()));
    let keys = create_until_full(&store).await;
    device.fill();
    // They share batches. The first cannot fit, nor what shares its batch; what deletions have given back may be taken.
    let writers: Vec<_> = (0..keys.min(200))
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                if n % 2 == 0 {
                    let other = Write::put(format!("/other/{n}"), vec![b'o'; BLOCKS]);
                    return store.commit(other).await;
                }
                let modified = store.get(&key(n)).await.unwrap().0.unwrap().modified;
                store.commit(Write::delete(key(n), modified)).await
            })
        })
        .collect();
    for (n, writer) in writers.into_iter().enumerate() {
        match writer.await.unwrap() {
            Err(StoreError::Full) => assert_eq!(n % 2, 0, "a deletion is never refused"),
            Ok(_) => assert_ne!(n, 0, "there was no space"),
            Err(error) => panic!("{n}: {error}"),
        }
    }
    let store = Arc::into_inner(store).unwrap();
    reopened(store, &device.store()).await;
}

#[tokio::test]
async fn space_that_somebody_else_gives_back_is_used_at_once() {
    let device = Device::new(4 << 10);
    let store = open(&device.store());
    for n in 0..100 {
        store
            .commit(Write::create(key(n), vec![b'v'; VALUE]))
            .await
            .unwrap();
    }
    let mut watch = store.watch("", Revision::ZERO).await.unwrap();
    let others = device.fill();
    let mut created = 100;
    while store
        .commit(Write::create(key(created), vec![b'v'; VALUE]))
        .await
        .is_ok()
    {
        created += 1;
    }
    fs::remove_file(others).unwrap();
    put_in_the_end(&store, &key(created)).await;
    for n in 0..=created {
        let WatchItem::Event(event) = watch.next().await.unwrap() else {
            panic!("{n} of {created} events")
        };
        assert_eq!(&*event.key, key(n));
    }
    reopened(store, &device.store()).await;
}

#[tokio::test]
async fn updates_of_a_full_device_cost_the_history_and_nothing_else() {
    let device = Device::new(4 << 10);
    let store = open(&device.store());
    // Twenty keys, again and again: almost everything on the device is history.
    let mut lagging = store.watch("", Revision::ZERO).await.unwrap();
    for n in 0..6000 {
        put_in_the_end(&store, &key(n % 20)).await;
    }
    let lost = loop {
        match lagging.next().await {
            Ok(WatchItem::Event(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(lost, Err(WatchError::Lagged { .. })), "{lost:?}");
    reopened(store, &device.store()).await;
}
