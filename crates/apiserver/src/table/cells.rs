//! Cells of CRD columns: `additionalPrinterColumns`.

use apimachinery::time::parse_time;
use jiff::Timestamp;
use serde_json::Value;

use super::age;
use crate::kinds::PrinterColumn;

/// The cell of one column; null where the object has nothing there.
pub(super) fn custom(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let found = column.path.find(object);
    let Some(value) = found.first() else {
        return Value::Null;
    };
    match (column.column.ty.as_str(), value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(n)) => n
            .as_i64()
            .or_else(|| n.as_f64().map(|f| f as i64))
            .map_or(Value::Null, Value::from),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*value).clone(),
        ("date", Value::String(text)) => match parse_time(text) {
            Ok(time) => age(Some(time), now),
            Err(_) => Value::String("<invalid>".to_owned()),
        },
        ("string", Value::String(_)) => (*value).clone(),
        ("string", other) => Value::String(other.to_string()),
        _ => Value::Null,
    }
}
