//! The status of ValidatingAdmissionPolicies: what type checking found, and for which generation.
//!
//! ```text
//! policies (follow) ─► names of those whose generation is newer than what was observed ─► writer, one after another:
//!     kinds that the rules name ─► cel::policy::type_check ─► status.typeChecking, status.observedGeneration
//! ```
//! What kube-controller-manager does. A status is a warning for people: nothing waits for it. Several replicas write
//! the same; who comes second finds nothing to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::authz::{SYSTEM_MASTERS, User};
use apimachinery::gvk::GroupVersion;
use apimachinery::meta;
use apimachinery::status::ApiError;
use cel::policy::{Matched, Warning, type_check};
use schema::Schema;
use serde_json::{Value, json};
use store::Entry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::follow::{self, CaughtUp, Objects, View};
use crate::kinds::{Kind, KindSet};
use crate::registry::codec::{self, LoadError};
use crate::registry::{Call, Reader, Registry, WriteOptions, update_with};
use crate::stack;

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
/// As whom the status is written, and the field manager.
const MANAGER: &str = "validatingadmissionpolicy-status-controller";
/// Most kinds that one rule is checked with.
const KINDS: usize = 10;
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes statuses until `stop`.
pub(crate) async fn start(
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let (tell, due) = watch::channel(BTreeSet::new());
    let view = Due {
        registry: Arc::clone(&registry),
        tell,
    };
    let store = Arc::clone(&registry.store);
    follow::start(view, store, Arc::new(CaughtUp::default()), stop.clone()).await?;
    tokio::spawn(stop.run_until_cancelled_owned(write_all(registry, due)));
    Ok(())
}

/// Tells the names of policies whose status is old.
struct Due {
    registry: Arc<Registry>,
    tell: watch::Sender<BTreeSet<String>>,
}

impl View for Due {
    /// The name, if the status is old.
    type Known = Option<String>;
    const PREFIX: &'static str = "/admissionregistration.k8s.io/validatingadmissionpolicies/";
    const WHAT: &'static str = "the status of admission policies";
    const NEEDS_ALL: bool = false;

    fn read(&self, entry: &Entry) -> Result<Option<Self::Known>, LoadError> {
        let object = codec::read_entry(&self.registry.sealing, entry)?;
        let name = is_due(&object).then(|| meta::name(&object).unwrap_or_default().to_owned());
        Ok(Some(name))
    }

    async fn take_up(&mut self, objects: &Objects<Self::Known>, _changed: &BTreeSet<Arc<str>>) {
        let due = objects.values().flatten().cloned().collect();
        self.tell.send_replace(due);
    }
}

fn is_due(policy: &Value) -> bool {
    let observed = policy.pointer("/status/observedGeneration");
    let observed = observed.and_then(Value::as_i64).unwrap_or(0);
    !meta::is_deleting(policy) && meta::generation(policy).unwrap_or(0) > observed
}

async fn write_all(registry: Arc<Registry>, mut due: watch::Receiver<BTreeSet<String>>) {
    let user = User::new(MANAGER, &[SYSTEM_MASTERS]);
    loop {
        let names = due.borrow_and_update().clone();
        let mut failed = false;
        for name in names {
            if let Err(error) = write(&registry, &user, &name).await
                && !error.is_not_found()
            {
                tracing::warn!(policy = name, error = %error, "writing the status of an admission policy");
                failed = true;
            }
        }
        if failed {
            tokio::time::sleep(AGAIN).await;
        } else if due.changed().await.is_err() {
            return;
        }
    }
}

async fn write(registry: &Arc<Registry>, user: &User, name: &str) -> Result<(), ApiError> {
    let reader = Reader::new(Arc::clone(registry));
    let Some(policy) = reader.get(GROUP, PLURAL, "", name).await? else {
        return Ok(());
    };
    let Some(kind) = reader.kind(GROUP, PLURAL).filter(|_| is_due(&policy)) else {
        return Ok(());
    };
    let warnings = check(registry, &policy);
    let generation = meta::generation(&policy).unwrap_or(0);
    let options = WriteOptions {
        manager: MANAGER.to_owned(),
        ..WriteOptions::default()
    };
    let call = Call::new(registry, &kind, ("", name), "status", user, options).in_background();
    let done = update_with(&call, |policy| {
        if meta::generation(policy) != Some(generation) || !is_due(policy) {
            // A newer one is due itself.
            return Ok(());
        }
        policy["status"]["observedGeneration"] = json!(generation);
        policy["status"]["typeChecking"] = shown(&warnings);
        Ok(())
    });
    done.await.map(drop)
}

