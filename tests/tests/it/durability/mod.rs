//! What the API server promises of its store, asked over TLS: nothing that was acknowledged is lost, histories are
//! gapless, and concurrent requests are as if one came after another.

mod backup;
mod backup_page;
mod checker;
mod crash_loop;
mod disk_full;
mod etcd_kills;
mod keys;
mod linearizable;
mod watchers;

use anyhow::{Context, Result, anyhow};
use http::{Method, Request};
use kube::Client;
use serde_json::Value;

/// Where the ConfigMaps of these tests are.
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How a request ended.
enum Answer {
    /// The server did it and says what there is now.
    Done(Value),
    /// The server refused with this code.
    Refused(u16, String),
    /// No answer came: it happened, or it did not.
    Lost,
}

impl Answer {
    fn done(self) -> Result<Value> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused(code, why) => Err(anyhow!("{code}: {why}")),
            Self::Lost => Err(anyhow!("no answer")),
        }
    }
}

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Answer> {
    let body = match body {
        Value::Null => Vec::new(),
        body => serde_json::to_vec(body).context("writing the body")?,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(body)
        .context("making a request")?;
    Ok(match client.request_text(request).await {
        Ok(text) => Answer::Done(serde_json::from_str(&text).context("reading an answer")?),
        Err(kube::Error::Api(status)) => Answer::Refused(status.code, status.message.clone()),
        Err(_) => Answer::Lost,
    })
}

/// The resourceVersion of an object or list, as the number that ours are.
fn version(object: &Value) -> Result<u64> {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|v| v.parse().ok())
        .with_context(|| format!("no resourceVersion in {object}"))
}

fn name(object: &Value) -> &str {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number from the environment: how long a test goes on, or its seed.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}
