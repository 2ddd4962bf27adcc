//! Cases about the past: lists at a revision, compaction, retention.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Fixture, base, create, delete, list, list_at, pairs, put};
use crate::{ListRequest, Retention, Revision, Store, StoreError};

/// Every state there ever was, deleted keys included.
pub async fn lists_show_the_past(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let mut states = vec![(at(0), Vec::new())];
    for step in 0..40u32 {
        let key = format!("/{}/{}", ["a", "b"][step as usize % 2], step % 7);
        let revision = match store.get(&key).await.unwrap().0 {
            Some(_) if step % 3 == 0 => delete(&*store, &key).await,
            _ => put(&*store, &key, &step.to_string()).await,
        };
        states.push((revision, list(&*store, "").await.entries));
    }
    for (revision, entries) in &states {
        let listing = list_at(&*store, "", *revision).await.unwrap();
        assert_eq!((&listing.entries, listing.revision), (entries, *revision));
        let below: Vec<_> = entries
            .iter()
            .filter(|entry| entry.key.starts_with("/a/"))
            .cloned()
            .collect();
        assert_eq!(
            list_at(&*store, "/a/", *revision).await.unwrap().entries,
            below
        );
        let page = ListRequest {
            at: Some(*revision),
            limit: Some(2),
            after: Some("/a/1".to_owned()),
            prefix: "/".into(),
        };
        let page = store.list(page).await.unwrap();
        let rest: Vec<_> = entries
            .iter()
            .filter(|entry| &*entry.key > "/a/1")
            .cloned()
            .collect();
        assert_eq!(page.entries, rest[..rest.len().min(2)]);
        assert_eq!(page.remaining, rest.len().saturating_sub(2) as u64);
    }
}

/// A list in pages is one state, whatever happens between the pages.
pub async fn pages_of_one_revision_agree_while_writers_write(fixture: Fixture) {
    let store = fixture.open();
    for n in 0..40 {
        create(&*store, &format!("/k/{n:02}"), "before").await;
    }
    let whole = list(&*store, "/k/").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut n = writer;
                while !stop.load(Ordering::Relaxed) {
                    put(&*store, &format!("/k/{:02}", n % 80), "after").await;
                    n += 7;
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let mut entries: Vec<crate::Entry> = Vec::new();
        while entries.len() < 40 {
            let after = entries.last().map(|entry| entry.key.to_string());
            let request = ListRequest {
                prefix: "/k/".into(),
                after,
                limit: Some(6),
                at: Some(whole.revision),
            };
            entries.extend(store.list(request).await.unwrap().entries);
        }
        assert_eq!(entries, whole.entries);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// What is before the revision; the revision itself stays.
pub async fn compaction_forgets_exactly_the_past(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    for n in 1..=10 {
        put(&*store, &format!("/{}", n % 2), &n.to_string()).await;
    }
    store.compact(at(6)).await.unwrap();
    for n in 0..=10 {
        let listed = list_at(&*store, "", at(n)).await;
        let watched = store.watch("", at(n)).await;
        if n < 6 {
            assert_oldest(listed.map(drop), at(6));
            assert_oldest(watched.map(drop), at(6));
        } else {
            assert_eq!(listed.unwrap().entries.len(), 2);
            watched.unwrap();
        }
    }
    assert_eq!(
        pairs(&list_at(&*store, "", at(6)).await.unwrap().entries),
        ["/0=6", "/1=5"]
    );
    store.compact(at(3)).await.unwrap();
    list_at(&*store, "", at(6)).await.unwrap();
}

fn assert_oldest(outcome: Result<(), StoreError>, expected: Revision) {
    match outcome {
        Err(StoreError::Compacted { oldest }) => assert_eq!(oldest, expected),
        other => panic!("{other:?}"),
    }
}

/// The newest state cannot be forgotten.
pub async fn compaction_is_clamped_to_the_present(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    put(&*store, "/a", "1").await;
    store.compact(Revision(u64::MAX)).await.unwrap();
    assert_eq!(
        pairs(&list_at(&*store, "", at(1)).await.unwrap().entries),
        ["/a=1"]
    );
    assert_oldest(list_at(&*store, "", at(0)).await.map(drop), at(1));
    put(&*store, "/a", "2").await;
    assert_eq!(
        pairs(&list_at(&*store, "", at(1)).await.unwrap().entries),
        ["/a=1"]
    );
}

/// Without being asked.
pub async fn retention_bounds_the_revisions(fixture: Fixture) {
    let store = fixture.open_with(Retention {
        revisions: 10,
        ..Retention::default()
    });
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    for n in 1..=30 {
        put(&*store, "/a", &n.to_string()).await;
    }
    assert_oldest(list_at(&*store, "", at(19)).await.map(drop), at(20));
    assert_eq!(
        pairs(&list_at(&*store, "", at(20)).await.unwrap().entries),
        ["/a=20"]
    );
}

/// By the old values that it pins.
pub async fn retention_bounds_the_bytes(fixture: Fixture) {
    let store = fixture.open_with(Retention {
        bytes: 100_000,
        ..Retention::default()
    });
    let base = base(&*store).await;
    let big = "x".repeat(10_000);
    for _ in 0..30 {
        put(&*store, "/a", &big).await;
    }
    let oldest = oldest(&*store).await;
    assert!((base + 20..base + 30).contains(&oldest.0), "{oldest}");
}

async fn oldest(store: &dyn Store) -> Revision {
    match list_at(store, "", Revision::ZERO).await {
        Err(StoreError::Compacted { oldest }) => oldest,
        other => panic!("{other:?}"),
    }
}

/// Not waited for, not answered with the present.
pub async fn the_future_is_refused(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    put(&*store, "/a", "1").await;
    for outcome in [
        list_at(&*store, "", at(2)).await.map(drop),
        store.watch("", at(2)).await.map(drop),
    ] {
        match outcome {
            Err(StoreError::Future { asked, current }) => {
                assert_eq!((asked, current), (at(2), at(1)));
            }
            other => panic!("{other:?}"),
        }
    }
}
