//! Waiting for one object to be in a state: what states there are, and the bounded wait itself.
//!
//! The wait looks at the object's present state on every change that a watch tells of (level, not edge).
//! A refusal by the server ends it at once; a lost connection does not, once the object was seen.

use std::str::FromStr;
use std::time::Duration;

use apimachinery::jsonpath::JsonPath;
use futures_util::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::catalog::Resource;
use crate::error::{Error, chain};
use crate::output::scalar;
use crate::session::Session;

/// A state to wait for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Until {
    /// The object is there.
    Created,
    /// The object, or the one with this identity, is not there.
    Gone {
        /// `metadata.uid`.
        uid: Option<String>,
    },
    /// A condition has a status; both compared without case, as kubectl does.
    Condition {
        /// Its type.
        kind: String,
        /// `True` if not said otherwise.
        status: String,
    },
    /// A path finds exactly one value: this one, or any.
    JsonPath {
        /// The path.
        path: JsonPath,
        /// What it must find.
        value: Option<String>,
    },
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "delete" => return Ok(Self::Gone { uid: None }),
            "create" => return Ok(Self::Created),
            _ => {}
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
            if kind.is_empty() || status.is_empty() {
                return Err("expected condition=TYPE or condition=TYPE=STATUS".to_owned());
            }
            return Ok(Self::Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
            });
        }
        if let Some(expression) = text.strip_prefix("jsonpath=") {
            let (path, value) = split_path(expression);
            if value == Some("") {
                return Err(
                    "expected a value after jsonpath={PATH}=; leave out the = for any value"
                        .to_owned(),
                );
            }
            return Ok(Self::JsonPath {
                path: JsonPath::parse(path).map_err(|e| e.to_string())?,
                value: value.map(str::to_owned),
            });
        }
        Err(
            "expected condition=TYPE[=STATUS], jsonpath={PATH}[=VALUE], create or delete"
                .to_owned(),
        )
    }
}

/// Splits `{.a[?(@.b=="c")]}=V` at the first `=` that is outside of brackets, braces and quotes.
fn split_path(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[' | '(') => depth += 1,
            (None, '}' | ']' | ')') => depth = depth.saturating_sub(1),
            (None, '=') if depth == 0 => {
                let (path, value) = text.split_at(at);
                return (path, value.strip_prefix('='));
            }
            _ => {}
        }
    }
    (text, None)
}

impl Until {
    /// Whether an object, or its absence, is what is waited for.
    pub(crate) fn is_met(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Self::Created, object) => object.is_some(),
            (Self::Gone { .. }, None) => true,
            (Self::Gone { uid }, Some(object)) => {
                let now = object.pointer("/metadata/uid").and_then(Value::as_str);
                uid.is_some() && now != uid.as_deref()
            }
            (_, None) => false,
            (Self::Condition { kind, status }, Some(object)) => {
                let Some(found) = condition(object, kind) else {
                    return false;
                };
                let observed = found.get("observedGeneration").and_then(Value::as_i64);
                let generation = object
                    .pointer("/metadata/generation")
                    .and_then(Value::as_i64);
                let stale = observed.zip(generation).is_some_and(|(o, g)| o < g);
                let now = found.get("status").and_then(Value::as_str);
                !stale && now.is_some_and(|s| s.eq_ignore_ascii_case(status))
            }
            (Self::JsonPath { path, value }, Some(object)) => {
                match (path.find(object).as_slice(), value) {
                    ([found], Some(value)) => !found.is_null() && scalar(found) == *value,
                    ([_, ..], None) => true,
                    _ => false,
                }
            }
        }
    }

    /// Whether the object's absence makes the wait pointless.
    fn needs_object(&self) -> bool {
        matches!(self, Self::Condition { .. } | Self::JsonPath { .. })
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    let is = |c: &&Value| {
        let found = c.get("type").and_then(Value::as_str);
        found.is_some_and(|t| t.eq_ignore_ascii_case(kind))
    };
    all.iter().find(is)
}

