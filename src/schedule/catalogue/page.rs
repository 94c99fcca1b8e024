//! The tables for people: a line each in a terminal, a section each in `docs/schedules.md`.
use super::{Argument, ArgumentDefault, Entry, PRESETS, SHAPES, WARMUPS};
use crate::schedule::compat::{STYLES, Style};
use crate::schedule::{RawSchedule, RunSize, Schedule, ScheduleConfig, show};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Characters of a small curve.
const CURVE: usize = 32;
/// The run that the curves are of.
const RUN: RunSize = RunSize { steps: 1000, tokens_per_step: 1000, samples_per_step: 1 };

struct Section {
    heading: &'static str,
    text: &'static str,
    entries: &'static [Entry],
    /// How an entry is written in `[schedule]`, for its curve.
    example: fn(&Entry) -> String,
    /// Whether entries are schedules with a default of `min_lr`.
    whole: bool,
}

const SECTIONS: [Section; 3] = [
    Section {
        heading: "Shapes",
        text: "Phases of a list (`[[schedule.phases]]`, with `length`, `from`, `to`), decays (`decay_shape`), and whole \
               schedules: a warmup, then the shape from `lr` to `min_lr` at the end of the run.",
        entries: SHAPES,
        example: named,
        whole: true,
    },
    Section {
        heading: "Presets",
        text: "Whole schedules that are more than one shape.",
        entries: PRESETS,
        example: named,
        whole: true,
    },
    Section {
        heading: "Warmups",
        text: "`warmup_shape`; the rates between `warmup_from` and the peak. `warmup = 0` is none, `pre_hold` a hold at 0 before \
               it that fills Adam's moments (metaseq), `2/(1 − β₂)` steps the untuned one of Ma and Yarats 2019 \
               (arXiv:1910.04209): `warmup = 40` at β₂ = 0.95.",
        entries: WARMUPS,
        example: warmup,
        whole: false,
    },
];

const ARGUMENTS: &str =
    "\n## Arguments\n\nWhat each accepts, wherever it occurs.\n\n| argument | a value |\n|---|---|\n";

fn named(entry: &Entry) -> String {
    format!("name = {:?}\nlr = 1\nwarmup = \"5%\"\n{}", entry.name, entry.example)
}

fn warmup(entry: &Entry) -> String {
    let comma = if entry.example.is_empty() { "" } else { ", " };
    format!(
        "name = \"constant\"\nlr = 1\nwarmup = \"60%\"\nwarmup_from = \"2%\"\nwarmup_shape = {{shape = {:?}{comma}{}}}",
        entry.name, entry.example
    )
}

fn compiled(section: &str) -> Result<(ScheduleConfig, Schedule)> {
    let raw: RawSchedule = toml::from_str(section).map_err(|e| Error::refused(format!("{section}: {e}")))?;
    let config = raw.validate()?;
    let schedule = config.compile(&RUN, None)?;
    Ok((config, schedule))
}

/// The schedule whose curve is drawn beside a shape or a preset: 1,000 steps, 5 % of them warmup, a peak of 1.
pub fn example(entry: &Entry) -> Result<Schedule> {
    compiled(&named(entry)).map(|(_, schedule)| schedule)
}

/// A line for each: name, curve, purpose.
pub fn listing() -> Result<String> {
    let mut out = String::new();
    for section in SECTIONS {
        let _ = writeln!(out, "{}", section.heading); // writing to a String cannot fail
        for entry in section.entries {
            let (_, schedule) = compiled(&(section.example)(entry))?;
            let curve = show::sparkline(&schedule, CURVE);
            let _ = writeln!(out, "  {:<18}  {curve}  {}", entry.name, entry.purpose); // as above
        }
        out.push('\n');
    }
    out.push_str("Other frameworks', as schedule.style, with their own arguments in [schedule.args]\n");
    for (style, curve) in styles() {
        let _ = writeln!(out, "  {:<39}  {curve:<CURVE$}  {}", style.name, on_a_line(style)); // as above
    }
    out.push('\n');
    out.push_str("Formulas, arguments and sources: docs/schedules.md\n");
    Ok(out)
}

