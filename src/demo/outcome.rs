//! What the demo found: the table of its study, sentences that the numbers make, and what the models write.
use crate::study::Findings;
use std::path::PathBuf;

/// A beginning and how a model continued it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name of the model that continued it.
    pub model: &'static str,
    /// All of it, the beginning included.
    pub text: String,
}

/// A finished demo: its numbers and where they are.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The numbers of all models.
    pub findings: Findings,
    /// What the models write.
    pub samples: [Sample; 2],
    /// Where the page is.
    pub report: PathBuf,
    /// Seconds that the whole demo took.
    pub seconds: f64,
}

impl Demo {
    /// What is printed in the end.
    pub fn summary(&self) -> String {
        let compared =
            COMPARED.map(|name| of_run(&self.findings, name).expect("the demo ends where a run fails"));
        let mut text = format!("\n{}\n{}\n", self.findings, sentences(compared));
        for Sample { model, text: sample } in &self.samples {
            text += &format!("\n--- written by {model} ---\n{sample}\n");
        }
        text + &format!("\n{}\ndone in {:.0} s\n", self.report.display(), self.seconds)
    }
}

/// The runs that are compared, in the order of [`sentences`].
const COMPARED: [&str; 4] = ["constant", "re-warmed", "replay-25", "scratch"];

/// Of a run, the last losses upstream and downstream, and how much the former changed; none where it is not finished.
fn of_run(findings: &Findings, name: &str) -> Option<[f64; 3]> {
    let group = findings.groups.iter().find(|group| group.name == name)?;
    let set = |name: &str| findings.sets.iter().position(|set| set == name);
    let [up, down] = [set("upstream")?, set("downstream")?];
    Some([group.loss[up]?.mean, group.loss[down]?.mean, group.change[up]?.mean])
}

/// What the numbers of [`COMPARED`] say, whatever they say.
fn sentences([constant, rewarmed, replayed, scratch]: [[f64; 3]; 4]) -> String {
    let less = |difference: f64| if difference < 0.0 { "less" } else { "more" };
    let below = |difference: f64| {
        let side = if difference < 0.0 { "below" } else { "above" };
        format!("{:.3} nats per token {side}", difference.abs())
    };
    format!(
        "Re-warming the learning rate ended {} the constant rate downstream, and forgot {} of upstream: {} nats, the constant \
         rate {}. With a quarter of old text it forgot {} ({}), and ended {} re-warming without. From scratch as many steps \
         ended {} re-warming.",
        below(rewarmed[1] - constant[1]),
        less(rewarmed[2] - constant[2]),
        signed(rewarmed[2]),
        signed(constant[2]),
        less(replayed[2] - rewarmed[2]),
        signed(replayed[2]),
        below(replayed[1] - rewarmed[1]),
        below(scratch[1] - rewarmed[1]),
    )
}

fn signed(x: f64) -> String {
    format!("{}{:.3}", if x < 0.0 { '−' } else { '+' }, x.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream was 3 before; from scratch it is not known.
    #[test]
    fn the_sentences_follow_the_numbers() {
        let of = |constant: [f64; 2], rewarmed: [f64; 2], replayed: [f64; 2], scratch: f64| {
            sentences([constant, rewarmed, replayed, [7.0, scratch]].map(|[up, down]| [up, down, up - 3.0]))
        };
        let text = of([3.25, 4.0], [3.5, 3.5], [3.125, 3.625], 4.5);
        for words in [
            "ended 0.500 nats per token below the constant rate downstream, and forgot more of upstream: +0.500 nats",
            "the constant rate +0.250.",
            "forgot less (+0.125), and ended 0.125 nats per token above re-warming without",
            "From scratch as many steps ended 1.000 nats per token above re-warming.",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let text = of([3.25, 4.0], [2.875, 4.125], [3.0, 4.0], 4.0);
        for words in [
            "0.125 nats per token above the constant",
            "forgot less of upstream: −0.125",
            "forgot more (+0.000)",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
