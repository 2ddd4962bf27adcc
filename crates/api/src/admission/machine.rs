//! Rules of a VirtualMachine.

use apimachinery::field::FieldPath;
use apimachinery::name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::cause::{Cause, named};
use super::{data_volume, instance};
use crate::fields::not_honoured;
use crate::kubevirt::{DataVolumeTemplate, RunStrategy, VirtualMachine};

/// Rules of a VirtualMachine; `raw` is the same in JSON.
pub(super) fn validate(vm: &VirtualMachine, raw: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let path = FieldPath::new("spec");
    let template = path.child("template");
    instance::spec(
        &mut causes,
        &vm.spec.template.spec,
        raw.pointer("/spec/template/spec"),
        &template.child("spec"),
    );
    metadata(
        &mut causes,
        raw.pointer("/spec/template/metadata"),
        vm.spec.template.metadata.as_ref(),
        &template.child("metadata"),
        &["labels", "annotations"],
    );
    data_volume_templates(&mut causes, vm, raw, &path);
    run_strategy(&mut causes, vm);
    causes
}

/// Reads leniently: the word is judged here, so the typed object must not fail on it.
fn run_strategy(causes: &mut Vec<Cause>, vm: &VirtualMachine) {
    match (&vm.spec.run_strategy, vm.spec.running) {
        (None, None) => causes.push(Cause::invalid("spec.running", "RunStrategy must be specified")),
        (Some(_), Some(_)) => causes.push(Cause::invalid(
            "spec.running",
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, please use RunStrategy instead",
        )),
        _ => {}
    }
}

/// What is wrong with the word at `spec.runStrategy`, in an object that is otherwise as it should be.
pub(super) fn unknown_strategy(raw: &Value) -> Option<Cause> {
    let word = raw.pointer("/spec/runStrategy")?.as_str()?;
    RunStrategy::parse(word)
        .is_none()
        .then(|| Cause::invalid("spec.runStrategy", format!("Invalid RunStrategy ({word})")))
}

fn data_volume_templates(
    causes: &mut Vec<Cause>,
    vm: &VirtualMachine,
    raw: &Value,
    path: &FieldPath,
) {
    let templates = &vm.spec.data_volume_templates;
    let volumes = &vm.spec.template.spec.volumes;
    for (i, template) in templates.iter().enumerate() {
        let field = path.child("dataVolumeTemplates").index(i);
        // KubeVirt leaves the plural out of these paths.
        let odd = path.child("dataVolumeTemplate").index(i);
        let name = name_of(template);
        let meta = field.child("metadata");
        named(causes, &meta.child("name"), name, name::dns1123_subdomain);
        if templates[..i].iter().any(|t| name_of(t) == name) {
            causes.push(Cause::invalid(
                meta.child("name"),
                format!("{meta}.name '{name}' is used by another data volume template"),
            ));
        }
        metadata(
            causes,
            raw.pointer(&format!("/spec/dataVolumeTemplates/{i}/metadata")),
            template.metadata.as_ref(),
            &meta,
            &["name", "namespace", "labels", "annotations"],
        );
        let namespace = template
            .metadata
            .as_ref()
            .and_then(|m| m.namespace.as_deref());
        if let Some(namespace) = namespace.filter(|n| !n.is_empty())
            && Some(namespace) != vm.metadata.namespace.as_deref()
        {
            let own = vm.metadata.namespace.as_deref().unwrap_or_default();
            causes.push(Cause::invalid(
                &field,
                format!(
                    "Embedded DataVolume namespace {namespace} differs from VM namespace {own}"
                ),
            ));
        }
        if !volumes
            .iter()
            .any(|v| v.data_volume.as_ref().is_some_and(|d| d.name == name))
        {
            causes.push(Cause::required(
                &odd,
                format!("DataVolumeTemplate entry {odd} must be referenced in the VMI template's 'volumes' list"),
            ));
        }
        if template
            .kind
            .as_deref()
            .is_some_and(|k| !k.is_empty() && k != "DataVolume")
        {
            causes.push(Cause::invalid(
                field.child("kind"),
                format!("{field}.kind must be DataVolume"),
            ));
        }
        let raw_spec = raw.pointer(&format!("/spec/dataVolumeTemplates/{i}/spec"));
        data_volume::spec(
            causes,
            &template.spec,
            raw_spec,
            &data_volume::Paths::of_template(&field, &odd),
        );
    }
}

fn name_of(template: &DataVolumeTemplate) -> &str {
    template
        .metadata
        .as_ref()
        .and_then(|m| m.name.as_deref())
        .unwrap_or_default()
}

/// Metadata of a template: only `honoured` of it means anything, and labels must be labels.
fn metadata(
    causes: &mut Vec<Cause>,
    raw: Option<&Value>,
    metadata: Option<&ObjectMeta>,
    path: &FieldPath,
    honoured: &[&str],
) {
    for (name, value) in raw.and_then(Value::as_object).into_iter().flatten() {
        if !honoured.contains(&name.as_str()) && !value.is_null() {
            causes.push(not_honoured(&path.child(name)));
        }
    }
    let Some(metadata) = metadata else { return };
    for (key, value) in metadata.labels.iter().flatten() {
        let field = path.child("labels");
        for wrong in name::qualified_name(key)
            .into_iter()
            .chain(name::label_value(value))
        {
            causes.push(Cause::invalid(&field, format!("{field} '{key}': {wrong}")));
        }
    }
    for key in metadata.annotations.iter().flat_map(|a| a.keys()) {
        let field = path.child("annotations");
        for wrong in name::qualified_name(&key.to_ascii_lowercase()) {
            causes.push(Cause::invalid(&field, format!("{field} '{key}': {wrong}")));
        }
    }
}
