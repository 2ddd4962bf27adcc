//! Certificates and tokens of one Ferrovirt installation.
//!
//! ```text
//! <dir>/ca.crt ca.key          Authority            signs server and client certificates (P-256)
//! <dir>/<stem>.crt/.key        Authority::*_on_disk reused while valid, so that a warm start signs nothing
//! <dir>/sa.key                 ServiceAccountKeys   signs service-account tokens (ES256)
//!                              IssuerKeys           verify ID tokens of OpenID Connect issuers; never on disk
//!                              SealingKey           seals values at rest (AES-GCM); its bytes are the caller's
//! ```
//!
//! Invariants:
//! - a private key file is created with mode 0600 and is complete or absent (write to a temporary
//!   name in the same directory, fsync, rename);
//! - a client is known by its certificate alone: the common name is the user, the organizations are
//!   the groups, as in Kubernetes;
//! - one crypto provider, aws-lc-rs, named explicitly, so no process-wide default is needed.
//!
//! Not here: who may do what (`authz`), and which tokens are still bound to living objects (`apiserver`).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod authority;
mod error;
mod files;
mod id_token;
mod inspect;
mod sealing_key;
mod service_account;
mod tls;

pub use authority::{Authority, Pair};
pub use error::PkiError;
pub use files::write_atomic;
pub use id_token::{IssuerKeys, SigningAlgorithm, TokenError, check_times, unverified_issuer};
pub use inspect::peer_identity;
pub use sealing_key::{NotAuthentic, SEALS_PER_KEY, SealingKey};
pub use service_account::{BoundObject, Claims, KubernetesClaims, ServiceAccountKeys};

#[cfg(test)]
mod tests;
