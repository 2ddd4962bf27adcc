//! Cases about durability as far as an orderly end shows it; crashes are each engine's own tests.

use super::{Fixture, base, create, delete, events_until_progress, list, list_at, put};
use crate::{OpenError, Retention, Revision};

/// Entries, revisions, and the next revision.
pub async fn everything_survives_reopening(fixture: Fixture) {
    let base = base(&*fixture.open()).await;
    let at = move |n: u64| Revision(base + n);
    for round in 0..5u64 {
        let store = fixture.open();
        assert_eq!(store.revision().await.unwrap(), at(round * 22));
        for n in 0..20 {
            put(&*store, &format!("/k/{}", n % 7), &format!("{round} {n}")).await;
        }
        create(&*store, &format!("/round/{round}"), "x").await;
        delete(&*store, "/k/3").await;
        let before = list(&*store, "").await;
        drop(store);
        assert_eq!(list(&*fixture.open(), "").await, before);
    }
}

/// A client that held a revision across a restart goes on from there.
pub async fn watches_resume_across_reopening(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    for n in 1..=60 {
        put(&*store, &format!("/{}", n % 4), &n.to_string()).await;
    }
    let (before, _) = events_until_progress(&mut store.watch("", at(10)).await.unwrap()).await;
    let past = list_at(&*store, "", at(10)).await.unwrap();
    drop(store);
    let store = fixture.open();
    let (after, _) = events_until_progress(&mut store.watch("", at(10)).await.unwrap()).await;
    assert_eq!(before, after);
    assert_eq!(list_at(&*store, "", at(10)).await.unwrap(), past);
}

/// Compaction frees history, never state.
pub async fn compacted_state_survives_reopening(fixture: Fixture) {
    let small = Retention {
        revisions: 8,
        bytes: 20_000,
    };
    let base = base(&*fixture.open_with(small)).await;
    let at = move |n: u64| Revision(base + n);
    for round in 0..6u64 {
        let store = fixture.open_with(small);
        for n in 0..50 {
            put(
                &*store,
                &format!("/k/{:02}", (round * 13 + n) % 60),
                &"x".repeat(500),
            )
            .await;
        }
        store.compact(at(round * 50 + 45)).await.unwrap();
        let before = list(&*store, "").await;
        drop(store);
        let store = fixture.open_with(small);
        assert_eq!(list(&*store, "").await, before);
    }
}

/// Two owners would corrupt it.
pub async fn a_store_opens_once(fixture: Fixture) {
    let store = fixture.open();
    put(&*store, "/k", "x").await;
    let second = fixture.try_open(Retention::default());
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "{:?}",
        second.map(drop)
    );
    put(&*store, "/k", "y").await;
    drop(store);
    fixture.open();
}
