//! `describe`: one object for a person: metadata, spec and status, conditions as a table, events.

use std::fmt::Write as _;

use apimachinery::table::{ColumnDefinition, Table, TableRow, human_duration};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::catalog::{Catalog, targets, with_query};
use crate::error::Error;
use crate::limits::{EVENTS, PAGE};
use crate::output::{print, scalar, visible, yaml};
use crate::session::Session;
use crate::table::Printer;

/// Options of `describe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt describe vm vm1\n  ferrovirt describe vmruntime vmruntime"
)]
pub struct DescribeOptions {
    /// TYPE NAME, or TYPE/NAME
    #[arg(required = true, value_name = "TYPE NAME")]
    target: Vec<String>,
}

/// Does `describe`.
pub(crate) async fn run(session: &Session, options: &DescribeOptions) -> Result<(), Error> {
    let targets = targets(&options.target)?;
    let catalog = Catalog::fetch(session).await?;
    for (n, (kind, name)) in targets.into_iter().enumerate() {
        let name = name.ok_or_else(|| Error::Usage("a NAME is needed".to_owned()))?;
        let resource = catalog.by_type(&kind)?;
        let doing = format!("describing {}/{name}", resource.plural);
        let path = resource.object(&session.namespace, &name);
        let object = session.get(&doing, &path).await?;
        let uid = object
            .pointer("/metadata/uid")
            .map(scalar)
            .unwrap_or_default();
        let fields = format!("involvedObject.uid={uid}");
        let limit = PAGE.to_string();
        // Events of cluster-wide objects may be in any namespace.
        let all = if resource.namespaced {
            format!("/api/v1/namespaces/{}/events", session.namespace)
        } else {
            "/api/v1/events".to_owned()
        };
        let events = with_query(&all, &[("fieldSelector", &fields), ("limit", &limit)]);
        let events = session.get("asking for events", &events).await;
        let separator = if n > 0 { "\n\n" } else { "" };
        let text = describe(&object, events.as_ref().ok(), Timestamp::now())?;
        print(&format!("{separator}{text}"))?;
        if let Err(error) = events {
            eprintln!("warning: {}", error.render());
        }
    }
    Ok(())
}

/// The whole text.
fn describe(object: &Value, events: Option<&Value>, now: Timestamp) -> Result<String, Error> {
    let mut text = String::new();
    let meta = |key: &str| object.pointer(&format!("/metadata/{key}"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{:<14}{}", format!("{name}:"), visible(&value));
    };
    line("Name", meta("name").map(scalar).unwrap_or_default());
    if let Some(namespace) = meta("namespace") {
        line("Namespace", scalar(namespace));
    }
    let pairs = |value: Option<&Value>| -> String {
        let map = value.and_then(Value::as_object);
        let all: Vec<String> = map
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={}", scalar(v)))
            .collect();
        if all.is_empty() {
            "<none>".to_owned()
        } else {
            all.join(&format!("\n{:<14}", ""))
        }
    };
    line("Labels", pairs(meta("labels")));
    line("Annotations", pairs(meta("annotations")));
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            line(
                if key == "kind" { "Kind" } else { "API Version" },
                scalar(value),
            );
        }
    }
    for (title, key) in [
        ("Created", "creationTimestamp"),
        ("Deleting", "deletionTimestamp"),
    ] {
        if let Some(time) = meta(key) {
            line(
                title,
                format!("{} ({} ago)", scalar(time), age(Some(time), now)),
            );
        }
    }
    for owner in meta("ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let of = |key: &str| owner.get(key).map(scalar).unwrap_or_default();
        line("Owned By", format!("{}/{}", of("kind"), of("name")));
    }
    let rest: Vec<(&String, &Value)> = object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, _)| !matches!(k.as_str(), "apiVersion" | "kind" | "metadata"))
        .collect();
    for (key, value) in rest {
        let mut value = value.clone();
        let mut conditions = None;
        if key == "status"
            && let Some(status) = value.as_object_mut()
        {
            conditions = status.remove("conditions");
        }
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            text.push_str(&visible(&yaml(&json!({ (title(key)): value }))?));
        }
        if let Some(Value::Array(conditions)) = conditions {
            text.push_str("Conditions:\n");
            let columns = ["type", "status", "reason", "age", "message"];
            text.push_str(&rows(&columns, &conditions, |c, column| match column {
                "age" => age(c.get("lastTransitionTime"), now),
                column => c.get(column).map(scalar).unwrap_or_default(),
            }));
        }
    }
    let found = events
        .and_then(|e| e.get("items"))
        .and_then(Value::as_array);
    let mut found: Vec<Value> = found.cloned().unwrap_or_default();
    if found.is_empty() {
        text.push_str("Events:       <none>\n");
        return Ok(text);
    }
    found.sort_by_key(|e| last(e).map(scalar));
    let skip = found.len().saturating_sub(EVENTS);
    text.push_str("Events:\n");
    let columns = ["type", "reason", "age", "from", "message"];
    text.push_str(&rows(
        &columns,
        found.get(skip..).unwrap_or_default(),
        |e, column| match column {
            "age" => match e.get("count").and_then(Value::as_i64) {
                Some(count @ 2..) => format!("{} (x{count})", age(last(e), now)),
                _ => age(last(e), now),
            },
            "from" => {
                let source = e.pointer("/source/component").filter(|c| *c != "");
                let source = source.or_else(|| e.get("reportingComponent"));
                source.map(scalar).unwrap_or_default()
            }
            column => e.get(column).map(scalar).unwrap_or_default(),
        },
    ));
    Ok(text)
}

