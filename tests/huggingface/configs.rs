//! Odd entries in config.json, beside what transformers computed with each (`tools/golden_configs.py`): computed to the
//! same logits here, or refused by name. No entry is passed over in silence.
use rewarm::checkpoint::hf_config::{HfConfig, parse_config};
use rewarm::checkpoint::{Dtype, config_json};
use rewarm::model::ParamTable;
use rewarm::reference::model::{Net, params_of};
use serde_json::{Value, json};

const VOCAB: usize = 13;
const TIME: usize = 12;
/// PyTorch computes in f32. The two forms of GELU differ by 4e-5 here.
const TOLERANCE: f64 = 5e-6;

/// The weights of `tools/golden_configs.py`, a formula of name and index.
fn weights(table: &ParamTable) -> Vec<f32> {
    let mut w = vec![0.0; table.total];
    for param in &table.params {
        let shift: usize = param.name.bytes().map(usize::from).sum();
        let value = |i: usize| (((i * 37 + 11 * shift) % 127) as f32 / 64.0 - 1.0) * 0.5;
        let values: Vec<f32> = (0..param.shape.iter().product()).map(value).collect();
        param.scatter(&values, &mut w);
    }
    w
}

/// Logits of the last two tokens.
fn logits(config: &HfConfig) -> Vec<f64> {
    let table = ParamTable::new(&config.model);
    let net = Net::<f64>::new(&config.model, &params_of(&table, &weights(&table)));
    let tokens: Vec<i32> = (0..TIME as i32).map(|i| (7 * i + 3) % VOCAB as i32).collect();
    net.forward(&tokens, TIME).logits[(TIME - 2) * VOCAB..].to_vec()
}

#[test]
fn every_entry_is_computed_as_transformers_does_or_refused_by_name() {
    let mut lines = include_str!("configs.jsonl").lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let base = lines.next().unwrap();
    let (mut computed, mut refused) = (0, 0);
    for case in lines {
        let mut config = base.as_object().unwrap().clone();
        case["remove"].as_array().unwrap().iter().for_each(|key| drop(config.remove(key.as_str().unwrap())));
        config.extend(case["set"].as_object().unwrap().clone());
        let what = format!("{} without {}", case["set"], case["remove"]);
        let parsed = parse_config(Value::Object(config), "config.json").map_err(|e| e.to_string());
        if case["expect"] == "refuse" {
            let message = parsed.map(drop).expect_err(&what);
            let word = case["word"].as_str().unwrap();
            assert!(message.starts_with("config.json: ") && message.contains(word), "{what}: {message}");
            refused += 1;
            continue;
        }
        let parsed = parsed.unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected: Vec<f64> =
            case["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let compare = |config: &HfConfig, what: &str| {
            let found = logits(config);
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(found.len() == expected.len() && worst <= TOLERANCE, "{what}: logits differ by {worst}");
        };
        compare(&parsed, &what);
        // What an export of it says is the same model, with what is unknown here kept.
        let written = config_json(&parsed.model, Dtype::F32, Some(&parsed.raw));
        for key in ["my_key", "auto_map", "pad_token_id", "head_dim", "num_key_value_heads"] {
            assert_eq!(written.get(key), parsed.raw.get(key), "{what}: {key}");
        }
        let again = parse_config(written, "config.json").unwrap_or_else(|e| panic!("{what}, exported: {e}"));
        compare(&again, &format!("{what}, exported"));
        computed += 1;
    }
    println!("{computed} computed, {refused} refused");
    assert!(computed >= 40 && refused >= 50);
}

#[test]
fn what_is_carried_without_effect_is_noted() {
    let base: Value = serde_json::from_str(include_str!("configs.jsonl").lines().next().unwrap()).unwrap();
    let notes = |key: &str, value: Value| {
        let mut config = base.clone();
        config[key] = value;
        parse_config(config, "config.json").unwrap().notes
    };
    assert_eq!(notes("hidden_dropout", json!(0.0)), [""; 0]);
    assert!(notes("hidden_dropout", json!(0.1))[0].contains("without dropout"));
    assert!(notes("auto_map", json!({"AutoModel": "x.X"}))[0].contains("without trust_remote_code"));
}
