//! The Kubernetes API request pipeline: one generic handler for all kinds, over a revisioned store.
//!
//! ```text
//! TLS listener ── listener::serve ─┐
//! in-process kube::Client ─────────┤  tower::Service<http::Request<B>>
//!                                  ▼
//!   panic recovery → request info → authentication → audit → impersonation → authorization → priority and fairness
//!                                  ▼ dispatch (the body is read only after authorization, before a seat is taken)
//!   health, version, metrics │ discovery, OpenAPI │ reviews │ subresources │ generic registry ─► store
//! ```
//!
//! # Using it
//!
//! ```ignore
//! let server = ApiServer::new(Config {
//!     strategies: vec![StrategyRegistration::new("kubevirt.io", "virtualmachines", Arc::new(VmAdmission))],
//!     subresources: vec![SubresourceRegistration { .. }],
//!     ..Config::new(store, service_account_keys)
//! }).await?;
//! // In the same process, as a certain user; no socket:
//! let client = kube::Client::new(server.as_user(User::new("system:apiserver", &["system:masters"])), "default");
//! // On TLS, until the token is cancelled:
//! apiserver::serve(server.clone(), tcp_listener, authority.server_config(&pair)?, shutdown).await?;
//! server.stop(); // ends watches and background tasks
//! ```
//!
//! * A [`Strategy`] is what is special about one resource: refusal of fields on the raw body, defaults, validation.
//! * A [`Subresource`] serves `(group, resource, subresource)`, also in groups that have no objects of their own
//!   (`subresources.kubevirt.io`), and may take over the connection ([`SubresourceRequest::websocket`]).
//! * CRDs are ordinary objects; creating one serves its kinds before the create is answered.
//!
//! # Invariants
//!
//! * Objects are JSON values; the stored form carries no `resourceVersion`, which is the entry's revision.
//! * Every change goes through compare-and-swap on the stored revision; a handler that answered success was durable.
//! * A write of an RBAC or CRD object is answered after this server's own authorizer or kinds know it.
//! * Nothing from outside is unbounded: see `limits`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod admission;
mod aggregation;
mod apiservices;
mod audit;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod config;
mod conversion;
mod crd;
mod decode;
mod discovery;
mod flow;
mod follow;
mod front_proxy;
mod health;
mod https;
mod kinds;
mod limits;
mod listener;
mod metrics;
mod negotiate;
mod observed_store;
mod oidc;
mod policies;
mod protobuf;
mod registry;
mod replicas;
mod request;
mod respond;
mod review_rules;
mod reviews;
mod sealing;
mod server;
mod service_resolver;
mod stack;
mod strategies;
mod strategy;
mod subresource;
mod table;
mod tls_client;
mod token;
mod websocket;
mod yaml;

pub use self::audit::{AuditLog, AuditLogOptions, AuditMode, AuditPolicy, PolicyError};
pub use self::body::{RequestBody, ResponseBody};
pub use self::config::{Config, Encryption, StaticToken, parse_token_file};
pub use self::front_proxy::FrontProxy;
pub use self::kinds::Kind;
pub use self::listener::serve;
pub use self::oidc::{ClaimMapping, Issuer, parse_authentication_config};
pub use self::registry::Reader;
pub use self::replicas::Replica;
pub use self::request::{Query, RequestInfo};
pub use self::server::{ApiServer, InProcess, StartError};
pub use self::strategy::{Context, Operation, Strategy, StrategyRegistration};
pub use self::subresource::{Response, Subresource, SubresourceRegistration, SubresourceRequest};
pub use self::websocket::{Message, WebSocket, WebSocketReader, WebSocketWriter};
