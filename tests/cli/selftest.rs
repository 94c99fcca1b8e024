//! `rewarm selftest`, as it is called.
use rewarm::device::Emulated;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::LazyLock;

fn selftest(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rewarm")).arg("selftest").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// All of it, on the emulated device, once.
fn report() -> &'static Value {
    static REPORT: LazyLock<Value> = LazyLock::new(|| {
        let output = selftest(&["--device", "emulated", "--json"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    });
    &REPORT
}

#[test]
fn the_emulated_device_passes_and_every_kernel_is_in_the_table() {
    let report = report();
    for part in ["rows", "primitives", "step"] {
        for row in report[part].as_array().unwrap() {
            let said = |why: &str| row["note"].as_str().is_some_and(|note| note.contains(why));
            let not_here = said("too slow on this device") || said("bytes of shared memory a block");
            assert!(row["verdict"] == "ok" || (row["verdict"] == "not_run" && not_here), "{row}");
        }
    }
    assert!(report["rows"].as_array().unwrap().len() > 100 && report["step"].as_array().unwrap().len() == 2);
    assert!(report["launches"]["parallel"].as_u64() < report["launches"]["sequential"].as_u64());
    println!("{} s, {} launches", report["seconds"], report["launches"]);

    let launched: BTreeSet<&str> =
        report["kernels"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
    let all: BTreeSet<&str> = Emulated::kernels().into_iter().collect();
    let table = include_str!("../../kernels/RESOURCES.md").lines();
    let names = table.filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    assert_eq!(names.collect::<BTreeSet<_>>(), all, "kernels/RESOURCES.md is that of other kernels");
    // These need more shared memory than this device has; a test in src/selftest runs them where it is. The last two
    // are the emulator's own, one all faults and one without results: tests/kernels/emulator.rs.
    let wide = all.iter().copied().filter(|name| name.ends_with("_wide"));
    let elsewhere = wide.chain(["selfcheck_fault", "selfcheck_speed"]).collect();
    assert_eq!(
        all.difference(&launched).copied().collect::<BTreeSet<_>>(),
        elsewhere,
        "not in the self-test"
    );
}

/// Where they fail nothing else is lost, and they can be left out.
#[test]
fn products_that_sum_bias_gradients_come_last() {
    let rows = |report: &Value, op: &str| -> Vec<bool> {
        let rows = report["rows"].as_array().unwrap().iter();
        let products = rows.filter(|row| row["op"].as_str().unwrap().starts_with(op));
        products.map(|row| row["shape"].as_str().unwrap().ends_with("with bias")).collect()
    };
    let separate =
        ["--device", "emulated", "--only", "linear_bwd_weight", "--json", "--separate-bias-gradients"];
    let output = selftest(&separate);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let separate = rows(&serde_json::from_slice(&output.stdout).unwrap(), "");
    let all = rows(report(), "linear");
    assert!(all.is_sorted() && all.iter().filter(|last| **last).count() == 8, "{all:?}");
    assert_eq!(separate, vec![false; rows(report(), "linear_bwd_weight").len() - 8]);
}

#[test]
fn parts_are_chosen_by_name() {
    let output = selftest(&["--device", "emulated", "--only", "mma"]);
    let lines = text(&output.stdout);
    assert!(output.status.success() && lines.lines().count() == 2, "{lines}");
    assert!(lines.contains("mma") && lines.contains("emulated (sm_86): 1 of 1 ok"), "{lines}");
}

/// One error, before anything is tested.
#[test]
fn what_is_not_there_is_refused() {
    let refused = |args: &[&str], words: &[&str]| {
        let output = selftest(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty() && said.matches("error:").count() == 1, "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is missing in {said}"));
    };
    refused(&["--device", "cuda:63"], &["cuda"]);
    refused(&["--device", "cpu"], &["doctor", "--device emulated"]);
    refused(&["--device", "emulated", "--only", "nothing"], &["nothing", "attention_bwd", "step"]);
}
