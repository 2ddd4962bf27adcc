//! Service-account tokens: JWTs signed with ES256, with the claims that kube-apiserver writes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};

use crate::files::read_if_exists;
use crate::{PkiError, write_atomic};

/// The claims of a bound service-account token.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// Audiences.
    #[serde(default)]
    pub aud: Vec<String>,
    /// Expiry, seconds since the epoch.
    pub exp: i64,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Unique id of this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What the token is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
}

/// The private claims below `kubernetes.io`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct KubernetesClaims {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: BoundObject,
    /// The Pod that the token dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The Secret that the token dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The node of the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
}

/// An object named in a token, by name and uid.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its uid; a later object of the same name is another one.
    pub uid: String,
}

/// The signing key of service-account tokens.
pub struct ServiceAccountKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    public: Vec<u8>,
    key_id: String,
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKeys")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl ServiceAccountKeys {
    /// Opens the key in `<dir>/sa.key`, or makes one there.
    pub fn load_or_create(dir: impl AsRef<Path>) -> Result<Self, PkiError> {
        let path = dir.as_ref().join("sa.key");
        let generate = |action| move |source| PkiError::Generate { action, source };
        let pair = match read_if_exists(&path)? {
            Some(pem) => {
                KeyPair::from_pem(&pem).map_err(generate("reading the service-account key"))?
            }
            None => {
                let pair =
                    KeyPair::generate().map_err(generate("generating the service-account key"))?;
                write_atomic(&path, pair.serialize_pem().as_bytes(), 0o600)?;
                pair
            }
        };
        let token = |source| PkiError::Token {
            action: "preparing to sign",
            source,
        };
        let public = pair.der_bytes().to_vec();
        let (x, y) = coordinates(&public)?;
        let key_id = x.clone();
        Ok(Self {
            encoding: EncodingKey::from_ec_der(pair.serialized_der()),
            decoding: DecodingKey::from_ec_components(&x, &y).map_err(token)?,
            public,
            key_id,
        })
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, PkiError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|source| PkiError::Token {
            action: "signing",
            source,
        })
    }

    /// Checks signature, expiry and not-before. Audience, issuer and bound objects are the caller's to judge.
    pub fn verify(&self, token: &str) -> Result<Claims, PkiError> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = 10;
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .map(|data| data.claims)
            .map_err(|source| PkiError::Token {
                action: "verifying",
                source,
            })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Result<serde_json::Value, PkiError> {
        let (x, y) = coordinates(&self.public)?;
        Ok(serde_json::json!({"keys": [{
            "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.key_id, "x": x, "y": y,
        }]}))
    }
}

/// The coordinates of an uncompressed P-256 point (SEC 1: 0x04, X, Y), as RFC 7518 writes them.
fn coordinates(public: &[u8]) -> Result<(String, String), PkiError> {
    match public {
        [4, rest @ ..] if rest.len() == 64 => {
            let (x, y) = rest.split_at(32);
            Ok((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
        }
        _ => Err(PkiError::Malformed {
            what: "service-account key".to_owned(),
            detail: "it is not an uncompressed P-256 point".to_owned(),
        }),
    }
}
