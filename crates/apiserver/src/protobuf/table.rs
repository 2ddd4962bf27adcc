//! The table of messages.

use std::collections::HashMap;
use std::sync::OnceLock;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Bool,
    Integer,
    Double,
    Bytes,
    Quantity,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    Raw,
    FieldsV1,
    Message(&'static str),
}

/// How often a field holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
    /// A map whose values are lists wrapped in a message of one field.
    MapOfLists,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FieldType {
    pub name: &'static str,
    pub inlined: bool,
    pub ty: Type,
    pub shape: Shape,
    pub drop_zero: bool,
}

pub(super) type Message = HashMap<u64, FieldType>;

/// All messages by name.
pub(super) struct Table(HashMap<&'static str, Message>);

impl Table {
    pub(super) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let lines = include_str!("messages.txt")
                .lines()
                .filter(|line| !line.starts_with('#'));
            Table(lines.filter_map(parse).collect())
        })
    }

    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.0.get(name)
    }

    #[cfg(test)]
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, message) in &self.0 {
            for field in message.values() {
                if let Type::Message(inner) = field.ty
                    && !self.0.contains_key(inner)
                {
                    return Err(format!("{name}.{}: {inner}", field.name));
                }
            }
        }
        (self.0.len() > 300)
            .then_some(())
            .ok_or_else(|| "the table is too short".to_owned())
    }
}

fn parse(line: &'static str) -> Option<(&'static str, Message)> {
    let mut parts = line.split(' ');
    let name = parts.next()?;
    Some((name, parts.filter_map(field).collect()))
}

fn field(text: &'static str) -> Option<(u64, FieldType)> {
    let (number, rest) = text.split_once('=')?;
    let (name, ty) = rest.split_once(':')?;
    let drop_zero = ty.ends_with('?');
    let ty = ty.trim_end_matches('?');
    let code = ty.trim_start_matches(['*', '%']);
    let shape = match ty.strip_suffix(code)? {
        "" => Shape::One,
        "*" => Shape::List,
        "%" => Shape::Map,
        _ => Shape::MapOfLists,
    };
    let ty = match code {
        "s" => Type::Text,
        "b" => Type::Bool,
        "i" => Type::Integer,
        "g" => Type::Double,
        "y" => Type::Bytes,
        "q" => Type::Quantity,
        "t" => Type::Time,
        "m" => Type::MicroTime,
        "d" => Type::Duration,
        "o" => Type::IntOrString,
        "r" => Type::Raw,
        "f" => Type::FieldsV1,
        message => Type::Message(message),
    };
    Some((
        number.parse().ok()?,
        FieldType {
            name,
            inlined: name == "^",
            ty,
            shape,
            drop_zero,
        },
    ))
}
