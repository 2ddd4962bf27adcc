//! Formats of strings and numbers.
//!
//! The known ones are those Kubernetes checks (OpenAPI's and those of `go-openapi/strfmt`); an unknown
//! format is documentation and never refused.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use apimachinery::quantity::Quantity;
use regex::Regex;
use serde_json::Number;

use crate::model::SchemaType;

const STRINGS: [&str; 27] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];
const NUMBERS: [&str; 4] = ["double", "float", "int32", "int64"];

/// Whether Kubernetes knows that format for values of that type.
pub(crate) fn is_known(_ty: Option<SchemaType>, format: &str) -> bool {
    STRINGS.contains(&format) || NUMBERS.contains(&format)
}

/// Whether a number is whole, so that `5.0` is an integer, too.
pub(crate) fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// Whether a number has the format; unknown formats fit everything.
pub(crate) fn number_is(format: &str, number: &Number) -> bool {
    let Some(value) = number.as_f64() else {
        return true;
    };
    match format {
        "int32" => value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX),
        "int64" => match (number.as_i64(), number.as_u64()) {
            (Some(_), _) => true,
            (None, Some(_)) => false,
            (None, None) => value.abs() < 9_223_372_036_854_775_808.0,
        },
        "float" => value.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

/// Whether a string has the format; unknown formats fit everything.
///
/// `quantity` is the format of the built-in `Quantity`, which has no type because numbers will do;
/// in a custom schema, whose strings have a type, it is as unknown as in Kubernetes.
pub(crate) fn string_is(ty: Option<SchemaType>, format: &str, text: &str) -> bool {
    match format {
        "quantity" if ty.is_none() => Quantity::parse(text).is_ok(),
        "byte" => is_base64(text),
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "k8s-short-name" => apimachinery::name::dns1123_label(text).is_empty(),
        "k8s-long-name" => apimachinery::name::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

macro_rules! regexes {
    ($($name:ident = $pattern:literal;)*) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a constant pattern is well formed"));)*
    };
}

regexes! {
    TIME = r"^(?i)([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(z|[+-]([0-9]{2}):([0-9]{2}))$";
    SSN = r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    HEX_COLOR = r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*\)$";
    GO_DURATION = r"^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";
    LONG_DURATION = r"^((?i)[0-9]+\s*(ns|nano|nanos|nanosecond|nanoseconds|us|µs|μs|micro|micros|microsecond|microseconds|ms|milli|millis|millisecond|milliseconds|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|wk|wks|week|weeks)\s*)+$";
    EMAIL = r#"^[^\s@<>()\[\],;:\\"]+@[^\s@<>()\[\],;:\\"]+$"#;
    HOSTNAME = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let number = |part: &str, length: usize| {
        let digits = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    let Some(groups) = TIME.captures(time) else {
        return false;
    };
    let below = |index: usize, bound: u32| {
        let group = groups.get(index);
        group.is_none_or(|part| part.as_str().parse::<u32>().is_ok_and(|n| n < bound))
    };
    is_date(date) && below(1, 24) && below(2, 60) && below(3, 61) && below(6, 24) && below(7, 60)
}

fn is_duration(text: &str) -> bool {
    text == "0" || GO_DURATION.is_match(text) || LONG_DURATION.is_match(text)
}

/// Standard alphabet with padding; line breaks are ignored, as Go does.
fn is_base64(text: &str) -> bool {
    let mut length = 0;
    let mut padding = 0;
    for byte in text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')) {
        length += 1;
        match byte {
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
    }
    length % 4 == 0 && padding <= 2
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let max = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    length.parse::<u32>().is_ok_and(|length| length <= max)
}

/// Colons, hyphens (pairs) or dots (quads), of 6, 8 or 20 bytes.
fn is_mac(text: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    for (separator, digits, counts) in [
        (':', 2, [6, 8, 20]),
        ('-', 2, [6, 8, 20]),
        ('.', 4, [3, 4, 10]),
    ] {
        if text.contains(separator) {
            let parts: Vec<&str> = text.split(separator).collect();
            return counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, digits));
        }
    }
    false
}

/// An absolute URI or an absolute path, as in a request line.
fn is_uri(text: &str) -> bool {
    if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let mut letters = scheme.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !rest.is_empty()
}

