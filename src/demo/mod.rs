//! `rewarm demo`: pre-train a small model on prose, then continue on code at a constant and at a re-warmed learning
//! rate (Gupta et al. 2023, arXiv:2308.04014), through the same configurations and sessions that a real run uses.
mod corpus;
mod options;
mod outcome;
mod page;
mod phases;
mod recipe;
mod registry;
mod rust_text;

pub use options::Options;
pub use outcome::{Comparison, Demo, Row, Sample};
pub use recipe::{DemoRun, Recipe};

use crate::files::write_whole;
use crate::{Error, Result};
use corpus::{Side, read_folder, select};
use std::path::Path;
use std::time::Instant;

/// The text of the demo.
struct Texts {
    upstream: Side,
    downstream: Side,
    /// What they are, for people.
    names: [&'static str; 2],
    /// Where they come from.
    origin: String,
    /// Beginnings for the model to continue, one of each kind.
    prompts: [String; 2],
}

/// Runs the demo on the current thread pool. Refuses a directory that holds anything.
pub fn run(options: &Options) -> Result<Demo> {
    let recipe = if options.quick { Recipe::QUICK } else { Recipe::FULL };
    let dir = options.dir.as_path();
    check_empty(dir)?;
    let mut stages = Stages::new();

    stages.next("text");
    let Texts { upstream, downstream, names, origin, prompts } = texts(options, &recipe)?;
    // Whatever is wrong with the texts leaves nothing behind.
    let data = dir.join("data");
    std::fs::create_dir_all(&data).map_err(Error::input("create", &data))?;
    stages.note(&origin);
    let mut facts = vec![("text", origin)];
    for (label, name, side) in [("upstream", names[0], &upstream), ("downstream", names[1], &downstream)] {
        let fact = describe(name, side);
        stages.note(&format!("{label}: {fact}"));
        facts.push((label, fact));
    }

    stages.next("tokenizer and shards");
    let tokenizer = phases::tokenizer([&upstream, &downstream], &recipe)?;
    let vocab_size = tokenizer.vocab_size();
    for (name, side) in [("upstream", upstream), ("downstream", downstream)] {
        let info = phases::write_side(dir, name, side, &tokenizer)?;
        stages.note(&format!("{name}: {} tokens of {:.2} bytes", info.tokens, info.bytes_per_token()));
    }

    let steps = [recipe.steps_first, recipe.steps_second, recipe.steps_second];
    let titles = [
        "phase 1: pre-training on upstream",
        "phase 2a: downstream, constant learning rate",
        "phase 2b: downstream, re-warmed learning rate",
    ];
    let (mut done, mut spent) = (0, 0.0);
    let mut train = |i: usize, phase: DemoRun| {
        let ahead: u64 = steps[i..].iter().sum();
        let left = match done {
            0 => String::new(),
            done => format!(", about {:.0} s to go", spent / done as f64 * ahead as f64),
        };
        stages.next(&format!("{}: {} of {ahead} steps{left}", titles[i], steps[i]));
        let begun = Instant::now();
        let summary = phases::train(&recipe, phase, options, vocab_size);
        (done, spent) = (done + steps[i], spent + begun.elapsed().as_secs_f64());
        summary
    };
    let before = train(0, DemoRun::Upstream)?;
    let constant = train(1, DemoRun::Constant)?;
    let rewarmed = train(2, DemoRun::Rewarmed)?;
    let outcome = Comparison {
        before: Row::new("before", &before)?,
        constant: Row::new(format!("constant {:.0e}", recipe.lr_end), &constant)?,
        rewarmed: Row::new(format!("re-warmed to {:.0e}", recipe.lr), &rewarmed)?,
    };

    stages.next("text from the models, and the report");
    let [prose, code] = prompts;
    let sample = |model, phase: DemoRun, prompt: String| {
        let text = phases::continue_text(&dir.join(phase.as_ref()), &prompt, options.seed)?;
        Ok(Sample { model, prompt, text })
    };
    let samples = [
        sample("the model of phase 1, before it saw downstream text", DemoRun::Upstream, prose)?,
        sample("the re-warmed model", DemoRun::Rewarmed, code)?,
    ];
    let report = dir.join("report.html");
    let mut demo = Demo { outcome, samples, report, seconds: stages.total(), facts };
    let html = page::render(&demo, options, &recipe)?;
    write_whole(&demo.report, html.as_bytes())?;
    demo.seconds = stages.total();
    Ok(demo)
}

impl Demo {
    /// What is printed in the end.
    pub fn summary(&self) -> String {
        let mut text = format!("\n{}\n{}\n", self.outcome.table(), self.outcome.sentence());
        for Sample { model, text: sample, .. } in &self.samples {
            text += &format!("\n--- written by {model} ---\n{sample}\n");
        }
        text + &format!("\n{}\ndone in {:.0} s\n", self.report.display(), self.seconds)
    }
}

fn check_empty(dir: &Path) -> Result<()> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::refused(format!(
            "{} is not empty; the demo starts in an empty directory: remove it, or choose another with --dir DIR",
            dir.display()
        )));
    }
    Ok(())
}

fn texts(options: &Options, recipe: &Recipe) -> Result<Texts> {
    let Some((up, down)) = &options.folders else {
        let sources = registry::read_sources()?;
        return Ok(Texts {
            upstream: select("upstream", sources.prose, recipe.side_bytes)?,
            downstream: select("downstream", sources.code, recipe.side_bytes)?,
            names: ["prose", "Rust code"],
            origin: sources.origin,
            prompts: ["Returns the number of ".into(), "impl<T> Iterator for ".into()],
        });
    };
    let upstream = select("upstream", read_folder(up)?, recipe.side_bytes)?;
    let downstream = select("downstream", read_folder(down)?, recipe.side_bytes)?;
    let prompts = [&upstream, &downstream].map(prompt);
    let origin = format!("{} and {}", up.display(), down.display());
    Ok(Texts { upstream, downstream, names: ["text", "text"], origin, prompts })
}

/// The first words of a document that was held out.
fn prompt(side: &Side) -> String {
    let text = side.validation.first().map_or("", |text| text.trim_start());
    let words: Vec<&str> = text.split_inclusive(char::is_whitespace).take(6).collect();
    words.concat().chars().take(60).collect()
}

fn describe(name: &str, side: &Side) -> String {
    format!(
        "{name}, {:.2} MB in {} documents and {} held out, XXH3-128 {:032x}",
        side.bytes as f64 / 1e6,
        side.train.len(),
        side.validation.len(),
        side.hash
    )
}

/// Headings with the time since the start.
struct Stages {
    started: Instant,
}

impl Stages {
    fn new() -> Self {
        Self { started: Instant::now() }
    }

    fn next(&mut self, title: &str) {
        log::info!("[{:5.1} s] {title}", self.total());
    }

    fn note(&self, text: &str) {
        log::info!("          {text}");
    }

    fn total(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
