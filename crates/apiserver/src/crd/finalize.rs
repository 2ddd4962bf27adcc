//! The end of a CRD: its objects first, then itself.

use std::sync::Arc;
use std::time::Duration;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use super::{CLEANUP, GROUP, PLURAL};
use crate::kinds::Kind;
use crate::registry::{Call, Registry, WriteOptions, purge, update_with};

/// How often objects that hold themselves by finalizers are looked at again.
const PAUSE: Duration = Duration::from_millis(500);

/// Deletes what is stored in any version; says how much is left.
async fn purge_all(
    registry: &Arc<Registry>,
    kinds: &[Arc<Kind>],
    user: &User,
    options: &WriteOptions,
) -> Result<usize, ApiError> {
    let mut left = 0;
    for kind in kinds {
        let call = Call::new(registry, kind, ("", ""), "", user, options.clone()).in_background();
        left = purge(&call).await?;
    }
    Ok(left)
}

/// Deletes the objects of a terminating CRD until none is left, then lets the CRD go.
pub(super) async fn run(registry: Arc<Registry>, name: String, kinds: Vec<Arc<Kind>>) {
    let user = User::new("system:apiserver", &["system:masters"]);
    let options = WriteOptions {
        manager: "ferrovirt".to_owned(),
        ..WriteOptions::default()
    };
    if !kinds.is_empty() {
        loop {
            match purge_all(&registry, &kinds, &user, &options).await {
                Ok(0) => break,
                Ok(left) => tracing::debug!(
                    crd = name,
                    left,
                    "objects of a deleted CRD wait for their finalizers"
                ),
                Err(e) if e.code() == 503 => return,
                Err(e) => {
                    tracing::warn!(crd = name, error = %e, "deleting the objects of a CRD; tried again");
                }
            }
            // Another task may have ended this deletion already.
            match registry
                .store
                .get(&format!("/{GROUP}/{PLURAL}/-/{name}"))
                .await
            {
                Ok((Some(_), _)) => {}
                _ => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    let Some(kind) = registry.kinds.load().resource(GROUP, PLURAL).cloned() else {
        return;
    };
    let call = Call::new(&registry, &kind, ("", &name), "", &user, options).in_background();
    let done = update_with(&call, |object: &mut Value| {
        if !meta::is_deleting(object) {
            return Ok(());
        }
        let finalizers: Vec<String> = meta::finalizers(object)
            .into_iter()
            .filter(|f| *f != CLEANUP)
            .map(str::to_owned)
            .collect();
        if let Some(meta) = meta::metadata_mut(object) {
            meta.insert("finalizers".to_owned(), json!(finalizers));
        }
        Ok(())
    })
    .await;
    match done {
        Err(e) if !e.is_not_found() => {
            tracing::warn!(crd = name, error = %e, "removing the finalizer of a CRD");
        }
        _ => {}
    }
}
