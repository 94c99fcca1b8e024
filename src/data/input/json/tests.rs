//! Against Python, serde_json, and values by hand.
use super::*;
use proptest::prelude::*;

fn text(json: &str) -> Option<String> {
    match text_of(json.as_bytes(), "text") {
        Ok(TextField::Text(text, 0)) => Some(text),
        _ => None,
    }
}

#[test]
fn what_python_writes() {
    // json.dumps of Python, and what json.loads makes of it.
    let deep = format!("{{\"x\":{}1{},\"text\":\"t\"}}", "[".repeat(100_000), "]".repeat(100_000));
    for (json, expected) in [
        (r#"{"text": "caf\u00e9 \ud83d\ude42 \"\\\/\b\f\n\r\t"}"#, "café 🙂 \"\\/\u{8}\u{c}\n\r\t"),
        (r#"{"score": NaN, "a": [Infinity, -Infinity, 1e999, -0.0], "text": "t"}"#, "t"),
        (r#"{"n": 123456789012345678901234567890, "text": "t", "b": [true, false, null, {}, []]}"#, "t"),
        (r#"{"other": "\ud800", "text": "t"}"#, "t"),
        (r#"{"text": "first", "text": "last"}"#, "last"),
        (r#" {"te\u0078t" : "t" } "#, "t"),
        ("\"alone\"", "alone"),
        ("{\"text\":\"\"}", ""),
        (&deep, "t"),
    ] {
        assert_eq!(text(json).as_deref(), Some(expected), "{}", &json[..json.len().min(80)]);
    }
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    for (escapes, expected, lone) in [
        (r"a\ud800b", "a\u{fffd}b", 1),
        (r"\udc00", "\u{fffd}", 1),
        (r"\ud800\ud83d\ude42", "\u{fffd}🙂", 1),
        (r"\ud83d\u0041", "\u{fffd}A", 1),
        (r"\udfff\ud800", "\u{fffd}\u{fffd}", 2),
    ] {
        let json = format!("{{\"text\":\"{escapes}\"}}");
        assert_eq!(text_of(json.as_bytes(), "text"), Ok(TextField::Text(expected.into(), lone)), "{escapes}");
    }
}

#[test]
fn what_has_no_text_and_what_is_not_json() {
    for json in [
        "{}",
        "[]",
        "1",
        "null",
        r#"{"text":1}"#,
        r#"{"text":null}"#,
        r#"{"text":"t","text":2}"#,
        r#"{"x":{"text":"t"}}"#,
        r#"["t"]"#,
    ] {
        assert_eq!(text_of(json.as_bytes(), "text"), Ok(TextField::None), "{json}");
    }
    for (json, what) in [
        ("", "ends too early"),
        (r#"{"text":"a"#, "inside of a string"),
        (r#"{"text":"a""#, "end of the object"),
        (r#"{"text":"a"}}"#, "follows"),
        (r#"{"text":"a"} {"text":"b"}"#, "follows"),
        (r#"{'text':'a'}"#, "a key in quotes"),
        (r#"{"text" "a"}"#, "a colon"),
        (r#"{"text":"\x"}"#, "an escape"),
        (r#"{"text":"\u12"}"#, "an escape"),
        ("{\"text\":\"a\tb\"}", "a control character"),
        (r#"{"n":01,"text":"a"}"#, "a value"),
        (r#"{"n":1.,"text":"a"}"#, "a value"),
        (r#"{"n":nan,"text":"a"}"#, "a value"),
        (r#"{"a":[1,],"text":"a"}"#, "a value"),
        (r#"{"a":[1},"text":"a"}"#, "closing bracket"),
        (r#"{"text":"a",}"#, "a key in quotes"),
    ] {
        let bad = text_of(json.as_bytes(), "text").unwrap_err();
        assert!(bad.what.contains(what), "{json}: {bad:?}");
    }
    assert_eq!(text_of(b"{\"text\":\"\xff\"}", "text").unwrap_err().what, "the text is not UTF-8");
    // Of a field that is not read, even that does not matter.
    assert_eq!(text_of(b"{\"x\":\"\xff\",\"text\":\"t\"}", "text"), Ok(TextField::Text("t".into(), 0)));
    assert_eq!(keys(br#" {"a":1,"b\n":[{"x":2}],"c":3}"#, 2), ["a", "b\n"]);
}

proptest! {
    #[test]
    fn plain_bytes_are_counted(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1du8..0x25, 0x5au8..0x5f, 0x7eu8..0x84], 0..40)) {
        let expected = bytes.iter().position(|b| *b < 32 || *b == 34 || *b == 92).unwrap_or(bytes.len());
        prop_assert_eq!(plain(&bytes), expected);
    }

    #[test]
    fn all_that_serde_reads_is_read_alike(text in "(\\PC|[\"\\\\\n\t]){0,40}", json in arbitrary()) {
        let value = serde_json::json!({ "a": json, "text": text, "b": [json] });
        for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(text_of(written.as_bytes(), "text"), Ok(TextField::Text(text.clone(), 0)));
            // Anything cut off is bad, and never more than that.
            for end in 0..written.len() {
                prop_assert!(text_of(&written.as_bytes()[..end], "text").is_err());
            }
        }
    }
}

fn arbitrary() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "(\\PC|[\"\\\\\n]){0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::btree_map("[a-c\"]{1,3}", inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}
