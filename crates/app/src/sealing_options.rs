//! Options of `ferrovirt up` about secrets at rest.

use std::path::PathBuf;

use apiserver::{Config, Encryption};

/// See the module.
#[derive(Debug, clap::Args)]
pub(crate) struct SealingOptions {
    /// Which resources are sealed in the store, and with which keys: an EncryptionConfiguration of
    /// apiserver.config.k8s.io/v1 with the providers aesgcm and identity. Taken up again when it changes.
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
}

impl SealingOptions {
    /// Adds what was asked for.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.encryption = self.encryption_provider_config.clone().map(Encryption::new);
    }
}
