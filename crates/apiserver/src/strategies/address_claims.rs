//! Addresses and node ports of Services across replicas: chosen by one, and claimed before the Service is committed.

use std::collections::HashSet;

use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::Value;

use super::fields::text;
use super::node_ports::ports;
use crate::limits;
use crate::registry::Call;
use crate::registry::claims::{self, Held};

/// Whether what a Service has chosen may be its own.
pub(crate) enum Choice {
    /// Nobody else has it, and nobody will while this is held; nothing is held if nothing new was chosen.
    Ours(Option<Held>),
    /// Somebody else has some of it, or is about to.
    Taken,
}

/// Claims what a Service has chosen beyond what it had. `base` is the revision of `old`.
pub(crate) async fn claim(
    call: &Call<'_>,
    name: &str,
    base: u64,
    service: &Value,
    old: Option<&Value>,
) -> Result<Choice, ApiError> {
    let had = old.map(of).unwrap_or_default();
    let mut wanted = of(service);
    wanted.retain(|one| !had.contains(one));
    if wanted.is_empty() || call.options.dry_run {
        return Ok(Choice::Ours(None));
    }
    let key = call.kind.key(call.namespace, name);
    for _ in 0..limits::CLAIM_ATTEMPTS {
        let opened = claims::open(call.registry, claims::SERVICES).await?;
        let mut taken: HashSet<(String, String)> = opened
            .others
            .iter()
            .filter(|claim| claim.key != key)
            .flat_map(|claim| claim.what.iter().cloned())
            .collect();
        for other in call.reader.list("", "services", "").await? {
            let itself =
                meta::name(&other) == Some(name) && meta::namespace(&other) == Some(call.namespace);
            if !itself {
                taken.extend(of(&other));
            }
        }
        if wanted.iter().any(|one| taken.contains(one)) {
            return Ok(Choice::Taken);
        }
        let added = opened.add(call.registry, &key, base, wanted.clone());
        if let Some(held) = added.await? {
            return Ok(Choice::Ours(Some(held)));
        }
    }
    Err(claims::contended())
}

/// What nobody but this Service may have.
fn of(service: &Value) -> Vec<(String, String)> {
    let address = text(service, "/spec/clusterIP");
    let address = (!matches!(address, "" | "None")).then(|| ("ip".to_owned(), address.to_owned()));
    let mut all: Vec<_> = ports(service)
        .map(|port| ("port".to_owned(), port.to_string()))
        .chain(address)
        .collect();
    all.sort();
    all.dedup();
    all
}
