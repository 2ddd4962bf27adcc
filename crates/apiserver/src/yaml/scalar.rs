//! What a scalar of YAML stands for, as kube-apiserver reads it: by the rules of go-yaml v2, which are YAML 1.1's in
//! part.
//!
//! | plain scalar | is |
//! |---|---|
//! | `y` `yes` `on` `true`, `n` `no` `off` `false`; also `Yes`, `YES` | a boolean; `yEs` is a text |
//! | nothing, `~`, `null` `Null` `NULL` | null |
//! | `0644` `0o644` | octal; `089` is 89, by way of a float |
//! | `0x1F` `0b101` `1_000` `+5` | numbers; `_` does not count |
//! | `.5` `1.` `1e3` | floats |
//! | `.inf` `.nan` | what JSON does not have |
//! | dates, `1:30`, all else | texts |
//!
//! What is quoted, or written as a block, is a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// A scalar's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Larger than an `i64`.
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// The value in JSON: a float without a fraction is an integer there, since Go's JSON writes `1.0` as `1`.
    pub(super) fn into_json(self) -> Result<Value, String> {
        Ok(match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => value.into(),
            Scalar::Uint(value) => value.into(),
            Scalar::Float(value) => Value::Number(number(value)?),
            Scalar::Text(text) => Value::String(text),
        })
    }

    /// The name of a field that is written so.
    pub(super) fn into_key(self) -> Result<String, String> {
        Ok(match self {
            Scalar::Null => return Err("a field's name is null".to_owned()),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Uint(value) => value.to_string(),
            Scalar::Float(value) => float_text(value),
            Scalar::Text(text) => text,
        })
    }
}

fn number(value: f64) -> Result<Number, String> {
    // All of these are exact: 2^63 is a float, and nothing between it and the next smaller one is.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && value.abs() < BEYOND {
        #[allow(clippy::cast_possible_truncation, reason = "it is an integer in range")]
        return Ok(Number::from(value as i64));
    }
    Number::from_f64(value).ok_or_else(|| format!("unsupported value: {}", float_text(value)))
}

/// As Go's `%g` with the fewest digits.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..6 => value.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
    }
}

/// What `text` stands for, given its tag (`!!int` is `tag:yaml.org,2002:int`) and whether it is plain.
///
/// # Errors
/// When the tag says something that the text is not.
pub(super) fn resolve(text: &str, tag: Option<&str>, plain: bool) -> Result<Scalar, String> {
    let Some(tag) = tag else {
        return Ok(if plain {
            guess(text)
        } else {
            Scalar::Text(text.to_owned())
        });
    };
    let found = match tag.strip_prefix("tag:yaml.org,2002:") {
        Some("binary") => {
            let data: String = text.split_ascii_whitespace().collect();
            let data = STANDARD
                .decode(data)
                .map_err(|_| "!!binary value contains invalid base64 data".to_owned())?;
            return Ok(Scalar::Text(String::from_utf8_lossy(&data).into_owned()));
        }
        Some("bool" | "int" | "float" | "null" | "timestamp") => guess(text),
        // A tag of somebody's own says nothing to us.
        _ => return Ok(Scalar::Text(text.to_owned())),
    };
    match (tag.rsplit(':').next().unwrap_or_default(), found) {
        ("bool", found @ Scalar::Bool(_))
        | ("null", found @ Scalar::Null)
        | ("int", found @ (Scalar::Int(_) | Scalar::Uint(_)))
        | ("float", found @ Scalar::Float(_)) => Ok(found),
        #[allow(clippy::cast_precision_loss, reason = "that is what is asked for")]
        ("float", Scalar::Int(value)) => Ok(Scalar::Float(value as f64)),
        ("timestamp", found @ Scalar::Text(_)) if is_date(text) => Ok(found),
        (short, _) => Err(format!("cannot decode `{text}` as a !!{short}")),
    }
}

/// Whether it begins as a date does; the calendar is not asked.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    matches!(*parts, [year, month, day] if year.len() == 4 && digits(year)
        && matches!(month.len(), 1 | 2) && digits(month) && matches!(day.len(), 1 | 2) && digits(day))
}

/// What a plain scalar stands for.
fn guess(text: &str) -> Scalar {
    let as_float = |text: &str| text.parse().ok().filter(|f: &f64| f.is_finite());
    let found = match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(Scalar::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Scalar::Bool(false))
        }
        "" | "~" | "null" | "Null" | "NULL" => Some(Scalar::Null),
        ".nan" | ".NaN" | ".NAN" => Some(Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            Some(Scalar::Float(f64::INFINITY))
        }
        "-.inf" | "-.Inf" | "-.INF" => Some(Scalar::Float(f64::NEG_INFINITY)),
        _ if text.starts_with('.') => as_float(text).map(Scalar::Float),
        _ if text.starts_with(|c: char| matches!(c, '+' | '-' | '0'..='9')) => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| {
                let float = Some(digits.as_str()).filter(|d| is_float(d));
                float.and_then(as_float).map(Scalar::Float)
            })
        }
        _ => None,
    };
    found.unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

/// Go's `strconv.ParseInt` with base 0, then `ParseUint`; beyond them, an integer too large for both is a float here.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, signed) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = signed.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, &signed[2..]),
        Some("0o") => (8, &signed[2..]),
        Some("0b") => (2, &signed[2..]),
        _ if signed.len() > 1 && signed.starts_with('0') => (8, &signed[1..]),
        _ => (10, signed),
    };
    // `from_str_radix` would take a second sign.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let Ok(magnitude) = u64::from_str_radix(digits, radix) else {
        let digit = |c: char| f64::from(c.to_digit(radix).unwrap_or_default());
        let value = digits
            .chars()
            .fold(0.0, |sum, c| sum * f64::from(radix) + digit(c));
        // In base ten a parser is nearer to the truth than a sum.
        let value = if radix == 10 {
            digits.parse().ok()?
        } else {
            value
        };
        let value: f64 = if negative { -value } else { value };
        return value.is_finite().then_some(Scalar::Float(value));
    };
    match (negative, i64::try_from(magnitude)) {
        (false, Ok(value)) => Some(Scalar::Int(value)),
        (true, Ok(value)) => Some(Scalar::Int(-value)),
        (true, Err(_)) if magnitude == i64::MIN.unsigned_abs() => Some(Scalar::Int(i64::MIN)),
        // `ParseUint` takes no sign.
        (false, Err(_)) if signed.len() == text.len() => Some(Scalar::Uint(magnitude)),
        #[allow(clippy::cast_precision_loss, reason = "it is too large to be exact")]
        (false, Err(_)) => Some(Scalar::Float(magnitude as f64)),
        #[allow(clippy::cast_precision_loss, reason = "it is too large to be exact")]
        (true, Err(_)) => Some(Scalar::Float(-(magnitude as f64))),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let whole = match mantissa.split_once('.') {
        Some((before, after)) => {
            digits(before) && digits(after) && !(before.is_empty() && after.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e));
    whole && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}
