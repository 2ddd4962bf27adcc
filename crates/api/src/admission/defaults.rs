//! What is filled in, on raw objects: stored objects say what they mean, whatever our defaults become.
//!
//! As KubeVirt's mutators, without what is not honoured yet (networks, `maxSockets`). Numbers given as
//! quantities become strings, as they do there.

use apimachinery::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::Context;
use crate::kubevirt::{PCI_TOPOLOGY_ANNOTATION, VMI_FINALIZER};

/// Defaults of a VirtualMachine.
pub(super) fn machine(object: &mut Value, is_new: bool, context: &Context) {
    if let Some(templates) = object
        .pointer_mut("/spec/dataVolumeTemplates")
        .and_then(Value::as_array_mut)
    {
        templates.iter_mut().for_each(data_volume);
    }
    let Some(template) = object.pointer_mut("/spec/template") else {
        return;
    };
    if is_new && let Some(metadata) = child(template, "metadata") {
        annotate_topology(metadata);
    }
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    quantities(spec);
    common(spec);
    if is_new && let Some(firmware) = domain(spec).and_then(|d| object_in(d, "firmware")) {
        for name in ["uuid", "serial"] {
            or_insert(firmware, name, || (context.new_uuid)().into());
        }
    }
}

/// Defaults of a VirtualMachineInstance, its first status included.
pub(super) fn instance(object: &mut Value, context: &Context) {
    if let Some(metadata) = child(object, "metadata") {
        annotate_topology(metadata);
        if let Some(map) = metadata.as_object_mut() {
            let finalizers = map.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut()
                && !list.iter().any(|f| f == VMI_FINALIZER)
            {
                list.push(VMI_FINALIZER.into());
            }
        }
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    quantities(spec);
    common(spec);
    or_insert(spec, "evictionStrategy", || "None".into());
    let Some(domain) = domain(spec) else { return };
    resources(domain);
    let topology = cpu(domain);
    let guest = memory(domain);
    disks(domain);
    if let Some(features) = object_in(domain, "features")
        && let Some(acpi) = object_in(features, "acpi")
    {
        or_insert(acpi, "enabled", || true.into());
    }
    if let Some(firmware) = object_in(domain, "firmware") {
        or_insert(firmware, "uuid", || (context.new_uuid)().into());
    }
    object["status"] = json!({
        "phase": "Pending",
        "phaseTransitionTimestamps": [{
            "phase": "Pending",
            "phaseTransitionTimestamp": rfc3339(context.now),
        }],
        "runtimeUser": 107,
        "currentCPUTopology": topology,
        "memory": guest.map(|g| json!({"guestAtBoot": g, "guestCurrent": g, "guestRequested": g})),
    });
    strip_nulls(&mut object["status"]);
}

/// Numbers where quantities belong become strings.
pub(super) fn data_volume(object: &mut Value) {
    for way in ["storage", "pvc"] {
        for kind in ["requests", "limits"] {
            if let Some(map) = object
                .pointer_mut(&format!("/spec/{way}/resources/{kind}"))
                .and_then(Value::as_object_mut)
            {
                map.values_mut().for_each(number_to_string);
            }
        }
    }
}

fn common(spec: &mut Map<String, Value>) {
    or_insert(spec, "architecture", || "amd64".into());
    if let Some(machine) = domain(spec).and_then(|d| object_in(d, "machine")) {
        or_insert(machine, "type", || "q35".into());
    }
}

fn quantities(spec: &mut Map<String, Value>) {
    if let Some(domain) = domain(spec) {
        if let Some(guest) = domain.get_mut("memory").and_then(|m| m.get_mut("guest")) {
            number_to_string(guest);
        }
        for kind in ["requests", "limits"] {
            if let Some(map) = domain
                .get_mut("resources")
                .and_then(|r| r.get_mut(kind))
                .and_then(Value::as_object_mut)
            {
                map.values_mut().for_each(number_to_string);
            }
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(capacity) = volume.pointer_mut("/emptyDisk/capacity") {
            number_to_string(capacity);
        }
    }
}

fn number_to_string(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = number.to_string().into();
    }
}

/// Whether it can stand for something else; what cannot is refused where it was given, and only there.
fn is_amount(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    Quantity::parse(text).is_ok_and(|q| !q.is_negative())
}

/// A limit without a request is the request as well.
fn resources(domain: &mut Map<String, Value>) {
    let Some(resources) = domain.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let limits: Vec<(String, Value)> = ["cpu", "memory"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), resources.get("limits")?.get(name)?.clone())))
        .filter(|(_, limit)| is_amount(limit))
        .collect();
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = object_in(resources, "requests") {
        for (name, limit) in limits {
            or_insert(requests, &name, || limit);
        }
    }
}

