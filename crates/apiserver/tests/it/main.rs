//! The server as clients meet it: kubectl on TLS, kube's client in process, WebSockets.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod aggregation;
mod asking;
mod audit;
mod auth;
mod builtins;
mod client;
mod connect;
mod conversion;
mod crd_refusals;
mod crd_rules;
mod crds;
mod discovery;
mod extension;
mod fairness;
mod harness;
mod health;
mod hook;
mod hostile;
mod https;
mod kubectl;
mod large_crds;
mod lists;
mod mutating_policies;
mod oidc;
mod patches;
mod requests;
mod rules;
mod sealing;
mod slow_watchers;
mod webhooks;
mod wire;
