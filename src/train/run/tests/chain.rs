//! Chains of phases: every token of a source is a target once an epoch, whatever becomes of shares, sources, their names, the
//! length of samples and processes on the way; and the order is that of a few lines that share no code with the engine.
use super::*;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// Targets of a window; no length of a sample divides it but the first.
const WINDOW: u64 = 24;
const SEED: u64 = 77;

/// Sources by content: consecutive numbers from the first on, so many of them.
const CONTENTS: [(&str, u32, u32); 4] = [("a", 0, 1000), ("b", 1000, 530), ("c", 1600, 211), ("d", 2000, 26)];

/// Sources of a phase: number of the content, name, and weight in thousandths.
type Mixed = Vec<(usize, &'static str, u64)>;

struct Phase {
    time: usize,
    sequences: usize,
    /// Steps, each with the sources that are there from before it on.
    parts: Vec<(u64, Mixed)>,
}

/// Numbers without a pattern.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

fn contents() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, first, tokens) in CONTENTS {
        let bytes: Vec<u8> = (first..first + tokens).flat_map(|token| (token as u16).to_le_bytes()).collect();
        std::fs::write(dir.path().join(format!("{name}.bin")), bytes).unwrap();
    }
    dir
}

/// One source is `data.train`, so that phases go from it to mixtures and back.
fn data_keys(dir: &TempDir, mixed: &Mixed) -> [String; 2] {
    let path = |content: usize| format!("[\"raw-u16:{}/{}.bin\"]", dir.path().display(), CONTENTS[content].0);
    if let [(content, ..)] = mixed[..] {
        return [format!("data.train={}", path(content)), "data.mixture=[]".into()];
    }
    let source = |(content, name, weight): &(usize, &str, u64)| {
        let weight = *weight as f64 / 1000.0;
        format!("{{name={name:?}, paths={}, weight={weight:?}, when_empty=\"repeat\"}}", path(*content))
    };
    let list: Vec<String> = mixed.iter().map(source).collect();
    ["data.train=[]".into(), format!("data.mixture=[{}]", list.join(", "))]
}

fn configured(dir: &TempDir, number: usize, phase: &Phase) -> Config {
    let (steps, Phase { time, sequences, .. }) = (phase.parts.iter().map(|part| part.0).sum::<u64>(), phase);
    let model = match number {
        0 => "model = { vocab_size = 4096, hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, \
              rotary_pct = 0.5, max_position_embeddings = 24 }\n"
            .to_owned(),
        _ => format!("start = {{ from = \"DIR/{}\", data = \"continue\" }}\n", number - 1),
    };
    // A later phase has another seed, and inherits order and windows.
    let first = if number == 0 { format!("window = {WINDOW}\nseed = {SEED}\n") } else { String::new() };
    let text = format!(
        "run_dir = \"DIR/{number}\"\nseed = {number}\nthreads = 1\n{model}schedule = {{ lr = 1e-3, warmup = 0 }}\n\
         train = {{ steps = {steps} }}\neval = {{ every = 0, sequences = 1 }}\ncheckpoint = {{ every = 1000, keep = 2 }}\n\
         batch = {{ sequences = {sequences}, micro = 1 }}\n[data]\nseq_len = {time}\n{first}"
    );
    let sets = data_keys(dir, &phase.parts[0].1);
    Config::from_toml_str(&text.replace("DIR", &dir.path().display().to_string()), &sets).unwrap()
}

/// Pairs of a sample, as they were fed.
type Row = Vec<(u32, u32)>;

/// Takes steps, and notes the rows.
fn steps(session: &mut Session, count: u64, rows: &mut Vec<Row>) {
    let (mut batch, mut display) = (Batch::default(), Display::new(0, 1));
    let time = session.mixture.sources().seq_len();
    for _ in 0..count {
        let issued = session.issue(0, &mut batch).unwrap();
        for (tokens, targets) in batch.tokens.chunks(time).zip(batch.targets.chunks(time)) {
            rows.push(tokens.iter().zip(targets).map(|(a, b)| (*a as u32, *b as u32)).collect());
        }
        session.finish(issued, &mut display).unwrap();
    }
}

/// Saves the present step, if that was not done.
fn save(session: &mut Session) {
    if session.saved != Some(session.state.step) {
        session.save(&Display::new(0, 1)).unwrap();
    }
}

