//! `metadata.managedFields`: who owns what.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::time::parse_time;
use serde_json::{Map, Value};

use crate::encode::{decode_fields, encode_fields};
use crate::limits;
use crate::path::Path;
use crate::set::FieldSet;

/// What a manager did to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply: owns what it applied last.
    Apply,
    /// Anything else: owns what it changed.
    Update,
}

impl Operation {
    /// The word in `managedFields`.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// The identity of an entry. The version tells updates apart; an applier is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    /// Empty for appliers.
    pub(crate) version: String,
    pub(crate) subresource: String,
}

impl Manager {
    pub(crate) fn new(
        name: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Manager {
        Manager {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: subresource.to_owned(),
        }
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) api_version: String,
    /// RFC 3339; kept as it was read.
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

/// All managers of an object.
pub(crate) type Managers = BTreeMap<Manager, Owned>;

/// The managers of an object; none when the list cannot be read.
pub(crate) fn managers_of(object: &Value) -> Managers {
    list_of(object).and_then(decode).unwrap_or_default()
}

fn list_of(object: &Value) -> Option<&Vec<Value>> {
    object.get("metadata")?.get("managedFields")?.as_array()
}

/// Whether an update asks to forget all managers: a list of one empty entry.
pub(crate) fn asks_for_reset(object: &Value) -> bool {
    match list_of(object).map(Vec::as_slice) {
        Some([Value::Object(entry)]) => entry.values().all(Value::is_null),
        _ => false,
    }
}

/// Takes `managedFields` out of an object.
pub(crate) fn take(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}

fn decode(list: &Vec<Value>) -> Option<Managers> {
    let mut managers = Managers::new();
    for entry in list {
        let text = |key: &str| match entry.get(key) {
            None | Some(Value::Null) => Some(""),
            Some(value) => value.as_str(),
        };
        let operation = match text("operation")? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("fieldsType")? != "FieldsV1" {
            return None;
        }
        let fields = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::new(),
            Some(fields) => decode_fields(fields).ok()?,
        };
        let api_version = text("apiVersion")?;
        let manager = Manager {
            // Unlike in a request an empty name is kept as it is.
            name: text("manager")?.to_owned(),
            ..Manager::new("-", operation, api_version, text("subresource")?)
        };
        let time = text("time")?;
        managers.insert(
            manager,
            Owned {
                api_version: api_version.to_owned(),
                time: (!time.is_empty()).then(|| time.to_owned()),
                fields,
            },
        );
    }
    Some(managers)
}

/// Puts the managers into an object, or takes the list away when there are none.
///
/// Order as in kube-apiserver: appliers first, then by time, name, version, subresource.
pub(crate) fn put(object: &mut Value, managers: &Managers) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if managers.is_empty() {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        return;
    }
    let mut entries: Vec<(&Manager, &Owned)> = managers.iter().collect();
    entries.sort_by_cached_key(|(manager, owned)| {
        (
            manager.operation,
            seconds(owned),
            manager.name.clone(),
            owned.api_version.clone(),
            manager.subresource.clone(),
        )
    });
    let list = entries.into_iter().map(encode).collect();
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("managedFields".to_owned(), Value::Array(list));
    }
}

fn encode((manager, owned): (&Manager, &Owned)) -> Value {
    let mut entry = Map::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            entry.insert(key.to_owned(), value.into());
        }
    };
    put("manager", &manager.name);
    put("operation", manager.operation.as_str());
    put("apiVersion", &owned.api_version);
    put("time", owned.time.as_deref().unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &manager.subresource);
    entry.insert("fieldsV1".to_owned(), encode_fields(&owned.fields));
    Value::Object(entry)
}

fn seconds(owned: &Owned) -> i64 {
    let time = owned.time.as_deref().and_then(|time| parse_time(time).ok());
    time.map_or(0, jiff::Timestamp::as_second)
}

/// Joins the oldest updaters of a version into one entry while there are more than [`limits::UPDATE_MANAGERS`].
pub(crate) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<(i64, Manager)> = managers
        .iter()
        .filter(|(manager, _)| manager.operation == Operation::Update)
        .map(|(manager, owned)| (seconds(owned), manager.clone()))
        .collect();
    let mut count = updaters.len();
    updaters.sort();
    let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
    for (_, manager) in updaters {
        if count <= limits::UPDATE_MANAGERS {
            break;
        }
        let version = manager.version.clone();
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, manager);
            continue;
        };
        let bucket = Manager::new("ancient-changes", Operation::Update, &version, "");
        if !managers.contains_key(&bucket)
            && let Some(owned) = managers.remove(first)
        {
            managers.insert(bucket.clone(), owned);
        }
        if manager == bucket {
            continue;
        }
        if let Some(newer) = managers.remove(&manager)
            && let Some(joined) = managers.get_mut(&bucket)
        {
            joined.fields = joined.fields.union(&newer.fields);
            joined.time = newer.time;
            count -= 1;
        }
    }
}

/// Fields that are never owned, as the server sets them or they name the object.
pub(crate) static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let top = ["apiVersion", "kind", "metadata"];
    FieldSet::from_paths(
        top.iter()
            .map(|name| Path::of_fields(&[name]))
            .chain(metadata.iter().map(|n| Path::of_fields(&["metadata", n]))),
    )
});

/// What is wrong with the `managedFields` of a request, for the validation of metadata.
pub fn validate_managed_fields(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("metadata").child("managedFields");
    if asks_for_reset(object) {
        return errors;
    }
    for (i, entry) in list_of(object).into_iter().flatten().enumerate() {
        let path = path.index(i);
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = text("operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.push(FieldError::invalid(
                &path.child("operation"),
                operation,
                "must be `Apply` or `Update`",
            ));
        }
        let fields_type = text("fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.push(FieldError::invalid(
                &path.child("fieldsType"),
                fields_type,
                "must be `FieldsV1`",
            ));
        }
        if text("manager").len() > limits::MANAGER_NAME {
            errors.push(FieldError::too_long(
                &path.child("manager"),
                limits::MANAGER_NAME,
            ));
        }
        if errors.len() > limits::ERRORS {
            break;
        }
    }
    errors
}
