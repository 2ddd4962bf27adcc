//! Tables and partial objects: what `kubectl get` and metadata clients ask for.

mod builtin;
mod cells;
mod columns;
mod more;
mod pods;
mod rows;

use apimachinery::meta::{self, ListMeta};
use apimachinery::status::ApiError;
use apimachinery::table::human_duration;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kinds::{Column, Kind};
use crate::request::Query;

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    /// Reads `includeObject`.
    pub(crate) fn parse(query: &Query) -> Self {
        match query.get("includeObject") {
            Some("None") => IncludeObject::None,
            Some("Object") => IncludeObject::Object,
            _ => IncludeObject::Metadata,
        }
    }

    /// Refuses what `includeObject` cannot be.
    pub(crate) fn check(query: &Query) -> Result<(), ApiError> {
        match query.get("includeObject").unwrap_or_default() {
            "" | "None" | "Metadata" | "Object" => Ok(()),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

pub(crate) fn version(beta: bool) -> &'static str {
    if beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    }
}

/// Only the metadata of an object.
pub(crate) fn partial(mut object: Value, beta: bool) -> Value {
    let metadata = object
        .get_mut("metadata")
        .map(Value::take)
        .unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": version(beta), "metadata": metadata})
}

/// Only the metadata of a list's objects.
pub(crate) fn partial_list(items: Vec<Value>, list: &ListMeta, beta: bool) -> Value {
    let items: Vec<Value> = items.into_iter().map(|item| partial(item, beta)).collect();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": version(beta), "metadata": list, "items": items})
}

/// A list as a table.
pub(crate) fn list(
    kind: &Kind,
    items: Vec<Value>,
    list: &ListMeta,
    include: IncludeObject,
    beta: bool,
) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = items
        .into_iter()
        .map(|item| row(kind, item, include, beta, now))
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": version(beta),
        "metadata": list,
        "columnDefinitions": definitions(kind),
        "rows": rows,
    })
}

/// One watched object as a table of one row; a bookmark has no cells worth showing but keeps its metadata.
pub(crate) fn watch_row(
    kind: &Kind,
    object: Value,
    include: IncludeObject,
    beta: bool,
    bookmark: bool,
) -> Value {
    let include = if bookmark {
        IncludeObject::Metadata
    } else {
        include
    };
    let list_meta = ListMeta {
        resource_version: meta::resource_version(&object)
            .unwrap_or_default()
            .to_owned(),
        ..ListMeta::default()
    };
    list(kind, vec![object], &list_meta, include, beta)
}

fn row(kind: &Kind, object: Value, include: IncludeObject, beta: bool, now: Timestamp) -> Value {
    let cells = match &kind.crd {
        Some(crd) => {
            let mut cells = vec![Value::from(meta::name(&object).unwrap_or_default())];
            cells.extend(
                crd.columns
                    .iter()
                    .map(|column| cells::custom(column, &object, now)),
            );
            cells
        }
        None => builtin::cells(kind, &object, now),
    };
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells));
    if let Some(conditions) = columns::conditions(kind, &object) {
        row.insert("conditions".to_owned(), conditions);
    }
    match include {
        IncludeObject::None => {
            row.insert("object".to_owned(), Value::Null);
        }
        IncludeObject::Metadata => {
            row.insert("object".to_owned(), partial(object, beta));
        }
        IncludeObject::Object => {
            row.insert("object".to_owned(), object);
        }
    }
    Value::Object(row)
}

fn definitions(kind: &Kind) -> Vec<Value> {
    let name = Column {
        name: "Name".to_owned(),
        ty: "string".to_owned(),
        format: "name".to_owned(),
        description: "Name must be unique within a namespace.".to_owned(),
        priority: 0,
    };
    let columns: Vec<Column> = match &kind.crd {
        Some(crd) => std::iter::once(name)
            .chain(crd.columns.iter().map(|c| c.column.clone()))
            .collect(),
        None => std::iter::once(name)
            .chain(columns::columns(kind))
            .collect(),
    };
    columns
        .into_iter()
        .map(|c| json!({"name": c.name, "type": c.ty, "format": c.format, "description": c.description, "priority": c.priority}))
        .collect()
}

/// The age of an object, as kubectl shows it.
pub(super) fn age(time: Option<Timestamp>, now: Timestamp) -> Value {
    match time {
        Some(time) => Value::String(human_duration(now.as_second() - time.as_second())),
        None => Value::String("<unknown>".to_owned()),
    }
}
