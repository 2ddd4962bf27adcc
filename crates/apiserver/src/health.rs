//! `/healthz`, `/livez`, `/readyz`, each check below them, and `/version`; texts are kube-apiserver's.
//!
//! | check | fails when |
//! |---|---|
//! | `ping` | never: that there is an answer is the check |
//! | `etcd` | the store does not read, its writer does not answer, or the last commit failed for another reason than a full device |
//! | `etcd-readiness` | the same, and on a full device; readiness alone |
//! | `poststarthook/...` | RBAC, CRDs or flow schemas lie behind the store for more than [`LATE`] |
//! | `informer-sync` | admission policies or webhooks do |
//! | `shutdown` | the server is about to end; readiness alone |
//!
//! Who fails `/livez` is restarted by those that watch over it. On a full device that helps nobody, and would end the
//! reads and deletions that go on: `/readyz` says it alone. (So does kube-apiserver over an etcd that is full.)
//!
//! Why a check fails is in the log; an answer to `/readyz` of anybody says only that it did.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::observed_store;
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Inner;
use crate::subresource::Response;

/// How far behind the store this server may be in what it follows. Without changes, followers hear every five
/// seconds how far the store is.
const LATE: Duration = Duration::from_secs(20);

/// How long the store's answer counts: probes of many do not add up.
const STORE_ANSWER: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    Ping,
    Store,
    StoreReadiness,
    InformerSync,
    Rbac,
    Crds,
    Flow,
    Shutdown,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::Ping => "ping",
            Check::Store => "etcd",
            Check::StoreReadiness => "etcd-readiness",
            Check::InformerSync => "informer-sync",
            Check::Rbac => "poststarthook/rbac/bootstrap-roles",
            Check::Crds => "poststarthook/crd-informer-synced",
            Check::Flow => "poststarthook/priority-and-fairness-config-consumer",
            Check::Shutdown => "shutdown",
        }
    }

    fn of(endpoint: &str) -> &'static [Check] {
        match endpoint {
            "readyz" => &[
                Check::Ping,
                Check::Store,
                Check::StoreReadiness,
                Check::InformerSync,
                Check::Rbac,
                Check::Crds,
                Check::Flow,
                Check::Shutdown,
            ],
            _ => &[
                Check::Ping,
                Check::Store,
                Check::Rbac,
                Check::Crds,
                Check::Flow,
            ],
        }
    }
}

type Answered = Option<(Instant, Result<(), String>)>;

/// What the checks remember.
#[derive(Debug, Default)]
pub(crate) struct Health {
    store: tokio::sync::Mutex<Answered>,
    revisions: Mutex<Revisions>,
}

/// Revisions of the store and when they were seen, the oldest first.
#[derive(Debug, Default)]
struct Revisions(VecDeque<(Instant, u64)>);

impl Revisions {
    /// Notes the present revision; gives the one that everybody must have reached by `now`, if one is known.
    fn due(&mut self, now: Instant, revision: u64) -> Option<u64> {
        let fresh = |last: &(Instant, u64)| now.duration_since(last.0) < LATE / 20;
        if !self.0.back().is_some_and(fresh) {
            self.0.push_back((now, revision));
        }
        // Of those that are old enough, the newest alone is of use.
        while self
            .0
            .get(1)
            .is_some_and(|(seen, _)| now.duration_since(*seen) >= LATE)
        {
            self.0.pop_front();
        }
        let (seen, revision) = self.0.front()?;
        (now.duration_since(*seen) >= LATE).then_some(*revision)
    }
}

/// The endpoint and the check that a path names.
fn parse(path: &str) -> Option<(&str, Option<&str>)> {
    let path = path.trim_matches('/');
    let (endpoint, check) = match path.split_once('/') {
        Some((endpoint, check)) => (endpoint, Some(check)),
        None => (path, None),
    };
    matches!(endpoint, "healthz" | "livez" | "readyz").then_some((endpoint, check))
}

/// Serves a health path; `None` when the path is another.
pub(crate) async fn serve(inner: &Inner, info: &RequestInfo) -> Option<Response> {
    let (endpoint, single) = parse(&info.path)?;
    let checks = Check::of(endpoint);
    if let Some(name) = single {
        let Some(check) = checks.iter().find(|c| c.name() == name) else {
            return Some(respond::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        };
        return Some(match run(inner, *check).await {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(reason) => {
                tracing::warn!(check = name, reason, "a health check fails");
                respond::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("internal server error: {name} failed: reason withheld\n"),
                )
            }
        });
    }
    let mut results = Vec::new();
    let excluded: Vec<&str> = info.query.all("exclude").collect();
    for check in checks {
        if excluded.contains(&check.name()) {
            results.push((check.name(), None));
            continue;
        }
        let result = run(inner, *check).await;
        if let Err(reason) = &result {
            tracing::warn!(check = check.name(), reason, "a health check fails");
        }
        results.push((check.name(), Some(result.is_ok())));
    }
    let verbose = info.query.get("verbose").is_some();
    let (healthy, text) = report(endpoint, &results, &excluded, verbose);
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Some(respond::text(status, text))
}

