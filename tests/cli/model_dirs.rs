//! Model directories from outside through `train`, `export`, `average` and `generate`: what they say beside the weights
//! comes out as it went in, and where it is written.
use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The export of the fixture as somebody else's model: ids, files and entries that rewarm has no use for.
fn foreign(dir: &Dir) {
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    copy(&fixture().dir.join("data"), &dir.join("data"));
    let mut config = read(&dir.join("hf/config.json"));
    config["eos_token_id"] = json!([0, 7]);
    config["bos_token_id"] = Value::Null;
    config["pad_token_id"] = json!(1);
    config["my_key"] = json!({"kept": true});
    dir.write("hf/config.json", config.to_string());
    dir.write("hf/generation_config.json", "{\"eos_token_id\": [0, 9], \"temperature\": 0.7}\n");
    dir.write("hf/tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"extra\": 1}");
    dir.write("hf/chat_template.jinja", "{{ messages }}\r\n");
    dir.write(&format!("hf/{TEMPLATE}"), "{{ tools }}\r\n");
    dir.write("hf/LICENSE", "Apache");
    dir.write("hf/README.md", "of the old weights");
}

const TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";
const CARRIED: [&str; 5] =
    ["generation_config.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE", "tokenizer.json"];

#[test]
fn a_model_from_outside_says_the_same_after_training() {
    let dir = Dir::new();
    foreign(&dir);
    let (_, rest) = CONFIG.split_once("[data]").unwrap();
    // With and without a tokenizer of the configuration's own, which is the same one here.
    for (name, tokenizer) in [("plain", ""), ("named", "tokenizer = \"DIR/data/tokenizer.json\"\n")] {
        let text = format!(
            "run_dir = \"DIR/{name}\"\nthreads = 2\n[start]\nfrom = \"DIR/hf\"\n[data]\n{tokenizer}{rest}"
        );
        dir.config("next.toml", &text);
        line(
            &dir,
            "train DIR/next.toml --set train.steps=2 --set checkpoint.every=1 --set schedule.warmup=0",
        )
        .ok();
        line(&dir, &format!("export DIR/{name} DIR/out/{name} --dtype bf16")).ok();
        line(&dir, &format!("average DIR/{name} -o DIR/mean/{name}")).ok();
        let step = format!("{name}/step-0000000002");
        for place in [step, format!("out/{name}"), format!("mean/{name}")] {
            for file in CARRIED {
                assert_eq!(
                    fs::read(dir.join(&place).join(file)).unwrap(),
                    fs::read(dir.join("hf").join(file)).unwrap(),
                    "{place}/{file}"
                );
            }
            // A checkpoint has no folders.
            let template =
                if place.contains("step-") { TEMPLATE.replace('/', ".") } else { TEMPLATE.to_owned() };
            assert_eq!(fs::read(dir.join(&place).join(template)).unwrap(), b"{{ tools }}\r\n", "{place}");
            assert!(!dir.join(&place).join("README.md").exists());
            let (was, is) = (read(&dir.join("hf/config.json")), read(&dir.join(&place).join("config.json")));
            for key in ["eos_token_id", "bos_token_id", "pad_token_id", "my_key"] {
                assert_eq!(is[key], was[key], "{place}: {key}");
            }
        }
    }
    // A resumed run is the run.
    line(&dir, "resume DIR/plain").ok();
}

