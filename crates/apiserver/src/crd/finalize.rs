//! The end of a CRD: its objects first, then itself.
//!
//! The condition `Terminating` says how it goes, in upstream's words:
//!
//! | status | reason | when |
//! |---|---|---|
//! | True | `InstanceDeletionInProgress` | objects are being deleted |
//! | True | `InstanceDeletionFailed` | that failed; it is tried again |
//! | True | `InstanceDeletionCheck` | objects are left after a minute, held by finalizers of theirs |
//! | False | `InstanceDeletionCompleted` | none is left; seen when another finalizer holds the CRD |
//! | False | `NeverEstablished` | there never were any |
//!
//! A condition that cannot be written holds up no deletion.

use std::sync::Arc;
use std::time::Duration;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use super::{CLEANUP, GROUP, PLURAL, status};
use crate::kinds::Kind;
use crate::registry::{Call, Registry, WriteOptions, purge, update_with};

/// How often objects that hold themselves by finalizers are looked at again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long deletions may take before the condition says that objects are left (upstream: a minute).
const PATIENCE: Duration = Duration::from_secs(60);

/// A condition `Terminating`: whether it holds, reason, message.
type Terminating<'a> = (&'static str, &'static str, &'a str);

/// Writes the condition.
async fn tell(
    registry: &Arc<Registry>,
    (name, user, options): (&str, &User, &WriteOptions),
    (state, reason, message): Terminating<'_>,
) {
    let Some(kind) = registry.kinds.load().resource(GROUP, PLURAL).cloned() else {
        return;
    };
    let place = ("", name);
    let call = Call::new(registry, &kind, place, "status", user, options.clone()).in_background();
    let told = update_with(&call, |object| {
        if !meta::is_deleting(object) {
            return Ok(());
        }
        let mut conditions = object["status"].as_object().cloned().unwrap_or_default();
        status::condition(
            &mut conditions,
            "Terminating",
            state,
            reason,
            message,
            call.now,
        );
        object["status"] = Value::Object(conditions);
        Ok(())
    });
    match told.await {
        Err(e) if !e.is_not_found() => {
            tracing::warn!(crd = name, error = %e, "writing the condition Terminating of a CRD");
        }
        _ => {}
    }
}

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
    let of = (name.as_str(), &user, &options);
    let mut outcome = (
        "False",
        "NeverEstablished",
        "resource was never established",
    );
    if !kinds.is_empty() {
        let began = tokio::time::Instant::now();
        let message = "CustomResource deletion is in progress";
        tell(
            &registry,
            of,
            ("True", "InstanceDeletionInProgress", message),
        )
        .await;
        outcome = (
            "False",
            "InstanceDeletionCompleted",
            "removed all instances",
        );
        loop {
            match purge_all(&registry, &kinds, &user, &options).await {
                Ok(0) => break,
                Ok(left) => {
                    tracing::debug!(
                        crd = name,
                        left,
                        "objects of a deleted CRD wait for their finalizers"
                    );
                    if began.elapsed() >= PATIENCE {
                        let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
                        tell(&registry, of, ("True", "InstanceDeletionCheck", message)).await;
                    }
                }
                Err(e) if e.code() == 503 => return,
                Err(e) => {
                    tracing::warn!(crd = name, error = %e, "deleting the objects of a CRD; tried again");
                    let message = format!("could not issue all deletes: {e}");
                    tell(&registry, of, ("True", "InstanceDeletionFailed", &message)).await;
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
    tell(&registry, of, outcome).await;
    let Some(kind) = registry.kinds.load().resource(GROUP, PLURAL).cloned() else {
        return;
    };
    let call = Call::new(&registry, &kind, ("", &name), "", &user, options.clone()).in_background();
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
