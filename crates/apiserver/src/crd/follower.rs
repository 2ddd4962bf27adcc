//! The task that turns CRD objects into kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use serde_json::Value;
use store::{ListRequest, Revision, StoreError, WatchItem};

use super::{GROUP, PLURAL, finalize, names, parse, status};
use crate::kinds::{Kind, KindSet, builtin};
use crate::registry::{Call, Registry, WriteOptions, codec, update_with};

const PREFIX: &str = "/apiextensions.k8s.io/customresourcedefinitions/";

/// One CRD and what was made of it.
pub(super) struct Known {
    pub object: Value,
    pub kinds: Vec<Arc<Kind>>,
}

pub(super) struct Follower {
    registry: Arc<Registry>,
    builtin: Vec<Arc<Kind>>,
    crds: BTreeMap<String, Known>,
    at: Revision,
}

impl Follower {
    pub(super) async fn load(registry: Arc<Registry>) -> Result<Self, StoreError> {
        let mut follower = Follower {
            registry,
            builtin: builtin(),
            crds: BTreeMap::new(),
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
        for entry in &listing.entries {
            self.take(&entry.key, Some(&entry.value));
        }
        self.at = listing.revision;
        self.publish();
        Ok(())
    }

    fn take(&mut self, key: &str, value: Option<&[u8]>) -> Option<String> {
        let name = key.rsplit('/').next()?.to_owned();
        match value.map(|value| codec::read(&self.registry.sealing, key, value)) {
            Some(Ok(object)) => {
                let accepted = names::conflict(
                    &object,
                    self.crds
                        .iter()
                        .filter(|(n, _)| **n != name)
                        .map(|(_, k)| &k.object),
                )
                .is_none();
                // Parsing schemas is the dear part; a change of status alone does not need it.
                let reuse = self.crds.remove(&name).filter(|known| {
                    known.object.get("spec") == object.get("spec")
                        && meta::is_deleting(&known.object) == meta::is_deleting(&object)
                        && known.kinds.is_empty() != accepted
                });
                let kinds = match reuse {
                    Some(known) => known.kinds,
                    None if accepted => parse::kinds(&object),
                    None => Vec::new(),
                };
                self.crds.insert(name.clone(), Known { object, kinds });
            }
            Some(Err(e)) => {
                tracing::error!(crd = name, error = %e, "a stored CRD cannot be read; its kinds are not served");
            }
            None => {
                self.crds.remove(&name);
            }
        }
        Some(name)
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
            tokio::spawn(finalize::run(
                Arc::clone(&self.registry),
                name.to_owned(),
                known.kinds.first().cloned(),
            ));
            return;
        }
        let conflict = names::conflict(
            &known.object,
            self.crds
                .iter()
                .filter(|(n, _)| *n != name)
                .map(|(_, k)| &k.object),
        );
        if status::wanted(&known.object, conflict.as_deref(), jiff::Timestamp::now()).is_none() {
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
            if let Some(status) = status::wanted(object, conflict.as_deref(), call.now) {
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
            .filter(|(_, k)| k.kinds.is_empty())
            .map(|(n, _)| n.clone())
            .collect();
        for name in refused {
            let Some(known) = self.crds.get(&name) else {
                continue;
            };
            if names::conflict(
                &known.object,
                self.crds
                    .iter()
                    .filter(|(n, _)| **n != name)
                    .map(|(_, k)| &k.object),
            )
            .is_none()
            {
                let kinds = parse::kinds(&known.object);
                if let Some(known) = self.crds.get_mut(&name) {
                    known.kinds = kinds;
                }
                self.publish();
                self.settle_one(&name).await;
            }
        }
    }
}