/// The text of `docs/schedules.md`.
pub fn markdown() -> Result<String> {
    let mut out = String::from(
        "<!-- Generated: rewarm schedule list --markdown > docs/schedules.md -->\n\
         # The catalogue of schedules\n\n\
         `name = \"wsd\"` in `[schedule]`, with arguments beside it: `name = \"wsd\", decay = \"20%\"`. In the formulas `r` is the \
         progress through a phase from 0 to 1, `n` the number of steps since its start, `p` the progress through the \
         warmup, `s` the step, `W` the length of the warmup and `T` that of the run; `from` and `to` are the rates at \
         the ends of a phase. No rate behind the warmup is below `min_lr`, which is a tenth of the peak unless something \
         else is said. The curves are over a run with 5 % warmup, from 0 to the peak.\n",
    );
    for section in SECTIONS {
        let _ = write!(out, "\n## {}\n\n{}\n", section.heading, section.text); // writing to a String cannot fail
        for entry in section.entries {
            let (config, schedule) = compiled(&(section.example)(entry))?;
            let _ = write!(
                out,
                "\n### `{}`\n\n```text\n{}\n```\n\n{}\n\n",
                entry.name,
                show::sparkline(&schedule, CURVE),
                entry.formula
            ); // as above
            let arguments = arguments(entry);
            if !arguments.is_empty() {
                let _ = writeln!(out, "- Arguments: {arguments}."); // as above
            }
            if section.whole && config.min_lr != 0.1 {
                let _ = writeln!(out, "- `min_lr` unless given: {}.", share(config.min_lr)); // as above
            }
            let _ = writeln!(out, "- Source: {}.\n- For: {}.", entry.source, entry.purpose); // as above
        }
    }
    out.push_str(ARGUMENTS);
    for (name, argument) in arguments_by_name() {
        let _ = writeln!(out, "| `{name}` | {} |", argument.kind.expected()); // as above
    }
    out.push_str(
        "\n## Other frameworks\n\n`style = \"hf:cosine\"` in `[schedule]` and that framework's own arguments in `[schedule.args]`, by the \
         names, with the defaults and the counting that it gave them; lengths that it takes from its own run are the \
         run's. The gate compares every step of 200 random settings of each with the framework's own code (Hugging Face, \
         PyTorch, optax) or with its formulas stated again. The curves are over 1,000 steps. `refined:file` takes what \
         `rewarm schedule refine` prints; the other `refined` are fits published with it (arXiv:2310.07831).\n\n\
         A style that is a list of others has a table for each, `[[schedule.args.schedulers]]` (optax: \
         `[[schedule.args.schedules]]`), with a `style` of the same framework and its arguments; `lr`, where \
         there is one, is the list's. A style that looks at the loss is fed the training loss of every update, or the mean of \
         `window` of them (in `torch:ReduceLROnPlateau` and `hf:reduce_lr_on_plateau`; `accumulation_size` is optax's, \
         `smooth` GreedyLR's own), and its curve is the base rate. The factor acts from the next update on, as \
         torch's does; optax's would act on the update of that loss already. `torch:LambdaLR` and \
         `torch:MultiplicativeLR` are functions in Python: give their values as a `table`, or as phases.\n\n\
         | style | curve | with |\n|---|---|---|\n",
    );
    let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
    for (style, curve) in styles() {
        let _ = writeln!(out, "| `{}` | {} | {} |", style.name, code(curve), code(on_a_line(style))); // as above
    }
    Ok(out)
}

/// Every argument once.
fn arguments_by_name() -> BTreeMap<&'static str, &'static Argument> {
    let entries = SECTIONS.iter().flat_map(|section| section.entries);
    entries.flat_map(|entry| entry.arguments).map(|argument| (argument.name, argument)).collect()
}

