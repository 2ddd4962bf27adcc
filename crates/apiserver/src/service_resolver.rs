//! From a Service that an object names to a TLS connection: for APIServices, and for webhooks of admission and
//! conversion.
//!
//! ```text
//! ServiceReference ─► locate (store) ─► Found ─► addresses (pure) ─► connect: one after another, TLS as <name>.<ns>.svc
//! ```
//! There need be no network of Services: the addresses behind a Service are used directly, from its EndpointSlices
//! or, when it has none, its Endpoints. An ExternalName leads to its host.
//!
//! Addresses that are never a server of a cluster are not connected to, see [`is_allowed`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use rustls::ClientConfig;
use serde_json::Value;
use store::ListRequest;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::https;
use crate::registry::{Registry, codec, store_error};

/// Time for one address: connecting and the TLS handshake.
const PER_ADDRESS: Duration = Duration::from_secs(5);
/// Addresses tried for one connection.
const ATTEMPTS: usize = 3;

/// A host, by address or name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

/// Why a server cannot be used: reason and message of an APIService's condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub reason: &'static str,
    pub message: String,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceReference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

impl ServiceReference {
    /// The name in the certificate of whoever answers for the Service.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// Why a webhook behind the Service cannot be reached, as kube-apiserver's resolvers word it.
    pub(crate) fn dial_error(&self, unavailable: &Unavailable) -> String {
        let ServiceReference { name, port, .. } = self;
        match unavailable.reason {
            "ServiceNotFound" => format!("service {name:?} not found"),
            "ServicePortError" => format!("no service port {port} found for service {name:?}"),
            _ => format!("no endpoints available for service {name:?}"),
        }
    }
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

/// Where a Service leads now.
///
/// # Errors
/// The outer one when the store fails, the inner one when the Service leads nowhere.
pub(crate) async fn locate(
    registry: &Registry,
    reference: &ServiceReference,
) -> Result<Result<Vec<Address>, Unavailable>, ApiError> {
    // Kinds without conversion: read as they are stored, so that a conversion may come here.
    let (namespace, name) = (&reference.namespace, &reference.name);
    let service = get(registry, "services", namespace, name).await?;
    let endpoints = get(registry, "endpoints", namespace, name).await?;
    let mut slices = Vec::new();
    let kinds = registry.kinds.load_full();
    if let Some(kind) = kinds.resource("discovery.k8s.io", "endpointslices") {
        let request = ListRequest::prefix(kind.scope_prefix(namespace));
        let listing = registry.store.list(request).await.map_err(store_error)?;
        for entry in &listing.entries {
            slices.push(codec::decode(&registry.sealing, kind, entry)?);
        }
    }
    let found = Found {
        service: service.as_ref(),
        slices: &slices,
        endpoints: endpoints.as_ref(),
    };
    Ok(addresses(reference, &found))
}

async fn get(
    registry: &Registry,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, ApiError> {
    let kinds = registry.kinds.load_full();
    let Some(kind) = kinds.resource("", plural) else {
        return Ok(None);
    };
    let key = kind.key(namespace, name);
    let (entry, _) = registry.store.get(&key).await.map_err(store_error)?;
    let object = entry.map(|entry| codec::decode(&registry.sealing, kind, &entry));
    object.transpose()
}

/// Connects to one of the addresses, and checks that the server there is `name`.
pub(crate) async fn connect(
    addresses: &[Address],
    name: &str,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let mut failed = String::from("there is no address");
    let start = rand::random_range(0..addresses.len().max(1));
    let turned = addresses.iter().cycle().skip(start);
    for address in turned.take(addresses.len().min(ATTEMPTS)) {
        match tokio::time::timeout(PER_ADDRESS, connect_to(address, name, tls)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(why)) => failed = why,
            Err(_) => {
                failed = format!(
                    "connecting to {}:{}: no answer within {PER_ADDRESS:?}",
                    address.host, address.port
                );
            }
        }
    }
    Err(failed)
}

async fn connect_to(
    address: &Address,
    name: &str,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let Address { host, port } = address;
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|e| format!("finding {host:?}: {e}"))?
        .collect();
    let allowed: Vec<SocketAddr> = found
        .iter()
        .copied()
        .filter(|address| is_allowed(address.ip()))
        .collect();
    if allowed.is_empty() {
        return Err(format!(
            "{host:?} leads to {found:?}, where no server of a cluster can be"
        ));
    }
    https::connect(allowed.as_slice(), name, Arc::clone(tls)).await
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
    fn a_webhook_without_a_service_fails_in_upstreams_words() {
        let reference = ServiceReference {
            namespace: "ns".to_owned(),
            name: "api".to_owned(),
            port: 443,
        };
        let said = |reason| {
            reference.dial_error(&Unavailable {
                reason,
                message: String::new(),
            })
        };
        assert_eq!(reference.host(), "api.ns.svc");
        assert_eq!(said("ServiceNotFound"), "service \"api\" not found");
        assert_eq!(
            said("ServicePortError"),
            "no service port 443 found for service \"api\""
        );
        for reason in ["EndpointsNotFound", "MissingEndpoints"] {
            assert_eq!(said(reason), "no endpoints available for service \"api\"");
        }
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
