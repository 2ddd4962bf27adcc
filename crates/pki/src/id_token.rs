//! ID tokens of an OpenID Connect issuer: signed JWTs (RFC 7519) and the issuer's public keys (RFC 7517).
//!
//! Pure: who fetches the keys, and whom the claims make of the caller, is elsewhere.
//!
//! Invariants:
//! * Only asymmetric algorithms exist here, and a key serves only those of its own type, so that a public key is
//!   never taken for a shared secret, and `none` is no algorithm at all (RFC 8725, 3.1).
//! * Claims are given out only after the signature was verified.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Keys of one issuer that are looked at; issuers publish a handful.
const MAX_KEYS: usize = 100;

/// An algorithm by which an issuer may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningAlgorithm(Algorithm);

impl SigningAlgorithm {
    /// By its name in RFC 7518: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256` or `ES384`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let algorithm = Algorithm::from_str(name).ok()?;
        key_type(algorithm)?;
        Some(Self(algorithm))
    }
}

/// Type of key that an algorithm needs; `None` for those that are not accepted.
fn key_type(algorithm: Algorithm) -> Option<KeyType> {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Some(KeyType::Rsa),
        Algorithm::ES256 => Some(KeyType::P256),
        Algorithm::ES384 => Some(KeyType::P384),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyType {
    Rsa,
    P256,
    P384,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// None of the known keys has signed it; the issuer may have newer ones.
    #[error("no known key of the issuer has signed it")]
    UnknownKey,
    /// It will not become acceptable.
    #[error("{0}")]
    Refused(String),
}

fn refused(why: impl Into<String>) -> TokenError {
    TokenError::Refused(why.into())
}

/// The public keys of an issuer.
#[derive(Clone, Debug, Default)]
pub struct IssuerKeys(Vec<IssuerKey>);

#[derive(Clone)]
struct IssuerKey {
    id: Option<String>,
    /// Set when the key is for one algorithm only.
    algorithm: Option<String>,
    ty: KeyType,
    key: DecodingKey,
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.ty, self.id)
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl IssuerKey {
    fn of(jwk: &Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (ty, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (
                KeyType::Rsa,
                DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?),
            ),
            ("EC", Some(curve @ ("P-256" | "P-384"))) => (
                if curve == "P-256" {
                    KeyType::P256
                } else {
                    KeyType::P384
                },
                DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?),
            ),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid.clone(),
            algorithm: jwk.alg.clone(),
            ty,
            key: key.ok()?,
        })
    }
}

impl IssuerKeys {
    /// Reads a JSON Web Key Set. Keys of types that are not known here are left out, as RFC 7517 (5) asks.
    ///
    /// # Errors
    /// When it is none, is too long, or has no key that could verify a token.
    pub fn parse(jwks: &[u8]) -> Result<Self, String> {
        let set: Jwks = serde_json::from_slice(jwks).map_err(|e| format!("no key set: {e}"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!(
                "the key set has {} keys; at most {MAX_KEYS} are read",
                set.keys.len()
            ));
        }
        let keys: Vec<IssuerKey> = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|jwk| IssuerKey::of(&jwk))
            .collect();
        if keys.is_empty() {
            return Err("the key set has no RSA, P-256 or P-384 key for signatures".to_owned());
        }
        Ok(Self(keys))
    }

    /// The claims of a token that one of these keys has signed by one of `accepted`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(
        &self,
        token: &str,
        accepted: &[SigningAlgorithm],
    ) -> Result<Map<String, Value>, TokenError> {
        let header =
            jsonwebtoken::decode_header(token).map_err(|e| refused(format!("its header: {e}")))?;
        let algorithm = accepted.iter().find(|a| a.0 == header.alg).ok_or_else(|| {
            refused(format!(
                "it is signed by {:?}, which is not accepted",
                header.alg
            ))
        })?;
        let ty = key_type(algorithm.0);
        let name = format!("{:?}", algorithm.0);
        let mut validation = Validation::new(algorithm.0);
        // Claims are judged by `check_times` and by the caller, against a clock of the caller's.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        for key in &self.0 {
            let fits = Some(key.ty) == ty
                && key.algorithm.as_ref().is_none_or(|own| *own == name)
                && (header.kid.is_none() || header.kid == key.id);
            if !fits {
                continue;
            }
            if let Ok(data) =
                jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation)
            {
                return Ok(data.claims);
            }
        }
        Err(TokenError::UnknownKey)
    }
}

/// The `iss` claim of a token that is not verified: whose keys could verify it.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Issuer = serde_json::from_slice(&payload).ok()?;
    Some(claims.iss)
}