/// Other frameworks' schedules and the curves of their examples.
fn styles() -> impl Iterator<Item = (&'static Style, String)> {
    STYLES.iter().map(|style| (style, style.show().map_or(String::new(), |it| show::sparkline(&it, CURVE))))
}

/// A style's example.
fn on_a_line(style: &Style) -> String {
    style.example.replace('\n', ", ")
}

fn arguments(entry: &Entry) -> String {
    let shown = |argument: &Argument| match argument.default {
        ArgumentDefault::Required => format!("`{}` (required)", argument.name),
        ArgumentDefault::Value(default) => format!("`{}` (`{default}`)", argument.name),
        ArgumentDefault::Words(words) => format!("`{}` ({words})", argument.name),
    };
    entry.arguments.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Of the peak.
fn share(of_peak: f64) -> String {
    if of_peak == 0.0 { "0".into() } else { format!("{:.3} of the peak", of_peak) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use toml::Table;

    #[test]
    fn the_document_is_up_to_date() {
        let committed = include_str!("../../../docs/schedules.md");
        let generated = markdown().unwrap();
        assert!(
            committed == generated,
            "the catalogue has changed: rewarm schedule list --markdown > docs/schedules.md"
        );
    }

    #[test]
    fn every_entry_compiles_and_says_everything() {
        for section in SECTIONS {
            for entry in section.entries {
                let (config, schedule) = compiled(&(section.example)(entry)).unwrap();
                let name = entry.name;
                assert!(
                    !entry.formula.is_empty() && !entry.source.is_empty() && !entry.purpose.is_empty(),
                    "{name}"
                );
                assert!(schedule.peak() <= 1.0 && schedule.lr(500) > 0.0, "{name}");
                assert_eq!(config.to_raw().validate().unwrap(), config, "{name}");
            }
        }
    }

    /// Whatever key of `[schedule]` it is, its kind is looked up by its name alone.
    #[test]
    fn an_argument_means_the_same_wherever_it_occurs() {
        let all = || SHAPES.iter().chain(PRESETS).chain(WARMUPS).flat_map(|entry| entry.arguments);
        for argument in all() {
            let alike = all().filter(|other| other.name == argument.name);
            let kinds: BTreeSet<String> = alike.map(|other| other.kind.expected()).collect();
            assert_eq!(kinds.len(), 1, "{}: {kinds:?}", argument.name);
        }
    }

    /// One that no function of its entry asks for would be dropped without a word.
    #[test]
    fn every_argument_changes_the_schedule() {
        let others =
            ["0.3", "2.5", "7", "\"7%\"", "\"hold\"", "\"log\"", "\"square\"", "[\"30%\", \"60%\", \"90%\"]"];
        for section in SECTIONS {
            for entry in section.entries {
                let example: Table = entry.example.parse().unwrap();
                let with = |args: &Table| {
                    let lines: Vec<String> =
                        args.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                    compiled(&(section.example)(&Entry { example: lines.join("\n").leak(), ..*entry }))
                };
                let schedule = with(&example).unwrap().1;
                for argument in entry.arguments {
                    let changes = |other: &&str| {
                        let mut args = example.clone();
                        args.insert(argument.name.into(), other.parse().unwrap());
                        with(&args).is_ok_and(|(_, changed)| changed != schedule)
                    };
                    assert!(others.iter().any(changes), "{}.{}", entry.name, argument.name);
                }
            }
        }
    }

    #[test]
    fn the_listing_has_a_line_with_a_curve_for_each() {
        let text = listing().unwrap();
        for entry in SHAPES.iter().chain(PRESETS).chain(WARMUPS) {
            let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{} ", entry.name)));
            let blocks = line.unwrap().chars().filter(|c| ('▁'..='█').contains(c)).count();
            assert_eq!(blocks, CURVE, "{}", entry.name);
        }
    }
}
