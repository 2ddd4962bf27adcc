//! Takes a changed file up, and writes anew what is not stored as its rules say.
//!
//! Rotation needs no restart: put the new key behind the old one (on every server), then before it, wait until
//! everything was written anew (the log says so), then take the old key out. Old forms stay in the history of
//! the store until it is compacted. Servers over one store hold one another to that order ([`crate::replicas`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store::{Entry, ListRequest, StoreError, Write};
use tokio_util::sync::CancellationToken;

use super::{Rules, SealingError, config};
use crate::config::Encryption;
use crate::limits;
use crate::registry::Registry;
use crate::replicas::Roll;

/// Pause before objects that could not be written are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Reads the file.
fn read(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|e| e.to_string())?.len();
    if usize::try_from(size).unwrap_or(usize::MAX) > config::MAX_FILE {
        return Err(format!("it is larger than {} bytes", config::MAX_FILE));
    }
    std::fs::read_to_string(file).map_err(|e| e.to_string())
}

/// A file that was read.
pub(crate) struct Loaded {
    text: String,
    pub rules: Rules,
}

/// Reads the file at the start.
///
/// # Errors
/// When it cannot be used.
pub(crate) fn load(file: &Path) -> Result<Loaded, String> {
    let said = |why: String| format!("the encryption configuration {}: {why}", file.display());
    let text = read(file).map_err(said)?;
    let rules = config::parse(&text).map_err(said)?;
    Ok(Loaded { text, rules })
}

/// Takes what was loaded up before it returns, and follows the file's changes until `stop`: one that cannot be used,
/// or that other servers over the same store do not go along with, leaves the rules as they were.
pub(crate) fn start(
    registry: &Arc<Registry>,
    Encryption { file, every }: Encryption,
    Loaded { mut text, rules }: Loaded,
    roll: Option<Arc<Roll>>,
    stop: CancellationToken,
) {
    registry.sealing.set(rules);
    let registry = Arc::clone(registry);
    tokio::spawn(async move {
        let follow = async {
            let mut due = Some(tokio::time::Instant::now());
            let mut refused = String::new();
            // What others have said of the file as it is now: they may come to have it too.
            let mut objection = String::new();
            loop {
                if due.is_some_and(|at| at <= tokio::time::Instant::now()) {
                    due = match renew_all(&registry).await {
                        Ok(()) => None,
                        Err(StoreError::Closed) => return,
                        Err(e) => {
                            tracing::warn!(error = %e, "writing objects anew in the form of the encryption configuration");
                            Some(tokio::time::Instant::now() + AGAIN)
                        }
                    };
                }
                tokio::time::sleep(every).await;
                let fresh = match read(&file) {
                    Ok(fresh) if fresh == text || fresh == refused => continue,
                    Ok(fresh) => fresh,
                    Err(e) => {
                        tracing::error!(file = %file.display(), error = e, "reading the encryption configuration; it stays as it was");
                        continue;
                    }
                };
                let rules = config::parse(&fresh);
                if let (Ok(rules), Some(roll)) = (&rules, &roll)
                    && let Err(e) = roll.change(rules).await
                {
                    let said = e.to_string();
                    if said != objection {
                        tracing::error!(file = %file.display(), error = said, "the changed encryption configuration is not taken up yet");
                        objection = said;
                    }
                    continue;
                }
                objection.clear();
                match rules {
                    Ok(rules) => {
                        registry.sealing.set(rules);
                        tracing::info!(file = %file.display(), "a changed encryption configuration is in force");
                        text = fresh;
                        due = Some(tokio::time::Instant::now());
                    }
                    Err(e) => {
                        tracing::error!(file = %file.display(), error = e, "the changed encryption configuration cannot be used; it stays as it was");
                        refused = fresh;
                    }
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
}

/// What a pass did.
#[derive(Default)]
struct Pass {
    renewed: usize,
    unreadable: usize,
}

async fn renew_all(registry: &Registry) -> Result<(), StoreError> {
    let mut pass = Pass::default();
    for prefix in registry.sealing.prefixes() {
        let mut after = None;
        loop {
            let listing = registry
                .store
                .list(ListRequest {
                    prefix: prefix.clone(),
                    after,
                    limit: Some(limits::STORE_PAGE),
                    at: None,
                })
                .await?;
            for entry in &listing.entries {
                renew(registry, entry, &mut pass).await?;
            }
            match listing.entries.last() {
                Some(last) if listing.remaining > 0 => after = Some(last.key.to_string()),
                _ => break,
            }
            tracing::info!(
                renewed = pass.renewed,
                left = listing.remaining,
                prefix,
                "writing objects in the form of the encryption configuration"
            );
        }
    }
    if pass.renewed > 0 || pass.unreadable > 0 {
        tracing::info!(
            renewed = pass.renewed,
            unreadable = pass.unreadable,
            "every readable object is stored in the form of the encryption configuration"
        );
    }
    Ok(())
}

async fn renew(registry: &Registry, entry: &Entry, pass: &mut Pass) -> Result<(), StoreError> {
    let sealing = &registry.sealing;
    if !sealing.is_stale(&entry.key, &entry.value) {
        return Ok(());
    }
    let fresh = sealing
        .open(&entry.key, &entry.value)
        .and_then(|plain| sealing.seal(&entry.key, plain.into_owned()));
    let fresh = match fresh {
        Ok(fresh) => fresh,
        Err(e) => {
            pass.unreadable += 1;
            report(&entry.key, &e);
            return Ok(());
        }
    };
    let write = Write::update(Arc::clone(&entry.key), entry.modified, fresh);
    match registry.store.commit(write).await {
        Ok(_) => pass.renewed += 1,
        // Somebody else wrote it meanwhile, with the rules of now.
        Err(StoreError::Conflict { .. }) => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

fn report(key: &str, error: &SealingError) {
    tracing::error!(key, %error, "an object at rest cannot be opened");
}
