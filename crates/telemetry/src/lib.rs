//! Logs of all Ferrovirt processes: one line per event on standard error, levels by environment.
//!
//! `FERROVIRT_LOG` takes `tracing`'s filter syntax (`info`, `debug,hyper=warn`, ...). Levels are
//! chosen by who acts on them: *error*: an operator must; *warn*: an operator may want to, the
//! system goes on; *info*: milestones of a process; *debug*: for its developers.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

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
    let filter = match std::env::var(FILTER) {
        Ok(filter) => EnvFilter::try_new(&filter).map_err(|source| LogError::Filter {
            filter: filter.clone(),
            source,
        })?,
        Err(_) => EnvFilter::new(default),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .map_err(|_| LogError::Twice)
}
