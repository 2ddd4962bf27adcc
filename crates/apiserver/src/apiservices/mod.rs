//! APIServices: one for each served group version, kept by the server itself, and those of aggregated servers.
//!
//! ```text
//! kinds change (CRDs) ─► wanted local APIServices ─► created, or removed
//! ```
//! Requests of remote ones are forwarded by `crate::aggregation`, which also finds out whether they are available.

mod strategy;

use std::collections::BTreeSet;
use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
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

/// Follows kinds until `stop`.
pub(crate) fn start(registry: Arc<Registry>, stop: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            () = follow_kinds(&registry) => {}
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
    let reader = Reader::new(Arc::clone(registry));
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

/// Brings the condition of a remote APIService up to date.
pub(crate) async fn write_condition(
    registry: &Arc<Registry>,
    (group, version): (&str, &str),
    reason: &str,
    message: &str,
) {
    let reader = Reader::new(Arc::clone(registry));
    let Some(kind) = reader.kind(GROUP, PLURAL) else {
        return;
    };
    let user = User::new("system:apiserver", &["system:masters"]);
    let name = name(group, version);
    let place = ("", name.as_str());
    let call = Call::new(registry, &kind, place, "status", &user, options()).in_background();
    let now = call.now;
    let updated = update_with(&call, |object| {
        if is_remote(object) {
            strategy::set_condition(object, reason, message, now);
        }
        Ok(())
    });
    match updated.await {
        Err(e) if !e.is_not_found() => {
            tracing::warn!(error = %e, name, "writing the status of an APIService");
        }
        _ => {}
    }
}

pub(crate) fn is_remote(object: &Value) -> bool {
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