/// The state an object is in, in one line: its phase, and the condition that says why.
pub(crate) fn reason(object: &Value, until: &Until) -> String {
    let text = |v: &Value, key: &str| {
        let found = v.get(key).and_then(Value::as_str);
        found.filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let status = object.get("status").unwrap_or(&Value::Null);
    let phase = text(status, "printableStatus").or_else(|| text(status, "phase"));
    let wanted = match until {
        Until::Condition { kind, .. } => condition(object, kind),
        _ => None,
    };
    let telling = || {
        let all = status.get("conditions").and_then(Value::as_array)?;
        all.iter().find(|c| {
            let bad = if text(c, "type").is_some_and(|t| t.ends_with("Failure")) {
                "True"
            } else {
                "False"
            };
            text(c, "status").is_some_and(|s| s == bad) && text(c, "reason").is_some()
        })
    };
    let told = wanted
        .filter(|c| text(c, "reason").is_some())
        .or_else(telling);
    let why = told.map(|c| {
        let parts = [text(c, "reason"), text(c, "message")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    });
    let parts: Vec<String> = [phase, why].into_iter().flatten().collect();
    if parts.is_empty() {
        "no status yet".to_owned()
    } else {
        crate::output::visible(&parts.join(", "))
    }
}

/// What of a reason makes it worth another line: numbers in it only tell of progress.
pub(crate) fn gist(reason: &str) -> String {
    let counts = |c: &char| c.is_ascii_digit() || matches!(c, '.' | '%');
    reason.chars().filter(|c| !counts(c)).collect()
}

/// How a wait ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Waited {
    /// The state was reached.
    Met,
    /// The object was not there to begin with.
    Absent,
    /// The object was deleted meanwhile.
    Vanished,
    /// It took too long; the last state, if the object was there.
    TimedOut {
        /// As [`reason`] puts it.
        last: Option<String>,
    },
}

/// Waits; `seen` is shown every state of the object.
pub(crate) async fn until(
    session: &Session,
    resource: &Resource,
    (namespace, name): (&str, &str),
    until: &Until,
    timeout: Duration,
    seen: &mut dyn FnMut(&Value),
) -> Result<Waited, Error> {
    let doing = format!("waiting for {}/{name}", resource.plural);
    let deadline = Instant::now() + timeout;
    let stream = watch_object(resource.api(session, namespace), name).default_backoff();
    let mut stream = Box::pin(stream);
    let mut last = None;
    let mut connected = false;
    let mut lost = false;
    loop {
        let next = tokio::select! {
            biased;
            next = stream.next() => next,
            () = sleep_until(deadline) => return Ok(Waited::TimedOut { last }),
        };
        match next {
            Some(Ok(object)) => {
                connected = true;
                lost = false;
                let object = object.map(serde_json::to_value).transpose().map_err(|e| {
                    Error::Refused(format!("{doing}: the object makes no sense: {e}"))
                })?;
                if let Some(object) = &object {
                    seen(object);
                }
                if until.is_met(object.as_ref()) {
                    return Ok(Waited::Met);
                }
                match &object {
                    None if until.needs_object() && last.is_none() => return Ok(Waited::Absent),
                    None if until.needs_object() => return Ok(Waited::Vanished),
                    None => {}
                    Some(object) => last = Some(reason(object, until)),
                }
            }
            Some(Err(error)) => {
                let error = unwrap(error, &doing)?;
                let refused = matches!(&error, kube::Error::Api(s) if (400..500).contains(&s.code) && s.code != 410 && s.code != 429);
                if refused || !connected {
                    return Err(session.failed(doing)(error));
                }
                if !lost {
                    lost = true;
                    eprintln!("{doing}: lost the server, trying again: {}", chain(&error));
                }
            }
            None => return Err(Error::Refused(format!("{doing}: the watch ended"))),
        }
    }
}

/// The client's error within the watcher's.
fn unwrap(error: watcher::Error, doing: &str) -> Result<kube::Error, Error> {
    use watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    match error {
        InitialListFailed(e) | WatchStartFailed(e) | WatchFailed(e) => Ok(e),
        WatchError(status) => Ok(kube::Error::Api(status)),
        error @ NoResourceVersion => Err(Error::Refused(format!("{doing}: {error}"))),
    }
}

#[cfg(test)]
#[path = "until_tests.rs"]
mod tests;
