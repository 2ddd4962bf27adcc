//! `get`: objects as the server's table, or as they are.

use apimachinery::table::Table;
use clap::Args;
use futures_util::TryStreamExt;
use http::Request;
use kube::api::WatchEvent;
use serde_json::{Value, json};

use crate::catalog::{Catalog, Resource, targets, with_query};
use crate::error::Error;
use crate::limits::PAGE;
use crate::output::{Output, print, scalar, visible, without_managed_fields, yaml};
use crate::session::Session;
use crate::table::Printer;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Options of `get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt get vm\n  ferrovirt get vm,vmi,dv -A -o wide\n  ferrovirt get vm vm1 -o yaml\n  ferrovirt get vmruntime vmruntime -o jsonpath={.status.ready}\n  ferrovirt get vmi -w"
)]
pub struct GetOptions {
    /// TYPE[,TYPE] [NAME...], or TYPE/NAME...
    #[arg(required = true, value_name = "TYPE [NAME]")]
    target: Vec<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// wide, yaml, json, name or jsonpath=PATH
    #[arg(short, long, default_value = None, value_name = "FORMAT")]
    output: Option<Output>,
    /// Go on and show changes as they happen
    #[arg(short, long)]
    watch: bool,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these fields
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
}

/// Does `get`.
pub(crate) async fn run(session: &Session, options: &GetOptions) -> Result<(), Error> {
    let targets = targets(&options.target)?;
    let named = targets.iter().any(|(_, name)| name.is_some());
    if named && options.all_namespaces {
        return Err(Error::Usage(
            "a NAME and --all-namespaces exclude each other".to_owned(),
        ));
    }
    if named && (options.selector.is_some() || options.field_selector.is_some()) {
        return Err(Error::Usage(
            "a NAME and a selector exclude each other".to_owned(),
        ));
    }
    if options.watch && targets.len() > 1 {
        return Err(Error::Usage("--watch takes one TYPE".to_owned()));
    }
    let catalog = Catalog::fetch(session).await?;
    let mut resolved = Vec::with_capacity(targets.len());
    for (kind, name) in targets {
        resolved.push((catalog.by_type(&kind)?, name));
    }
    match options.output.clone().unwrap_or_default() {
        Output::Table => tables(session, options, &resolved, false).await,
        Output::Wide => tables(session, options, &resolved, true).await,
        _ if options.watch => Err(Error::Usage(
            "--watch shows tables: leave out -o, or give -o wide".to_owned(),
        )),
        output => objects(session, options, &resolved, named, &output).await,
    }
}

/// One question: a type in a scope, or one object.
struct Ask<'a> {
    session: &'a Session,
    options: &'a GetOptions,
    resource: &'a Resource,
    name: Option<&'a str>,
}

impl Ask<'_> {
    fn doing(&self) -> String {
        match self.name {
            Some(name) => format!("getting {}/{name}", self.resource.plural),
            None => format!("getting {}", self.resource.plural),
        }
    }

    fn namespace(&self) -> Option<&str> {
        (!self.options.all_namespaces).then_some(self.session.namespace.as_str())
    }

    fn path(&self, extra: &[(&str, &str)]) -> String {
        if let Some(name) = self.name {
            return self.resource.object(&self.session.namespace, name);
        }
        let mut query = extra.to_vec();
        query.extend(
            self.options
                .selector
                .as_deref()
                .map(|s| ("labelSelector", s)),
        );
        query.extend(
            self.options
                .field_selector
                .as_deref()
                .map(|s| ("fieldSelector", s)),
        );
        with_query(&self.resource.collection(self.namespace()), &query)
    }

    /// All pages; `take` gets each and gives back what its metadata says.
    async fn pages(&self, accept: &str, mut take: impl FnMut(Value)) -> Result<(), Error> {
        let limit = PAGE.to_string();
        let mut token = String::new();
        loop {
            let mut query = vec![("limit", limit.as_str())];
            if !token.is_empty() {
                query.push(("continue", token.as_str()));
            }
            let page: Value = self
                .session
                .get_as(&self.doing(), &self.path(&query), accept)
                .await?;
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            let next = next.unwrap_or_default().to_owned();
            take(page);
            if next.is_empty() || self.name.is_some() {
                return Ok(());
            }
            token = next;
        }
    }

    async fn table(&self) -> Result<Table, Error> {
        let mut pages = Vec::new();
        self.pages(TABLE, |page| pages.push(page)).await?;
        let mut whole: Option<Table> = None;
        for page in pages {
            let table = table_of(page, &self.doing())?;
            match &mut whole {
                None => whole = Some(table),
                Some(whole) => {
                    whole.rows.extend(table.rows);
                    whole.metadata = table.metadata;
                }
            }
        }
        whole.ok_or_else(|| Error::Refused(format!("{}: no answer", self.doing())))
    }
}

/// A table; the later ones of a watch have `null` for their columns, as Go writes an empty list.
fn table_of(mut value: Value, doing: &str) -> Result<Table, Error> {
    if let Some(fields) = value.as_object_mut() {
        for list in ["columnDefinitions", "rows"] {
            let field = fields.entry(list).or_insert(Value::Null);
            if field.is_null() {
                *field = json!([]);
            }
        }
    }
    serde_json::from_value(value)
        .map_err(|e| Error::Refused(format!("{doing}: the server gave no table: {e}")))
}

async fn tables(
    session: &Session,
    options: &GetOptions,
    resolved: &[(&Resource, Option<String>)],
    wide: bool,
) -> Result<(), Error> {
    let several = resolved
        .iter()
        .any(|(r, _)| Some(*r) != resolved.first().map(|f| f.0));
    let mut printed = false;
    let mut failed = false;
    let mut printer: Option<(&Resource, Printer)> = None;
    for (resource, name) in resolved {
        let ask = Ask {
            session,
            options,
            resource,
            name: name.as_deref(),
        };
        let table = match ask.table().await {
            Ok(table) => table,
            Err(error) if resolved.len() > 1 && error.status().is_some() => {
                eprintln!("error: {}", error.render());
                failed = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        let revision = table.metadata.resource_version.clone();
        if printer.as_ref().is_none_or(|(of, _)| of != resource) {
            let prefix = if several {
                format!("{}/", resource.singular_name())
            } else {
                String::new()
            };
            let namespaces = options.all_namespaces && resource.namespaced;
            printer = Some((resource, Printer::new(wide, namespaces, prefix)));
            if printed && !table.rows.is_empty() {
                print("\n")?;
            }
        }
        if let Some((_, printer)) = &mut printer {
            if !table.rows.is_empty() {
                print(&printer.render(&table))?;
                printed = true;
            }
            if options.watch {
                return watch(&ask, printer, revision).await;
            }
        }
    }
    if failed {
        return Err(Error::Reported);
    }
    if !printed {
        if options.all_namespaces || resolved.iter().all(|(r, _)| !r.namespaced) {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", session.namespace);
        }
    }
    Ok(())
}

/// Rows of changes until interrupted; a watch that the server ends is taken up again.
async fn watch(ask: &Ask<'_>, printer: &mut Printer, revision: String) -> Result<(), Error> {
    let doing = format!("watching {}", ask.resource.plural);
    let only = ask.name.map(|n| format!("metadata.name={n}"));
    let whole = Ask { name: None, ..*ask };
    let mut revision = revision;
    loop {
        let mut query = vec![("watch", "1"), ("resourceVersion", revision.as_str())];
        query.extend(only.as_deref().map(|o| ("fieldSelector", o)));
        let request = Request::get(whole.path(&query))
            .header(http::header::ACCEPT, TABLE)
            .body(Vec::new())
            .map_err(|e| Error::Refused(format!("{doing}: {e}")))?;
        let events = ask.session.client.request_events::<Value>(request).await;
        let mut events = std::pin::pin!(events.map_err(ask.session.failed(doing.clone()))?);
        let mut expired = false;
        let mut next = None;
        while let Some(event) = events
            .try_next()
            .await
            .map_err(ask.session.failed(doing.clone()))?
        {
            let object = match event {
                WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o,
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) if status.code == 410 => {
                    expired = true;
                    break;
                }
                WatchEvent::Error(status) => {
                    return Err(ask.session.failed(doing)(kube::Error::Api(status)));
                }
            };
            let table = table_of(object, &doing)?;
            let of_row = table.rows.first().and_then(|r| {
                let version = r.object.pointer("/metadata/resourceVersion")?;
                version.as_str().map(str::to_owned)
            });
            next = of_row.or(next);
            print(&printer.render(&table))?;
        }
        match next {
            Some(seen) if !expired => revision = seen,
            _ if !expired => {}
            _ => {
                let table = whole.table().await?;
                revision = table.metadata.resource_version;
            }
        }
    }
}

async fn objects(
    session: &Session,
    options: &GetOptions,
    resolved: &[(&Resource, Option<String>)],
    named: bool,
    output: &Output,
) -> Result<(), Error> {
    let mut found: Vec<(Value, &Resource)> = Vec::new();
    for (resource, name) in resolved {
        let ask = Ask {
            session,
            options,
            resource,
            name: name.as_deref(),
        };
        ask.pages("application/json", |mut page| {
            let items = page.get_mut("items").map(Value::take);
            match items {
                Some(Value::Array(items)) if name.is_none() => {
                    found.extend(items.into_iter().map(|i| (typed(i, resource), *resource)));
                }
                _ if name.is_some() => found.push((page, resource)),
                _ => {}
            }
        })
        .await?;
    }
    if let Output::Name = output {
        for (object, resource) in &found {
            let name = object.pointer("/metadata/name").map(scalar);
            let name = name.unwrap_or_default();
            print(&format!(
                "{}/{}\n",
                resource.singular_name(),
                visible(&name)
            ))?;
        }
        return Ok(());
    }
    let single = named && found.len() == 1;
    let mut objects: Vec<Value> = found
        .into_iter()
        .map(|(object, _)| without_managed_fields(object))
        .collect();
    let shown = match objects.pop() {
        Some(only) if single => only,
        last => {
            objects.extend(last);
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects})
        }
    };
    match output {
        Output::Json => print(&format!("{shown:#}\n")),
        Output::JsonPath(path) => {
            let values: Vec<String> = path.find(&shown).into_iter().map(scalar).collect();
            print(&format!("{}\n", values.join(" ")))
        }
        _ => print(&yaml(&shown)?),
    }
}

/// Items of lists carry no type of their own.
fn typed(mut item: Value, resource: &Resource) -> Value {
    if let Some(object) = item.as_object_mut() {
        object
            .entry("apiVersion")
            .or_insert_with(|| Value::String(resource.api_version()));
        object
            .entry("kind")
            .or_insert_with(|| Value::String(resource.kind.clone()));
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_watch_have_no_columns() {
        let event = json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "5"},
            "columnDefinitions": null,
            "rows": [{"cells": ["vm1"], "object": {"metadata": {"resourceVersion": "5"}}}],
        });
        let table = table_of(event, "watching").unwrap();
        assert!(table.column_definitions.is_empty());
        assert_eq!(table.rows.len(), 1);
        assert!(table_of(json!({"kind": "Status", "rows": 1}), "watching").is_err());
    }
}