/// When an event was seen last.
fn last(event: &Value) -> Option<&Value> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .into_iter()
    .filter_map(|p| event.pointer(p))
    .find(|v| v.is_string())
}

fn age(time: Option<&Value>, now: Timestamp) -> String {
    let time = time
        .and_then(Value::as_str)
        .and_then(|t| t.parse::<Timestamp>().ok());
    time.map_or_else(
        || "<unknown>".to_owned(),
        |t| human_duration(now.as_second() - t.as_second()),
    )
}

fn title(key: &str) -> String {
    let mut chars = key.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// An indented table.
fn rows(columns: &[&str], items: &[Value], of: impl Fn(&Value, &str) -> String) -> String {
    let definitions = columns
        .iter()
        .map(|c| ColumnDefinition::new(&title(c), "string", ""));
    let mut table = Table::new(definitions.collect());
    table.rows = items
        .iter()
        .map(|item| TableRow {
            cells: columns.iter().map(|c| Value::String(of(item, c))).collect(),
            ..TableRow::default()
        })
        .collect();
    let text = Printer::default().render(&table);
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "  {line}");
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_described() {
        let vm = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": "vm1", "namespace": "default", "uid": "u", "labels": {"a": "b", "c": "d"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"runStrategy": "Always"},
            "status": {"printableStatus": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"},
            ]},
        });
        let events = json!({"items": [
            {"type": "Normal", "reason": "Started", "message": "VMI started", "lastTimestamp": "2026-01-01T00:00:10Z", "count": 2, "source": {"component": "vm"}},
        ]});
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let text = describe(&vm, Some(&events), now).unwrap();
        assert_eq!(
            text,
            "Name:         vm1\nNamespace:    default\nLabels:       a=b\n              c=d\nAnnotations:  <none>\nAPI Version:  kubevirt.io/v1\nKind:         VirtualMachine\nCreated:      2026-01-01T00:00:00Z (60s ago)\nSpec:\n  runStrategy: Always\nStatus:\n  printableStatus: Running\nConditions:\n  TYPE    STATUS   REASON   AGE   MESSAGE\n  Ready   True              30s\nEvents:\n  TYPE     REASON    AGE        FROM   MESSAGE\n  Normal   Started   50s (x2)   vm     VMI started\n"
        );
    }
}
