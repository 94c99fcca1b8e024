//! `rewarm plan`: sizes, FLOPs and memory as published and as measured; times as far as they can be checked.
use crate::support::*;
use rewarm::backend::cpu::PROCESS_BYTES;
use rewarm::model::PRESETS;
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn plan(dir: &Dir, arguments: &str) -> Value {
    serde_json::from_str(line(dir, &format!("plan {arguments} --json")).ok()).unwrap()
}

/// Sizes as published (Biderman et al. 2023, arXiv:2304.01373), and the FLOPs per token at T = 2048 that follow from them.
#[test]
fn plan_agrees_with_the_published_table() {
    let dir = Dir::new();
    let table: [(&str, u64, f64); 10] = [
        ("14m", 14_067_712, 0.055),
        ("31m", 30_494_720, 0.124),
        ("70m", 70_426_624, 0.306),
        ("160m", 162_322_944, 0.855),
        ("410m", 405_334_016, 2.423),
        ("1b", 1_011_781_632, 5.853),
        ("1.4b", 1_414_647_808, 8.470),
        ("2.8b", 2_775_208_960, 16.879),
        ("6.9b", 6_857_302_016, 41.505),
        ("12b", 11_846_072_320, 71.770),
    ];
    for (name, parameters, gflop) in table {
        let plan = plan(&dir, &format!("--preset pythia-{name}"));
        assert_eq!(plan["parameters"], parameters, "{name}");
        let flops = plan["flops_per_token"].as_f64().unwrap();
        assert!((flops / 1e9 - gflop).abs() < 0.0006, "{name}: {plan}");
        // The convention of docs/benchmarks.md, to the last digit: 6(12Ld² + Vd) + 6LTd.
        let (_, l, d, _, v) = *PRESETS.iter().find(|p| p.0 == format!("pythia-{name}")).unwrap();
        assert_eq!(flops, (6 * (12 * l * d * d + v * d) + 6 * l * 2048 * d) as f64, "{name}");
        assert_eq!(plan["seq_len"], 2048);
        let memory = &plan["memory_bytes"];
        let choices = plan["memory_by_recompute"].as_array().unwrap();
        let names = choices.iter().map(|c| c["recompute"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((names, &plan["recompute"]), (vec!["none", "cheap", "block"], &"none".into()));
        for (field, chosen) in [
            ("activations_bytes", &memory["activations"]),
            ("memory_bytes_total", &plan["memory_bytes_total"]),
        ] {
            let bytes: Vec<u64> = choices.iter().map(|c| c[field].as_u64().unwrap()).collect();
            assert!(bytes[0] == *chosen && bytes[0] > bytes[1] && bytes[1] > bytes[2], "{field}: {bytes:?}");
        }
        // f32 weights, gradients and two moments, plus little alignment.
        for (what, factor) in [("weights", 4), ("gradients", 4), ("moments", 8)] {
            let bytes = memory[what].as_u64().unwrap();
            assert!(
                bytes >= factor * parameters && bytes < factor * parameters * 101 / 100,
                "{name} {what} {bytes}"
            );
        }
    }
    let said = line(&dir, "plan --preset pythia-410m --tokens-per-s 5000");
    assert!(said.ok().contains("405334016") && said.out.contains("memory in all"), "{}", said.out);
    assert!(said.out.contains("train.recompute") && said.out.contains("as above"), "{}", said.out);
    let planned = |recompute: &str| plan(&dir, &format!("--preset pythia-70m --recompute {recompute}"));
    let block = planned("block");
    assert_eq!(block["memory_bytes_total"], block["memory_by_recompute"][2]["memory_bytes_total"]);
    line(&dir, "plan --preset pythia-9b").refused(&["pythia-9b", "pythia-70m"]);
    line(&dir, "plan --preset pythia-70m --seq-len 4096").refused(&["2048", "4096"]);
}

#[test]
fn a_gpu_need_not_be_there() {
    let dir = Dir::new();
    let run = "--preset pythia-410m --gpu h200 --micro 16 --sequences 64 --tokens 300B --price-per-hour 2.5";
    let plan = plan(&dir, run);
    let choices = plan["memory_by_recompute"].as_array().unwrap();
    let all = |field: &str| choices.iter().map(|c| c[field].as_f64().unwrap()).collect::<Vec<_>>();
    let most = all("largest_micro_batch");
    assert!(most[0] >= 64.0 && most[0] < most[1] && most[1] < most[2], "{most:?}");
    // What is computed again takes time.
    let speed = choices.iter().map(|c| c["predicted"]["tokens_per_s"].as_f64().unwrap()).collect::<Vec<_>>();
    assert!(speed[0] > speed[1] && speed[1] > speed[2], "{speed:?}");
    let (rate, days) = (plan["tokens_per_s"].as_f64().unwrap(), plan["days"].as_f64().unwrap());
    assert_eq!(rate, speed[0]);
    assert!((days - 300e9 / rate / 86400.0).abs() < 1e-9);
    assert!((plan["cost"].as_f64().unwrap() - 60.0 * days).abs() < 1e-6);
    let checkpoint = &plan["checkpoint"];
    assert_eq!(checkpoint["bytes"], 12 * 405_334_016u64);
    let saves = (300_000_000_000u64.div_ceil(64 * 2048)).div_ceil(500);
    assert_eq!(checkpoint["bytes_written"], saves * 12 * 405_334_016);
    let text = line(&dir, &format!("plan {run}"));
    for words in ["predicted, not measured", "dense", "FlashAttention-2", "currency", "MB every 500 steps"] {
        assert!(text.ok().contains(words), "{words:?} in {}", text.out);
    }
    // A measured rate comes before a predicted one.
    assert_eq!(self::plan(&dir, &format!("{run} --tokens-per-s 1000"))["tokens_per_s"], 1000.0);
}

#[test]
fn what_does_not_fit_comes_with_what_would() {
    let dir = Dir::new();
    let refused = |arguments: &str, words: &[&str]| line(&dir, &format!("plan {arguments}")).refused(words);
    let much = "--preset pythia-1.4b --gpu l40s --micro 8";
    refused(
        much,
        &["bytes of memory are needed", "l40s", "batch.micro = 4", "train.recompute = \"block\"", "h200"],
    );
    let said = line(&dir, &format!("plan {much} --json"));
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(plan["memory_by_recompute"][0]["fits"], false);
    assert_eq!(plan["memory_by_recompute"][2]["fits"], true);
    assert!(plan["what_would_fit"].as_array().unwrap().len() > 2, "{plan}");
    // What it says would fit does.
    line(&dir, "plan --preset pythia-1.4b --gpu l40s --micro 4").ok();
    line(&dir, "plan --preset pythia-1.4b --gpu l40s --micro 8 --recompute block").ok();
    refused("--preset pythia-6.9b --gpu rtx-4090 --micro 1", &["a GPU with more memory, such as h200"]);
    // What is advised is not what was refused: a GPU of the same memory has no more room.
    let said = line(&dir, "plan --preset pythia-6.9b --gpu b200 --micro 8");
    assert!(said.code == 1 && !said.err.contains("such as b200"), "{}", said.err);
    refused("--preset pythia-70m --gpu h20", &["--gpu h20", "nearest is h200", "rtx-3090"]);
    refused("--preset pythia-70m --price-per-hour 2", &["--price-per-hour", "--gpu"]);
    refused("--preset pythia-70m --gpu h200 --price-per-hour 0", &["--price-per-hour", "positive"]);
    refused("--preset pythia-70m --micro 4 --sequences 6", &["--sequences 6", "multiple of --micro 4"]);
    refused("--preset pythia-70m --chunk-rows 0", &["--chunk-rows"]);
}

#[test]
fn bf16_fits_where_master_weights_do_not() {
    let dir = Dir::new();
    let much = "--preset pythia-6.9b --gpu h200 --micro 8";
    line(&dir, &format!("plan {much}"))
        .refused(&["bytes of memory are needed", "train.precision = \"bf16\""]);
    let low = plan(&dir, &format!("{much} --precision bf16"));
    let parameters = low["parameters"].as_u64().unwrap();
    for (what, factor) in [("weights", 2), ("gradients", 4), ("moments", 4)] {
        let bytes = low["memory_bytes"][what].as_u64().unwrap();
        assert!(bytes >= factor * parameters && bytes < factor * parameters * 101 / 100, "{what} {bytes}");
    }
    // Weights and moments in bf16 read and written, gradients read for the norm and for the update: 20 bytes instead of 34.
    let mixed = plan(&dir, "--preset pythia-6.9b --gpu b200 --micro 4");
    let low = plan(&dir, "--preset pythia-6.9b --gpu b200 --micro 4 --precision bf16");
    let update = |plan: &Value| plan["memory_by_recompute"][0]["predicted"]["update_s"].as_f64().unwrap();
    assert!((update(&low) / update(&mixed) * 34.0 - 20.0).abs() < 0.01);
    assert_eq!((&mixed["precision"], &low["precision"]), (&"mixed".into(), &"bf16".into()));
}

#[test]
fn the_precision_is_that_of_the_device_planned_for() {
    let dir = Dir::new();
    let text = "run_dir = \"DIR/run\"\n[model]\npreset = \"pythia-70m\"\n[data]\ntrain = [\"DIR/later\"]\n\
                [schedule]\nlr = 1e-3\n[train]\nsteps = 100\n";
    let config = format!("{} --tokens-per-s 1000", dir.config("run.toml", text));
    for planned in ["--preset pythia-70m", &config] {
        let precision = |more: &str| plan(&dir, &format!("{planned} {more}"))["precision"].clone();
        assert_eq!((precision(""), precision("--gpu h200")), ("f32".into(), "mixed".into()), "{planned}");
    }
    let emulated = plan(&dir, "--preset pythia-70m --device emulated");
    assert_eq!(emulated["precision"], "mixed");
    let said = line(&dir, "plan --preset pythia-70m");
    assert!(said.ok().lines().any(|line| line.split_whitespace().eq(["precision", "f32"])), "{}", said.out);
}

/// A run of three steps of this `[model]` section; its plan and its largest resident set, in bytes. The code of a debug
/// build is larger than the plan takes that of the program to be: there its pages count as what the plan takes.
fn planned_and_measured(name: &str, model: &str, time: usize, micro: usize) -> (f64, f64) {
    let dir = Dir::in_memory();
    dir.write("tokens.bin", tokens(1, 40_000));
    let text = format!(
        "run_dir = \"DIR/run\"\nthreads = 2\n[model]\n{model}\n[data]\ntrain = [\"raw-u16:DIR/tokens.bin\"]\n\
         seq_len = {time}\n[batch]\nsequences = {micro}\n[schedule]\nlr = 1e-3\n[train]\nsteps = 3\n[eval]\n\
         every = 0\n"
    );
    let config = dir.config("run.toml", &text);
    let planned = plan(&dir, &format!("{config} --threads 2"))["memory_bytes_total"].as_f64().unwrap();
    let mut child = Command::new(REWARM)
        .args(["train", &config])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut peak, mut files) = (0.0, 0.0);
    let code = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            Some(1024.0 * line.trim().trim_end_matches(" kB").parse::<f64>().unwrap())
        };
        if let (Some(all), Some(of_files)) = (bytes("VmHWM"), bytes("RssFile")) {
            (peak, files) = (all, of_files);
        }
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        sleep(Duration::from_millis(5));
    };
    assert!(code.success(), "{name}: {code}");
    if cfg!(debug_assertions) {
        peak += PROCESS_BYTES as f64 - files;
    }
    println!("{name}: {:.1} MB planned, {:.1} MB measured", planned / 1e6, peak / 1e6);
    (planned, peak)
}

