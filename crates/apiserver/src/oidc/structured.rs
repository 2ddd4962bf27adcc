//! Reading an `AuthenticationConfiguration` (`apiserver.config.k8s.io`): issuers, and claims mapped by name.
//!
//! What is evaluated by expressions (CEL), and other answers for anonymous callers, is refused by name.

use serde::Deserialize;
use serde_json::Value;

use super::{ClaimMapping, Issuer};

/// Largest file.
const MAX_FILE: usize = 1024 * 1024;
/// Most issuers, as upstream.
const MAX_ISSUERS: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<Jwt>,
    anonymous: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    issuer: IssuerOf,
    claim_mappings: Mappings,
    #[serde(default)]
    claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    user_validation_rules: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerOf {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    certificate_authority: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
    audience_match_policy: Option<String>,
    egress_selector_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mappings {
    username: Mapping,
    groups: Option<Mapping>,
    uid: Option<Mapping>,
    #[serde(default)]
    extra: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mapping {
    claim: Option<String>,
    prefix: Option<String>,
    expression: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClaimRule {
    claim: Option<String>,
    #[serde(default)]
    required_value: String,
    expression: Option<String>,
    #[allow(dead_code, reason = "part of the format; used with expressions only")]
    message: Option<String>,
}

/// Every algorithm is accepted that upstream accepts here and that can be verified.
const ALGORITHMS: [&str; 8] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
];

/// Reads the text of a file, YAML or JSON.
///
/// # Errors
/// Names the field that cannot be used.
pub fn parse_authentication_config(text: &str) -> Result<Vec<Issuer>, String> {
    if text.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if file.kind != "AuthenticationConfiguration"
        || !matches!(
            file.api_version.as_str(),
            "apiserver.config.k8s.io/v1" | "apiserver.config.k8s.io/v1beta1"
        )
    {
        return Err(format!(
            "it is a {:?} of {:?}, not an AuthenticationConfiguration of apiserver.config.k8s.io/v1",
            file.kind, file.api_version
        ));
    }
    if file.anonymous.is_some() {
        return Err("anonymous: not supported".to_owned());
    }
    if file.jwt.len() > MAX_ISSUERS {
        return Err(format!("jwt: at most {MAX_ISSUERS} issuers"));
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for (index, jwt) in file.jwt.into_iter().enumerate() {
        let issuer = issuer(jwt).map_err(|why| format!("jwt[{index}].{why}"))?;
        if issuers.iter().any(|other| other.url == issuer.url) {
            return Err(format!(
                "jwt[{index}].issuer.url: {:?} is there twice",
                issuer.url
            ));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn issuer(jwt: Jwt) -> Result<Issuer, String> {
    let of = jwt.issuer;
    match (of.audiences.len(), of.audience_match_policy.as_deref()) {
        (0, _) => return Err("issuer.audiences: at least one is required".to_owned()),
        (1, None | Some("" | "MatchAny")) | (_, Some("MatchAny")) => {}
        (_, None | Some("")) => {
            return Err(
                "issuer.audienceMatchPolicy: must be MatchAny for multiple audiences".to_owned(),
            );
        }
        (_, Some(other)) => {
            return Err(format!(
                "issuer.audienceMatchPolicy: {other:?} is not supported"
            ));
        }
    }
    if of.egress_selector_type.is_some_and(|t| !t.is_empty()) {
        return Err("issuer.egressSelectorType: not supported".to_owned());
    }
    if !jwt.user_validation_rules.is_empty() {
        return Err("userValidationRules: expressions are not supported".to_owned());
    }
    if !jwt.claim_mappings.extra.is_empty() {
        return Err("claimMappings.extra: expressions are not supported".to_owned());
    }
    let mut required = Vec::new();
    for (index, rule) in jwt.claim_validation_rules.into_iter().enumerate() {
        let at = format!("claimValidationRules[{index}]");
        match (rule.claim, rule.expression) {
            (Some(claim), None) if !claim.is_empty() => required.push((claim, rule.required_value)),
            (None, Some(_)) => return Err(format!("{at}.expression: not supported")),
            _ => return Err(format!("{at}.claim: required")),
        }
    }
    let mappings = jwt.claim_mappings;
    Ok(Issuer {
        username: mapping(mappings.username, "username")?
            .ok_or("claimMappings.username.claim: required")?,
        groups: mappings
            .groups
            .map_or(Ok(None), |groups| mapping(groups, "groups"))?,
        uid: match mappings.uid {
            None => None,
            Some(Mapping {
                claim,
                prefix: None,
                expression: None,
            }) => claim,
            Some(_) => return Err("claimMappings.uid: only `claim` is supported".to_owned()),
        },
        url: of.url,
        discovery_url: of.discovery_url.filter(|url| !url.is_empty()),
        ca: of
            .certificate_authority
            .filter(|pem| !pem.is_empty())
            .map(String::into_bytes),
        audiences: of.audiences,
        algorithms: ALGORITHMS.map(str::to_owned).to_vec(),
        required,
        pause: Issuer::PAUSE,
    })
}

fn mapping(mapping: Mapping, name: &str) -> Result<Option<ClaimMapping>, String> {
    let at = format!("claimMappings.{name}");
    match mapping {
        Mapping {
            expression: Some(_),
            ..
        } => Err(format!(
            "{at}.expression: not supported; use claim and prefix"
        )),
        Mapping {
            claim: Some(claim),
            prefix: Some(prefix),
            ..
        } if !claim.is_empty() => Ok(Some(ClaimMapping { claim, prefix })),
        Mapping { claim: Some(_), .. } => {
            Err(format!("{at}.prefix: required with claim; \"\" is none"))
        }
        Mapping {
            prefix: Some(_), ..
        } => Err(format!("{at}.claim: required with prefix")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(jwt: &str) -> Result<Vec<Issuer>, String> {
        parse_authentication_config(&format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n{jwt}"
        ))
    }

    const ISSUER: &str = "issuer: {url: 'https://i', audiences: [a]}";
    const USERNAME: &str = "username: {claim: sub, prefix: 'i:'}";

    #[test]
    fn issuers_are_read_from_a_file() {
        let issuers = config(&format!(
            "- {ISSUER}\n  claimMappings: {{{USERNAME}, groups: {{claim: roles, prefix: ''}}, uid: {{claim: id}}}}\n  claimValidationRules: [{{claim: hd, requiredValue: x}}]\n- issuer: {{url: 'https://j', audiences: [a, b], audienceMatchPolicy: MatchAny, discoveryURL: 'https://k/d'}}\n  claimMappings: {{{USERNAME}}}\n"
        ))
        .unwrap();
        assert_eq!(issuers[0].username.prefix, "i:");
        assert_eq!(issuers[0].groups.as_ref().unwrap().claim, "roles");
        assert_eq!(issuers[0].uid.as_deref(), Some("id"));
        assert_eq!(issuers[0].required, [("hd".to_owned(), "x".to_owned())]);
        assert_eq!(issuers[1].audiences.len(), 2);
        assert_eq!(issuers[1].discovery_url.as_deref(), Some("https://k/d"));
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (jwt, why) in [
            (
                format!("- {ISSUER}\n  claimMappings: {{username: {{expression: 'claims.sub'}}}}"),
                "username.expression",
            ),
            (
                format!("- {ISSUER}\n  claimMappings: {{username: {{claim: sub}}}}"),
                "username.prefix",
            ),
            (
                format!("- {ISSUER}\n  claimMappings: {{username: {{}}}}"),
                "username.claim",
            ),
            (
                format!(
                    "- {ISSUER}\n  claimMappings: {{{USERNAME}}}\n  userValidationRules: [{{expression: 'true'}}]"
                ),
                "userValidationRules",
            ),
            (
                format!(
                    "- {ISSUER}\n  claimMappings: {{{USERNAME}, extra: [{{key: a/b, valueExpression: '1'}}]}}"
                ),
                "extra",
            ),
            (
                format!(
                    "- {ISSUER}\n  claimMappings: {{{USERNAME}}}\n  claimValidationRules: [{{expression: 'true'}}]"
                ),
                "claimValidationRules[0].expression",
            ),
            (
                format!(
                    "- issuer: {{url: 'https://i', audiences: []}}\n  claimMappings: {{{USERNAME}}}"
                ),
                "audiences",
            ),
            (
                format!(
                    "- issuer: {{url: 'https://i', audiences: [a, b]}}\n  claimMappings: {{{USERNAME}}}"
                ),
                "MatchAny",
            ),
            (
                format!(
                    "- {ISSUER}\n  claimMappings: {{{USERNAME}}}\n- {ISSUER}\n  claimMappings: {{{USERNAME}}}"
                ),
                "twice",
            ),
            (
                format!(
                    "- {ISSUER}\n  claimMappings: {{{USERNAME}}}\nanonymous: {{enabled: true}}"
                ),
                "anonymous",
            ),
            (
                format!("- {ISSUER}\n  surprise: 1\n  claimMappings: {{{USERNAME}}}"),
                "surprise",
            ),
        ] {
            let error = config(&jwt).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert!(parse_authentication_config("kind: Pod\napiVersion: v1").is_err());
    }
}
