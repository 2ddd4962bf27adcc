//! Receives bodies of requests: bounded by number and bytes, for each user and in all, before a seat is taken.
//!
//! A body may come as slowly as its sender likes. While it comes, the request holds no seat that others wait for, only
//! a place here, of which one user has a part. The bytes are set aside before the first is read (as many as
//! `Content-Length` says, else the most that a body may have), and stay so until the request has ended: what bodies
//! hold in memory is bounded as a whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use apimachinery::status::ApiError;
use bytes::Bytes;
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{self, RequestBody};
use crate::limits;

/// Bytes are set aside in pieces of this size.
const PIECE: usize = 16 * 1024;

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Share {
    bodies: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
}

impl Share {
    fn new(bodies: usize, bytes: usize) -> Self {
        Share {
            bodies: Arc::new(Semaphore::new(bodies)),
            pieces: Arc::new(Semaphore::new(bytes / PIECE)),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Intake {
    all: Share,
    users: Mutex<HashMap<String, Weak<Share>>>,
    receiving: AtomicUsize,
}

/// A body that was received; its bytes stay set aside until this is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub bytes: Bytes,
    _set_aside: Option<SetAside>,
}

#[derive(Debug)]
struct SetAside {
    _permits: [OwnedSemaphorePermit; 4],
    _share: Arc<Share>,
}

struct Receiving<'a>(&'a AtomicUsize);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Default for Intake {
    fn default() -> Self {
        Intake {
            all: Share::new(limits::MAX_BODIES, limits::MAX_BODY_BYTES),
            users: Mutex::default(),
            receiving: AtomicUsize::new(0),
        }
    }
}

impl Intake {
    fn share(&self, user: &str) -> Arc<Share> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get(user).and_then(Weak::upgrade) {
            return share;
        }
        if users.len() >= limits::FORGET_USERS_AT {
            users.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share::new(
            limits::MAX_BODIES_PER_USER,
            limits::MAX_BODY_BYTES_PER_USER,
        ));
        users.insert(user.to_owned(), Arc::downgrade(&share));
        share
    }

    /// How many bodies are being received.
    pub(crate) fn receiving(&self) -> usize {
        self.receiving.load(Relaxed)
    }

    /// Receives a body from a user of the network.
    ///
    /// # Errors
    /// 413 when it is too large, 429 when there is no room for it in time, 400 when it does not arrive.
    pub(crate) async fn receive(
        &self,
        user: &str,
        body: RequestBody,
    ) -> Result<Received, ApiError> {
        let hint = body.size_hint();
        if hint.lower() > limits::MAX_BODY as u64 {
            return Err(body::too_large());
        }
        let bytes = hint
            .exact()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(limits::MAX_BODY);
        if bytes == 0 {
            return Ok(Received {
                bytes: Bytes::new(),
                _set_aside: None,
            });
        }
        let set_aside = self.set_aside(user, pieces(bytes));
        let set_aside = tokio::time::timeout(limits::INTAKE_WAIT, set_aside)
            .await
            .ok()
            .flatten()
            .ok_or_else(|| {
                ApiError::too_many_requests(
                    "too many request bodies are being received, please try again later",
                    1,
                )
            })?;
        self.receiving.fetch_add(1, Relaxed);
        let _receiving = Receiving(&self.receiving);
        Ok(Received {
            bytes: body::read(body).await?,
            _set_aside: Some(set_aside),
        })
    }

    /// The user's own first: who waits for others' bodies holds none of the common room meanwhile.
    async fn set_aside(&self, user: &str, pieces: u32) -> Option<SetAside> {
        let share = self.share(user);
        let acquire = |from: &Arc<Semaphore>, n: u32| Arc::clone(from).acquire_many_owned(n);
        Some(SetAside {
            _permits: [
                acquire(&share.bodies, 1).await.ok()?,
                acquire(&share.pieces, pieces).await.ok()?,
                acquire(&self.all.bodies, 1).await.ok()?,
                acquire(&self.all.pieces, pieces).await.ok()?,
            ],
            _share: share,
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;
    use crate::body::BoxError;

    fn never() -> RequestBody {
        let frames = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>();
        StreamBody::new(frames).boxed_unsync()
    }

    fn full(bytes: usize) -> RequestBody {
        Full::new(Bytes::from(vec![b'x'; bytes]))
            .map_err(|e| match e {})
            .boxed_unsync()
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bodies_of_one_user_leave_room_for_another() {
        let intake = Arc::new(Intake::default());
        let slow: Vec<_> = (0..limits::MAX_BODIES_PER_USER * 2)
            .map(|_| {
                let intake = Arc::clone(&intake);
                tokio::spawn(async move { intake.receive("greedy", never()).await.map(|_| ()) })
            })
            .collect();
        tokio::task::yield_now().await;
        // Bodies of unknown length are taken for the largest.
        let fit = limits::MAX_BODY_BYTES_PER_USER / limits::MAX_BODY;
        assert_eq!(intake.receiving(), fit.min(limits::MAX_BODIES_PER_USER));
        let received = intake.receive("modest", full(1000)).await.unwrap();
        assert_eq!(received.bytes.len(), 1000);
        let mut codes = Vec::new();
        for task in slow {
            codes.push(task.await.unwrap().unwrap_err().code());
        }
        assert!(codes.contains(&429) && codes.contains(&400), "{codes:?}");
        assert_eq!(intake.receiving(), 0);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_a_byte_is_read() {
        let error = Intake::default()
            .receive("u", full(limits::MAX_BODY + 1))
            .await
            .unwrap_err();
        assert_eq!(error.code(), 413);
    }
}
