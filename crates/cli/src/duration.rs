//! Durations as Go programs take them: `90s`, `1h30m`, `500ms`.

use std::time::Duration;

use crate::limits::LONGEST_WAIT;

/// Parses a duration for the command line.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is not a duration such as 30s, 5m or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(fault)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| fault())?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(fault()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| fault())?;
        total = total.checked_add(part).ok_or_else(fault)?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(fault());
    }
    if total > LONGEST_WAIT {
        return Err(format!(
            "{text:?} is longer than the {} hours that can be waited for",
            LONGEST_WAIT.as_secs() / 3600
        ));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_takes_them() {
        assert_eq!(parse("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "s", "5x", "-1s", "1..2s", "100000h", "5m3"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-0-9.hmsµun ]{0,12}") {
            let _ = parse(&text);
        }
    }
}
