//! The certificate authority of an installation.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::files::read_if_exists;
use crate::inspect::{Wanted, is_reusable};
use crate::{PkiError, write_atomic};

const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates start a little in the past: clocks of hosts differ.
const BACKDATE: Duration = Duration::from_secs(300);

/// A certificate and its private key, both PEM (PKCS#8).
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A CA whose key lies in one directory of this host.
pub struct Authority {
    dir: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

struct Subject<'a> {
    common_name: &'a str,
    organizations: &'a [String],
    names: &'a [String],
    ips: &'a [IpAddr],
    usage: ExtendedKeyUsagePurpose,
}

impl Authority {
    /// Opens the CA in `dir`, or makes one there.
    pub fn load_or_create(dir: impl AsRef<Path>) -> Result<Self, PkiError> {
        let dir = dir.as_ref().to_owned();
        let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        if let (Some(ca_pem), Some(key_pem)) =
            (read_if_exists(&cert_path)?, read_if_exists(&key_path)?)
        {
            let key = KeyPair::from_pem(&key_pem).map_err(generate("reading the CA's key"))?;
            let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)
                .map_err(generate("reading the CA's certificate"))?;
            return Ok(Self {
                dir,
                ca_pem,
                issuer,
            });
        }
        let key = KeyPair::generate().map_err(generate("generating the CA's key"))?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        // A part of the public key makes the name of every CA its own.
        let tag: String = key
            .public_key_raw()
            .iter()
            .skip(1)
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        name.push(DnType::CommonName, format!("ferrovirt-ca-{tag}"));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, CA_LIFETIME);
        let certificate = params
            .self_signed(&key)
            .map_err(generate("signing the CA's certificate"))?;
        let ca_pem = certificate.pem();
        // The key first: a certificate without key would be taken for a complete CA by readers.
        write_atomic(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write_atomic(&cert_path, ca_pem.as_bytes(), 0o644)?;
        Ok(Self {
            dir,
            issuer: Issuer::new(params, key),
            ca_pem,
        })
    }

    /// The CA's certificate, as clients need it.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Issues a server certificate for these DNS names and addresses.
    pub fn issue_server(
        &self,
        names: &[String],
        ips: &[IpAddr],
        lifetime: Duration,
    ) -> Result<Pair, PkiError> {
        self.issue(&server_subject(names, ips), lifetime)
    }

    /// Issues a client certificate: `common_name` is the user, `organizations` its groups.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[String],
        lifetime: Duration,
    ) -> Result<Pair, PkiError> {
        self.issue(&client_subject(common_name, organizations), lifetime)
    }

    /// As [`Self::issue_server`], kept in `<dir>/<stem>.crt` and `.key` and used again while it covers
    /// the names and a third of its lifetime is left.
    pub fn server_on_disk(
        &self,
        stem: &str,
        names: &[String],
        ips: &[IpAddr],
        lifetime: Duration,
    ) -> Result<Pair, PkiError> {
        self.on_disk(stem, &server_subject(names, ips), lifetime)
    }

    /// As [`Self::issue_client`], kept on disk like [`Self::server_on_disk`].
    pub fn client_on_disk(
        &self,
        stem: &str,
        common_name: &str,
        organizations: &[String],
        lifetime: Duration,
    ) -> Result<Pair, PkiError> {
        self.on_disk(stem, &client_subject(common_name, organizations), lifetime)
    }

    fn on_disk(
        &self,
        stem: &str,
        subject: &Subject<'_>,
        lifetime: Duration,
    ) -> Result<Pair, PkiError> {
        let cert_path = self.dir.join(format!("{stem}.crt"));
        let key_path = self.dir.join(format!("{stem}.key"));
        if let (Some(cert_pem), Some(key_pem)) =
            (read_if_exists(&cert_path)?, read_if_exists(&key_path)?)
        {
            let wanted = Wanted {
                issuer_pem: &self.ca_pem,
                common_name: subject.common_name,
                organizations: subject.organizations,
                names: subject.names,
                ips: subject.ips,
                remaining: lifetime / 3,
            };
            if is_reusable(&cert_pem, &wanted) {
                return Ok(Pair { cert_pem, key_pem });
            }
        }
        let pair = self.issue(subject, lifetime)?;
        // Remove the old certificate first: a crash between the two writes must not leave a
        // certificate beside a key that is not its own.
        let _ = std::fs::remove_file(&cert_path);
        write_atomic(&key_path, pair.key_pem.as_bytes(), 0o600)?;
        write_atomic(&cert_path, pair.cert_pem.as_bytes(), 0o644)?;
        Ok(pair)
    }

    fn issue(&self, subject: &Subject<'_>, lifetime: Duration) -> Result<Pair, PkiError> {
        let key = KeyPair::generate().map_err(generate("generating a key"))?;
        let mut params = CertificateParams::new(subject.names.to_vec())
            .map_err(generate("naming a certificate"))?;
        params
            .subject_alt_names
            .extend(subject.ips.iter().copied().map(SanType::IpAddress));
        let mut name = DistinguishedName::new();
        // rcgen's name holds one value per type; the custom type with the same OID carries a second.
        match subject.organizations {
            [] => {}
            [first] => name.push(DnType::OrganizationName, first.as_str()),
            [first, second] => {
                name.push(DnType::OrganizationName, first.as_str());
                name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), second.as_str());
            }
            _ => {
                return Err(PkiError::Malformed {
                    what: "client certificate".to_owned(),
                    detail: "at most two organizations can be named".to_owned(),
                });
            }
        }
        name.push(DnType::CommonName, subject.common_name);
        params.distinguished_name = name;
        params.extended_key_usages = vec![subject.usage.clone()];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, lifetime);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(generate("signing a certificate"))?;
        Ok(Pair {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn server_subject<'a>(names: &'a [String], ips: &'a [IpAddr]) -> Subject<'a> {
    Subject {
        common_name: names.first().map_or("ferrovirt-server", String::as_str),
        organizations: &[],
        names,
        ips,
        usage: ExtendedKeyUsagePurpose::ServerAuth,
    }
}

fn client_subject<'a>(common_name: &'a str, organizations: &'a [String]) -> Subject<'a> {
    Subject {
        common_name,
        organizations,
        names: &[],
        ips: &[],
        usage: ExtendedKeyUsagePurpose::ClientAuth,
    }
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + lifetime).into();
}

fn generate(action: &'static str) -> impl Fn(rcgen::Error) -> PkiError {
    move |source| PkiError::Generate { action, source }
}
