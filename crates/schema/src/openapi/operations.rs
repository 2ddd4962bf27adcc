//! The `paths` of a document: which operations each resource and subresource has.

use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::{KindDoc, SubresourceDoc, document_path, gvk_value};
use crate::builtin;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Adds the paths of one resource.
pub(super) fn add(paths: &mut Map<String, Value>, gv: &GroupVersion, kind: &KindDoc, schema: &str) {
    let root = format!("/{}", document_path(gv));
    let collection = if kind.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", kind.resource)
    } else {
        format!("{root}/{}", kind.resource)
    };
    let maker = Maker {
        gvk: gv.with_kind(&kind.kind),
        doc: kind,
        schema,
        builtin: kind.schema.is_none(),
    };
    if kind.namespaced && has(&kind.verbs, "list") {
        let mut item = Map::new();
        item.insert("get".into(), maker.list("ForAllNamespaces"));
        item.insert("parameters".into(), json!([query("pretty")]));
        paths.insert(format!("{root}/{}", kind.resource), item.into());
    }
    insert(paths, &collection, maker.collection());
    let object = format!("{collection}/{{name}}");
    insert(paths, &object, maker.object(None));
    for subresource in &kind.subresources {
        let path = format!("{object}/{}", subresource.name);
        insert(paths, &path, maker.object(Some(subresource)));
    }
}

/// Adds a path with the parameters which its text contains, unless nothing can be done there.
fn insert(paths: &mut Map<String, Value>, path: &str, mut item: Map<String, Value>) {
    if item.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for (name, text) in [
        ("name", "name of the object"),
        (
            "namespace",
            "object name and auth scope, such as for teams and projects",
        ),
    ] {
        if path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": text,
                "schema": {"type": "string", "uniqueItems": true},
            }));
        }
    }
    parameters.push(query("pretty"));
    item.insert("parameters".into(), parameters.into());
    paths.insert(path.to_owned(), item.into());
}

fn has(verbs: &[String], verb: &str) -> bool {
    verbs.iter().any(|own| own == verb)
}

struct Maker<'k> {
    gvk: GroupVersionKind,
    doc: &'k KindDoc,
    schema: &'k str,
    builtin: bool,
}

/// One operation before it is written down.
struct Operation<'o> {
    verb: &'o str,
    action: &'o str,
    description: String,
    suffix: &'o str,
    gvk: &'o GroupVersionKind,
    parameters: &'o [&'o str],
    body: Option<Value>,
    answer: &'o str,
    codes: &'o [u16],
}

const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];

