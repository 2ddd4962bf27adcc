//! etcd is killed with SIGKILL at random points and started again on its data, under two API servers, writers that use
//! both, and watchers of both.
//!
//! ```text
//! writers ─┬─► one ─┐            503: certainly not done, tried again
//!          └─► two ─┴─► etcd     504: done or not; the writer reads until it knows, and only then goes on
//! watchers ◄── one, two          resume from the version seen last; after a 410 they list and watch from there
//! ```
//! `FERROVIRT_ETCD_KILLS` is how often (5 if not set; before a release: 200), `FERROVIRT_SEED` the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use testkit::{Platform, eventually};
use tokio::task::JoinHandle;

use super::crash_loop::{all, landed, settle};
use super::keys::{Key, Written};
use super::watchers::{END, Watcher};
use super::{Answer, CONFIG_MAPS, ask, setting};
use crate::replicas::{Base, run};

const WRITERS: u64 = 8;
const KEYS_EACH: u64 = 3;
/// Of each replica.
const WATCHERS: usize = 2;
/// At most so many writes are acknowledged between two kills.
const WRITES: u64 = 60;
const JSON: &str = "application/json";
/// For an answer, while etcd comes back.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(20);

/// What the writers tell, and are told.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    doubts: AtomicU64,
    doubts_landed: AtomicU64,
}

/// Reads a key until somebody answers, and settles what is in doubt.
async fn find_out(clients: &[Client], key: &mut Key, shared: &Shared) -> Result<()> {
    let before = key.landed.len();
    let path = format!("{CONFIG_MAPS}/{}", key.name);
    let asking = async {
        for client in clients.iter().cycle() {
            match ask(client, Method::GET, &path, JSON, &Value::Null).await? {
                Answer::Done(found) => return Ok(Some(found)),
                Answer::Refused(404, _) => break,
                Answer::Refused(503 | 504, _) => tokio::time::sleep(AGAIN).await,
                answer => return answer.done().map(Some),
            }
        }
        Ok(None)
    };
    let found = tokio::time::timeout(PATIENCE, asking).await;
    let found = found.with_context(|| format!("nobody said what became of {path}"))??;
    key.settle(found.as_ref())?;
    shared.doubts.fetch_add(1, Ordering::Relaxed);
    let landed = key.landed.len() > before;
    shared
        .doubts_landed
        .fetch_add(landed.into(), Ordering::Relaxed);
    Ok(())
}

/// Writes to its keys through all replicas until told to stop.
async fn write_on(
    clients: Vec<Client>,
    mut keys: Vec<Key>,
    mut random: StdRng,
    shared: Arc<Shared>,
) -> Result<Vec<Key>> {
    while !shared.stop.load(Ordering::Relaxed) {
        let key = random.random_range(0..keys.len());
        let key = &mut keys[key];
        let client = &clients[random.random_range(0..clients.len())];
        match key.write(client, &mut random).await? {
            Written::Acknowledged => shared.acknowledged.fetch_add(1, Ordering::Relaxed),
            // Reading must show that it did not happen: a later write of this key would fail.
            Written::Refused(503, _) => shared.refused.fetch_add(1, Ordering::Relaxed),
            Written::Refused(code, why) if !key.is_in_doubt() => bail!("{code}: {why}"),
            Written::Refused(..) => 0,
            Written::Lost => bail!("{}: the API server did not answer", key.name),
        };
        if key.is_in_doubt() {
            find_out(&clients, key, &shared).await?;
        }
    }
    Ok(keys)
}

fn follow(watcher: Watcher, client: &Client) -> JoinHandle<Result<Watcher>> {
    let (client, mut watcher) = (client.clone(), watcher);
    tokio::spawn(async move { watcher.follow_to_the_end(client).await.map(|()| watcher) })
}

async fn kill_etcd(
    base: &mut Base,
    shared: &Shared,
    writing: &[JoinHandle<Result<Vec<Key>>>],
    random: &mut StdRng,
) -> Result<()> {
    let enough = shared.acknowledged.load(Ordering::Relaxed) + random.random_range(1..WRITES);
    let jitter = Duration::from_micros(random.random_range(0..5_000));
    eventually("writes to be acknowledged", async || {
        // In steps so short that the kill hits any point of a write; a writer that failed says why at the end.
        while shared.acknowledged.load(Ordering::Relaxed) < enough
            && !writing.iter().any(JoinHandle::is_finished)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })
    .await?;
    // Not a wait for anything: the moment of the fault.
    tokio::time::sleep(jitter).await;
    base.etcd.kill();
    if random.random_bool(0.25) {
        // And again as soon as it listens, when everybody is about to come back.
        base.etcd.restart();
        let after = Duration::from_micros(random.random_range(0..100_000));
        tokio::time::sleep(after).await;
        base.etcd.kill();
    }
    base.etcd.restart();
    Ok(())
}

