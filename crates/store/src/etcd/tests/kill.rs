//! etcd is really killed, again and again, under writers of two replicas that find out what became of their writes.
//!
//! `FERROVIRT_ETCD_KILLS` sets how often (CI: 20; before a release: 200).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{directory, entries, etcd, options, until, wide, within};
use crate::etcd::{EtcdStore, Options};
use crate::{Event, Revision, Store, StoreError, Watch, WatchItem, Write};

const WRITERS: usize = 6;

/// A value that shows when half of it is missing.
fn value(number: u64) -> String {
    format!("{number} {} {number}", "x".repeat(number as usize % 3000))
}

fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(text, self::value(number), "half of it");
    number
}

/// Counts its key up until told to stop; returns the revision of every number.
async fn write(
    store: Arc<EtcdStore>,
    key: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> BTreeMap<u64, Revision> {
    let mut acknowledged = BTreeMap::new();
    let mut current: Option<(u64, Revision)> = None;
    while !stop.load(Ordering::Relaxed) {
        let next = current.map_or(1, |(number, _)| number + 1);
        let write = match current {
            None => Write::create(key.as_str(), value(next)),
            Some((_, modified)) => Write::update(key.as_str(), modified, value(next)),
        };
        let revision = match store.commit(write).await {
            Ok(committed) => committed.revision,
            Err(StoreError::Unavailable { .. }) => continue,
            Err(StoreError::Undecided { .. }) => {
                // Nobody else writes this key: it is there or it is not.
                let (found, _) = until(async || store.get(&key).await.ok()).await;
                match found {
                    Some(entry) if number(&entry.value) == next => entry.modified,
                    found => {
                        let found = found.map(|entry| (number(&entry.value), entry.modified));
                        assert_eq!(found, current, "{key}");
                        continue;
                    }
                }
            }
            Err(error) => panic!("{key} {next}: {error}"),
        };
        acknowledged.insert(next, revision);
        current = Some((next, revision));
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// Everything that a watch sees, until `end`.
async fn history(mut watch: Watch, end: Revision) -> Vec<Event> {
    let mut seen: Vec<Event> = Vec::new();
    watch.request_progress();
    loop {
        match watch.next().await.unwrap() {
            WatchItem::Event(event) => {
                assert!(
                    seen.last()
                        .is_none_or(|last| last.revision < event.revision)
                );
                seen.push(event);
            }
            WatchItem::Progress(revision) if revision >= end => return seen,
            WatchItem::Progress(_) => watch.request_progress(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_outlive_etcd() {
    let kills: u64 =
        std::env::var("FERROVIRT_ETCD_KILLS").map_or(20, |count| count.parse().unwrap());
    let mut random = SmallRng::seed_from_u64(7);
    let directory = directory();
    let mut server = etcd(directory.path());
    let options = Options {
        retention: wide(),
        ..options(&server)
    };
    let stores = [
        Arc::new(EtcdStore::open(options.clone()).await.unwrap()),
        Arc::new(EtcdStore::open(options.clone()).await.unwrap()),
    ];
    let base = stores[0].revision().await.unwrap();
    let mut watches = Vec::new();
    for store in &stores {
        watches.push(store.watch("", base).await.unwrap());
    }
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(write(store, format!("/w/{n}"), stop, done))
        })
        .collect();
    for _ in 0..kills {
        // At a random point: after so many writes, somewhere in the next ones.
        let target = done.load(Ordering::Relaxed) + random.random_range(1..60);
        until(async || (done.load(Ordering::Relaxed) >= target).then_some(())).await;
        server.kill();
        server.restart();
    }
    let target = done.load(Ordering::Relaxed) + 10;
    until(async || (done.load(Ordering::Relaxed) >= target).then_some(())).await;
    stop.store(true, Ordering::Relaxed);

    let mut expected = BTreeMap::new();
    for (n, writer) in writers.into_iter().enumerate() {
        let acknowledged = within(writer).await.unwrap();
        let (last, _) = acknowledged.last_key_value().unwrap();
        assert_eq!(acknowledged.len() as u64, *last, "it counts without a gap");
        expected.insert(format!("/w/{n}"), acknowledged);
    }
    let end = until(async || stores[0].revision().await.ok()).await;
    let mut histories = Vec::new();
    for watch in watches {
        histories.push(within(history(watch, end)).await);
    }
    assert_eq!(histories[0], histories[1], "both replicas saw the same");
    let mut seen: BTreeMap<String, BTreeMap<u64, Revision>> = BTreeMap::new();
    for event in &histories[0] {
        let numbers = seen.entry(event.key.to_string()).or_default();
        let next = number(event.value.as_ref().unwrap());
        assert_eq!(
            next,
            numbers.len() as u64 + 1,
            "{}: gapless and in order",
            event.key
        );
        let previous = event.previous.as_ref().map(|entry| number(&entry.value));
        assert_eq!(previous.unwrap_or_default(), next - 1);
        numbers.insert(next, event.revision);
    }
    assert_eq!(seen, expected, "what was seen is what was acknowledged");
    let fresh = EtcdStore::open(options).await.unwrap();
    let now = entries(&fresh).await;
    assert_eq!(now, entries(&stores[0]).await);
    for entry in now {
        let (last, revision) = expected[&*entry.key].last_key_value().unwrap();
        assert_eq!((number(&entry.value), entry.modified), (*last, *revision));
    }
    println!("{} writes over {kills} kills", done.load(Ordering::Relaxed));
}
