//! What the client wants to read: `Accept` with quality, format and view.
//!
//! A view (`as=Table`, `as=PartialObjectMetadata[List]`, `as=APIGroupDiscoveryList`) is a parameter of a
//! media type. A clause that cannot be served is passed over; if none can, the answer is 406. Protobuf is not
//! spoken: clients that prefer it list JSON behind it.

use apimachinery::status::ApiError;
use http::HeaderMap;

/// Serializations of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Yaml,
}

/// Forms of an object or list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Object,
    /// meta.k8s.io Table; the version is echoed.
    Table { beta: bool },
    /// Metadata alone, of one object or of a list.
    Partial { beta: bool, list: bool },
    /// Aggregated discovery.
    Discovery,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accept {
    pub format: Format,
    pub view: View,
    /// JSON with indentation (`?pretty=true`).
    pub pretty: bool,
    pub gzip: bool,
}

impl Accept {
    /// Reads `Accept` and `Accept-Encoding`.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let gzip = headers
            .get(http::header::ACCEPT_ENCODING)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| {
                v.split(',')
                    .any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip"))
            });
        let text: Vec<&str> = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let text = text.join(",");
        if text.trim().is_empty() {
            return Ok(Accept {
                gzip,
                ..Accept::default()
            });
        }
        let mut clauses: Vec<(f32, u8, Accept)> = text.split(',').filter_map(clause).collect();
        // Stable: clauses of equal quality keep the client's order, but what it names comes before "anything".
        clauses.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        match clauses.first() {
            Some((_, _, accept)) => Ok(Accept { gzip, ..*accept }),
            None => Err(ApiError::not_acceptable(&[
                "application/json",
                "application/yaml",
            ])),
        }
    }
}

/// The quality of a clause, how much it leaves open, and what it asks for.
fn clause(text: &str) -> Option<(f32, u8, Accept)> {
    let mut parts = text.split(';').map(str::trim);
    let (format, open) = match parts.next()? {
        "application/json" => (Format::Json, 0),
        "application/yaml" => (Format::Yaml, 0),
        "application/*" => (Format::Json, 1),
        "*/*" => (Format::Json, 2),
        _ => return None,
    };
    let (mut quality, mut as_, mut group, mut version) = (1.0_f32, "", "", "");
    for parameter in parts {
        let (key, value) = parameter.split_once('=')?;
        match key.trim() {
            "q" => quality = value.trim().parse().ok()?,
            "as" => as_ = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            "stream" if value.trim() != "watch" => return None,
            _ => {}
        }
    }
    let beta = version == "v1beta1";
    let view = match (as_, group, version) {
        ("", _, _) => View::Object,
        ("Table", "meta.k8s.io", "v1" | "v1beta1") => View::Table { beta },
        (
            "PartialObjectMetadata" | "PartialObjectMetadataList",
            "meta.k8s.io",
            "v1" | "v1beta1",
        ) => View::Partial {
            beta,
            list: as_ == "PartialObjectMetadataList",
        },
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => View::Discovery,
        _ => return None,
    };
    (quality > 0.0).then_some((
        quality,
        open,
        Accept {
            format,
            view,
            ..Accept::default()
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(text: &str) -> Result<Accept, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_str(text).unwrap());
        Accept::parse(&headers)
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,application/json")
                .unwrap()
                .format,
            Format::Json
        );
        assert_eq!(
            accept("application/json;q=0.5,application/yaml;q=0.9")
                .unwrap()
                .format,
            Format::Yaml
        );
        assert_eq!(
            accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
                .unwrap()
                .view,
            View::Table { beta: false }
        );
        assert_eq!(accept("*/*").unwrap().view, View::Object);
        assert_eq!(
            accept("*/*, application/*, application/yaml")
                .unwrap()
                .format,
            Format::Yaml
        );
        accept("text/csv").unwrap_err();
        accept("application/vnd.kubernetes.protobuf").unwrap_err();
        accept("application/json;as=Nothing;v=v1;g=meta.k8s.io").unwrap_err();
    }
}
