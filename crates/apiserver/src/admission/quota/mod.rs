//! ResourceQuota: counts what a namespace uses and refuses what would exceed it.
//!
//! ```text
//! write ─► quotas of the namespace that the object counts for ─► lock ─► recount ─► within hard?
//!                                         status.used by compare-and-swap ◄── yes ─┘   no ─► 403
//! removal, change of a quota ─► recount ─► status.used
//! ```
//! # Invariants
//!
//! * Usage is counted from the objects, never carried over: nothing can drift.
//! * The lock is held until the object is committed. It covers this server; across replicas over one store, what is
//!   about to be used is claimed first (`registry/claims.rs`), and claims count as used.

mod usage;

use apimachinery::meta;
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use store::{Op, Precondition, Write};
use tokio::sync::MutexGuard;

use super::limit_range::{Quantities, quantities};
use crate::limits;
use crate::registry::claims::{self, Claim, Held};
use crate::registry::{Call, Registry, codec, store_error};

/// Held from the count to the commit.
pub(crate) type Guard<'a> = Option<(MutexGuard<'a, ()>, Option<Held>)>;

/// Refuses what exceeds a quota of the namespace.
pub(super) async fn admit<'a>(
    call: &'a Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Guard<'a>, ApiError> {
    let writes = matches!(call.subresource, "" | "resize");
    if !call.kind.namespaced || call.kind.is("", "events") || !writes {
        return Ok(None);
    }
    let quotas = call
        .reader
        .list("", "resourcequotas", call.namespace)
        .await?;
    let mut counted = Vec::new();
    for quota in &quotas {
        let hard = quantities(quota.pointer("/spec/hard"));
        let before = old.map(|old| usage::of(call.kind, old, quota, &hard));
        let after = usage::of(call.kind, object, quota, &hard);
        usage::complete(call.kind, object, quota, &hard)
            .map_err(|why| refuse(call, object, &why))?;
        let more = increase(&after, before.as_ref());
        if !more.is_empty() {
            counted.push((quota, hard, more));
        }
    }
    if counted.is_empty() {
        return Ok(None);
    }
    let guard = call.registry.quota_lock.lock().await;
    if !call.registry.shared {
        check(call, object, &counted, &[]).await?;
        return Ok(Some((guard, None)));
    }
    let key = call
        .kind
        .key(call.namespace, meta::name(object).unwrap_or_default());
    let base = old.and_then(meta::resource_version);
    let base = base.and_then(|version| version.parse().ok()).unwrap_or(0);
    let ledger = claims::quota(call.namespace);
    let what: Vec<(String, String)> = counted
        .iter()
        .flat_map(|(quota, _, more)| {
            let name = meta::name(quota).unwrap_or_default();
            more.iter()
                .map(move |(resource, more)| (format!("{name}/{resource}"), more.to_string()))
        })
        .collect();
    for _ in 0..limits::CLAIM_ATTEMPTS {
        let opened = claims::open(call.registry, &ledger).await?;
        let mut others = claims::unsettled(call.registry, &opened.others).await?;
        // A claim may have been settled while the objects were counted, and so be counted twice.
        while let Err(refused) = check(call, object, &counted, &others).await {
            let before = others.len();
            others = claims::unsettled(call.registry, &others).await?;
            if others.len() == before {
                return Err(refused);
            }
        }
        if call.options.dry_run {
            return Ok(None);
        }
        let added = opened.add(call.registry, &key, base, what.clone());
        if let Some(held) = added.await? {
            return Ok(Some((guard, Some(held))));
        }
    }
    Err(claims::contended())
}

/// A quota, its limits, and what a write adds to its usage.
type Counted<'a> = (&'a Value, Quantities, Quantities);

/// Refuses what, on top of what there is and what others are about to add, exceeds a quota.
async fn check(
    call: &Call<'_>,
    object: &Value,
    counted: &[Counted<'_>],
    others: &[Claim],
) -> Result<(), ApiError> {
    for (quota, hard, more) in counted {
        // Upstream waits for the controller's first count; here the count is made.
        let mut used = count(call.registry, call.namespace, quota, hard).await?;
        super::limit_range::add(&mut used, &claimed(quota, others));
        if let Some(why) = exceeded(quota, hard, &used, more) {
            return Err(refuse(call, object, &why));
        }
        if !call.options.dry_run {
            super::limit_range::add(&mut used, more);
            store(call.registry, call.namespace, quota, hard, &used).await?;
        }
    }
    Ok(())
}

/// What others are about to add to the usage of a quota.
fn claimed(quota: &Value, others: &[Claim]) -> Quantities {
    let prefix = format!("{}/", meta::name(quota).unwrap_or_default());
    let mut sum = Quantities::default();
    for (name, amount) in others.iter().flat_map(|claim| &claim.what) {
        if let (Some(resource), Ok(amount)) = (name.strip_prefix(&prefix), amount.parse()) {
            let one = Quantities::from_iter([(resource.to_owned(), amount)]);
            super::limit_range::add(&mut sum, &one);
        }
    }
    sum
}

fn refuse(call: &Call<'_>, object: &Value, why: &str) -> ApiError {
    let name = meta::name(object).unwrap_or_default();
    ApiError::forbidden(&call.kind.group_resource(), name, why)
}

/// What a write adds; what shrinks is not refused.
fn increase(after: &Quantities, before: Option<&Quantities>) -> Quantities {
    after
        .iter()
        .filter_map(|(name, value)| {
            let more = match before.and_then(|b| b.get(name)) {
                Some(before) => value.checked_sub(before)?,
                None => *value,
            };
            (!more.is_zero() && !more.is_negative()).then(|| (name.clone(), more))
        })
        .collect()
}

/// The refusal's text, if `used + more` exceeds `hard` somewhere.
fn exceeded(
    quota: &Value,
    hard: &Quantities,
    used: &Quantities,
    more: &Quantities,
) -> Option<String> {
    let zero = Quantity::default();
    let over: Vec<&String> = more
        .iter()
        .filter(|(name, more)| {
            let sum = used.get(*name).unwrap_or(&zero).checked_add(more);
            hard.get(*name)
                .is_some_and(|hard| sum.is_none_or(|sum| sum > *hard))
        })
        .map(|(name, _)| name)
        .collect();
    if over.is_empty() {
        return None;
    }
    let show = |map: &Quantities| {
        over.iter()
            .map(|name| format!("{name}={}", map.get(*name).unwrap_or(&zero)))
            .collect::<Vec<_>>()
            .join(",")
    };
    Some(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        meta::name(quota).unwrap_or_default(),
        show(more),
        show(used),
        show(hard)
    ))
}