fn shown(warnings: &[Warning]) -> Value {
    if warnings.is_empty() {
        return json!({});
    }
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| json!({"fieldRef": warning.field, "warning": warning.warning}))
        .collect();
    json!({"expressionWarnings": warnings})
}

/// What type checking says of a policy, with the kinds that are served now.
fn check(registry: &Registry, policy: &Value) -> Vec<Warning> {
    let kinds = registry.kinds.load_full();
    let matched: Vec<Matched> = matched(policy, &kinds)
        .into_iter()
        .filter_map(|kind| {
            Some(Matched {
                group: kind.group.clone(),
                version: kind.version.clone(),
                kind: kind.kind.clone(),
                schema: whole(kind)?,
            })
        })
        .collect();
    if matched.is_empty() {
        return Vec::new();
    }
    let params = parameters(policy, &kinds).and_then(whole);
    stack::compiling(|| type_check(policy, &matched, params.as_deref())).unwrap_or_default()
}

/// The schema of a kind with its metadata.
fn whole(kind: &Kind) -> Option<Arc<Schema>> {
    let schema = kind.schema()?;
    Some(if kind.is_crd() {
        Arc::new(Schema::clone(&schema).into_resource())
    } else {
        schema
    })
}

fn parameters<'k>(policy: &Value, kinds: &'k KindSet) -> Option<&'k Kind> {
    let text = |pointer: &str| policy.pointer(pointer).and_then(Value::as_str);
    let of = GroupVersion::parse(text("/spec/paramKind/apiVersion")?).ok()?;
    let kind = text("/spec/paramKind/kind")?;
    let versions = kinds.versions(&of.group)?;
    let (_, found) = versions
        .iter()
        .find(|(version, _)| *version == of.version)?;
    found
        .iter()
        .find(|one| one.kind == kind)
        .map(|kind| &**kind)
}

/// The kinds that the rules of a policy name: no wildcards, no subresources; sorted, each once.
fn matched<'k>(policy: &Value, kinds: &'k KindSet) -> Vec<&'k Kind> {
    let mut found: Vec<&Kind> = Vec::new();
    let rules = policy.pointer("/spec/matchConstraints/resourceRules");
    for rule in rules.and_then(Value::as_array).into_iter().flatten() {
        let texts = |key: &str| {
            let list = rule[key].as_array().into_iter().flatten();
            let mut texts: Vec<&str> = list.filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|one| one.contains('*')) {
            continue;
        }
        let resources = texts("resources");
        let plain = || resources.iter().filter(|one| !one.contains(['*', '/']));
        let mut count = 0;
        for (group, version) in groups
            .iter()
            .flat_map(|group| versions.iter().map(move |version| (*group, *version)))
        {
            let served = kinds.versions(group).into_iter().flatten();
            let Some((_, served)) = served.into_iter().find(|(name, _)| name == version) else {
                continue;
            };
            for resource in plain() {
                let kind = served.iter().find(|kind| kind.plural == *resource);
                let Some(kind) = kind.filter(|_| count < KINDS) else {
                    continue;
                };
                count += 1;
                if !found.iter().any(|known| std::ptr::eq(*known, &**kind)) {
                    found.push(kind);
                }
            }
        }
        if count == KINDS {
            break;
        }
    }
    found.sort_by_key(|kind| (&kind.group, &kind.version, &kind.kind));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_kinds_without_wildcards() {
        let kinds = KindSet::new(crate::kinds::builtin());
        let named = |rules: Value| {
            let policy = json!({"spec": {"matchConstraints": {"resourceRules": rules}}});
            let found = matched(&policy, &kinds);
            let names = found.iter().map(|k| k.kind.clone());
            names.collect::<Vec<_>>()
        };
        let rule = |group: &str, version: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": [version], "resources": resources});
        assert_eq!(
            named(json!([
                rule(
                    "apps",
                    "v1",
                    &["deployments", "deployments/scale", "replicasets", "nothing"]
                ),
                rule("", "v1", &["pods"]),
                rule("", "v1", &["pods"]),
            ])),
            ["Pod", "Deployment", "ReplicaSet"]
        );
        assert!(
            named(json!([
                rule("*", "v1", &["pods"]),
                rule("", "*", &["pods"]),
                rule("", "v1", &["*"]),
                rule("", "v9", &["pods"]),
            ]))
            .is_empty()
        );
    }
}
