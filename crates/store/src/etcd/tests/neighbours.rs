//! What others do: other writers in the same etcd, other replicas, administrators with backups.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::proxy::Proxy;
use super::{directory, entries, etcd, options, put, revisions, until, wide, within};
use crate::etcd::client::Repeat;
use crate::etcd::proto::{PutRequest, Request, RequestOp, TxnRequest, TxnResponse, path};
use crate::etcd::{EtcdStore, Options, compactor, limits};
use crate::{Retention, Revision, Store, StoreError, WatchError, Write};

/// Writes keys as they are, in one transaction.
async fn raw(store: &EtcdStore, puts: impl IntoIterator<Item = (String, Bytes)>) {
    let success = puts
        .into_iter()
        .map(|(key, value)| RequestOp {
            request: Some(Request::Put(PutRequest {
                key: key.into_bytes(),
                value,
                prev_kv: false,
            })),
        })
        .collect();
    let request = TxnRequest {
        success,
        ..TxnRequest::default()
    };
    store
        .client
        .call::<TxnResponse>(path::TXN, &request, Repeat::IfNotDone, limits::WRITE)
        .await
        .unwrap();
}

async fn elsewhere(store: &EtcdStore) {
    raw(store, [("/registry/x".to_owned(), "y".into())]).await;
}

/// Their revisions are not ours, and nobody waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn writes_elsewhere_are_skipped() {
    let directory = directory();
    let server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let mut watch = store
        .watch("", store.revision().await.unwrap())
        .await
        .unwrap();
    let mut ours = Vec::new();
    for n in 0..50 {
        elsewhere(&store).await;
        ours.push(put(&store, &format!("/k/{n}"), "v").await);
        elsewhere(&store).await;
        assert_eq!(store.revision().await.unwrap(), ours[n]);
    }
    assert!(ours.windows(2).all(|pair| pair[1].0 == pair[0].0 + 3));
    assert_eq!(within(revisions(&mut watch)).await, ours);
    assert_eq!(entries(&store).await.len(), 50);
    // In the middle of a gap there is the state before it.
    let gap = ours[20].next();
    let mut replay = store.watch("", gap).await.unwrap();
    assert_eq!(within(revisions(&mut replay)).await, ours[21..]);
    store.compact(gap).await.unwrap();
    assert!(matches!(
        store.watch("", gap.previous()).await,
        Err(StoreError::Compacted { oldest }) if oldest == gap
    ));
    store.watch("", gap).await.unwrap();
}

/// Another prefix is another store.
#[tokio::test(flavor = "multi_thread")]
async fn prefixes_are_apart() {
    let directory = directory();
    let server = etcd(directory.path());
    let one = EtcdStore::open(options(&server)).await.unwrap();
    let other = Options {
        prefix: "/ferrovirt2".to_owned(),
        ..options(&server)
    };
    let other = EtcdStore::open(other).await.unwrap();
    put(&one, "/k", "1").await;
    put(&other, "/k", "2").await;
    assert_eq!(entries(&one).await[0].value, "1");
    assert_eq!(entries(&other).await[0].value, "2");
}

/// Somebody's transaction below our prefix: one revision, many events, none of them lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_is_one_revision() {
    let directory = directory();
    let server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let base = store.revision().await.unwrap();
    let mut watch = store.watch("", base).await.unwrap();
    within(revisions(&mut watch)).await;
    // More than a watch takes at a time, and more than etcd puts into one message.
    let value = Bytes::from(vec![b'x'; 100_000]);
    let many = (0..100).map(|n| (format!("/ferrovirt/objects/k/{n:03}"), value.clone()));
    raw(&store, many).await;
    raw(&store, [("/ferrovirt/objects\u{0}".to_owned(), "x".into())]).await;
    let last = put(&store, "/after", "x").await;
    assert_eq!(entries(&store).await.len(), 102);
    let seen = within(revisions(&mut watch)).await;
    assert_eq!(seen.len(), 102);
    assert!(seen[..100].iter().all(|revision| *revision == base.next()));
    assert_eq!(seen[101], last);
}

/// A replica that was cut off goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_a_cut() {
    let directory = directory();
    let server = etcd(directory.path());
    let proxy = Proxy::to(&server.url()).await;
    let near = EtcdStore::open(options(&server)).await.unwrap();
    let far = Options {
        endpoints: vec![proxy.url()],
        ..options(&server)
    };
    let far = EtcdStore::open(far).await.unwrap();
    let mut watch = far.watch("", far.revision().await.unwrap()).await.unwrap();
    let mut written = vec![put(&far, "/k", "0").await];
    for round in 0..5 {
        proxy.cut();
        for n in 0..20 {
            written.push(put(&near, &format!("/k/{n}"), &round.to_string()).await);
        }
        let refused = far.commit(Write::put("/refused", "x")).await;
        assert!(
            matches!(
                refused,
                Err(StoreError::Unavailable { .. } | StoreError::Undecided { .. })
            ),
            "{refused:?}"
        );
        proxy.mend();
        // As new as what the other replica has acknowledged.
        let newest = until(async || far.get("/k/19").await.ok()).await.0.unwrap();
        assert_eq!(newest.modified, *written.last().unwrap());
    }
    assert_eq!(within(revisions(&mut watch)).await, written);
}

