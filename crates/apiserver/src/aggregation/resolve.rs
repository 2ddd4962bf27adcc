//! From an APIService to the addresses of its server: the Service it names, and where that leads.
//!
//! There need be no network of Services: the addresses behind a Service are used directly, from its EndpointSlices
//! or, when it has none, its Endpoints. An ExternalName leads to its host.

use std::net::IpAddr;

use serde_json::Value;

/// A host, by address or name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

/// Why a server cannot be used: reason and message of the condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub reason: &'static str,
    pub message: String,
}

/// What an APIService refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceReference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

/// Objects that say where a Service leads, as far as they exist.
pub(crate) struct Found<'a> {
    pub service: Option<&'a Value>,
    /// Of the namespace; those of other Services are passed over.
    pub slices: &'a [Value],
    pub endpoints: Option<&'a Value>,
}

/// Most addresses of one Service that are tried.
const MAX_ADDRESSES: usize = 100;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn port_of(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

/// Where to connect to.
pub(crate) fn addresses(
    reference: &ServiceReference,
    found: &Found<'_>,
) -> Result<Vec<Address>, Unavailable> {
    let ServiceReference {
        namespace,
        name,
        port,
    } = reference;
    let shown = format!("service/{name} in {namespace:?}");
    let unavailable = |reason, message| Err(Unavailable { reason, message });
    let Some(service) = found.service else {
        return unavailable("ServiceNotFound", format!("{shown} is not present"));
    };
    if text(service, "/spec/type") == "ExternalName" {
        let host = text(service, "/spec/externalName").to_owned();
        return Ok(vec![Address { host, port: *port }]);
    }
    let Some(listed) = list(service, "/spec/ports").find(|p| port_of(&p["port"]) == Some(*port))
    else {
        return unavailable(
            "ServicePortError",
            format!("{shown} is not listening on port {port}"),
        );
    };
    let port_name = text(listed, "/name");
    let own = |slice: &&Value| {
        let label = slice.pointer("/metadata/labels/kubernetes.io~1service-name");
        label.and_then(Value::as_str) == Some(name)
    };
    let mut any = false;
    let mut addresses = Vec::new();
    for slice in found.slices.iter().filter(own) {
        any = true;
        addresses.extend(of_slice(slice, port_name));
    }
    if !any && let Some(endpoints) = found.endpoints {
        any = true;
        addresses.extend(of_endpoints(endpoints, port_name));
    }
    addresses.truncate(MAX_ADDRESSES);
    match (any, addresses.is_empty()) {
        (_, false) => Ok(addresses),
        (false, _) => unavailable(
            "EndpointsNotFound",
            format!("cannot find endpointslices for {shown}"),
        ),
        (true, _) => unavailable(
            "MissingEndpoints",
            format!("endpoints for {shown} have no addresses with port name {port_name:?}"),
        ),
    }
}

fn of_slice(slice: &Value, port_name: &str) -> Vec<Address> {
    let port = list(slice, "/ports").find(|p| text(p, "/name") == port_name);
    let Some(port) = port.and_then(|p| port_of(&p["port"])) else {
        return Vec::new();
    };
    list(slice, "/endpoints")
        // Not known is ready (EndpointConditions).
        .filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)))
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(|host| Address {
            host: host.to_owned(),
            port,
        })
        .collect()
}

fn of_endpoints(endpoints: &Value, port_name: &str) -> Vec<Address> {
    list(endpoints, "/subsets")
        .flat_map(|subset| {
            let port = list(subset, "/ports").find(|p| text(p, "/name") == port_name);
            let port = port.and_then(|p| port_of(&p["port"]));
            list(subset, "/addresses").filter_map(move |address| {
                Some(Address {
                    host: text(address, "/ip").to_owned(),
                    port: port?,
                })
            })
        })
        .collect()
}

/// Whether a server of a cluster can be at an address. Link-local ones are a host's own affairs, among them the
/// metadata and credentials that clouds serve at 169.254.169.254.
pub(crate) fn is_allowed(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_link_local() || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(
        service: &Value,
        slices: &[Value],
        endpoints: Option<&Value>,
    ) -> Result<Vec<(String, u16)>, &'static str> {
        let reference = ServiceReference {
            namespace: "ns".to_owned(),
            name: "api".to_owned(),
            port: 443,
        };
        let found = Found {
            service: Some(service).filter(|s| !s.is_null()),
            slices,
            endpoints,
        };
        match addresses(&reference, &found) {
            Ok(list) => Ok(list.into_iter().map(|a| (a.host, a.port)).collect()),
            Err(unavailable) => Err(unavailable.reason),
        }
    }

    fn slice(service: &str, port: &str, endpoints: &Value) -> Value {
        json!({"metadata": {"labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": "other", "port": 1}, {"name": port, "port": 8443}], "endpoints": endpoints})
    }

    #[test]
    fn a_service_leads_to_its_ready_endpoints() {
        let service = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9",
            "ports": [{"name": "plain", "port": 80}, {"name": "https", "port": 443}]}});
        assert_eq!(resolve(&service, &[], None), Err("EndpointsNotFound"));
        let ready = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"]}]);
        let mine = slice("api", "https", &ready);
        let others = slice("another", "https", &json!([{"addresses": ["10.0.0.9"]}]));
        let wanted = vec![("10.0.0.1".to_owned(), 8443), ("10.0.0.2".to_owned(), 8443)];
        assert_eq!(resolve(&service, &[others.clone(), mine], None), Ok(wanted));
        let down = slice(
            "api",
            "https",
            &json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]),
        );
        assert_eq!(resolve(&service, &[down], None), Err("MissingEndpoints"));
        let misnamed = slice("api", "web", &ready);
        assert_eq!(
            resolve(&service, &[misnamed], None),
            Err("MissingEndpoints")
        );
        // Endpoints count where there are no slices.
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.3"}], "notReadyAddresses": [{"ip": "10.0.0.4"}],
            "ports": [{"name": "https", "port": 6443}]}]});
        assert_eq!(
            resolve(&service, &[others], Some(&endpoints)),
            Ok(vec![("10.0.0.3".to_owned(), 6443)])
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(resolve(&Value::Null, &[], None), Err("ServiceNotFound"));
        let service = json!({"spec": {"ports": [{"port": 80}]}});
        assert_eq!(resolve(&service, &[], None), Err("ServicePortError"));
    }

    #[test]
    fn an_external_name_leads_to_its_host() {
        let service = json!({"spec": {"type": "ExternalName", "externalName": "api.example.com"}});
        let wanted = vec![("api.example.com".to_owned(), 443)];
        assert_eq!(resolve(&service, &[], None), Ok(wanted));
    }

    #[test]
    fn addresses_that_are_no_servers_are_refused() {
        for refused in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!is_allowed(refused.parse().unwrap()), "{refused}");
        }
        for allowed in ["127.0.0.1", "10.0.0.1", "192.0.2.1", "::1", "2001:db8::1"] {
            assert!(is_allowed(allowed.parse().unwrap()), "{allowed}");
        }
    }
}
