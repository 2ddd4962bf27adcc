//! Custom resources between the versions of their CRD, by its conversion webhook (apiextensions.k8s.io/v1).
//!
//! ```text
//! codec ─► objects of other versions ─► not in the cache ─► chunks ─► ConversionReview ─► webhook (HTTPS) ─► checks ─► metadata restored
//! ```
//! # Invariants
//!
//! * The webhook is asked only about objects that are in another version than the one wanted.
//! * What it answers is an object of the wanted version and the same kind, name, namespace and uid. Of metadata it
//!   may change labels and annotations; all else is put back as it was.
//! * A call, its chunk and its answer are bounded, and so is the time of all calls of one conversion.

mod cache;
mod review;
mod versions;

use std::sync::Arc;

use apimachinery::status::{ApiError, Reason};
use base64::Engine as _;
use serde_json::Value;

use crate::admission::{ClientError, Endpoint};
use crate::limits;
use crate::registry::Registry;

pub(crate) use cache::{Cache, Claim, Flight, Key, Pending, outcome};
pub(crate) use versions::with_versions;

/// How objects of a CRD are converted.
#[derive(Debug)]
pub(crate) struct Conversion {
    endpoint: Endpoint,
    /// PEM; empty for the system's roots.
    ca: Vec<u8>,
    /// The version of ConversionReview that the webhook understands and we do.
    review: Option<&'static str>,
    /// Objects that were read in another version.
    pub cache: Arc<Cache>,
}

/// Versions of ConversionReview that are spoken.
pub(crate) const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

impl Conversion {
    /// Reads `spec.conversion`; `None` when versions differ in their name only.
    pub(crate) fn parse(crd: &Value) -> Option<Self> {
        let spec = crd.pointer("/spec/conversion")?;
        if spec.get("strategy")? != "Webhook" {
            return None;
        }
        let text = |pointer: &str| {
            let value = spec.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        let asked = spec.pointer("/webhook/conversionReviewVersions");
        let asked = asked.and_then(Value::as_array);
        let known = |version: &Value| REVIEWS.into_iter().find(|known| version == known);
        Some(Conversion {
            endpoint: Endpoint::of(spec.get("webhook").unwrap_or(&Value::Null)),
            ca: base64::engine::general_purpose::STANDARD
                .decode(text("/webhook/clientConfig/caBundle"))
                .unwrap_or_default(),
            review: asked.into_iter().flatten().find_map(known),
            cache: Arc::new(Cache::default()),
        })
    }
}

/// Converts objects of one kind, all of which are in other versions, to `api_version`. They keep their order.
pub(crate) async fn convert(
    registry: &Registry,
    conversion: &Conversion,
    objects: Vec<Value>,
    api_version: &str,
) -> Result<Vec<Value>, ApiError> {
    let all = async {
        let mut converted = Vec::with_capacity(objects.len());
        for chunk in review::chunks(objects) {
            let from = chunk.kind();
            let answer = call(registry, conversion, &chunk, api_version).await;
            match answer.and_then(|answer| chunk.accept(answer, api_version)) {
                Ok(objects) => converted.extend(objects),
                // As upstream words it; there is no reason that fits.
                Err(why) => return Err(failure(format!("conversion webhook for {from} {why}"))),
            }
        }
        Ok(converted)
    };
    match tokio::time::timeout(limits::CONVERSION_TIME, all).await {
        Ok(result) => result,
        Err(_) => Err(failure(format!(
            "the conversion webhook took more than {} s to convert the objects of this request",
            limits::CONVERSION_TIME.as_secs()
        ))),
    }
}

fn failure(message: String) -> ApiError {
    ApiError::new(Reason::Unknown, message, None).with_code(500)
}

/// Asks the webhook; the error goes on after "conversion webhook for KIND".
async fn call(
    registry: &Registry,
    conversion: &Conversion,
    chunk: &review::Chunk,
    api_version: &str,
) -> Result<Vec<Value>, String> {
    let review = conversion
        .review
        .ok_or("failed: no supported conversion review versions")?;
    let (uid, body) = chunk.request(review, api_version);
    let answer = registry
        .webhooks
        .client()
        .post_to(
            registry,
            &conversion.endpoint,
            &conversion.ca,
            limits::CONVERSION_CALL,
            body,
        )
        .await
        .map_err(|e: ClientError| format!("failed: {e}"))?;
    review::answer(&answer, &uid, review).map_err(|e| format!("failed: {e}"))
}
