//! Claims: what replicas over one store agree on before they commit, where one object's version is not enough.
//!
//! A Service's address and a namespace's quota depend on many objects. Two replicas that look at the same time see
//! neither of the other's writes. So whoever is about to write says so first, in a ledger that has one version:
//!
//! ```text
//! read the ledger ─► read the objects ─► decide with both ─► add the claim if the ledger is as it was ─► commit
//!        ▲                                                          │ no                                  │
//!        └──────────────────────────────────────────────────────────┘              remove the claim ◄──────┘
//! ```
//! # Invariants
//!
//! * A claim is in the ledger from before its object is committed until after. Whoever reads the ledger and then the
//!   objects sees it in one of them at least.
//! * A claim whose object has changed since it was made is settled: the object counts, the claim does not.
//! * A replica that dies leaves claims; they lapse after [`limits::CLAIM_LIFE`], which is longer than any write takes.
//!
//! A server that has its store to itself keeps no ledgers: a lock is cheaper.

use std::sync::Arc;

use apimachinery::status::ApiError;
use serde::{Deserialize, Serialize};
use store::{Op, Precondition, Revision, StoreError, Write};

use super::{Registry, store_error};
use crate::limits;

/// What somebody is about to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Unique.
    id: String,
    /// The store's key of the object.
    pub key: String,
    /// The revision that it is to replace; 0 if it does not exist.
    pub base: u64,
    /// When the claim was made, in seconds since 1970 by the claimant's clock.
    at: i64,
    /// What is claimed.
    pub what: Vec<(String, String)>,
}

#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    claims: Vec<Claim>,
}

/// A claim in the ledger; dropping it removes it, a little later.
pub(crate) struct Held {
    registry: Arc<Registry>,
    ledger: String,
    id: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let (registry, ledger, id) = (
            Arc::clone(&self.registry),
            std::mem::take(&mut self.ledger),
            std::mem::take(&mut self.id),
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&registry, &ledger, &id).await });
        }
    }
}

/// The ledger of Service addresses and node ports.
pub(crate) const SERVICES: &str = "/~claims/services";

/// The ledger of a namespace's quotas.
pub(crate) fn quota(namespace: &str) -> String {
    format!("/~claims/quota/{namespace}")
}

/// A ledger as it was read.
pub(crate) struct Opened {
    ledger: String,
    version: Option<Revision>,
    /// What others have claimed.
    pub others: Vec<Claim>,
}

/// Reads a ledger. To be done before the objects are read that the decision is about.
pub(crate) async fn open(registry: &Registry, ledger: &str) -> Result<Opened, ApiError> {
    let (mut others, version) = read(registry, ledger).await?;
    let now = jiff::Timestamp::now().as_second();
    others.retain(|claim| (now - claim.at).abs() < limits::CLAIM_LIFE);
    if others.len() >= limits::CLAIMS {
        return Err(contended());
    }
    Ok(Opened {
        ledger: ledger.to_owned(),
        version,
        others,
    })
}

/// Said when others are always quicker.
pub(crate) fn contended() -> ApiError {
    let why = "too many writes of this kind are under way in other replicas";
    ApiError::too_many_requests(why, 1)
}

impl Opened {
    /// Claims something for an object, by its key and the revision that it is to replace. `None` if the ledger has
    /// changed since it was read: open it again, and decide again.
    pub(crate) async fn add(
        mut self,
        registry: &Arc<Registry>,
        key: &str,
        base: u64,
        what: Vec<(String, String)>,
    ) -> Result<Option<Held>, ApiError> {
        let id = uuid::Uuid::new_v4().to_string();
        self.others.push(Claim {
            id: id.clone(),
            key: key.to_owned(),
            base,
            at: jiff::Timestamp::now().as_second(),
            what,
        });
        let written = write(registry, &self.ledger, self.version, self.others).await?;
        Ok(written.then(|| Held {
            registry: Arc::clone(registry),
            ledger: self.ledger,
            id,
        }))
    }
}

/// Claims that do not show in the objects yet. To be asked before the objects that a decision is about are read.
pub(crate) async fn unsettled(
    registry: &Registry,
    claims: &[Claim],
) -> Result<Vec<Claim>, ApiError> {
    let mut open = Vec::new();
    for claim in claims {
        let (entry, _) = registry.store.get(&claim.key).await.map_err(store_error)?;
        if entry.map_or(0, |entry| entry.modified.0) == claim.base {
            open.push(claim.clone());
        }
    }
    Ok(open)
}

async fn read(
    registry: &Registry,
    ledger: &str,
) -> Result<(Vec<Claim>, Option<Revision>), ApiError> {
    let (entry, _) = registry.store.get(ledger).await.map_err(store_error)?;
    let Some(entry) = entry else {
        return Ok((Vec::new(), None));
    };
    let failed =
        |e: String| ApiError::internal(format!("{ledger} in the store cannot be read: {e}"));
    let plain = registry.sealing.open(ledger, &entry.value);
    let plain = plain.map_err(|e| failed(e.to_string()))?;
    let ledger: Ledger = serde_json::from_slice(&plain).map_err(|e| failed(e.to_string()))?;
    Ok((ledger.claims, Some(entry.modified)))
}

/// Whether the ledger was still as it had been read.
async fn write(
    registry: &Registry,
    ledger: &str,
    version: Option<Revision>,
    claims: Vec<Claim>,
) -> Result<bool, ApiError> {
    let op = if claims.is_empty() {
        Op::Delete
    } else {
        let text = serde_json::to_vec(&Ledger { claims })
            .map_err(|e| ApiError::internal(format!("writing {ledger}: {e}")))?;
        let sealed = registry.sealing.seal(ledger, text);
        Op::Put(sealed.map_err(|e| ApiError::internal(format!("writing {ledger}: {e}")))?)
    };
    let write = Write {
        key: ledger.into(),
        precondition: version.map_or(Precondition::Absent, Precondition::At),
        op,
        space: store::Space::Ordinary,
    };
    match registry.store.commit(write).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(e) => Err(store_error(e)),
    }
}

async fn remove(registry: &Registry, ledger: &str, id: &str) {
    // What is not removed lapses.
    for _ in 0..limits::CLAIM_ATTEMPTS {
        let Ok((mut claims, version)) = read(registry, ledger).await else {
            return;
        };
        let before = claims.len();
        claims.retain(|claim| claim.id != id);
        if claims.len() == before {
            return;
        }
        match write(registry, ledger, version, claims).await {
            Ok(false) => {}
            Ok(true) | Err(_) => return,
        }
    }
}
