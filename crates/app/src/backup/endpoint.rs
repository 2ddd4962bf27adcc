//! `GET /apis/engine.ferrovirt.io/v1/backup`: the API server's store as a stream, for `system:masters` alone.
//!
//! Whoever has a backup has every Secret, and with `?keys=true` the authority that makes credentials: no role gives that
//! to anybody, membership in the group does.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apiserver::{Response, ResponseBody, Subresource, SubresourceRegistration, SubresourceRequest};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use store::backup::Contents;
use store::log::LogStore;
use store::{ListRequest, Store as _};
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use super::{GROUP, RESOURCE, VERSION};

/// Chunks that may wait for a slow client.
const CHUNKS: usize = 8;

/// See the module.
struct Backup {
    store: Arc<LogStore>,
    pki: PathBuf,
    /// One at a time: each holds a thread, and the values of its revision.
    one: Arc<Semaphore>,
}

/// Where the API server serves it.
pub(crate) fn registration(store: Arc<LogStore>, pki: PathBuf) -> SubresourceRegistration {
    SubresourceRegistration {
        group: GROUP.to_owned(),
        versions: vec![VERSION.to_owned()],
        resource: RESOURCE.to_owned(),
        subresource: String::new(),
        namespaced: false,
        kind: String::new(),
        verbs: vec!["get".to_owned()],
        handler: Arc::new(Backup {
            store,
            pki,
            one: Arc::new(Semaphore::new(1)),
        }),
    }
}

#[async_trait]
impl Subresource for Backup {
    async fn call(&self, request: SubresourceRequest) -> Result<Response, ApiError> {
        if !request.user.groups.iter().any(|g| g == "system:masters") {
            let resource = GroupResource::new(GROUP.to_owned(), RESOURCE.to_owned());
            return Err(ApiError::forbidden(
                &resource,
                "",
                "a backup holds every Secret: only members of system:masters may take one",
            ));
        }
        let Ok(permit) = Arc::clone(&self.one).try_acquire_owned() else {
            return Err(ApiError::too_many_requests("a backup is being taken", 5));
        };
        let files = match request.info.query.flag("keys") {
            true => super::keys(&self.pki)
                .map_err(|error| ApiError::internal(format!("reading the keys: {error}")))?,
            false => Vec::new(),
        };
        let listing = self
            .store
            .list(ListRequest::default())
            .await
            .map_err(|error| ApiError::internal(format!("reading the store: {error}")))?;
        let contents = Contents {
            revision: listing.revision,
            entries: listing.entries,
            files,
            identity: self.store.identity().to_owned(),
            taken: SystemTime::now(),
        };
        let (chunks, body) = ResponseBody::channel(CHUNKS);
        let user = request.user.name;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match store::backup::write(Sender(&chunks), &contents) {
                Ok(summary) => info!(revision = summary.revision.0, user, "a backup was taken"),
                Err(error) => {
                    warn!(%error, user, "a backup broke off");
                    // The client must not take the end of the stream for the end of the backup.
                    let _ = chunks.blocking_send(Err(io::Error::other(error)));
                }
            }
        });
        let mut response = Response::new(body);
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        Ok(response)
    }
}

/// Sends what is written; fails when the client has gone.
struct Sender<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
