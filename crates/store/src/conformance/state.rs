//! Cases about the current state: get, list, commit.

use std::sync::Arc;

use super::{Fixture, base, create, delete, keys, list, pairs, put};
use crate::{ListRequest, Op, Precondition, Revision, Space, StoreError, Write, limits};

/// Nothing, at revision zero.
pub async fn a_new_store_is_empty(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    assert_eq!(store.revision().await.unwrap(), at(0));
    assert_eq!(store.get("/a").await.unwrap(), (None, at(0)));
    let listing = list(&*store, "").await;
    assert_eq!(
        (listing.entries.len(), listing.revision, listing.remaining),
        (0, at(0), 0)
    );
}

/// By exactly one per commit, and every answer carries them.
pub async fn revisions_grow_by_one(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    for n in 1..=20 {
        assert_eq!(put(&*store, &format!("/{}", n % 3), "x").await, at(n));
        assert_eq!(store.revision().await.unwrap(), at(n));
    }
    let (entry, revision) = store.get("/0").await.unwrap();
    let entry = entry.unwrap();
    assert_eq!(
        (entry.created, entry.modified, revision),
        (at(3), at(18), at(20))
    );
    assert_eq!(list(&*store, "/").await.revision, at(20));
}

/// Who names a revision that was told gets an answer that is no older.
pub async fn reads_since_a_revision_are_no_older(fixture: Fixture) {
    let store = fixture.open();
    for n in 0..50 {
        let known = put(&*store, "/k/a", &n.to_string()).await;
        let (entry, at) = store.get_since("/k/a", known).await.unwrap();
        assert_eq!((entry.unwrap().modified, at), (known, known));
        let listing = store.list_since("/k/", known).await.unwrap();
        assert_eq!(pairs(&listing.entries), [format!("/k/a={n}")]);
        assert_eq!((listing.revision, listing.remaining), (known, 0));
        assert_eq!(store.get_since("/k", known).await.unwrap(), (None, known));
    }
}

/// Every combination of precondition, operation and state.
pub async fn preconditions_decide(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    let first = create(&*store, "/k", "1").await;
    let second = put(&*store, "/k", "2").await;
    let current = store.get("/k").await.unwrap().0;

    for op in [Op::Put("x".into()), Op::Delete] {
        for (key, precondition, expected) in [
            ("/k", Precondition::Absent, &current),
            ("/k", Precondition::At(first), &current),
            ("/k", Precondition::At(at(99)), &current),
            ("/none", Precondition::At(first), &None),
        ] {
            let refused = store
                .commit(Write {
                    key: key.into(),
                    precondition,
                    op: op.clone(),
                    space: Space::Ordinary,
                })
                .await;
            let Err(StoreError::Conflict { current }) = refused else {
                panic!("{key} {precondition:?}: {refused:?}")
            };
            assert_eq!(&current, expected, "{key} {precondition:?} {op:?}");
        }
    }
    for precondition in [Precondition::Any, Precondition::Absent] {
        let refused = store
            .commit(Write {
                key: "/none".into(),
                precondition,
                op: Op::Delete,
                space: Space::Ordinary,
            })
            .await;
        assert!(
            matches!(refused, Err(StoreError::Conflict { current: None })),
            "{precondition:?}: {refused:?}"
        );
    }

    let updated = store
        .commit(Write::update("/k", second, "3"))
        .await
        .unwrap();
    assert_eq!(updated.previous, current);
    let deleted = store
        .commit(Write {
            key: "/k".into(),
            precondition: Precondition::Any,
            op: Op::Delete,
            space: Space::Ordinary,
        })
        .await
        .unwrap();
    assert_eq!(deleted.previous.unwrap().modified, updated.revision);
    assert_eq!(store.get("/k").await.unwrap(), (None, deleted.revision));
}

/// Created anew, with nothing before it.
pub async fn a_recreated_key_is_new(fixture: Fixture) {
    let store = fixture.open();
    create(&*store, "/k", "1").await;
    delete(&*store, "/k").await;
    let committed = store.commit(Write::create("/k", "2")).await.unwrap();
    assert_eq!(committed.previous, None);
    assert_eq!(
        store.get("/k").await.unwrap().0.unwrap().created,
        committed.revision
    );
}

/// A refused write leaves no trace.
pub async fn failed_writes_use_no_revision(fixture: Fixture) {
    let store = fixture.open();
    let first = create(&*store, "/k", "1").await;
    for _ in 0..5 {
        store.commit(Write::create("/k", "2")).await.unwrap_err();
    }
    assert_eq!(create(&*store, "/l", "1").await, first.next());
}