/// A replica that was away for longer than etcd remembers reads everything again, and its watches say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_behind_compaction_begins_anew() {
    let directory = directory();
    let server = etcd(directory.path());
    let proxy = Proxy::to(&server.url()).await;
    let near = EtcdStore::open(options(&server)).await.unwrap();
    for key in ["/k", "/quiet", "/deleted"] {
        put(&near, key, "1").await;
    }
    let far = Options {
        endpoints: vec![proxy.url()],
        ..options(&server)
    };
    let far = EtcdStore::open(far).await.unwrap();
    let start = far.revision().await.unwrap();
    let mut watches = Vec::new();
    for prefix in ["", "/k", "/quiet"] {
        let mut watch = far.watch(prefix, start).await.unwrap();
        assert_eq!(within(revisions(&mut watch)).await, []);
        watches.push(watch);
    }

    let begun = far.mirror.begun.load(Ordering::Relaxed);
    // What others do elsewhere makes nobody begin anew, even if it is compacted.
    proxy.cut();
    for _ in 0..10 {
        elsewhere(&near).await;
    }
    compactor::compact(&near.client, Revision(start.0 + 8))
        .await
        .unwrap();
    proxy.mend();
    let entry = until(async || far.get("/k").await.ok()).await.0.unwrap();
    assert_eq!(entry.value, "1");
    // It is refused the watch from where it was, and takes it up from now.
    until(async || (far.mirror.begun.load(Ordering::Relaxed) >= begun + 2).then_some(())).await;
    let next = put(&near, "/k", "2").await;
    until(async || {
        far.get("/k")
            .await
            .ok()
            .filter(|(entry, _)| entry.as_ref().is_some_and(|entry| entry.modified == next))
    })
    .await;
    assert_eq!(within(revisions(&mut watches[0])).await, [next]);
    assert_eq!(within(revisions(&mut watches[1])).await, [next]);

    proxy.cut();
    let deleted = near.get("/deleted").await.unwrap().0.unwrap();
    near.commit(Write::delete("/deleted", deleted.modified))
        .await
        .unwrap();
    let last = put(&near, "/k", "3").await;
    near.compact(last).await.unwrap();
    proxy.mend();
    let entry = until(async || far.get("/k").await.ok()).await.0.unwrap();
    assert_eq!((entry.value, entry.modified), ("3".into(), last));
    assert_eq!(entries(&far).await, entries(&near).await);
    for mut watch in watches {
        let error = within(async {
            loop {
                if let Err(error) = watch.next().await {
                    return error;
                }
            }
        });
        assert!(matches!(error.await, WatchError::Lagged { .. }));
    }
    assert!(matches!(
        far.watch("", start).await,
        Err(StoreError::Compacted { oldest }) if oldest >= last
    ));
}

/// An etcd with another history, as after a restored backup: nothing of the old one is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_etcd_is_noticed() {
    let directory = directory();
    let mut server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    for n in 0..20 {
        put(&store, &format!("/k/{n}"), "v").await;
    }
    let mut watch = store
        .watch("", store.revision().await.unwrap())
        .await
        .unwrap();
    server.kill();
    std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    server.restart();
    let fresh = EtcdStore::open(options(&server)).await.unwrap();
    put(&fresh, "/new", "v").await;
    // It may not answer for a while; it never answers with what is gone.
    let listed = until(async || store.list(crate::ListRequest::default()).await.ok()).await;
    assert_eq!(listed.entries, entries(&fresh).await);
    let error = within(async {
        loop {
            if let Err(error) = watch.next().await {
                return error;
            }
        }
    });
    assert!(matches!(error.await, WatchError::Lagged { .. }));
}

/// One compacts, and history is kept for a period at least.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_compact_in_turn() {
    let directory = directory();
    let server = etcd(directory.path());
    let every = Options {
        compact_every: std::time::Duration::from_millis(100),
        ..options(&server)
    };
    let stores = [
        EtcdStore::open(every.clone()).await.unwrap(),
        EtcdStore::open(every).await.unwrap(),
    ];
    let start = put(&stores[0], "/k", "x").await;
    let history = Options {
        retention: wide(),
        ..options(&server)
    };
    // A store that is opened now and then finds ever less of the past.
    let oldest = until(async || {
        put(&stores[1], "/k", "y").await;
        let store = EtcdStore::open(history.clone()).await.unwrap();
        match store.watch("", start).await {
            Err(StoreError::Compacted { oldest }) => Some(oldest),
            _ => None,
        }
    })
    .await;
    assert!(oldest > start);
    assert!(oldest <= put(&stores[0], "/k", "z").await);
    assert_eq!(entries(&stores[0]).await, entries(&stores[1]).await);
}

/// Everything is read in pages; how long it takes is printed.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_state_is_read_in_pages() {
    let objects: usize =
        std::env::var("FERROVIRT_ETCD_OBJECTS").map_or(10_000, |count| count.parse().unwrap());
    let directory = directory();
    let server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let value = Bytes::from(vec![b'x'; 2000]);
    for first in (0..objects).step_by(100) {
        let many = (first..(first + 100).min(objects)).map(|n| {
            (
                format!("/ferrovirt/objects/core/configmaps/ns/{n:06}"),
                value.clone(),
            )
        });
        raw(&store, many).await;
    }
    // Some that are larger than a page may be in one message.
    for n in 0..3 {
        let large = vec![b'x'; 8 << 20];
        store
            .commit(Write::put(format!("/large/{n}"), large))
            .await
            .unwrap();
    }
    drop(store);
    let begun = std::time::Instant::now();
    let none = Options {
        retention: Retention {
            revisions: 1,
            bytes: 1,
        },
        ..options(&server)
    };
    let store = EtcdStore::open(none).await.unwrap();
    println!(
        "{objects} objects of 2 kB were read in {:?}",
        begun.elapsed()
    );
    assert_eq!(entries(&store).await.len(), objects + 3);
}
