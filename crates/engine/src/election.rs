//! Leader election: of several control planes over one store, one runs the controllers.
//!
//! ```text
//! candidate ── free, lapsed ─► take ─► leader ── every 2 s ─► renew
//!     ▲                                  │ another holds it, or not renewed for 10 s
//!     └───── everything has ended ◄── term cancelled        told to stop ─► give the Lease back
//! ```
//! By a `Lease`, with the names and times of Kubernetes' own components (client-go's `leaderelection`: 15 s lease, 10 s
//! to renew, tries every 2 s).
//!
//! Invariants:
//! - A leader that could not renew for [`RENEW_WITHIN`] stops before [`LEASE`] is over, which is when others may begin.
//! - Times of others are not believed: a Lease has lapsed when *this* process has seen it unchanged for its duration.
//! - Every write carries the version that was read, so two cannot both take it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use reconcile::{ReconcileError, ResultExt, get_opt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Where the Lease is.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "ferrovirt-controllers";

/// How long a Lease holds without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// A leader that has not renewed for so long stops.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often a leader renews and a candidate looks.
const RETRY: Duration = Duration::from_secs(2);
/// How long giving the Lease back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// A Lease as it was seen, and since when.
#[derive(Debug, Default)]
struct Seen {
    record: Option<LeaseSpec>,
    since: Option<Instant>,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is ours, or free, or has lapsed: write it.
    Hold,
    /// Another has it.
    Wait,
}

