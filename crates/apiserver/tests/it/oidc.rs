//! Tokens of an OpenID Connect issuer: a small one on loopback, with a CA of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ferrovirt_apiserver::{ApiServer, ClaimMapping, Issuer, RequestBody};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::harness::Server;
use crate::https::Https;

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec() -> Self {
        Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Signer::Rsa(pair) => {
                let key = pair.public_key();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
                    "n": text(key.modulus().big_endian_without_leading_zero()),
                    "e": text(key.exponent().big_endian_without_leading_zero())})
            }
            Signer::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "kid": kid, "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])})
            }
        }
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let alg = match self {
            Signer::Rsa(_) => "RS256",
            Signer::Ec(_) => "ES256",
        };
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid}).to_string());
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match self {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    message.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Signer::Ec(pair) => pair
                .sign(&random, message.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What the identity provider publishes, and how often it was asked.
#[derive(Default)]
struct Published {
    discovery: Mutex<Value>,
    jwks: Mutex<Vec<u8>>,
    fetches: AtomicUsize,
}

/// An identity provider.
struct Provider {
    url: String,
    ca: Vec<u8>,
    published: Arc<Published>,
    _server: Https,
}

impl Provider {
    async fn start() -> Self {
        let published = Arc::new(Published::default());
        let state = Arc::clone(&published);
        let server = Https::start(&["localhost"], move |request| answer(&state, &request)).await;
        let url = format!("https://localhost:{}/realm", server.port);
        *published.discovery.lock().unwrap() =
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        Provider {
            url,
            ca: server.ca.as_bytes().to_vec(),
            published,
            _server: server,
        }
    }

    fn publish(&self, keys: &[Value]) {
        *self.published.jwks.lock().unwrap() = json!({"keys": keys}).to_string().into_bytes();
    }

    fn fetches(&self) -> usize {
        self.published.fetches.load(Ordering::SeqCst)
    }

    fn issuer(&self) -> Issuer {
        Issuer {
            url: self.url.clone(),
            discovery_url: None,
            ca: Some(self.ca.clone()),
            audiences: vec!["ferrovirt".to_owned()],
            algorithms: vec!["RS256".to_owned(), "ES256".to_owned()],
            username: ClaimMapping::username(&self.url, "sub", None),
            groups: Some(ClaimMapping {
                claim: "groups".to_owned(),
                prefix: "idp:".to_owned(),
            }),
            uid: None,
            required: Vec::new(),
            pause: Duration::ZERO,
        }
    }

    fn claims(&self, change: &Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({"iss": self.url, "aud": "ferrovirt", "sub": "joe", "groups": ["ops"],
            "iat": now, "nbf": now, "exp": now + 600});
        for (key, value) in change.as_object().unwrap() {
            claims[key] = value.clone();
        }
        claims
    }
}

fn answer(
    state: &Published,
    request: &Request<hyper::body::Incoming>,
) -> http::Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/realm/.well-known/openid-configuration" => {
            state.discovery.lock().unwrap().to_string().into_bytes()
        }
        "/realm/keys" => {
            state.fetches.fetch_add(1, Ordering::SeqCst);
            state.jwks.lock().unwrap().clone()
        }
        "/realm/elsewhere" => {
            let response = http::Response::builder().status(StatusCode::FOUND);
            let response = response.header(header::LOCATION, "/realm/keys");
            return response.body(Full::default()).unwrap();
        }
        _ => {
            let response = http::Response::builder().status(StatusCode::NOT_FOUND);
            return response.body(Full::default()).unwrap();
        }
    };
    http::Response::new(Full::new(body.into()))
}

async fn server(issuer: Issuer) -> Server {
    Server::with(|config| config.oidc_issuers = vec![issuer]).await
}

