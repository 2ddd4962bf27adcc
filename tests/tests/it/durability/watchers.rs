//! Watchers that resume with the last resourceVersion they have seen, and what they must have seen in the end.
//!
//! One that may list again does so when it is told 410: what happened in between is a gap, which the list closes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use http::Method;
use kube::Client;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::keys::{self, Change, Key, Landed};
use super::{Answer, CONFIG_MAPS, ask};

/// The name of the object whose creation ends a watch.
pub(super) const END: &str = "end-of-watch";
/// Before a watch that ended, or did not begin, is begun again.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug)]
struct Seen {
    what: What,
    number: u64,
    version: u64,
}

/// What happened after `from` was not seen; `state` (number and version) is what there was at `to`.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    state: BTreeMap<String, (u64, u64)>,
}

/// See the module.
pub(super) struct Watcher {
    position: u64,
    seen: BTreeMap<String, Vec<Seen>>,
    events: usize,
    ended: bool,
    may_relist: bool,
    /// A 410 came, and there was no list since.
    expired: bool,
    gaps: Vec<Gap>,
}

impl Watcher {
    pub(super) fn new(position: u64) -> Self {
        Self {
            position,
            seen: BTreeMap::new(),
            events: 0,
            ended: false,
            may_relist: false,
            expired: false,
            gaps: Vec::new(),
        }
    }

    /// One that lists again when its position is not known any more.
    pub(super) fn that_relists(position: u64) -> Self {
        Self {
            may_relist: true,
            ..Self::new(position)
        }
    }

    /// How often it had to list again.
    pub(super) fn relists(&self) -> usize {
        self.gaps.len()
    }

    /// Watches until the end has come, however often the watch ends before.
    pub(super) async fn follow_to_the_end(&mut self, client: Client) -> Result<()> {
        while !self.ended {
            self.follow(client.clone()).await?;
            if self.expired {
                self.relist(&client).await?;
            } else if !self.ended {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// Lists, if the server answers.
    async fn relist(&mut self, client: &Client) -> Result<()> {
        let asked = ask(
            client,
            Method::GET,
            CONFIG_MAPS,
            "application/json",
            &Value::Null,
        );
        let Answer::Done(list) = asked.await? else {
            return Ok(());
        };
        let to = super::version(&list)?;
        ensure!(
            to >= self.position,
            "a list at {to} came after {}",
            self.position
        );
        let mut state = BTreeMap::new();
        for item in list["items"].as_array().context("a list has items")? {
            let name = super::name(item);
            self.ended |= name == END;
            if name.starts_with("key-") {
                let found = (keys::number(item)?, super::version(item)?);
                state.insert(name.to_owned(), found);
            }
        }
        let from = std::mem::replace(&mut self.position, to);
        self.gaps.push(Gap { from, to, state });
        self.expired = false;
        Ok(())
    }

    /// Watches until the connection is lost, or the end has come.
    pub(super) async fn follow(&mut self, client: Client) -> Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &kind);
        let from = self.position.to_string();
        let events = match api.watch(&WatchParams::default(), &from).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return self.expire(&status),
            Err(_) => return Ok(()),
        };
        let mut events = events.boxed();
        while let Some(Ok(event)) = events.next().await {
            self.take(event)?;
            if self.ended || self.expired {
                break;
            }
        }
        Ok(())
    }

    fn expire(&mut self, status: &impl std::fmt::Debug) -> Result<()> {
        ensure!(
            self.may_relist,
            "a watch after {} got {status:?}",
            self.position
        );
        self.expired = true;
        Ok(())
    }

