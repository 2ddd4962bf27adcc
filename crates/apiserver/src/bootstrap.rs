//! What every cluster has from its first start: namespaces and RBAC policy.

use std::sync::Arc;

use ::authz::{User, bootstrap_policy, reconcile};
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use store::ListRequest;

use crate::decode::Decoded;
use crate::kinds::Kind;
use crate::registry::{Call, Registry, WriteOptions, codec, create, update_with};
use crate::server::StartError;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing, and adds to default roles what a newer version grants.
pub(crate) async fn run(registry: &Arc<Registry>) -> Result<(), StartError> {
    let wanted: Vec<(Arc<Kind>, Value)> = {
        let kinds = registry.kinds.load();
        let mut wanted = Vec::new();
        let namespaces = kinds.resource("", "namespaces").into_iter();
        for kind in namespaces {
            for name in NAMESPACES {
                wanted.push((
                    Arc::clone(kind),
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                ));
            }
        }
        for object in bootstrap_policy() {
            let plural = format!(
                "{}s",
                object["kind"].as_str().unwrap_or_default().to_lowercase()
            );
            if let Some(kind) = kinds.resource("rbac.authorization.k8s.io", &plural) {
                wanted.push((Arc::clone(kind), object));
            }
        }
        wanted
    };
    let mut present = std::collections::HashMap::new();
    for prefix in ["/core/namespaces/", "/rbac.authorization.k8s.io/"] {
        let listing = registry.store.list(ListRequest::prefix(prefix)).await?;
        present.extend(
            listing
                .entries
                .into_iter()
                .map(|e| (e.key.to_string(), e.value)),
        );
    }
    let user = User::new("system:apiserver", &["system:masters"]);
    // Together, so that the store can make one durable write of them. Namespaces come first.
    for round in [true, false] {
        let writes = wanted.iter().filter(|(kind, _)| {
            kind.plural == "namespaces" && round || kind.plural != "namespaces" && !round
        });
        let results = futures_util::future::join_all(writes.map(|(kind, object)| {
            let name = meta::name(object).unwrap_or_default();
            let namespace = meta::namespace(object).unwrap_or_default();
            let key = kind.key(namespace, name);
            let stored = present
                .get(&key)
                .and_then(|v| codec::read(&registry.sealing, &key, v).ok());
            ensure(registry, kind, object, stored, &user)
        }))
        .await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    Ok(())
}

async fn ensure(
    registry: &Arc<Registry>,
    kind: &Arc<Kind>,
    object: &Value,
    stored: Option<Value>,
    user: &User,
) -> Result<(), StartError> {
    let name = meta::name(object).unwrap_or_default();
    let namespace = meta::namespace(object).unwrap_or_default();
    let failed = |source: ApiError| StartError::Bootstrap {
        what: format!("{} {name:?}", kind.kind),
        source,
    };
    let options = WriteOptions {
        manager: "ferrovirt".to_owned(),
        ..WriteOptions::default()
    };
    match stored {
        None => {
            let call =
                Call::new(registry, kind, (namespace, ""), "", user, options).in_background();
            let decoded = Decoded {
                value: object.clone(),
                duplicates: Vec::new(),
            };
            match create(&call, decoded).await {
                Err(e) if !e.is_already_exists() => Err(failed(e)),
                _ => Ok(()),
            }
        }
        Some(stored) if reconcile(&stored, object).is_some() => {
            let call =
                Call::new(registry, kind, (namespace, name), "", user, options).in_background();
            let update = update_with(&call, |current| {
                if let Some(better) = reconcile(current, object) {
                    *current = better;
                }
                Ok(())
            });
            update.await.map(|_| ()).map_err(failed)
        }
        Some(_) => Ok(()),
    }
}
