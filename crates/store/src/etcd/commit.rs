//! A write as a transaction of etcd.
//!
//! ```text
//! if    mod_revision(key) is what the precondition says
//! then  put or delete key; put meta/last
//! else  read key                                            the conflict's `current`
//! ```

use bytes::Bytes;

use super::keys::Keys;
use super::proto::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest,
    Request, RequestOp, Response, TxnRequest, TxnResponse,
};
use crate::error::StoreError;
use crate::model::{Committed, Entry, Op, Precondition, Revision, Write};

/// The transaction of a write. `known` is what the key holds if the precondition is right about it: then etcd need not
/// send it.
pub(super) fn transaction(keys: &Keys, write: &Write, known: bool) -> TxnRequest {
    let key = keys.outer(&write.key);
    let compare = |result: CompareResult, revision: i64| Compare {
        result: result as i32,
        target: CompareTarget::Mod as i32,
        key: key.clone(),
        mod_revision: Some(revision),
    };
    let exists = compare(CompareResult::Greater, 0);
    let compare = match (write.precondition, &write.op) {
        (Precondition::Any, Op::Put(_)) => Vec::new(),
        (Precondition::Any, Op::Delete) => vec![exists],
        (Precondition::Absent, Op::Put(_)) => vec![compare(CompareResult::Equal, 0)],
        // A delete of what is absent is a conflict, and so is one of what is there.
        (Precondition::Absent, Op::Delete) => vec![compare(CompareResult::Equal, 0), exists],
        (Precondition::At(at), _) => {
            vec![
                compare(CompareResult::Equal, super::mirror::wire(at)),
                exists,
            ]
        }
    };
    let change = match &write.op {
        Op::Put(value) => Request::Put(PutRequest {
            key: key.clone(),
            value: value.clone(),
            prev_kv: !known && write.precondition != Precondition::Absent,
        }),
        Op::Delete => Request::DeleteRange(DeleteRangeRequest {
            key: key.clone(),
            prev_kv: !known,
        }),
    };
    let last = Request::Put(PutRequest {
        key: keys.last.clone(),
        ..PutRequest::default()
    });
    let read = Request::Range(RangeRequest {
        key,
        ..RangeRequest::default()
    });
    TxnRequest {
        compare,
        success: vec![op(change), op(last)],
        failure: vec![op(read)],
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// What the answer says.
pub(super) fn outcome(
    keys: &Keys,
    answer: TxnResponse,
    known: Option<Entry>,
) -> Result<Committed, StoreError> {
    let first = answer.responses.into_iter().next();
    let first = first.and_then(|op| op.response);
    let kv = match first {
        Some(Response::Put(put)) => put.prev_kv,
        Some(Response::DeleteRange(deleted)) => deleted.prev_kvs.into_iter().next(),
        Some(Response::Range(range)) => range.kvs.into_iter().next(),
        None => None,
    };
    let found = kv.and_then(|kv| entry(keys, kv));
    if !answer.succeeded {
        return Err(StoreError::Conflict { current: found });
    }
    let revision = answer.header.map_or(0, |header| header.revision);
    Ok(Committed {
        revision: Revision(revision.try_into().unwrap_or_default()),
        previous: known.or(found),
    })
}

fn entry(keys: &Keys, kv: KeyValue) -> Option<Entry> {
    Some(Entry {
        key: keys.inner(&kv.key)?,
        value: Bytes::from(kv.value),
        created: Revision(kv.create_revision.try_into().unwrap_or_default()),
        modified: Revision(kv.mod_revision.try_into().unwrap_or_default()),
    })
}
