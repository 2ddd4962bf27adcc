//! Servers that come, die and come back, over one store.

use std::sync::Arc;
use std::time::Duration;

use store::log::{LogStore, Options};
use store::{ListRequest, Store, Write};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Replica;
use super::roll::{JoinError, Roll, Times};
use crate::sealing::Rules;
use crate::sealing::tests::{key, rules};

/// One that lives is found out soon, and never taken for dead, on any machine.
const LIVELY: Times = Times {
    beat: Duration::from_millis(20),
    lapse: Duration::from_secs(60),
    look: Duration::from_millis(5),
};
/// One that does not beat is dead soon.
const IMPATIENT: Times = Times {
    lapse: Duration::from_millis(200),
    ..LIVELY
};
const PATIENCE: Duration = Duration::from_secs(60);

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path().join("store"), Options::default()).unwrap();
    (dir, Arc::new(store))
}

fn replica(instance: &str, node: &str, runs_node: bool) -> Replica {
    Replica {
        instance: instance.to_owned(),
        node: node.to_owned(),
        runs_node,
        host: format!("host-of-{instance}"),
    }
}

fn sealed(byte: u8) -> Rules {
    rules("secrets", &key("k1", byte)).unwrap()
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it comes to an end in time")
}

async fn join(
    store: &Arc<dyn Store>,
    replica: Replica,
    rules: &Rules,
    times: Times,
) -> Result<Arc<Roll>, JoinError> {
    within(Roll::join_in(Arc::clone(store), replica, rules, times)).await
}

/// Lets it beat until the guard is dropped.
fn beating(roll: &Arc<Roll>, rules: impl Fn() -> Rules + Send + Sync + 'static) -> DropGuard {
    let (roll, stop) = (Arc::clone(roll), CancellationToken::new());
    let guard = stop.clone().drop_guard();
    tokio::spawn(async move { roll.keep(|| Arc::new(rules()), stop).await });
    guard
}

