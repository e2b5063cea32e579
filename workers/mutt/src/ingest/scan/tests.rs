use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use super::timestamp::{parse_text, parse_unix};
use super::*;

fn known() -> Known {
    Known::new(["hostname", "message", "timestamp"])
}

/// The stored form of an object without the pipeline's keys, or why it is refused.
fn stored(text: &str) -> Result<String, ScanErrorKind> {
    let known = known();
    let mut event = known.event();
    let end = scan_object(text.as_bytes(), 0, &known, &mut event).map_err(|e| e.kind)?;
    assert_eq!(end, text.len(), "scanned to the end: {text}");
    let mut out = Vec::new();
    event.write_open(text.as_bytes(), &mut out);
    out.push(b'}');
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn takes_what_json_allows_and_keeps_the_text() {
    for text in [
        "{}",
        "{ }",
        r#"{"a":1}"#,
        "{ \"a\" : [ 1 , 2.5e-3, -0, {\"b\":{}} , [] , [[]] ] ,\n\t\"c\" : null }",
        r#"{"a":true,"b":false,"c":null,"d":-0.5E+10}"#,
        r#"{"a":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"}"#,
        r#"{"unicode":"äöü €  😀","a":{"_kept":1}}"#,
        r#"{"same":1,"same":2}"#,
        r#"{"n":1e308,"m":5e-324,"k":0.1}"#,
    ] {
        assert_eq!(stored(text).as_deref(), Ok(text));
    }
    let long = format!(r#"{{"n":{}}}"#, "9".repeat(1_000));
    assert_eq!(stored(&long), Ok(long.clone()));
}

#[test]
fn refuses_what_is_not_strict_json() {
    use ScanErrorKind as K;
    let cases: &[(&str, K)] = &[
        ("{", K::ExpectedKey),
        (r#"{"a"}"#, K::ExpectedColon),
        (r#"{"a":}"#, K::ExpectedValue),
        (r#"{"a":1,}"#, K::ExpectedKey),
        (r#"{"a":1"#, K::ExpectedCommaOrBrace),
        (r"{a:1}", K::ExpectedKey),
        (r#"{"a":NaN}"#, K::ExpectedValue),
        (r#"{"a":Infinity}"#, K::ExpectedValue),
        (r#"{"a":-Infinity}"#, K::Number),
        (r#"{"a":nul}"#, K::ExpectedValue),
        (r#"{"a":01}"#, K::Number),
        (r#"{"a":1.}"#, K::Number),
        (r#"{"a":.5}"#, K::ExpectedValue),
        (r#"{"a":+1}"#, K::ExpectedValue),
        (r#"{"a":1e}"#, K::Number),
        (r#"{"a":1e999}"#, K::Exponent),
        (r#"{"a":1e309}"#, K::Exponent),
        (r#"{"a":1e-401}"#, K::Exponent),
        (r#"{"a":1e99999999999999999999}"#, K::Exponent),
        (r#"{"a":"x}"#, K::UnterminatedString),
        (r#"{"a":"x\"#, K::UnterminatedString),
        (r#"{"a":"\x"}"#, K::Escape),
        (r#"{"a":"\u12g4"}"#, K::Escape),
        (r#"{"a":"\u12"#, K::Escape),
        (r#"{"a":"\ud800"}"#, K::LoneSurrogate),
        (r#"{"a":"\ud800\ud800"}"#, K::LoneSurrogate),
        (r#"{"a":"\ud800x"}"#, K::LoneSurrogate),
        (r#"{"a":"\udc00"}"#, K::LoneSurrogate),
        ("{\"a\":\"x\ny\"}", K::ControlCharacter),
        ("{\"a\":\"12345678\u{0}\"}", K::ControlCharacter),
        ("{\"a\":\"\u{1f}\"}", K::ControlCharacter),
        (r#"{"a":[1,]}"#, K::ExpectedValue),
        (r#"{"a":[1}"#, K::ExpectedCommaOrBracket),
        (r#"{"a":{"b":1]}"#, K::ExpectedCommaOrBrace),
        (r#"{"a":{"b"}}"#, K::ExpectedColon),
        (r#"{"a":{1:2}}"#, K::ExpectedKey),
        (r#"{"hostname":"a","hostname":"b"}"#, K::DuplicateKey(0)),
        (r#"{"message":"a","mess\u0061ge":"b"}"#, K::DuplicateKey(1)),
        (r#"{"syslog_severity":1,"syslog_severity":1}"#, K::DuplicateKey(3)),
    ];
    for (text, kind) in cases {
        assert_eq!(stored(text), Err(*kind), "{text}");
    }
    let long = format!(r#"{{"n":{}}}"#, "9".repeat(1_001));
    assert_eq!(stored(&long), Err(K::NumberLength));
}

#[test]
fn nesting_ends_at_64_levels() {
    let nested = |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(stored(&nested(64)).is_ok());
    assert_eq!(stored(&nested(65)), Err(ScanErrorKind::Depth));
    assert_eq!(stored(&nested(100_000)), Err(ScanErrorKind::Depth));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(64), "}".repeat(64));
    assert!(stored(&objects).is_ok());
}

#[test]
fn own_keys_of_the_sender_are_dropped_with_their_commas() {
    for (text, expected) in [
        (r#"{"_a":1}"#, "{}"),
        (r#"{"_a":1,"_b":2}"#, "{}"),
        (r#"{"_a":1,"b":2}"#, r#"{"b":2}"#),
        (r#"{"_a":1,"_c":[{}],"b":2}"#, r#"{"b":2}"#),
        (r#"{"b":2,"_a":1}"#, r#"{"b":2}"#),
        (r#"{"b":2 , "_a":1,"_c":"," , "d":3}"#, r#"{"b":2 , "d":3}"#),
        (r#"{"_x":0,"b":2,"_a":1,"_c":2}"#, r#"{"b":2}"#),
        (r#"{"\u005fevent_id":1,"b":{"_d":1}}"#, r#"{"b":{"_d":1}}"#),
    ] {
        assert_eq!(stored(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn escaped_nul_becomes_the_replacement_character() {
    let text = r#"{"a":"x\u0000y","k\u0000":["\\u0000","\\\u0000"]}"#;
    let expected = r#"{"a":"x\ufffdy","k\ufffd":["\\u0000","\\\ufffd"]}"#;
    assert_eq!(stored(text).as_deref(), Ok(expected));
}

#[test]
fn records_where_known_fields_stand() {
    let known = Known::new(["site", "hostname"]);
    let mut event = known.event();
    let text = br#"  {"message":"m","site":"x\n","h\u006fstname":"sw1"}"#;
    scan_object(text, 2, &known, &mut event).unwrap();
    assert_eq!(known.name(known.required()[0]), "site");
    let slot = event.slot(known.required()[0]).unwrap();
    assert_eq!(&text[slot.start..slot.end], br#""x\n""#);
    let slot = event.slot(fields::HOSTNAME).unwrap();
    assert_eq!(&text[slot.start..slot.end], br#""sw1""#);
    assert_eq!(event.slot(fields::TIMESTAMP), None);
}

#[test]
fn a_broken_item_ends_where_its_brackets_say() {
    for (text, end) in [
        (r"NaN,1", Some(3)),
        (r#"{"a":NaN},{"b":1}]"#, Some(9)),
        (r#"{"a":"},\"{"},1]"#, Some(13)),
        (r#""\ud800",1]"#, Some(8)),
        (r"]", None),
        (r#"{"a":1"#, None),
        (r#"{"a":"1}"#, None),
    ] {
        assert_eq!(skip_broken(text.as_bytes(), 0), end, "{text}");
    }
}

#[test]
fn timestamps() {
    let noon = 1_717_243_200_000_000; // 2024-06-01T12:00:00Z
    for text in [
        "2024-06-01T12:00:00Z",
        "2024-06-01t12:00:00z",
        "2024-06-01 12:00:00",
        "2024-06-01T12:00:00.000",
        "2024-06-01T14:00:00+02:00",
        "2024-06-01 14:00:00 +0200",
        "2024-06-01T11:30:00-00:30",
        "2024-06-01T14:00:00+02",
        "1717243200",
        "1717243200.0",
    ] {
        assert_eq!(parse_text(text.as_bytes()), Some(noon), "{text}");
    }
    assert_eq!(parse_text(b"2024-06-01T12:00:00.1234567Z"), Some(noon + 123_456));
    assert_eq!(parse_text(b"2016-12-31T23:59:60Z"), Some(1_483_228_799_000_000));
    assert_eq!(parse_unix(b"1.7172432e9"), Some(noon));
    assert_eq!(parse_unix(b"-1.5"), Some(-1_500_000));
    for text in [
        "",
        "now",
        "2024-06-01",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-06-01T24:00:00Z",
        "2024-06-01T12:00:00.Z",
        "2024-06-01T12:00:00X",
        "2024-06-01T12:00:00+25:00",
        "2024-06-01T12:00",
        "Jun  1 12:00:00",
        "0000-01-01T00:00:00Z",
        "17172432000000",
        "1717243200000000000000",
        "1.",
        ".5",
        "-",
        "2024-06-01T12:00:00+2:00",
        "1e400",
        "２024-06-01T12:00:00Z",
    ] {
        assert_eq!(parse_text(text.as_bytes()), None, "{text}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[ -~]{0,200}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".{0,12}|_?[a-z]{1,8}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn without_own_keys(value: &Value) -> Value {
    let Value::Object(members) = value else { panic!("an object") };
    let kept = members.iter().filter(|(key, _)| !key.starts_with('_'));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Bytes near JSON: tokens in any order, so that the scanner's every state is reached.
fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"", " ", "\n"]),
        3 => prop::sample::select(vec![
            "\"a\"", "\"_b\"", "\"hostname\"", "1", "-2.5e3", "true", "null", "\"\\u0000\"", "{}", "[]", "\"\\n\"",
        ]),
        1 => prop::sample::select(vec![
            "\\", "\\u", "\\ud800", "\\udc00", "\u{1}", "é", "1e999", "01", "NaN", "-", "tru", "\"abcdefghijklm\"",
        ]),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn stored_text_equals_the_input_without_own_keys(
        members in prop::collection::vec(("_?[a-z\u{e4}]{1,6}", json_value()), 0..8),
        pretty in any::<bool>(),
    ) {
        let value = Value::Object(members.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let stored: Value = serde_json::from_str(&stored(&text).unwrap()).unwrap();
        let expected = serde_json::to_string(&without_own_keys(&value)).unwrap().replace("\\u0000", "\\ufffd");
        prop_assert_eq!(stored, serde_json::from_str::<Value>(&expected).unwrap());
    }

    #[test]
    fn accepts_no_more_than_serde_json(soup in token_soup()) {
        let mut text = b"{".to_vec();
        text.extend_from_slice(&soup);
        check_against_serde(&text)?;
    }

    #[test]
    fn a_changed_byte_is_judged_like_serde_json(value in json_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&serde_json::json!({"hostname": value, "x": "0123456789abcdef"})).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        check_against_serde(&text)?;
    }

    #[test]
    fn timestamps_never_panic_and_stay_in_range(text in "[0-9TZ:. +-]{0,30}") {
        if let Some(micros) = parse_text(text.as_bytes()) {
            prop_assert!(jiff::Timestamp::from_microsecond(micros).is_ok());
        }
    }
}

/// What the scanner takes, serde_json takes; what serde_json's full parse takes, only our stricter rules refuse.
fn check_against_serde(text: &[u8]) -> Result<(), TestCaseError> {
    let known = known();
    let mut event = known.event();
    let utf8 = std::str::from_utf8(text).is_ok();
    let scanned = if text.first() == Some(&b'{') { scan_object(text, 0, &known, &mut event) } else { return Ok(()) };
    let whole = scanned.map(|end| end == text.len());
    let serde = serde_json::from_slice::<Value>(text);
    if utf8 && whole == Ok(true) {
        // A double overflows where jsonb's numeric does not.
        let overflow = matches!(&serde, Err(error) if error.to_string().starts_with("number out of range"));
        prop_assert!(
            serde.is_ok() || overflow,
            "taken, but serde_json says {:?}: {:?}",
            serde,
            String::from_utf8_lossy(text)
        );
        let mut out = Vec::new();
        event.write_open(text, &mut out);
        out.push(b'}');
        prop_assert!(
            serde_json::from_slice::<Value>(&out).is_ok() || overflow,
            "stored: {:?}",
            String::from_utf8_lossy(&out)
        );
    }
    if serde.is_ok() {
        let stricter =
            matches!(scanned, Err(ScanError { kind: ScanErrorKind::DuplicateKey(_) | ScanErrorKind::Exponent, .. }));
        prop_assert!(
            whole == Ok(true) || stricter || text.ends_with(b" ") || text.ends_with(b"\n"),
            "{:?} {:?}",
            scanned,
            String::from_utf8_lossy(text)
        );
    }
    Ok(())
}
