//! What can go wrong with keys and certificates.

use std::path::PathBuf;

/// An error of this crate; says what was being done and to which file.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{action} {path}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key could not be made.
    #[error("{action}")]
    Generate {
        /// What was being made.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: rcgen::Error,
    },
    /// A PEM file or certificate that exists cannot be understood.
    #[error("{what} is not valid: {detail}")]
    Malformed {
        /// What was being read.
        what: String,
        /// Why it is refused.
        detail: String,
    },
    /// The TLS library refused the configuration.
    #[error("configuring TLS")]
    Tls(#[source] rustls::Error),
    /// A token could not be signed or is not acceptable.
    #[error("{action} a service-account token")]
    Token {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}
