//! What turns CRD objects into kinds, as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use serde_json::Value;
use store::Entry;

use super::names::Judgement;
use super::{GROUP, PLURAL, PREFIX, finalize, names, parse, status};
use crate::follow::{Objects, View};
use crate::kinds::{Kind, KindSet, builtin};
use crate::registry::codec::{self, LoadError};
use crate::registry::{Call, Registry, WriteOptions, update_with};

/// One CRD and what was made of it.
pub(super) struct Known {
    pub object: Arc<Value>,
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
}

impl View for Follower {
    type Known = Arc<Value>;
    const PREFIX: &'static str = PREFIX;
    const WHAT: &'static str = "CRDs";
    /// The kinds of a CRD that cannot be read are not served; that is no reason not to serve the others.
    const NEEDS_ALL: bool = false;

    fn read(&self, entry: &Entry) -> Result<Option<Self::Known>, LoadError> {
        let object = codec::read_entry(&self.registry.sealing, entry)?;
        Ok(Some(Arc::new(object)))
    }

    async fn take_up(&mut self, objects: &Objects<Self::Known>, changed: &BTreeSet<Arc<str>>) {
        let mut names = Vec::new();
        // All of them first: names are judged beside those of the others.
        for key in changed {
            let name = key.rsplit('/').next().unwrap_or_default();
            if let Some(object) = objects.get(key) {
                self.note(name, object);
                names.push(name);
            } else {
                self.crds.remove(name);
                self.ending.remove(name);
            }
        }
        for name in &names {
            self.judge(name);
        }
        self.publish();
        for name in names {
            self.settle(name).await;
        }
        self.retry_refused().await;
    }
}

impl Follower {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Follower {
            registry,
            builtin: builtin(),
            crds: BTreeMap::new(),
            ending: BTreeSet::new(),
        }
    }

    /// Notes what a CRD is now; what was made of it before stays until it is judged.
    fn note(&mut self, name: &str, object: &Arc<Value>) {
        let object = Arc::clone(object);
        if let Some(known) = self.crds.get_mut(name) {
            // Parsing schemas is the dear part; a change of status alone does not need it.
            let same = known.object.get("spec") == object.get("spec")
                && meta::is_deleting(&known.object) == meta::is_deleting(&object);
            if !same {
                known.kinds.clear();
            }
            known.object = object;
            return;
        }
        let known = Known {
            object,
            kinds: Vec::new(),
            names: Judgement::default(),
        };
        self.crds.insert(name.to_owned(), known);
    }

    /// Judges the names of a CRD beside the others, and makes its kinds by those that are accepted.
    fn judge(&mut self, name: &str) {
        let Some(known) = self.crds.get(name) else {
            return;
        };
        let others = self.crds.iter().filter(|(n, _)| *n != name);
        let names = names::judge(
            &known.object,
            others.map(|(_, k)| &*k.object),
            &self.builtin,
        );
        let kinds = if !is_served(&known.object, &names) {
            Vec::new()
        } else if !known.kinds.is_empty() && known.names == names {
            known.kinds.clone()
        } else {
            let mut object = Value::clone(&known.object);
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

    /// Brings the status of a CRD up to date, and goes on with a deletion that a restart interrupted.
    async fn settle(&mut self, name: &str) {
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
        if status::wanted(&known.object, &known.names, jiff::Timestamp::now()).is_none() {
            return;
        }
        // Another one that was taken up together with it may have been given a name that both ask for.
        let judged = known.names.clone();
        self.judge(name);
        let Some(names) = self.crds.get(name).map(|known| known.names.clone()) else {
            return;
        };
        if names != judged {
            self.publish();
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
                    known.object = Arc::new(object);
                }
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                tracing::warn!(crd = name, error = %e, "writing the status of a CRD; tried again at its next change");
            }
        }
    }

    /// Judges those again that were refused names: what has changed may have freed them.
    async fn retry_refused(&mut self) {
        let refused: Vec<String> = self
            .crds
            .iter()
            .filter(|(_, k)| k.names.conflict.is_some())
            .map(|(n, _)| n.clone())
            .collect();
        for name in refused {
            let before = self.crds.get(&name).map(|known| known.names.clone());
            self.judge(&name);
            if self.crds.get(&name).map(|known| &known.names) != before.as_ref() {
                self.publish();
                self.settle(&name).await;
            }
        }
    }
}
