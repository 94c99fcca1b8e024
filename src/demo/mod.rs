//! `rewarm demo`: the paper as a small study (Gupta et al. 2023, arXiv:2308.04014; Ibrahim et al. 2024, arXiv:2403.08763):
//! pre-train on prose, then continue on code at a constant rate, re-warmed, and with replay; and from scratch.
mod corpus;
mod options;
mod outcome;
mod phases;
mod recipe;
mod registry;
mod rust_text;

pub use options::Options;
pub use outcome::{Demo, Sample};

use crate::files::write_whole;
use crate::stop::shell_word;
use crate::study::{Findings, Study, StudyPlan, keep, work};
use crate::{Error, Result};
use corpus::{Side, read_folder, select};
use recipe::{Recipe, study};
use std::path::Path;
use std::time::Instant;

/// What the demo leaves in its directory.
const STUDY: &str = "study.toml";

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
    let mut about = vec![format!("Made by `{}`.", options.command), format!("Text: {origin}.")];
    for (label, name, side) in [("upstream", names[0], &upstream), ("downstream", names[1], &downstream)] {
        about.push(format!("{label}: {}.", describe(name, side)));
    }
    about[1..].iter().for_each(|fact| stages.note(fact));
    about.push("Paths begin where it ran.".into());

    stages.next("tokenizer and shards");
    let tokenizer = phases::tokenizer([&upstream, &downstream], &recipe)?;
    for (name, side) in [("upstream", upstream), ("downstream", downstream)] {
        let info = phases::write_side(dir, name, side, &tokenizer)?;
        stages.note(&format!("{name}: {} tokens of {:.2} bytes", info.tokens, info.bytes_per_token()));
    }

    let path = dir.join(STUDY);
    let text = study(&recipe, options, &about, tokenizer.vocab_size(), rayon::current_num_threads());
    write_whole(&path, text.as_bytes())?;
    let plan = StudyPlan::new(&Study::load(&path)?)?;
    let findings = train(&plan, &mut stages)?;

    stages.next("text from the models");
    let [prose, code] = prompts;
    let sample = |model, run: &str, prompt: String| {
        let text = phases::continue_text(&dir.join(run), &prompt, options.seed)?;
        Ok(Sample { model, text })
    };
    let samples = [
        sample("the model that was pre-trained, before it saw downstream text", "ancestors/upstream", prose)?,
        sample("the re-warmed model", "cells/re-warmed", code)?,
    ];
    let report = keep(&plan, &findings)?.unwrap_or_default();
    Ok(Demo { findings, samples, report, seconds: stages.total() })
}

/// Trains all runs; an error where one failed.
fn train(plan: &StudyPlan, stages: &mut Stages) -> Result<Findings> {
    let steps: Vec<u64> =
        plan.runs().map(|run| run.config.total_steps(run.config.data.seq_len.unwrap_or(1))).collect();
    let began = Instant::now();
    let findings = work(plan, false, &mut |number, _, run, _| {
        let (done, ahead) = steps.split_at(number - 1);
        let (done, ahead): (u64, u64) = (done.iter().sum(), ahead.iter().sum());
        let left = match done {
            0 => String::new(),
            done => {
                format!(", about {:.0} s to go", began.elapsed().as_secs_f64() / done as f64 * ahead as f64)
            }
        };
        stages.next(&format!("{}: {} of {ahead} steps{left}", run.name, steps[number - 1]));
    })?;
    if let Some((name, error)) = findings.failed().next() {
        return Err(Error::failed(format!("the run {name} failed: {error}")));
    }
    Ok(findings)
}

fn check_empty(dir: &Path) -> Result<()> {
    if !std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let study = dir.join(STUDY);
    let goes_on = if study.exists() {
        format!(", or go on with its runs: `rewarm study {}`", shell_word(&study))
    } else {
        String::new()
    };
    Err(Error::refused(format!(
        "{} is not empty; the demo starts in an empty directory: remove it, or choose another with --dir DIR{goes_on}",
        dir.display()
    )))
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
