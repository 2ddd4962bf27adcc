//! The task that turns CRD objects into kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use serde_json::Value;
use store::{ListRequest, Revision, StoreError, WatchItem};

use super::names::Judgement;
use super::{GROUP, PLURAL, PREFIX, finalize, names, parse, status};
use crate::kinds::{Kind, KindSet, builtin};
use crate::registry::{Call, Registry, WriteOptions, codec, update_with};

/// One CRD and what was made of it.
pub(super) struct Known {
    pub object: Value,
    pub kinds: Vec<Arc<Kind>>,
    pub names: Judgement,
}

impl Known {
    /// Whether its kinds are served: by names that are its own, now or before another name was asked for.
    fn is_served(&self) -> bool {
        is_served(&self.object, &self.names)
    }
}

fn is_served(object: &Value, names: &Judgement) -> bool {
    names.conflict.is_none() || status::is_established(object)
}

pub(super) struct Follower {
    registry: Arc<Registry>,
    builtin: Vec<Arc<Kind>>,
    crds: BTreeMap<String, Known>,
    /// CRDs whose end is under way.
    ending: BTreeSet<String>,
    at: Revision,
}

impl Follower {
    pub(super) async fn load(registry: Arc<Registry>) -> Result<Self, StoreError> {
        let mut follower = Follower {
            registry,
            builtin: builtin(),
            crds: BTreeMap::new(),
            ending: BTreeSet::new(),
            at: Revision::ZERO,
        };
        follower.reload().await?;
        Ok(follower)
    }

    async fn reload(&mut self) -> Result<(), StoreError> {
        let listing = self
            .registry
            .store
            .list(ListRequest::prefix(PREFIX))
            .await?;
        self.crds.clear();
        // All of them first: names are judged beside those of the others.
        for entry in &listing.entries {
            self.note(&entry.key, Some(&entry.value));
        }
        let names: Vec<String> = self.crds.keys().cloned().collect();
        for name in names {
            self.judge(&name);
        }
        self.at = listing.revision;
        self.publish();
        Ok(())
    }

    /// Takes up a change; gives the name of the CRD.
    fn take(&mut self, key: &str, value: Option<&[u8]>) -> Option<String> {
        let name = self.note(key, value)?;
        self.judge(&name);
        Some(name)
    }

    /// Notes what a CRD is now; what was made of it before stays until it is judged.
    fn note(&mut self, key: &str, value: Option<&[u8]>) -> Option<String> {
        let name = key.rsplit('/').next()?.to_owned();
        match value.map(|value| codec::read(&self.registry.sealing, key, value)) {
            Some(Ok(object)) => match self.crds.get_mut(&name) {
                Some(known) => {
                    // Parsing schemas is the dear part; a change of status alone does not need it.
                    let same = known.object.get("spec") == object.get("spec")
                        && meta::is_deleting(&known.object) == meta::is_deleting(&object);
                    if !same {
                        known.kinds.clear();
                    }
                    known.object = object;
                }
                None => {
                    let known = Known {
                        object,
                        kinds: Vec::new(),
                        names: Judgement::default(),
                    };
                    self.crds.insert(name.clone(), known);
                }
            },
            Some(Err(e)) => {
                tracing::error!(crd = name, error = %e, "a stored CRD cannot be read; its kinds are not served");
            }
            None => {
                self.crds.remove(&name);
                self.ending.remove(&name);
            }
        }
        Some(name)
    }

    /// Judges the names of a CRD beside the others, and makes its kinds by those that are accepted.
    fn judge(&mut self, name: &str) {
        let Some(known) = self.crds.get(name) else {
            return;
        };
        let others = self.crds.iter().filter(|(n, _)| *n != name);
        let names = names::judge(&known.object, others.map(|(_, k)| &k.object), &self.builtin);
        let kinds = if !is_served(&known.object, &names) {
            Vec::new()
        } else if !known.kinds.is_empty() && known.names == names {
            known.kinds.clone()
        } else {
            let mut object = known.object.clone();
            object["spec"]["names"] = names.accepted.clone();
            parse::kinds(&object)
        };
        if let Some(known) = self.crds.get_mut(name) {
            known.kinds = kinds;
            known.names = names;
        }
    }

    fn publish(&self) {
        let custom = self
            .crds
            .values()
            .flat_map(|known| known.kinds.iter().cloned());
        self.registry.kinds.store(Arc::new(KindSet::new(
            self.builtin.iter().cloned().chain(custom),
        )));
    }

    /// Brings the status of every CRD up to date, and goes on with deletions that a restart interrupted.
    pub(super) async fn settle(&mut self) {
        let names: Vec<String> = self.crds.keys().cloned().collect();
        for name in names {
            self.settle_one(&name).await;
        }
        self.registry.crds_at.advance(self.at);
    }

    async fn settle_one(&mut self, name: &str) {
        let Some(known) = self.crds.get(name) else {
            return;
        };
        if meta::is_deleting(&known.object) {
            let kinds = if known.is_served() {
                parse::stored(&known.object)
            } else {
                // Nothing was ever stored under names that are another's.
                Vec::new()
            };
            if self.ending.insert(name.to_owned()) {
                let registry = Arc::clone(&self.registry);
                tokio::spawn(finalize::run(registry, name.to_owned(), kinds));
            }
            return;
        }
        let names = known.names.clone();
        if status::wanted(&known.object, &names, jiff::Timestamp::now()).is_none() {
            return;
        }
        let Some(kind) = self.registry.kinds.load().resource(GROUP, PLURAL).cloned() else {
            return;
        };
        let user = User::new("system:apiserver", &["system:masters"]);
        let options = WriteOptions {
            manager: "ferrovirt".to_owned(),
            ..WriteOptions::default()
        };
        let call =
            Call::new(&self.registry, &kind, ("", name), "status", &user, options).in_background();
        let updated = update_with(&call, |object| {
            if let Some(status) = status::wanted(object, &names, call.now) {
                object["status"] = status;
            }
            Ok(())
        })
        .await;
        match updated {
            Ok(object) => {
                if let Some(known) = self.crds.get_mut(name) {
                    known.object = object;
                }
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                tracing::warn!(crd = name, error = %e, "writing the status of a CRD; tried again at its next change");
            }
        }
    }

    pub(super) async fn run(&mut self) {
        loop {
            if let Ok(mut events) = self.registry.store.watch(PREFIX, self.at).await {
                loop {
                    match events.next().await {
                        Ok(WatchItem::Event(event)) => {
                            let name = self.take(&event.key, event.value.as_deref());
                            self.at = event.revision;
                            self.publish();
                            match name {
                                // A CRD that went may free names that others wait for.
                                Some(_) if event.value.is_none() => self.retry_refused().await,
                                Some(name) => self.settle_one(&name).await,
                                None => {}
                            }
                            self.registry.crds_at.advance(event.revision);
                        }
                        Ok(WatchItem::Progress(revision)) => {
                            self.registry.crds_at.advance(revision);
                        }
                        Err(store::WatchError::Closed) => return,
                        Err(_) => break,
                    }
                }
            }
            match self.reload().await {
                Ok(()) => self.settle().await,
                Err(StoreError::Closed) => return,
                Err(e) => {
                    tracing::error!(error = %e, "reading CRDs; served kinds stay as they were");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn retry_refused(&mut self) {
        let refused: Vec<String> = self
            .crds
            .iter()
            .filter(|(_, k)| k.names.conflict.is_some())
            .map(|(n, _)| n.clone())
            .collect();
        for name in refused {
            self.judge(&name);
            self.publish();
            self.settle_one(&name).await;
        }
    }
}
