//! TLS to etcd, from the files that etcd's own tools take.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The files of a TLS client, PEM each. They are read at every connection, so that renewed ones are taken up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The CAs that etcd's certificates must come from.
    pub ca_file: PathBuf,
    /// Our certificate with its chain, and its key; if etcd demands one.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Reads the files.
    pub(super) async fn load(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_file).await? {
            roots
                .add(certificate)
                .map_err(|e| format!("{}: {e}", self.ca_file.display()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate).await?;
                let pem = read(key).await?;
                let parsed = PrivateKeyDer::from_pem_slice(&pem)
                    .map_err(|e| format!("{}: {e}", key.display()))?;
                builder
                    .with_client_auth_cert(chain, parsed)
                    .map_err(|e| format!("{}: {e}", certificate.display()))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = tokio::fs::read(path).await;
    read.map_err(|e| format!("cannot read {}: {e}", path.display()))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path).await?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{} has no certificate in it", path.display()));
    }
    Ok(found)
}