async fn content(p: &Platform) -> Result<BTreeMap<String, Value>> {
    let list = ask(p.client(), Method::GET, CONFIG_MAPS, JSON, &Value::Null).await?;
    let mut list = list.done()?;
    let items = list["items"].as_array_mut().context("a list has items")?;
    let named = |item: Value| (super::name(&item).to_owned(), item);
    Ok(std::mem::take(items).into_iter().map(named).collect())
}

async fn kills(base: &mut Base, rounds: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let replicas = [base.api_only("one").await?, base.api_only("two").await?];
    let mut clients = Vec::new();
    for p in &replicas {
        clients.push(p.client_without_retries().await?);
    }
    let mut keys: Vec<Key> = (0..WRITERS * KEYS_EACH)
        .map(|n| Key::new(format!("key-{n}")))
        .collect();
    let begin = settle(&clients[0], &mut keys).await?;
    let mut watching = Vec::new();
    for client in &clients {
        watching.extend((0..WATCHERS).map(|_| follow(Watcher::new(begin), client)));
    }
    let shared = Arc::new(Shared::default());
    let mut keys = keys.into_iter();
    let writing: Vec<_> = (0..WRITERS)
        .map(|_| {
            let own = keys.by_ref().take(KEYS_EACH as usize).collect();
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(write_on(clients.clone(), own, random, shared.clone()))
        })
        .collect();
    for n in 0..rounds {
        if n == rounds / 2 {
            // One that begins before everything that is known: it is told so, and lists.
            watching.push(follow(Watcher::that_relists(1), &clients[1]));
        }
        let killed = kill_etcd(base, &shared, &writing, &mut random).await;
        killed.with_context(|| format!("round {n}"))?;
        if writing.iter().any(JoinHandle::is_finished) {
            break;
        }
    }
    // It works again, and not only by what was under way.
    let enough = shared.acknowledged.load(Ordering::Relaxed) + WRITES;
    eventually("writes after the last kill", async || {
        let count = shared.acknowledged.load(Ordering::Relaxed);
        ensure!(
            count >= enough || writing.iter().any(JoinHandle::is_finished),
            "{count} of {enough}"
        );
        Ok(())
    })
    .await?;
    shared.stop.store(true, Ordering::Relaxed);
    let mut keys: Vec<Key> = all(writing).await?.into_iter().flatten().collect();

    // Every replica says the same, and so does one that knows nothing but what etcd has.
    for client in &clients {
        settle(client, &mut keys).await?;
    }
    let fresh = base.api_only("three").await?;
    settle(fresh.client(), &mut keys).await?;
    let found = content(&fresh).await?;
    for p in &replicas {
        ensure!(content(p).await? == found, "replicas differ");
    }
    let end = json!({"metadata": {"name": END}});
    ask(fresh.client(), Method::POST, CONFIG_MAPS, JSON, &end)
        .await?
        .done()?;
    let (mut events, mut relists) = (0, 0);
    let ended = eventually("the watches to end", async || {
        ensure!(watching.iter().all(JoinHandle::is_finished));
        Ok(())
    });
    ended.await?;
    for watcher in all(watching).await? {
        events += watcher.check(&keys)?;
        relists += watcher.relists();
    }
    ensure!(relists >= 1, "nobody had to list again");
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{rounds} kills of etcd: {} writes landed ({} acknowledged at once; {} in doubt, of which {} had happened), {} refused, {events} events seen by {} watchers, {relists} lists after a 410",
        landed(&keys)?,
        count(&shared.acknowledged),
        count(&shared.doubts),
        count(&shared.doubts_landed),
        count(&shared.refused),
        2 * WATCHERS + 1,
    );
    Ok(())
}

#[test]
fn an_etcd_killed_at_random_points_keeps_every_acknowledged_write_and_every_watch() {
    run(async {
        let (rounds, seed) = (
            setting("FERROVIRT_ETCD_KILLS", 5),
            setting("FERROVIRT_SEED", 1),
        );
        let mut base = Base::new()?;
        Box::pin(kills(&mut base, rounds, seed))
            .await
            .with_context(|| format!("with FERROVIRT_SEED={seed}"))
    });
}
