//! The demo's report.html.
use super::options::Options;
use super::outcome::{COLUMNS, Demo, Sample};
use super::recipe::{DemoRun, Recipe};
use crate::bench::Machine;
use crate::device::DeviceName;
use crate::report::{Chart, Line, Page, RunLog, Series, moving_average, origin, rate_chart};
use crate::{Error, Result};

/// Colours that stay apart for colour-blind readers (Okabe & Ito).
const GREY: (u8, u8, u8) = (107, 114, 128);
const ORANGE: (u8, u8, u8) = (213, 94, 0);
const BLUE: (u8, u8, u8) = (0, 114, 178);
/// Steps that a point of the training loss averages.
const SMOOTH_STEPS: usize = 15;

/// Name, colour and log of the three runs.
type Runs = [(&'static str, (u8, u8, u8), RunLog); 3];

/// The whole page as HTML.
pub fn render(demo: &Demo, options: &Options, recipe: &Recipe) -> Result<String> {
    let read = |phase: DemoRun| RunLog::read(&options.dir.join(phase.as_ref()));
    let runs: Runs = [
        ("phase 1: upstream", GREY, read(DemoRun::Upstream)?),
        ("phase 2: constant rate", ORANGE, read(DemoRun::Constant)?),
        ("phase 2: re-warmed rate", BLUE, read(DemoRun::Rewarmed)?),
    ];
    let mut page = Page::new("How to (re)warm your model, small");
    page.lead(
        "A GPT-NeoX model is trained on one kind of text (upstream) until its learning rate has decayed, and is then \
         trained on another (downstream) in two ways: at the constant rate that it ended with, and with the rate warmed \
         up to its peak again and decayed once more. After Gupta et al. 2023, arXiv:2308.04014.",
    );
    page.section("Result");
    page.table(&COLUMNS, &demo.outcome.cells());
    page.paragraph(&demo.outcome.sentence());
    page.paragraph(
        "Loss in nats per token on documents that were never trained on; changes are against the model before.",
    );
    page.section("Curves");
    for chart in
        [eval_chart(&runs, "downstream"), eval_chart(&runs, "upstream"), loss_chart(&runs), lr_chart(&runs)]
    {
        page.svg(&chart.to_svg()?, &chart.title);
    }
    for Sample { model, prompt, text } in &demo.samples {
        page.section(&format!("Written by {model}"));
        let rest = text.strip_prefix(prompt.as_str());
        page.text(rest.map_or("", |_| prompt), rest.unwrap_or(text));
    }
    page.section("How it was made");
    page.facts(&facts(demo, options, recipe, &runs));
    for phase in [DemoRun::Upstream, DemoRun::Constant, DemoRun::Rewarmed] {
        let name = format!("{}.toml", phase.as_ref());
        let path = options.dir.join(&name);
        page.listing(&name, &std::fs::read_to_string(&path).map_err(Error::io("read", &path))?);
    }
    Ok(page.to_html())
}

/// A line per run, phase 2 after phase 1, in millions of tokens.
fn chart(
    runs: &Runs,
    title: &str,
    y: &str,
    line: Line,
    points: impl Fn(&RunLog) -> Vec<(f64, f64)>,
) -> Chart {
    let first = runs[0].2.tokens() as f64;
    let series = runs.iter().enumerate().map(|(i, (name, color, log))| {
        let offset = if i == 0 { 0.0 } else { first };
        Series::new(name, *color, line, points(log)).placed(offset, 1e-6)
    });
    Chart {
        title: title.into(),
        x_label: "training tokens (millions)".into(),
        y_label: y.into(),
        y_range: None,
        marks: vec![(first * 1e-6, "downstream begins".into())],
        series: series.collect(),
    }
}

fn eval_chart(runs: &Runs, set: &str) -> Chart {
    let title = format!("Validation loss on {set} text");
    let chart = chart(runs, &title, "loss (nats per token)", Line::Dotted, |log| log.eval(set));
    below_start(chart)
}

fn loss_chart(runs: &Runs) -> Chart {
    let title = format!("Training loss, mean of {SMOOTH_STEPS} steps");
    let chart = chart(runs, &title, "loss (nats per token)", Line::Solid, |log| {
        moving_average(&log.loss(), SMOOTH_STEPS)
    });
    below_start(chart)
}

fn lr_chart(runs: &Runs) -> Chart {
    let chart = chart(runs, "", "", Line::Solid, RunLog::lr);
    Chart { marks: chart.marks, ..rate_chart(&chart.x_label, chart.series) }
}

/// An untrained model's loss would flatten everything else: shown is what lies below the highest loss of the second
/// phase and of the second half of the first.
fn below_start(mut chart: Chart) -> Chart {
    let later = chart.series.iter().enumerate().flat_map(|(i, s)| {
        let skip = if i == 0 { s.points.len() / 2 } else { 0 };
        &s.points[skip..]
    });
    let (low, high) = later.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let all = chart.series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(low, f64::min);
    if all < high {
        let span = high - all;
        chart.y_range = Some((all - 0.06 * span, high + 0.25 * span));
    }
    chart
}

fn facts(demo: &Demo, options: &Options, r: &Recipe, runs: &Runs) -> Vec<(&'static str, String)> {
    let mut speeds: Vec<f64> = runs.iter().flat_map(|r| r.2.steps.iter().map(|s| s.tokens_per_s)).collect();
    speeds.sort_by(f64::total_cmp);
    let speed = speeds.get(speeds.len() / 2).copied().unwrap_or(0.0);
    let tokens = runs.iter().map(|r| r.2.tokens()).sum::<u64>() as f64 / 1e6;
    let mut facts = vec![("command", options.command.clone())];
    facts.extend(demo.facts.iter().cloned());
    facts.push((
        "model",
        format!(
            "GPT-NeoX, {} layers, width {}, {} heads, parallel residual, rotary 25 %, {} tokens of context, vocabulary {}",
            r.layers, r.hidden_size, r.heads, r.seq_len, r.vocab_size
        ),
    ));
    facts.push((
        "training",
        format!(
            "{} + 2 × {} steps of {} tokens, {tokens:.2} million in all; AdamW, reset between the phases; seed {}",
            r.steps_first,
            r.steps_second,
            r.tokens_per_step(),
            options.seed
        ),
    ));
    facts.extend(origin(&Machine::detect(DeviceName::Cpu)));
    facts.push(("threads", rayon::current_num_threads().to_string()));
    facts.push(("speed", format!("{speed:.0} tokens per second (median of all steps)")));
    facts.push(("time", format!("{:.0} s", demo.seconds)));
    facts
}
