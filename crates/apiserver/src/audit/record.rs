//! The record of one request, from its first stage to its last.

use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::authz::User;
use apimachinery::status::ApiError;
use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::Value;

use super::event::{Facts, ObjectRef, status};
use super::log::AuditLog;
use super::policy::{AuditPolicy, Decision, Level, Stage};
use crate::decode;
use crate::limits;
use crate::request::RequestInfo;

/// The auditing of a server.
#[derive(Debug)]
pub(crate) struct Audit {
    policy: AuditPolicy,
    pub log: AuditLog,
}

/// Where a request comes from, and how it is called.
pub(crate) struct AuditSource<'a> {
    pub id: &'a str,
    pub uri: &'a http::Uri,
    pub headers: &'a HeaderMap,
    pub peer: Option<IpAddr>,
}

/// See the module.
pub(crate) struct Record {
    audit: Arc<Audit>,
    decision: Decision,
    facts: Mutex<Facts>,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// The addresses that a request came through: what proxies say, then the peer itself.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let mut ips: Vec<IpAddr> = header(headers, "x-forwarded-for")
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|ip| ip.trim().parse().ok())
        .take(limits::MAX_SOURCE_IPS)
        .collect();
    let real = header(headers, "x-real-ip").and_then(|ip| ip.trim().parse().ok());
    for ip in real.into_iter().chain(peer.map(|ip| ip.to_canonical())) {
        if ips.last() != Some(&ip) {
            ips.push(ip);
        }
    }
    ips.iter().map(IpAddr::to_string).collect()
}

fn object_ref(info: &RequestInfo) -> Option<ObjectRef> {
    info.is_resource.then(|| ObjectRef {
        resource: info.resource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        subresource: info.subresource.clone(),
        ..ObjectRef::default()
    })
}

impl Audit {
    pub(crate) fn new(policy: AuditPolicy, log: AuditLog) -> Self {
        Audit { policy, log }
    }

    /// Begins the record of a request of `user`. `None` when nothing is logged of it.
    ///
    /// # Errors
    /// 500 when the log must be written and cannot be.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        source: &AuditSource<'_>,
        info: &RequestInfo,
        user: &User,
    ) -> Result<Option<Arc<Record>>, ApiError> {
        let decision = self.policy.decide(info, user);
        if decision.level == Level::None {
            return Ok(None);
        }
        let agent = header(source.headers, "user-agent").unwrap_or_default();
        let facts = Facts {
            level: decision.level,
            id: source.id.to_owned(),
            uri: source.uri.to_string(),
            verb: info.verb,
            user: user.clone(),
            impersonated: None,
            source_ips: source_ips(source.headers, source.peer),
            user_agent: agent.chars().take(limits::MAX_USER_AGENT).collect(),
            object: object_ref(info),
            received: Timestamp::now(),
            omit_managed_fields: decision.omit_managed_fields,
            request_object: None,
            response_object: None,
            response_status: None,
            annotations: Default::default(),
        };
        let record = Arc::new(Record {
            audit: Arc::clone(self),
            decision,
            facts: Mutex::new(facts),
        });
        if record.emit(Stage::RequestReceived).await {
            Ok(Some(record))
        } else {
            Err(ApiError::internal(
                "the audit log cannot be written, and this server answers no request that is not logged",
            ))
        }
    }
}

impl Record {
    /// Changes what is known.
    fn with<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn line(&self, stage: Stage) -> Option<Vec<u8>> {
        let wanted = !self.decision.omit_stages.contains(&stage);
        wanted.then(|| self.with(|facts| facts.line(stage, Timestamp::now())))
    }

    async fn emit(&self, stage: Stage) -> bool {
        match self.line(stage) {
            Some(line) => {
                let is_first = stage == Stage::RequestReceived;
                self.audit
                    .log
                    .emit(self.decision.level, line, is_first)
                    .await
            }
            None => true,
        }
    }

    /// The request acts as another user.
    pub(crate) fn impersonates(&self, user: &User) {
        self.with(|facts| facts.impersonated = Some(user.clone()));
    }

