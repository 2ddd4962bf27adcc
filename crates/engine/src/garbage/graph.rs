//! Who owns whom, and what follows from it. Pure: no API, no clock.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// An object's UID.
pub(super) type Uid = String;

/// Enough to address an object in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Uid,
    pub resource_version: String,
}

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owner {
    pub reference: OwnerReference,
    /// Whether a foreground deletion of the owner waits for this dependent.
    pub block: bool,
}

/// An object as the collector sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub identity: Identity,
    pub owners: Vec<Owner>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Change {
    /// The object exists, like this.
    Seen(Node),
    /// It does not exist any more.
    Gone(Uid),
}

/// What to do in the API.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Delete {
        target: Identity,
        policy: PropagationPolicy,
    },
    SetOwners {
        target: Identity,
        owners: Vec<OwnerReference>,
    },
    SetFinalizers {
        target: Identity,
        finalizers: Vec<String>,
    },
}

impl Action {
    pub fn target(&self) -> &Identity {
        match self {
            Self::Delete { target, .. }
            | Self::SetOwners { target, .. }
            | Self::SetFinalizers { target, .. } => target,
        }
    }
}

/// All objects that were seen, by UID, and the reverse of their owner references.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// Owner to dependents; owners need not be known.
    dependents: HashMap<Uid, BTreeSet<Uid>>,
}

impl Graph {
    /// Takes a change in; returns what should be looked at because of it.
    pub fn apply(&mut self, change: Change) -> Vec<Uid> {
        match change {
            Change::Seen(node) => {
                let uid = node.identity.uid.clone();
                // A dependent that lost its reference may unblock its former owner.
                let before = self.unlink(&uid);
                for owner in &node.owners {
                    self.dependents
                        .entry(owner.reference.uid.clone())
                        .or_default()
                        .insert(uid.clone());
                }
                let interesting = node.deleting || !node.owners.is_empty();
                let mut touched: Vec<Uid> = node
                    .owners
                    .iter()
                    .map(|o| o.reference.uid.clone())
                    .chain(before)
                    .filter(|o| self.nodes.get(o).is_some_and(|n| n.deleting))
                    .collect();
                touched.dedup();
                self.nodes.insert(uid.clone(), node);
                if interesting {
                    touched.push(uid);
                }
                touched
            }
            Change::Gone(uid) => {
                let owners = self.unlink(&uid);
                self.nodes.remove(&uid);
                let mut touched: Vec<Uid> = owners
                    .into_iter()
                    .filter(|o| self.nodes.get(o).is_some_and(|n| n.deleting))
                    .collect();
                touched.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
                touched
            }
        }
    }

    /// Removes the edges from `uid` to its owners; returns the owners.
    fn unlink(&mut self, uid: &Uid) -> Vec<Uid> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        let owners: Vec<Uid> = node
            .owners
            .iter()
            .map(|o| o.reference.uid.clone())
            .collect();
        for owner in &owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        owners
    }

    /// Every object that has owners, or is one that is being deleted.
    pub fn owned(&self) -> impl Iterator<Item = Uid> + '_ {
        self.nodes
            .values()
            .filter(|n| !n.owners.is_empty() || n.deleting)
            .map(|n| n.identity.uid.clone())
    }

    /// Owners of `uid` that no watch has shown: they must be asked for before they count as gone.
    pub fn unknown_owners(&self, uid: &Uid) -> Vec<Identity> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        node.owners
            .iter()
            .filter(|o| !self.nodes.contains_key(&o.reference.uid))
            .map(|o| Identity {
                api_version: o.reference.api_version.clone(),
                kind: o.reference.kind.clone(),
                namespace: node.identity.namespace.clone(),
                name: o.reference.name.clone(),
                uid: o.reference.uid.clone(),
                resource_version: String::new(),
            })
            .collect()
    }

    /// What follows for `uid`; `absent` says which unknown owners were found not to exist.
    pub fn decide(&self, uid: &Uid, absent: &HashMap<Uid, bool>) -> Vec<Action> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        if node.deleting {
            return self.as_owner(node);
        }
        self.as_dependent(node, absent).into_iter().collect()
    }

    fn as_dependent(&self, node: &Node, absent: &HashMap<Uid, bool>) -> Option<Action> {
        if node.owners.is_empty() {
            return None;
        }
        let gone = |o: &&Owner| absent.get(&o.reference.uid).copied().unwrap_or(false);
        let waiting = |o: &&Owner| {
            self.nodes
                .get(&o.reference.uid)
                .is_some_and(|n| n.deleting && has(n, FOREGROUND))
        };
        let dangling = node.owners.iter().filter(gone).count();
        let in_foreground = node.owners.iter().filter(waiting).count();
        if dangling + in_foreground == node.owners.len() {
            let has_dependents = self.dependents.contains_key(&node.identity.uid);
            let policy = if has(node, ORPHAN) {
                PropagationPolicy::Orphan
            } else if has(node, FOREGROUND) || (in_foreground > 0 && has_dependents) {
                PropagationPolicy::Foreground
            } else {
                PropagationPolicy::Background
            };
            return Some(Action::Delete {
                target: node.identity.clone(),
                policy,
            });
        }
        (dangling > 0).then(|| Action::SetOwners {
            target: node.identity.clone(),
            owners: node
                .owners
                .iter()
                .filter(|o| !gone(o))
                .map(|o| o.reference.clone())
                .collect(),
        })
    }

    fn as_owner(&self, node: &Node) -> Vec<Action> {
        let uid = &node.identity.uid;
        let dependents = || {
            self.dependents
                .get(uid)
                .into_iter()
                .flatten()
                .filter_map(|d| self.nodes.get(d))
        };
        let without = |finalizer: &str| Action::SetFinalizers {
            target: node.identity.clone(),
            finalizers: node
                .finalizers
                .iter()
                .filter(|f| *f != finalizer)
                .cloned()
                .collect(),
        };
        if has(node, ORPHAN) {
            let mut actions: Vec<Action> = dependents()
                .map(|d| Action::SetOwners {
                    target: d.identity.clone(),
                    owners: d
                        .owners
                        .iter()
                        .filter(|o| o.reference.uid != *uid)
                        .map(|o| o.reference.clone())
                        .collect(),
                })
                .collect();
            if actions.is_empty() {
                actions.push(without(ORPHAN));
            }
            return actions;
        }
        if has(node, FOREGROUND) {
            let blocking = |d: &&Node| d.owners.iter().any(|o| o.reference.uid == *uid && o.block);
            let none = HashMap::new();
            let mut actions: Vec<Action> = dependents()
                .filter(|d| !d.deleting)
                .filter_map(|d| self.as_dependent(d, &none))
                .collect();
            if actions.is_empty() && dependents().filter(blocking).count() == 0 {
                actions.push(without(FOREGROUND));
            }
            return actions;
        }
        Vec::new()
    }
}

fn has(node: &Node, finalizer: &str) -> bool {
    node.finalizers.iter().any(|f| f == finalizer)
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
