//! `metav1.LabelSelector` over the labels of a role.

use serde_json::{Map, Value};

/// Whether the selector (an object with `matchLabels` and `matchExpressions`) selects `labels`. The empty selector
/// selects everything; one that cannot be read selects nothing.
pub(crate) fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let Some(selector) = selector.as_object() else {
        return false;
    };
    let pairs = match selector.get("matchLabels") {
        None | Some(Value::Null) => true,
        Some(Value::Object(pairs)) => pairs
            .iter()
            .all(|(key, value)| value.is_string() && labels.get(key) == Some(value)),
        Some(_) => false,
    };
    let expressions = match selector.get("matchExpressions") {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.iter().all(|e| expression_selects(e, labels)),
        Some(_) => false,
    };
    pairs && expressions
}

fn expression_selects(expression: &Value, labels: &Map<String, Value>) -> bool {
    let text = |key: &str| expression.get(key).and_then(Value::as_str);
    let (Some(key), Some(operator)) = (text("key"), text("operator")) else {
        return false;
    };
    let value = labels.get(key);
    let listed = || {
        let values = expression.get("values").and_then(Value::as_array)?;
        Some(value.is_some_and(|value| values.contains(value)))
    };
    match operator {
        "In" => listed() == Some(true),
        "NotIn" => listed() == Some(false),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}