/// Whether all is well, and the text that says so. A result is `None` for a check that was left out.
fn report(
    endpoint: &str,
    results: &[(&str, Option<bool>)],
    excluded: &[&str],
    verbose: bool,
) -> (bool, String) {
    let healthy = results.iter().all(|(_, result)| *result != Some(false));
    if healthy && !verbose {
        return (true, "ok".to_owned());
    }
    let mut text = String::new();
    for (name, result) in results {
        text.push_str(&match result {
            Some(true) => format!("[+]{name} ok\n"),
            Some(false) => format!("[-]{name} failed: reason withheld\n"),
            None => format!("[+]{name} excluded: ok\n"),
        });
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !results.iter().any(|(n, _)| n == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        text.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            unknown.join(",")
        ));
    }
    let verdict = if healthy { "passed" } else { "failed" };
    text.push_str(&format!("{endpoint} check {verdict}\n"));
    (healthy, text)
}

async fn run(inner: &Inner, check: Check) -> Result<(), String> {
    let registry = &inner.registry;
    match check {
        Check::Ping => Ok(()),
        Check::Store => store(inner, false).await,
        Check::StoreReadiness => store(inner, true).await,
        Check::Rbac => caught_up(inner, &[registry.authorizer.caught_up.at()]).await,
        Check::Crds => caught_up(inner, &[registry.crds_at.at()]).await,
        Check::Flow => caught_up(inner, &[inner.flow_at.at()]).await,
        Check::InformerSync => {
            let at = [
                registry.policies.caught_up.at(),
                registry.webhooks.caught_up.at(),
            ];
            caught_up(inner, &at).await
        }
        Check::Shutdown if inner.is_ending() => Err("the server is shutting down".to_owned()),
        Check::Shutdown => Ok(()),
    }
}

/// Whether the store works, and, when it `must_have_space`, takes writes.
async fn store(inner: &Inner, must_have_space: bool) -> Result<(), String> {
    let mut answered = inner.health.store.lock().await;
    let alive = match &*answered {
        Some((at, result)) if at.elapsed() < STORE_ANSWER => result.clone(),
        _ => {
            let result = observed_store::alive(&*inner.registry.store).await;
            *answered = Some((Instant::now(), result.clone()));
            result
        }
    };
    alive?;
    match inner.registry.store_stats.failure() {
        Some(failure) if must_have_space || !failure.is_full => {
            Err(format!("the last commit failed: {}", failure.reason))
        }
        _ => Ok(()),
    }
}

async fn caught_up(inner: &Inner, followers: &[u64]) -> Result<(), String> {
    let revision = inner.registry.store.revision().await;
    let revision = revision.map_err(|e| e.to_string())?.0;
    let due = {
        let revisions = &inner.health.revisions;
        let mut revisions = revisions.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.due(Instant::now(), revision)
    };
    match followers
        .iter()
        .find(|at| due.is_some_and(|due| **at < due))
    {
        Some(at) => Err(format!("at revision {at} of {revision}")),
        None => Ok(()),
    }
}

/// Operating system and architecture, as Go names them.
pub(crate) fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
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
        "platform": platform(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        let well = [("ping", Some(true)), ("etcd", Some(true))];
        assert_eq!(report("livez", &well, &[], false), (true, "ok".to_owned()));
        assert_eq!(
            report("livez", &well, &[], true).1,
            "[+]ping ok\n[+]etcd ok\nlivez check passed\n"
        );
        let ill = [("ping", Some(true)), ("etcd", Some(false))];
        let (healthy, text) = report("readyz", &ill, &["no such"], false);
        assert!(!healthy);
        assert_eq!(
            text,
            "[+]ping ok\n[-]etcd failed: reason withheld\nwarn: some health checks cannot be excluded: no matches for \"no such\"\nreadyz check failed\n"
        );
        let left_out = [("ping", Some(true)), ("etcd", None)];
        assert_eq!(
            report("healthz", &left_out, &["etcd"], true).1,
            "[+]ping ok\n[+]etcd excluded: ok\nhealthz check passed\n"
        );
    }

    #[test]
    fn paths_name_checks() {
        assert_eq!(parse("/livez/"), Some(("livez", None)));
        assert_eq!(
            parse("/readyz/poststarthook/crd-informer-synced"),
            Some(("readyz", Some("poststarthook/crd-informer-synced")))
        );
        assert_eq!(parse("/version"), None);
    }

    #[test]
    fn a_follower_has_twenty_seconds() {
        let mut revisions = Revisions::default();
        let begin = Instant::now();
        assert_eq!(revisions.due(begin, 5), None);
        assert_eq!(revisions.due(begin + LATE / 2, 9), None);
        assert_eq!(revisions.due(begin + LATE, 12), Some(5));
        assert_eq!(revisions.due(begin + LATE * 3 / 2, 12), Some(9));
        assert_eq!(revisions.due(begin + LATE * 3, 12), Some(12));
    }
}
