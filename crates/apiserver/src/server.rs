//! The server: one value, cheap to clone, that answers requests from any transport.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use ::authz::User;
use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::aggregation::Aggregator;
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::body::{BoxError, RequestBody, ResponseBody};
use crate::config::Config;
use crate::discovery::OpenApi;
use crate::flow::{Gate, Intake, Watches};
use crate::follow::CaughtUp;
use crate::front_proxy::PeerTrust;
use crate::health::Health;
use crate::kinds::{KindSet, builtin};
use crate::metrics::Metrics;
use crate::observed_store::ObservedStore;
use crate::policies::Policies;
use crate::registry::codec::LoadError;
use crate::registry::{Reader, Registry, Strategies};
use crate::replicas::{JoinError, Roll};
use crate::sealing::Rules;
use crate::subresource::{Response, SubresourceRegistration};
use crate::tls_client::Identity;
use crate::{bootstrap, crd, strategies};

mod connect;
mod counted;
mod dispatch;
mod forwarded;
mod impersonate;
mod priority;
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

impl From<JoinError> for StartError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Store(error) => StartError::Store(error),
            JoinError::Refused(_) => StartError::Config(error.to_string()),
        }
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => StartError::Store(error),
            object @ (LoadError::Object(..) | LoadError::NoStack(_)) => {
                StartError::Objects(object.to_string())
            }
        }
    }
}

pub(crate) struct Inner {
    pub registry: Arc<Registry>,
    pub authenticator: Authenticator,
    pub aggregator: Arc<Aggregator>,
    pub peers: PeerTrust,
    pub subresources: Vec<SubresourceRegistration>,
    pub openapi: OpenApi,
    pub metrics: Metrics,
    pub product: String,
    pub keys: Arc<pki::ServiceAccountKeys>,
    pub issuer: String,
    pub audience: String,
    pub flow: Arc<Gate>,
    pub flow_at: Arc<CaughtUp>,
    pub intake: Intake,
    pub watches: Watches,
    pub health: Health,
    pub audit: Option<Arc<Audit>>,
    ending: AtomicBool,
    roll: Option<Arc<Roll>>,
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
        let store = ObservedStore::new(config.store);
        let registry = Arc::new(Registry {
            store_stats: Arc::clone(&store.stats),
            store: Arc::new(store),
            slow_watches: AtomicU64::new(0),
            watch_stall: config.watch_stall,
            shared: config.shared_store,
            kinds: ArcSwap::from_pointee(KindSet::new(builtin())),
            authorizer: Authorizer::default(),
            policies: Policies::default(),
            strategies: by_resource,
            crds_at: Arc::default(),
            address_lock: tokio::sync::Mutex::new(()),
            quota_lock: tokio::sync::Mutex::new(()),
            webhooks: crate::admission::Webhooks::default(),
            sealing: crate::sealing::Sealing::default(),
        });
        let stop = CancellationToken::new();
        let encryption = config.encryption.map(|encryption| {
            let loaded = crate::sealing::load(&encryption.file);
            loaded.map(|loaded| (encryption, loaded))
        });
        let encryption = encryption.transpose().map_err(StartError::Config)?;
        let roll = match config.replica {
            Some(replica) => {
                let none = Rules::default();
                let rules = encryption
                    .as_ref()
                    .map_or(&none, |(_, loaded)| &loaded.rules);
                Some(Roll::join(Arc::clone(&registry.store), replica, rules).await?)
            }
            None => None,
        };
        if let Some((encryption, loaded)) = encryption {
            let (roll, stop) = (roll.clone(), stop.clone());
            crate::sealing::start(&registry, encryption, loaded, roll, stop);
        }
        if let Some(roll) = roll.clone() {
            let (registry, stop) = (Arc::clone(&registry), stop.clone());
            tokio::spawn(async move { roll.keep(|| registry.sealing.rules(), stop).await });
        }
        if config.bootstrap {
            bootstrap::run(&registry).await?;
        }
        Authorizer::start(Arc::clone(&registry), stop.clone()).await?;
        Policies::start(Arc::clone(&registry), stop.clone()).await?;
        crd::start(Arc::clone(&registry), stop.clone()).await?;
        crate::admission::Webhooks::start(Arc::clone(&registry), stop.clone()).await?;
        let flow = Gate::new(config.seats);
        let flow_at = Arc::default();
        crate::flow::start(
            Arc::clone(&registry),
            Arc::clone(&flow),
            Arc::clone(&flow_at),
            config.bootstrap,
            stop.clone(),
        )
        .await?;
        crate::registry::count_objects(Arc::clone(&registry), stop.clone());
        if config.bootstrap {
            crate::apiservices::start(Arc::clone(&registry), stop.clone());
        }
        let authenticator = Authenticator::new(
            config.static_tokens,
            config.oidc_issuers,
            config.front_proxy.clone(),
            Arc::clone(&config.service_account_keys),
            config.issuer.clone(),
            config.audience.clone(),
        )
        .map_err(StartError::Config)?;
        let peers = PeerTrust::new(config.client_ca.as_deref(), config.front_proxy.as_ref())
            .map_err(StartError::Config)?;
        let identity = config.proxy_client.as_ref().map(Identity::new);
        let identity = identity.transpose().map_err(StartError::Config)?;
        let aggregator = Arc::new(Aggregator::default());
        let of = |s: &SubresourceRegistration| {
            let versions = s.versions.iter();
            versions
                .map(|v| (s.group.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        crate::aggregation::start(
            Arc::clone(&registry),
            Arc::clone(&aggregator),
            identity,
            config.subresources.iter().flat_map(of),
            stop.clone(),
        );
        if let Some(proxy) = config.front_proxy {
            let registry = Arc::clone(&registry);
            crate::front_proxy::publish(registry, config.client_ca, proxy, stop.clone());
        }
        let inner = Inner {
            registry,
            aggregator,
            peers,
            authenticator,
            subresources: config.subresources,
            openapi: OpenApi::default(),
            metrics: Metrics::default(),
            product: config.product,
            keys: config.service_account_keys,
            issuer: config.issuer,
            audience: config.audience,
            flow,
            flow_at,
            intake: Intake::default(),
            watches: Watches::default(),
            health: Health::default(),
            audit: config
                .audit
                .map(|(policy, log)| Arc::new(Audit::new(policy, log))),
            ending: AtomicBool::new(false),
            roll,
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
        Reader::new(Arc::clone(&self.inner.registry))
    }

    /// Tells `/readyz` that this server is about to end, so that no new clients are sent to it.
    pub fn prepare_to_stop(&self) {
        self.inner.ending.store(true, Relaxed);
    }

    /// Comes back with the reason when this server must not go on: another one over the same store has taken its place
    /// while it could not be heard of.
    pub async fn displaced(&self) -> String {
        match &self.inner.roll {
            Some(roll) => roll.displaced().await,
            None => std::future::pending().await,
        }
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
        Box::pin(async move { dispatch::route(&inner, request).await })
    }
}

impl Inner {
    /// Whether the server has stopped or is about to.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed) || self.stop.is_cancelled()
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
