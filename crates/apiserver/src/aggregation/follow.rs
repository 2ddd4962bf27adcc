//! Keeps the routes: what APIServices say, and where their Services lead.
//!
//! Level, not edge: whatever changed, all routes are made anew from the objects of now; those whose APIService says
//! the same keep their connections and what is known of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use store::{Revision, StoreError, WatchError, WatchItem};
use tokio_util::sync::CancellationToken;

use super::Aggregator;
use super::probe;
use super::remote::{Remote, Spec};
use crate::apiservices::{GROUP, PLURAL, is_remote};
use crate::registry::{Reader, Registry};
use crate::service_resolver::{ServiceReference, locate};
use crate::tls_client::Identity;

const APISERVICES: &str = "/apiregistration.k8s.io/apiservices/";
const SERVICES: &str = "/core/services/";
const ENDPOINTS: &str = "/core/endpoints/";
const SLICES: &str = "/discovery.k8s.io/endpointslices/";

/// Changes within this time are taken up together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Pause after the store failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What the follower needs.
struct Follower {
    registry: Arc<Registry>,
    aggregator: Arc<Aggregator>,
    identity: Option<Identity>,
    /// Group versions that are served by code of this server.
    builtin: BTreeSet<(String, String)>,
    /// Namespaces whose Services matter.
    namespaces: BTreeSet<String>,
    stop: CancellationToken,
}

/// Follows until `stop`.
pub(crate) fn start(
    registry: Arc<Registry>,
    aggregator: Arc<Aggregator>,
    identity: Option<Identity>,
    subresources: impl IntoIterator<Item = (String, String)>,
    stop: CancellationToken,
) {
    let mut builtin: BTreeSet<(String, String)> = subresources.into_iter().collect();
    builtin.extend(
        crate::kinds::builtin()
            .iter()
            .map(|kind| (kind.group.clone(), kind.version.clone())),
    );
    let mut follower = Follower {
        registry,
        aggregator,
        identity,
        builtin,
        namespaces: BTreeSet::new(),
        stop: stop.clone(),
    };
    tokio::spawn(stop.run_until_cancelled_owned(async move { follower.run().await }));
}

impl Follower {
    async fn run(&mut self) {
        loop {
            let followed = match self.registry.store.revision().await {
                Ok(at) => match self.rebuild().await {
                    Ok(()) => self.follow(at).await,
                    Err(e) => {
                        tracing::warn!(error = %e, "reading APIServices and their Services; routes stay as they were");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                },
                Err(e) => Err(e),
            };
            match followed {
                Err(StoreError::Closed) => return,
                Err(e) => {
                    tracing::warn!(error = %e, "watching APIServices and their Services");
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(()) => {}
            }
        }
    }

    /// Takes up changes until a watch ends.
    async fn follow(&mut self, at: Revision) -> Result<(), StoreError> {
        let store = Arc::clone(&self.registry.store);
        let mut apiservices = store.watch(APISERVICES, at).await?;
        let mut services = store.watch(SERVICES, at).await?;
        let mut endpoints = store.watch(ENDPOINTS, at).await?;
        let mut slices = store.watch(SLICES, at).await?;
        let mut due: Option<tokio::time::Instant> = None;
        loop {
            let item = tokio::select! {
                item = apiservices.next() => item,
                item = services.next() => item,
                item = endpoints.next() => item,
                item = slices.next() => item,
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    due = None;
                    if let Err(e) = self.rebuild().await {
                        tracing::warn!(error = %e, "reading APIServices and their Services; routes stay as they were");
                        due = Some(tokio::time::Instant::now() + AGAIN);
                    }
                    continue;
                }
            };
            match item {
                Ok(WatchItem::Event(event)) if due.is_none() && self.concerns(&event.key) => {
                    due = Some(tokio::time::Instant::now() + TOGETHER);
                }
                Ok(_) => {}
                Err(WatchError::Closed) => return Err(StoreError::Closed),
                Err(_) => return Ok(()),
            }
        }
    }

    fn concerns(&self, key: &str) -> bool {
        key.starts_with(APISERVICES)
            || [SERVICES, ENDPOINTS, SLICES]
                .iter()
                .filter_map(|prefix| key.strip_prefix(prefix)?.split('/').next())
                .any(|namespace| self.namespaces.contains(namespace))
    }

    async fn rebuild(&mut self) -> Result<(), ApiError> {
        let reader = Reader::new(Arc::clone(&self.registry));
        let known = self.aggregator.routes();
        let mut routes: Vec<Arc<Remote>> = Vec::new();
        self.namespaces.clear();
        for object in reader.list(GROUP, PLURAL, "").await? {
            let Some((of, spec)) = read(&object) else {
                continue;
            };
            if self.builtin.contains(&of) {
                tracing::warn!(
                    group = of.0,
                    version = of.1,
                    "an APIService names another server for a group version that is built in; it has no effect"
                );
                continue;
            }
            let reference = &spec.service;
            self.namespaces.insert(reference.namespace.clone());
            let destination = locate(&self.registry, reference).await?;
            let same =
                |r: &&Arc<Remote>| (&r.group, &r.version) == (&of.0, &of.1) && r.spec == spec;
            if let Some(remote) = known.iter().find(same) {
                if **remote.destination.load() != destination {
                    remote.destination.store(Arc::new(destination));
                    remote.recheck.notify_one();
                }
                routes.push(Arc::clone(remote));
                continue;
            }
            let remote = Remote::new(of, spec, destination, self.identity.as_ref(), &self.stop);
            let remote = Arc::new(remote);
            tokio::spawn(probe::run(Arc::clone(&self.registry), Arc::clone(&remote)));
            routes.push(remote);
        }
        routes.sort_by(|a, b| {
            let order = |r: &Remote| {
                (
                    -r.spec.group_priority,
                    r.group.clone(),
                    -r.spec.version_priority,
                )
            };
            order(a).cmp(&order(b))
        });
        for gone in known.iter() {
            if !routes.iter().any(|remote| Arc::ptr_eq(remote, gone)) {
                gone.gone.cancel();
            }
        }
        self.aggregator.0.store(Arc::new(routes));
        Ok(())
    }
}

/// Group and version of a remote APIService, and what it says of its server.
fn read(object: &Value) -> Option<((String, String), Spec)> {
    if !is_remote(object) {
        return None;
    }
    let spec = object.get("spec")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let service = &spec["service"];
    let port = service["port"].as_u64().unwrap_or(443);
    Some((
        (text(&spec["group"]), text(&spec["version"])),
        Spec {
            service: ServiceReference {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port: u16::try_from(port).ok()?,
            },
            ca: STANDARD
                .decode(text(&spec["caBundle"]))
                .unwrap_or_else(|_| b"not base64".to_vec()),
            insecure: spec["insecureSkipTLSVerify"] == true,
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
        },
    ))
}
