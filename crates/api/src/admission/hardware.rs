//! Rules of processors, memory, machine type and firmware.

use apimachinery::field::FieldPath;
use apimachinery::quantity::Quantity;

use super::cause::Cause;
use crate::kubevirt::{Cpu, DomainSpec, Firmware};

/// Processors of one guest, at most.
pub const MAX_VCPUS: u64 = 512;
/// Memory of one guest, at least: 1 MiB.
pub const MIN_MEMORY: i64 = 1 << 20;
/// Memory of one guest, at most: 16 TiB.
pub const MAX_MEMORY: i64 = 16 << 40;
/// Longest SMBIOS string.
const MAX_SMBIOS_TEXT: usize = 255;

/// An instance must say how much memory it gets, one way or another.
pub(super) fn require_memory(causes: &mut Vec<Cause>, domain: &DomainSpec) {
    let guest = domain.memory.as_ref().and_then(|m| m.guest.as_ref());
    if guest.is_none() && !domain.resources.requests.contains_key("memory") {
        causes.push(Cause::required(
            "",
            "no memory requested, at least one of 'spec.domain.memory.guest', 'spec.domain.memory.hugepages.pageSize' or 'spec.domain.resources.requests.memory' must be set",
        ));
    }
}

/// Rules of the domain at `path`.
pub(super) fn validate(causes: &mut Vec<Cause>, domain: &DomainSpec, path: &FieldPath) {
    if let Some(cpu) = &domain.cpu {
        processors(causes, cpu, &path.child("cpu"));
    }
    if let Some(guest) = domain.memory.as_ref().and_then(|m| m.guest.as_ref()) {
        memory(causes, &guest.0, &path.child("memory").child("guest"));
    }
    resources(causes, domain, &path.child("resources"));
    if let Some(machine) = &domain.machine
        && !machine.type_.is_empty()
        && !machine.type_.starts_with("q35")
        && !machine.type_.starts_with("pc-q35")
    {
        let field = path.child("machine").child("type");
        causes.push(Cause::invalid(
            &field,
            format!(
                "{field} is not supported: {} (allowed values: [q35* pc-q35*])",
                machine.type_
            ),
        ));
    }
    if let Some(f) = &domain.firmware {
        firmware(causes, f, &path.child("firmware"));
    }
}

fn processors(causes: &mut Vec<Cause>, cpu: &Cpu, path: &FieldPath) {
    let mut product = 1_u64;
    for (name, count) in [
        ("cores", cpu.cores),
        ("sockets", cpu.sockets),
        ("threads", cpu.threads),
    ] {
        if count == Some(0) {
            let field = path.child(name);
            causes.push(Cause::invalid(
                &field,
                format!("{field} must be at least 1, if specified"),
            ));
        }
        product = product.saturating_mul(count.unwrap_or(1).into());
    }
    if product > MAX_VCPUS {
        causes.push(Cause::invalid(
            path,
            format!(
                "{path} asks for {product} CPUs (sockets x cores x threads), more than {MAX_VCPUS}"
            ),
        ));
    }
    if let Some(model) = &cpu.model {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if model.is_empty() || model.len() > 64 || !model.chars().all(plain) {
            let field = path.child("model");
            causes.push(Cause::invalid(
                &field,
                format!("{field} must be a CPU model, host-model or host-passthrough"),
            ));
        }
    }
}

fn memory(causes: &mut Vec<Cause>, text: &str, path: &FieldPath) {
    let Some(quantity) = quantity(causes, text, path) else {
        return;
    };
    let bytes = quantity.value();
    let whole = Quantity::parse(&bytes.to_string()).is_ok_and(|q| q == quantity);
    if bytes < MIN_MEMORY {
        causes.push(Cause::invalid(
            path,
            format!("{path} '{text}' must be at least 1Mi"),
        ));
    } else if bytes > MAX_MEMORY {
        causes.push(Cause::invalid(
            path,
            format!("{path} '{text}' must be at most 16Ti"),
        ));
    } else if !whole {
        causes.push(Cause::invalid(
            path,
            format!("{path} '{text}' must be a whole number of bytes"),
        ));
    }
}

fn resources(causes: &mut Vec<Cause>, domain: &DomainSpec, path: &FieldPath) {
    let mut parsed = std::collections::BTreeMap::new();
    for (kind, map) in [
        ("requests", &domain.resources.requests),
        ("limits", &domain.resources.limits),
    ] {
        for (name, value) in map {
            let field = path.child(kind).child(name);
            if !matches!(name.as_str(), "cpu" | "memory") {
                causes.push(Cause::not_supported(
                    &field,
                    format!("{field} is not honoured by this version of Ferrovirt; only cpu and memory are"),
                ));
                continue;
            }
            let Some(quantity) = quantity(causes, &value.0, &field) else {
                continue;
            };
            if quantity.milli_value() < 0 {
                causes.push(Cause::invalid(
                    &field,
                    format!("{field} '{}': must be greater than or equal to 0.", value.0),
                ));
            }
            parsed.insert((kind, name.as_str()), (quantity, value.0.as_str(), field));
        }
    }
    for name in ["memory", "cpu"] {
        if let (Some((request, request_text, field)), Some((limit, limit_text, limit_field))) = (
            parsed.get(&("requests", name)),
            parsed.get(&("limits", name)),
        ) && request > limit
            && limit.milli_value() >= 0
        {
            causes.push(Cause::invalid(
                field,
                format!("{field} '{request_text}' is greater than {limit_field} '{limit_text}'"),
            ));
        }
    }
}

/// Parses, or says what is wrong.
pub(super) fn quantity(causes: &mut Vec<Cause>, text: &str, path: &FieldPath) -> Option<Quantity> {
    match Quantity::parse(text) {
        Ok(quantity) => Some(quantity),
        Err(error) => {
            causes.push(Cause::invalid(path, format!("{path} '{text}': {error}")));
            None
        }
    }
}

fn firmware(causes: &mut Vec<Cause>, firmware: &Firmware, path: &FieldPath) {
    if let Some(uuid) = &firmware.uuid
        && !is_uuid(uuid)
    {
        let field = path.child("uuid");
        causes.push(Cause::invalid(
            &field,
            format!("{field} '{uuid}' must be a UUID, like 5d307ca9-b3ef-428c-8861-06e72d69f223"),
        ));
    }
    if let Some(serial) = &firmware.serial
        && (serial.len() > MAX_SMBIOS_TEXT || serial.chars().any(|c| !matches!(c, ' '..='~')))
    {
        let field = path.child("serial");
        causes.push(Cause::invalid(
            &field,
            format!("{field} must be at most {MAX_SMBIOS_TEXT} printable ASCII characters"),
        ));
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}
