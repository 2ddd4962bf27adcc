//! Reading objects and asking for subresources, through the API and without types: as any client sees
//! them.

use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use serde_json::Value;
use testkit::{Platform, eventually};

/// Where the tests' objects are.
pub const NAMESPACE: &str = "default";

/// The kinds that tests read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Machine,
    Instance,
    DataVolume,
    Claim,
    Pod,
    ConfigMap,
    Event,
}

impl Kind {
    fn path(self) -> String {
        let (group, plural) = match self {
            Self::Machine => ("apis/kubevirt.io/v1", "virtualmachines"),
            Self::Instance => ("apis/kubevirt.io/v1", "virtualmachineinstances"),
            Self::DataVolume => ("apis/cdi.kubevirt.io/v1beta1", "datavolumes"),
            Self::Claim => ("api/v1", "persistentvolumeclaims"),
            Self::Pod => ("api/v1", "pods"),
            Self::ConfigMap => ("api/v1", "configmaps"),
            Self::Event => ("api/v1", "events"),
        };
        format!("/{group}/namespaces/{NAMESPACE}/{plural}")
    }
}

async fn request(platform: &Platform, method: Method, path: &str, body: &str) -> Result<String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.as_bytes().to_vec())
        .context("making the request")?;
    let said = platform.client().request_text(request).await;
    said.with_context(|| path.to_owned())
}

/// An object.
pub async fn get(platform: &Platform, kind: Kind, name: &str) -> Result<Value> {
    let text = request(
        platform,
        Method::GET,
        &format!("{}/{name}", kind.path()),
        "",
    )
    .await?;
    serde_json::from_str(&text).context("reading the object")
}

/// An object, or nothing if there is none.
pub async fn find(platform: &Platform, kind: Kind, name: &str) -> Result<Option<Value>> {
    match get(platform, kind, name).await {
        Ok(object) => Ok(Some(object)),
        Err(error) => match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            _ => Err(error),
        },
    }
}

/// All objects of a kind.
pub async fn list(platform: &Platform, kind: Kind) -> Result<Vec<Value>> {
    let text = request(platform, Method::GET, &kind.path(), "").await?;
    let mut list: Value = serde_json::from_str(&text).context("reading the list")?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

/// Asks a VM (`start`, `stop`, `restart`).
pub async fn ask_machine(platform: &Platform, name: &str, what: &str) -> Result<()> {
    ask(platform, "virtualmachines", name, what).await
}

/// Asks a VMI (`pause`, `unpause`).
pub async fn ask_instance(platform: &Platform, name: &str, what: &str) -> Result<()> {
    ask(platform, "virtualmachineinstances", name, what).await
}

async fn ask(platform: &Platform, resource: &str, name: &str, what: &str) -> Result<()> {
    let path = format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/{resource}/{name}/{what}"
    );
    request(platform, Method::PUT, &path, "").await.map(drop)
}

/// A string in an object, or nothing.
pub fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A condition of an object.
pub fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    let found = all.iter().find(|c| c["type"] == type_)?;
    Some((
        text(found, "/status"),
        text(found, "/reason"),
        text(found, "/message"),
    ))
}

/// Waits for a printable status of a VM.
pub async fn printable(platform: &Platform, name: &str, wanted: &str) -> Result<Value> {
    eventually(&format!("VM {name} to be {wanted}"), async || {
        let vm = get(platform, Kind::Machine, name).await?;
        let now = text(&vm, "/status/printableStatus");
        ensure!(
            now == wanted,
            "status {now:?}, Ready {:?}",
            condition(&vm, "Ready")
        );
        Ok(vm)
    })
    .await
}

/// Waits until a VM says that it waits, why, in its conditions, and in an Event. Returns the message.
pub async fn waits_because(platform: &Platform, name: &str, reason: &str) -> Result<String> {
    let message = eventually(&format!("VM {name} to say {reason}"), async || {
        let vm = get(platform, Kind::Machine, name).await?;
        let ready = condition(&vm, "Ready").context("no Ready condition")?;
        ensure!(
            ready.0 == "False" && ready.1 == reason,
            "Ready is {ready:?}, status {:?}",
            text(&vm, "/status/printableStatus")
        );
        ensure!(!ready.2.is_empty(), "the condition has no message");
        Ok(ready.2)
    })
    .await?;
    has_event(platform, name, reason).await?;
    Ok(message)
}

/// Waits for an Event about an object of that name; returns its message.
pub async fn has_event(platform: &Platform, name: &str, reason: &str) -> Result<String> {
    eventually(&format!("an Event {reason} about {name}"), async || {
        let all = list(platform, Kind::Event).await?;
        let about: Vec<&Value> = all
            .iter()
            .filter(|e| e.pointer("/involvedObject/name").is_some_and(|n| n == name))
            .collect();
        let found = about.iter().find(|e| e["reason"] == reason);
        let reasons: Vec<&Value> = about.iter().map(|e| &e["reason"]).collect();
        found
            .map(|e| text(e, "/message"))
            .with_context(|| format!("events {reasons:?}"))
    })
    .await
}

/// Name of the launcher Pod of a VM's present instance.
pub async fn launcher_pod(platform: &Platform, name: &str) -> Result<String> {
    let pods = list(platform, Kind::Pod).await?;
    pods.iter()
        .filter(|p| p.pointer("/metadata/deletionTimestamp").is_none())
        .find(|p| {
            text(p, "/metadata/labels/kubevirt.io") == "virt-launcher"
                && text(p, "/metadata/labels/vm.kubevirt.io~1name") == name
        })
        .map(|p| text(p, "/metadata/name"))
        .context("no launcher Pod")
}

/// Waits until there is no object of that name.
pub async fn gone(platform: &Platform, kind: Kind, name: &str) -> Result<()> {
    eventually(&format!("{kind:?} {name} to be gone"), async || {
        let found = find(platform, kind, name).await?;
        ensure!(
            found.is_none(),
            "it is there: {}",
            found.unwrap_or_default()["status"]
        );
        Ok(())
    })
    .await
}