/// Topology: what is given, else sockets from the CPU request. Returns it for the status.
fn cpu(domain: &mut Map<String, Value>) -> Value {
    let requested = ["limits", "requests"]
        .into_iter()
        .find_map(|kind| {
            let text = domain.get("resources")?.get(kind)?.get("cpu")?.as_str()?;
            let whole = Quantity::parse(text).ok()?.value();
            u32::try_from(whole).ok().filter(|n| *n > 0)
        })
        .unwrap_or(1);
    let Some(cpu) = object_in(domain, "cpu") else {
        return Value::Null;
    };
    let given = ["cores", "sockets", "threads"]
        .into_iter()
        .any(|name| cpu.get(name).is_some_and(|v| !v.is_null()));
    or_insert(cpu, "sockets", || if given { 1 } else { requested }.into());
    or_insert(cpu, "cores", || 1.into());
    or_insert(cpu, "threads", || 1.into());
    or_insert(cpu, "model", || "host-model".into());
    json!({"cores": cpu["cores"], "sockets": cpu["sockets"], "threads": cpu["threads"]})
}

/// Guest memory: what is given, else the memory request. Returns it for the status.
fn memory(domain: &mut Map<String, Value>) -> Option<Value> {
    let requested = ["requests", "limits"]
        .into_iter()
        .find_map(|kind| domain.get("resources")?.get(kind)?.get("memory").cloned())
        .filter(is_amount);
    if let Some(requested) = requested
        && let Some(memory) = object_in(domain, "memory")
    {
        or_insert(memory, "guest", || requested);
    }
    domain.get("memory")?.get("guest").cloned()
}

fn disks(domain: &mut Map<String, Value>) {
    let disks = domain
        .get_mut("devices")
        .and_then(|d| d.get_mut("disks"))
        .and_then(Value::as_array_mut);
    for disk in disks.into_iter().flatten() {
        let Some(disk) = disk.as_object_mut() else {
            continue;
        };
        if let Some(cdrom) = disk.get_mut("cdrom").and_then(Value::as_object_mut) {
            or_insert(cdrom, "bus", || "sata".into());
            or_insert(cdrom, "readonly", || true.into());
            or_insert(cdrom, "tray", || "closed".into());
        } else if let Some(target) = object_in(disk, "disk") {
            or_insert(target, "bus", || "sata".into());
        }
    }
}

fn annotate_topology(metadata: &mut Value) {
    if let Some(annotations) = child(metadata, "annotations").and_then(Value::as_object_mut) {
        or_insert(annotations, PCI_TOPOLOGY_ANNOTATION, || "v3".into());
    }
}

fn domain(spec: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    spec.get_mut("domain")?.as_object_mut()
}

/// A child that is an object, made if it is missing or null.
fn child<'a>(parent: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let map = parent.as_object_mut()?;
    object_in(map, name)?;
    map.get_mut(name)
}

fn object_in<'a>(
    parent: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    or_insert(parent, name, || json!({}));
    parent.get_mut(name)?.as_object_mut()
}

fn or_insert(map: &mut Map<String, Value>, name: &str, value: impl FnOnce() -> Value) {
    match map.get(name) {
        None | Some(Value::Null) => {
            map.insert(name.to_owned(), value());
        }
        Some(Value::String(text)) if text.is_empty() => {
            map.insert(name.to_owned(), value());
        }
        Some(_) => {}
    }
}

fn strip_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
}

/// A metav1.Time: whole seconds.
fn rfc3339(now: jiff::Timestamp) -> String {
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    seconds.to_string()
}
