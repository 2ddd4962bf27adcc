//! Timestamps as the API writes them: `metav1.Time` in whole seconds, `metav1.MicroTime`.
//!
//! Both are UTC with a `Z`. This module never reads the clock; callers pass a [`Timestamp`].

use jiff::Timestamp;

/// A text that is no RFC 3339 timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parsing time {}: not in the form of RFC 3339", crate::quote::quoted(.0))]
pub struct ParseTimeError(pub String);

/// `2026-01-02T15:04:05Z`; the fraction is dropped.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T15:04:05.000000Z`.
pub fn format_micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Parses RFC 3339 with any offset and fraction; serves both forms.
pub fn parse_time(text: &str) -> Result<Timestamp, ParseTimeError> {
    let error = || ParseTimeError(text.to_owned());
    let bytes = text.as_bytes();
    // jiff also takes other ISO 8601 forms, which the API refuses.
    let shaped = bytes.len() >= 20
        && bytes.iter().take(19).enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            10 => *b == b'T' || *b == b't',
            13 | 16 => *b == b':',
            _ => b.is_ascii_digit(),
        })
        && match bytes.last() {
            Some(b'Z' | b'z') => true,
            _ => bytes.len() >= 25 && bytes.get(bytes.len() - 3) == Some(&b':'),
        };
    if !shaped {
        return Err(error());
    }
    text.parse().map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_the_api() {
        let t: Timestamp = "2026-01-02T15:04:05.123456789Z".parse().unwrap();
        assert_eq!(format_time(t), "2026-01-02T15:04:05Z");
        assert_eq!(format_micro_time(t), "2026-01-02T15:04:05.123456Z");
        assert_eq!(
            format_micro_time(parse_time("2026-01-02T15:04:05Z").unwrap()),
            "2026-01-02T15:04:05.000000Z"
        );
    }

    #[test]
    fn offsets_become_utc_and_other_forms_are_refused() {
        assert_eq!(
            format_time(parse_time("2026-01-02T15:04:05+02:00").unwrap()),
            "2026-01-02T13:04:05Z"
        );
        for bad in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T15:04:05",
            "2026-01-02 15:04:05Z",
            "2026-13-02T15:04:05Z",
            "20260102T150405Z",
            "2026-01-02T15:04:05+0200",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
