//! The log engine against the redb engine: the same random history, the same answers.

use std::sync::Arc;

use proptest::prelude::*;

use super::tiny;
use crate::log::{LogStore, Options};
use crate::redb::RedbStore;
use crate::{
    ListRequest, Op, Precondition, Retention, Revision, Space, Store, StoreError, Watch, WatchItem,
    Write,
};

const RETENTION: Retention = Retention {
    revisions: 12,
    bytes: u64::MAX,
};

#[derive(Debug, Clone)]
enum Step {
    Commit {
        key: u8,
        precondition: Guess,
        value: Option<u16>,
    },
    /// A burst of writes at once.
    Burst(u8),
    List {
        prefix: u8,
        after: Option<u8>,
        limit: Option<usize>,
        back: u64,
    },
    Watch {
        prefix: u8,
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Guess {
    Any,
    Absent,
    Current,
    Stale,
}

const KEYS: [&str; 8] = ["/a/1", "/a/2", "/a", "/ab/1", "/b/1", "/b/2", "/ü/1", "/"];
const PREFIXES: [&str; 5] = ["", "/a", "/a/", "/b/", "/none"];

fn step() -> impl Strategy<Value = Step> {
    let guess = prop_oneof![
        3 => Just(Guess::Any),
        1 => Just(Guess::Absent),
        3 => Just(Guess::Current),
        1 => Just(Guess::Stale),
    ];
    prop_oneof![
        10 => (0..8u8, guess, prop::option::weighted(0.7, 0..2000u16))
            .prop_map(|(key, precondition, value)| Step::Commit { key, precondition, value }),
        1 => (1..30u8).prop_map(Step::Burst),
        4 => (0..5u8, prop::option::of(0..8u8), prop::option::of(0..6usize), 0..15u64)
            .prop_map(|(prefix, after, limit, back)| Step::List { prefix, after, limit, back }),
        2 => (0..5u8, 0..15u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0..15u64).prop_map(|back| Step::Compact { back }),
        2 => Just(Step::Reopen),
    ]
}

struct Pair {
    directory: tempfile::TempDir,
    log: Option<Arc<LogStore>>,
    redb: Option<Arc<RedbStore>>,
    /// From here on, both must answer.
    oldest: Revision,
}

impl Pair {
    fn open(&mut self) {
        // Before they can be opened again.
        self.log = None;
        self.redb = None;
        let options = Options {
            retention: RETENTION,
            ..tiny()
        };
        self.log = Some(Arc::new(
            LogStore::open(self.directory.path().join("log"), options).unwrap(),
        ));
        self.redb = Some(Arc::new(
            RedbStore::open(self.directory.path().join("redb"), RETENTION).unwrap(),
        ));
    }

    fn both(&self) -> (&dyn Store, &dyn Store) {
        (
            &**self.log.as_ref().unwrap(),
            &**self.redb.as_ref().unwrap(),
        )
    }

    /// The same answer, or one of them forgot what it may forget.
    fn compare<T: PartialEq + std::fmt::Debug>(
        &self,
        at: Revision,
        left: Result<T, StoreError>,
        right: Result<T, StoreError>,
    ) {
        let forgot =
            |outcome: &Result<T, StoreError>| matches!(outcome, Err(StoreError::Compacted { .. }));
        if at < self.oldest && (forgot(&left) || forgot(&right)) {
            return;
        }
        match (left, right) {
            (Ok(left), Ok(right)) => assert_eq!(left, right),
            (Err(left), Err(right)) => assert_eq!(format!("{left:?}"), format!("{right:?}")),
            (left, right) => panic!("{left:?}\n{right:?}"),
        }
    }

    async fn run(&mut self, step: Step) {
        if let Step::Reopen = step {
            self.open();
        }
        let (log, redb) = self.both();
        let newest = log.revision().await.unwrap();
        assert_eq!(newest, redb.revision().await.unwrap());
        let back = |back: u64| Revision(newest.0.saturating_sub(back));
        match step {
            Step::Commit {
                key,
                precondition,
                value,
            } => {
                let key = KEYS[usize::from(key)];
                let (current, _) = log.get(key).await.unwrap();
                assert_eq!(current, redb.get(key).await.unwrap().0);
                let precondition = match precondition {
                    Guess::Any => Precondition::Any,
                    Guess::Absent => Precondition::Absent,
                    Guess::Current => {
                        Precondition::At(current.map_or(newest, |entry| entry.modified))
                    }
                    Guess::Stale => Precondition::At(back(3)),
                };
                let op = value.map_or(Op::Delete, |size| {
                    Op::Put(vec![b'v'; usize::from(size)].into())
                });
                let write = Write {
                    key: key.into(),
                    precondition,
                    op,
                    space: Space::Ordinary,
                };
                self.compare(
                    newest,
                    log.commit(write.clone()).await,
                    redb.commit(write).await,
                );
            }
            Step::Burst(count) => {
                for n in 0..count {
                    let write = Write::put(KEYS[usize::from(n) % 8], format!("{newest} {n}"));
                    self.compare(
                        newest,
                        log.commit(write.clone()).await,
                        redb.commit(write).await,
                    );
                }
            }
            Step::List {
                prefix,
                after,
                limit,
                back: by,
            } => {
                let at = back(by);
                let request = ListRequest {
                    prefix: PREFIXES[usize::from(prefix)].to_owned(),
                    after: after.map(|key| KEYS[usize::from(key)].to_owned()),
                    limit,
                    at: (by % 5 != 0).then_some(at),
                };
                self.compare(
                    at,
                    log.list(request.clone()).await,
                    redb.list(request).await,
                );
            }
            Step::Watch { prefix, back: by } => {
                let (prefix, after) = (PREFIXES[usize::from(prefix)], back(by));
                let left = log.watch(prefix, after).await.map(drain);
                let right = redb.watch(prefix, after).await.map(drain);
                self.compare(after, left, right);
            }
            Step::Compact { back: by } => {
                let through = back(by);
                log.compact(through).await.unwrap();
                redb.compact(through).await.unwrap();
                self.oldest = self.oldest.max(through);
            }
            Step::Reopen => {
                let all = ListRequest::default();
                self.compare(newest, log.list(all.clone()).await, redb.list(all).await);
            }
        }
        let newest = self.both().0.revision().await.unwrap();
        self.oldest = self
            .oldest
            .max(Revision(newest.0.saturating_sub(RETENTION.revisions)));
    }
}

fn drain(mut watch: Watch) -> Vec<WatchItem> {
    std::iter::from_fn(|| watch.poll_now().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn log_and_redb_agree(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut pair = Pair { directory, log: None, redb: None, oldest: Revision::ZERO };
            pair.open();
            for step in steps {
                pair.run(step).await;
            }
        });
    }
}
