//! What the evaluations of a set say together: how far its loss is from that before the first step of the phase, the worst
//! of it, and when that was made good.
//!
//! Losses fall behind at the start of a phase and come back (the stability gap: De Lange et al. 2023, arXiv:2205.13452, who
//! evaluate after every step and report the minimum of the accuracy since a task was learned, where a loss has its peak).
use crate::config::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a run remembers of every validation set, by its name; whatever its role, so that it may be given one later.
pub type Gaps = BTreeMap<String, Gap>;

/// What a run remembers of the evaluations of one set: a function of their losses in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// What was evaluated ([`super::Evaluation::identity`]); other windows have other losses.
    pub of: String,
    /// Loss before the first step, nats per token.
    pub before: f64,
    /// The most that a later loss was above it; 0: none ever was.
    pub peak: f64,
    /// The first evaluation of that gap: steps made before it.
    pub peak_step: u64,
    /// The first evaluation behind it whose loss was at most `before`; none where there is no peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_step: Option<u64>,
}

impl Gap {
    fn new(of: &str, before: f64) -> Self {
        Self { of: of.to_owned(), before, peak: 0.0, peak_step: 0, recovered_step: None }
    }

    /// Takes the loss after so many steps, which are no fewer than those before; a loss that is not finite is passed over,
    /// and one that was taken before changes nothing.
    fn observe(&mut self, step: u64, loss: f64) {
        let gap = loss - self.before;
        if !gap.is_finite() {
            return;
        }
        if gap > self.peak {
            (self.peak, self.peak_step, self.recovered_step) = (gap, step, None);
        } else if gap <= 0.0 && self.peak > 0.0 {
            self.recovered_step.get_or_insert(step);
        }
    }
}

/// An evaluation against that before the first step, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Since {
    /// Of a set that is to be retained.
    Retained {
        /// Its loss now, less that before the first step.
        forgetting: f64,
        /// The most that this ever was, and at least 0.
        forgetting_peak: f64,
        /// The step of the first evaluation at which it was.
        forgetting_peak_step: u64,
        /// The step of the first evaluation after that at which forgetting was 0 or less.
        recovered_step: Option<u64>,
    },
    /// Of a set that is to be learned.
    Learned {
        /// Its loss before the first step, less that now.
        learned: f64,
    },
}

impl Since {
    fn of(role: Role, gap: &Gap, loss: f64) -> Self {
        match role {
            Role::Learn => Self::Learned { learned: gap.before - loss },
            Role::Retain => Self::Retained {
                forgetting: loss - gap.before,
                forgetting_peak: gap.peak,
                forgetting_peak_step: gap.peak_step,
                recovered_step: gap.recovered_step,
            },
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Learned { learned } => write!(f, "learned {learned:+.4}"),
            Self::Retained { forgetting, forgetting_peak, forgetting_peak_step, recovered_step } => {
                write!(f, "forgetting {forgetting:+.4}")?;
                match (forgetting_peak > 0.0, recovered_step) {
                    (false, _) => write!(f, ", never above 0"),
                    (true, None) => {
                        write!(
                            f,
                            ", peak {forgetting_peak:+.4} at step {forgetting_peak_step}, not recovered"
                        )
                    }
                    (true, Some(step)) => write!(
                        f,
                        ", peak {forgetting_peak:+.4} at step {forgetting_peak_step}, recovered at step {step}"
                    ),
                }
            }
        }
    }
}

