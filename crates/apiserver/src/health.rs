//! `/healthz`, `/livez`, `/readyz` and `/version`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::request::RequestInfo;
use crate::respond;
use crate::subresource::Response;

const CHECKS: [&str; 3] = ["ping", "store", "rbac"];

/// Serves a health path; `None` when the path is another.
pub(crate) fn serve(info: &RequestInfo, store_alive: bool) -> Option<Response> {
    let mut parts = info.path.trim_matches('/').splitn(2, '/');
    let endpoint = parts
        .next()
        .filter(|e| matches!(*e, "healthz" | "livez" | "readyz"))?;
    let ok = |check: &str| check != "store" || store_alive;
    if let Some(check) = parts.next().filter(|c| !c.is_empty()) {
        if !CHECKS.contains(&check) {
            return Some(respond::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        return Some(if ok(check) {
            respond::text(StatusCode::OK, "ok")
        } else {
            respond::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{check} failed\n"),
            )
        });
    }
    let excluded: Vec<&str> = info.query.all("exclude").collect();
    let checks: Vec<&str> = CHECKS
        .into_iter()
        .filter(|c| !excluded.contains(c))
        .collect();
    let healthy = checks.iter().all(|c| ok(c));
    if healthy && info.query.get("verbose").is_none() {
        return Some(respond::text(StatusCode::OK, "ok"));
    }
    let mut text = String::new();
    for check in checks {
        let line = if ok(check) {
            format!("[+]{check} ok\n")
        } else {
            format!("[-]{check} failed\n")
        };
        text.push_str(&line);
    }
    text.push_str(&format!(
        "{endpoint} check {}\n",
        if healthy { "passed" } else { "failed" }
    ));
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Some(respond::text(status, text))
}

/// What `/version` says: the Kubernetes API that is served, and the product behind `+`.
pub(crate) fn version(product: &str) -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "gitVersion": format!("v1.36.0+{product}"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other }),
    })
}
