//! A real small model, profiled.
use super::step::StepPart;
use super::*;
use crate::backend::default_precision;
use crate::bench::{Ceilings, Machine};
use crate::config::Optim;
use crate::device::DeviceName;
use crate::model::{ModelConfig, Recompute, preset};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

fn workload(device: DeviceName) -> Workload {
    let sizes = ModelConfig {
        vocab_size: 512,
        hidden_size: 128,
        intermediate_size: 512,
        num_attention_heads: 4,
        num_hidden_layers: 2,
        ..preset("pythia-14m").unwrap()
    };
    let large = device == DeviceName::Cpu;
    Workload {
        model: "small".into(),
        sizes,
        device,
        time: if large { 128 } else { 16 },
        micro: if large { 4 } else { 1 },
        accumulation: 2,
        precision: default_precision(device),
        separate_bias_gradients: false,
        recompute: Recompute::None,
        chunk_rows: Some(if large { 256 } else { 16 }),
        available: None,
        optim: Optim::default(),
        data: Vec::new(),
    }
}

const CEILINGS: Ceilings = Ceilings { copy_bytes_per_s: 1e10, matmul_flops_per_s: 1e11 };

/// The products of the profile are the useful FLOPs of the step, to the last one: the backward of attention executes five
/// of which four are useful.
#[test]
fn products_of_a_profile_are_those_of_the_convention() {
    let workload = workload(DeviceName::Cpu);
    let profile = run(&workload, 0..1).unwrap();
    let flops = |c: &Call| match c.name {
        name if name.starts_with("linear") => c.cost.flops,
        "attention" => c.cost.flops,
        "attention_bwd" => c.cost.flops * 4.0 / 5.0,
        _ => 0.0,
    };
    assert_eq!(profile.steps[0].calls.iter().map(flops).sum::<f64>(), workload.flops_per_step());
}

/// Nothing of weight happens between operations; what the machine does meanwhile is the noise of single steps.
#[test]
fn operations_are_the_step() {
    let profile = run(&workload(DeviceName::Cpu), 2..12).unwrap();
    let share = |s: &Step| s.in_operations() / s.seconds;
    let best = profile.steps.iter().map(share).fold(0.0, f64::max);
    assert!((0.97..=1.0).contains(&best), "{best}");
    let step = &profile.steps[0];
    let count = |name: &str| step.calls.iter().filter(|c| c.label() == name).count();
    assert_eq!((count("linear qkv"), count("attention_bwd"), count("update")), (4, 4, 1));
    // 512 rows of a micro-batch, in two chunks of logits.
    assert_eq!((count("linear head"), count("linear_bwd_weight head")), (4, 4));
    assert!(step.calls.windows(2).all(|w| w[0].time[1] <= w[1].time[0]), "one after the other");
    assert!(step.launches.is_empty());
}

#[test]
fn what_is_computed_again_belongs_to_the_backward() {
    for recompute in Recompute::ALL {
        let mut again = workload(DeviceName::Cpu);
        again.recompute = recompute;
        let profile = run(&again, 0..1).unwrap();
        let in_backward = profile.steps[0]
            .calls
            .iter()
            .filter(|c| c.phase == StepPart::Backward && c.name == "layernorm_pair");
        // All blocks but the last, in two micro-batches.
        let expected: &[Option<usize>] = if recompute == Recompute::None { &[] } else { &[Some(0); 2] };
        assert_eq!(in_backward.map(|c| c.layer).collect::<Vec<_>>(), expected, "{recompute}");
    }
}

#[test]
#[cfg(emulated_kernels)]
fn launches_of_a_device_lie_in_their_operations() {
    let profile = run(&workload(DeviceName::Emulated), 1..2).unwrap();
    let step = &profile.steps[0];
    assert!(step.launches.len() > step.calls.len(), "{} launches", step.launches.len());
    for name in ["attention_fwd_32", "a matrix product", "adamw_f32", "fill"] {
        assert!(step.launches.iter().any(|(n, _)| n == name), "{name} in {:?}", step.launches);
    }
    let inside = |time: &[f64; 2]| step.calls.iter().any(|c| c.time[0] <= time[0] && time[1] <= c.time[1]);
    let alone: Vec<_> =
        step.launches.iter().filter(|(_, time)| !inside(time)).map(|(name, _)| name).collect();
    assert!(alone.iter().all(|name| name.contains("sum")), "sums of a block end in no operation: {alone:?}");
    check_trace(&trace(&profile, &json!({})));
}

