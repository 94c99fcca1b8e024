//! What works, end to end: text to shards to a run to text.
use crate::support::*;
use serde_json::{Value, json};
use std::fs;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn shards_are_inspected_and_verified() {
    let f = fixture();
    let found: Value = serde_json::from_str(line(&f.dir, "data inspect DIR/data/a --json").ok()).unwrap();
    assert_eq!(found["documents"], 20, "{found}"); // notes.md is not .txt
    let bytes: u64 = (0..20).map(|i| english(i, 10_000).len() as u64).sum();
    let ratio = number(&found["bytes_per_token"]);
    assert!((ratio * number(&found["tokens"]) - bytes as f64).abs() < 1.0, "{found}");
    let text = line(&f.dir, "data inspect DIR/data/a --tokenizer DIR/data/tokenizer.json");
    assert!(text.ok().contains("first text: \"The "), "{}", text.out);
    let said = line(&f.dir, "data verify DIR/data --tokenizer DIR/data/tokenizer.json");
    assert!(said.ok().contains("3 shards, 81 documents") && said.out.contains(" 0 faults"), "{}", said.out);
    line(&f.dir, "data verify DIR/data/a --vocab-size 100").refused(&["faults"]);
}

#[test]
fn a_run_says_what_it_does() {
    let f = fixture();
    let said = &f.trained;
    let parameters = 2 * 384 * 32 + 12 * 32 * 32 + 13 * 32 + 2 * 32;
    for line in [format!("{parameters} parameters, 40 steps"), "ready after ".into(), "step 40/40".into()] {
        assert!(said.err.contains(&line), "{line:?} is missing in:\n{}", said.err);
    }
    for step in [10, 20, 30, 40] {
        assert!(said.err.contains(&format!("/step-{step:010}\n")), "{}", said.err);
    }
    assert!(!said.err.contains('\r') && !said.err.contains('\u{1b}'), "a bar where there is no terminal");
    assert!(
        said.out.starts_with("done: 40 steps, last loss ") && said.out.contains("tales: loss "),
        "{}",
        said.out
    );
    let run = f.dir.join("run");
    assert_eq!(steps(&run), [20, 30, 40].map(|s| format!("step-{s:010}")));
    // The resolved configuration starts the same run again.
    let again = rewarm(&f.dir, ["plan", "DIR/run/config.toml", "--json"]);
    let plan: Value = serde_json::from_str(again.ok()).unwrap();
    assert_eq!((&plan["parameters"], &plan["tokens"]), (&parameters.into(), &(40 * 8 * 64).into()));
}

#[test]
fn the_log_has_every_step_and_every_evaluation() {
    let lines = log(&fixture().dir.join("run"));
    let trained: Vec<&Value> = lines.iter().filter(|l| l.get("eval").is_none()).collect();
    assert_eq!(trained.len(), 40);
    for (i, l) in trained.iter().enumerate() {
        let step = i as u64 + 1;
        assert_eq!((&l["step"], &l["tokens"]), (&step.into(), &(step * 8 * 64).into()), "{l}");
        for key in ["loss", "grad_norm", "lr", "tokens_per_s", "data_s", "gflop_per_s"] {
            assert!(number(&l[key]) >= 0.0, "{key} in {l}");
        }
        let flops = 6.0 * (12.0 * 32.0 * 32.0 + 384.0 * 32.0) + 6.0 * 64.0 * 32.0;
        let ratio = number(&l["gflop_per_s"]) * 1e9 / number(&l["tokens_per_s"]);
        assert!((ratio / flops - 1.0).abs() < 1e-9, "{ratio} FLOPs per token, not {flops}");
        assert_eq!(l["applied"], true);
    }
    // Rates: 5 steps up from 0, then 1e-2, then 4 steps down.
    let lr = |i: usize| number(&trained[i]["lr"]);
    assert!(lr(0) == 0.0 && lr(5) == 1e-2 && lr(35) == 1e-2 && lr(39) < 1e-2 && lr(39) >= 1e-3);
    // From ln 384 = 5.95 to a text of little entropy.
    let loss = |i: usize| number(&trained[i]["loss"]);
    assert!((loss(0) - 384f64.ln()).abs() < 0.3 && loss(39) < 2.5, "{} to {}", loss(0), loss(39));
    for name in ["heldout", "tales", "both"] {
        let found: Vec<&Value> = lines.iter().filter(|l| l["eval"] == *name).collect();
        let at: Vec<u64> = found.iter().map(|l| l["step"].as_u64().unwrap()).collect();
        assert_eq!(at, [0, 10, 20, 30, 40], "{name}");
        let (first, last) = (number(&found[0]["loss"]), number(&found[4]["loss"]));
        assert!(first > 5.0 && last < 3.0, "{name}: {first} to {last}");
        assert_eq!(number(&found[4]["perplexity"]), last.exp());
        assert!(number(&found[4]["bits_per_byte"]) < number(&found[0]["bits_per_byte"]));
    }
    // Step 0 is evaluated before step 1 is taken, step 10 before step 11.
    let order: Vec<u64> = lines.iter().map(|l| l["step"].as_u64().unwrap()).collect();
    assert!(order.is_sorted() && order[..3] == [0, 0, 0]);
}

