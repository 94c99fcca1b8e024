//! What evaluations measure beside losses, by a device's own weights and activations.
use super::{SMALL, small};
use crate::support::*;
use serde_json::Value;

fn measured(dir: &Dir, run: &str) -> Vec<Value> {
    let lines = log(&dir.join(run)).into_iter().filter(|line| line.get("diagnostics").is_some());
    lines.map(|line| line["diagnostics"].clone()).collect()
}

/// Every number in a value, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Object(map) => map.values().flat_map(numbers).collect(),
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap_or_else(|| panic!("{number} is no number"))],
    }
}

/// In both precisions of a device: nothing moved before the first step; afterwards about what a processor says in the same
/// precision; and the same bits of a run that is resumed.
#[test]
fn a_device_measures_what_it_holds() {
    let dir = small();
    assert!(SMALL.contains("[eval]\nevery = 10\n"));
    dir.config(
        "small.toml",
        &SMALL.replace("[eval]\nevery = 10\n", "[eval]\nevery = 5\ndiagnostics = true\n"),
    );
    for precision in ["mixed", "bf16"] {
        for device in ["emulated", "cpu"] {
            let run = format!("--set run_dir=\"DIR/{precision}-{device}\" --set checkpoint.keep=9");
            line(
                &dir,
                &format!("train DIR/small.toml --device {device} --set train.precision={precision} {run}"),
            )
            .ok();
        }
        let [device, cpu] =
            ["emulated", "cpu"].map(|device| measured(&dir, &format!("{precision}-{device}")));
        assert_eq!((device.len(), cpu.len()), (5, 5));
        assert!(numbers(&device[0]["update"]).iter().all(|moved| *moved == 0.0), "{}", device[0]);
        for (device, cpu) in device.iter().zip(&cpu) {
            for key in ["update", "angle", "kurtosis"] {
                for (found, expected) in numbers(&device[key]).iter().zip(numbers(&cpu[key])) {
                    let near = 0.05 * expected.abs() + 0.02;
                    assert!((found - expected).abs() < near, "{precision} {key}: {found} {expected}");
                }
            }
        }
        let again = dir.join("again");
        copy(&dir.join(&format!("{precision}-emulated")), &again);
        for step in [15, 20] {
            std::fs::remove_dir_all(again.join(format!("step-{step:010}"))).unwrap();
        }
        line(&dir, "resume DIR/again").ok();
        assert_eq!(measured(&dir, "again"), device, "{precision}");
        std::fs::remove_dir_all(&again).unwrap();
    }
}