/// Counts all that the quota is about.
async fn count(
    registry: &std::sync::Arc<Registry>,
    namespace: &str,
    quota: &Value,
    hard: &Quantities,
) -> Result<Quantities, ApiError> {
    let reader = crate::registry::Reader::new(std::sync::Arc::clone(registry));
    let mut used: Quantities = hard
        .keys()
        .map(|name| (name.clone(), Quantity::default()))
        .collect();
    for (group, plural) in usage::kinds(hard) {
        let Some(kind) = reader.kind(&group, &plural) else {
            continue;
        };
        for object in reader.list(&group, &plural, namespace).await? {
            super::limit_range::add(&mut used, &usage::of(&kind, &object, quota, hard));
        }
    }
    Ok(used)
}

/// Writes what was counted, unless it is there already.
async fn store(
    registry: &Registry,
    namespace: &str,
    quota: &Value,
    hard: &Quantities,
    used: &Quantities,
) -> Result<(), ApiError> {
    let Some(kind) = registry
        .kinds
        .load()
        .resource("", "resourcequotas")
        .cloned()
    else {
        return Ok(());
    };
    let key = kind.key(namespace, meta::name(quota).unwrap_or_default());
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let (entry, _) = registry.store.get(&key).await.map_err(store_error)?;
        let Some(entry) = entry else {
            return Ok(());
        };
        let mut object = codec::decode(&registry.sealing, &kind, &entry)?;
        let text = |map: &Quantities| -> Value {
            map.iter()
                .map(|(name, value)| (name.clone(), json!(value.to_string())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let status = json!({"hard": text(hard), "used": text(used)});
        if object.get("status") == Some(&status) {
            return Ok(());
        }
        object["status"] = status;
        let write = Write {
            key: key.clone().into(),
            precondition: Precondition::At(entry.modified),
            op: Op::Put(codec::encode(&registry.sealing, &kind, &key, &object)?),
            space: store::Space::Ordinary,
        };
        match registry.store.commit(write).await {
            Err(store::StoreError::Conflict { .. }) => {}
            other => return other.map(|_| ()).map_err(store_error),
        }
    }
    Err(ApiError::modified(
        &kind.group_resource(),
        meta::name(quota).unwrap_or_default(),
    ))
}

/// A quota was created or changed: shows its usage.
pub(super) async fn changed(call: &Call<'_>, object: &Value) {
    if call.kind.is("", "resourcequotas") && call.subresource.is_empty() && !call.options.dry_run {
        let _guard = call.registry.quota_lock.lock().await;
        recount(call, object).await;
    }
}

/// Something was removed: frees what it used.
pub(super) async fn released(call: &Call<'_>) {
    if !call.kind.namespaced || call.kind.is("", "events") || call.options.dry_run {
        return;
    }
    let quotas = match call.reader.list("", "resourcequotas", call.namespace).await {
        Ok(quotas) if quotas.is_empty() => return,
        Ok(quotas) => quotas,
        Err(e) => {
            tracing::warn!(error = %e, "reading quotas after a removal");
            return;
        }
    };
    let _guard = call.registry.quota_lock.lock().await;
    for quota in &quotas {
        let hard = quantities(quota.pointer("/spec/hard"));
        let own = (call.kind.group.clone(), call.kind.plural.clone());
        if usage::kinds(&hard).contains(&own) {
            recount(call, quota).await;
        }
    }
}

async fn recount(call: &Call<'_>, quota: &Value) {
    let namespace = meta::namespace(quota).unwrap_or(call.namespace);
    let hard = quantities(quota.pointer("/spec/hard"));
    let stored = match count(call.registry, namespace, quota, &hard).await {
        Ok(used) => store(call.registry, namespace, quota, &hard, &used).await,
        Err(e) => Err(e),
    };
    if let Err(e) = stored {
        tracing::warn!(error = %e, namespace, "recounting a quota");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> Quantities {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_what_grows_counts() {
        let more = increase(
            &of(&[("cpu", "2"), ("memory", "1Gi"), ("pods", "1")]),
            Some(&of(&[("cpu", "500m"), ("memory", "2Gi"), ("pods", "1")])),
        );
        assert_eq!(more, of(&[("cpu", "1500m")]));
    }

    #[test]
    fn the_refusal_names_the_numbers() {
        let quota = json!({"metadata": {"name": "q"}});
        let hard = of(&[("pods", "2"), ("cpu", "4")]);
        let used = of(&[("pods", "2"), ("cpu", "1")]);
        let more = of(&[("pods", "1"), ("cpu", "1")]);
        assert_eq!(
            exceeded(&quota, &hard, &used, &more).unwrap(),
            "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        );
        assert!(exceeded(&quota, &hard, &of(&[("pods", "1")]), &more).is_none());
    }
}