/// Status and body of a request with a token.
async fn ask(api: &ApiServer, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let body: RequestBody = Full::new(Bytes::from(body.to_string()))
        .map_err(|e| match e {})
        .boxed_unsync();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap();
    let response = api.handle(request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Who the server takes the bearer for; `None` is nobody.
async fn who(server: &Server, token: &str) -> Option<Value> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    match ask(&server.api, "POST", path, token, &review).await {
        (201, review) => Some(review["status"]["userInfo"].clone()),
        (401, _) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bearers_are_known_by_their_claims() {
    let provider = Provider::start().await;
    let (rsa, ec) = (Signer::rsa(), Signer::ec());
    provider.publish(&[rsa.jwk("r1"), ec.jwk("e1")]);
    let server = server(provider.issuer()).await;
    // Nothing is fetched before it is needed.
    assert_eq!(provider.fetches(), 0);
    let token = rsa.token("r1", &provider.claims(&json!({})));
    let joe = who(&server, &token).await.unwrap();
    assert_eq!(joe["username"], format!("{}#joe", provider.url));
    assert_eq!(joe["groups"], json!(["idp:ops", "system:authenticated"]));
    let token = ec.token("e1", &provider.claims(&json!({"sub": "ann"})));
    assert_eq!(
        who(&server, &token).await.unwrap()["username"],
        format!("{}#ann", provider.url)
    );
    assert_eq!(provider.fetches(), 1);

    // The group has rights by RBAC, with kubectl.
    server
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "ops",
            "--clusterrole=view",
            "--group=idp:ops",
        ])
        .await;
    server.write_kubeconfig("joe", &format!("token: {token}"));
    let output = server.run("joe", &["get", "cm"], "").await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // Others may ask whose token it is.
    let review = |audiences: Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}})
    };
    let client = server.client();
    for (audiences, known) in [
        (json!([]), true),
        (
            json!(["https://kubernetes.default.svc.cluster.local"]),
            true,
        ),
        (json!(["ferrovirt"]), false),
    ] {
        let request = Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
            .header(header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&review(audiences.clone())).unwrap())
            .unwrap();
        let answer: Value = client.request(request).await.unwrap();
        assert_eq!(
            answer["status"]["authenticated"] == true,
            known,
            "{audiences}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_hold_are_refused() {
    let provider = Provider::start().await;
    let (rsa, stranger) = (Signer::rsa(), Signer::rsa());
    provider.publish(&[rsa.jwk("r1")]);
    let server = server(provider.issuer()).await;
    let now = jiff::Timestamp::now().as_second();
    let good = rsa.token("r1", &provider.claims(&json!({})));
    assert!(who(&server, &good).await.is_some());
    for change in [
        json!({"aud": "another"}),
        json!({"exp": now - 600}),
        json!({"exp": null}),
        json!({"nbf": now + 600}),
        json!({"iss": format!("{}/", provider.url)}),
        json!({"sub": ""}),
        json!({"groups": {"a": 1}}),
    ] {
        let token = rsa.token("r1", &provider.claims(&change));
        assert!(who(&server, &token).await.is_none(), "{change}");
    }
    // A signature of somebody else, under the same name; a cut one; none at all.
    let forged = stranger.token("r1", &provider.claims(&json!({})));
    assert!(who(&server, &forged).await.is_none());
    assert!(who(&server, &good[..good.len() - 4]).await.is_none());
    let claims = good.split('.').nth(1).unwrap();
    for alg in ["none", "HS256", "RS512"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "r1"}).to_string());
        assert!(
            who(&server, &format!("{header}.{claims}.")).await.is_none(),
            "{alg}"
        );
    }
    let long = "x".repeat(20_000);
    let long = rsa.token("r1", &provider.claims(&json!({"long": long})));
    assert!(who(&server, &long).await.is_none());
    assert!(who(&server, &good).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_outlive_their_issuer() {
    let provider = Provider::start().await;
    let (old, new) = (Signer::rsa(), Signer::ec());
    provider.publish(&[old.jwk("old")]);
    let server = server(provider.issuer()).await;
    let old_token = old.token("old", &provider.claims(&json!({})));
    let new_token = new.token("new", &provider.claims(&json!({})));
    assert!(who(&server, &old_token).await.is_some());
    assert!(who(&server, &new_token).await.is_none());
    provider.publish(&[new.jwk("new")]);
    assert!(who(&server, &new_token).await.is_some());
    // The withdrawn key went with the fetch.
    assert!(who(&server, &old_token).await.is_none());
    // Without the issuer, what is known stays known.
    let stranger = Signer::ec().token("other", &provider.claims(&json!({})));
    drop(provider);
    assert!(who(&server, &new_token).await.is_some());
    assert!(who(&server, &stranger).await.is_none());
}

/// However many tokens name unknown keys, the issuer is asked once in a while.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_do_not_make_a_flood() {
    let provider = Provider::start().await;
    let known = Signer::ec();
    provider.publish(&[known.jwk("known")]);
    let server = server(Issuer {
        pause: Duration::from_secs(3600),
        ..provider.issuer()
    })
    .await;
    let stranger = Signer::ec();
    let asked = (0..50).map(|i| {
        let token = stranger.token(&format!("k{i}"), &provider.claims(&json!({})));
        let server = &server;
        async move { who(server, &token).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Option::is_none));
    assert_eq!(provider.fetches(), 1);
    let token = known.token("known", &provider.claims(&json!({})));
    assert!(who(&server, &token).await.is_some());
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_cannot_be_trusted_are_not() {
    let provider = Provider::start().await;
    let signer = Signer::ec();
    let token = signer.token("k", &provider.claims(&json!({})));
    let server = server(provider.issuer()).await;
    let refused = async || who(&server, &token).await.is_none();
    // An answer without end, in effect.
    *provider.published.jwks.lock().unwrap() = vec![b' '; 4 * 1024 * 1024];
    assert!(refused().await);
    provider.publish(&vec![signer.jwk("k"); 1000]);
    assert!(refused().await);
    provider.publish(&[signer.jwk("k")]);
    for (key, value) in [
        ("issuer", json!("https://other.example.com")),
        ("jwks_uri", json!("http://localhost/keys")),
        ("jwks_uri", json!(format!("{}/elsewhere", provider.url))),
    ] {
        let before = provider.published.discovery.lock().unwrap().clone();
        provider.published.discovery.lock().unwrap()[key] = value.clone();
        assert!(refused().await, "{key} {value}");
        *provider.published.discovery.lock().unwrap() = before;
    }
    assert!(!refused().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_known_by_its_certificate() {
    let provider = Provider::start().await;
    let other = Provider::start().await;
    let signer = Signer::ec();
    provider.publish(&[signer.jwk("k")]);
    let server = server(Issuer {
        ca: Some(other.ca.clone()),
        ..provider.issuer()
    })
    .await;
    let token = signer.token("k", &provider.claims(&json!({})));
    assert!(who(&server, &token).await.is_none());
    assert_eq!(provider.fetches(), 0);
    // Who brings no such token does not notice.
    server.kubectl(&["get", "cm"]).await;
}
