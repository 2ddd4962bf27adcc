//! Every namespace has a ServiceAccount `default`, which Pods run as when they name none.

use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use serde_json::{Value, json};

use crate::decode::Decoded;
use crate::registry::{Call, Registry, WriteOptions, create};

/// A namespace was created: gives it its account before the client hears of it.
pub(super) async fn created(call: &Call<'_>, object: &Value) {
    if call.kind.is("", "namespaces")
        && let Some(name) = meta::name(object)
    {
        ensure(call.registry, name).await;
    }
}

/// Gives an account to every namespace that lacks one, for stores of older versions and interrupted creations.
pub(crate) async fn ensure_accounts(registry: &Arc<Registry>) {
    let reader = crate::registry::Reader(Arc::clone(registry));
    let namespaces = match reader.list("", "namespaces", "").await {
        Ok(namespaces) => namespaces,
        Err(e) => {
            tracing::warn!(error = %e, "reading namespaces to give them service accounts");
            return;
        }
    };
    let mut missing = Vec::new();
    for namespace in &namespaces {
        if let Some(name) = meta::name(namespace)
            && !meta::is_deleting(namespace)
            && let Ok(None) = reader.get("", "serviceaccounts", name, "default").await
        {
            missing.push(name);
        }
    }
    futures_util::future::join_all(missing.into_iter().map(|name| ensure(registry, name))).await;
}

async fn ensure(registry: &Arc<Registry>, namespace: &str) {
    let Some(kind) = registry
        .kinds
        .load()
        .resource("", "serviceaccounts")
        .cloned()
    else {
        return;
    };
    let user = User::new("system:apiserver", &["system:masters"]);
    let options = WriteOptions {
        manager: "ferrovirt".to_owned(),
        ..WriteOptions::default()
    };
    let call = Call::new(registry, &kind, (namespace, ""), "", &user, options).in_background();
    let value = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    });
    let decoded = Decoded {
        value,
        duplicates: Vec::new(),
    };
    // The creation of an account creates nothing in turn, so this ends.
    match Box::pin(create(&call, decoded)).await {
        Err(e) if !e.is_already_exists() => {
            tracing::warn!(namespace, error = %e, "creating the default service account");
        }
        _ => {}
    }
}
