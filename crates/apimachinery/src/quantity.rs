//! `resource.Quantity`: `500m`, `1.5Gi`, `1e3`.
//!
//! ```text
//!   text ──parse──► mantissa × 10^exponent, notation ──Display──► canonical text
//! ```
//!
//! Values are exact: the mantissa has up to 38 digits, the exponent goes from -9 (kube keeps nothing
//! finer than nano and rounds away from zero) to 1000. The notation ([`Format`]) is remembered from
//! the text and decides the suffix printed. Canonical means: no fraction, the largest suffix that
//! leaves an integer, no leading zeros; `0` is `0` in every notation.
//!
//! Differences from kube, all at the far edge: texts of more than 38 significant digits, exponents
//! above 1000, and "numbers" without any digit are refused.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::{QUANTITY_BYTES, QUANTITY_EXPONENT};

/// The family of suffixes in which a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n u m "" k M G T P E`
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`, `e6` ...
    DecimalExponent,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// The text as a whole has another form.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number has too many digits or too large an exponent.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// What follows the number is no suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A fixed-point amount of a resource.
#[derive(Clone, Copy)]
pub struct Quantity {
    /// Below 10^38 in size; not divisible by ten unless zero.
    mantissa: i128,
    /// At least -9; zero when the mantissa is.
    exponent: i32,
    format: Format,
}

const DIGITS: u32 = 38;
const NANO: i32 = -9;

fn pow10(n: u32) -> Option<i128> {
    (n <= DIGITS).then(|| 10_i128.pow(n))
}

fn digits(n: u128) -> u32 {
    n.checked_ilog10().map_or(1, |log| log + 1)
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self {
        mantissa: 0,
        exponent: 0,
        format: Format::DecimalSi,
    };

    /// A whole number.
    pub fn from_value(value: i64, format: Format) -> Self {
        Self::normal(i128::from(value), 0, format).unwrap_or(Self::ZERO)
    }

    /// Thousandths.
    pub fn from_milli(milli: i64) -> Self {
        Self::normal(i128::from(milli), -3, Format::DecimalSi).unwrap_or(Self::ZERO)
    }

    /// A number of bytes, written with binary suffixes.
    pub fn from_bytes(bytes: u64) -> Self {
        Self::normal(i128::from(bytes), 0, Format::BinarySi).unwrap_or(Self::ZERO)
    }

    /// Parses any notation that kube accepts.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        use ParseQuantityError as E;
        if text.is_empty() || text.len() > QUANTITY_BYTES {
            return Err(E::Format);
        }
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let (integer, rest) = leading_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => leading_digits(rest),
            None => ("", rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return Err(E::Format);
        }
        let known = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let known = known.strip_prefix(['+', '-']).unwrap_or(known);
        if !known.bytes().all(|b| b.is_ascii_digit()) {
            return Err(E::Format);
        }
        let (base, power, format) = suffix_value(suffix).ok_or(E::Suffix)?;
        let value = match base {
            Base::Ten => Self::decimal(integer, fraction, power, format)?,
            Base::Two => Self::binary(integer, fraction, power)?,
        };
        Ok(if negative { value.negated() } else { value })
    }

    /// Digits and a decimal exponent, rounded up to nano.
    fn decimal(
        integer: &str,
        fraction: &str,
        power: i32,
        format: Format,
    ) -> Result<Self, ParseQuantityError> {
        let fraction = fraction.trim_end_matches('0');
        let digits: Vec<u8> = integer
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|b| *b == b'0')
            .collect();
        let exponent = power.saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
        if digits.is_empty() {
            return Ok(Self {
                mantissa: 0,
                exponent: 0,
                format,
            });
        }
        let dropped = usize::try_from(NANO.saturating_sub(exponent)).unwrap_or(0);
        let keep = digits.len().saturating_sub(dropped);
        let round_up = digits.iter().skip(keep).any(|b| *b != b'0');
        let exponent = exponent.max(NANO);
        let kept = digits.get(..keep).unwrap_or_default();
        let significant = kept.len() - kept.iter().rev().take_while(|b| **b == b'0').count();
        let zeros = i32::try_from(kept.len() - significant).unwrap_or(i32::MAX);
        // Trailing zeros become exponent, unless a unit in the last place is still to be added.
        let (kept, exponent) = if round_up {
            (kept, exponent)
        } else {
            (
                kept.get(..significant).unwrap_or_default(),
                exponent.saturating_add(zeros),
            )
        };
        if kept.len() > DIGITS as usize {
            return Err(ParseQuantityError::Numeric);
        }
        let mantissa = kept
            .iter()
            .fold(0_i128, |sum, b| sum * 10 + i128::from(b - b'0'));
        Self::normal(mantissa + i128::from(round_up), exponent, format)
            .ok_or(ParseQuantityError::Numeric)
    }

    /// A number times a power of two, capped at 2^63-1 as kube does, rounded up to nano.
    fn binary(integer: &str, fraction: &str, power: i32) -> Result<Self, ParseQuantityError> {
        let format = Format::BinarySi;
        let cap = Self {
            mantissa: i128::from(i64::MAX),
            exponent: 0,
            format,
        };
        let integer = integer.trim_start_matches('0');
        if integer.len() > 19 {
            return Ok(cap);
        }
        let factor = 1_i128 << power.clamp(0, 60);
        let whole = integer
            .bytes()
            .fold(0_i128, |sum, b| sum * 10 + i128::from(b - b'0'))
            * factor;
        if whole > cap.mantissa {
            return Ok(cap);
        }
        // The fraction by long multiplication: at most 60 binary places of any number of digits.
        let fraction = fraction.trim_end_matches('0');
        let (carry, nano, inexact) = scale_fraction(fraction, factor);
        let nano = nano + i128::from(inexact);
        let total = (whole + carry)
            .checked_mul(1_000_000_000)
            .and_then(|n| n.checked_add(nano));
        let value = total
            .and_then(|n| Self::normal(n, NANO, format))
            .ok_or(ParseQuantityError::Numeric)?;
        if value > cap {
            return Ok(cap);
        }
        let below_one = value.mantissa != 0 && value < Self::from_value(1, format);
        Ok(if below_one {
            value.with_format(Format::DecimalSi)
        } else {
            value
        })
    }

    /// Strips trailing zeros and checks the bounds.
    fn normal(mantissa: i128, exponent: i32, format: Format) -> Option<Self> {
        let (mut mantissa, mut exponent) = (mantissa, exponent);
        if mantissa == 0 {
            return Some(Self {
                mantissa: 0,
                exponent: 0,
                format,
            });
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.checked_add(1)?;
        }
        let fits = digits(mantissa.unsigned_abs()) <= DIGITS
            && (NANO..=QUANTITY_EXPONENT).contains(&exponent);
        fits.then_some(Self {
            mantissa,
            exponent,
            format,
        })
    }

    fn negated(self) -> Self {
        Self {
            mantissa: -self.mantissa,
            ..self
        }
    }

    /// The notation.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The same amount in another notation.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// True for zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// True below zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa < 0
    }

    /// In units of 10^`scale`, rounded away from zero; none where an `i128` is too small.
    fn scaled(&self, scale: i32) -> Option<i128> {
        let shift = self.exponent.saturating_sub(scale);
        if shift >= 0 {
            let Ok(shift) = u32::try_from(shift) else {
                return None;
            };
            if self.mantissa == 0 {
                return Some(0);
            }
            return self.mantissa.checked_mul(pow10(shift)?);
        }
        let Some(divisor) = pow10(shift.unsigned_abs()) else {
            return Some(self.mantissa.signum());
        };
        let (quotient, remainder) = (self.mantissa / divisor, self.mantissa % divisor);
        Some(quotient + remainder.signum())
    }

    fn scaled_i64(&self, scale: i32) -> i64 {
        let limit = if self.mantissa < 0 {
            i64::MIN
        } else {
            i64::MAX
        };
        self.scaled(scale)
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(limit)
    }

    /// The whole number, rounded away from zero, held within `i64`.
    pub fn value(&self) -> i64 {
        self.scaled_i64(0)
    }

    /// Thousandths, rounded away from zero, held within `i64`.
    pub fn milli_value(&self) -> i64 {
        self.scaled_i64(-3)
    }

    /// The whole number as a size: rounded up, zero where negative.
    pub fn as_bytes(&self) -> u64 {
        u64::try_from(self.value()).unwrap_or(0)
    }

    /// The nearest float, for ratios and scores.
    pub fn as_f64(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "asked for")]
        let mantissa = self.mantissa as f64;
        mantissa * 10_f64.powi(self.exponent)
    }

    /// The sum, in the notation of the first that is not zero; none on overflow.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        if self.is_zero() || other.is_zero() {
            let sum = if self.is_zero() { other } else { self };
            return Some(sum.with_format(format));
        }
        let exponent = self.exponent.min(other.exponent);
        let sum = self
            .scaled(exponent)?
            .checked_add(other.scaled(exponent)?)?;
        Self::normal(sum, exponent, format)
    }

    /// The difference, in the notation of the first that is not zero; none on overflow.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.checked_add(&other.negated())
    }

    /// The product with a whole number; none on overflow.
    pub fn checked_mul(&self, factor: i64) -> Option<Self> {
        Self::normal(
            self.mantissa.checked_mul(i128::from(factor))?,
            self.exponent,
            self.format,
        )
    }
}

/// `0.FRACTION` times `factor` (at most 2^60): whole part, nanos, and whether something is left over.
fn scale_fraction(fraction: &str, factor: i128) -> (i128, i128, bool) {
    // Digit by digit from the right: after each step `carry` is what belongs left of the point.
    let mut places: Vec<u8> = Vec::with_capacity(fraction.len());
    let mut carry = 0_i128;
    for b in fraction.bytes().rev() {
        let product = i128::from(b - b'0') * factor + carry;
        places.push(u8::try_from(product % 10).unwrap_or(0));
        carry = product / 10;
    }
    places.reverse();
    let nano = (0..9).fold(0_i128, |sum, i| {
        sum * 10 + i128::from(places.get(i).copied().unwrap_or(0))
    });
    let inexact = places.iter().skip(9).any(|d| *d != 0);
    (carry, nano, inexact)
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

enum Base {
    Ten,
    Two,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, i32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

fn suffix_value(suffix: &str) -> Option<(Base, i32, Format)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Some((Base::Ten, *power, Format::DecimalSi));
    }
    if let Some((_, power)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Some((Base::Two, *power, Format::BinarySi));
    }
    let power = suffix.strip_prefix(['e', 'E'])?;
    let parsed: i64 = power.parse().ok()?;
    let bound = i64::from(i32::MAX / 2);
    Some((
        Base::Ten,
        i32::try_from(parsed.clamp(-bound, bound)).ok()?,
        Format::DecimalExponent,
    ))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && self.exponent >= 0
            && let Some(value) = self.scaled(0)
            && value.abs() >= 1024
        {
            let (mut value, mut suffix) = (value, "");
            for (next, _) in BINARY {
                if value % 1024 != 0 {
                    break;
                }
                value /= 1024;
                suffix = next;
            }
            return write!(f, "{value}{suffix}");
        }
        let zeros = self.exponent.rem_euclid(3);
        let power = self.exponent - zeros;
        write!(f, "{}", self.mantissa)?;
        for _ in 0..zeros {
            f.write_str("0")?;
        }
        let suffix = DECIMAL.iter().find(|(_, p)| *p == power).map(|(s, _)| *s);
        match suffix {
            Some(suffix) if power == 0 || self.format != Format::DecimalExponent => {
                f.write_str(suffix)
            }
            // Beyond exa there is no suffix; the exponent loses nothing.
            _ => write!(f, "e{power}"),
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantity({self})")
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Amounts are compared, whatever their notation.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.mantissa == other.mantissa && self.exponent == other.exponent
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.mantissa, self.exponent).hash(state);
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.mantissa == 0 {
            return signs;
        }
        // Same sign: first by the position of the leading digit, then digit for digit.
        let lead = |q: &Self| i64::from(q.exponent) + i64::from(digits(q.mantissa.unsigned_abs()));
        let size = lead(self).cmp(&lead(other)).then_with(|| {
            let exponent = self.exponent.min(other.exponent);
            // Equal leading positions: aligning adds no digit beyond the longer of the two.
            let aligned = |q: &Self| q.scaled(exponent).map_or(u128::MAX, i128::unsigned_abs);
            aligned(self).cmp(&aligned(other))
        });
        if self.mantissa < 0 {
            size.reverse()
        } else {
            size
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, as text or number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text.trim()).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_value(n, Format::DecimalSi))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Quantity, E> {
                self.visit_str(
                    &serde_json::Number::from_f64(n).map_or_else(String::new, |n| n.to_string()),
                )
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests;
