//! `rewarm report`: a page of runs and what is in it. What a browser makes of it is for tools/test_report.mjs.
use crate::support::*;
use serde_json::Value;
use std::fmt::Write;
use std::fs;

/// The data in a page.
fn story(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"story\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_has_the_curves_of_its_runs() {
    let dir = workshop();
    let rates = "--set schedule.lr=2e-2 --set run_dir=<b>&\"</script>";
    line(&dir, &format!("train DIR/run.toml {rates}")).ok();
    let name = "<b>&\"</script>";
    rewarm(&dir, ["report", "run", name, "-o", "page.html"]).ok();
    let page = fs::read_to_string(dir.join("page.html")).unwrap();
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2));
    assert!(!page.contains("<b>"), "names are not part of the document");
    assert!(page.contains("Leon Sorokin"), "uPlot's licence");
    let story = story(&page);
    assert_eq!(
        (story["runs"][0]["name"].as_str(), story["runs"][1]["name"].as_str()),
        (Some("run"), Some(name))
    );
    // Every step and evaluation of the log, in seven digits.
    let lines = log(&dir.join("run"));
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() / b.as_f64().unwrap() - 1.0).abs() < 1e-6;
    let steps: Vec<&Value> = lines.iter().filter(|line| line.get("lr").is_some()).collect();
    let loss = &story["runs"][0]["loss"];
    assert_eq!(loss["step"].as_array().unwrap().len(), 40);
    for (i, step) in steps.iter().enumerate() {
        assert!(near(&loss["loss"][i], &step["loss"]) && loss["tokens"][i] == step["tokens"], "{step}");
        assert!(step["lr"] == 0.0 || near(&loss["lr"][i], &step["lr"]), "{step}");
    }
    let evals: Vec<&Value> = lines.iter().filter(|line| line["eval"] == "heldout").collect();
    let heldout = &story["runs"][0]["sets"]["heldout"];
    assert_eq!(heldout["step"].as_array().unwrap().len(), evals.len());
    assert!(evals.iter().enumerate().all(|(i, eval)| near(&heldout["loss"][i], &eval["loss"])));
    let differences = &story["differences"];
    assert_eq!(differences["keys"], serde_json::json!(["schedule.lr", "schedule.min_lr"]));
    assert_eq!(differences["rows"][1][1], "0.02");

    let said = rewarm(&dir, ["report", "run", "--csv"]);
    let rows: Vec<&str> = said.ok().lines().collect();
    assert_eq!(
        (rows.len(), rows[0]),
        (
            1 + lines.iter().filter(|l| !l["loss"].is_null()).count(),
            "run,step,tokens,time,set,loss,lr,grad_norm"
        )
    );
    assert!(rows[1].starts_with("run,0,0,") && rows[1].contains(",heldout,"), "{}", rows[1]);

    line(&dir, "report run run").refused(&["run is named twice"]);
    line(&dir, "report data").refused(&["data/metrics.jsonl"]);
    assert!(!dir.join("report.html").exists());
}

/// Ten runs of 100,000 steps: at most 4,000 points a curve, extremes kept, at most 5 MB.
#[test]
fn a_page_of_long_runs_is_small() {
    let dir = Dir::new();
    let names: Vec<String> = (0..10).map(|i| format!("r{i}")).collect();
    for (r, name) in names.iter().enumerate() {
        let mut text = String::new();
        for step in 1..=100_000u64 {
            let x = 2.5 + 40.0 / (step + 10) as f64 + ((step * (r as u64 + 3)) as f64).sin() / 9.0;
            let loss = if step == 54_321 { 77.0 } else { x };
            let tokens = step * 2_097_152;
            writeln!(
                text,
                "{{\"step\":{step},\"tokens\":{tokens},\"loss\":{loss},\"grad_norm\":{x},\"lr\":0.0003,\"tokens_per_s\":1e5,\
                 \"gflop_per_s\":2.4e5,\"time\":{}.123}}",
                1_700_000_000 + 20 * step
            )
            .unwrap();
        }
        text += "{\"step\":100000,\"eval\":\"old\",\"loss\":2.";
        dir.write(&format!("{name}/metrics.jsonl"), text);
        dir.write(&format!("{name}/config.toml"), format!("seed = {r}\n"));
    }
    let args = ["report"].into_iter().chain(names.iter().map(String::as_str));
    rewarm(&dir, args).ok();
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    println!("{} bytes", page.len());
    assert!(page.len() <= 5_000_000, "{}", page.len());
    let story = story(&page);
    for run in story["runs"].as_array().unwrap() {
        for (list, column) in [("loss", "loss"), ("norm", "grad_norm")] {
            let points = run[list][column].as_array().unwrap();
            assert!(points.len() <= 4_000 && points.len() > 2_000, "{}", points.len());
        }
        let highest = run["loss"]["loss"].as_array().unwrap().iter().position(|loss| *loss == 77.0).unwrap();
        assert_eq!(run["loss"]["step"][highest], 54_321);
        assert_eq!(run["flops"], 2.4e9);
    }
}
