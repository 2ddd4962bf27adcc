//! YAML in request bodies, read as kube-apiserver reads it (sigs.k8s.io/yaml over go-yaml v2): a tree of JSON.
//!
//! ```text
//! text ─► events (granit-parser) ─► compose: frames, anchors, merges ─► JSON
//!                                        └─ scalar: what a scalar stands for
//! ```
//! Of several documents the first counts. Of a field given twice the last counts, and its path is told. Names of fields
//! are texts: `on:` is the field `true`, as it is for kubectl.
//!
//! # Invariants
//!
//! * Depth is bounded, and so is what aliases copy: a text of 3 MiB makes no more than a few times its size of values.
//! * No recursion: a hostile text costs heap, and little of it.

mod scalar;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use self::scalar::Scalar;
use crate::limits;

/// What a text says.
#[derive(Debug)]
pub(crate) struct Document {
    /// The value.
    pub value: Value,
    /// Paths of fields given twice, the first [`MAX_DUPLICATES`].
    pub duplicates: Vec<String>,
}

/// More than a few say nothing new.
const MAX_DUPLICATES: usize = 100;

/// Reads the first document of a text; null when there is none.
///
/// # Errors
/// What is wrong with the text, in a few words.
pub(crate) fn read(text: &str) -> Result<Document, String> {
    let mut parser = Parser::new_from_str(text);
    let mut composer = Composer::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| e.to_string())?;
        if event == Event::DocumentEnd {
            break;
        }
        composer
            .take(event)
            .map_err(|e| format!("line {}: {e}", span.start.line()))?;
    }
    Ok(Document {
        value: composer.root.unwrap_or_default(),
        duplicates: composer.duplicates,
    })
}

/// A node that is complete.
#[derive(Clone)]
enum Node {
    Scalar(Scalar),
    /// The plain scalar `<<`.
    Merge,
    Tree(Value),
}

impl Node {
    fn into_json(self) -> Result<Value, String> {
        match self {
            Node::Scalar(scalar) => scalar.into_json(),
            Node::Merge => Ok(Value::String("<<".to_owned())),
            Node::Tree(value) => Ok(value),
        }
    }
}

/// The name of the field whose value comes next.
enum Field {
    Named(String),
    Merge,
}

/// A collection that is not complete.
enum Frame {
    List(Vec<Value>),
    Fields(Map<String, Value>, Option<Field>),
}

#[derive(Default)]
struct Composer {
    root: Option<Value>,
    /// Collections around the present place with their anchors, the outermost first.
    frames: Vec<(Frame, usize)>,
    anchors: HashMap<usize, (Node, usize)>,
    /// How much was copied for anchors and aliases.
    copied: usize,
    duplicates: Vec<String>,
}

/// How much a copy costs: values, and texts by their length.
fn weight(value: &Value) -> usize {
    let mut sum = 0;
    // No recursion, so that no depth matters.
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        sum += 1;
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => {
                sum += fields.keys().map(|key| key.len() / 32).sum::<usize>();
                rest.extend(fields.values());
            }
            Value::String(text) => sum += text.len() / 32,
            _ => {}
        }
    }
    sum
}

fn tag_text(tag: &Tag) -> String {
    format!("{}{}", tag.handle(), tag.suffix())
}

impl Composer {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.as_deref().map(tag_text);
                let merges = match tag.as_deref() {
                    None => plain,
                    Some(tag) => tag == "tag:yaml.org,2002:merge",
                };
                let node = if text == "<<" && merges {
                    Node::Merge
                } else {
                    Node::Scalar(scalar::resolve(&text, tag.as_deref(), plain)?)
                };
                self.remember(anchor, &node)?;
                self.place(node)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Frame::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.open(Frame::Fields(Map::new(), None), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some((frame, anchor)) => {
                    let node = Node::Tree(match frame {
                        Frame::List(items) => Value::Array(items),
                        Frame::Fields(fields, _) => Value::Object(fields),
                    });
                    self.remember(anchor, &node)?;
                    self.place(node)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
                    return Err("an anchor's value contains itself".to_owned());
                };
                self.spend(weight)?;
                self.place(node)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame, anchor: usize) -> Result<(), String> {
        if self.frames.len() >= limits::MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        if let Some((Frame::Fields(_, None), _)) = self.frames.last() {
            return Err("a field's name is a list or has fields itself".to_owned());
        }
        self.frames.push((frame, anchor));
        Ok(())
    }

    fn spend(&mut self, weight: usize) -> Result<(), String> {
        self.copied = self.copied.saturating_add(weight);
        if self.copied > limits::YAML_COPIES {
            return Err("document contains excessive aliasing".to_owned());
        }
        Ok(())
    }

    /// Keeps a copy of what aliases may lead to.
    fn remember(&mut self, anchor: usize, node: &Node) -> Result<(), String> {
        if anchor == 0 {
            return Ok(());
        }
        let weight = match node {
            Node::Tree(value) => weight(value),
            Node::Scalar(Scalar::Text(text)) => 1 + text.len() / 32,
            _ => 1,
        };
        self.spend(weight)?;
        self.anchors.insert(anchor, (node.clone(), weight));
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn place(&mut self, node: Node) -> Result<(), String> {
        let Some((frame, _)) = self.frames.last_mut() else {
            self.root = Some(node.into_json()?);
            return Ok(());
        };
        match frame {
            Frame::List(items) => items.push(node.into_json()?),
            Frame::Fields(fields, field) => match field.take() {
                None => {
                    let name = match node {
                        Node::Merge => {
                            *field = Some(Field::Merge);
                            return Ok(());
                        }
                        Node::Scalar(scalar) => scalar.into_key()?,
                        Node::Tree(_) => {
                            return Err("a field's name is a list or has fields itself".to_owned());
                        }
                    };
                    let twice = fields.contains_key(&name);
                    *field = Some(Field::Named(name));
                    if twice && self.duplicates.len() < MAX_DUPLICATES {
                        let path = self.path();
                        self.duplicates.push(path);
                    }
                }
                Some(Field::Named(name)) => {
                    fields.insert(name, node.into_json()?);
                }
                Some(Field::Merge) => merge(fields, node.into_json()?)?,
            },
        }
        Ok(())
    }

    /// Where the present field is, as `spec.list[0].field`.
    fn path(&self) -> String {
        let mut path = String::new();
        for (frame, _) in &self.frames {
            match frame {
                Frame::List(items) => path.push_str(&format!("[{}]", items.len())),
                Frame::Fields(_, Some(Field::Named(name))) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Frame::Fields(..) => {}
            }
        }
        path
    }
}

/// Takes over the fields of an object, or of several, of which the first counts most.
fn merge(fields: &mut Map<String, Value>, from: Value) -> Result<(), String> {
    let wrong = || "map merge requires map or sequence of maps as the value".to_owned();
    match from {
        Value::Object(more) => fields.extend(more),
        Value::Array(all) => {
            for one in all.into_iter().rev() {
                let Value::Object(more) = one else {
                    return Err(wrong());
                };
                fields.extend(more);
            }
        }
        _ => return Err(wrong()),
    }
    Ok(())
}