/// The rows of a chain; a process is left in the middle about `kills` times, and what it had not saved is done again.
fn fed(dir: &TempDir, phases: &[Phase], draws: &mut Draws, kills: u64) -> Vec<Row> {
    let all: u64 = phases.iter().flat_map(|phase| &phase.parts).map(|part| part.0).sum();
    let (mut rows, mut killed) = (Vec::new(), 0);
    for (number, phase) in phases.iter().enumerate() {
        let config = configured(dir, number, phase);
        let mut session = Session::start(config.clone()).unwrap();
        for (i, (count, mixed)) in phase.parts.iter().enumerate() {
            if i > 0 {
                let sets = data_keys(dir, mixed);
                save(&mut session);
                drop(session);
                session = resume(&config, &sets.each_ref().map(String::as_str), None);
            }
            let mut left = *count;
            while left > 0 {
                let saved = left.min(1 + draws.below(5));
                steps(&mut session, saved, &mut rows);
                left -= saved;
                if draws.below(all) < kills * 6 {
                    save(&mut session);
                    steps(&mut session, left.min(draws.below(3)), &mut Vec::new());
                    drop(session);
                    session = resume(&config, &[], None);
                    killed += 1;
                }
            }
        }
        save(&mut session);
    }
    assert!(killed >= kills, "{killed} kills");
    rows
}

/// The order, once more: what a sample of every phase consists of.
fn expected(dir: &TempDir, phases: &[Phase]) -> Vec<Row> {
    let mut position = [0u64; CONTENTS.len()];
    let mut rows = Vec::new();
    for Phase { time, sequences, parts } in phases {
        for (count, mixed) in parts {
            let unit: u64 = mixed.iter().map(|source| source.2).sum();
            let mut given = vec![0u64; mixed.len()];
            for sample in 0..count * *sequences as u64 {
                // Of all sources that are due, the one whose due date is next.
                let due = |i: &usize| given[*i] * unit / mixed[*i].2 <= sample;
                let date = |i: &usize| ((given[*i] + 1) * unit).div_ceil(mixed[*i].2);
                let next = (0..mixed.len()).filter(due).min_by_key(date).unwrap();
                given[next] += 1;
                let content = mixed[next].0;
                let pair = |at| pair(dir, content, at);
                rows.push((position[content]..position[content] + *time as u64).map(pair).collect());
                position[content] += *time as u64;
            }
        }
    }
    rows
}

/// The pair of tokens at a position of the stream of a source.
fn pair(dir: &TempDir, content: usize, at: u64) -> (u32, u32) {
    let (name, first, tokens) = CONTENTS[content];
    let windows = (u64::from(tokens) - 1) / WINDOW;
    let (epoch, i, offset) = (at / (windows * WINDOW), at / WINDOW % windows, at % WINDOW);
    let token = first + (permuted(fingerprint(dir, name), windows, epoch, i) * WINDOW + offset) as u32;
    (token, token + 1)
}

/// Of a corpus of one small file of u16.
fn fingerprint(dir: &TempDir, name: &str) -> u128 {
    let bytes = std::fs::read(dir.path().join(format!("{name}.bin"))).unwrap();
    let mut shard = format!("raw-u16 u16 {}\n", bytes.len() / 2).into_bytes();
    shard.extend((bytes.len() as u64).to_le_bytes());
    shard.extend(bytes);
    xxh3_128(&xxh3_128(&shard).to_le_bytes())
}

