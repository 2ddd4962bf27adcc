//! Impersonation: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`, each allowed by the verb `impersonate`.

use std::collections::BTreeMap;

use ::authz::{Attributes, User};
use apimachinery::status::ApiError;
use http::HeaderMap;

use crate::authn::authenticated;
use crate::authz::Authorizer;

/// The user that the request acts as; the caller when it does not impersonate.
pub(super) fn impersonate(
    authorizer: &Authorizer,
    user: User,
    headers: &HeaderMap,
) -> Result<User, ApiError> {
    // A header that cannot be read must never count as absent: the request would act as its caller.
    for (header, value) in headers {
        if header.as_str().starts_with("impersonate-") && value.to_str().is_err() {
            return Err(ApiError::bad_request(format!(
                "the value of header {header} is not visible ASCII"
            )));
        }
    }
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let name = text("impersonate-user");
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let uid = text("impersonate-uid");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (
            header.as_str().strip_prefix("impersonate-extra-"),
            value.to_str(),
        ) {
            extra
                .entry(crate::request::percent_decode(key))
                .or_default()
                .push(value.to_owned());
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        return Err(ApiError::bad_request(
            "requested impersonation of groups, uid or extra without impersonating a user",
        ));
    }
    let ask = |attributes: Attributes<'_>| {
        authorizer.check(&Attributes {
            version: "v1",
            ..attributes
        })
    };
    let target = match name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
    {
        Some((namespace, account)) => {
            ask(
                Attributes::resource(&user, "impersonate", "", "serviceaccounts")
                    .in_namespace(namespace)
                    .named(account),
            )?;
            User::service_account(namespace, account)
        }
        None => {
            ask(Attributes::resource(&user, "impersonate", "", "users").named(name))?;
            User {
                name: name.to_owned(),
                ..User::default()
            }
        }
    };
    let group = "authentication.k8s.io";
    for name in &groups {
        ask(Attributes::resource(&user, "impersonate", "", "groups").named(name))?;
    }
    if !uid.is_empty() {
        ask(Attributes::resource(&user, "impersonate", group, "uids").named(uid))?;
    }
    for (key, values) in &extra {
        for value in values {
            ask(
                Attributes::resource(&user, "impersonate", group, "userextras")
                    .on_subresource(key)
                    .named(value),
            )?;
        }
    }
    let groups = if groups.is_empty() {
        target.groups
    } else {
        groups
    };
    Ok(authenticated(User {
        name: target.name,
        uid: uid.to_owned(),
        groups,
        extra,
    }))
}
