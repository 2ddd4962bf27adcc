//! Rules of the VMRuntime and its preflight checks.
//!
//! Fields of features that are not there are taken at the value that asks for nothing, so that documented
//! manifests apply; any other value is refused with words on what to do (ADR 0013).

use apimachinery::field::FieldPath;
use apimachinery::name::dns1123_subdomain;

use super::cause::{Cause, named};
use crate::preflight::VMRuntimePreflightCheck;
use crate::vmruntime::{NAME, NAMESPACE, VMRuntime, VMRuntimeSpec};

/// There is one, and its name is fixed. Formats are the schema's to check.
pub(super) fn validate(runtime: &VMRuntime) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = runtime.metadata.name.as_deref().unwrap_or_default();
    if name != NAME {
        causes.push(Cause::invalid(
            "metadata.name",
            format!("there is one VMRuntime, and its name is '{NAME}', not '{name}'"),
        ));
    }
    absent(&runtime.spec, &mut causes);
    classes(&runtime.spec, &mut causes);
    causes
}

/// What asks for features that are not there.
fn absent(spec: &VMRuntimeSpec, causes: &mut Vec<Cause>) {
    let filled = |value: &Option<String>| value.as_ref().is_some_and(|v| !v.is_empty());
    let asked = [
        (
            spec.enable_gpu == Some(true),
            "enableGPU",
            "GPUs cannot be given to guests by this version of Ferrovirt; set it to false or remove it",
        ),
        (
            spec.install_nvidia_driver == Some(true),
            "installNvidiaDriver",
            "Ferrovirt does not install drivers on nodes; set it to false or remove it",
        ),
        (
            filled(&spec.cdi_upload_proxy_vip),
            "cdiUploadProxyVIP",
            "this version of Ferrovirt has no upload proxy; remove it",
        ),
        (
            filled(&spec.app_armor_launcher_profile),
            "appArmorLauncherProfile",
            "launchers are confined by Landlock and seccomp, not by AppArmor; remove it",
        ),
    ];
    for (is, field, why) in asked {
        if is {
            let path = format!("spec.{field}");
            causes.push(Cause::not_supported(&path, format!("{path}: {why}")));
        }
    }
}

/// Names of classes must be names; empty is none.
fn classes(spec: &VMRuntimeSpec, causes: &mut Vec<Cause>) {
    let storage = FieldPath::new("spec").child("storage");
    for (field, class) in [
        ("defaultStorageClass", spec.default_storage_class()),
        (
            "defaultScratchSpaceStorageClass",
            spec.default_scratch_space_storage_class(),
        ),
    ] {
        if let Some(class) = class {
            named(causes, &storage.child(field), class, dns1123_subdomain);
        }
    }
}

/// Nobody looks for checks elsewhere (G-33).
pub(super) fn validate_check(check: &VMRuntimePreflightCheck) -> Vec<Cause> {
    let namespace = check.metadata.namespace.as_deref().unwrap_or_default();
    if namespace == NAMESPACE {
        return Vec::new();
    }
    vec![Cause::invalid(
        "metadata.namespace",
        format!("preflight checks are in the namespace '{NAMESPACE}', not '{namespace}'"),
    )]
}
