//! The administrator's kubeconfig: everything a client needs, in one file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::Pair;
use serde_json::json;

/// The file's text. JSON is YAML, and every client reads it.
pub(crate) fn render(server: &str, ca_pem: &str, admin: &Pair) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "ferrovirt",
            "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(ca_pem),
            },
        }],
        "users": [{
            "name": "admin",
            "user": {
                "client-certificate-data": STANDARD.encode(&admin.cert_pem),
                "client-key-data": STANDARD.encode(&admin.key_pem),
            },
        }],
        "contexts": [{
            "name": "ferrovirt",
            "context": {"cluster": "ferrovirt", "user": "admin"},
        }],
        "current-context": "ferrovirt",
    });
    format!("{config:#}\n")
}
