//! `kill -9` of `ferrovirt up` at random points, under concurrent writers and watchers.
//!
//! `FERROVIRT_CRASH_ROUNDS` is how often (20 if not set), `FERROVIRT_SEED` the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use testkit::{Options, Platform, eventually, run};
use tokio::task::JoinHandle;

use super::keys::{Key, Written};
use super::watchers::{END, Watcher};
use super::{CONFIG_MAPS, ask, setting, version};

const WRITERS: u64 = 8;
const KEYS_EACH: u64 = 3;
const WATCHERS: usize = 3;
/// At most so many writes are acknowledged before a kill.
const WRITES: u64 = 120;

/// Writes to its keys until no answer comes.
async fn write_on(
    client: Client,
    mut keys: Vec<Key>,
    mut random: StdRng,
    count: Arc<AtomicU64>,
) -> Result<Vec<Key>> {
    loop {
        let chosen = random.random_range(0..keys.len());
        match keys[chosen].write(&client, &mut random).await? {
            Written::Acknowledged => count.fetch_add(1, Ordering::Relaxed),
            Written::Lost => return Ok(keys),
            Written::Refused(code, why) => bail!("{code}: {why}"),
        };
    }
}

/// Compares all keys with what is there; gives the list's version.
pub(super) async fn settle(client: &Client, keys: &mut [Key]) -> Result<u64> {
    let list = ask(
        client,
        Method::GET,
        CONFIG_MAPS,
        "application/json",
        &Value::Null,
    )
    .await?
    .done()?;
    let items = list["items"].as_array().context("a list has items")?;
    let found: BTreeMap<&str, &Value> = items.iter().map(|o| (super::name(o), o)).collect();
    for key in keys.iter_mut() {
        key.settle(found.get(key.name.as_str()).copied())?;
    }
    for name in found.keys().filter(|n| n.starts_with("key-")) {
        ensure!(
            keys.iter().any(|k| k.name == *name),
            "{name} was never made"
        );
    }
    version(&list)
}

fn follow(watchers: Vec<Watcher>, client: &Client) -> Vec<JoinHandle<Result<Watcher>>> {
    watchers
        .into_iter()
        .map(|mut watcher| {
            let client = client.clone();
            tokio::spawn(async move { watcher.follow(client).await.map(|()| watcher) })
        })
        .collect()
}

pub(super) async fn all<T>(tasks: Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.context("a task panicked")??);
    }
    Ok(done)
}

async fn round(
    p: &mut Platform,
    keys: Vec<Key>,
    watchers: Vec<Watcher>,
    random: &mut StdRng,
) -> Result<(Vec<Key>, Vec<Watcher>)> {
    let watching = follow(watchers, p.client());
    let count = Arc::new(AtomicU64::new(0));
    let mut keys = keys.into_iter();
    let writing: Vec<_> = (0..WRITERS)
        .map(|_| {
            let own = keys.by_ref().take(KEYS_EACH as usize).collect();
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(write_on(p.client().clone(), own, random, count.clone()))
        })
        .collect();
    let enough = random.random_range(0..WRITES);
    let jitter = Duration::from_micros(random.random_range(0..5_000));
    eventually("writes to be acknowledged", async || {
        // In steps so short that the kill hits any point of a write; a writer that failed says why below.
        while count.load(Ordering::Relaxed) < enough && !writing.iter().any(JoinHandle::is_finished)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })
    .await?;
    // Not a wait for anything: the moment of the fault.
    tokio::time::sleep(jitter).await;
    p.kill9()?;
    let keys = all(writing).await?.into_iter().flatten().collect();
    Ok((keys, all(watching).await?))
}

async fn crash_loop(p: &mut Platform, rounds: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys: Vec<Key> = (0..WRITERS * KEYS_EACH)
        .map(|n| Key::new(format!("key-{n}")))
        .collect();
    let begin = settle(p.client(), &mut keys).await?;
    let mut watchers: Vec<Watcher> = (0..WATCHERS).map(|_| Watcher::new(begin)).collect();
    for n in 0..rounds {
        let ended = round(p, keys, watchers, &mut random).await;
        (keys, watchers) = ended.with_context(|| format!("round {n}"))?;
        if random.random_bool(0.25) {
            // A start is killed too, in the middle of its recovery or just before it is ready.
            let after = Duration::from_micros(random.random_range(0..400_000));
            p.start_and_kill9(after).await?;
        }
        p.restart().await?;
        let settled = settle(p.client(), &mut keys).await;
        settled.with_context(|| format!("after round {n}"))?;
    }
    let end = json!({"metadata": {"name": END}});
    let watching = follow(watchers, p.client());
    ask(
        p.client(),
        Method::POST,
        CONFIG_MAPS,
        "application/json",
        &end,
    )
    .await?
    .done()?;
    let mut events = 0;
    for watcher in all(watching).await? {
        events += watcher.check(&keys)?;
    }
    let landed = landed(&keys)?;
    ensure!(
        events == landed * WATCHERS,
        "events of keys that nobody wrote"
    );
    println!(
        "{rounds} rounds, {landed} writes landed, {events} events seen by {WATCHERS} watchers"
    );
    Ok(())
}

/// How many writes landed; no two of them with one version.
pub(super) fn landed(keys: &[Key]) -> Result<usize> {
    let landed = keys.iter().flat_map(|k| &k.landed);
    let versions: Vec<u64> = landed.clone().filter_map(|l| l.version).collect();
    let distinct: BTreeSet<u64> = versions.iter().copied().collect();
    ensure!(
        distinct.len() == versions.len(),
        "a resourceVersion was given twice"
    );
    Ok(landed.count())
}

#[test]
fn a_server_killed_at_random_points_keeps_every_acknowledged_write_and_every_watch() {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    run(options, async |p| {
        let (rounds, seed) = (
            setting("FERROVIRT_CRASH_ROUNDS", 20),
            setting("FERROVIRT_SEED", 1),
        );
        Box::pin(crash_loop(p, rounds, seed))
            .await
            .with_context(|| format!("with FERROVIRT_SEED={seed}"))
    });
}
