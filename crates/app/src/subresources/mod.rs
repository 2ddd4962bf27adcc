//! Subresources of the platform: Pod logs, consoles, and what is asked of VMs by hand.
//!
//! | path | what |
//! |---|---|
//! | `pods/log` | what a Pod wrote ([`logs`]) |
//! | `virtualmachineinstances/console` | the first serial port ([`console`]) |
//! | `virtualmachineinstances/pause`, `unpause`, `reset`, `softreboot` | the running guest ([`instance`]) |
//! | `virtualmachines/start`, `stop`, `restart` | by run strategy ([`machine`]) |
//! | `version`, `healthz` | what virtctl asks first ([`about`]) |
//!
//! The API server has authorized the caller before any of this runs.

mod about;
mod console;
mod instance;
mod logs;
mod machine;

use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apiserver::{Reader, RequestInfo, Subresource, SubresourceRegistration};
use kube::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

const GROUP: &str = "subresources.kubevirt.io";
const VERSIONS: [&str; 2] = ["v1", "v1alpha3"];

/// The in-process client, which exists only after the API server that these belong to.
pub(crate) type LateClient = Arc<OnceCell<Client>>;

/// All of them.
pub(crate) fn all(data_dir: PathBuf, client: &LateClient) -> Vec<SubresourceRegistration> {
    let pods_dir = data_dir.join("pods");
    let virt = |resource: &str, name: &str, verb: &str, handler: Arc<dyn Subresource>| {
        SubresourceRegistration {
            group: GROUP.to_owned(),
            versions: VERSIONS.map(str::to_owned).to_vec(),
            resource: resource.to_owned(),
            subresource: name.to_owned(),
            namespaced: true,
            kind: String::new(),
            verbs: vec![verb.to_owned()],
            handler,
        }
    };
    let mut all = vec![
        SubresourceRegistration {
            group: String::new(),
            versions: vec!["v1".to_owned()],
            resource: "pods".to_owned(),
            subresource: "log".to_owned(),
            namespaced: true,
            kind: "Pod".to_owned(),
            verbs: vec!["get".to_owned()],
            handler: Arc::new(logs::Logs::new(data_dir)),
        },
        virt(
            "virtualmachineinstances",
            "console",
            "get",
            Arc::new(console::Console::new(pods_dir.clone())),
        ),
    ];
    for action in instance::Action::ALL {
        let handler = instance::Ask::new(pods_dir.clone(), action);
        all.push(virt(
            "virtualmachineinstances",
            action.name(),
            "update",
            Arc::new(handler),
        ));
    }
    for action in machine::Action::ALL {
        let handler = machine::Ask::new(client.clone(), action);
        all.push(virt(
            "virtualmachines",
            action.name(),
            "update",
            Arc::new(handler),
        ));
    }
    for about in about::About::ALL {
        all.push(SubresourceRegistration {
            namespaced: false,
            ..virt(about.name(), "", "get", Arc::new(about))
        });
    }
    all
}

/// The stored object that a request is about, or 404.
async fn object(
    reader: &Reader,
    info: &RequestInfo,
    group: &str,
    resource: &str,
) -> Result<Value, ApiError> {
    reader
        .get(group, resource, &info.namespace, &info.name)
        .await?
        .ok_or_else(|| ApiError::not_found(&resource_of(group, resource), &info.name))
}

fn resource_of(group: &str, resource: &str) -> GroupResource {
    GroupResource {
        group: group.to_owned(),
        resource: resource.to_owned(),
    }
}

/// 409 with KubeVirt's form of message.
fn conflict(resource: &str, name: &str, why: &str) -> ApiError {
    ApiError::conflict(&resource_of("kubevirt.io", resource), name, why)
}

/// The typed form of a stored object.
fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value)
        .map_err(|e| ApiError::internal(format!("reading the object: {e}")))
}