/// Takes the loss of the set `name`, which evaluates `of`, after so many steps. What it is against that before the first
/// step, where it has a role and the same was evaluated then.
pub fn observe(
    gaps: &mut Gaps,
    (name, of, role): (&str, &str, Option<Role>),
    step: u64,
    loss: f64,
) -> Option<Since> {
    if step == 0 && loss.is_finite() {
        gaps.insert(name.to_owned(), Gap::new(of, loss));
    }
    let gap = gaps.get_mut(name).filter(|gap| gap.of == of)?;
    gap.observe(step, loss);
    role.filter(|_| loss.is_finite()).map(|role| Since::of(role, gap, loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps and losses, as an evaluation after each logs them.
    type Log<'a> = &'a [(u64, f64)];

    /// What the log up to its last evaluation says of a retained set, from the whole of it.
    fn stated(log: Log) -> (f64, f64, u64, Option<u64>) {
        let gaps: Vec<(u64, f64)> = log.iter().map(|(step, loss)| (*step, loss - log[0].1)).collect();
        let peak = gaps.iter().map(|gap| gap.1).fold(0.0, f64::max);
        let at = gaps.iter().find(|gap| gap.1 == peak).map_or(0, |gap| gap.0);
        let back = gaps.iter().find(|gap| peak > 0.0 && gap.0 > at && gap.1 <= 0.0).map(|gap| gap.0);
        (gaps[gaps.len() - 1].1, peak, at, back)
    }

    fn retained(since: Since) -> (f64, f64, u64, Option<u64>) {
        match since {
            Since::Retained { forgetting, forgetting_peak, forgetting_peak_step, recovered_step } => {
                (forgetting, forgetting_peak, forgetting_peak_step, recovered_step)
            }
            Since::Learned { .. } => panic!("{since:?}"),
        }
    }

    /// A gap that is made good, one that comes back smaller, a second one that is larger, one that never is made good, none
    /// at all, and random walks; each evaluation taken once, and each twice, as after a stop in the middle of a step's sets.
    #[test]
    fn figures_are_those_of_the_whole_log() {
        let mut logs: Vec<Vec<f64>> = vec![
            vec![2.0, 3.0, 2.5, 2.0, 1.9, 2.5],
            vec![2.0, 3.0, 2.0, 3.5, 2.25, 2.1],
            vec![2.0, 1.0, 2.0, 1.5],
            vec![2.0, 2.5, 2.5, 1.5],
            vec![2.0],
        ];
        let mut random = crate::reference::random::Random::new(11);
        logs.extend((0..50).map(|_| {
            let steps: Vec<f64> = random.normals(30, 0.0, 0.1);
            steps.iter().scan(4.0, |loss, step| Some(std::mem::replace(loss, *loss + *step))).collect()
        }));
        for (losses, times) in logs.iter().flat_map(|losses| [(losses, 1), (losses, 2)]) {
            let log: Vec<(u64, f64)> = losses.iter().enumerate().map(|(i, l)| (3 * i as u64, *l)).collect();
            let mut gaps = Gaps::new();
            for (i, (step, loss)) in log.iter().enumerate() {
                for _ in 0..times {
                    let retain = observe(&mut gaps, ("a", "x", Some(Role::Retain)), *step, *loss).unwrap();
                    assert_eq!(retained(retain), stated(&log[..=i]), "{log:?} up to {i}");
                    let learn = observe(&mut gaps, ("a", "x", Some(Role::Learn)), *step, *loss).unwrap();
                    assert_eq!(learn, Since::Learned { learned: log[0].1 - loss });
                }
            }
            // As a checkpoint carries them.
            let kept: Gaps = serde_json::from_str(&serde_json::to_string(&gaps).unwrap()).unwrap();
            assert_eq!(kept, gaps);
        }
    }

    #[test]
    fn what_was_not_evaluated_before_the_first_step_is_not_compared() {
        let mut gaps = Gaps::new();
        let role = Some(Role::Retain);
        assert_eq!(observe(&mut gaps, ("a", "x", role), 5, 1.0), None);
        observe(&mut gaps, ("a", "x", role), 0, 2.0).unwrap();
        let kept = gaps.clone();
        assert_eq!(observe(&mut gaps, ("a", "other windows", role), 5, 3.0), None);
        assert_eq!(observe(&mut gaps, ("a", "x", role), 5, f64::NAN), None);
        assert_eq!(observe(&mut gaps, ("a", "x", role), 5, f64::INFINITY), None);
        assert_eq!(observe(&mut gaps, ("b", "x", role), 0, f64::NAN), None);
        assert_eq!(gaps, kept);
        // A set without a role is remembered, so one that is given later has the whole of it.
        assert_eq!(observe(&mut gaps, ("a", "x", None), 5, 2.5), None);
        let later = observe(&mut gaps, ("a", "x", role), 6, 2.25).unwrap();
        assert_eq!(retained(later), (0.25, 0.5, 5, None));
        assert_eq!(later.to_string(), "forgetting +0.2500, peak +0.5000 at step 5, not recovered");
        let json = serde_json::to_value(later).unwrap();
        let expected =
            r#"{"forgetting":0.25,"forgetting_peak":0.5,"forgetting_peak_step":5,"recovered_step":null}"#;
        assert_eq!(json.to_string(), expected);
    }
}