    /// What the authorizer said.
    pub(crate) fn authorized(&self, decision: &str, reason: &str) {
        self.with(|facts| {
            let prefix = "authorization.k8s.io";
            let notes = &mut facts.annotations;
            notes.insert(format!("{prefix}/decision"), decision.to_owned());
            notes.insert(format!("{prefix}/reason"), reason.to_owned());
        });
    }

    /// The body came. It is kept from level Request on; the name of a new object is taken from it before.
    pub(crate) fn received(&self, info: &RequestInfo, headers: &HeaderMap, body: &Bytes) {
        let keeps = self.decision.level >= Level::Request;
        if body.is_empty() || !(keeps || info.verb == "create") {
            return;
        }
        let Some(object) = read(headers, body) else {
            return;
        };
        self.with(|facts| {
            if info.verb == "create"
                && info.subresource.is_empty()
                && let Some(reference) = &mut facts.object
            {
                reference.complete(&object);
            }
            if keeps {
                facts.request_object = Some(object);
            }
        });
    }

    /// What came up on the way.
    pub(crate) fn noted(&self, notes: impl IntoIterator<Item = (String, String)>) {
        self.with(|facts| facts.annotations.extend(notes));
    }

    /// Whether an answer with such a code is recorded as a whole.
    pub(crate) fn wants_body(&self, code: u16) -> bool {
        self.decision.level == Level::RequestResponse || code >= 400
    }

    fn answered(&self, code: u16, headers: &HeaderMap, body: Option<&Bytes>) {
        let level = self.decision.level;
        let wanted = body.filter(|_| self.wants_body(code));
        let object = wanted.and_then(|body| read(headers, body));
        self.with(|facts| {
            let confidential = level < Level::RequestResponse
                && facts
                    .object
                    .as_ref()
                    .is_some_and(ObjectRef::is_confidential);
            facts.response_status = Some(status(code, object.as_ref(), confidential));
            if level == Level::RequestResponse {
                facts.response_object = object;
            }
        });
    }

    /// The answer is complete.
    pub(crate) async fn complete(&self, code: u16, headers: &HeaderMap, body: Option<&Bytes>) {
        self.answered(code, headers, body);
        self.emit(Stage::ResponseComplete).await;
    }

    /// The head of a stream goes out. The value is dropped when the stream is over.
    pub(crate) async fn started(self: &Arc<Self>, code: u16) -> Streaming {
        self.answered(code, &HeaderMap::new(), None);
        self.emit(Stage::ResponseStarted).await;
        Streaming(Arc::clone(self))
    }

    /// The server panicked over the request.
    pub(crate) async fn panicked(&self) {
        self.with(|facts| {
            facts.response_status = Some(serde_json::json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": "the request made the server panic",
            }));
        });
        self.emit(Stage::Panic).await;
    }
}

/// A stream that is being sent.
pub(crate) struct Streaming(Arc<Record>);

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(line) = self.0.line(Stage::ResponseComplete) {
            self.0.audit.log.emit_late(self.0.decision.level, line);
        }
    }
}

/// A body as a value: JSON, YAML or protobuf, compressed or not. `None` when it is none of them.
fn read(headers: &HeaderMap, body: &Bytes) -> Option<Value> {
    let unpacked;
    let body = if header(headers, header::CONTENT_ENCODING.as_str()) == Some("gzip") {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&body[..])
            .take(limits::AUDIT_EVENT as u64)
            .read_to_end(&mut text)
            .ok()?;
        unpacked = text;
        &unpacked[..]
    } else {
        &body[..]
    };
    let media = header(headers, header::CONTENT_TYPE.as_str()).unwrap_or("application/json");
    let media = media.split(';').next().unwrap_or_default().trim();
    // Larger ones would be left out of the event anyway.
    if body.len() > limits::AUDIT_EVENT {
        return None;
    }
    if media == "application/json" || media.ends_with("+json") {
        return serde_json::from_slice(body).ok();
    }
    decode::decode(headers, body)
        .ok()
        .map(|decoded| decoded.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_and_the_peer_are_named_once() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            "192.0.2.1, nonsense, 192.0.2.2".parse().unwrap(),
        );
        let peer = Some("::ffff:192.0.2.2".parse().unwrap());
        assert_eq!(source_ips(&headers, peer), ["192.0.2.1", "192.0.2.2"]);
    }
}
