//! What is created: ConfigMaps of a given size.

use hyper::body::Bytes;

/// Where they are.
pub(crate) const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// What crowds of clients create is told from other objects by its label `app`.
pub(crate) const CROWD: &str = "crowd";

/// The body of a ConfigMap with so many bytes of data, as JSON.
pub(crate) fn config_map(app: &str, name: &str, data: usize) -> Bytes {
    let value = "v".repeat(data);
    Bytes::from(format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","labels":{{"app":"{app}"}}}},"data":{{"key":"{value}"}}}}"#
    ))
}

/// A merge patch that changes the object each time that `number` is another.
pub(crate) fn patch(number: usize) -> Bytes {
    Bytes::from(format!(r#"{{"data":{{"number":"{number}"}}}}"#))
}

/// The path of one.
pub(crate) fn path(name: &str) -> String {
    format!("{PATH}/{name}")
}
