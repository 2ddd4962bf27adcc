//! Admission: an object is completed and judged before it is stored.
//!
//! ```text
//! object as sent --fields::refused--> set_defaults --> (schema validation by the API server) --> validate
//! ```
//!
//! [`admit_create`] and [`admit_update`] run the three steps that are ours; a pipeline that validates
//! against the schema in between calls them one by one. Defaults tolerate wrong types (the schema refuses
//! them), and validation returns all causes at once, never a panic.

mod cause;
mod data_volume;
mod defaults;
mod disks;
mod hardware;
mod instance;
mod machine;
mod placement;
mod runtime;
mod volumes;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fields::{Kind, refused};

pub use cause::{Cause, denied, message};
pub use hardware::{MAX_MEMORY, MAX_VCPUS, MIN_MEMORY};

/// What admission may know beside the object.
pub struct Context<'a> {
    /// The present time.
    pub now: Timestamp,
    /// A fresh random UUID with each call.
    pub new_uuid: &'a dyn Fn() -> String,
    /// Whether a controller of the platform asks; it may do what users may not.
    pub internal: bool,
}

/// Completes and judges a new object.
pub fn admit_create(kind: Kind, object: &Value, context: &Context) -> Result<Value, Vec<Cause>> {
    admit(kind, None, object, context)
}

/// Completes and judges a changed object.
pub fn admit_update(
    kind: Kind,
    old: &Value,
    object: &Value,
    context: &Context,
) -> Result<Value, Vec<Cause>> {
    admit(kind, Some(old), object, context)
}

fn admit(
    kind: Kind,
    old: Option<&Value>,
    object: &Value,
    context: &Context,
) -> Result<Value, Vec<Cause>> {
    let mut causes = refused(kind, object);
    let mut object = object.clone();
    set_defaults(kind, old, &mut object, context);
    causes.extend(validate(kind, old, &object, context));
    if causes.is_empty() {
        Ok(object)
    } else {
        Err(causes)
    }
}

/// Fills in what the object leaves open. `old` is the stored object when it is an update.
pub fn set_defaults(kind: Kind, old: Option<&Value>, object: &mut Value, context: &Context) {
    match kind {
        Kind::VMRuntime | Kind::VMRuntimePreflightCheck => {}
        Kind::DataVolume => defaults::data_volume(object),
        Kind::VirtualMachine => defaults::machine(object, old.is_none(), context),
        Kind::VirtualMachineInstance if old.is_none() => defaults::instance(object, context),
        Kind::VirtualMachineInstance => {}
    }
}

/// What is wrong with a completed object. Does not look at fields that are not honoured ([`refused`] does).
pub fn validate(kind: Kind, old: Option<&Value>, object: &Value, context: &Context) -> Vec<Cause> {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        // What is on its way out only loses finalizers; rules that came later must not keep it.
        return Vec::new();
    }
    match kind {
        Kind::VMRuntime => typed(object, |o| runtime::validate(&o)),
        Kind::VMRuntimePreflightCheck => typed(object, |o| runtime::validate_check(&o)),
        Kind::DataVolume => typed(object, |o| data_volume::validate(&o, object, old)),
        Kind::VirtualMachine => machine_causes(object),
        Kind::VirtualMachineInstance => typed(object, |o| {
            instance::validate(&o, object, old, context.internal)
        }),
    }
}

/// Sentences for the `Warning` header.
pub fn warnings(kind: Kind, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let prefix = match kind {
        Kind::VirtualMachine => "/spec/template/spec",
        Kind::VirtualMachineInstance => "/spec",
        _ => return warnings,
    };
    if kind == Kind::VirtualMachine
        && object
            .pointer("/spec/running")
            .is_some_and(|v| !v.is_null())
    {
        warnings
            .push("spec.running is deprecated, please use spec.runStrategy instead.".to_owned());
    }
    let list = |path: &str| {
        object
            .pointer(&format!("{prefix}{path}"))
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let disks = list("/domain/devices/disks");
    for (i, volume) in list("/volumes").iter().enumerate() {
        if !disks.iter().any(|d| d.get("name") == volume.get("name")) {
            let path = prefix.trim_start_matches('/').replace('/', ".");
            warnings.push(format!(
                "{path}.volumes[{i}] has no disk of the same name; the guest will not see it"
            ));
        }
    }
    warnings
}

/// A run strategy that nobody knows must not hide the other causes.
fn machine_causes(object: &Value) -> Vec<Cause> {
    let rules = |object: &Value| typed(object, |vm| machine::validate(&vm, object));
    let Some(unknown) = machine::unknown_strategy(object) else {
        return rules(object);
    };
    let mut readable = object.clone();
    readable["spec"]["runStrategy"] = "Halted".into();
    let mut causes = rules(&readable);
    causes.push(unknown);
    causes
}

fn typed<T: DeserializeOwned>(object: &Value, rules: impl FnOnce(T) -> Vec<Cause>) -> Vec<Cause> {
    match T::deserialize(object) {
        Ok(object) => rules(object),
        Err(error) => vec![Cause::invalid(
            "",
            format!("the object cannot be read: {error}"),
        )],
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
