//! `rewarm schedule refine`: from the log of a run to a configuration that trains.
use crate::support::*;
use serde_json::Value;

#[test]
fn a_log_becomes_a_schedule() {
    let (f, out) = (fixture(), Dir::new());
    for optimizer in ["adam", "sgd"] {
        let file = out.at(&format!("{optimizer}.json"));
        let said = line(
            &f.dir,
            &format!("schedule refine --log DIR/run/metrics.jsonl --optimizer {optimizer} --out {file}"),
        );
        let config = out.write(&format!("{optimizer}.toml"), said.ok()).display().to_string();
        assert!(said.err.contains("36 steps, the peak at"), "{}", said.err);
        let shown = line(&f.dir, &format!("schedule show --config {config} --steps 36 --every 1 --json"));
        let shown: Value = serde_json::from_str(shown.ok()).unwrap();
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for (point, rate) in
            shown["points"].as_array().unwrap().iter().zip(written["rates"].as_array().unwrap())
        {
            let difference = point["lr"].as_f64().unwrap() - 1e-3 * rate.as_f64().unwrap();
            assert!(difference.abs() < 1e-15, "{point} {rate}");
        }
        line(&f.dir, &format!("schedule refine --log DIR/run/metrics.jsonl --out {file}"))
            .refused(&["exists"]);
    }
}

#[test]
fn a_log_without_norms_is_refused() {
    let dir = Dir::new();
    dir.write("old.jsonl", "{\"step\":1,\"loss\":1.0,\"grad_norm\":1.0}\n");
    line(&dir, "schedule refine --log DIR/old.jsonl --out DIR/x").refused(&["line 1", "no grad_norm_l1"]);
    line(&dir, "schedule refine --log DIR/old.jsonl --optimizer sgd --out DIR/x")
        .refused(&["1 steps", "at least 6"]);
    line(&dir, "schedule refine --log DIR/old.jsonl --optimizer sgd --tau 0.9 --out DIR/x")
        .refused(&["--tau is 0.9"]);
    dir.write("text.jsonl", "hello\n");
    line(&dir, "schedule refine --log DIR/text.jsonl --out DIR/x")
        .refused(&["line 1", "one JSON object per line"]);
    line(&dir, "schedule refine --log DIR/none --out DIR/x").refused(&["none"]);
}
