//! Where a member of etcd listens for clients.

use std::fmt;

use http::Uri;

use crate::error::OpenError;

/// etcd's port for clients, where a URL has none.
const PORT: u16 = 2379;

/// One member's URL for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    pub(super) https: bool,
    /// A name or an address, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// Reads `http[s]://host[:port]`.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let refused = |why: &str| OpenError::Options {
            what: format!("{url:?} is not the URL of an etcd server: {why}"),
        };
        let uri: Uri = url.trim().parse().map_err(|_| refused("it is no URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("it must begin with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("there must be nothing after the port"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let bare = uri.authority().map_or("", |authority| authority.as_str());
        if uri.port_u16().is_none() && bare.len() > uri.host().unwrap_or_default().len() {
            return Err(refused("the port is none"));
        }
        if host.is_empty() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(refused("it must have a host, and no user"));
        }
        Ok(Self {
            https,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(PORT),
        })
    }

    /// The URL without a slash at its end.
    pub(super) fn base(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        if self.host.contains(':') {
            format!("{scheme}://[{}]:{}", self.host, self.port)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for (url, base) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("https://etcd-0.example", "https://etcd-0.example:2379"),
            (" https://[::1]:4001/ ", "https://[::1]:4001"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().base(), base, "{url}");
        }
        for url in [
            "",
            "127.0.0.1:2379",
            "unix:///run/etcd",
            "http://",
            "http://a/b",
            "http://a?b",
            "https://user@host",
            "http://host:99999",
        ] {
            let refused = Endpoint::parse(url);
            assert!(
                matches!(refused, Err(OpenError::Options { .. })),
                "{url}: {refused:?}"
            );
        }
    }
}
