//! Keeps the gate's rules as the objects in the store say.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::meta;
use serde_json::Value;
use store::{Entry, Event, ListRequest, Revision, WatchItem};
use tokio_util::sync::CancellationToken;

use super::bootstrap;
use super::gate::Gate;
use super::level::Level;
use super::schema::FlowSchema;
use crate::registry::codec::{self, LoadError};
use crate::registry::{CaughtUp, Registry};
use crate::server::StartError;

const PREFIX: &str = "/flowcontrol.apiserver.k8s.io/";
const SCHEMAS: &str = "/flowcontrol.apiserver.k8s.io/flowschemas/";

type Objects = BTreeMap<Arc<str>, Value>;

/// Makes rules of stored objects. What a server without stored configuration needs is taken from the program.
fn configure(gate: &Gate, objects: &Objects) {
    let own = bootstrap::objects();
    let stored_schemas = objects.iter().filter(|(key, _)| key.starts_with(SCHEMAS));
    let mut schemas: Vec<FlowSchema> = stored_schemas
        .filter_map(|(_, object)| FlowSchema::parse(object))
        .collect();
    let stored_levels = objects.iter().filter(|(key, _)| !key.starts_with(SCHEMAS));
    let mut levels: Vec<Level> = stored_levels
        .filter_map(|(_, object)| Level::parse(object))
        .collect();
    // The mandatory ones are never missing.
    for object in own
        .iter()
        .filter(|o| is_mandatory(meta::name(o).unwrap_or_default()))
    {
        if object["kind"] == "FlowSchema" {
            let schema = FlowSchema::parse(object);
            let is_missing = |new: &FlowSchema| !schemas.iter().any(|s| s.name == new.name);
            let missing = schema.filter(is_missing);
            schemas.extend(missing);
        } else {
            let level = Level::parse(object);
            let is_missing = |new: &Level| !levels.iter().any(|l| l.name == new.name);
            let missing = level.filter(is_missing);
            levels.extend(missing);
        }
    }
    gate.configure(schemas, levels);
}

fn is_mandatory(name: &str) -> bool {
    matches!(name, "exempt" | "catch-all")
}

async fn load(registry: &Registry) -> Result<(Objects, Revision), LoadError> {
    let request = ListRequest::prefix(PREFIX);
    let listing = registry.store.list(request).await?;
    let read = |entry: &Entry| {
        let object = codec::read_entry(&registry.sealing, entry)?;
        Ok((Arc::clone(&entry.key), object))
    };
    let objects: Result<Objects, LoadError> = listing.entries.iter().map(read).collect();
    Ok((objects?, listing.revision))
}

/// Takes up a change. An object that cannot be read stays as it was.
fn take(registry: &Registry, objects: &mut Objects, event: &Event) {
    match event
        .entry()
        .map(|e| codec::read_entry(&registry.sealing, &e))
    {
        Some(Ok(object)) => {
            objects.insert(Arc::clone(&event.key), object);
        }
        Some(Err(e)) => {
            tracing::error!(error = %e, "a flow schema or priority level stays as it was");
        }
        None => {
            objects.remove(&event.key);
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
    let (mut objects, mut at) = load(&registry).await?;
    configure(&gate, &objects);
    caught_up.advance(at);
    tokio::spawn(async move {
        let follow = async {
            loop {
                if let Ok(mut events) = registry.store.watch(PREFIX, at).await {
                    loop {
                        match events.next().await {
                            Ok(WatchItem::Event(event)) => {
                                take(&registry, &mut objects, &event);
                                configure(&gate, &objects);
                                caught_up.advance(event.revision);
                                let name = event.key.rsplit('/').next().unwrap_or_default();
                                if event.value.is_none()
                                    && bootstraps
                                    && is_mandatory(name)
                                    && let Err(e) = bootstrap::ensure(&registry).await
                                {
                                    tracing::error!(error = %e, "creating a mandatory object of priority and fairness again");
                                }
                            }
                            Ok(WatchItem::Progress(revision)) => caught_up.advance(revision),
                            Err(store::WatchError::Closed) => return,
                            Err(_) => break,
                        }
                    }
                }
                // Too slow, or compacted: begin anew from the present state.
                match load(&registry).await {
                    Ok((fresh, revision)) => {
                        (objects, at) = (fresh, revision);
                        configure(&gate, &objects);
                        caught_up.advance(at);
                    }
                    Err(e) => {
                        tracing::error!(error = %e, "reading flow schemas; priorities stay as they were");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(())
}
