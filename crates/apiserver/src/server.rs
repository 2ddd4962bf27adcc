//! The server: one value, cheap to clone, that answers requests from any transport.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use ::authz::User;
use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::body::{BoxError, RequestBody, ResponseBody};
use crate::config::Config;
use crate::discovery::OpenApi;
use crate::kinds::{KindSet, builtin};
use crate::metrics::Metrics;
use crate::negotiate::Accept;
use crate::policies::Policies;
use crate::registry::codec::LoadError;
use crate::registry::{CaughtUp, Reader, Registry, Strategies};
use crate::subresource::{Response, SubresourceRegistration};
use crate::{bootstrap, crd, limits, respond, strategies};

mod connect;
mod dispatch;
mod impersonate;
mod resources;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("reading the store at start")]
    Store(#[from] StoreError),
    /// A default object could not be created.
    #[error("creating {what} at start")]
    Bootstrap {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: ApiError,
    },
    /// Objects that the server acts on cannot be read.
    #[error("{0}")]
    Objects(String),
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => StartError::Store(error),
            object @ LoadError::Object(..) => StartError::Objects(object.to_string()),
        }
    }
}

pub(crate) struct Inner {
    pub registry: Arc<Registry>,
    pub authenticator: Authenticator,
    pub subresources: Vec<SubresourceRegistration>,
    pub openapi: OpenApi,
    pub metrics: Metrics,
    pub product: String,
    pub keys: Arc<pki::ServiceAccountKeys>,
    pub issuer: String,
    pub audience: String,
    in_flight: Semaphore,
    watches: Mutex<HashMap<String, Weak<Semaphore>>>,
    pub stop: CancellationToken,
}

/// The API server.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

impl ApiServer {
    /// Opens the server on a store: creates what every cluster has, loads CRDs and RBAC, and follows both.
    ///
    /// # Errors
    /// When the store fails or the configuration is inconsistent.
    pub async fn new(config: Config) -> Result<Self, StartError> {
        let mut by_resource: Strategies =
            strategies::builtin(&config.service_cidr).map_err(StartError::Config)?;
        for registration in config.strategies {
            by_resource
                .entry((registration.group, registration.resource))
                .or_default()
                .push(registration.strategy);
        }
        let registry = Arc::new(Registry {
            store: config.store,
            kinds: ArcSwap::from_pointee(KindSet::new(builtin())),
            authorizer: Authorizer::default(),
            policies: Policies::default(),
            strategies: by_resource,
            crds_at: CaughtUp::default(),
            address_lock: tokio::sync::Mutex::new(()),
            quota_lock: tokio::sync::Mutex::new(()),
            webhooks: crate::admission::Webhooks::default(),
            sealing: crate::sealing::Sealing::default(),
        });
        let stop = CancellationToken::new();
        if let Some(encryption) = config.encryption {
            crate::sealing::start(&registry, encryption, stop.clone())
                .await
                .map_err(StartError::Config)?;
        }
        if config.bootstrap {
            bootstrap::run(&registry).await?;
        }
        Authorizer::start(Arc::clone(&registry), stop.clone()).await?;
        Policies::start(Arc::clone(&registry), stop.clone()).await?;
        crd::start(Arc::clone(&registry), stop.clone()).await?;
        crate::admission::Webhooks::start(Arc::clone(&registry), stop.clone()).await?;
        if config.bootstrap {
            crate::admission::ensure_accounts(&registry).await;
            crate::apiservices::start(Arc::clone(&registry), stop.clone());
        }
        let authenticator = Authenticator::new(
            config.static_tokens,
            config.oidc_issuers,
            Arc::clone(&config.service_account_keys),
            config.issuer.clone(),
            config.audience.clone(),
        )
        .map_err(StartError::Config)?;
        let inner = Inner {
            registry,
            authenticator,
            subresources: config.subresources,
            openapi: OpenApi::default(),
            metrics: Metrics::default(),
            product: config.product,
            keys: config.service_account_keys,
            issuer: config.issuer,
            audience: config.audience,
            in_flight: Semaphore::new(limits::MAX_IN_FLIGHT),
            watches: Mutex::default(),
            stop,
        };
        Ok(ApiServer {
            inner: Arc::new(inner),
        })
    }

    /// A service for `kube::Client::new`, whose requests come from `user`.
    #[must_use]
    pub fn as_user(&self, user: User) -> InProcess {
        InProcess {
            server: self.clone(),
            user: crate::authn::authenticated(user),
        }
    }

    /// Reads objects without authorization, for code of this process.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.inner.registry))
    }

    /// Ends watches and background tasks. Requests that still come are answered as long as the store lives.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// Answers one request. The caller is the extension `authz::User` when there is one, else whom the
    /// credentials name.
    pub fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> Pin<Box<dyn Future<Output = Response> + Send>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let started = Instant::now();
            let (verb, response) = match AssertUnwindSafe(dispatch::route(&inner, request))
                .catch_unwind()
                .await
            {
                Ok(answer) => answer,
                Err(_) => {
                    let error =
                        ApiError::internal("the request made the server panic; see its log");
                    ("panic", respond::error(&error, Accept::default()))
                }
            };
            inner
                .metrics
                .record(verb, response.status().as_u16(), started.elapsed());
            response
        })
    }
}

impl Inner {
    /// A place among the requests in flight, or 429.
    pub(crate) async fn enter(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
        let place = tokio::time::timeout(limits::QUEUE_WAIT, self.in_flight.acquire()).await;
        match place {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ApiError::too_many_requests(
                "Too many requests, please try again later.",
                1,
            )),
        }
    }

    /// A place among the watches of a user, or 429.
    pub(crate) fn enter_watch(&self, user: &User) -> Result<OwnedSemaphorePermit, ApiError> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = match watches.get(&user.name).and_then(Weak::upgrade) {
            Some(slots) => slots,
            None => {
                watches.retain(|_, slots| slots.strong_count() > 0);
                let slots = Arc::new(Semaphore::new(limits::MAX_WATCHES_PER_USER));
                watches.insert(user.name.clone(), Arc::downgrade(&slots));
                slots
            }
        };
        slots
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests("too many watches of this user", 5))
    }
}

/// The transport of callers in this process.
#[derive(Clone)]
pub struct InProcess {
    server: ApiServer,
    user: User,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.server.clone();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.extensions_mut().insert(self.user.clone());
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}
