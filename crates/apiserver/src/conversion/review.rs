//! ConversionReview: the question, its answer, and what the answer may not have changed.

use std::fmt;

use apimachinery::name;
use serde_json::{Map, Value};

use crate::limits;

const GROUP: &str = "apiextensions.k8s.io";

/// Objects that one question is about, all of one kind.
#[derive(Debug)]
pub(super) struct Chunk {
    objects: Vec<Value>,
    /// The objects as the JSON text of a list.
    text: String,
}

/// A version and kind as upstream prints them.
pub(super) struct VersionKind(String, String);

impl fmt::Display for VersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.0, self.1)
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}

/// Cuts a list of objects into questions of bounded size.
pub(super) fn chunks(objects: Vec<Value>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for object in objects {
        let text = object.to_string();
        match chunks.last_mut() {
            Some(last)
                if last.objects.len() < limits::CONVERSION_OBJECTS
                    && last.text.len() + text.len() < limits::CONVERSION_BYTES =>
            {
                last.text.push(',');
                last.text.push_str(&text);
                last.objects.push(object);
            }
            _ => chunks.push(Chunk {
                objects: vec![object],
                text,
            }),
        }
    }
    chunks
}

impl Chunk {
    /// What the first of the objects is.
    pub(super) fn kind(&self) -> VersionKind {
        let first = self.objects.first().unwrap_or(&Value::Null);
        VersionKind(
            text(first, "/apiVersion").to_owned(),
            text(first, "/kind").to_owned(),
        )
    }

    /// The question, and its uid, which the answer must repeat.
    pub(super) fn request(&self, review: &str, api_version: &str) -> (String, Vec<u8>) {
        let uid = uuid::Uuid::new_v4().to_string();
        let question = format!(
            r#"{{"kind":"ConversionReview","apiVersion":"{GROUP}/{review}","request":{{"uid":"{uid}","desiredAPIVersion":{},"objects":[{}]}}}}"#,
            Value::from(api_version),
            self.text
        );
        (uid, question.into_bytes())
    }

    /// The objects of the answer, after all checks, in place of those of the question. The error goes on after
    /// "conversion webhook for KIND".
    pub(super) fn accept(
        self,
        converted: Vec<Value>,
        api_version: &str,
    ) -> Result<Vec<Value>, String> {
        if converted.len() != self.objects.len() {
            return Err(format!(
                "returned {} objects, expected {}",
                converted.len(),
                self.objects.len()
            ));
        }
        let many = self.objects.len() > 1;
        let at = |index: usize, what: &str, why: String| {
            if many {
                format!("returned invalid {what} at index {index}: {why}")
            } else {
                format!("returned invalid {what}: {why}")
            }
        };
        let mut out = Vec::with_capacity(converted.len());
        for (index, (before, mut after)) in self.objects.into_iter().zip(converted).enumerate() {
            same(&before, &after, api_version)
                .map_err(|why| at(index, if many { "converted object" } else { "object" }, why))?;
            restore(&before, &mut after).map_err(|why| at(index, "metadata", why))?;
            out.push(after);
        }
        Ok(out)
    }
}

/// Reads an answer.
pub(super) fn answer(bytes: &[u8], uid: &str, review: &str) -> Result<Vec<Value>, String> {
    let mut answer: Value = serde_json::from_slice(bytes)
        .map_err(|e| format!("the webhook's answer is no JSON: {e}"))?;
    let given = VersionKind(
        text(&answer, "/apiVersion").to_owned(),
        text(&answer, "/kind").to_owned(),
    );
    let expected = VersionKind(format!("{GROUP}/{review}"), "ConversionReview".to_owned());
    if given.to_string() != expected.to_string() {
        return Err(format!(
            "expected webhook response of {expected}, got {given}"
        ));
    }
    let Some(response) = answer.get_mut("response").filter(|r| r.is_object()) else {
        return Err("no response provided".to_owned());
    };
    if response["uid"] != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            text(response, "/uid")
        ));
    }
    let status = text(response, "/result/status");
    if status != "Success" {
        return Err(match text(response, "/result/message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.chars().take(limits::CONVERSION_MESSAGE).collect(),
        });
    }
    match response.get_mut("convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err("response.convertedObjects is no list".to_owned()),
    }
}

/// Whether the answer is the same object in the wanted version.
fn same(before: &Value, after: &Value, api_version: &str) -> Result<(), String> {
    if !after.is_object() {
        return Err("it is no object".to_owned());
    }
    let given = text(after, "/apiVersion");
    if given != api_version {
        return Err(format!(
            "invalid groupVersion (expected {api_version}, received {given})"
        ));
    }
    let (old, new) = (text(before, "/kind"), text(after, "/kind"));
    if old != new {
        return Err(format!("invalid kind (expected {old}, received {new})"));
    }
    for (field, pointer) in [
        ("name", "/metadata/name"),
        ("namespace", "/metadata/namespace"),
        ("UID", "/metadata/uid"),
    ] {
        let (old, new) = (text(before, pointer), text(after, pointer));
        if old != new {
            return Err(format!("must have the same {field}: {old} != {new}"));
        }
    }
    Ok(())
}

