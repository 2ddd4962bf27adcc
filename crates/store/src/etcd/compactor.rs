//! Compaction of etcd: one replica at a time forgets what happened before the last period.
//!
//! ```text
//! every period:  if version(meta/compacted) is the one seen last      (else: somebody else was quicker; learn its)
//!                then put meta/compacted = the newest revision now
//!                     compact through the revision that was put a period ago
//! ```
//! That is how kube-apiserver does it: without a leader, each replica tries, one succeeds per period, and history is
//! kept for one to two periods. A replica that was away for longer reads everything again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::client::{Client, Repeat};
use super::keys::Keys;
use super::limits;
use super::mirror::{Mirror, wire};
use super::proto::{
    CompactionRequest, CompactionResponse, Compare, CompareResult, CompareTarget, PutRequest,
    RangeRequest, Request, RequestOp, Response, TxnRequest, TxnResponse, path,
};
use crate::error::StoreError;
use crate::model::Revision;

/// Compacts for ever.
pub(super) async fn run(client: Arc<Client>, keys: Keys, mirror: Arc<Mirror>, every: Duration) {
    let mut seen = Seen::default();
    loop {
        tokio::time::sleep(every).await;
        match turn(&client, &keys, mirror.position(), &mut seen).await {
            Ok(()) => {}
            Err(error) => warn!(%error, "etcd was not compacted; the next try is in one period"),
        }
    }
}

/// What `meta/compacted` was when it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    modified: i64,
    through: Revision,
}

async fn turn(
    client: &Client,
    keys: &Keys,
    now: Revision,
    seen: &mut Seen,
) -> Result<(), StoreError> {
    let op = |request| RequestOp {
        request: Some(request),
    };
    let request = TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: keys.compacted.clone(),
            mod_revision: Some(seen.modified),
        }],
        success: vec![op(Request::Put(PutRequest {
            key: keys.compacted.clone(),
            value: Bytes::from(now.to_string()),
            prev_kv: false,
        }))],
        failure: vec![op(Request::Range(RangeRequest {
            key: keys.compacted.clone(),
            ..RangeRequest::default()
        }))],
    };
    let answer: TxnResponse = client
        .call(path::TXN, &request, Repeat::IfNotDone, limits::WRITE)
        .await?;
    if answer.succeeded {
        let through = std::mem::replace(&mut seen.through, now);
        seen.modified = answer.header.map_or(0, |header| header.revision);
        return compact(client, through).await;
    }
    let found = answer
        .responses
        .into_iter()
        .next()
        .and_then(|op| op.response);
    if let Some(Response::Range(range)) = found
        && let Some(kv) = range.kvs.first()
    {
        seen.modified = kv.mod_revision;
        let text = std::str::from_utf8(&kv.value).unwrap_or_default();
        seen.through = Revision(text.parse().unwrap_or_default());
    } else {
        *seen = Seen::default();
    }
    Ok(())
}

/// Compacts through a revision; nothing is done if it is too old.
pub(super) async fn compact(client: &Client, through: Revision) -> Result<(), StoreError> {
    if through == Revision::ZERO {
        return Ok(());
    }
    let request = CompactionRequest {
        revision: wire(through),
    };
    let done = client
        .call::<CompactionResponse>(path::COMPACT, &request, Repeat::Always, limits::WRITE)
        .await;
    match done {
        Ok(_) => {
            debug!(%through, "etcd was compacted");
            Ok(())
        }
        // By somebody else, or by the call before that was cut.
        Err(StoreError::Refused { why }) if why.contains("has been compacted") => Ok(()),
        Err(error) => Err(error),
    }
}
