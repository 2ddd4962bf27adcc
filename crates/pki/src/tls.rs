//! TLS configurations of the API server and of its clients.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{Authority, Pair, PkiError};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn malformed(what: &str) -> impl Fn(rustls::pki_types::pem::Error) -> PkiError + '_ {
    move |e| PkiError::Malformed {
        what: what.to_owned(),
        detail: e.to_string(),
    }
}

impl Pair {
    /// Certificates and key as TLS wants them.
    ///
    /// # Errors
    /// When the PEM texts are none.
    pub fn parse(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let certificates = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(malformed("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(malformed("private key"))?;
        Ok((certificates, key))
    }
}

impl Authority {
    fn roots(&self) -> Result<RootCertStore, PkiError> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem().as_bytes())
            .map_err(malformed("CA certificate"))?;
        roots.add(ca).map_err(PkiError::Tls)?;
        Ok(roots)
    }

    /// TLS for a server that offers HTTP/2 and HTTP/1.1, and takes client certificates of this CA
    /// without demanding one: who has none may present a token.
    pub fn server_config(&self, server: &Pair) -> Result<ServerConfig, PkiError> {
        self.server_config_trusting(server, &[])
    }

    /// The same, for client certificates of further CAs (PEM) too: whom they may stand for is the server's to judge.
    pub fn server_config_trusting(
        &self,
        server: &Pair,
        others: &[&str],
    ) -> Result<ServerConfig, PkiError> {
        let mut roots = self.roots()?;
        for pem in others {
            for ca in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let ca = ca.map_err(malformed("CA certificate"))?;
                roots.add(ca).map_err(PkiError::Tls)?;
            }
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| PkiError::Malformed {
                what: "CA certificate".to_owned(),
                detail: e.to_string(),
            })?;
        let (certificates, key) = server.parse()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(PkiError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// TLS for a client that trusts this CA alone and may show a certificate.
    pub fn client_config(&self, client: Option<&Pair>) -> Result<ClientConfig, PkiError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_root_certificates(self.roots()?);
        match client {
            None => Ok(builder.with_no_client_auth()),
            Some(pair) => {
                let (certificates, key) = pair.parse()?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(PkiError::Tls)
            }
        }
    }
}
