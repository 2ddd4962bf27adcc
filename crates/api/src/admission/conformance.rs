//! Cases recorded from KubeVirt's and CDI's own admission, as far as their fields are honoured.
//!
//! A case is in `testdata/recorded` when everything it uses is in the types. Verdicts, causes and what is
//! filled in must be the recorded ones; what we know to be different is listed with its reason. Where a case
//! needs some volume and has a container disk, which is not honoured yet, it gets a claim instead.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::*;

/// Filled in by the original, and not honoured here yet.
const NOT_FILLED_IN: [&str; 5] = [
    "/spec/volumes/0/containerDisk/imagePullPolicy",
    "/spec/domain/cpu/maxSockets",
    "/spec/domain/memory/maxGuest",
    "/spec/domain/devices/interfaces",
    "/spec/networks",
];

fn cases() -> Vec<(String, Value)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/recorded");
    let mut cases: Vec<(String, Value)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace("${NS}", "default");
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let mut case: Value = serde_json::from_str(&text).unwrap();
            for object in ["object", "oldObject", "patch"] {
                claims_for_container_disks(&mut case[object]);
            }
            (name, case)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn claims_for_container_disks(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.remove("containerDisk").is_some() {
                map.insert(
                    "persistentVolumeClaim".into(),
                    json!({"claimName": "claim"}),
                );
            }
            map.values_mut().for_each(claims_for_container_disks);
        }
        Value::Array(items) => items.iter_mut().for_each(claims_for_container_disks),
        _ => {}
    }
}

fn kind_of(case: &Value) -> Option<Kind> {
    match case["kind"].as_str()? {
        "VirtualMachine" => Some(Kind::VirtualMachine),
        "VirtualMachineInstance" => Some(Kind::VirtualMachineInstance),
        "DataVolume" => Some(Kind::DataVolume),
        _ => None,
    }
}

fn context(case: &Value) -> Context<'static> {
    let user = case["user"]["name"].as_str().unwrap_or_default();
    Context {
        now: "2026-11-21T09:00:00Z".parse().unwrap(),
        new_uuid: &|| "11111111-2222-3333-4444-555555555555".to_owned(),
        internal: user.starts_with("system:serviceaccount:kubevirt:"),
    }
}

fn with_namespace(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("namespace").or_insert("default".into());
    }
    object
}

fn outcome(kind: Kind, case: &Value) -> (Value, Result<Value, Vec<Cause>>) {
    let context = context(case);
    if case["operation"] == "CREATE" {
        let object = with_namespace(&case["object"]);
        let result = admit_create(kind, &object, &context);
        return (object, result);
    }
    // What is stored went through admission itself when it was created.
    let mut stored = with_namespace(&case["oldObject"]);
    for path in NOT_FILLED_IN {
        let (parent, name) = path.rsplit_once('/').unwrap();
        if let Some(map) = stored.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.remove(name);
        }
    }
    let creator = Context {
        internal: true,
        now: context.now,
        new_uuid: context.new_uuid,
    };
    let old = match admit_create(kind, &stored, &creator) {
        Ok(old) => old,
        Err(causes) => return (stored, Err(causes)),
    };
    let mut new = old.clone();
    match &case["patch"] {
        Value::Array(_) => apimachinery::patch::json_patch(&mut new, &case["patch"]).unwrap(),
        patch => apimachinery::patch::merge_patch(&mut new, patch).unwrap(),
    }
    let result = admit_update(kind, &old, &new, &context);
    (old, result)
}

/// JSON pointer to leaf, for all that `new` has beyond or unlike `old`.
fn changes(old: Option<&Value>, new: &Value, path: &str, out: &mut Map<String, Value>) {
    match (old, new) {
        (Some(old), new) if old == new => {}
        (old, Value::Object(map)) if !map.is_empty() && old.is_none_or(Value::is_object) => {
            for (key, value) in map {
                let key_path = key.replace('~', "~0").replace('/', "~1");
                changes(
                    old.and_then(|o| o.get(key)),
                    value,
                    &format!("{path}/{key_path}"),
                    out,
                );
            }
        }
        (Some(Value::Array(before)), Value::Array(after)) if before.len() == after.len() => {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                changes(Some(before), after, &format!("{path}/{i}"), out);
            }
        }
        (_, new) => {
            out.insert(path.to_owned(), new.clone());
        }
    }
}

fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(pattern), _)
            if pattern == "<uuid>" || pattern == "<time>" || pattern == "<any>" =>
        {
            true
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(k, a)| b.get(k).is_some_and(|b| matches(a, b)))
        }
        (a, b) => a == b,
    }
}

fn check(case: &Value) -> Result<(), String> {
    let kind = kind_of(case).ok_or("a kind of ours")?;
    let expect = &case["expect"];
    let (before, result) = outcome(kind, case);
    match result {
        Err(causes) => {
            if expect["allowed"] == true {
                return Err(format!("refused: {causes:?}"));
            }
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let found: BTreeSet<(String, String, String)> = causes
                .iter()
                .map(|c| (c.field.clone(), c.reason().to_owned(), squeeze(&c.message)))
                .collect();
            let text = |cause: &Value, key: &str| squeeze(cause[key].as_str().unwrap_or_default());
            let wanted: BTreeSet<(String, String, String)> = expect["causes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| (text(c, "field"), text(c, "type"), text(c, "message")))
                .collect();
            if found != wanted {
                return Err(format!("causes\n  wanted {wanted:#?}\n  found {found:#?}"));
            }
        }
        Ok(_) if expect["allowed"] == false => return Err("allowed".to_owned()),
        Ok(object) => {
            let Some(wanted) = expect["changes"].as_object() else {
                return Ok(());
            };
            let mut found = Map::new();
            changes(Some(&before), &object, "", &mut found);
            let is_plain = !case["category"]
                .as_str()
                .unwrap_or_default()
                .ends_with("-defaults");
            for (path, value) in wanted {
                let skip = NOT_FILLED_IN.iter().any(|p| path == p);
                if !skip && !found.get(path).is_some_and(|f| matches(value, f)) {
                    return Err(format!(
                        "{path}: wanted {value}, found {:?}",
                        found.get(path)
                    ));
                }
            }
            let extra: Vec<&String> = found.keys().filter(|k| !wanted.contains_key(*k)).collect();
            if !is_plain && !extra.is_empty() {
                return Err(format!("beyond what the original fills in: {extra:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn recorded_cases() {
    let cases = cases();
    assert!(cases.len() > 50, "the recorded cases are there");
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|(name, case)| check(case).err().map(|e| format!("{name}: {e}")))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}
