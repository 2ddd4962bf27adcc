//! Keeps the gate's rules as the objects in the store say.

use std::collections::BTreeSet;
use std::sync::Arc;

use apimachinery::meta;
use serde_json::Value;
use store::Entry;
use tokio_util::sync::CancellationToken;

use super::bootstrap;
use super::gate::Gate;
use super::level::Level;
use super::schema::FlowSchema;
use crate::follow::{self, CaughtUp, Objects, View};
use crate::registry::Registry;
use crate::registry::codec::{self, LoadError};
use crate::server::StartError;

const SCHEMAS: &str = "/flowcontrol.apiserver.k8s.io/flowschemas/";
const LEVELS: &str = "/flowcontrol.apiserver.k8s.io/prioritylevelconfigurations/";

/// Makes rules of stored objects. What a server without stored configuration needs is taken from the program. Gives
/// whether everything mandatory is stored.
fn configure(gate: &Gate, objects: &Objects<Value>) -> bool {
    let own = bootstrap::objects();
    let mut complete = true;
    let mut schemas: Vec<FlowSchema> = objects
        .below(SCHEMAS)
        .filter_map(FlowSchema::parse)
        .collect();
    let mut levels: Vec<Level> = objects.below(LEVELS).filter_map(Level::parse).collect();
    // The mandatory ones are never missing.
    for object in own
        .iter()
        .filter(|o| is_mandatory(meta::name(o).unwrap_or_default()))
    {
        if object["kind"] == "FlowSchema" {
            let schema = FlowSchema::parse(object);
            let is_missing = |new: &FlowSchema| !schemas.iter().any(|s| s.name == new.name);
            let missing = schema.filter(is_missing);
            complete &= missing.is_none();
            schemas.extend(missing);
        } else {
            let level = Level::parse(object);
            let is_missing = |new: &Level| !levels.iter().any(|l| l.name == new.name);
            let missing = level.filter(is_missing);
            complete &= missing.is_none();
            levels.extend(missing);
        }
    }
    gate.configure(schemas, levels);
    complete
}

fn is_mandatory(name: &str) -> bool {
    matches!(name, "exempt" | "catch-all")
}

/// Makes the gate's rules.
struct Rules {
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    bootstraps: bool,
}

impl View for Rules {
    type Known = Value;
    const PREFIX: &'static str = "/flowcontrol.apiserver.k8s.io/";
    const WHAT: &'static str = "flow schemas and priority levels";

    fn read(&self, entry: &Entry) -> Result<Option<Value>, LoadError> {
        codec::read_entry(&self.registry.sealing, entry).map(Some)
    }

    async fn take_up(&mut self, objects: &Objects<Value>, _changed: &BTreeSet<Arc<str>>) {
        let complete = configure(&self.gate, objects);
        if !complete
            && self.bootstraps
            && let Err(e) = bootstrap::ensure(&self.registry).await
        {
            tracing::error!(error = %e, "creating a mandatory object of priority and fairness again");
        }
    }
}

/// Creates what every cluster has (when `bootstraps`), loads the rules and keeps them fresh until `stop`. Returns after
/// the first load.
pub(crate) async fn start(
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    caught_up: Arc<CaughtUp>,
    bootstraps: bool,
    stop: CancellationToken,
) -> Result<(), StartError> {
    if bootstraps {
        bootstrap::ensure(&registry)
            .await
            .map_err(|source| StartError::Bootstrap {
                what: "priority and fairness".to_owned(),
                source,
            })?;
    }
    let store = Arc::clone(&registry.store);
    let rules = Rules {
        registry,
        gate,
        bootstraps,
    };
    Ok(follow::start(rules, store, caught_up, stop).await?)
}
