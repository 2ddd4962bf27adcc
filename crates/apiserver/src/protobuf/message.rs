//! Messages into JSON objects.

use serde_json::{Map, Value};

use super::ProtobufError;
use super::scalar;
use super::table::{FieldType, Message, Shape, Table, Type};
use super::wire::{Field, Reader};

/// Deepest nesting; the deepest built-in kind has about twenty levels.
const MAX_DEPTH: usize = 64;

/// Reads a message into `object`. Unknown fields are passed over: newer clients may know more.
pub(super) fn read(
    table: &Table,
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        let Some(ty) = message.get(&number) else {
            continue;
        };
        if ty.inlined {
            if let Type::Message(name) = ty.ty
                && let Some(inner) = table.message(name)
            {
                read(table, inner, field.bytes(number)?, object, depth + 1)?;
            }
            continue;
        }
        match ty.shape {
            Shape::One => {
                let value = value(table, ty, number, field, depth)?;
                if !(value.is_null() || ty.drop_zero && is_zero(&value)) {
                    object.insert(ty.name.to_owned(), value);
                }
            }
            Shape::List => {
                let list = object
                    .entry(ty.name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Some(list) = list.as_array_mut() {
                    push(table, ty, number, field, depth, list)?;
                }
            }
            Shape::Map | Shape::MapOfLists => {
                let (key, value) = entry(table, ty, number, field, depth)?;
                let map = object
                    .entry(ty.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Some(map) = map.as_object_mut() {
                    map.insert(key, value);
                }
            }
        }
    }
    Ok(())
}

/// One element, or several packed integers.
fn push(
    table: &Table,
    ty: &FieldType,
    number: u64,
    field: Field<'_>,
    depth: usize,
    list: &mut Vec<Value>,
) -> Result<(), ProtobufError> {
    if let (Type::Integer, Field::Bytes(packed)) = (ty.ty, field) {
        let mut reader = Reader::new(packed);
        while !reader.is_empty() {
            list.push(Value::from(
                Field::Varint(reader.varint()?).integer(number)?,
            ));
        }
        return Ok(());
    }
    list.push(value(table, ty, number, field, depth)?);
    Ok(())
}

fn entry(
    table: &Table,
    ty: &FieldType,
    number: u64,
    field: Field<'_>,
    depth: usize,
) -> Result<(String, Value), ProtobufError> {
    let mut reader = Reader::new(field.bytes(number)?);
    let mut key = String::new();
    let mut found = match ty.ty {
        _ if ty.shape == Shape::MapOfLists => Value::Array(Vec::new()),
        Type::Text | Type::Bytes => Value::String(String::new()),
        _ => Value::Null,
    };
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => key = field.text(number)?,
            2 if ty.shape == Shape::MapOfLists => {
                let mut list = Vec::new();
                let mut inner = Reader::new(field.bytes(number)?);
                while let Some((number, field)) = inner.next()? {
                    list.push(value(table, ty, number, field, depth)?);
                }
                found = Value::Array(list);
            }
            2 => found = value(table, ty, number, field, depth)?,
            _ => {}
        }
    }
    Ok((key, found))
}

fn value(
    table: &Table,
    ty: &FieldType,
    number: u64,
    field: Field<'_>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    match ty.ty {
        Type::Message(name) => {
            let mut object = Map::new();
            if let Some(message) = table.message(name) {
                read(table, message, field.bytes(number)?, &mut object, depth + 1)?;
            }
            Ok(Value::Object(object))
        }
        other => scalar::read(other, number, field),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        // An empty structure says something; an empty metadata is harmless.
        Value::Array(_) | Value::Object(_) => false,
    }
}
