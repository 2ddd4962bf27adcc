//! Fields that are one JSON value.

use apimachinery::time::{format_micro_time, format_time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::ProtobufError;
use super::table::Type;
use super::wire::{Field, Reader};

/// Reads a field that is no message of the table.
pub(super) fn read(ty: Type, number: u64, field: Field<'_>) -> Result<Value, ProtobufError> {
    Ok(match ty {
        Type::Text => Value::String(field.text(number)?),
        Type::Bool => Value::Bool(field.integer(number)? != 0),
        Type::Integer => Value::from(field.integer(number)?),
        Type::Double => match field {
            Field::Fixed64(bits) => Value::from(f64::from_bits(bits)),
            _ => return Err(ProtobufError::WireType(number)),
        },
        Type::Bytes => Value::String(STANDARD.encode(field.bytes(number)?)),
        Type::Quantity => Value::String(first_text(field.bytes(number)?)?),
        Type::Time => {
            time(field.bytes(number)?)?.map_or(Value::Null, |t| Value::String(format_time(t)))
        }
        Type::MicroTime => {
            time(field.bytes(number)?)?.map_or(Value::Null, |t| Value::String(format_micro_time(t)))
        }
        Type::Duration => {
            let nanos = integers(field.bytes(number)?)?[1];
            Value::String(format!("{}s", nanos as f64 / 1e9))
        }
        Type::IntOrString => int_or_string(field.bytes(number)?)?,
        Type::Raw | Type::FieldsV1 => {
            let raw = first_bytes(field.bytes(number)?)?;
            serde_json::from_slice(raw).map_err(|e| ProtobufError::Malformed(e.to_string()))?
        }
        Type::Message(_) => Value::Null,
    })
}

fn first_bytes(bytes: &[u8]) -> Result<&[u8], ProtobufError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if number == 1 {
            return field.bytes(number);
        }
    }
    Ok(&[])
}

fn first_text(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(first_bytes(bytes)?)
        .map(str::to_owned)
        .map_err(|_| ProtobufError::NotText)
}

/// The integer fields 1 and 2 (at their index).
fn integers(bytes: &[u8]) -> Result<[i64; 3], ProtobufError> {
    let mut found = [0; 3];
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let Some(place) = usize::try_from(number).ok().and_then(|n| found.get_mut(n)) {
            *place = field.integer(number)?;
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds; nothing at all is "no time".
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let [_, seconds, nanos] = integers(bytes)?;
    let nanos = i32::try_from(nanos).map_err(|e| ProtobufError::Malformed(e.to_string()))?;
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|e| ProtobufError::Malformed(e.to_string()))
}

/// `{1: type (0 number, 1 text), 2: number, 3: text}`.
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((at, field)) = reader.next()? {
        match at {
            1 => is_text = field.integer(at)? == 1,
            2 => number = field.integer(at)?,
            3 => text = field.text(at)?,
            _ => {}
        }
    }
    Ok(if is_text {
        Value::String(text)
    } else {
        Value::from(number)
    })
}
