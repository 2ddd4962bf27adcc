//! Gets, compare-and-swaps and lists of many clients over TLS, recorded and checked.
//!
//! `FERROVIRT_OPERATIONS` is how many each client does (120 if not set), `FERROVIRT_SEED` the seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use testkit::{Options, run};

use super::checker::{Act, Content, Operation, Verdict, check};
use super::{Answer, CONFIG_MAPS, ask, name, setting};

const CLIENTS: u64 = 8;
const KEYS: usize = 3;
const JSON: &str = "application/json";

/// What the clients share: an order of instants, and numbers that are used once.
#[derive(Default)]
struct Shared {
    clock: AtomicU64,
    numbers: AtomicU32,
}

impl Shared {
    fn instant(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// A client remembers what it saw last of each key: that is what its next write expects.
struct Recorder {
    client: Client,
    shared: Arc<Shared>,
    random: StdRng,
    seen: [Option<(u32, String)>; KEYS],
    history: Vec<Operation>,
}

fn content(object: &Value) -> Result<(u32, String)> {
    let number = object
        .pointer("/data/number")
        .and_then(Value::as_str)
        .and_then(|n| n.parse().ok())
        .with_context(|| format!("no number in {object}"))?;
    let version = object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .context("no resourceVersion")?;
    Ok((number, version.to_owned()))
}

fn key_name(key: usize) -> String {
    format!("register-{key}")
}

impl Recorder {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<(u64, Answer, u64)> {
        let invoked = self.shared.instant();
        let answer = ask(&self.client, method, path, JSON, body).await?;
        Ok((invoked, answer, self.shared.instant()))
    }

    async fn step(&mut self) -> Result<()> {
        let key = self.random.random_range(0..KEYS);
        let path = format!("{CONFIG_MAPS}/{}", key_name(key));
        let (invoked, act, returned) = match self.random.random_range(0..10) {
            0..3 => {
                let (invoked, answer, returned) =
                    self.ask(Method::GET, &path, &Value::Null).await?;
                self.seen[key] = match answer {
                    Answer::Refused(404, _) => None,
                    answer => Some(content(&answer.done()?)?),
                };
                let found = self.number(key);
                (invoked, Act::Get { key, found }, returned)
            }
            3 => {
                let (invoked, answer, returned) =
                    self.ask(Method::GET, CONFIG_MAPS, &Value::Null).await?;
                let list = answer.done()?;
                let items = list["items"].as_array().context("a list has items")?;
                for key in 0..KEYS {
                    let item = items.iter().find(|o| name(o) == key_name(key));
                    self.seen[key] = item.map(content).transpose()?;
                }
                let found = (0..KEYS).map(|key| self.number(key)).collect();
                (invoked, Act::List { found }, returned)
            }
            _ => self.swap(key, &path).await?,
        };
        self.history.push(Operation {
            invoked,
            returned,
            act,
        });
        Ok(())
    }

    fn number(&self, key: usize) -> Content {
        self.seen[key].as_ref().map(|(number, _)| *number)
    }

    async fn swap(&mut self, key: usize, path: &str) -> Result<(u64, Act, u64)> {
        let from = self.number(key);
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let mut to = Some(number);
        let mut object =
            json!({"metadata": {"name": key_name(key)}, "data": {"number": number.to_string()}});
        let (invoked, answer, returned) = match &self.seen[key] {
            None => self.ask(Method::POST, CONFIG_MAPS, &object).await?,
            Some((_, version)) if self.random.random_bool(0.15) => {
                to = None;
                let options = json!({"preconditions": {"resourceVersion": version}});
                self.ask(Method::DELETE, path, &options).await?
            }
            Some((_, version)) => {
                object["metadata"]["resourceVersion"] = json!(version);
                self.ask(Method::PUT, path, &object).await?
            }
        };
        let done = match answer {
            Answer::Done(answer) => {
                self.seen[key] = match to {
                    Some(_) => Some(content(&answer)?),
                    None => None,
                };
                true
            }
            Answer::Refused(404 | 409, _) => false,
            Answer::Refused(code, why) => bail!("{code}: {why}"),
            Answer::Lost => bail!("no answer"),
        };
        let act = Act::Swap {
            key,
            from,
            to,
            done,
        };
        Ok((invoked, act, returned))
    }
}

async fn record(client: &Client, operations: u64, seed: u64) -> Result<Vec<Operation>> {
    let shared = Arc::new(Shared::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut recorder = Recorder {
                client: client.clone(),
                shared: shared.clone(),
                random: StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(n)),
                seen: Default::default(),
                history: Vec::new(),
            };
            tokio::spawn(async move {
                for _ in 0..operations {
                    recorder.step().await?;
                }
                anyhow::Ok(recorder.history)
            })
        })
        .collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.context("a client panicked")??);
    }
    Ok(history)
}

/// The history with one read that saw what was overwritten before it began.
fn with_a_stale_read(history: &[Operation]) -> Option<Vec<Operation>> {
    let overwritten = history.iter().find_map(|o| match o.act {
        Act::Swap {
            key,
            from: Some(from),
            done: true,
            ..
        } => Some((key, from, o.returned)),
        _ => None,
    })?;
    let mut stale = history.to_vec();
    let (key, from, returned) = overwritten;
    let read = stale.iter_mut().find(
        |o| matches!(o.act, Act::Get { key: read, .. } if read == key && o.invoked > returned),
    )?;
    read.act = Act::Get {
        key,
        found: Some(from),
    };
    Some(stale)
}

#[test]
fn gets_swaps_and_lists_are_as_if_one_came_after_another() {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    run(options, async |p| {
        let (operations, seed) = (
            setting("FERROVIRT_OPERATIONS", 120),
            setting("FERROVIRT_SEED", 1),
        );
        let history = record(p.client(), operations, seed).await?;
        let swapped = |wanted: bool| {
            history
                .iter()
                .filter(|o| matches!(o.act, Act::Swap { done, .. } if done == wanted))
                .count()
        };
        let (done, refused) = (swapped(true), swapped(false));
        ensure!(
            done > 20 && refused > 20,
            "there was no contention: {done} swaps done, {refused} refused"
        );
        // The checker sees what it is there to see, in this very history.
        let stale = with_a_stale_read(&history).context("no read after a swap")?;
        ensure!(
            matches!(check(stale, KEYS), Err(Verdict::Violation(_))),
            "the checker has not found a stale read"
        );
        match check(history, KEYS) {
            Ok(()) => {}
            Err(verdict) => bail!("with FERROVIRT_SEED={seed}: {verdict}"),
        }
        println!("{done} swaps done, {refused} refused");
        Ok(())
    });
}
