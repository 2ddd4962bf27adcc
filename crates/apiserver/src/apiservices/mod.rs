//! APIServices: one for each served group version, kept by the server itself, and those of aggregated servers.
//!
//! ```text
//! kinds change (CRDs) ─► wanted local APIServices ─► created, or removed
//! Services change     ─► condition Available of the remote ones: ServiceNotFound, ServiceAccessError, ...
//! request of a remote group version ─► 503 with the condition's message
//! ```
//! Requests are not forwarded to remote servers: a server without a network of Services cannot reach them.

mod strategy;

use std::collections::BTreeSet;
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use store::{StoreError, WatchItem};
use tokio_util::sync::CancellationToken;

use crate::decode::Decoded;
use crate::registry::{
    Call, DeleteOptions, Reader, Registry, WriteOptions, create, delete, update_with,
};

pub(crate) use strategy::ApiServices;

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const PLURAL: &str = "apiservices";
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Group versions that are served here.
fn served(registry: &Registry) -> BTreeSet<(String, String)> {
    let kinds = registry.kinds.load();
    kinds
        .groups()
        .flat_map(|(group, versions)| {
            versions
                .iter()
                .map(|(version, _)| (group.to_owned(), version.clone()))
        })
        .collect()
}

/// `v1.apps`; the core group's is `v1.`.
pub(crate) fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

fn priorities(group: &str, version: &str) -> (i64, i64) {
    let of_version = if version == "v1" { 15 } else { 9 };
    match group {
        "" => (18000, 1),
        "apps" => (17800, of_version),
        "events.k8s.io" => (17750, of_version),
        "authentication.k8s.io" => (17700, of_version),
        "authorization.k8s.io" => (17600, of_version),
        "autoscaling" => (17500, of_version),
        "batch" => (17400, of_version),
        "networking.k8s.io" => (17200, of_version),
        "policy" => (17100, of_version),
        "rbac.authorization.k8s.io" => (17000, of_version),
        "storage.k8s.io" => (16800, of_version),
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => (16700, of_version),
        "scheduling.k8s.io" => (16600, of_version),
        "coordination.k8s.io" => (16500, of_version),
        "discovery.k8s.io" => (16200, of_version),
        _ => (1000, 100),
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        manager: "kube-aggregator".to_owned(),
        ..WriteOptions::default()
    }
}

/// Follows kinds and Services until `stop`.
pub(crate) fn start(registry: Arc<Registry>, stop: CancellationToken) {
    let follower = Arc::clone(&registry);
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = follow_kinds(&follower) => {}
            () = stopped.cancelled() => {}
        }
    });
    tokio::spawn(async move {
        tokio::select! {
            () = follow_services(&registry) => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn follow_kinds(registry: &Arc<Registry>) {
    let mut changes = registry.crds_at.subscribe();
    let mut last = BTreeSet::new();
    loop {
        let wanted = served(registry);
        if wanted != last {
            match reconcile(registry, &wanted).await {
                Ok(()) => last = wanted,
                Err(e) => tracing::warn!(error = %e, "keeping the APIServices of served groups"),
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn reconcile(
    registry: &Arc<Registry>,
    wanted: &BTreeSet<(String, String)>,
) -> Result<(), ApiError> {
    let reader = Reader(Arc::clone(registry));
    let Some(kind) = reader.kind(GROUP, PLURAL) else {
        return Ok(());
    };
    let present = reader.list(GROUP, PLURAL, "").await?;
    let has = |name: &str| present.iter().any(|o| meta::name(o) == Some(name));
    let user = User::new("system:apiserver", &["system:masters"]);
    let created = wanted
        .iter()
        .filter(|(g, v)| !has(&name(g, v)))
        .map(|(group, version)| {
            let (group_priority, version_priority) = priorities(group, version);
            let mut spec = json!({
                "version": version,
                "groupPriorityMinimum": group_priority,
                "versionPriority": version_priority,
            });
            if !group.is_empty() {
                spec["group"] = json!(group);
            }
            let value = json!({
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": name(group, version), "labels": {MANAGED: "true"}},
                "spec": spec,
            });
            let (kind, user) = (&kind, &user);
            async move {
                let call = Call::new(registry, kind, ("", ""), "", user, options()).in_background();
                let decoded = Decoded {
                    value,
                    duplicates: Vec::new(),
                };
                match create(&call, decoded).await {
                    Err(e) if !e.is_already_exists() => Err(e),
                    _ => Ok(()),
                }
            }
        });
    for result in futures_util::future::join_all(created).await {
        result?;
    }
    for object in &present {
        let own = meta::label(object, MANAGED) == Some("true");
        let object_name = meta::name(object).unwrap_or_default();
        if own && !wanted.iter().any(|(g, v)| name(g, v) == object_name) {
            let call =
                Call::new(registry, &kind, ("", object_name), "", &user, options()).in_background();
            match delete(&call, &DeleteOptions::default()).await {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

async fn follow_services(registry: &Arc<Registry>) {
    loop {
        let watched = match registry.store.revision().await {
            Ok(at) => {
                recheck(registry).await;
                registry.store.watch("/core/services/", at).await
            }
            Err(e) => Err(e),
        };
        let mut events = match watched {
            Ok(events) => events,
            Err(StoreError::Closed) => return,
            Err(e) => {
                tracing::warn!(error = %e, "watching Services for APIServices");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        loop {
            match events.next().await {
                Ok(WatchItem::Event(_)) => recheck(registry).await,
                Ok(WatchItem::Progress(_)) => {}
                Err(store::WatchError::Closed) => return,
                Err(_) => break,
            }
        }
    }
}

/// Brings the condition of every remote APIService up to date.
async fn recheck(registry: &Arc<Registry>) {
    let reader = Reader(Arc::clone(registry));
    let (Some(kind), Ok(present)) = (
        reader.kind(GROUP, PLURAL),
        reader.list(GROUP, PLURAL, "").await,
    ) else {
        return;
    };
    let user = User::new("system:apiserver", &["system:masters"]);
    for object in present.iter().filter(|o| is_remote(o)) {
        let Ok((reason, message)) = strategy::availability(&reader, object).await else {
            continue;
        };
        let object_name = meta::name(object).unwrap_or_default();
        let call = Call::new(
            registry,
            &kind,
            ("", object_name),
            "status",
            &user,
            options(),
        )
        .in_background();
        let now = call.now;
        let updated = update_with(&call, |object| {
            strategy::set_condition(object, reason, &message, now);
            Ok(())
        });
        match updated.await {
            Err(e) if !e.is_not_found() => {
                tracing::warn!(error = %e, name = object_name, "writing the status of an APIService");
            }
            _ => {}
        }
    }
}

fn is_remote(object: &Value) -> bool {
    object
        .pointer("/spec/service")
        .is_some_and(|service| !service.is_null())
}

/// 503 when the group version belongs to a remote server, else 404.
pub(crate) async fn unavailable(reader: &Reader, group: &str, version: &str) -> ApiError {
    if group.is_empty() || version.is_empty() {
        return ApiError::unknown_resource();
    }
    match reader.get(GROUP, PLURAL, "", &name(group, version)).await {
        Ok(Some(object)) if is_remote(&object) => {
            let message = object
                .pointer("/status/conditions/0/message")
                .and_then(Value::as_str)
                .unwrap_or("the aggregated API server is not available");
            ApiError::service_unavailable(message)
        }
        Ok(_) => ApiError::unknown_resource(),
        Err(e) => e,
    }
}