#[test]
#[cfg(target_os = "linux")]
fn memory_on_the_cpu_is_within_five_percent_of_the_measured_peak() {
    let sizes = |vocab: usize, hidden: usize, layers: usize, more: &str| {
        format!(
            "vocab_size = {vocab}\nhidden_size = {hidden}\nnum_hidden_layers = {layers}\nnum_attention_heads = 4\n\
             max_position_embeddings = 512\n{more}"
        )
    };
    for (name, model, time, micro) in [
        ("small", sizes(4096, 256, 4, ""), 256, 8),
        ("pythia-14m", "preset = \"pythia-14m\"".into(), 512, 2),
        (
            "sequential and tied",
            sizes(8192, 512, 2, "use_parallel_residual = false\ntie_word_embeddings = true"),
            128,
            8,
        ),
    ] {
        let (planned, measured) = planned_and_measured(name, &model, time, micro);
        assert!((planned / measured - 1.0).abs() <= 0.05, "{name}: {planned} planned, {measured} measured");
    }
}

/// A configuration says how often the data are read and how long it takes; a length is enough for the latter.
#[test]
fn a_processor_is_timed_and_the_data_are_opened() {
    let dir = Dir::new();
    dir.write("tokens.bin", tokens(1, 40_000));
    dir.write("more.bin", tokens(2, 6_401));
    let sources = "[[data.mixture]]\nname = \"old\"\npaths = [\"raw-u16:DIR/more.bin\"]\nfraction = 0.25\n\
                   [[data.mixture]]\nname = \"new\"\npaths = [\"raw-u16:DIR/tokens.bin\"]\n";
    let text = |data: &str| {
        format!(
            "run_dir = \"DIR/run\"\nthreads = 2\n[model]\nvocab_size = 384\nhidden_size = 32\nnum_hidden_layers = 1\n\
             num_attention_heads = 2\nmax_position_embeddings = 64\n{data}\n[batch]\nsequences = 8\n[schedule]\nlr = \
             1e-3\n[train]\nsteps = 100\n"
        )
    };
    let one = dir.config("one.toml", &text("[data]\ntrain = [\"raw-u16:DIR/tokens.bin\"]"));
    let found = plan(&dir, &one);
    // 624 windows of 64 tokens and the one after them, 800 samples.
    assert_eq!(found["sources"][0]["tokens"], 40_000, "{found}");
    assert!((found["sources"][0]["epochs"].as_f64().unwrap() - 800.0 / 624.0).abs() < 1e-12, "{found}");
    let (rate, days) = (found["tokens_per_s"].as_f64().unwrap(), found["days"].as_f64().unwrap());
    assert!(rate > 1000.0 && (days - 51_200.0 / rate / 86400.0).abs() < 1e-12, "{found}");
    assert_eq!(found["memory_by_recompute"][0]["predicted"]["tokens_per_s"], rate);
    assert!(!dir.join("run").exists());
    // Isolated documents take less than is predicted, which it says.
    assert!(!found["assumptions"].to_string().contains("isolated"), "{found}");
    let said = line(&dir, &format!("plan {one} --set data.documents=\"isolate\""));
    assert!(said.ok().contains("isolated documents take less"), "{}", said.out);

    let mixed = dir.config("mixed.toml", &text(sources));
    let said = line(&dir, &format!("plan {mixed} --tokens-per-s 1000"));
    for words in
        ["old: 6401 tokens in 1 documents, 2.000 epochs, 25.00 %", "new: 40000", "0.962 epochs, 75.00 %"]
    {
        assert!(said.ok().contains(words), "{words:?} in {}", said.out);
    }
    assert!(said.out.contains("51s at 1000 tokens/s"), "{}", said.out);

    // What is planned may not be there yet.
    let missing = dir.config("missing.toml", &text("[data]\ntrain = [\"DIR/later\"]"));
    let said = line(&dir, &format!("plan {missing} --tokens-per-s 1000"));
    assert!(
        said.ok().contains("tokens                     51200") && !said.out.contains("epochs"),
        "{}",
        said.out
    );
    assert!(
        said.err.contains("the data are not part of this plan") && said.err.contains("later"),
        "{}",
        said.err
    );

    let long = plan(&dir, "--preset pythia-14m --tokens 1B --price-per-hour 0.5");
    let days = long["days"].as_f64().unwrap();
    assert!((long["cost"].as_f64().unwrap() - 12.0 * days).abs() < 1e-9 * days, "{long}");
    assert_eq!(plan(&dir, "--preset pythia-14m")["tokens_per_s"], Value::Null);
}