/// By bytes, not by components or letters.
pub async fn lists_are_sorted_and_bounded_by_the_prefix(fixture: Fixture) {
    let store = fixture.open();
    for key in [
        "/pods/b/x",
        "/pods/a/y",
        "/pods/a",
        "/pods/ab/z",
        "/podsx/a/q",
        "/pod",
        "/pods/ä/u",
        "/pods/a/x",
        "0",
    ] {
        create(&*store, key, "v").await;
    }
    let listed = |prefix: &'static str| {
        let store = Arc::clone(&store);
        async move { keys(&list(&*store, prefix).await.entries).join(" ") }
    };
    assert_eq!(
        listed("/pods/").await,
        "/pods/a /pods/a/x /pods/a/y /pods/ab/z /pods/b/x /pods/ä/u"
    );
    assert_eq!(
        listed("/pods/a").await,
        "/pods/a /pods/a/x /pods/a/y /pods/ab/z"
    );
    assert_eq!(listed("/pods/a/").await, "/pods/a/x /pods/a/y");
    assert_eq!(listed("/pods/a/x").await, "/pods/a/x");
    assert_eq!(listed("/zzz").await, "");
    assert_eq!(list(&*store, "").await.entries.len(), 9);
}

/// Every entry once, with the right count of what remains.
pub async fn pages_partition_a_list(fixture: Fixture) {
    let store = fixture.open();
    for n in 0..25 {
        create(&*store, &format!("/p/{n:02}"), "v").await;
        create(&*store, &format!("/q/{n:02}"), "v").await;
    }
    let whole = list(&*store, "/p/").await;
    for limit in [1, 4, 5, 24, 25, 26] {
        let mut request = ListRequest {
            limit: Some(limit),
            ..ListRequest::prefix("/p/")
        };
        let mut entries = Vec::new();
        loop {
            let page = store.list(request.clone()).await.unwrap();
            assert!(page.entries.len() <= limit);
            entries.extend(page.entries);
            assert_eq!(page.remaining, (25 - entries.len()) as u64);
            if page.remaining == 0 {
                break;
            }
            request.after = entries.last().map(|entry| entry.key.to_string());
            request.at = Some(page.revision);
        }
        assert_eq!(entries, whole.entries, "limit {limit}");
    }
    let count = store
        .list(ListRequest {
            limit: Some(0),
            ..ListRequest::prefix("/p/")
        })
        .await
        .unwrap();
    assert_eq!((count.entries.len(), count.remaining), (0, 25));
    for (after, expected) in [
        ("", 25),
        ("/a", 25),
        ("/p/", 25),
        ("/p/11", 13),
        ("/p/115", 13),
        ("/p/24", 0),
        ("/q", 0),
    ] {
        let request = ListRequest {
            after: Some(after.to_owned()),
            ..ListRequest::prefix("/p/")
        };
        assert_eq!(
            store.list(request).await.unwrap().entries.len(),
            expected,
            "after {after:?}"
        );
    }
}

/// Beyond the limits a write is refused, at the limits it works.
pub async fn sizes_are_limited(fixture: Fixture) {
    let store = fixture.open();
    let key = |size: usize| "k".repeat(size);
    for (key, value) in [
        (key(0), 1),
        (key(limits::KEY_BYTES + 1), 1),
        (key(1), limits::VALUE_BYTES + 1),
    ] {
        let refused = store.commit(Write::create(key, vec![b'v'; value])).await;
        assert!(
            matches!(refused, Err(StoreError::TooLarge { .. })),
            "{refused:?}"
        );
    }
    store
        .commit(Write::create(
            key(limits::KEY_BYTES),
            vec![b'v'; limits::VALUE_BYTES],
        ))
        .await
        .unwrap();
    let (entry, _) = store.get(&key(limits::KEY_BYTES)).await.unwrap();
    assert_eq!(entry.unwrap().value.len(), limits::VALUE_BYTES);
}

/// Empty and binary ones too.
pub async fn values_are_any_bytes(fixture: Fixture) {
    let store = fixture.open();
    let all: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        ("/empty", Vec::new()),
        ("/zeros", vec![0; 5000]),
        ("/all", all),
    ] {
        store
            .commit(Write::create(key, value.clone()))
            .await
            .unwrap();
        assert_eq!(
            store.get(key).await.unwrap().0.unwrap().value,
            value,
            "{key}"
        );
    }
}

/// Compare and swap is atomic, and a reader sees its own write.
pub async fn concurrent_increments_all_count(fixture: Fixture) {
    let store = fixture.open();
    let base = base(&*store).await;
    let at = move |n: u64| Revision(base + n);
    create(&*store, "/counter", "0").await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
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
    assert_eq!(pairs(&list(&*store, "").await.entries), ["/counter=80"]);
    assert_eq!(store.revision().await.unwrap(), at(81));
}