fn is_email(text: &str) -> bool {
    // "Display Name <user@host>" is an address, too.
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(start), Some(inner)) => &inner[(start + 1).min(inner.len())..],
        _ => text,
    };
    EMAIL.is_match(address)
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && HOSTNAME.is_match(text)
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let shape = match text.len() {
        32 => !text.contains('-'),
        36 => {
            let hyphens = text.bytes().enumerate().filter(|(_, b)| *b == b'-');
            hyphens.map(|(at, _)| at).eq([8, 13, 18, 23])
        }
        _ => false,
    };
    shape
        && bytes.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|version| bytes.get(12) == Some(&version))
}

fn isbn_digits(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 10 {
        return false;
    }
    let mut sum = 0;
    for (index, &byte) in digits.iter().enumerate() {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'X' | b'x' if index == 9 => 10,
            _ => return false,
        };
        sum += value * (10 - u32::try_from(index).unwrap_or_default());
    }
    sum % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weighted = digits.iter().enumerate();
    let sum: u32 = weighted
        .map(|(index, byte)| u32::from(byte - b'0') * if index % 2 == 0 { 1 } else { 3 })
        .sum();
    sum.is_multiple_of(10)
}

/// Luhn's checksum over 12 to 19 digits.
fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect();
    if !(12..=19).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let doubled = digits.iter().rev().enumerate();
    let sum: u32 = doubled
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0') * if index % 2 == 0 { 1 } else { 2 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_strings() {
        let string = Some(SchemaType::String);
        let good = [
            ("date-time", "2024-01-02T03:04:05Z"),
            ("date-time", "2024-02-29t03:04:05.123456+02:00"),
            ("date", "2024-02-29"),
            ("duration", "1h30m"),
            ("duration", "2 days"),
            ("ipv4", "10.0.0.1"),
            ("ipv6", "fe80::1"),
            ("cidr", "10.0.0.0/8"),
            ("cidr", "fd00::/64"),
            ("mac", "02:00:00:00:00:01"),
            ("mac", "0200.0000.0001"),
            ("uri", "https://example.com/a?b"),
            ("email", "a@example.com"),
            ("email", "A B <a@example.com>"),
            ("hostname", "node-1.example.com"),
            ("uuid", "a8098c1a-f86e-11da-bd1a-00112444be1e"),
            ("uuid4", "16fd2706-8baf-433b-82eb-8c7fada847da"),
            ("byte", "AAEC"),
            ("byte", ""),
            ("isbn10", "0-306-40615-2"),
            ("isbn13", "978-0-306-40615-7"),
            ("creditcard", "4111 1111 1111 1111"),
            ("hexcolor", "#fff"),
            ("rgbcolor", "rgb(1, 2, 255)"),
            ("k8s-short-name", "abc-1"),
            ("made-up", "anything"),
        ];
        for (format, text) in good {
            assert!(string_is(string, format, text), "{format} {text}");
        }
        let bad = [
            ("date-time", "yesterday"),
            ("date-time", "2024-01-02"),
            ("date-time", "2024-01-02T25:00:00Z"),
            ("date", "2023-02-29"),
            ("duration", "soon"),
            ("ipv4", "300.1.1.1"),
            ("ipv6", "10.0.0.1"),
            ("cidr", "10.0.0.0/33"),
            ("cidr", "10.0.0.0"),
            ("mac", "02:00:00:00:00"),
            ("uri", "no scheme"),
            ("email", "nobody"),
            ("hostname", "-a-.example"),
            ("uuid", "a8098c1a"),
            ("uuid3", "16fd2706-8baf-433b-82eb-8c7fada847da"),
            ("byte", "@@@"),
            ("byte", "AAE"),
            ("isbn10", "0306406153"),
            ("creditcard", "4111111111111112"),
            ("k8s-short-name", "Abc"),
        ];
        for (format, text) in bad {
            assert!(!string_is(string, format, text), "{format} {text}");
        }
    }

    #[test]
    fn quantities_are_a_format_of_what_has_no_type() {
        assert!(string_is(None, "quantity", "1.5Gi"));
        assert!(!string_is(None, "quantity", "many"));
        assert!(string_is(Some(SchemaType::String), "quantity", "many"));
    }

    #[test]
    fn number_ranges() {
        let number = |text: &str| serde_json::from_str::<Number>(text).unwrap();
        assert!(number_is("int32", &number("-2147483648")));
        assert!(!number_is("int32", &number("3000000000")));
        assert!(number_is("int64", &number("9007199254740993")));
        assert!(!number_is("int64", &number("9223372036854775808")));
        assert!(!number_is("int64", &number("1e30")));
        assert!(is_integer(&number("5.0")));
        assert!(!is_integer(&number("1.5")));
    }
}
