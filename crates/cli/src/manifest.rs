//! Manifests: files, directories or standard input, split into objects that remember where they stand.
//!
//! A document ends at a line `---` or `...` (YAML 1.2, 9.1), which even a block scalar cannot contain.
//! Everything is read and parsed before anything is sent: a broken document changes nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::limits::{MANIFEST_BYTES, MANIFEST_DOCUMENTS, MANIFEST_FILES};

/// One object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// `vm.yaml: document 2`.
    pub(crate) place: String,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) object: Value,
}

impl Manifest {
    /// `vm.yaml: document 2: VirtualMachine default/vm1`.
    pub(crate) fn title(&self) -> String {
        let namespace = self.namespace.as_deref().map(|n| format!("{n}/"));
        let namespace = namespace.unwrap_or_default();
        format!("{}: {} {namespace}{}", self.place, self.kind, self.name)
    }
}

/// Reads all manifests that `-f` names.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let text = bounded(std::io::stdin().lock(), "standard input")?;
            manifests.extend(parse("standard input", &text)?);
        } else {
            for file in files(path)? {
                let name = file.display().to_string();
                let opened = File::open(&file).map_err(Error::io(format!("opening {name}")))?;
                manifests.extend(parse(&name, &bounded(opened, &name)?)?);
            }
        }
        if manifests.len() > MANIFEST_DOCUMENTS {
            return Err(Error::Refused(format!(
                "more than {MANIFEST_DOCUMENTS} objects: apply them in parts"
            )));
        }
    }
    if manifests.is_empty() {
        return Err(Error::Refused("no objects in the given files".to_owned()));
    }
    Ok(manifests)
}

/// The file itself, or the manifests directly in a directory, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = path.display();
    let about = std::fs::metadata(path).map_err(Error::io(format!("reading {name}")))?;
    if !about.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let doing = || Error::io(format!("reading the directory {name}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(doing())? {
        let file = entry.map_err(doing())?.path();
        let wanted = file
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if wanted && file.is_file() {
            found.push(file);
        }
        if found.len() > MANIFEST_FILES {
            return Err(Error::Refused(format!(
                "{name} has more than {MANIFEST_FILES} manifests"
            )));
        }
    }
    if found.is_empty() {
        return Err(Error::Refused(format!(
            "{name} has no files that end in .yaml, .yml or .json"
        )));
    }
    found.sort();
    Ok(found)
}

fn bounded(from: impl Read, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    from.take(MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(format!("reading {name}")))?;
    if bytes.len() as u64 > MANIFEST_BYTES {
        return Err(Error::Refused(format!(
            "{name} is larger than {} MiB",
            MANIFEST_BYTES >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|_| Error::Refused(format!("{name} is not UTF-8 text")))
}

/// Splits a stream into documents: the line each begins on (from 0), and its text.
pub(crate) fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut document = String::new();
    for (number, line) in text.lines().enumerate() {
        let marker = |m: &str| {
            line.strip_prefix(m)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        };
        if marker("---") || marker("...") {
            documents.push((start, std::mem::take(&mut document)));
            start = number + 1;
            // `--- {a: 1}`: content may follow the marker.
            let rest = line.get(3..).unwrap_or_default();
            if marker("---") && !is_blank(rest) {
                start = number;
                document.push_str(rest);
                document.push('\n');
            }
        } else {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.push((start, document));
    documents.retain(|(_, text)| !text.lines().all(is_blank));
    documents
}

/// Nothing but space, a comment or a directive.
fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#') || line.starts_with('%')
}

/// The objects of one file.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    for (number, (line, document)) in split(text).into_iter().enumerate() {
        let place = format!("{name}: document {}", number + 1);
        // Lines before it are kept as blanks, so that an error names the line of the file.
        let padded = format!("{}{document}", "\n".repeat(line));
        let value: Value = serde_saphyr::from_str(&padded)
            .map_err(|e| Error::Refused(format!("{place}: not valid YAML: {e}")))?;
        flatten(&place, value, &mut manifests)?;
    }
    Ok(manifests)
}

/// A `List` stands for its items.
fn flatten(place: &str, mut value: Value, into: &mut Vec<Manifest>) -> Result<(), Error> {
    if value.is_null() {
        return Ok(());
    }
    let is_list = value.get("kind").is_some_and(|k| k == "List");
    if is_list && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
        for (n, item) in items.into_iter().enumerate() {
            let place = format!("{place}, item {}", n + 1);
            into.push(manifest(&place, item)?);
        }
        return Ok(());
    }
    into.push(manifest(place, value)?);
    Ok(())
}

fn manifest(place: &str, object: Value) -> Result<Manifest, Error> {
    if !object.is_object() {
        return Err(Error::Refused(format!("{place}: not an object")));
    }
    let text = |pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str);
        found.filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let needed = |pointer: &str| {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        text(pointer)
            .ok_or_else(|| Error::Refused(format!("{place}: {path} is missing or is not a string")))
    };
    Ok(Manifest {
        place: place.to_owned(),
        api_version: needed("/apiVersion")?,
        kind: needed("/kind")?,
        name: needed("/metadata/name")?,
        namespace: text("/metadata/namespace"),
        object,
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