/// Counts of a run's evaluations are those of its log.
#[test]
fn plan_counts_the_evaluations() {
    /// So that nothing is measured.
    const RATE: &str = "--tokens-per-s 1000";
    let dir = workshop();
    for (sets, dense, expected) in [
        ("", None, [0, 10, 20, 30, 40].to_vec()),
        ("--set eval.dense={until=\"10%\"}", Some((4, 4)), [0, 1, 2, 3, 4, 10, 20, 30, 40].to_vec()),
        ("--set eval.dense={until=11,every=5} --set eval.every=0", Some((11, 2)), [0, 5, 10, 40].to_vec()),
    ] {
        let run = "--set run_dir=\"DIR/dense\"";
        let plan = plan(&dir, &format!("DIR/run.toml {sets} {RATE}"));
        let found = &plan["evaluations"];
        assert_eq!((&found["count"], &found["sets"]), (&expected.len().into(), &3.into()), "{sets}");
        let dense =
            dense.map_or([Value::Null, 0.into()], |(until, count): (u64, u64)| [until.into(), count.into()]);
        assert_eq!([&found["dense_until"], &found["dense_count"]], [&dense[0], &dense[1]]);
        assert_eq!(found["tokens"], expected.len() * 3 * 16 * 64);
        line(&dir, &format!("train DIR/run.toml {sets} {run}")).ok();
        let lines = log(&dir.join("dense"));
        for set in ["heldout", "tales", "both"] {
            let at = lines.iter().filter(|l| l["eval"] == *set).map(|l| l["step"].as_u64().unwrap());
            assert_eq!(at.collect::<Vec<_>>(), expected, "{sets} {set}");
        }
        fs::remove_dir_all(dir.join("dense")).unwrap();
    }
    let said = line(&dir, &format!("plan DIR/run.toml {RATE} --set eval.dense={{until=\"10%\"}}"));
    let words =
        "9 of 3 sets, 4 of them up to step 4: at most 16 sequences of each, 27648 tokens, about 45.0 % of";
    assert!(said.ok().contains(words), "{}", said.out);
    let all = line(&dir, &format!("plan DIR/run.toml {RATE} --set eval.sequences=0"));
    assert!(all.ok().contains("5 of 3 sets: all sequences of each"), "{}", all.out);
    line(&dir, "plan DIR/run.toml --set eval.dense={until=\"1%\",every=2}")
        .refused(&["eval.dense.every is 2", "step 1"]);
}
