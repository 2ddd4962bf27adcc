//! Expiry of Events: they are news, and go after an hour, as in upstream (`--event-ttl`).

use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::{Client, ResourceExt};
use reconcile::{ReconcileError, ResultExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long an Event is kept after it last happened.
const TTL: SignedDuration = SignedDuration::from_hours(1);
/// How often old ones are looked for.
const EVERY: Duration = Duration::from_secs(300);
/// Events per page of the list.
const PAGE: u32 = 500;
/// Deletions at a time.
const AT_A_TIME: usize = 16;

/// Runs until cancelled.
pub async fn run(client: Client, cancel: CancellationToken) {
    let mut interval = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = interval.tick() => {}
        }
        match expire(&client, Timestamp::now()).await {
            Ok(0) => {}
            Ok(gone) => debug!(gone, "events expired"),
            Err(error) => warn!("{}", error.chain()),
        }
    }
}

/// When it last happened, by whichever field its writer has used.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|s| s.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|t| t.0);
    let plain = event.last_timestamp.as_ref().map(|t| t.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|t| t.0);
    [micro, plain, created].into_iter().flatten().max()
}

fn is_old(event: &Event, now: Timestamp) -> bool {
    last_seen(event).is_some_and(|seen| now.duration_since(seen) > TTL)
}

async fn expire(client: &Client, now: Timestamp) -> Result<usize, ReconcileError> {
    let all: Api<Event> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut gone = 0;
    loop {
        let events = all
            .list(&page)
            .await
            .doing(|| "listing Events".to_owned())?;
        let next = events.metadata.continue_.filter(|c| !c.is_empty());
        let old: Vec<Event> = events
            .items
            .into_iter()
            .filter(|e| is_old(e, now))
            .collect();
        let deletions = old.into_iter().map(|e| delete(client.clone(), e));
        gone += futures_util::stream::iter(deletions)
            .buffer_unordered(AT_A_TIME)
            .filter(|done| std::future::ready(*done))
            .count()
            .await;
        match next {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(gone),
        }
    }
}

/// Deletes the very Event that was looked at: one that happens again meanwhile stays.
async fn delete(client: Client, event: Event) -> bool {
    let namespace = event.namespace().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client, &namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: event.uid(),
            resource_version: event.resource_version(),
        }),
        ..DeleteParams::default()
    };
    api.delete(&event.name_any(), &params).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_as_old_as_its_latest_occurrence() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let event: Event = serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "involvedObject": {},
            "lastTimestamp": "2026-01-01T02:00:00Z"
        }))
        .unwrap();
        assert!(!is_old(&event, at("2026-01-01T02:59:00Z")));
        assert!(is_old(&event, at("2026-01-01T03:00:01Z")));
    }
}