#[test]
fn eval_repeats_the_last_evaluation_of_the_run() {
    let f = fixture();
    let lines = log(&f.dir.join("run"));
    let logged = lines.iter().find(|l| l["eval"] == "tales" && l["step"] == 40).unwrap();
    let command = "--data tales=DIR/data/b --seq-len 64 --sequences 16";
    for model in ["DIR/run", "DIR/run/step-0000000040", "DIR/hf"] {
        let said = line(&f.dir, &format!("eval {model} {command} --json"));
        let found: Value = serde_json::from_str(said.ok()).unwrap();
        for key in ["eval", "loss", "standard_error", "perplexity", "bits_per_byte", "tokens"] {
            assert_eq!(found[key], logged[key], "{key} of {model}");
        }
    }
    let said = line(&f.dir, &format!("eval DIR/run {command} --data both=DIR/data/b,DIR/data/c"));
    let shown = format!(
        "tales: loss {:.4} ± {:.4}  perplexity {:.2}",
        number(&logged["loss"]),
        number(&logged["standard_error"]),
        number(&logged["perplexity"])
    );
    assert!(said.ok().starts_with(&shown), "{}", said.out);
    assert_eq!(said.out.lines().count(), 2);
    line(&f.dir, "eval DIR/run --data DIR/data/b --seq-len 129").refused(&["129", "128"]);
    line(&f.dir, "eval DIR/run --data DIR/data/nothing").refused(&["nothing"]);
}

/// The run's own sets, sequence length and number of sequences, of a run, a step and a model without a run.
#[test]
fn eval_scores_the_sets_of_a_run() {
    let f = fixture();
    let lines = log(&f.dir.join("run"));
    let logged: Vec<&Value> = lines.iter().filter(|l| l.get("eval").is_some() && l["step"] == 40).collect();
    assert!(logged.len() > 1, "held-out documents and a named set: {logged:?}");
    for model in [
        "DIR/run",
        "DIR/run/step-0000000040",
        "DIR/hf --config DIR/run",
        "DIR/hf --config DIR/run/config.toml",
    ] {
        let said = line(&f.dir, &format!("eval {model} --json"));
        let found: Vec<Value> = said.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), logged.len(), "{}", said.out);
        for (found, logged) in found.iter().zip(&logged) {
            for key in ["eval", "loss", "standard_error", "perplexity", "bits_per_byte", "tokens"] {
                assert_eq!(found[key], logged[key], "{key} of {model}");
            }
        }
    }
    // The run's sequences are 64 tokens long, the model's could be 128.
    let all = line(&f.dir, "eval DIR/run --data tales=DIR/data/b --sequences 16 --json");
    let found: Value = serde_json::from_str(all.ok()).unwrap();
    assert_eq!((&found["tokens"], number(&found["standard_error"]) > 0.0), (&json!(16 * 64), true));
    let one = line(&f.dir, "eval DIR/run --sequences 1");
    assert!(!one.ok().contains('±'), "one window has no spread: {}", one.out);
    line(&f.dir, "eval DIR/hf").refused(&["--data NAME=PATH", "--config"]);
    line(&f.dir, "eval DIR/hf --config DIR/nothing").refused(&["nothing"]);
    line(&f.dir, "eval DIR/hf --config DIR/hf").refused(&["config.toml"]);
    let twice = "eval DIR/run --data a=DIR/data/b --data a=DIR/data/c";
    line(&f.dir, twice).refused(&["two sets are called \"a\"", "data/b", "data/c"]);
    line(&f.dir, "eval DIR/run --data DIR/data/b --data DIR/data/b").refused(&["two sets are called"]);
    let other = Dir::new();
    let none = other.join("nothing_held_out.toml");
    let text = fs::read_to_string(f.dir.join("run/config.toml")).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    let data = table["data"].as_table_mut().unwrap();
    data.insert("validation_fraction".into(), toml::Value::Float(0.0));
    data.remove("validation");
    fs::write(&none, table.to_string()).unwrap();
    line(&f.dir, &format!("eval DIR/run --config {}", none.display()))
        .refused(&["holds nothing out", "--data"]);
}