impl Maker<'_> {
    fn list(&self, suffix: &str) -> Value {
        let list = format!("{}List", self.schema);
        self.operation(&Operation {
            verb: "list",
            action: "list",
            description: format!("list or watch objects of kind {}", self.gvk.kind),
            suffix,
            gvk: &self.gvk,
            parameters: &LIST,
            body: None,
            answer: &list,
            codes: &[200],
        })
    }

    fn collection(&self) -> Map<String, Value> {
        let mut item = Map::new();
        let verbs = &self.doc.verbs;
        let kind = &self.gvk.kind;
        if has(verbs, "list") {
            item.insert("get".into(), self.list(""));
        }
        if has(verbs, "create") {
            let operation = self.operation(&Operation {
                verb: "create",
                action: "post",
                description: article("create", kind),
                suffix: "",
                gvk: &self.gvk,
                parameters: &WRITE,
                body: Some(body(self.schema)),
                answer: self.schema,
                codes: &[200, 201, 202],
            });
            item.insert("post".into(), operation);
        }
        if has(verbs, "deletecollection") {
            let parameters = [&LIST[1..7], &DELETE[..]].concat();
            let operation = self.operation(&Operation {
                verb: "deleteCollection",
                action: "deletecollection",
                description: format!("delete collection of {kind}"),
                suffix: "",
                gvk: &self.gvk,
                parameters: &parameters,
                body: Some(body(&format!("{META}.DeleteOptions"))),
                answer: &format!("{META}.Status"),
                codes: &[200],
            });
            item.insert("delete".into(), operation);
        }
        item
    }

    /// The operations on one object, or on a subresource of it.
    fn object(&self, subresource: Option<&SubresourceDoc>) -> Map<String, Value> {
        let mut item = Map::new();
        let verbs = subresource.map_or(&self.doc.verbs, |sub| &sub.verbs);
        let foreign = subresource.and_then(|sub| sub.kind.as_ref());
        let gvk = foreign.unwrap_or(&self.gvk);
        let definition = foreign.map(|kind| builtin::definition_of(kind).map(|found| found.name()));
        let schema = match definition {
            None => self.schema,
            Some(found) => found.unwrap_or_default(),
        };
        let suffix = subresource.map_or("", |sub| &sub.name);
        let what = match subresource {
            None => gvk.kind.clone(),
            Some(sub) => format!("{} of the specified {}", sub.name, self.gvk.kind),
        };
        let own = |text: &str| match subresource {
            None => article(text, &what),
            Some(_) => format!("{text} {what}"),
        };
        let mut put = |method: &str,
                       verb: &str,
                       action: &str,
                       text: String,
                       parameters: &[&str],
                       body,
                       codes: &[u16]| {
            let operation = self.operation(&Operation {
                verb,
                action,
                description: text,
                suffix,
                gvk,
                parameters,
                body,
                answer: if verb == "delete" && subresource.is_none() {
                    STATUS
                } else {
                    schema
                },
                codes,
            });
            item.insert(method.to_owned(), operation);
        };
        if has(verbs, "get") {
            let text = match subresource {
                None => format!("read the specified {what}"),
                Some(_) => format!("read {what}"),
            };
            put("get", "read", "get", text, &[], None, &[200]);
        }
        if has(verbs, "update") {
            let text = match subresource {
                None => format!("replace the specified {what}"),
                Some(_) => format!("replace {what}"),
            };
            put(
                "put",
                "replace",
                "put",
                text,
                &WRITE,
                Some(body(schema)),
                &[200, 201],
            );
        }
        if has(verbs, "patch") {
            let text = match subresource {
                None => format!("partially update the specified {what}"),
                Some(_) => format!("partially update {what}"),
            };
            put(
                "patch",
                "patch",
                "patch",
                text,
                &PATCH,
                Some(self.patch_body()),
                &[200, 201],
            );
        }
        if has(verbs, "create") && subresource.is_some() {
            put(
                "post",
                "create",
                "post",
                own("create"),
                &WRITE,
                Some(body(schema)),
                &[200, 201, 202],
            );
        }
        if has(verbs, "delete") {
            let options = Some(body(&format!("{META}.DeleteOptions")));
            put(
                "delete",
                "delete",
                "delete",
                own("delete"),
                &DELETE,
                options,
                &[200, 202],
            );
        }
        item
    }

    fn operation(&self, operation: &Operation<'_>) -> Value {
        let parameters: Vec<Value> = operation
            .parameters
            .iter()
            .map(|name| query(name))
            .collect();
        let content = content(operation.answer, operation.verb == "list");
        let mut responses: Map<String, Value> = operation
            .codes
            .iter()
            .map(|code| {
                let text = match code {
                    201 => "Created",
                    202 => "Accepted",
                    _ => "OK",
                };
                let answer = json!({"description": text, "content": content.clone()});
                (code.to_string(), answer)
            })
            .collect();
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        let mut out = json!({
            "tags": [tag(&self.gvk)],
            "description": operation.description,
            "operationId": self.operation_id(operation),
            "responses": responses,
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": gvk_value(operation.gvk),
        });
        if let Some(object) = out.as_object_mut() {
            if !parameters.is_empty() {
                object.insert("parameters".into(), parameters.into());
            }
            if let Some(body) = &operation.body {
                object.insert("requestBody".into(), body.clone());
            }
        }
        out
    }

    fn operation_id(&self, operation: &Operation<'_>) -> String {
        let everywhere = operation.suffix == "ForAllNamespaces";
        let scope = if self.doc.namespaced && !everywhere {
            "Namespaced"
        } else {
            ""
        };
        let group = group_name(&self.gvk);
        let version = capital(&self.gvk.version);
        let suffix: String = operation.suffix.split('/').map(capital).collect();
        let kind = &self.gvk.kind;
        let verb = operation.verb;
        if verb == "deleteCollection" {
            return format!("delete{group}{version}Collection{scope}{kind}");
        }
        format!("{verb}{group}{version}{scope}{kind}{suffix}")
    }

    fn patch_body(&self) -> Value {
        let schema = json!({"schema": builtin::reference_value(&format!("{META}.Patch"))});
        let mut content = Map::new();
        for media in [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ] {
            content.insert(media.into(), schema.clone());
        }
        if self.builtin {
            content.insert("application/strategic-merge-patch+json".into(), schema);
        }
        json!({"required": true, "content": content})
    }
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