#[test]
fn generate_ends_where_the_directory_says() {
    let dir = Dir::new();
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    let said = || {
        let args =
            ["generate", "DIR/hf", "--prompt", "The river", "--max-tokens", "16", "--temperature", "0"];
        rewarm(&dir, args).ok().trim_end().to_string()
    };
    let eos = |value: Value| {
        let mut config = read(&dir.join("hf/config.json"));
        config["eos_token_id"] = value;
        dir.write("hf/config.json", config.to_string());
    };
    let full = said();
    assert!(full.len() > "The river".len() + 8, "{full}");
    let any = json!((0..384).collect::<Vec<u32>>());
    eos(any.clone());
    assert_eq!(said(), "The river", "each id of the list ends the text");
    dir.write("hf/generation_config.json", "{}");
    assert_eq!(said(), full, "generation_config.json decides alone");
    dir.write("hf/generation_config.json", json!({"eos_token_id": any}).to_string());
    eos(Value::Null);
    assert_eq!(said(), "The river");
    fs::remove_file(dir.join("hf/generation_config.json")).unwrap();
    assert_eq!(said(), full, "null is no token");
    dir.write("hf/generation_config.json", "{\"eos_token_id\": \"x\"}");
    line(&dir, "generate DIR/hf --prompt The").refused(&["generation_config.json: eos_token_id is \"x\""]);
}

#[test]
fn an_export_makes_its_parents_and_leaves_none_behind() {
    let dir = Dir::new();
    let run = fixture().dir.at("run");
    line(&dir, &format!("export {run} DIR/a/b/c")).ok();
    assert_eq!(fs::read_dir(dir.join("a/b")).unwrap().count(), 1);
    line(&dir, &format!("export {run} x/y")).ok();
    line(&dir, &format!("average {run} -o DIR/a/d/mean")).ok();
    assert!(dir.join("x/y/model.safetensors").exists() && dir.join("a/d/mean/config.json").exists());
    line(&dir, &format!("export {run} DIR/a/b/c")).refused(&["exists"]);
    dir.write("file", "");
    line(&dir, &format!("export {run} DIR/file/b")).refused(&["file"]);
    line(&dir, &format!("export {run} DIR/q/..")).refused(&["does not end in a name"]);
    // One that fails in the middle: a weight that f16 cannot hold.
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    let path = dir.join("hf/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e6f32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let before = tree(dir.path());
    let said = line(&dir, "export DIR/hf DIR/new/and/deep --dtype f16");
    assert_eq!(said.code, 2, "{}", said.err);
    said.one_error(&["float16"]);
    assert_eq!(tree(dir.path()), before);
    // Where it would go is looked at before the weights, which are torn here.
    let torn = fs::read(&path).unwrap()[..end - 8].to_vec();
    fs::write(&path, torn).unwrap();
    line(&dir, "export DIR/hf DIR/new").refused(&["hf/model.safetensors"]);
    line(&dir, "average DIR/hf DIR/hf -o DIR/new").refused(&["hf/model.safetensors"]);
    line(&dir, "export DIR/hf DIR/a/b/c").refused(&["a/b/c exists"]);
    line(&dir, "average DIR/hf DIR/hf -o DIR/a/b/c").refused(&["a/b/c exists"]);
    line(&dir, "export DIR/hf DIR/q/..").refused(&["does not end in a name"]);
}

#[test]
fn shards_are_as_large_as_was_said() {
    let dir = Dir::new();
    let run = fixture().dir.at("run");
    let files = |size: &str| {
        let to = dir.at(size);
        line(&dir, &format!("export {run} {to} --max-shard-bytes {size}")).ok();
        let names = fs::read_dir(to).unwrap().map(|e| e.unwrap());
        let weights = names.filter(|e| e.file_name().to_str().unwrap().ends_with(".safetensors"));
        weights.map(|e| e.metadata().unwrap().len()).collect::<Vec<u64>>()
    };
    let split = files("60KB");
    assert!(split.len() > 1 && split.iter().all(|bytes| *bytes < 64_000), "{split:?}");
    assert_eq!(files("60000"), split);
    for whole in ["5MB", "5GiB", "1.5tb"] {
        assert_eq!(files(whole).len(), 1, "{whole}");
    }
    for bad in ["5", "5M", "0", "MB"] {
        let said = line(&dir, &format!("export {run} DIR/bad --max-shard-bytes {bad}x"));
        assert_eq!(said.code, 1, "{}", said.err);
        said.one_error(&["--max-shard-bytes", "as in"]);
    }
}