/// Puts the metadata back as it was, but for labels and annotations.
fn restore(before: &Value, after: &mut Value) -> Result<(), String> {
    let Some(given) = after.get_mut("metadata") else {
        return Err("missing metadata in converted object".to_owned());
    };
    let Value::Object(mut given) = given.take() else {
        return Err("invalid metadata in converted object: it is no object".to_owned());
    };
    let mut metadata = match before.get("metadata") {
        Some(Value::Object(metadata)) => metadata.clone(),
        _ => Map::new(),
    };
    for field in ["labels", "annotations"] {
        let value = match given.remove(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
                continue;
            }
            Some(Value::Object(value)) => value,
            Some(_) => {
                return Err(format!(
                    "invalid metadata.{field} in converted object: it is no object"
                ));
            }
        };
        if let Some((key, _)) = value.iter().find(|(_, v)| !v.is_string()) {
            return Err(format!(
                "metadata.{field}[{key}] must be a string in the converted object"
            ));
        }
        if metadata.get(field).and_then(Value::as_object) != Some(&value) {
            well_formed(field, &value)?;
        }
        metadata.insert(field.to_owned(), value.into());
    }
    after["metadata"] = metadata.into();
    Ok(())
}

fn well_formed(field: &str, map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let value = value.as_str().unwrap_or_default();
        let faults = if field == "labels" {
            [name::label_key(key), name::label_value(value)].concat()
        } else {
            name::qualified_name(&key.to_lowercase())
        };
        if let Some(fault) = faults.first() {
            return Err(format!("metadata.{field}: Invalid value: {key:?}: {fault}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TO: &str = "example.com/v2";

    fn object(version: &str, metadata: &Value) -> Value {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": metadata})
    }

    fn one(before: &Value, after: Value) -> Result<Value, String> {
        let mut chunks = chunks(vec![before.clone()]);
        let chunk = chunks.pop().unwrap();
        assert_eq!(chunk.kind().to_string(), "example.com/v1, Kind=Widget");
        chunk
            .accept(vec![after], TO)
            .map(|mut all| all.pop().unwrap())
    }

    #[test]
    fn an_answer_must_be_of_the_question_and_a_success() {
        let chunk = chunks(vec![object("v1", &json!({}))]).pop().unwrap();
        let (uid, body) = chunk.request("v1", TO);
        let question: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            question,
            json!({
                "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
                "request": {"uid": uid, "desiredAPIVersion": TO, "objects": [object("v1", &json!({}))]},
            })
        );
        let reply = |response: Value| {
            let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
            answer(review.to_string().as_bytes(), "u", "v1")
        };
        let good = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]});
        assert_eq!(reply(good.clone()).unwrap().len(), 1);
        let fails = |change: &str, value: Value| {
            let mut response = good.clone();
            *response.pointer_mut(change).unwrap() = value;
            reply(response).unwrap_err()
        };
        assert_eq!(
            fails("/uid", json!("x")),
            "expected response.uid=\"u\", got \"x\""
        );
        assert_eq!(
            fails("/result", json!({"status": "Failure", "message": "no"})),
            "no"
        );
        assert_eq!(
            fails("/result", json!({"status": "Failed"})),
            "response.result.status was 'Failed', not 'Success'"
        );
        assert_eq!(
            answer(b"{\"kind\":\"X\",\"apiVersion\":\"v1\"}", "u", "v1").unwrap_err(),
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=X"
        );
        answer(b"[", "u", "v1").unwrap_err();
    }

    #[test]
    fn what_names_the_object_stays() {
        let before = object(
            "v1",
            &json!({"name": "a", "uid": "1", "labels": {"x": "y"}, "generation": 3}),
        );
        let metadata = json!({"name": "a", "uid": "1", "labels": {"x": "z"}, "generation": 9, "finalizers": ["f"]});
        let after = one(&before, object("v2", &metadata)).unwrap();
        assert_eq!(
            after["metadata"],
            json!({"name": "a", "uid": "1", "labels": {"x": "z"}, "generation": 3})
        );
        let fails = |after: Value| one(&before, after).unwrap_err();
        assert_eq!(
            fails(object("v1", &metadata)),
            "returned invalid object: invalid groupVersion (expected example.com/v2, received example.com/v1)"
        );
        assert_eq!(
            fails(object("v2", &json!({"name": "b", "uid": "1"}))),
            "returned invalid object: must have the same name: a != b"
        );
        assert_eq!(
            fails(object(
                "v2",
                &json!({"name": "a", "uid": "1", "labels": {"x": 1}})
            )),
            "returned invalid metadata: metadata.labels[x] must be a string in the converted object"
        );
        assert!(
            fails(object(
                "v2",
                &json!({"name": "a", "uid": "1", "labels": {"b d": "1"}})
            ))
            .contains("returned invalid metadata: metadata.labels: Invalid value: \"b d\"")
        );
        let chunk = chunks(vec![before.clone(), before.clone()]).pop().unwrap();
        assert_eq!(
            chunk.accept(vec![before], TO).unwrap_err(),
            "returned 1 objects, expected 2"
        );
    }

    #[test]
    fn questions_are_bounded() {
        let many = vec![json!({"apiVersion": "example.com/v1"}); limits::CONVERSION_OBJECTS + 1];
        assert_eq!(chunks(many).len(), 2);
        let large = json!({"data": "x".repeat(limits::CONVERSION_BYTES / 2)});
        assert_eq!(chunks(vec![large; 3]).len(), 3);
    }
}