fn body(schema: &str) -> Value {
    let content = json!({"*/*": {"schema": schema_or_text(schema)}});
    json!({"required": !schema.ends_with(".DeleteOptions"), "content": content})
}

fn content(schema: &str, list: bool) -> Value {
    let answer = json!({"schema": schema_or_text(schema)});
    let mut content = Map::new();
    content.insert("application/json".into(), answer.clone());
    content.insert("application/yaml".into(), answer.clone());
    if list {
        content.insert("application/json;stream=watch".into(), answer);
    }
    content.into()
}

/// A reference, or plain text for what has no schema (logs, streams).
fn schema_or_text(schema: &str) -> Value {
    if schema.is_empty() {
        json!({"type": "string"})
    } else {
        builtin::reference_value(schema)
    }
}

fn article(verb: &str, kind: &str) -> String {
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{verb} {} {kind}", if vowel { "an" } else { "a" })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn group_name(gvk: &GroupVersionKind) -> String {
    match gvk.group.as_str() {
        "" => "Core".to_owned(),
        // Built-in groups are called by their first label, others by all of them.
        group => match group.strip_suffix(".k8s.io") {
            Some(own) => own.split('.').next().map(capital).unwrap_or_default(),
            None => group.split('.').map(capital).collect(),
        },
    }
}

fn tag(gvk: &GroupVersionKind) -> String {
    let group = group_name(gvk).to_ascii_lowercase();
    format!("{group}_{}", gvk.version)
}

/// A query parameter.
fn query(name: &str) -> Value {
    let ty = match name {
        "allowWatchBookmarks"
        | "watch"
        | "sendInitialEvents"
        | "force"
        | "orphanDependents"
        | "ignoreStoreReadErrorWithClusterBreakingPotential" => "boolean",
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        _ => "string",
    };
    let text = match name {
        "allowWatchBookmarks" => {
            "Ask for watch events of type BOOKMARK, which carry only a resource version."
        }
        "continue" => "The continue token of the previous page of this list.",
        "dryRun" => {
            "When present, indicates that modifications should not be persisted. Valid value: All, all dry run stages will be processed."
        }
        "fieldManager" => {
            "Name of the actor or entity that makes these changes; at most 128 printable characters. Required for apply requests."
        }
        "fieldSelector" => "Restrict the list to objects whose fields match.",
        "fieldValidation" => {
            "What to do with unknown or duplicate fields of the request: Ignore, Warn (the default) or Strict."
        }
        "force" => "Apply requests: take over fields that other managers own.",
        "gracePeriodSeconds" => "Seconds before the object is deleted; zero means at once.",
        "ignoreStoreReadErrorWithClusterBreakingPotential" => {
            "Delete the object even if it cannot be read from storage."
        }
        "labelSelector" => "Restrict the list to objects whose labels match.",
        "limit" => "The greatest number of objects to return in one page.",
        "orphanDependents" => {
            "Deprecated, use propagationPolicy. Whether dependents lose their owner instead of being deleted."
        }
        "pretty" => "If 'true', then the output is pretty printed.",
        "propagationPolicy" => "What happens to dependents: Orphan, Background or Foreground.",
        "resourceVersion" => "The resource versions from which a request may be served.",
        "resourceVersionMatch" => "How resourceVersion is applied to list calls.",
        "sendInitialEvents" => "Begin a watch with synthetic events for the objects that exist.",
        "shardSelector" => "Restrict the list to one shard of the objects.",
        "timeoutSeconds" => "Limits the duration of the call.",
        "watch" => "Watch for changes and return them as a stream.",
        _ => "",
    };
    json!({
        "name": name, "in": "query", "description": text,
        "schema": {"type": ty, "uniqueItems": true},
    })
}
