//! Members that are gone, hang, or are full.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;

use super::{PATIENCE, directory, entries, etcd, options, put, revisions, until, wide, within};
use crate::etcd::client::Repeat;
use crate::etcd::server::EtcdServer;
use crate::etcd::{EtcdStore, Options, limits};
use crate::{OpenError, Store, StoreError, Write};

/// Requests wait a bounded time and fail; afterwards everything goes on, watches included.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_gone_is_said_in_bounded_time() {
    let directory = directory();
    let mut server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let first = put(&store, "/k", "1").await;
    let mut watch = store.watch("", first).await.unwrap();
    server.kill();
    let begun = Instant::now();
    let (read, listed, revision, written) = within(async {
        tokio::join!(
            store.get("/k"),
            store.list(crate::ListRequest::default()),
            store.revision(),
            store.commit(Write::put("/k", "2"))
        )
    })
    .await;
    assert!(begun.elapsed() < 3 * limits::WRITE, "{:?}", begun.elapsed());
    let unavailable =
        |error: Option<StoreError>| matches!(error, Some(StoreError::Unavailable { .. }));
    assert!(unavailable(read.err()) && unavailable(listed.err()) && unavailable(revision.err()));
    let undecided = matches!(
        written,
        Err(StoreError::Unavailable { .. } | StoreError::Undecided { .. })
    );
    assert!(undecided, "{written:?}");
    // What happened before is still to be had: it cannot have changed.
    assert!(store.watch("", first).await.is_ok());
    server.restart();
    let (entry, _) = until(async || store.get("/k").await.ok()).await;
    assert_eq!(
        entry.unwrap().value,
        "1",
        "it was not sent, so it was not done"
    );
    let next = put(&store, "/k", "3").await;
    assert_eq!(within(revisions(&mut watch)).await, [next]);
}

/// What a request has asked once it need not ask again, even if nobody would answer now.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_not_asked_again() {
    let directory = directory();
    let mut server = etcd(directory.path());
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let known = put(&store, "/k", "1").await;
    server.kill();
    let begun = Instant::now();
    let (entry, at) = store.get_since("/k", known).await.unwrap();
    assert_eq!((entry.unwrap().value, at), ("1".into(), known));
    let listing = store.list_since("/", known).await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert!(begun.elapsed() < limits::READ / 2, "{:?}", begun.elapsed());
    // What nobody has told is asked for.
    let later = within(store.get_since("/k", known.next())).await;
    assert!(matches!(later, Err(StoreError::Unavailable { .. })));
}

/// And one that was never there.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_does_not_come_is_said() {
    let options = Options {
        patience: std::time::Duration::from_millis(100),
        ..Options::new(vec!["http://127.0.0.1:1".to_owned()])
    };
    match within(EtcdStore::open(options)).await {
        Err(OpenError::Unreachable { endpoints, why }) => {
            assert_eq!(endpoints, "http://127.0.0.1:1");
            assert!(why.contains("refused"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

/// Members go one after the other, the leader among them; writers notice at most an open outcome.
#[tokio::test(flavor = "multi_thread")]
async fn another_member_takes_over() {
    let directory = directory();
    let mut servers = EtcdServer::cluster(directory.path(), 3);
    let options = Options {
        patience: PATIENCE,
        retention: wide(),
        ..Options::new(servers.iter().map(EtcdServer::url).collect())
    };
    let store = Arc::new(EtcdStore::open(options.clone()).await.unwrap());
    let base = store.revision().await.unwrap();
    let mut watch = store.watch("", base).await.unwrap();
    let mut acknowledged = Vec::new();
    for turn in 0..6 {
        let server = &mut servers[turn % 3];
        // A killed member is refused at once; a frozen one takes until somebody stops waiting for it.
        if turn < 3 {
            server.kill();
        } else {
            server.freeze(true);
        }
        for n in 0..5 {
            let key = format!("/{turn}/{n}");
            let revision =
                until(
                    async || match store.commit(Write::put(key.as_str(), "x")).await {
                        Ok(committed) => Some(committed.revision),
                        Err(StoreError::Unavailable { .. }) => None,
                        Err(StoreError::Undecided { .. }) => {
                            let read = until(async || store.get(&key).await.ok()).await;
                            read.0.map(|entry| entry.modified)
                        }
                        Err(error) => panic!("{error}"),
                    },
                );
            acknowledged.push(revision.await);
        }
        if turn < 3 {
            server.restart();
        } else {
            server.freeze(false);
        }
    }
    let seen =
        until(async || (store.revision().await.ok()? >= *acknowledged.last()?).then_some(()));
    seen.await;
    let seen = within(revisions(&mut watch)).await;
    assert!(acknowledged.iter().all(|revision| seen.contains(revision)));
    assert!(seen.is_sorted_by(|a, b| a < b));
    let other = EtcdStore::open(options).await.unwrap();
    assert_eq!(entries(&store).await, entries(&other).await);
}

#[derive(Clone, PartialEq, Message)]
struct AlarmMessage {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(uint64, tag = "2")]
    member: u64,
    #[prost(int32, tag = "3")]
    alarm: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Alarms {
    #[prost(message, repeated, tag = "2")]
    alarms: Vec<Alarm>,
}

#[derive(Clone, PartialEq, Message)]
struct Alarm {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(int32, tag = "2")]
    alarm: i32,
}

/// Writes fail with the reason, reads go on, and after an administrator has made room so do writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_refuses_writes_only() {
    let directory = directory();
    let server = EtcdServer::start(directory.path(), &["--quota-backend-bytes", "4194304"]);
    let store = EtcdStore::open(options(&server)).await.unwrap();
    let first = put(&store, "/first", "x").await;
    let mut acknowledged = 0;
    let full = loop {
        assert!(acknowledged < 1000, "it is never full");
        match store.commit(Write::put("/k", vec![b'x'; 100_000])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full), "{full}");
    assert!(acknowledged > 5);
    assert_eq!(
        store.get("/first").await.unwrap().0.unwrap().modified,
        first
    );
    assert_eq!(entries(&store).await.len(), 2);

    let newest = store.revision().await.unwrap();
    store.compact(newest).await.unwrap();
    let call = async |path: &'static str, message: AlarmMessage| {
        let call = store
            .client
            .call::<Alarms>(path, &message, Repeat::Always, limits::PAGE);
        call.await.unwrap()
    };
    call(
        "/etcdserverpb.Maintenance/Defragment",
        AlarmMessage::default(),
    )
    .await;
    let alarms = call("/etcdserverpb.Maintenance/Alarm", AlarmMessage::default()).await;
    for Alarm { member, alarm } in alarms.alarms {
        let off = AlarmMessage {
            action: 2,
            member,
            alarm,
        };
        call("/etcdserverpb.Maintenance/Alarm", off).await;
    }
    put(&store, "/k", "room").await;
}

/// A value that is too large for this etcd.
#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_does_not_take_is_said_in_its_words() {
    let directory = directory();
    let server = EtcdServer::start(directory.path(), &["--max-request-bytes", "10000"]);
    let store = EtcdStore::open(options(&server)).await.unwrap();
    for size in [20_000, 2_000_000] {
        let refused = store.commit(Write::put("/k", vec![b'x'; size])).await;
        let Err(StoreError::Oversized { why }) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            why.contains("too large") || why.contains("larger than max"),
            "{why}"
        );
    }
    put(&store, "/k", "small").await;
}