#[test]
fn generate_is_a_function_of_its_arguments() {
    let f = fixture();
    let prompt = ["generate", "DIR/run", "--prompt", "The river", "--max-tokens", "24"];
    let with = |more: &[&str]| rewarm(&f.dir, prompt.iter().chain(more)).ok().to_string();
    let drawn = with(&["--seed", "3"]);
    assert!(drawn.starts_with("The river ") && drawn.len() > 30, "{drawn}");
    assert_eq!(drawn, with(&["--seed", "3"]));
    assert_eq!(drawn, with(&["--seed", "3", "--threads", "1"]));
    let hot: Vec<String> = (0..4).map(|s| with(&["--temperature", "2", "--seed", &s.to_string()])).collect();
    assert!(hot.iter().any(|t| *t != hot[0]), "four seeds, one text");
    let greedy = with(&["--temperature", "0"]);
    assert_eq!(greedy, with(&["--temperature", "0", "--seed", "9"]));
    assert_eq!(greedy, with(&["--top-k", "1"]));
    assert_eq!(greedy, with(&["--top-p", "1e-9"]));
    let words = greedy.split_whitespace().filter(|w| english(0, 50_000).contains(*w)).count();
    assert!(words >= 5, "40 steps suffice for words: {greedy}");
    // The exported directory is the same model.
    let exported = rewarm(
        &f.dir,
        ["generate", "DIR/hf", "--prompt", "The river", "--max-tokens", "24", "--temperature", "0"],
    );
    assert_eq!(exported.ok(), greedy);
}

#[test]
fn generate_refuses_what_it_cannot_do() {
    let f = fixture();
    let long = "The river watches the river. ".repeat(100);
    rewarm(&f.dir, ["generate", "DIR/run", "--prompt", &long]).refused(&["128", "shorten"]);
    line(&f.dir, "generate DIR/run --max-tokens 128").refused(&["128", "shorten"]);
    // Where no number was given, as many as the model takes: 128 with the prompt.
    line(&f.dir, "generate DIR/run").ok();
    line(&f.dir, "generate DIR/run --temperature=-1").refused(&["temperature", "0 or more"]);
    line(&f.dir, "generate DIR/run --top-p 1.5").refused(&["top-p", "at most 1"]);
    line(&f.dir, "generate DIR/nothing").refused(&["nothing", "expected"]);
}

/// A phase of 6 steps from `from` with more settings.
fn phase(dir: &Dir, name: &str, from: &str, more: &str) -> Said {
    let (head, rest) = CONFIG.split_once("[model]").unwrap();
    let data = rest.split_once("[data]").unwrap().1;
    let text = format!("{head}[start]\nfrom = \"{from}\"\n{more}\n[data]{data}")
        .replace("DIR/run\"", &format!("DIR/{name}\""));
    dir.config(
        &format!("{name}.toml"),
        &text.replace(&format!("from = \"DIR/{name}\""), &format!("from = \"{from}\"")),
    );
    rewarm(
        dir,
        [
            "train",
            &format!("DIR/{name}.toml"),
            "--set",
            "train.steps=6",
            "--set",
            "schedule.warmup=0",
            "--set",
            "schedule.lr=1e-3",
        ],
    )
}

