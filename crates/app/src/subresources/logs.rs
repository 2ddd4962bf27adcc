//! `pods/log`: what a Pod of this node wrote, or a component of this process, which is a mirror Pod.

use std::path::PathBuf;

use api::vmruntime::{COMPONENT_LABEL, NAMESPACE};
use apimachinery::status::ApiError;
use apiserver::{RequestInfo, Response, ResponseBody, Subresource, SubresourceRequest};
use async_trait::async_trait;
use engine::noderuntime::logs::{self, LogError, LogOptions};
use engine::noderuntime::{is_mirror, pod_dir};
use futures_util::StreamExt;
use http::{HeaderValue, header};
use k8s_openapi::api::core::v1::Pod;

use super::{object, typed};

/// Chunks between the file and the client.
const CHUNKS: usize = 8;

pub(super) struct Logs {
    data_dir: PathBuf,
}

impl Logs {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self { data_dir }
    }
}

fn number(info: &RequestInfo, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = info.query.get(name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| ApiError::bad_request(format!("{name}={text:?} is not a number")))
}

/// The container that is meant: the one named, or the only one with a process.
fn container(info: &RequestInfo, pod: &Pod) -> Result<String, ApiError> {
    let all: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|s| s.containers.iter().map(|c| c.name.as_str()))
        .collect();
    let name = &info.name;
    match info.query.get("container").filter(|c| !c.is_empty()) {
        Some(asked) if all.contains(&asked) => Ok(asked.to_owned()),
        Some(asked) => Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        ))),
        None => match all.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            ))),
        },
    }
}

/// The component that a Pod stands for: one of ours, in our namespace, made by us.
fn component_of(pod: &Pod) -> Option<&str> {
    let ours = is_mirror(pod) && pod.metadata.namespace.as_deref() == Some(NAMESPACE);
    let component = pod.metadata.labels.as_ref()?.get(COMPONENT_LABEL)?;
    ours.then_some(component.as_str())
        .filter(|name| crate::components::NAMES.contains(name))
}

#[async_trait]
impl Subresource for Logs {
    async fn call(&self, request: SubresourceRequest) -> Result<Response, ApiError> {
        let (reader, info) = (request.reader, request.info);
        for unknown in ["sinceSeconds", "sinceTime", "timestamps", "previous"] {
            if info.query.get(unknown).is_some() && info.query.flag(unknown) {
                return Err(ApiError::bad_request(format!(
                    "{unknown} is not honoured: logs of this engine have no times; use tailLines"
                )));
            }
        }
        let pod: Pod = typed(object(&reader, &info, "", "pods").await?)?;
        let container = container(&info, &pod)?;
        if pod.spec.as_ref().is_none_or(|s| s.node_name.is_none()) {
            // As in Kubernetes: what has not been placed has not written anything, and that is no failure.
            let mut response = http::Response::new(ResponseBody::from(bytes::Bytes::new()));
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            return Ok(response);
        }
        let options = LogOptions {
            follow: info.query.flag("follow"),
            tail_lines: number(&info, "tailLines")?,
            limit_bytes: number(&info, "limitBytes")?,
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let opened = if component_of(&pod) == Some(container.as_str()) {
            let dir = crate::data_dir::components(&self.data_dir);
            let file = telemetry::component::path(&dir, &container);
            let lives = file.clone();
            let opened = logs::open_file(file, lives, &container, options).await;
            opened.map(StreamExt::boxed)
        } else {
            let dir = pod_dir(&self.data_dir, &uid);
            let opened = logs::open(dir, &container, options).await;
            opened.map(StreamExt::boxed)
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(LogError::NotThere { .. }) => {
                return Err(ApiError::bad_request(format!(
                    "container \"{container}\" in pod \"{}\" is waiting to start",
                    info.name
                )));
            }
            Err(error) => return Err(ApiError::internal(error)),
        };
        let (tx, body) = ResponseBody::channel(CHUNKS);
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            loop {
                // A client that went away ends a log that is followed, though nothing is written.
                let chunk = tokio::select! {
                    chunk = stream.next() => chunk,
                    () = tx.closed() => return,
                };
                let Some(chunk) = chunk else { return };
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        let mut response = http::Response::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}