/// What "Trace Event Format" demands of the object form, of metadata (`M`) and of complete events (`X`): ranges of a
/// thread are in order and lie one in the other or side by side, to the nanosecond.
fn check_trace(trace: &Value) {
    let trace = trace.as_object().unwrap();
    let known = ["traceEvents", "displayTimeUnit", "otherData"];
    assert!(trace.keys().all(|key| known.contains(&key.as_str())) && trace["displayTimeUnit"] == "ms");
    let (mut open, mut named) = (HashMap::<u64, Vec<[i64; 2]>>::new(), HashSet::new());
    let mut begun = HashMap::new();
    for e in trace["traceEvents"].as_array().unwrap() {
        assert_eq!(e["pid"], 1, "one process: {e}");
        assert!(e["name"].as_str().is_some_and(|name| !name.is_empty()), "{e}");
        assert!(e.get("args").is_none_or(Value::is_object), "{e}");
        let thread = e["tid"].as_u64().unwrap();
        match e["ph"].as_str().unwrap() {
            "M" => {
                assert!(["process_name", "thread_name"].contains(&e["name"].as_str().unwrap()), "{e}");
                assert!(e["args"]["name"].is_string() && e.get("ts").is_none(), "{e}");
                assert!(e["name"] == "process_name" || named.insert(thread), "two names: {e}");
            }
            "X" => {
                assert!(named.contains(&thread), "a thread without a name: {e}");
                assert!(e["cat"].as_str().is_some_and(|cat| !cat.is_empty() && !cat.contains(',')), "{e}");
                let [from, length] = ["ts", "dur"].map(|key| whole_ns(&e[key]));
                assert!(from >= 0 && length >= 0, "{e}");
                let before = begun.insert(thread, from).unwrap_or(0);
                assert!(before <= from, "{e} begins before the one in front of it, {before} ns");
                let open = open.entry(thread).or_default();
                while open.last().is_some_and(|[_, end]| *end <= from) {
                    open.pop();
                }
                let within = open.last().is_none_or(|[_, end]| from + length <= *end);
                assert!(within, "{e} ends behind what it lies in, {:?}", open.last());
                open.push([from, from + length]);
            }
            other => panic!("an event of kind {other}"),
        }
    }
}

/// Microseconds that are a whole number of nanoseconds.
fn whole_ns(microseconds: &Value) -> i64 {
    let ns = microseconds.as_f64().unwrap() * 1e3;
    assert!((ns - ns.round()).abs() < 1e-3, "{microseconds} us");
    ns.round() as i64
}

#[test]
fn the_trace_is_one_that_viewers_open() {
    let profile = run(&workload(DeviceName::Cpu), 0..2).unwrap();
    let text = trace(&profile, &json!({"model": "small"})).to_string();
    let trace: Value = serde_json::from_str(&text).unwrap();
    check_trace(&trace);
    let events = trace["traceEvents"].as_array().unwrap();
    let count =
        |cat: &str, name: &str| events.iter().filter(|e| e["cat"] == cat && e["name"] == name).count();
    assert_eq!((count("step", "step 0"), count("step", "step 1")), (1, 1));
    // Per step two micro-batches of a forward and a backward; layer 1 in both.
    assert_eq!(
        (count("phase", "forward"), count("phase", "backward"), count("phase", "optimizer")),
        (4, 4, 2)
    );
    assert_eq!((count("layer", "layer 1"), count("operation", "update")), (8, 2));
    let depth = |cat: &str| {
        events.iter().filter(|e| e["cat"] == cat).map(|e| e["dur"].as_f64().unwrap()).sum::<f64>()
    };
    assert!(depth("operation") <= depth("phase") && depth("phase") <= depth("step") + 1e-2);
}

#[test]
fn tables_and_pages_say_everything() {
    let profile = run(&workload(DeviceName::Cpu), 1..3).unwrap();
    let table = Table::new(&profile, CEILINGS);
    let shares: f64 = table.rows.iter().map(|r| r.share).sum::<f64>() + table.gaps_share;
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let text = table.to_string();
    let machine = Machine::detect(DeviceName::Cpu);
    let html = page(&profile, &table, &machine, &json!({"model": "small", "device": "cpu"}));
    for name in ["linear_bwd_weight head", "attention_bwd", "update", "(between operations)"] {
        assert!(text.contains(name) && html.contains(name), "{name}");
    }
    assert_eq!(html.matches("<svg").count(), 2);
    for fact in ["machine", "program", "date", &machine.os, " UTC</td>"] {
        assert!(html.contains(fact), "{fact}");
    }
    assert!(html.contains("FLOP per byte") && html.contains("layer 1") && !html.contains("<script"));
    let row = table.rows.iter().find(|r| r.name == "linear qkv").unwrap();
    // 512 rows from 128 to 384.
    assert_eq!((row.flops, row.calls_per_step), ((2 * 512 * 128 * 384) as f64, 4.0));
}
