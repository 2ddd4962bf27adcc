use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use store::log::{LogStore, Options};
use store::{Committed, Listing, Retention, Watch, Write};
use tokio::sync::watch as channel;

use super::*;
use crate::registry::codec::DecodeError;

/// Longest time for anything.
const BOUND: Duration = Duration::from_secs(60);
const KEYS: [&str; 5] = ["/n/a", "/n/b", "/n/c", "/n/d", "/other/e"];

/// What a view of numbers was shown.
#[derive(Default)]
struct Shown {
    numbers: channel::Sender<BTreeMap<String, u64>>,
    changed: Mutex<Vec<Vec<String>>>,
    reads: channel::Sender<usize>,
    /// Whether numbers above 100 can be read.
    large: AtomicBool,
}

/// Keeps numbers, but for 13. While its gate is shut, it is busy.
struct Numbers<const NEEDS_ALL: bool> {
    shown: Arc<Shown>,
    open: channel::Receiver<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<const ALL: bool> View for Numbers<ALL> {
    type Known = u64;
    const PREFIX: &'static str = "/n/";
    const WHAT: &'static str = "numbers";
    const NEEDS_ALL: bool = ALL;

    fn read(&self, entry: &Entry) -> Result<Option<u64>, LoadError> {
        self.shown.reads.send_modify(|n| *n += 1);
        let mut number = serde_json::from_slice::<u64>(&entry.value);
        if matches!(number, Ok(n) if n > 100) && !self.shown.large.load(SeqCst) {
            number = serde_json::from_slice(b"large");
        }
        let number = number
            .map_err(|e| LoadError::Object(Arc::clone(&entry.key), DecodeError::Malformed(e)))?;
        Ok((number != 13).then_some(number))
    }

    async fn take_up(&mut self, objects: &Objects<u64>, changed: &BTreeSet<Arc<str>>) {
        self.open.wait_for(|open| *open).await.unwrap();
        let shown = objects.0.iter().map(|(k, (_, n))| (k.to_string(), *n));
        self.shown.numbers.send_replace(shown.collect());
        let changed = changed.iter().map(ToString::to_string).collect();
        lock(&self.shown.changed).push(changed);
    }
}

/// A store that can be told to fail.
struct Faulty {
    store: LogStore,
    failing: AtomicBool,
    lists: AtomicUsize,
}

impl Faulty {
    fn check(&self) -> Result<(), StoreError> {
        if self.failing.load(SeqCst) {
            return Err(StoreError::Unavailable {
                why: "told to".into(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.store.get(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.lists.fetch_add(1, SeqCst);
        self.check()?;
        self.store.list(request).await
    }
    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.store.commit(write).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.check()?;
        self.store.watch(prefix, after).await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.store.compact(through).await
    }
}

/// A store, and what follows it.
struct Bench {
    store: Arc<Faulty>,
    shown: Arc<Shown>,
    caught_up: Arc<CaughtUp>,
    gate: channel::Sender<bool>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    /// A store that remembers `history` revisions.
    fn new(history: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            retention: Retention {
                revisions: history,
                ..Retention::default()
            },
            ..Options::default()
        };
        let store = Faulty {
            store: LogStore::open(dir.path(), options).unwrap(),
            failing: AtomicBool::new(false),
            lists: AtomicUsize::new(0),
        };
        Bench {
            store: Arc::new(store),
            shown: Arc::default(),
            caught_up: Arc::default(),
            gate: channel::Sender::new(true),
            stop: CancellationToken::new(),
            _dir: dir,
        }
    }

    async fn start<const NEEDS_ALL: bool>(&self) -> Result<(), LoadError> {
        let view: Numbers<NEEDS_ALL> = Numbers {
            shown: Arc::clone(&self.shown),
            open: self.gate.subscribe(),
        };
        let store: Arc<dyn Store> = Arc::<Faulty>::clone(&self.store);
        start(view, store, Arc::clone(&self.caught_up), self.stop.clone()).await
    }

    async fn put(&self, key: &str, value: &str) -> Revision {
        let write = Write::put(key, value.to_owned());
        self.store.commit(write).await.unwrap().revision
    }

    async fn delete(&self, key: &str) -> Option<Revision> {
        let modified = self.store.get(key).await.unwrap().0?.modified;
        let write = Write::delete(key, modified);
        Some(self.store.commit(write).await.unwrap().revision)
    }

    /// Waits until what was committed at `revision` is taken up.
    async fn reached(&self, revision: Revision) {
        let mut at = self.caught_up.subscribe();
        let reached = at.wait_for(|at| *at >= revision.0);
        let reached = tokio::time::timeout(BOUND, reached).await;
        reached.expect("taken up in time").unwrap();
    }

    fn reads(&self) -> usize {
        *self.shown.reads.borrow()
    }

    /// Waits until so many versions of objects were read.
    async fn has_read(&self, count: usize) {
        let mut reads = self.shown.reads.subscribe();
        let read = reads.wait_for(|reads| *reads >= count);
        tokio::time::timeout(BOUND, read).await.unwrap().unwrap();
    }

    fn numbers(&self) -> Vec<(String, u64)> {
        self.shown.numbers.borrow().clone().into_iter().collect()
    }

    fn last_changed(&self) -> Vec<String> {
        lock(&self.shown.changed)
            .last()
            .cloned()
            .unwrap_or_default()
    }

    /// What there is to show.
    async fn wanted(&self) -> Vec<(String, u64)> {
        let listing = self.store.store.list(ListRequest::prefix("/n/")).await;
        let entries = listing.unwrap().entries;
        let numbers = entries.iter().filter_map(|entry| {
            let number = serde_json::from_slice(&entry.value).ok()?;
            (number != 13).then(|| (entry.key.to_string(), number))
        });
        numbers.collect()
    }
}

fn of(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
}

#[tokio::test]
async fn what_is_there_is_taken_up_before_the_start_is_over_and_changes_after_it() {
    let bench = Bench::new(1000);
    bench.put("/n/a", "1").await;
    bench.put("/n/b", "13").await;
    let revision = bench.put("/other/e", "5").await;
    bench.start::<true>().await.unwrap();
    assert_eq!(bench.numbers(), of(&[("/n/a", 1)]));
    assert_eq!(bench.last_changed(), ["/n/a"]);
    assert_eq!(bench.caught_up.at(), revision.0);

    bench.put("/n/a", "2").await;
    bench.reached(bench.put("/n/b", "3").await).await;
    assert_eq!(bench.numbers(), of(&[("/n/a", 2), ("/n/b", 3)]));
    // One that does not concern the view any more is as one that went.
    bench.reached(bench.put("/n/a", "13").await).await;
    assert_eq!(bench.numbers(), of(&[("/n/b", 3)]));
    assert_eq!(bench.last_changed(), ["/n/a"]);
    bench.reached(bench.delete("/n/b").await.unwrap()).await;
    assert_eq!(bench.numbers(), []);
    assert_eq!(bench.last_changed(), ["/n/b"]);
}

#[tokio::test]
async fn a_view_of_nothing_is_shown_nothing_once() {
    let bench = Bench::new(1000);
    bench.start::<true>().await.unwrap();
    assert_eq!(*lock(&bench.shown.changed), [Vec::<String>::new()]);
}

#[tokio::test]
async fn changes_that_wait_are_taken_up_together() {
    let bench = Bench::new(1000);
    bench.start::<true>().await.unwrap();
    bench.gate.send_replace(false);
    let mut last = Revision::ZERO;
    for n in 0..50 {
        last = bench.put("/n/a", &n.to_string()).await;
    }
    // Nothing is said to be taken up while the view is busy with it.
    assert!(bench.caught_up.at() < last.0);
    bench.gate.send_replace(true);
    bench.reached(last).await;
    assert_eq!(bench.numbers(), of(&[("/n/a", 49)]));
    // The first call, the one that was held up, and the rest.
    assert!(lock(&bench.shown.changed).len() <= 3);
}

#[tokio::test]
async fn what_a_watch_has_missed_is_found_by_listing() {
    let bench = Bench::new(1000);
    for (key, value) in [("/n/a", "1"), ("/n/b", "2"), ("/n/c", "3")] {
        bench.put(key, value).await;
    }
    bench.start::<true>().await.unwrap();
    bench.gate.send_replace(false);
    bench.put("/n/c", "4").await;
    // The view is busy with the first change; the history of those behind it is forgotten.
    bench.has_read(4).await;
    bench.put("/n/a", "5").await;
    bench.delete("/n/b").await;
    let last = bench.put("/n/d", "6").await;
    bench.store.compact(last).await.unwrap();
    bench.gate.send_replace(true);
    bench.reached(last).await;
    assert_eq!(bench.store.lists.load(SeqCst), 2);
    let there = of(&[("/n/a", 5), ("/n/c", 4), ("/n/d", 6)]);
    assert_eq!(bench.numbers(), there);
    let told: BTreeSet<String> = lock(&bench.shown.changed)
        .iter()
        .skip(1)
        .flatten()
        .cloned()
        .collect();
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        ["/n/a", "/n/b", "/n/c", "/n/d"]
    );
    // Each version of an object is read once, however often it is listed.
    let (reads, revision) = (bench.reads(), last.next());
    assert_eq!(reads, 6);
    bench.reached(bench.put("/n/d", "7").await).await;
    assert_eq!(
        (bench.caught_up.at(), bench.reads()),
        (revision.0, reads + 1)
    );
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stays_as_it_was_and_is_tried_again() {
    let bench = Bench::new(1000);
    bench.put("/n/a", "1").await;
    bench.start::<true>().await.unwrap();
    bench.put("/n/a", "1000").await;
    bench.reached(bench.put("/n/b", "2").await).await;
    assert_eq!(bench.numbers(), of(&[("/n/a", 1), ("/n/b", 2)]));
    // It was not the object that was at fault, as with a key of the encryption that came late.
    bench.shown.large.store(true, SeqCst);
    let mut numbers = bench.shown.numbers.subscribe();
    let read = numbers.wait_for(|numbers| numbers["/n/a"] == 1000);
    tokio::time::timeout(BOUND, read).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_view_that_refuses_by_what_it_knows_does_not_start_with_a_part_of_it() {
    let bench = Bench::new(1000);
    bench.put("/n/a", "1").await;
    bench.put("/n/b", "no number").await;
    let refused = bench.start::<true>().await.unwrap_err().to_string();
    assert!(refused.starts_with("decoding /n/b: "), "{refused}");
    bench.start::<false>().await.unwrap();
    assert_eq!(bench.numbers(), of(&[("/n/a", 1)]));
}

#[tokio::test]
async fn a_store_that_fails_leaves_the_view_as_it_was() {
    let bench = Bench::new(1000);
    bench.store.failing.store(true, SeqCst);
    let refused = bench.start::<true>().await.unwrap_err().to_string();
    assert_eq!(refused, "the database does not answer: told to");
    bench.store.failing.store(false, SeqCst);
    bench.put("/n/a", "1").await;
    bench.start::<true>().await.unwrap();
    bench.gate.send_replace(false);
    bench.put("/n/a", "2").await;
    bench.has_read(2).await;
    // The watch is over while nothing can be listed.
    bench.store.failing.store(true, SeqCst);
    bench.put("/n/a", "3").await;
    let last = bench.put("/n/a", "4").await;
    bench.store.compact(last).await.unwrap();
    bench.gate.send_replace(true);
    let mut numbers = bench.shown.numbers.subscribe();
    let first = numbers.wait_for(|numbers| numbers["/n/a"] > 1);
    tokio::time::timeout(BOUND, first).await.unwrap().unwrap();
    assert!(bench.caught_up.at() < last.0);
    bench.store.failing.store(false, SeqCst);
    bench.reached(last).await;
    assert_eq!(bench.numbers(), of(&[("/n/a", 4)]));
}

#[tokio::test]
async fn following_ends_with_its_token() {
    let bench = Bench::new(1000);
    bench.start::<true>().await.unwrap();
    bench.stop.cancel();
    // What is dropped with the task.
    tokio::time::timeout(BOUND, bench.gate.closed())
        .await
        .unwrap();
}

/// Random writes by random keys, with a short history, a view that is busy at times, and a store that fails at times.
#[tokio::test]
async fn whatever_happens_the_view_shows_what_is_there_in_the_end() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let bench = Bench::new(random.random_range(1..6));
        bench.start::<true>().await.unwrap();
        for _ in 0..60 {
            let key = KEYS[random.random_range(0..KEYS.len())];
            match random.random_range(0..20) {
                0..10 => {
                    bench
                        .put(key, &random.random_range(10..20).to_string())
                        .await;
                }
                10..14 => {
                    bench.delete(key).await;
                }
                14 => {
                    bench.put(key, "no number").await;
                }
                15 => bench.store.failing.store(random.random(), SeqCst),
                16..18 => {
                    bench.gate.send_replace(random.random());
                }
                _ => tokio::task::yield_now().await,
            }
        }
        bench.store.failing.store(false, SeqCst);
        bench.gate.send_replace(true);
        // Unreadable ones are replaced, so that there is one answer.
        for key in KEYS {
            if bench
                .store
                .get(key)
                .await
                .unwrap()
                .0
                .is_some_and(|e| e.value == "no number")
            {
                bench.put(key, "1").await;
            }
        }
        let last = bench.put("/n/a", "2").await;
        bench.reached(last).await;
        assert_eq!(bench.numbers(), bench.wanted().await, "seed {seed}");
    }
}