/// Whether a token with these claims is valid at `now` (seconds since the epoch), with `leeway` seconds for
/// clocks that differ. `exp` is required; `nbf` and `iat` count when they are there.
///
/// # Errors
/// Says which claim refuses it.
pub fn check_times(claims: &Map<String, Value>, now: i64, leeway: i64) -> Result<(), TokenError> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            // JWT times may have fractions (RFC 7519, 2); beyond 2^53 they are nonsense.
            #[allow(clippy::cast_possible_truncation, reason = "bounded just before")]
            Some(seconds) if (0.0..9e15).contains(&seconds) => Ok(Some(seconds as i64)),
            _ => Err(refused(format!("its claim {name} is no time"))),
        },
    };
    let expires = time("exp")?.ok_or_else(|| refused("it has no claim exp"))?;
    if now >= expires.saturating_add(leeway) {
        return Err(refused(format!("it expired at {expires}")));
    }
    for name in ["nbf", "iat"] {
        if let Some(from) = time(name)?
            && from > now.saturating_add(leeway)
        {
            return Err(refused(format!("it is not valid before {from} ({name})")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::{KeyPair, PublicKeyData as _};
    use serde_json::json;

    use super::*;

    const ES256: &[SigningAlgorithm] = &[SigningAlgorithm(Algorithm::ES256)];

    struct Issuer {
        pair: KeyPair,
        kid: &'static str,
    }

    impl Issuer {
        fn new(kid: &'static str) -> Self {
            let pair = KeyPair::generate().unwrap();
            Self { pair, kid }
        }

        fn jwk(&self) -> Value {
            let point = self.pair.der_bytes();
            json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig",
                "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
        }

        fn token(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some(self.kid.to_owned());
            let key = EncodingKey::from_ec_der(self.pair.serialized_der());
            jsonwebtoken::encode(&header, claims, &key).unwrap()
        }
    }

    fn keys(list: &[Value]) -> IssuerKeys {
        IssuerKeys::parse(&serde_json::to_vec(&json!({"keys": list})).unwrap()).unwrap()
    }

    #[test]
    fn claims_are_those_of_a_signed_token() {
        let issuer = Issuer::new("a");
        let token = issuer.token(&json!({"iss": "https://i", "sub": "joe"}));
        let known = keys(&[issuer.jwk()]);
        assert_eq!(known.verify(&token, ES256).unwrap()["sub"], "joe");
        assert_eq!(unverified_issuer(&token).as_deref(), Some("https://i"));
        // The key of another issuer with the same id, and another id.
        for other in [Issuer::new("a"), Issuer::new("b")] {
            let other = keys(&[other.jwk()]);
            assert_eq!(other.verify(&token, ES256), Err(TokenError::UnknownKey));
        }
    }

    #[test]
    fn algorithms_cannot_be_confused() {
        let issuer = Issuer::new("a");
        let token = issuer.token(&json!({"sub": "joe"}));
        let known = keys(&[issuer.jwk()]);
        let rs256 = [SigningAlgorithm::named("RS256").unwrap()];
        assert!(matches!(
            known.verify(&token, &rs256),
            Err(TokenError::Refused(_))
        ));
        let payload = token.split('.').nth(1).unwrap();
        let forged = |header: Value, signature: &str| {
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            format!("{header}.{payload}.{signature}")
        };
        // No signature, under several spellings.
        for none in ["none", "None", "NONE", ""] {
            let token = forged(json!({"alg": none, "kid": "a"}), "");
            assert!(
                matches!(known.verify(&token, ES256), Err(TokenError::Refused(_))),
                "{none}"
            );
        }
        // The public key used as a shared secret.
        let secret = EncodingKey::from_secret(issuer.pair.der_bytes());
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("a".to_owned());
        let token = jsonwebtoken::encode(&header, &json!({"sub": "root"}), &secret).unwrap();
        assert!(matches!(
            known.verify(&token, ES256),
            Err(TokenError::Refused(_))
        ));
        // An accepted algorithm whose keys the issuer does not have.
        let token = forged(json!({"alg": "RS256", "kid": "a"}), "AAAA");
        assert_eq!(known.verify(&token, &rs256), Err(TokenError::UnknownKey));
        for name in ["HS256", "none", "EdDSA", "ES512", "es256"] {
            assert_eq!(SigningAlgorithm::named(name), None);
        }
    }

    #[test]
    fn key_sets_are_bounded_and_read_as_far_as_they_are_known() {
        let issuer = Issuer::new("a");
        let known = keys(&[
            json!({"kty": "OKP", "crv": "X25519"}),
            json!("nonsense"),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            issuer.jwk(),
        ]);
        assert!(known.verify(&issuer.token(&json!({})), ES256).is_ok());
        let mut for_encryption = issuer.jwk();
        for_encryption["use"] = json!("enc");
        for (set, why) in [
            (json!({"keys": [for_encryption]}), "no RSA"),
            (json!({"keys": []}), "no RSA"),
            (json!({"keys": vec![issuer.jwk(); 101]}), "at most 100"),
            (json!([]), "no key set"),
        ] {
            let error = IssuerKeys::parse(set.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn times_are_kept_with_little_leeway() {
        let check = |claims: Value| check_times(claims.as_object().unwrap(), 1000, 30);
        assert!(check(json!({"exp": 1001, "nbf": 1000, "iat": 1000.5})).is_ok());
        assert!(check(json!({"exp": 971})).is_ok());
        assert!(
            check(json!({"exp": 970}))
                .unwrap_err()
                .to_string()
                .contains("expired")
        );
        assert!(check(json!({"exp": 2000, "nbf": 1030})).is_ok());
        for wrong in [
            json!({"exp": 2000, "nbf": 1031}),
            json!({"exp": 2000, "iat": 1031}),
            json!({"exp": "2000"}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({}),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