fn refused(outcome: Result<Arc<Roll>, JoinError>) -> String {
    match outcome {
        Err(error @ JoinError::Refused(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it joins"),
    }
}

async fn records(store: &Arc<dyn Store>) -> Vec<String> {
    let listing = store.list(ListRequest::prefix("/~control-plane/replicas/"));
    let entries = listing.await.unwrap().entries;
    let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    entries.iter().map(|entry| name(&entry.key)).collect()
}

#[tokio::test]
async fn a_node_name_that_is_in_use_is_refused() {
    let (_dir, store) = store();
    let plain = Rules::default();
    let one = join(&store, replica("a", "n1", true), &plain, LIVELY).await;
    let _beats = beating(&one.unwrap(), Rules::default);
    // Others of another name, or that run no node, are welcome.
    for other in [replica("b", "n2", true), replica("c", "n1", false)] {
        join(&store, other, &plain, LIVELY).await.unwrap();
    }
    let said = refused(join(&store, replica("d", "n1", true), &plain, LIVELY).await);
    assert!(
        said.contains("the control plane of node \"n1\" on host \"host-of-a\" has this node name")
            && said.contains("--node-name"),
        "{said}"
    );
    assert_eq!(records(&store).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn the_same_one_comes_back_at_once_and_a_dead_one_makes_way() {
    let (_dir, store) = store();
    let plain = Rules::default();
    // Ends without a word.
    let first = join(&store, replica("a", "n1", true), &plain, LIVELY).await;
    drop(first.unwrap());
    // Nobody is waited for.
    let again = join(&store, replica("a", "n1", true), &plain, LIVELY);
    let again = tokio::time::timeout(LIVELY.lapse / 2, again).await.unwrap();
    drop(again.unwrap());
    // Another one waits until that is dead.
    join(&store, replica("b", "n1", true), &plain, IMPATIENT)
        .await
        .unwrap();
    assert_eq!(records(&store).await, ["b"]);
}

#[tokio::test]
async fn one_that_was_taken_for_dead_ends() {
    let (_dir, store) = store();
    let plain = Rules::default();
    let one = join(&store, replica("a", "n1", true), &plain, LIVELY).await;
    let one = one.unwrap();
    // It cannot be heard for a while: nothing beats.
    let other = join(&store, replica("b", "n1", true), &plain, IMPATIENT).await;
    let _other = beating(&other.unwrap(), Rules::default);
    let _one = beating(&one, Rules::default);
    let why = within(one.displaced()).await;
    assert!(why.contains("host-of-b"), "{why}");
    assert_eq!(records(&store).await, ["b"]);
}

#[tokio::test]
async fn one_whose_record_was_lost_enters_it_again() {
    let (_dir, store) = store();
    let one = join(&store, replica("a", "n1", true), &Rules::default(), LIVELY).await;
    let one = one.unwrap();
    let key = "/~control-plane/replicas/a";
    let (entry, _) = store.get(key).await.unwrap();
    let write = Write::delete(key, entry.unwrap().modified);
    store.commit(write).await.unwrap();
    let _beats = beating(&one, Rules::default);
    within(async {
        while records(&store).await.is_empty() {
            tokio::time::sleep(LIVELY.look).await;
        }
    })
    .await;
}

#[tokio::test]
async fn two_processes_are_not_one_instance() {
    let (_dir, store) = store();
    let plain = Rules::default();
    let first = join(&store, replica("a", "n1", true), &plain, LIVELY).await;
    let first = first.unwrap();
    let second = join(&store, replica("a", "n1", true), &plain, LIVELY).await;
    let _second = beating(&second.unwrap(), Rules::default);
    let _first = beating(&first, Rules::default);
    let why = within(first.displaced()).await;
    assert!(why.contains("--data-dir"), "{why}");
}

#[tokio::test]
async fn other_keys_are_refused_and_said() {
    let (_dir, store) = store();
    let one = join(&store, replica("a", "n1", true), &sealed(1), LIVELY).await;
    let one = one.unwrap();
    let _beats = beating(&one, || sealed(1));
    let api_only = |instance: &str| replica(instance, "n2", false);
    let said = refused(join(&store, api_only("b"), &sealed(2), LIVELY).await);
    assert!(
        said.contains("the key \"k1\" has another secret there")
            && said.contains("--encryption-provider-config"),
        "{said}"
    );
    let said = refused(join(&store, api_only("b"), &Rules::default(), LIVELY).await);
    assert!(
        said.contains("secrets: sealed with the key \"k1\" there, which is not known here"),
        "{said}"
    );
    join(&store, api_only("b"), &sealed(1), LIVELY)
        .await
        .unwrap();
    // Nothing in the store tells the key.
    let (entry, _) = store.get("/~control-plane/replicas/a").await.unwrap();
    let value = String::from_utf8(entry.unwrap().value.to_vec()).unwrap();
    assert!(
        value.contains("\"k1\"") && !value.contains(&key("k1", 1)[40..60]),
        "{value}"
    );
}

#[tokio::test]
async fn rotation_goes_in_the_order_that_all_can_follow() {
    let (_dir, store) = store();
    let with = |providers: &[u8]| {
        let keys: Vec<_> = providers
            .iter()
            .map(|b| key(&format!("k{b}"), *b))
            .collect();
        rules("secrets", &keys.join(", ")).unwrap()
    };
    let old = with(&[1]);
    let one = join(&store, replica("a", "n1", true), &old, LIVELY).await;
    let two = join(&store, replica("b", "n2", true), &old, LIVELY).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    let _beats = beating(&two, move || with(&[1]));
    // Too early: the other one does not have the key yet.
    let Err(error) = within(one.change(&with(&[2, 1]))).await else {
        panic!("it is taken up");
    };
    let said = error.to_string();
    assert!(
        said.contains("sealed with the key \"k2\" here, which is not known there"),
        "{said}"
    );
    for step in [&[1, 2][..], &[2, 1], &[2]] {
        for roll in [&one, &two] {
            within(roll.change(&with(step))).await.unwrap();
        }
    }
}
