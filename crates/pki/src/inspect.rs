//! Reading certificates: whom they name, and whether one on disk can be used again.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::PkiError;

fn malformed(detail: impl std::fmt::Display) -> PkiError {
    PkiError::Malformed {
        what: "certificate".to_owned(),
        detail: format!("{detail}"),
    }
}

/// The user (common name) and groups (organizations) that a client certificate stands for.
///
/// The caller must have verified the certificate: rustls does so during the handshake.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<(String, Vec<String>), PkiError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(malformed)?;
    let subject = parsed.subject();
    let name = subject
        .iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok())
        .filter(|cn| !cn.is_empty())
        .ok_or_else(|| malformed("it has no common name"))?
        .to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .map(str::to_owned)
        .collect();
    Ok((name, groups))
}

/// What a reusable certificate must still promise.
pub(crate) struct Wanted<'a> {
    pub issuer_pem: &'a str,
    pub common_name: &'a str,
    pub organizations: &'a [String],
    pub names: &'a [String],
    pub ips: &'a [IpAddr],
    pub remaining: Duration,
}

/// Whether the certificate was issued by that CA for exactly that subject, covers the names, and is
/// valid for long enough.
pub(crate) fn is_reusable(pem: &str, wanted: &Wanted<'_>) -> bool {
    check_reusable(pem, wanted).unwrap_or(false)
}

fn check_reusable(pem: &str, wanted: &Wanted<'_>) -> Result<bool, PkiError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(malformed)?;
    let ca_der = CertificateDer::from_pem_slice(wanted.issuer_pem.as_bytes()).map_err(malformed)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(malformed)?;
    let (_, ca) = X509Certificate::from_der(&ca_der).map_err(malformed)?;
    // The CA's common name carries a random part, so equal names mean the same CA.
    if certificate.issuer().as_raw() != ca.subject().as_raw() {
        return Ok(false);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let until = i64::try_from((now + wanted.remaining).as_secs()).unwrap_or(i64::MAX);
    if certificate.validity().not_after.timestamp() < until {
        return Ok(false);
    }
    let (cn, organizations) = peer_identity(&der)?;
    if cn != wanted.common_name || organizations != wanted.organizations {
        return Ok(false);
    }
    let mut names = Vec::new();
    let mut ips = Vec::new();
    if let Some(extension) = certificate.subject_alternative_name().map_err(malformed)? {
        for general in &extension.value.general_names {
            match general {
                GeneralName::DNSName(name) => names.push(*name),
                GeneralName::IPAddress(octets) => ips.push(*octets),
                _ => {}
            }
        }
    }
    let names_covered = wanted.names.iter().all(|n| names.contains(&n.as_str()));
    let ips_covered = wanted.ips.iter().all(|ip| match ip {
        IpAddr::V4(v4) => ips.contains(&v4.octets().as_slice()),
        IpAddr::V6(v6) => ips.contains(&v6.octets().as_slice()),
    });
    Ok(names_covered && ips_covered)
}
