//! Pods run as a ServiceAccount that exists, and get its token.
//!
//! The account `default` is made by a controller, as in Kubernetes: whoever creates a namespace and, with the next
//! request, a Pod may be quicker than it. So a Pod waits for that account, and for that one only.

use apimachinery::name::generate_name;
use apimachinery::status::ApiError;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use crate::limits;
use crate::registry::Call;

/// The account of Pods that name none.
const DEFAULT: &str = "default";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Begin of the names of token volumes.
const VOLUME: &str = "kube-api-access-";
/// Letters of generated names, without those that make words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Checks the account and gives the Pod a volume with its token.
pub(super) async fn admit(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    // The kubelet's mirrors of its own Pods have no account.
    if apimachinery::meta::annotation(pod, "kubernetes.io/config.mirror").is_some() {
        return Ok(());
    }
    let name = pod
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str)
        .filter(|n| !n.is_empty())
        .unwrap_or(DEFAULT)
        .to_owned();
    let Some(account) = account(call, &name).await? else {
        let pod_name = apimachinery::meta::name(pod).unwrap_or_default();
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            call.namespace
        );
        return Err(ApiError::forbidden(
            &call.kind.group_resource(),
            pod_name,
            why,
        ));
    };
    let mut random = rand::rng();
    let suffix: String = (0..5)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect();
    apply(pod, &account, &generate_name(VOLUME, &suffix));
    Ok(())
}

/// The account of that name in the call's namespace; `default` is waited for.
async fn account(call: &Call<'_>, name: &str) -> Result<Option<Value>, ApiError> {
    let mut pause = limits::ACCOUNT_FIRST_PAUSE;
    loop {
        let found = call
            .reader
            .get("", "serviceaccounts", call.namespace, name)
            .await?;
        if found.is_some() || name != DEFAULT || pause > limits::ACCOUNT_LAST_PAUSE {
            return Ok(found);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Gives `pod` what `account` has: pull secrets, and a token volume called `volume` unless one refuses it.
fn apply(pod: &mut Value, account: &Value, volume: &str) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let has_secrets = spec
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .is_some_and(|s| !s.is_empty());
    if !has_secrets && let Some(secrets) = account.get("imagePullSecrets") {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
    let automount = spec
        .get("automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if !automount {
        return;
    }
    // There is one already when admission runs again.
    let existing = spec
        .get("volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.get("name")?.as_str())
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let volume = existing.as_deref().unwrap_or(volume);
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            mounted |= mount(container, volume);
        }
    }
    if mounted
        && existing.is_none()
        && let Some(volumes) = spec
            .entry("volumes")
            .or_insert_with(|| json!([]))
            .as_array_mut()
    {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ]}}));
    }
}

/// Mounts the volume unless something is mounted there.
fn mount(container: &mut Map<String, Value>, volume: &str) -> bool {
    let Some(mounts) = container
        .entry("volumeMounts")
        .or_insert_with(|| json!([]))
        .as_array_mut()
    else {
        return false;
    };
    if mounts
        .iter()
        .any(|m| m.get("mountPath").is_some_and(|p| p == MOUNT))
    {
        return false;
    }
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once_and_only_where_it_is_wanted() {
        let account = json!({"imagePullSecrets": [{"name": "s"}]});
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT}]},
        ]}});
        apply(&mut pod, &account, "kube-api-access-x");
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
            MOUNT
        );
        assert_eq!(
            pod["spec"]["containers"][1]["volumeMounts"][0]["name"],
            "own"
        );
        assert_eq!(pod["spec"]["volumes"][0]["name"], "kube-api-access-x");
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "s");
        let mut refuses =
            json!({"spec": {"automountServiceAccountToken": false, "containers": [{"name": "a"}]}});
        apply(&mut refuses, &account, "v");
        assert!(refuses["spec"].get("volumes").is_none());
    }
}
