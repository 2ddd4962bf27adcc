//! Cases about watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fixture, base, create, delete, events_until_progress, list, next_event, put};
use crate::{Event, Retention, Revision, StoreError, Watch, WatchError, WatchItem, Write};

/// One stream, no seam.
pub async fn a_watch_replays_and_goes_live(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    for n in 1..=100 {
        put(&*store, &format!("/{}", n % 5), "x").await;
    }
    for after in [0, 1, 42, 99, 100] {
        let mut watch = store.watch("", at(after)).await.unwrap();
        let (events, progress) = events_until_progress(&mut watch).await;
        assert_eq!(
            revisions(&events, base),
            (after + 1..=100).collect::<Vec<_>>()
        );
        assert_eq!(progress, at(100));
        assert_eq!(watch.poll_now().unwrap(), None);
    }
    let mut watch = store.watch("", at(98)).await.unwrap();
    for n in 101..=150 {
        put(&*store, "/live", "x").await;
        if n % 10 == 0 {
            assert!(next_event(&mut watch).await.revision < at(n));
        }
    }
    let mut last = at(103);
    while last < at(150) {
        let event = next_event(&mut watch).await;
        assert_eq!(event.revision, last.next());
        last = event.revision;
    }
}

/// Counted from the first.
fn revisions(events: &[Event], base: u64) -> Vec<u64> {
    events.iter().map(|event| event.revision.0 - base).collect()
}

/// Replayed and live.
pub async fn a_watch_sees_its_prefix_only(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let write = async || {
        for key in ["/a/1", "/ab/1", "/a", "/b/1", "/a/2"] {
            put(&*store, key, "x").await;
        }
    };
    write().await;
    let mut below = store.watch("/a/", at(0)).await.unwrap();
    let mut one = store.watch("/b/1", at(0)).await.unwrap();
    assert_eq!(
        revisions(&events_until_progress(&mut below).await.0, base),
        [1, 5]
    );
    assert_eq!(
        revisions(&events_until_progress(&mut one).await.0, base),
        [4]
    );
    write().await;
    below.request_progress();
    one.request_progress();
    let (events, progress) = events_until_progress(&mut below).await;
    assert_eq!((revisions(&events, base), progress), (vec![6, 10], at(10)));
    assert_eq!(
        revisions(&events_until_progress(&mut one).await.0, base),
        [9]
    );
}

/// Create, update and delete can be told apart, and carry the old value.
pub async fn a_watch_tells_what_was_before(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    create(&*store, "/k", "1").await;
    put(&*store, "/k", "2").await;
    delete(&*store, "/k").await;
    let mut watch = store.watch("/k", at(0)).await.unwrap();
    let (events, _) = events_until_progress(&mut watch).await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let previous = event.previous.as_ref();
            assert!(previous.is_none_or(|previous| previous.modified == event.revision.previous()));
            (
                event.value.as_ref().map(text),
                previous.map(|previous| text(&previous.value)),
            )
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [(some("1"), None), (some("2"), some("1")), (None, some("2"))]
    );
    assert_eq!(events[1].entry().unwrap().created, at(1));
    assert_eq!(events[2].entry(), None);
}

/// Watches that begin at any moment see every later commit once, in order.
pub async fn a_watch_has_no_gap_under_concurrent_writers(fixture: Fixture) {
    const WRITERS: u64 = 6;
    const WRITES: u64 = 60;
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..WRITES {
                    put(&*store, &format!("/{writer}/{}", n % 5), &n.to_string()).await;
                }
            })
        })
        .collect();
    let mut watchers = Vec::new();
    for n in 0..12 {
        let store = Arc::clone(&store);
        // Spread over the run: each begins where the store is at that moment, or a little before.
        let after = Revision(
            store
                .revision()
                .await
                .unwrap()
                .0
                .saturating_sub(n)
                .max(base),
        );
        let mut watch = store.watch("", after).await.unwrap();
        watchers.push(tokio::spawn(async move {
            let mut last = after;
            while last < at(WRITERS * WRITES) {
                match watch.next().await.unwrap() {
                    WatchItem::Event(event) => {
                        assert_eq!(event.revision, last.next());
                        last = event.revision;
                    }
                    WatchItem::Progress(revision) => assert_eq!(revision, last),
                }
            }
        }));
        put(&*store, "/other", "x").await;
    }
    for task in writers.into_iter().chain(watchers) {
        task.await.unwrap();
    }
}

