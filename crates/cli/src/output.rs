//! How objects are shown: table, YAML, JSON, names, one field.

use std::io::Write as _;
use std::str::FromStr;

use apimachinery::jsonpath::JsonPath;
use serde_json::Value;

use crate::error::Error;

/// The value of `-o`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Output {
    /// The server's table.
    #[default]
    Table,
    /// The same with all columns.
    Wide,
    /// The objects as YAML.
    Yaml,
    /// The objects as JSON.
    Json,
    /// `type/name`.
    Name,
    /// The values that a path finds.
    JsonPath(JsonPath),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "wide" => Self::Wide,
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "name" => Self::Name,
            _ => match text.strip_prefix("jsonpath=") {
                Some(path) => Self::JsonPath(JsonPath::parse(path).map_err(|e| e.to_string())?),
                None => {
                    return Err("expected wide, yaml, json, name or jsonpath=PATH".to_owned());
                }
            },
        })
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("writing to standard output"))
}

/// YAML of a value.
pub(crate) fn yaml(value: &Value) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|e| Error::Refused(format!("writing YAML: {e}")))
}

/// Drops the bookkeeping of server-side apply, which nobody reads here.
pub(crate) fn without_managed_fields(mut object: Value) -> Value {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    object
}

/// A scalar as text, anything else as JSON.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text from an object made safe for a terminal: control characters are shown, not obeyed.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_ascii_control() => {
                shown.push('^');
                shown.push(char::from(c as u8 ^ 0x40));
            }
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_parsed() {
        assert_eq!("wide".parse(), Ok(Output::Wide));
        assert!(matches!(
            "jsonpath={.status.ready}".parse(),
            Ok(Output::JsonPath(_))
        ));
        assert!("jsonpath={".parse::<Output>().is_err());
        assert!("xml".parse::<Output>().is_err());
    }

    #[test]
    fn terminals_do_not_obey_objects() {
        assert_eq!(visible("a\u{1b}[2Jb\u{9b}c\nd"), "a^[[2Jb\u{fffd}c\nd");
    }
}
