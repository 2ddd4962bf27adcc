//! What all Pods of the platform share.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SecurityContext, Toleration};

/// The platform's image: the node runtime runs its own executable for it, a cluster pulls it.
pub const IMAGE: &str = concat!("ferrovirt.io/ferrovirt:", env!("CARGO_PKG_VERSION"));

/// User and group of all workloads: KubeVirt's `qemu`.
pub const RUN_AS: i64 = 107;

/// Taint of nodes that run nothing but the platform's own workloads, which alone tolerate it.
pub const TAINT: &str = "ferrovirt.io/runs-only-virtual-machines";

/// The workloads' toleration of [`TAINT`].
pub(crate) fn toleration() -> Toleration {
    Toleration {
        key: Some(TAINT.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    }
}

/// Unprivileged, by the rules of the restricted Pod security standard.
pub(crate) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_user: Some(RUN_AS),
        run_as_group: Some(RUN_AS),
        run_as_non_root: Some(true),
        fs_group: Some(RUN_AS),
        ..PodSecurityContext::default()
    }
}

/// The same for a container.
pub(crate) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

/// A name of at most 63 characters that is one label: `prefix-base`, shortened with `unique` kept.
pub(crate) fn pod_name(prefix: &str, base: &str, unique: Option<&str>) -> String {
    let suffix = unique.map(|u| format!("-{u}")).unwrap_or_default();
    let room = 63_usize.saturating_sub(prefix.len() + 1 + suffix.len());
    let base: String = base.replace('.', "-").chars().take(room).collect();
    format!("{prefix}-{}{suffix}", base.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_names_are_labels_of_at_most_63_characters() {
        assert_eq!(pod_name("importer", "root", None), "importer-root");
        assert_eq!(
            pod_name("virt-launcher", "a.b", Some("x1y2z")),
            "virt-launcher-a-b-x1y2z"
        );
        let long = pod_name("virt-launcher", &"v".repeat(253), Some("x1y2z"));
        assert_eq!(long.len(), 63);
        assert!(long.ends_with("-x1y2z"));
    }
}
