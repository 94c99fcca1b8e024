//! What a checkpoint says of the samples that were dealt out to the sources of its run.
use super::progress::{Account, Progress};
use crate::checkpoint::RunState;
use crate::data::Dealt;
use crate::{Error, Result};

/// What a checkpoint of a run of so many sources, whose steps took `samples`, says was dealt out; one source that leaves
/// nothing out needs no account of its own.
pub fn account(state: &RunState, sources: usize, samples: u64) -> Result<Account> {
    let sample = state.sample;
    let fits = |dealt: &Dealt| {
        let sum =
            dealt.taken.iter().map(|taken| u128::from(*taken)).sum::<u128>() + u128::from(dealt.elsewhere);
        let by_source = [&dealt.passed, &dealt.shift, &dealt.rest];
        let complete = by_source.into_iter().all(|list| list.is_empty() || list.len() == sources);
        dealt.taken.len() == sources && complete && sum == u128::from(dealt.sample) && dealt.sample <= sample
    };
    let why = match Progress::read(state)?.mixture {
        None if sources == 1 => {
            let at = |sample| Dealt { sample, taken: vec![sample], ..Dealt::default() };
            let (origin, dealt) = (at(sample.saturating_sub(samples)), at(sample));
            return Ok(Account { from: 0, origin, dealt, earlier: Vec::new() });
        }
        None => "there is none".into(),
        Some(saved) if !fits(&saved.origin) || !fits(&saved.dealt) || saved.dealt.sample < sample => {
            format!("it counts {:?} samples by source, and the run is at {sample}", saved.dealt.taken)
        }
        Some(saved) => return Ok(saved),
    };
    Err(Error::refused(format!(
        "the checkpoint's account of its {sources} sources cannot be used: {why}; use the rewarm that wrote it"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::progress::tests::state;
    use serde_json::{Value, json};

    #[test]
    fn an_account_that_does_not_add_up_is_refused() {
        let account = |origin: [u64; 2], dealt: &[u64]| {
            let dealt = json!({ "sample": 24, "taken": dealt });
            json!({ "mixture": { "from": 1, "origin": { "sample": 8, "taken": origin }, "dealt": dealt } })
        };
        let read = |sample, extra| super::account(&state(sample, extra), 2, 24);
        let good = read(24, account([6, 2], &[17, 7])).unwrap();
        assert_eq!((good.from, good.dealt.taken), (1, vec![17, 7]));
        for (sample, extra) in [
            (24, Value::Null),
            (24, json!({ "lr": 1.0 })),
            (25, account([6, 2], &[17, 7])),
            (24, account([6, 2], &[17, 8])),
            (24, account([6, 3], &[17, 7])),
            (24, account([6, 2], &[24])),
            (24, account([6, 2], &[u64::MAX, 25])),
        ] {
            let error = read(sample, extra.clone()).err().unwrap_or_else(|| panic!("{extra} was taken"));
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains("account of its 2 sources"), "{error}");
        }
        let one = super::account(&state(24, Value::Null), 1, 16).unwrap();
        assert_eq!((one.origin.taken, one.dealt.taken), (vec![8], vec![24]));
    }
}