/// The pattern of every informer.
pub async fn list_and_watch_rebuild_the_state(fixture: Fixture) {
    let store = fixture.open();
    let writers: Vec<_> = (0..4u32)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..80u32 {
                    let key = format!("/{}/{}", writer % 2, (writer * 31 + n * 17) % 11);
                    match store.get(&key).await.unwrap().0 {
                        Some(entry) if n % 4 == 0 => {
                            match store.commit(Write::delete(key, entry.modified)).await {
                                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        _ => drop(put(&*store, &key, &format!("{writer} {n}")).await),
                    }
                }
            })
        })
        .collect();
    let mut informers = Vec::new();
    for prefix in ["", "/0/", "/1/", "/1/1"].repeat(2) {
        let listing = list(&*store, prefix).await;
        let watch = store.watch(prefix, listing.revision).await.unwrap();
        let state: BTreeMap<_, _> = listing
            .entries
            .into_iter()
            .map(|entry| (Arc::clone(&entry.key), entry))
            .collect();
        informers.push((prefix, state, watch));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for (prefix, mut state, mut watch) in informers {
        let end = store.revision().await.unwrap();
        watch.request_progress();
        loop {
            match watch.next().await.unwrap() {
                WatchItem::Event(event) => {
                    assert_eq!(state.get(&event.key), event.previous.as_ref());
                    match event.entry() {
                        Some(entry) => drop(state.insert(Arc::clone(&event.key), entry)),
                        None => drop(state.remove(&event.key)),
                    }
                }
                WatchItem::Progress(revision) if revision >= end => break,
                WatchItem::Progress(_) => {}
            }
        }
        assert_eq!(
            state.into_values().collect::<Vec<_>>(),
            list(&*store, prefix).await.entries
        );
    }
}

/// And is told so, instead of missing events or filling the memory.
pub async fn a_slow_watch_lags(fixture: Fixture) {
    let store = fixture.open_with(Retention {
        revisions: 50,
        ..Retention::default()
    });
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut watch = store.watch("/", at(0)).await.unwrap();
    put(&*store, "/k", "x").await;
    assert_eq!(next_event(&mut watch).await.revision, at(1));
    for _ in 0..200 {
        put(&*store, "/k", "x").await;
    }
    let mut last = at(1);
    let lagged = loop {
        match watch.next().await {
            Ok(WatchItem::Event(event)) => {
                assert_eq!(event.revision, last.next());
                last = event.revision;
            }
            Ok(WatchItem::Progress(_)) => {}
            Err(error) => break error,
        }
    };
    let WatchError::Lagged { oldest, .. } = lagged else {
        panic!("{lagged}")
    };
    assert_eq!(oldest, at(151));
    assert_eq!(watch.next().await, Err(lagged), "it stays over");
}

/// However much happens elsewhere.
pub async fn a_quiet_watch_does_not_lag(fixture: Fixture) {
    let store = fixture.open_with(Retention {
        revisions: 20,
        ..Retention::default()
    });
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut watch = store.watch("/quiet/", at(0)).await.unwrap();
    assert_eq!(events_until_progress(&mut watch).await.1, at(0));
    for _ in 0..100 {
        put(&*store, "/busy/k", "x").await;
    }
    put(&*store, "/quiet/k", "x").await;
    assert_eq!(next_event(&mut watch).await.revision, at(101));
    for _ in 0..100 {
        put(&*store, "/busy/k", "x").await;
    }
    watch.request_progress();
    let (events, progress) = events_until_progress(&mut watch).await;
    assert_eq!((events.len(), progress), (0, at(201)));
}

/// And is as new as the question.
pub async fn progress_comes_when_asked(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut watch = store.watch("/a/", at(0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(at(0)));
    assert_eq!(watch.poll_now().unwrap(), None);
    for n in 1..=10 {
        let revision = put(&*store, "/b/k", "x").await;
        watch.request_progress();
        assert_eq!(
            watch.next().await.unwrap(),
            WatchItem::Progress(revision),
            "{n}"
        );
        assert_eq!(watch.poll_now().unwrap(), None);
    }
}

/// Dropping `next()` loses nothing.
pub async fn a_watch_can_be_cancelled_at_any_item(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut watch = store.watch("", at(0)).await.unwrap();
    let writer = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        for _ in 0..200 {
            put(&*writer, "/k", "x").await;
        }
    });
    let mut last = at(0);
    while last < at(200) {
        tokio::select! {
            biased;
            item = watch.next() => if let WatchItem::Event(event) = item.unwrap() {
                assert_eq!(event.revision, last.next());
                last = event.revision;
            },
            () = tokio::task::yield_now() => {}
        }
    }
    writer.await.unwrap();
}

/// After what was committed was delivered.
pub async fn a_closed_store_ends_its_watches(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut idle = store.watch("/idle/", at(0)).await.unwrap();
    let mut behind = store.watch("", at(0)).await.unwrap();
    assert_eq!(idle.next().await.unwrap(), WatchItem::Progress(at(0)));
    for _ in 0..100 {
        put(&*store, "/k", "x").await;
    }
    let waiting = tokio::spawn(async move { until_error(&mut idle).await });
    drop(store);
    assert_eq!(waiting.await.unwrap(), (0, WatchError::Closed));
    assert_eq!(until_error(&mut behind).await, (100, WatchError::Closed));
}

async fn until_error(watch: &mut Watch) -> (u64, WatchError) {
    let mut events = 0;
    loop {
        match watch.next().await {
            Ok(WatchItem::Event(_)) => events += 1,
            Ok(WatchItem::Progress(_)) => {}
            Err(error) => return (events, error),
        }
    }
}
