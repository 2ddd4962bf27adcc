//! What a server says of itself, and whether two fit together.

use serde::{Deserialize, Serialize};

use super::Replica;
use crate::sealing::{Rules, Summary};

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub node: String,
    pub runs_node: bool,
    pub host: String,
    /// Unique to a process: a restart has another one.
    pub process: String,
    /// Counts up, so that every write of the record changes it.
    pub beat: u64,
    pub sealing: Summary,
}

impl Record {
    pub(super) fn new(replica: &Replica, process: String, sealing: Summary) -> Self {
        Self {
            node: replica.node.clone(),
            runs_node: replica.runs_node,
            host: replica.host.clone(),
            process,
            beat: 0,
            sealing,
        }
    }

    /// How people know it.
    pub(super) fn called(&self) -> String {
        match self.runs_node {
            true => format!(
                "the control plane of node {:?} on host {:?}",
                self.node, self.host
            ),
            false => format!("the API server {:?} on host {:?}", self.node, self.host),
        }
    }

    /// Whether it is what a server with these rules says of itself.
    pub(super) fn says(&self, replica: &Replica, rules: &Rules) -> bool {
        self.node == replica.node
            && self.runs_node == replica.runs_node
            && rules.is_described_by(&self.sealing)
    }

    /// Why a server cannot run beside the one with this record, in words for an administrator.
    pub(super) fn objection(&self, replica: &Replica, rules: &Rules) -> Option<String> {
        if replica.runs_node && self.runs_node && replica.node == self.node {
            return Some(format!(
                "{} has this node name: give this one a node name of its own (--node-name)",
                self.called()
            ));
        }
        let differs = rules.disagreements(&self.sealing);
        if differs.is_empty() {
            return None;
        }
        Some(format!(
            "{} keeps values at rest in another way: {}. All servers of one control plane need the same file for --encryption-provider-config; a new key is first added behind the one that seals, on all of them, before any seals with it",
            self.called(),
            differs.join("; ")
        ))
    }
}
