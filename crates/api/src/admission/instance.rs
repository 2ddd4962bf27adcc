//! Rules of an instance, shared by VirtualMachineInstance and the template of a VirtualMachine.

use apimachinery::field::FieldPath;
use apimachinery::name;
use serde_json::Value;

use super::cause::Cause;
use super::{disks, hardware, placement, volumes};
use crate::fields::not_honoured;
use crate::kubevirt::{
    CREATED_BY_LABEL, NODE_NAME_LABEL, VirtualMachineInstance, VirtualMachineInstanceSpec,
};

/// Labels that only the platform writes.
const RESERVED_LABELS: [&str; 2] = [CREATED_BY_LABEL, NODE_NAME_LABEL];
/// Eviction strategies of KubeVirt that need migration.
const MIGRATING_STRATEGIES: [&str; 3] = ["LiveMigrate", "LiveMigrateIfPossible", "External"];
/// Longest grace period: a year.
const MAX_GRACE_PERIOD_SECONDS: i64 = 365 * 24 * 3600;

/// Rules of a VirtualMachineInstance.
pub(super) fn validate(
    vmi: &VirtualMachineInstance,
    raw: &Value,
    old: Option<&Value>,
    internal: bool,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let path = FieldPath::new("spec");
    if let Some(old) = old {
        if internal {
            return causes;
        }
        if old.get("spec") != raw.get("spec") {
            causes.push(Cause::not_supported(
                "",
                "update of VMI object is restricted",
            ));
        } else if reserved(old) != reserved(raw) {
            causes.push(Cause::not_supported(
                "",
                "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
            ));
        }
        return causes;
    }
    if !internal && !reserved(raw).is_empty() {
        causes.push(Cause::not_supported(
            "metadata.labels",
            "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
        ));
    }
    hardware::require_memory(&mut causes, &vmi.spec.domain);
    spec(&mut causes, &vmi.spec, raw.get("spec"), &path);
    causes
}

fn reserved(object: &Value) -> Vec<(&'static str, &Value)> {
    RESERVED_LABELS
        .into_iter()
        .filter_map(|label| Some((label, object.pointer("/metadata/labels")?.get(label)?)))
        .collect()
}

/// Rules of the spec at `path`; `raw` is the same in JSON, to see what the types do not have.
pub(super) fn spec(
    causes: &mut Vec<Cause>,
    spec: &VirtualMachineInstanceSpec,
    raw: Option<&Value>,
    path: &FieldPath,
) {
    if let Some(hostname) = &spec.hostname {
        let field = path.child("hostname");
        let wrong = name::dns1123_label(hostname);
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            causes.push(Cause::invalid(
                &field,
                format!("{field} does not conform to the kubernetes DNS_LABEL rules : {wrong}"),
            ));
        }
    }
    if let Some(architecture) = &spec.architecture
        && architecture != "amd64"
    {
        let field = path.child("architecture");
        causes.push(match architecture.as_str() {
            "arm64" | "s390x" => Cause::not_supported(
                &field,
                format!("{field} '{architecture}' is not honoured by this version of Ferrovirt; use amd64"),
            ),
            _ => Cause::invalid(&field, format!("unsupported architecture: {architecture}")),
        });
    }
    if let Some(strategy) = &spec.eviction_strategy
        && strategy != "None"
    {
        let field = path.child("evictionStrategy");
        causes.push(if MIGRATING_STRATEGIES.contains(&strategy.as_str()) {
            Cause::not_supported(
                &field,
                format!(
                    "{field} '{strategy}' is not honoured by this version of Ferrovirt; use None"
                ),
            )
        } else {
            Cause::invalid(
                &field,
                format!("{field} is set with an unrecognized option: {strategy}"),
            )
        });
    }
    if let Some(seconds) = spec.termination_grace_period_seconds
        && !(0..=MAX_GRACE_PERIOD_SECONDS).contains(&seconds)
    {
        let field = path.child("terminationGracePeriodSeconds");
        causes.push(Cause::invalid(
            &field,
            format!("{field} must be from 0 to {MAX_GRACE_PERIOD_SECONDS}, not {seconds}"),
        ));
    }
    if spec.domain.devices.autoattach_pod_interface == Some(true) {
        causes.push(not_honoured(
            &path
                .child("domain")
                .child("devices")
                .child("autoattachPodInterface"),
        ));
    }
    hardware::validate(causes, &spec.domain, &path.child("domain"));
    disks::validate(causes, spec, path);
    volumes::validate(
        causes,
        &spec.volumes,
        &spec.domain.devices.disks,
        raw.and_then(|r| r.get("volumes")),
        path,
    );
    placement::validate(causes, spec, path);
}
