//! Mirror Pods: they show what runs on a node without the API having asked for it (a kubelet's static Pods,
//! the platform's own components), and are nobody's to run, schedule or remove but the one's who made them.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// Annotation of a mirror Pod: the hash of what it mirrors (the kubelet's).
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: the hash of what a Pod was made from (the kubelet's).
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation: where that comes from (the kubelet's).
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Whether a Pod is a mirror Pod: it says so, and a Node controls it, as a kubelet's are. The annotation
/// alone can be set by anybody who may create Pods, and would keep a Pod from ever being looked after.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    pod.annotations().contains_key(CONFIG_MIRROR)
        && pod
            .owner_references()
            .iter()
            .any(|o| o.controller == Some(true) && o.kind == "Node" && o.api_version == "v1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_pod_says_so_and_belongs_to_its_node() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {
            "annotations": {CONFIG_MIRROR: "x"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}
            ],
        }}))
        .unwrap();
        assert!(is_mirror(&pod));
        pod.metadata.annotations = None;
        assert!(!is_mirror(&pod));
        let forged: Pod = serde_json::from_value(serde_json::json!({"metadata": {
            "annotations": {CONFIG_MIRROR: "x"},
        }}))
        .unwrap();
        assert!(!is_mirror(&forged));
    }
}
