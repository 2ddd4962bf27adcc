//! Cases about several handles of one database, as several servers have them.

use std::sync::Arc;

use super::{Fixture, base, create, list, list_at, next_event, pairs, put};
use crate::{Revision, StoreError, WatchItem, Write};

/// Whatever one handle has acknowledged, every other one answers with, at once.
pub async fn handles_see_each_others_writes(fixture: Fixture) {
    let stores = [fixture.open(), fixture.open(), fixture.open()];
    for n in 0..60usize {
        let writer = &stores[n % 3];
        let key = format!("/k/{}", n % 5);
        let revision = put(&**writer, &key, &n.to_string()).await;
        let reader = &stores[(n + 1) % 3];
        match n % 4 {
            0 => assert_eq!(
                reader.get(&key).await.unwrap().0.unwrap().modified,
                revision
            ),
            1 => assert!(
                pairs(&list(&**reader, "/k/").await.entries).contains(&format!("{key}={n}"))
            ),
            2 => assert_eq!(reader.revision().await.unwrap(), revision),
            _ => {
                reader.watch("", revision).await.unwrap();
                let listed = list_at(&**reader, "/k/", revision).await.unwrap();
                assert!(pairs(&listed.entries).contains(&format!("{key}={n}")));
            }
        }
    }
    let newest = stores[0].revision().await.unwrap();
    let future = stores[1].watch("", newest.next()).await;
    assert!(
        matches!(future, Err(StoreError::Future { current, .. }) if current == newest),
        "{future:?}"
    );
}

/// Compare and swap holds across handles.
pub async fn handles_count_together(fixture: Fixture) {
    let stores = [fixture.open(), fixture.open(), fixture.open()];
    create(&*stores[0], "/counter", "0").await;
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let store = Arc::clone(&stores[n % 3]);
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let entry = store.get("/counter").await.unwrap().0.unwrap();
                        let count: u64 =
                            std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let next = (count + 1).to_string();
                        match store
                            .commit(Write::update("/counter", entry.modified, next))
                            .await
                        {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for store in &stores {
        assert_eq!(pairs(&list(&**store, "").await.entries), ["/counter=60"]);
    }
}

/// One history, whoever wrote it and whoever watches.
pub async fn watches_see_the_writes_of_all_handles(fixture: Fixture) {
    const WRITES: u64 = 40;
    let stores = [fixture.open(), fixture.open()];
    let base = base(&*stores[0]).await;
    let end = Revision(base + 2 * WRITES);
    let watchers: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut watch = store.watch("", Revision(base)).await.unwrap();
                let mut seen = Vec::new();
                let mut last = Revision::ZERO;
                while last < end {
                    let event = next_event(&mut watch).await;
                    last = event.revision;
                    let previous = event.previous.as_ref().map(|entry| entry.modified);
                    seen.push((event.revision, event.key.clone(), previous));
                }
                watch.request_progress();
                assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(end));
                seen
            })
        })
        .collect();
    let writers: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| {
            tokio::spawn(async move {
                for n in 0..WRITES {
                    put(&*store, &format!("/{}", n % 3), "x").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut histories = Vec::new();
    for watcher in watchers {
        histories.push(watcher.await.unwrap());
    }
    assert_eq!(histories[0], histories[1]);
    let revisions: Vec<_> = histories[0]
        .iter()
        .map(|(revision, ..)| revision.0)
        .collect();
    assert_eq!(revisions, (base + 1..=end.0).collect::<Vec<_>>());
}
