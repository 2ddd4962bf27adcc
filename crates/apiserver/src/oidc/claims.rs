//! From verified claims to a user.

use ::authz::User;
use serde_json::{Map, Value};

use super::Issuer;

/// Most groups of one user.
const MAX_GROUPS: usize = 10_000;

/// Judges the claims that concern the bearer, and names them.
pub(super) fn user(issuer: &Issuer, claims: &Map<String, Value>) -> Result<User, String> {
    if claims.get("iss").and_then(Value::as_str) != Some(&issuer.url) {
        return Err("it is of another issuer".to_owned());
    }
    let audiences = strings(claims, "aud")?.unwrap_or_default();
    if !audiences.iter().any(|a| issuer.audiences.contains(a)) {
        return Err(format!(
            "it is for {audiences:?}, not for {:?}",
            issuer.audiences
        ));
    }
    for (claim, wanted) in &issuer.required {
        match claims.get(claim) {
            Some(Value::String(value)) if value == wanted => {}
            Some(other) => {
                return Err(format!("its claim {claim} is {other}, not {wanted:?}"));
            }
            None => return Err(format!("it has no claim {claim}")),
        }
    }
    let mapping = &issuer.username;
    if mapping.claim == "email"
        && claims
            .get("email_verified")
            .is_some_and(|verified| verified != &Value::Bool(true))
    {
        return Err("its email is not verified".to_owned());
    }
    let name = match claims.get(&mapping.claim) {
        Some(Value::String(name)) if !name.is_empty() => format!("{}{name}", mapping.prefix),
        _ => return Err(format!("its claim {} names nobody", mapping.claim)),
    };
    let groups = match &issuer.groups {
        None => Vec::new(),
        Some(mapping) => {
            let groups = strings(claims, &mapping.claim)?.unwrap_or_default();
            if groups.len() > MAX_GROUPS {
                return Err(format!("it names {} groups", groups.len()));
            }
            groups
                .iter()
                .map(|group| format!("{}{group}", mapping.prefix))
                .collect()
        }
    };
    let uid = match &issuer.uid {
        None => String::new(),
        Some(claim) => match claims.get(claim) {
            Some(Value::String(uid)) => uid.clone(),
            _ => return Err(format!("its claim {claim} is no uid")),
        },
    };
    Ok(User {
        name,
        uid,
        groups,
        ..User::default()
    })
}

/// A claim that is one string or a list of strings.
fn strings(claims: &Map<String, Value>, claim: &str) -> Result<Option<Vec<String>>, String> {
    let wrong = || format!("its claim {claim} is neither a string nor a list of strings");
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ClaimMapping;
    use super::*;

    fn issuer(claim: &str) -> Issuer {
        Issuer {
            url: "https://i".to_owned(),
            discovery_url: None,
            ca: None,
            audiences: vec!["a".to_owned(), "b".to_owned()],
            algorithms: Vec::new(),
            username: ClaimMapping::username("https://i", claim, None),
            groups: Some(ClaimMapping {
                claim: "roles".to_owned(),
                prefix: "oidc:".to_owned(),
            }),
            uid: None,
            required: vec![("hd".to_owned(), "example.com".to_owned())],
            pause: Issuer::PAUSE,
        }
    }

    fn claims(change: &Value) -> Map<String, Value> {
        let mut claims = json!({"iss": "https://i", "aud": "b", "sub": "joe", "hd": "example.com"});
        for (key, value) in change.as_object().unwrap() {
            claims[key] = value.clone();
        }
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn claims_name_the_bearer() {
        let is = |claim: &str, change: Value| user(&issuer(claim), &claims(&change)).unwrap();
        let joe = is("sub", json!({"roles": ["a", "b"], "aud": ["x", "a"]}));
        assert_eq!(joe.name, "https://i#joe");
        assert_eq!(joe.groups, ["oidc:a", "oidc:b"]);
        assert_eq!(is("sub", json!({"roles": "one"})).groups, ["oidc:one"]);
        let email = is("email", json!({"email": "joe@example.com"}));
        assert_eq!(email.name, "joe@example.com");
        is(
            "email",
            json!({"email": "joe@example.com", "email_verified": true}),
        );
    }

    #[test]
    fn claims_that_do_not_fit_refuse() {
        for (claim, change) in [
            ("sub", json!({"iss": "https://j"})),
            ("sub", json!({"aud": "c"})),
            ("sub", json!({"aud": 7})),
            ("sub", json!({"aud": null})),
            ("sub", json!({"hd": "example.org"})),
            ("sub", json!({"hd": true})),
            ("sub", json!({"sub": ""})),
            ("sub", json!({"sub": ["joe"]})),
            ("sub", json!({"roles": [1]})),
            ("name", json!({})),
            ("email", json!({"email": "a@b", "email_verified": false})),
            ("email", json!({"email": "a@b", "email_verified": "true"})),
        ] {
            assert!(user(&issuer(claim), &claims(&change)).is_err(), "{change}");
        }
    }
}