/// Eight rounds of a Feistel network over the smallest 4^b that holds n, again and again until the value is below n.
fn permuted(fingerprint: u128, n: u64, epoch: u64, mut i: u64) -> u64 {
    let half = (0..).find(|half| 1u128 << (2 * half) >= n.into()).unwrap().max(1);
    let round_key = |round: u8| {
        let key = [&fingerprint.to_le_bytes()[..], &epoch.to_le_bytes(), &[round]].concat();
        xxh3_64_with_seed(&key, SEED)
    };
    loop {
        let (mut left, mut right) = (i >> half, i % (1 << half));
        for round in 0..8 {
            let mut z = round_key(round).wrapping_add((right + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (left, right) = (right, left ^ ((z ^ (z >> 31)) % (1 << half)));
        }
        i = left << half | right;
        if i < n {
            return i;
        }
    }
}

/// Every token is predicted from the one before it, and every token of an epoch is a target once, but for the first and those
/// behind the last window. Gives the epochs that were begun, by source.
fn check_epochs(rows: &[Row]) -> [u64; CONTENTS.len()] {
    let mut targets: [Vec<u32>; CONTENTS.len()] = Default::default();
    for (token, target) in rows.iter().flatten() {
        let content = CONTENTS.iter().rposition(|content| content.1 <= *token).unwrap();
        assert_eq!(*target, token + 1);
        targets[content].push(target - CONTENTS[content].1);
    }
    let mut epochs = [0; CONTENTS.len()];
    for (i, targets) in targets.iter().enumerate() {
        let of_epoch = ((CONTENTS[i].2 as u64 - 1) / WINDOW * WINDOW) as usize;
        for epoch in targets.chunks(of_epoch) {
            let mut seen = vec![false; of_epoch + 1];
            assert!(epoch.iter().all(|target| !std::mem::replace(&mut seen[*target as usize], true)));
            assert!(epoch.len() < of_epoch || seen.iter().filter(|seen| !**seen).count() == 1);
            epochs[i] += 1;
        }
    }
    epochs
}

#[test]
fn three_phases_of_other_sources_and_lengths_killed_twenty_times() {
    let phases = [
        Phase {
            time: 8,
            sequences: 4,
            parts: vec![
                (60, vec![(0, "new", 700), (1, "old", 300)]),
                (20, vec![(1, "old", 999), (0, "new", 1)]),
            ],
        },
        // One is dropped, one comes, and in the middle one comes back under another name.
        Phase {
            time: 11,
            sequences: 4,
            parts: vec![
                (30, vec![(2, "small", 250), (0, "news", 750)]),
                (40, vec![(2, "small", 100), (1, "replay", 400), (0, "news", 500)]),
            ],
        },
        Phase {
            time: 24,
            sequences: 3,
            parts: vec![
                (30, vec![(0, "only", 1000)]),
                (20, vec![(3, "tiny", 200), (2, "small", 300), (1, "old", 500)]),
            ],
        },
    ];
    let dir = contents();
    let rows = fed(&dir, &phases, &mut Draws(1), 20);
    assert_eq!(rows.len(), 80 * 4 + 70 * 4 + 50 * 3);
    assert_eq!(rows, expected(&dir, &phases));
    let epochs = check_epochs(&rows);
    assert!(epochs.iter().all(|epochs| *epochs >= 3), "{epochs:?}");

    // What the history of each phase names is what was fed, in parts of the run whose sources are gone, too.
    let mut rows = rows.into_iter();
    for (number, Phase { sequences, parts, .. }) in phases.iter().enumerate() {
        let history = History::open(&dir.path().join(number.to_string()), &[]).unwrap();
        for step in 1..=parts.iter().map(|part| part.0).sum() {
            let (sources, turns) = history.rows(step).unwrap();
            assert_eq!(turns.len(), *sequences);
            for turn in turns {
                let order = &sources.list()[turn.source].order;
                let mut named = Vec::new();
                for piece in order.pieces(turn.sample) {
                    let mut tokens = vec![0; piece.targets as usize + 1];
                    order.read_piece(piece, &mut tokens, VOCAB).unwrap();
                    named.extend(tokens.windows(2).map(|pair| (pair[0], pair[1])));
                }
                assert_eq!(Some(named), rows.next(), "step {step} of phase {number}");
            }
        }
    }
}

/// Sources that come, go, come back, change places, names and weights, in phases and within them.
#[test]
fn nothing_is_repeated_or_lost_over_random_phases() {
    for seed in 0..6 {
        let mut draws = Draws(seed);
        let mut mixed = || -> Mixed {
            let mut order: Vec<usize> = (0..CONTENTS.len()).collect();
            for i in 0..order.len() {
                let other = draws.below(CONTENTS.len() as u64) as usize;
                order.swap(i, other);
            }
            order.truncate(1 + draws.below(4) as usize);
            let names =
                [["a", "b", "c", "d"], ["w", "x", "y", "z"], ["b", "a", "d", "c"]][draws.below(3) as usize];
            let source = |content| (content, names[content], [1, 20, 250, 500, 999][draws.below(5) as usize]);
            order.into_iter().map(source).collect()
        };
        let mut phases: Vec<Phase> = Vec::new();
        for _ in 0..5 {
            let parts: Vec<(u64, Mixed)> = (0..3).map(|_| (15, mixed())).collect();
            phases.push(Phase { time: 8, sequences: 3, parts });
        }
        for phase in &mut phases {
            phase.time = [1, 7, 8, 12, 17, 24][draws.below(6) as usize];
            // A new phase that has read none of its sources does not go on.
            phase.parts[0].1.retain(|source| source.0 != 0);
            phase.parts[0].1.push((0, "always", 300));
            for (_, mixed) in &mut phase.parts {
                if let [only] = &mut mixed[..] {
                    only.2 = 1000;
                }
            }
        }
        let dir = contents();
        let rows = fed(&dir, &phases, &mut draws, 3);
        check_epochs(&rows);
        assert_eq!(rows, expected(&dir, &phases), "seed {seed}");
    }
}

/// What a step reads does not depend on how much of it is computed at once.
#[test]
fn micro_batches_split_the_same_samples() {
    let parts = || vec![(12, vec![(0, "new", 700), (1, "old", 300)])];
    let dir = contents();
    let mut all: Vec<Vec<Row>> = Vec::new();
    for micro in [1, 2, 4, 8] {
        let mut config = configured(&dir, 0, &Phase { time: 11, sequences: 8, parts: parts() });
        config.batch.micro = micro;
        config.run_dir = dir.path().join(format!("micro-{micro}"));
        let (mut session, mut rows) = (Session::start(config).unwrap(), Vec::new());
        steps(&mut session, 12, &mut rows);
        all.push(rows);
    }
    assert!(all.iter().all(|rows| *rows == all[0]) && all[0].len() == 96);
}
