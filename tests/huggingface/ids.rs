//! Tokens that start and end a text, as transformers 5.24 reads them: `null`, absent, one and several are four
//! different things, and all of them come out of an export as they went in.
use crate::{config, plain, tensors, weights};
use rewarm::checkpoint::hf_config::{end_tokens, parse_config};
use rewarm::checkpoint::{Dtype, Export, config_json, export};
use rewarm::model::{ParamTable, TokenIds};
use serde_json::{Value, json};
use std::fs;

/// A `config.json` whose `eos_token_id` and `bos_token_id` are these; `None` leaves an entry out.
fn with(eos: Option<Value>, bos: Option<Value>) -> Value {
    let mut json = config_json(&config(), Dtype::F32, None);
    let object = json.as_object_mut().unwrap();
    for (key, value) in [("eos_token_id", eos), ("bos_token_id", bos)] {
        object.remove(key);
        object.extend(value.map(|value| (key.to_string(), value)));
    }
    json
}

#[test]
fn ids_leave_as_they_came() {
    let many = |ids: &[u32]| TokenIds::Many(ids.to_vec());
    for (eos, bos, model_eos, model_bos) in [
        (Some(json!(2)), Some(json!(0)), TokenIds::One(2), Some(0)),
        (Some(Value::Null), Some(Value::Null), TokenIds::None, None),
        (None, None, TokenIds::None, None),
        (Some(json!([5, 3, 8])), Some(json!(5)), many(&[5, 3, 8]), Some(5)),
        (Some(json!([5])), None, many(&[5]), None),
        (Some(json!([])), None, many(&[]), None),
        (Some(json!(-1)), Some(json!(-1)), TokenIds::None, None),
        (Some(json!([-1, 4])), None, many(&[4]), None),
    ] {
        let raw = with(eos, bos);
        let parsed = parse_config(raw.clone(), "config.json").unwrap();
        assert_eq!((&parsed.model.eos_token_id, parsed.model.bos_token_id), (&model_eos, model_bos));
        let table = ParamTable::new(&parsed.model);
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("out");
        let w = weights(&table);
        let plan = Export { base_config: Some(&raw), ..plain(&parsed.model, &table) };
        export(&dir, &plan, &tensors(&w)).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        for key in ["eos_token_id", "bos_token_id"] {
            assert_eq!(written.get(key), raw.get(key), "{key}");
        }
    }
    for bad in
        [json!("2"), json!(1.0), json!(true), json!(1u64 << 32), json!([1, "2"]), json!([[1]]), json!({})]
    {
        let message = parse_config(with(Some(bad.clone()), None), "config.json").unwrap_err().to_string();
        assert!(message.contains("config.json: eos_token_id is"), "{bad}: {message}");
    }
    // transformers takes a list for the end only.
    let message = parse_config(with(None, Some(json!([1]))), "config.json").unwrap_err().to_string();
    assert!(message.contains("bos_token_id is [1]"), "{message}");
}

/// What `AutoModelForCausalLM.from_pretrained(dir).generation_config.eos_token_id` was in transformers 5.24 for each
/// `config.json` and `generation_config.json`: the second, where it is there, decides alone, even if it says nothing.
#[test]
fn a_text_ends_where_transformers_ends_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("generation_config.json");
    let ends = |raw: &Value| end_tokens(temp.path(), raw).map(|ids| ids.as_slice().to_vec());
    let configs = [
        (Some(json!(2)), vec![2]),
        (Some(Value::Null), vec![]),
        (None, vec![]),
        (Some(json!([1, 2, 3])), vec![1, 2, 3]),
        (Some(json!([])), vec![]),
        (Some(json!(-1)), vec![]), // no token is -1
    ];
    for (eos, of_config) in configs {
        let raw = with(eos, None);
        for (generation, expected) in [
            (None, of_config),
            (Some(json!({})), vec![]),
            (Some(json!({"eos_token_id": 5})), vec![5]),
            (Some(json!({"eos_token_id": null})), vec![]),
            (Some(json!({"eos_token_id": [7, 8]})), vec![7, 8]),
        ] {
            let _ = fs::remove_file(&path);
            if let Some(generation) = &generation {
                fs::write(&path, generation.to_string()).unwrap();
            }
            assert_eq!(ends(&raw).unwrap(), expected, "{raw} {generation:?}");
        }
    }
    for (bad, word) in
        [("{", "no valid JSON"), ("[]", "no JSON object"), (r#"{"eos_token_id": "2"}"#, "eos_token_id is")]
    {
        fs::write(&path, bad).unwrap();
        let message = ends(&with(None, None)).unwrap_err().to_string();
        assert!(message.contains("generation_config.json") && message.contains(word), "{message}");
    }
}