    fn take(&mut self, event: WatchEvent<DynamicObject>) -> Result<()> {
        let (what, object) = match event {
            WatchEvent::Added(object) => (What::Added, object),
            WatchEvent::Modified(object) => (What::Modified, object),
            WatchEvent::Deleted(object) => (What::Deleted, object),
            WatchEvent::Bookmark(bookmark) => {
                let version: u64 = bookmark.metadata.resource_version.parse()?;
                ensure!(
                    version >= self.position,
                    "a bookmark went back from {} to {version}",
                    self.position
                );
                self.position = version;
                return Ok(());
            }
            WatchEvent::Error(status) if status.code == 410 => return self.expire(&status),
            WatchEvent::Error(status) => bail!("a watch after {} got {status:?}", self.position),
        };
        let object: Value = serde_json::to_value(object).context("reading an event")?;
        let version = super::version(&object)?;
        ensure!(
            version > self.position,
            "{what:?} {version} came after {}",
            self.position
        );
        self.position = version;
        match super::name(&object) {
            END => self.ended = true,
            name if name.starts_with("key-") => {
                let number = keys::number(&object)?;
                self.events += 1;
                self.seen.entry(name.to_owned()).or_default().push(Seen {
                    what,
                    number,
                    version,
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it has seen everything that happened to these keys, exactly once and in order, but for what its gaps
    /// swallowed. Says how many events.
    pub(super) fn check(&self, keys: &[Key]) -> Result<usize> {
        ensure!(self.ended, "the watch did not come to its end");
        let nothing = Vec::new();
        for key in keys {
            let mut seen = self.seen.get(&key.name).unwrap_or(&nothing).iter();
            let mut next = seen.next();
            let mut before: Option<u64> = None;
            for (n, landed) in key.landed.iter().enumerate() {
                let (what, number) = match (landed.change, before) {
                    (Change::Put(number), None) => (What::Added, number),
                    (Change::Put(number), Some(_)) => (What::Modified, number),
                    (Change::Delete, Some(number)) => (What::Deleted, number),
                    (Change::Delete, None) => bail!("{} was deleted twice", key.name),
                };
                before = (what != What::Deleted).then_some(number);
                let fits = next.is_some_and(|found| {
                    found.what == what
                        && found.number == number
                        && landed.version.is_none_or(|v| v == found.version)
                });
                if fits {
                    next = seen.next();
                } else if !self.may_have_missed(&key.landed, n) {
                    bail!("{}: {landed:?} happened, a watcher saw {next:?}", key.name);
                }
            }
            if let Some(more) = next {
                bail!("{}: a watcher saw {more:?}, which never happened", key.name);
            }
            for gap in &self.gaps {
                gap.check(key)?;
            }
        }
        Ok(self.events)
    }

    /// Whether a gap may have swallowed this change.
    fn may_have_missed(&self, landed: &[Landed], n: usize) -> bool {
        // A deletion's version is not told: it is between those of its neighbours.
        let before = landed[..n].iter().rev().find_map(|l| l.version);
        let after = landed[n..].iter().find_map(|l| l.version);
        self.gaps.iter().any(|gap| match landed[n].version {
            Some(version) => gap.from < version && version <= gap.to,
            None => after.is_none_or(|v| v > gap.from + 1) && before.is_none_or(|v| v < gap.to),
        })
    }
}

impl Gap {
    /// Whether the list at its end shows what this key was then.
    fn check(&self, key: &Key) -> Result<()> {
        let mut landed = key.landed.iter().enumerate();
        let last = landed.rfind(|(_, l)| l.version.is_some_and(|v| v <= self.to));
        let deleted = last.is_none_or(|(n, _)| {
            let next = key.landed.get(n + 1);
            next.is_some_and(|l| l.change == Change::Delete)
        });
        let was = last.map(|(_, l)| (l.change, l.version));
        let fits = match self.state.get(&key.name) {
            Some((number, version)) => was == Some((Change::Put(*number), Some(*version))),
            None => deleted,
        };
        ensure!(
            fits,
            "{}: {was:?} was the last before {}, the list at it has {:?}",
            key.name,
            self.to,
            self.state.get(&key.name)
        );
        Ok(())
    }
}