#[test]
fn a_phase_starts_from_every_kind_of_model() {
    let dir = workshop();
    let last = number(
        &log(&dir.join("run")).iter().find(|l| l["eval"] == "tales" && l["step"] == 40).unwrap()["loss"],
    );
    for dtype in ["f32", "f16", "bf16"] {
        line(&dir, &format!("export DIR/run DIR/hf-{dtype} --dtype {dtype}")).ok();
    }
    let froms = ["DIR/hf-f32", "DIR/hf-f16", "DIR/hf-bf16", "DIR/run/step-0000000040", "DIR/first"];
    // "first" is a run directory of another name than the configuration's.
    fs::rename(dir.join("run"), dir.join("first")).unwrap();
    copy(&dir.join("first"), &dir.join("run"));
    for (i, from) in froms.iter().enumerate() {
        let name = format!("phase{i}");
        phase(&dir, &name, from, "").ok();
        let lines = log(&dir.join(&name));
        let first = number(&lines.iter().find(|l| l["eval"] == "tales").unwrap()["loss"]);
        let tolerance = [0.0, 0.002, 0.02, 0.0, 0.0][i];
        assert!((first - last).abs() <= tolerance, "{from}: step 0 has loss {first}, the model had {last}");
        // The tokenizer came along.
        line(&dir, &format!("generate DIR/{name} --max-tokens 2")).ok();
    }
}

