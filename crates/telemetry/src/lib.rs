//! Logs of all Ferrovirt processes: one line per event on standard error, levels by environment.
//!
//! `FERROVIRT_LOG` takes `tracing`'s filter syntax (`info`, `debug,hyper=warn`, ...). Levels are
//! chosen by who acts on them: *error*: an operator must; *warn*: an operator may want to, the
//! system goes on; *info*: milestones of a process; *debug*: for its developers.
//!
//! A process of several components keeps a log of each beside that ([`component`]).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

pub mod component;

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use component::ComponentLogs;

/// Variable with the filter.
pub const FILTER: &str = "FERROVIRT_LOG";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter cannot be understood.
    #[error("{FILTER}={filter:?} is not a log filter (try info, or debug,hyper=warn)")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging was set up twice")]
    Twice,
}

/// Sends events of at least `default` level to standard error, unless the environment says else.
///
/// # Errors
/// When the filter is malformed or this was called before.
pub fn log_to_stderr(default: &str) -> Result<(), LogError> {
    log_to_stderr_and_components(default).map(drop)
}

/// The same, and to the logs of components, as far as those are opened.
///
/// # Errors
/// When the filter is malformed or this was called before.
pub fn log_to_stderr_and_components(default: &str) -> Result<ComponentLogs, LogError> {
    let filter = match std::env::var(FILTER) {
        Ok(filter) => EnvFilter::try_new(&filter).map_err(|source| LogError::Filter {
            filter: filter.clone(),
            source,
        })?,
        Err(_) => EnvFilter::new(default),
    };
    let components = ComponentLogs::default();
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(stderr)
        .with(components.clone())
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(components)
}
