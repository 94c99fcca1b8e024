//! How long a run still takes, from what it did last.
use std::collections::VecDeque;
use std::time::Duration;

/// Steps whose speed counts.
const RECENT: usize = 32;

/// Times of this process: what a run did before it was resumed, it may have done elsewhere.
#[derive(Debug, Default)]
pub struct TimeLeft {
    /// Tokens and seconds of the last steps.
    recent: VecDeque<(f64, f64)>,
    /// Of the last evaluation; none yet counts as nothing.
    pub evaluation: Duration,
    /// Of the last save.
    pub save: Duration,
}

/// What of a run lies ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ahead {
    /// Tokens to train on.
    pub tokens: u64,
    /// Evaluations of all sets.
    pub evaluations: u64,
    /// Saves after a number of steps, the last one included.
    pub saves: u64,
    /// Time between saves, where the clock says when.
    pub save_every: Option<Duration>,
}

impl TimeLeft {
    /// After a step, without what came between it and the one before.
    pub fn step(&mut self, tokens: usize, took: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((tokens as f64, took.as_secs_f64()));
    }

    /// Seconds; 0 before the first step.
    pub fn seconds(&self, ahead: Ahead) -> f64 {
        let (tokens, seconds) =
            self.recent.iter().fold((0.0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
        if tokens == 0.0 {
            return 0.0;
        }
        let (evaluation, save) = (self.evaluation.as_secs_f64(), self.save.as_secs_f64());
        let work = seconds / tokens * ahead.tokens as f64 + evaluation * ahead.evaluations as f64;
        let by_clock = ahead.save_every.map_or(0.0, |every| (work / every.as_secs_f64()).floor());
        work + save * (ahead.saves as f64 + by_clock)
    }
}

/// `12s`, `4m 07s`, `2h 05m`, `3d 04h`.
pub fn readable(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {:02}h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_say_how_fast_it_goes_and_what_comes_between_is_added() {
        let mut left = TimeLeft::default();
        assert_eq!(left.seconds(Ahead { tokens: 10, ..Ahead::default() }), 0.0);
        // The first step of a process is slow; it is forgotten.
        left.step(100, Duration::from_secs(1000));
        for _ in 0..RECENT {
            left.step(100, Duration::from_secs(2));
        }
        let mut ahead = Ahead { tokens: 5000, ..Ahead::default() };
        assert_eq!(left.seconds(ahead), 100.0);
        ahead.evaluations = 3;
        ahead.saves = 2;
        assert_eq!(left.seconds(ahead), 100.0);
        left.evaluation = Duration::from_secs(40);
        left.save = Duration::from_secs(5);
        assert_eq!(left.seconds(ahead), 100.0 + 120.0 + 10.0);
        ahead.save_every = Some(Duration::from_secs(100));
        assert_eq!(left.seconds(ahead), 220.0 + 4.0 * 5.0);
        // Larger steps take longer: tokens count, not steps.
        left.step(10_000, Duration::from_secs(200));
        assert_eq!(left.seconds(Ahead { tokens: 50, ..Ahead::default() }), 1.0);
    }

    #[test]
    fn times_are_read_at_a_glance() {
        let cases = [
            (0.4, "0s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (104.0, "1m 44s"),
            (7500.0, "2h 05m"),
            (273_600.0, "3d 04h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(readable(seconds), text);
        }
    }
}