#[test]
fn the_optimizer_is_kept_or_reset() {
    let dir = workshop();
    fs::rename(dir.join("run"), dir.join("first")).unwrap();
    let second_norm = |name: &str, more: &str| {
        phase(&dir, name, "DIR/first", more).ok();
        let manifest = fs::read_to_string(dir.join(name).join("step-0000000006/manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let applied = manifest["state"]["applied"].as_u64().unwrap();
        let weights =
            tree(&dir.join(name).join("step-0000000006"))[std::path::Path::new("model.safetensors")];
        (applied, weights)
    };
    let reset = second_norm("reset", "");
    assert_eq!(reset, second_norm("said", "optimizer = \"reset\""));
    let kept = second_norm("kept", "optimizer = \"keep\"");
    assert_eq!((reset.0, kept.0), (6, 46));
    assert_ne!(reset.1, kept.1);
    // A phase resumes like any run.
    let before = tree(&dir.join("kept"));
    assert!(line(&dir, "resume DIR/kept").ok().contains("finished"));
    assert_eq!(before, tree(&dir.join("kept")));
}

#[test]
fn an_export_holds_the_weights_of_the_checkpoint() {
    let f = fixture();
    let step = f.dir.join("run/step-0000000040");
    let files = [f.dir.join("hf"), step].map(|d| fs::read(d.join("model.safetensors")).unwrap());
    assert_eq!(files[0], files[1]);
    assert_eq!(tree(&f.dir.join("hf")).len(), 4, "config.json, weights, the tokenizer and how to open it");
}

#[test]
fn schedule_show_plan_and_doctor() {
    let f = fixture();
    let shown = line(&f.dir, "schedule show --config DIR/run.toml --csv --every 1");
    let rows: Vec<&str> = shown.ok().lines().collect();
    assert!(rows.len() > 40 && rows[0].contains("lr"), "{}", shown.out);
    // The rates it announces are the rates of the log.
    let json: Value =
        serde_json::from_str(line(&f.dir, "schedule show --config DIR/run.toml --json --every 1").ok())
            .unwrap();
    let points = json.as_array().or_else(|| json["points"].as_array()).unwrap_or_else(|| panic!("{json}"));
    let logged: Vec<f64> = log(&f.dir.join("run"))
        .iter()
        .filter(|l| l.get("eval").is_none())
        .map(|l| number(&l["lr"]))
        .collect();
    for point in points {
        let step = point["step"].as_u64().unwrap() as usize;
        if step < 40 {
            assert_eq!(number(&point["lr"]), logged[step], "{point}");
        }
    }
    line(&f.dir, "schedule show --set schedule.name=cosine --set schedule.lr=1e-3 --steps 100").ok();
    let doctor: Value = serde_json::from_str(line(&f.dir, "doctor --json").ok()).unwrap();
    assert_eq!(doctor["devices"][0]["available"], true);
    assert!(line(&f.dir, "doctor").ok().contains("cpu: available"));
}

#[test]
fn schedules_are_listed_and_drawn() {
    let dir = Dir::new();
    let listed = line(&dir, "schedule list");
    assert!(listed.ok().lines().any(|line| line.contains("infinite_cosine") && line.contains('█')));
    assert!(line(&dir, "schedule list --markdown").ok().contains("### `cosine_legacy_neox`"));
    let two = "schedule plot cosine wsd --set schedule.lr=1e-3 --steps 500";
    let drawn = line(&dir, two);
    assert!(drawn.ok().contains("499 steps") && drawn.out.contains("── wsd") && drawn.out.contains('⠉'));
    assert!(!drawn.out.contains('\u{1b}'), "colours where nobody sees them");
    line(&dir, &format!("{two} --output DIR/plot.svg")).ok();
    line(&dir, &format!("{two} --output DIR/plot.png")).ok();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    assert!(String::from_utf8(read("plot.svg")).unwrap().contains("cosine"));
    assert_eq!(&read("plot.png")[..8], b"\x89PNG\r\n\x1a\n");
    let tokens = format!("{two} --x tokens --set data.seq_len=100 --set batch.sequences=10");
    assert!(line(&dir, &tokens).ok().contains("499000 tokens"));
    line(&dir, &format!("{two} --x tokens")).refused(&["--x tokens", "data.seq_len"]);
    line(&dir, &format!("{two} --output DIR/plot.jpg")).refused(&["plot.jpg", ".png"]);
    let plateau = "schedule plot plateau wsd --set schedule.lr=1e-3 --steps 500";
    let drawn = line(&dir, plateau);
    assert!(drawn.ok().contains("── plateau (base rate)") && drawn.err.contains("follows the loss"));
    line(&dir, &format!("{plateau} --output DIR/base.svg")).ok();
    assert!(String::from_utf8(read("base.svg")).unwrap().contains("follows the loss"));
    line(&dir, "schedule plot cosin --set schedule.lr=1 --steps 9").refused(&["cosin", "\"cosine\""]);
}

#[test]
fn every_command_explains_itself() {
    let dir = Dir::new();
    let all = line(&dir, "--help");
    let commands = [
        "train", "resume", "eval", "generate", "export", "data", "schedule", "plan", "bench", "profile",
        "doctor",
    ];
    for command in commands {
        assert!(all.ok().contains(&format!("  {command} ")), "{command} is missing in:\n{}", all.out);
        let help = line(&dir, &format!("{command} --help"));
        assert!(help.ok().contains("Usage: rewarm ") && help.out.len() > 150, "{}", help.out);
    }
    for command in [
        "data tokenize",
        "data inspect",
        "data verify",
        "schedule list",
        "schedule show",
        "schedule plot",
        "bench train",
        "bench kernels",
    ] {
        line(&dir, &format!("{command} --help")).ok();
    }
    assert!(line(&dir, "--version").ok().starts_with("rewarm "));
}

/// `| head`: a reader that leaves early is no failure, and no panic.
#[test]
fn closed_pipes_do_not_panic() {
    let f = fixture();
    let script = format!(
        "'{REWARM}' schedule show --config '{0}' --csv --every 1 | true; echo ${{PIPESTATUS[0]}}; \
         '{REWARM}' doctor 2>&1 >/dev/full | cat; '{REWARM}' eval nothing --data x 2>&1 | true; \
         echo ${{PIPESTATUS[0]}}",
        f.dir.at("run.toml")
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = Said::of(output, Default::default());
    assert!(said.out.starts_with("0\n") && said.out.ends_with("1\n"), "{}{}", said.out, said.err);
    assert!(!said.out.contains("panicked") && !said.err.contains("panicked"), "{}{}", said.out, said.err);
    assert!(said.out.contains("error: cannot write the standard output"), "{}", said.out);
}

/// A run whose terminal goes away trains on.
#[test]
fn a_run_survives_its_readers() {
    let dir = workshop();
    let script = format!(
        "'{REWARM}' train '{0}' --set run_dir='{1}' 2>&1 | head -n 1",
        dir.at("run.toml"),
        dir.at("alone")
    );
    std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(curve(&dir.join("alone")), curve(&dir.join("run")));
    assert_eq!(steps(&dir.join("alone")), steps(&dir.join("run")));
}
