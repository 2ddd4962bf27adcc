//! Watchers that resume with the last resourceVersion they have seen, and what they must have seen in the end.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::keys::{self, Change, Key};

/// The name of the object whose creation ends a watch.
pub(super) const END: &str = "end-of-watch";

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

/// See the module.
pub(super) struct Watcher {
    position: u64,
    seen: BTreeMap<String, Vec<Seen>>,
    events: usize,
    ended: bool,
}

impl Watcher {
    pub(super) fn new(position: u64) -> Self {
        Self {
            position,
            seen: BTreeMap::new(),
            events: 0,
            ended: false,
        }
    }

    /// Watches until the connection is lost, or the end has come.
    pub(super) async fn follow(&mut self, client: Client) -> Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &kind);
        let from = self.position.to_string();
        let Ok(events) = api.watch(&WatchParams::default(), &from).await else {
            return Ok(());
        };
        let mut events = events.boxed();
        while let Some(Ok(event)) = events.next().await {
            self.take(event)?;
            if self.ended {
                break;
            }
        }
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

    /// Whether it has seen everything that happened to these keys, exactly once and in order. Says how many events.
    pub(super) fn check(&self, keys: &[Key]) -> Result<usize> {
        ensure!(self.ended, "the watch did not come to its end");
        let nothing = Vec::new();
        for key in keys {
            let seen = self.seen.get(&key.name).unwrap_or(&nothing);
            let mut before: Option<u64> = None;
            for (n, landed) in key.landed.iter().enumerate() {
                let (what, number) = match (landed.change, before) {
                    (Change::Put(number), None) => (What::Added, number),
                    (Change::Put(number), Some(_)) => (What::Modified, number),
                    (Change::Delete, Some(number)) => (What::Deleted, number),
                    (Change::Delete, None) => bail!("{} was deleted twice", key.name),
                };
                let found = seen.get(n).with_context(|| {
                    format!("{}: {landed:?} was never seen by a watcher", key.name)
                })?;
                ensure!(
                    found.what == what
                        && found.number == number
                        && landed.version.is_none_or(|v| v == found.version),
                    "{}: {landed:?} happened, a watcher saw {found:?}",
                    key.name
                );
                before = (what != What::Deleted).then_some(number);
            }
            if let Some(more) = seen.get(key.landed.len()) {
                bail!("{}: a watcher saw {more:?}, which never happened", key.name);
            }
        }
        Ok(self.events)
    }
}
