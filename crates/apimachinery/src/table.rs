//! `Table` (`meta.k8s.io/v1`): what `kubectl get` prints, and ages as kubectl prints them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::ListMeta;

/// A table of objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Always `Table`.
    pub kind: String,
    /// `meta.k8s.io/v1` (or `v1beta1` when a client asks for that).
    pub api_version: String,
    /// As of the list that the table shows.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The columns; empty in the later events of a watch.
    pub column_definitions: Vec<ColumnDefinition>,
    /// One row for each object.
    pub rows: Vec<TableRow>,
}

/// One column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// The heading.
    pub name: String,
    /// The OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The OpenAPI format; `name` marks the column with the object's name.
    #[serde(default)]
    pub format: String,
    /// What the column shows.
    #[serde(default)]
    pub description: String,
    /// 0 is always shown, higher numbers only in wide output.
    #[serde(default)]
    pub priority: i32,
}

impl ColumnDefinition {
    /// A column that is always shown.
    pub fn new(name: &str, ty: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            ty: ty.to_owned(),
            description: description.to_owned(),
            ..Self::default()
        }
    }

    /// The same with a format.
    #[must_use]
    pub fn format(mut self, format: &str) -> Self {
        format.clone_into(&mut self.format);
        self
    }

    /// The same, shown only in wide output.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// One value for each column.
    pub cells: Vec<Value>,
    /// `Completed` and the like, by which kubectl used to hide rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Value>,
    /// The object itself, its metadata, or nothing, as the request's `includeObject` says.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub object: Value,
}

impl Table {
    /// An empty table of `meta.k8s.io/v1`.
    pub fn new(columns: Vec<ColumnDefinition>) -> Self {
        Self {
            kind: "Table".to_owned(),
            api_version: "meta.k8s.io/v1".to_owned(),
            metadata: ListMeta::default(),
            column_definitions: columns,
            rows: Vec::new(),
        }
    }
}

/// A duration as kubectl shows ages: `5s`, `2m3s`, `3h`, `2d`.
pub fn human_duration(secs: i64) -> String {
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    // A little below zero is clock skew, not nonsense.
    if secs < -1 {
        return "<invalid>".to_owned();
    }
    if secs < 0 {
        return "0s".to_owned();
    }
    if secs < 120 {
        return format!("{secs}s");
    }
    let minutes = secs / 60;
    if minutes < 10 {
        return two(minutes, "m", secs % 60, "s");
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return two(hours, "h", minutes % 60, "m");
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        return two(days, "d", hours % 24, "h");
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    let years = days / 365;
    if hours < 24 * 365 * 8 {
        return two(years, "y", days % 365, "d");
    }
    format!("{years}y")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_read_as_kubectl_writes_them() {
        let (m, h, d, y) = (60, 3600, 86_400, 365 * 86_400);
        let cases = [
            (i64::MIN, "<invalid>"),
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (9 * m + 59, "9m59s"),
            (10 * m, "10m"),
            (179 * m + 59, "179m"),
            (3 * h, "3h"),
            (3 * h + m, "3h1m"),
            (7 * h + 59 * m, "7h59m"),
            (8 * h, "8h"),
            (47 * h, "47h"),
            (48 * h, "2d"),
            (49 * h, "2d1h"),
            (8 * d - h, "7d23h"),
            (8 * d, "8d"),
            (100 * d, "100d"),
            (2 * y - h, "729d"),
            (2 * y, "2y"),
            (2 * y + d, "2y1d"),
            (8 * y - d, "7y364d"),
            (8 * y, "8y"),
            (100 * y, "100y"),
            (i64::MAX, "292471208677y"),
        ];
        for (secs, expected) in cases {
            assert_eq!(human_duration(secs), expected, "{secs}");
        }
    }

    #[test]
    fn tables_have_kubes_json() {
        let mut table = Table::new(vec![
            ColumnDefinition::new("Name", "string", "the name").format("name"),
        ]);
        table.rows.push(TableRow {
            cells: vec!["a".into()],
            ..TableRow::default()
        });
        assert_eq!(
            serde_json::to_value(table).unwrap(),
            json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "the name", "priority": 0}],
                "rows": [{"cells": ["a"]}],
            })
        );
    }
}
