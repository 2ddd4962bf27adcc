//! Gets, compare-and-swaps, unguarded patches and lists of many clients over TLS, recorded and checked: of one server,
//! and of two over one etcd, where every client asks now the one and now the other.
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
use crate::replicas::Base;

const CLIENTS: u64 = 8;
const KEYS: usize = 3;
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

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
    /// Of the servers, which are as good as one.
    clients: Vec<Client>,
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
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<(u64, Answer, u64)> {
        let client = &self.clients[self.random.random_range(0..self.clients.len())];
        let invoked = self.shared.instant();
        let answer = ask(client, method, path, content, body).await?;
        Ok((invoked, answer, self.shared.instant()))
    }

    /// A get; half of them name the version that was seen last, which the answer must not be older than.
    async fn get(&mut self, key: usize, mut path: String) -> Result<(u64, Act, u64)> {
        let seen = self.seen[key].as_ref().map(|(_, version)| version.clone());
        let least = seen.filter(|_| self.random.random_bool(0.5));
        if let Some(least) = &least {
            path = format!("{path}?resourceVersion={least}");
        }
        let (invoked, answer, returned) = self.ask(Method::GET, &path, JSON, &Value::Null).await?;
        self.seen[key] = match answer {
            Answer::Refused(404, _) => None,
            answer => Some(content(&answer.done()?)?),
        };
        if let (Some(least), Some((_, found))) = (&least, &self.seen[key]) {
            ensure!(
                found.parse::<u64>()? >= least.parse()?,
                "at least version {least} was asked for, {found} was given"
            );
        }
        let found = self.number(key);
        Ok((invoked, Act::Get { key, found }, returned))
    }

    /// A merge patch without a version.
    async fn overwrite(&mut self, key: usize, path: &str) -> Result<(u64, Act, u64)> {
        let to = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let patch = json!({"data": {"number": to.to_string()}});
        let (invoked, answer, returned) = self.ask(Method::PATCH, path, MERGE, &patch).await?;
        let done = match answer {
            Answer::Refused(404, _) => {
                self.seen[key] = None;
                false
            }
            answer => {
                self.seen[key] = Some(content(&answer.done()?)?);
                true
            }
        };
        Ok((invoked, Act::Overwrite { key, to, done }, returned))
    }

    async fn step(&mut self) -> Result<()> {
        let key = self.random.random_range(0..KEYS);
        let path = format!("{CONFIG_MAPS}/{}", key_name(key));
        let (invoked, act, returned) = match self.random.random_range(0..11) {
            0..3 => self.get(key, path).await?,
            10 => self.overwrite(key, &path).await?,
            3 => {
                let asked = self.ask(Method::GET, CONFIG_MAPS, JSON, &Value::Null);
                let (invoked, answer, returned) = asked.await?;
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
        let seen = self.seen[key].as_ref().map(|(_, version)| version.clone());
        let (invoked, answer, returned) = match seen {
            None => self.ask(Method::POST, CONFIG_MAPS, JSON, &object).await?,
            Some(version) if self.random.random_bool(0.15) => {
                to = None;
                let options = json!({"preconditions": {"resourceVersion": version}});
                self.ask(Method::DELETE, path, JSON, &options).await?
            }
            Some(version) => {
                object["metadata"]["resourceVersion"] = json!(version);
                self.ask(Method::PUT, path, JSON, &object).await?
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

async fn record(clients: &[Client], operations: u64, seed: u64) -> Result<Vec<Operation>> {
    let shared = Arc::new(Shared::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut recorder = Recorder {
                clients: clients.to_vec(),
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

/// Records and checks; the servers are as good as one.
async fn checked(clients: &[Client]) -> Result<()> {
    let (operations, seed) = (
        setting("FERROVIRT_OPERATIONS", 120),
        setting("FERROVIRT_SEED", 1),
    );
    let history = record(clients, operations, seed).await?;
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
    let overwritten = history
        .iter()
        .filter(|o| matches!(o.act, Act::Overwrite { done: true, .. }))
        .count();
    ensure!(overwritten > 20, "{overwritten} unguarded patches");
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
    println!("{done} swaps done, {refused} refused, {overwritten} unguarded patches");
    Ok(())
}

#[test]
fn gets_swaps_and_lists_are_as_if_one_came_after_another() {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    run(options, async |p| checked(&[p.client().clone()]).await);
}

#[test]
fn gets_swaps_and_lists_of_two_replicas_are_as_if_one_came_after_another() {
    crate::replicas::run(async {
        let base = Base::new()?;
        let one = base.api_only("one").await?;
        let two = base.api_only("two").await?;
        checked(&[one.client().clone(), two.client().clone()]).await
    });
}
