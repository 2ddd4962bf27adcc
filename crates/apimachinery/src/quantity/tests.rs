use proptest::prelude::*;

use super::*;

fn q(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn canonical_forms() {
    let cases = [
        ("0", "0"),
        ("0.0", "0"),
        ("-0", "0"),
        ("0Ki", "0"),
        ("0e5", "0"),
        ("00", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("007", "7"),
        ("1.", "1"),
        (".5", "500m"),
        ("1.0", "1"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("0.001", "1m"),
        ("1000", "1k"),
        ("1000k", "1M"),
        ("1500k", "1500k"),
        ("10000", "10k"),
        ("1234567", "1234567"),
        ("1.5G", "1500M"),
        ("1E", "1E"),
        ("1000E", "1e21"),
        ("0.000001", "1u"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e2", "1200"),
        ("1e1", "10"),
        ("1e-3", "1e-3"),
        ("1.5e3", "1500"),
        ("15e-1", "1500e-3"),
        ("1e30", "1e30"),
        ("1e-30", "1e-9"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("1000Ki", "1000Ki"),
        ("1Ei", "1Ei"),
        ("7Ei", "7Ei"),
        ("0.1Ki", "102400m"),
        ("0.0001Ki", "102400u"),
        ("1.1Ki", "1126400m"),
        ("-1Ki", "-1Ki"),
        ("-1.5Gi", "-1536Mi"),
        ("8Ei", "9223372036854775807"),
        ("100Ei", "9223372036854775807"),
        ("-100Ei", "-9223372036854775807"),
        ("99999999999999999999Ki", "9223372036854775807"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        (
            "12345678901234567890123456789012345678",
            "12345678901234567890123456789012345678",
        ),
        ("0.00000000000000000000000000000000000000000000000001", "1n"),
        ("1.00000000000000000000000000000000000000000000000000", "1"),
        ("1.999999999999999999999999", "2"),
        (
            "1000000000000000000000000000000000000000000000000000000000",
            "1e57",
        ),
    ];
    for (text, canonical) in cases {
        assert_eq!(q(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn malformed_texts_are_refused_with_kubes_words() {
    use ParseQuantityError as E;
    let cases = [
        ("", E::Format),
        (" 1", E::Format),
        ("1 ", E::Format),
        ("a", E::Format),
        ("1.1.M", E::Format),
        ("1+1.0M", E::Format),
        ("0.1mi", E::Suffix),
        ("0.1am", E::Format),
        ("1i", E::Suffix),
        ("-3.01i", E::Suffix),
        ("-3.01e-", E::Suffix),
        ("1e", E::Suffix),
        ("1ki", E::Suffix),
        ("1K", E::Suffix),
        ("1e1.5", E::Format),
        (".", E::Format),
        ("+", E::Format),
        ("-", E::Format),
        ("1MM", E::Suffix),
        ("1e5e5", E::Format),
        ("1e99999", E::Numeric),
        ("1e99999999999999999999", E::Suffix),
        ("0x10", E::Format),
        ("١", E::Format),
        ("123456789012345678901234567890123456789", E::Numeric),
    ];
    for (text, error) in cases {
        assert_eq!(Quantity::parse(text), Err(error), "{text}");
    }
    assert!(Quantity::parse(&"1".repeat(10_000)).is_err());
}

#[test]
fn values_round_away_from_zero_and_stay_in_range() {
    let cases = [
        ("100m", 1, 100),
        ("1", 1, 1000),
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1n", 1, 1),
        ("1Ki", 1024, 1_024_000),
        ("0.1Ki", 103, 102_400),
        ("0", 0, 0),
        ("1e30", i64::MAX, i64::MAX),
        ("-1e30", i64::MIN, i64::MIN),
        ("9E", 9_000_000_000_000_000_000, i64::MAX),
        ("1e1000", i64::MAX, i64::MAX),
    ];
    for (text, value, milli) in cases {
        assert_eq!(
            (q(text).value(), q(text).milli_value()),
            (value, milli),
            "{text}"
        );
    }
    assert_eq!(q("1.5Gi").as_bytes(), 1536 << 20);
    assert_eq!(q("-1").as_bytes(), 0);
    assert!((q("250m").as_f64() - 0.25).abs() < 1e-12);
}

#[test]
fn amounts_compare_across_notations() {
    assert_eq!(q("1Ki"), q("1024"));
    assert_eq!(q("1000m"), q("1"));
    assert_eq!(q("1e3"), q("1k"));
    let ascending = [
        "-1e30", "-8Ei", "-1", "-1m", "0", "1n", "1m", "999m", "1", "1000", "1Ki", "1M", "1Mi",
        "8Ei", "1e19", "1e1000",
    ];
    for pair in ascending.windows(2) {
        assert!(q(pair[0]) < q(pair[1]), "{pair:?}");
    }
}

#[test]
fn sums_keep_the_first_notation() {
    let sum = |a: &str, b: &str| q(a).checked_add(&q(b)).map(|s| s.to_string());
    assert_eq!(sum("1Gi", "1Gi").as_deref(), Some("2Gi"));
    assert_eq!(sum("1Gi", "1G").as_deref(), Some("2073741824"));
    assert_eq!(sum("0", "1Gi").as_deref(), Some("1Gi"));
    assert_eq!(sum("500m", "500m").as_deref(), Some("1"));
    assert_eq!(sum("1e1000", "1"), None);
    assert_eq!(
        q("1Gi").checked_sub(&q("1Mi")).unwrap().to_string(),
        "1023Mi"
    );
    assert_eq!(q("1").checked_sub(&q("1")).unwrap(), Quantity::ZERO);
    assert_eq!(q("250m").checked_mul(4).unwrap().to_string(), "1");
    assert_eq!(q("1e38").checked_mul(i64::MAX).unwrap().value(), i64::MAX);
}

#[test]
fn json_takes_text_and_numbers() {
    let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|q| q.to_string());
    assert_eq!(read("\"1024Mi\"").unwrap(), "1Gi");
    assert_eq!(read("5").unwrap(), "5");
    assert_eq!(read("-5").unwrap(), "-5");
    assert_eq!(read("0.5").unwrap(), "500m");
    assert_eq!(
        read("18446744073709551615").unwrap(),
        "18446744073709551615"
    );
    assert!(read("true").is_err());
    assert!(read("\"nope\"").is_err());
    assert_eq!(serde_json::to_string(&q("0.5")).unwrap(), "\"500m\"");
    assert_eq!(Quantity::from_bytes(3 << 30).to_string(), "3Gi");
    assert_eq!(Quantity::from_milli(2500).to_string(), "2500m");
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "[-+.0-9eEinumkKMGTP ]{0,30}|.{0,20}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn canonical_text_is_a_fixed_point(
        text in "[-+]?[0-9]{0,15}(\\.[0-9]{0,12})?(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})"
    ) {
        if let Ok(first) = Quantity::parse(&text) {
            let canonical = first.to_string();
            let again = Quantity::parse(&canonical).unwrap();
            prop_assert_eq!(again, first, "{} -> {}", text, canonical);
            prop_assert_eq!(again.to_string(), canonical);
        }
    }

    #[test]
    fn whole_numbers_behave_as_numbers(a in any::<i32>(), b in any::<i32>(), binary in any::<bool>()) {
        let format = if binary { Format::BinarySi } else { Format::DecimalSi };
        let (x, y) = (Quantity::from_value(a.into(), format), Quantity::from_value(b.into(), format));
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        prop_assert_eq!(x.checked_add(&y).unwrap().value(), i64::from(a) + i64::from(b));
        prop_assert_eq!(x.checked_sub(&y).unwrap().value(), i64::from(a) - i64::from(b));
        prop_assert_eq!(q(&x.to_string()), x);
    }

    #[test]
    fn order_agrees_with_subtraction(a in "[0-9]{1,9}(\\.[0-9]{1,9})?(m|k|Ki|Gi|e3)?", b in "[0-9]{1,9}(\\.[0-9]{1,9})?(m|k|Ki|Gi|e3)?") {
        let (a, b) = (q(&a), q(&b));
        let difference = a.checked_sub(&b).unwrap();
        prop_assert_eq!(a < b, difference.is_negative());
        prop_assert_eq!(a == b, difference.is_zero());
    }
}