/// Runs `lead` whenever this process is the leader, until told to stop. `lead` must end soon after its term is
/// cancelled. `identity` must be of this process alone.
pub async fn run<F: Future<Output = ()>>(
    client: Client,
    identity: String,
    stop: CancellationToken,
    mut lead: impl FnMut(CancellationToken) -> F,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut seen = Seen::default();
    loop {
        let begun = Instant::now();
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = tokio::time::timeout(RENEW_WITHIN, attempt(&api, &identity, &mut seen)) => outcome,
        };
        match outcome {
            Ok(Ok(true)) => {
                info!(identity, "leading: the controllers run here");
                let term = stop.child_token();
                let keep = async {
                    keep(&api, &identity, &mut seen, begun, &stop).await;
                    term.cancel();
                };
                tokio::join!(lead(term.clone()), keep);
                if stop.is_cancelled() {
                    let release = release(&api, &identity);
                    if !matches!(tokio::time::timeout(RELEASE, release).await, Ok(Ok(()))) {
                        info!("the Lease of the controllers was not given back; it lapses");
                    }
                    return;
                }
                warn!(
                    identity,
                    "not leading any more: the controllers have stopped here"
                );
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => warn!("{}", error.chain()),
            Err(_) => warn!("the Lease of the controllers could not be read in time"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Renews until that does not succeed for too long, somebody else holds it, or it is time to stop.
async fn keep(
    api: &Api<Lease>,
    identity: &str,
    seen: &mut Seen,
    mut renewed: Instant,
    stop: &CancellationToken,
) {
    loop {
        let deadline = renewed + RENEW_WITHIN;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until((Instant::now() + RETRY).min(deadline)) => {}
        }
        let begun = Instant::now();
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = tokio::time::timeout_at(deadline, attempt(api, identity, seen)) => outcome,
        };
        match outcome {
            Ok(Ok(true)) => renewed = begun,
            Ok(Ok(false)) => return warn!(identity, "the Lease of the controllers was taken"),
            Ok(Err(error)) => warn!("renewing: {}", error.chain()),
            Err(_) => {
                return warn!(
                    identity,
                    "the Lease of the controllers was not renewed in time"
                );
            }
        }
    }
}

/// Takes or renews the Lease; `false` if another holds it.
async fn attempt(
    api: &Api<Lease>,
    identity: &str,
    seen: &mut Seen,
) -> Result<bool, ReconcileError> {
    let found = get_opt(api, NAME).await?;
    let record = found.as_ref().and_then(|lease| lease.spec.clone());
    seen.look(record.as_ref(), Instant::now());
    if seen.decide(identity, Instant::now()) == Decision::Wait {
        return Ok(false);
    }
    let spec = held(record.as_ref(), identity, Timestamp::now());
    let written = match found {
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(NAMESPACE.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            api.create(&PostParams::default(), &lease).await
        }
        Some(mut lease) => {
            lease.spec = Some(spec);
            api.replace(NAME, &PostParams::default(), &lease).await
        }
    };
    match written {
        Ok(lease) => {
            seen.look(lease.spec.as_ref(), Instant::now());
            Ok(true)
        }
        // Somebody was quicker: who, the next look shows.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(e) => Err(e).doing(|| format!("writing Lease {NAMESPACE}/{NAME}")),
    }
}

async fn release(api: &Api<Lease>, identity: &str) -> Result<(), ReconcileError> {
    let Some(mut lease) = get_opt(api, NAME).await? else {
        return Ok(());
    };
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(identity) {
        return Ok(());
    }
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    let replaced = api.replace(NAME, &PostParams::default(), &lease).await;
    replaced
        .map(|_| ())
        .doing(|| format!("giving Lease {NAMESPACE}/{NAME} back"))
}

impl Seen {
    fn look(&mut self, record: Option<&LeaseSpec>, now: Instant) {
        if self.since.is_none() || self.record.as_ref() != record {
            self.record = record.cloned();
            self.since = Some(now);
        }
    }

    fn decide(&self, identity: &str, now: Instant) -> Decision {
        let holder = self
            .record
            .as_ref()
            .and_then(|r| r.holder_identity.as_deref());
        match holder {
            None | Some("") => Decision::Hold,
            Some(holder) if holder == identity => Decision::Hold,
            Some(_) => {
                let seconds = self.record.as_ref().and_then(|r| r.lease_duration_seconds);
                let duration = seconds
                    .and_then(|s| u64::try_from(s).ok())
                    .map_or(LEASE, Duration::from_secs);
                let lapsed = self.since.is_some_and(|since| now >= since + duration);
                if lapsed {
                    Decision::Hold
                } else {
                    Decision::Wait
                }
            }
        }
    }
}

/// The record of a Lease that `identity` takes or renews.
fn held(before: Option<&LeaseSpec>, identity: &str, now: Timestamp) -> LeaseSpec {
    let mut spec = before.cloned().unwrap_or_default();
    let again = spec.holder_identity.as_deref() == Some(identity);
    if !again {
        let changes = spec.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(if before.is_some() { changes + 1 } else { 0 });
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, second: i64) -> LeaseSpec {
        held(None, holder, Timestamp::from_second(second).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_is_free_or_was_not_renewed_for_its_duration() {
        let mut seen = Seen::default();
        seen.look(None, Instant::now());
        assert_eq!(seen.decide("a", Instant::now()), Decision::Hold);
        // However old its times are: only what is seen here counts.
        seen.look(Some(&record("b", 0)), Instant::now());
        assert_eq!(seen.decide("a", Instant::now()), Decision::Wait);
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(seen.decide("a", Instant::now()), Decision::Wait);
        seen.look(Some(&record("b", 1)), Instant::now());
        tokio::time::advance(Duration::from_secs(14)).await;
        seen.look(Some(&record("b", 1)), Instant::now());
        assert_eq!(seen.decide("a", Instant::now()), Decision::Wait);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen.decide("a", Instant::now()), Decision::Hold);
        assert_eq!(seen.decide("b", Instant::now()), Decision::Hold);
        seen.look(Some(&record("", 2)), Instant::now());
        assert_eq!(seen.decide("a", Instant::now()), Decision::Hold);
    }

    #[test]
    fn a_change_of_the_holder_is_counted() {
        let first = record("a", 1);
        assert_eq!(first.lease_transitions, Some(0));
        let renewed = held(Some(&first), "a", Timestamp::from_second(2).unwrap());
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_ne!(renewed.renew_time, first.renew_time);
        let taken = held(Some(&renewed), "b", Timestamp::from_second(3).unwrap());
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, taken.renew_time);
    }
}
