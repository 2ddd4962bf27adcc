//! Keys with one writer each, and what is known of them.
//!
//! ```text
//! write ─ acknowledged ───────► landed, with its resourceVersion
//!       ├ no answer, or a 504 ─► in doubt ─ looked at later ─► landed, or never was
//!       └ another refusal ─────► never was
//! ```
//!
//! A value is a number and a text that follows from it, in three fields: half a write would show.

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Answer, CONFIG_MAPS, ask, version};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// What a write does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Put(u64),
    Delete,
}

/// A change that happened; the version is not told of deletions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Landed {
    pub(super) change: Change,
    pub(super) version: Option<u64>,
}

/// How a write ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Written {
    Acknowledged,
    /// Nobody answered.
    Lost,
    /// With the code and what was said.
    Refused(u16, String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// Everything that happened to it, in order.
    pub(super) landed: Vec<Landed>,
    doubt: Option<Change>,
    /// The number of the last attempt.
    last: u64,
}

fn text(name: &str, n: u64) -> String {
    format!("{name}={n};").repeat(usize::try_from(n * 37 % 120).unwrap_or(0) + 1)
}

fn data(name: &str, n: u64) -> Value {
    json!({"first": n.to_string(), "last": n.to_string(), "text": text(name, n)})
}

/// The number of a ConfigMap that is whole.
pub(super) fn number(object: &Value) -> Result<u64> {
    let name = super::name(object);
    let n = object
        .pointer("/data/first")
        .and_then(Value::as_str)
        .and_then(|n| n.parse().ok())
        .with_context(|| format!("{name} has no number: {object}"))?;
    ensure!(
        object["data"] == data(name, n),
        "{name} is half of one write and half of another: {object}"
    );
    Ok(n)
}

impl Key {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            landed: Vec::new(),
            doubt: None,
            last: 0,
        }
    }

    /// What it holds, as far as is known: number and version.
    pub(super) fn now(&self) -> Option<(u64, u64)> {
        match self.landed.last() {
            Some(Landed {
                change: Change::Put(n),
                version,
            }) => version.map(|v| (*n, v)),
            _ => None,
        }
    }

    /// Whether nobody knows yet what became of the last write.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Compares what is there with what must be, and settles a doubt.
    pub(super) fn settle(&mut self, found: Option<&Value>) -> Result<()> {
        let there = match found {
            Some(object) => Some((number(object)?, version(object)?)),
            None => None,
        };
        let doubt = self.doubt.take();
        match (doubt, there) {
            (_, there) if there == self.now() => {}
            (Some(change @ Change::Put(n)), Some((found, version))) if found == n => {
                ensure!(
                    self.now().is_none_or(|(_, before)| before < version),
                    "{}: version {version} of an unacknowledged write is not newer",
                    self.name
                );
                self.landed.push(Landed {
                    change,
                    version: Some(version),
                });
            }
            (Some(Change::Delete), None) => self.landed.push(Landed {
                change: Change::Delete,
                version: None,
            }),
            (doubt, there) => bail!(
                "{}: {:?} was acknowledged, in doubt is {doubt:?}, and there is (number, version) {there:?}",
                self.name,
                self.landed.last()
            ),
        }
        Ok(())
    }

    /// Writes once, in a way that `random` chooses.
    pub(super) async fn write(&mut self, client: &Client, random: &mut StdRng) -> Result<Written> {
        let name = self.name.clone();
        let path = format!("{CONFIG_MAPS}/{name}");
        self.last += 1;
        let n = self.last;
        let mut whole = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data(&name, n)});
        let way = random.random_range(0..6);
        let (change, method, path, content, body) = match (self.now(), way) {
            (None, 0..3) => (
                Change::Put(n),
                Method::POST,
                CONFIG_MAPS.to_owned(),
                JSON,
                whole,
            ),
            (Some((_, version)), 0) => {
                whole["metadata"]["resourceVersion"] = json!(version.to_string());
                (Change::Put(n), Method::PUT, path, JSON, whole)
            }
            (Some(_), 1) => {
                let body = json!({"data": data(&name, n)});
                (Change::Put(n), Method::PATCH, path, MERGE, body)
            }
            (Some(_), 2) => {
                let body = json!([{"op": "replace", "path": "/data", "value": data(&name, n)}]);
                (Change::Put(n), Method::PATCH, path, PATCH, body)
            }
            (Some(_), 3) => (Change::Delete, Method::DELETE, path, JSON, Value::Null),
            (_, _) => {
                let path = format!("{path}?fieldManager=writer&force=true");
                (Change::Put(n), Method::PATCH, path, APPLY, whole)
            }
        };
        let shown = format!("{method} {path}");
        match ask(client, method, &path, content, &body).await? {
            Answer::Done(answer) => {
                let version = match change {
                    Change::Put(n) => {
                        ensure!(number(&answer)? == n, "{shown} answered with {answer}");
                        let version = version(&answer)?;
                        ensure!(
                            self.now().is_none_or(|(_, before)| before < version),
                            "{shown}: version {version} is not newer"
                        );
                        Some(version)
                    }
                    Change::Delete => None,
                };
                self.landed.push(Landed { change, version });
                Ok(Written::Acknowledged)
            }
            Answer::Refused(code, why) => {
                // The gateway time-out: the server itself does not know what its database did.
                self.doubt = (code == 504).then_some(change);
                Ok(Written::Refused(code, format!("{shown}: {why}")))
            }
            Answer::Lost => {
                self.doubt = Some(change);
                Ok(Written::Lost)
            }
        }
    }
}
