//! attention_fwd.cu, attention_bwd.cu and attention_decode.cu against naive loops.
mod case;
mod naive;

use crate::rig::{check_traffic, count, deterministic, mutations, once};
use case::Case;
use rewarm::device::{Capability, Counters, Mode};
use rewarm::ops::Shape;
use rewarm::ops::attention as cut;
use rewarm::ops::cost::{self, Cost};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Every instance: of each head size that of the smallest GPU, and where larger ones have another, that on one of them.
fn instances() -> impl Iterator<Item = (usize, Capability)> {
    cut::SIZES.into_iter().map(|size| (size, Capability::Sm86)).chain(WIDE)
}

const WIDE: [(usize, Capability); 2] = [(128, Capability::Sm80), (256, Capability::Sm90)];

/// A query sees itself, so no row of a sequence is without keys. What looks like one are the queries behind the end
/// in the last tile (a single token has 63 or more of them), whose results must go nowhere, and, with documents,
/// queries that see nothing of the first tiles that their block visits.
#[test]
fn every_head_size_and_awkward_lengths() {
    for (size, on) in instances() {
        for (batch, time, heads) in [(1, 1, 1), (2, 37, 2), (1, 129, 1), (1, 161, 1)] {
            Case::new(batch, time, heads, size).on(on).check();
        }
    }
}

#[test]
fn large_scores_documents_constant_rows_and_other_rotations() {
    for (size, on) in instances() {
        Case::new(1, 150, 2, size).on(on).large_scores().check();
        Case::new(2, 200, 1, size).on(on).documents(&[1, 2, 70, 135]).check();
        Case::new(1, 1, 1, size).on(on).documents(&[]).check();
    }
    let mut case = Case::new(1, 70, 1, 64);
    case.qkv.fill(3.0);
    case.check();
    for rotary in [0, 64] {
        let mut case = Case::new(1, 70, 2, 64);
        case.heads.rotary = rotary;
        case.check();
    }
}

/// Several shares; documents that leave some of them without keys.
#[test]
fn documents_in_several_shares() {
    assert_eq!(cut::shares(1100), 3);
    let case = |size| Case::new(1, 1100, 1, size).documents(&[300, 400, 900]);
    for size in cut::SIZES {
        case(size).check();
    }
    // All schedules and both timings.
    let modes = Mode::all();
    for (size, on) in WIDE {
        case(size).on(on).check_in(&[0, 3, 4].map(|i: usize| modes[i].clone()));
    }
}

/// Several shares and a last tile of one token: five shares where they are quick, three where the same template has more
/// to compute, as tiles go to shares in turn and each has several. A test per size, for more than one core.
macro_rules! many_tiles {
    ($($name:ident: $size:literal at $time:literal),*) => {
        $(#[test]
        fn $name() {
            Case::new(1, $time, 1, $size).check();
        })*
    };
}
many_tiles!(
    many_tiles_of_32: 32 at 2049,
    many_tiles_of_64: 64 at 1025,
    many_tiles_of_80: 80 at 1025,
    many_tiles_of_96: 96 at 1025,
    many_tiles_of_128: 128 at 1025,
    many_tiles_of_256: 256 at 1025
);

#[test]
fn decode_against_a_cache() {
    for size in cut::SIZES {
        for time in [1, 2, 77, 300] {
            Case::new(1, time, 3, size).check_decode();
        }
        Case::new(1, 130, 2, size).large_scores().check_decode();
        let case = Case::new(1, 512, 4, size);
        let cost = cut::decode_cost(case.heads, case.s.time - 1);
        check_traffic(&count(|run| case.decode(run)), cost.bytes);
    }
}

/// Counters of the forward, and of the three kernels of the backward.
fn counters(case: &Case) -> [Counters; 2] {
    let of_forward = RefCell::default();
    let mut backward = count(|run| {
        of_forward.replace(case.both_counted(run)?);
        Ok(())
    });
    let forward: Counters = of_forward.take();
    backward.mma_flops -= forward.mma_flops;
    backward.bytes_read -= forward.bytes_read;
    backward.bytes_written -= forward.bytes_written;
    backward.sectors_read -= forward.sectors_read;
    backward.sectors_written -= forward.sectors_written;
    [forward, backward]
}

/// Traffic and products as `ops::attention` says, and those at most 10 % above the causal half of T² each: of 2,048
/// tokens, where `ops::attention` says what is counted here of 1,024.
#[test]
fn traffic_and_work_are_the_cost() {
    for (size, on) in instances() {
        let case = Case::new(1, 1024, 1, size).on(on);
        let costs = |s: Shape| -> [(Cost, Cost); 2] {
            let heads = case.heads;
            [
                (cut::forward_cost(s, heads, case.forward_cut()), cost::attention(s, heads, 2)),
                (cut::backward_cost(s, heads, case.backward_cut()), cost::attention_bwd(s, heads, 2)),
            ]
        };
        for (said, least) in costs(Shape { batch: 1, time: 2048 }) {
            assert!(said.flops <= 1.10 * least.flops, "{size} {on}");
        }
        for ((counters, (cost, least)), what) in counters(&case).iter().zip(costs(case.s)).zip(["fwd", "bwd"])
        {
            let flops = counters.mma_flops as f64;
            println!(
                "{}: {} bytes, FLOP {:.4} of the least",
                case.name(what),
                cost.bytes,
                flops / least.flops
            );
            assert_eq!(flops, cost.flops, "{}", case.name(what));
            check_traffic(counters, cost.bytes);
        }
    }
}

/// The pairs of a tile of queries and a tile of keys in which some query sees some key.
fn visible(case: &Case, queries: usize, keys: usize) -> BTreeSet<(usize, usize)> {
    let tiles = |row: usize| (case.start(row) / keys..=row / keys).map(move |tile| (row / queries, tile));
    (0..case.s.time).flat_map(tiles).collect()
}

/// No other pair of tiles is read or computed: of the forward, a block's are read, and a warp's computed. What is read
/// of the documents' positions themselves is within the 5 %.
#[test]
fn documents_skip_what_they_hide() {
    for (size, on) in instances() {
        let (t, row) = (1024, 2 * size);
        let case = Case::new(1, t, 1, size).on(on).documents(&[130, 384, 700]);
        let [forward, backward] = counters(&case);

        let cut = case.forward_cut();
        let of_warp = cut.queries / (cut.threads / 32);
        let pairs = visible(&case, of_warp, cut.keys).len();
        assert_eq!(forward.mma_flops as usize, 4 * size * pairs * of_warp * cut.keys, "forward {size} {on}");
        let read = visible(&case, cut.queries, cut.keys).len() * cut.keys;
        check_traffic(&forward, (2 * t * row + 4 * t + read * 2 * row) as f64);

        let cut = case.backward_cut();
        let pairs = visible(&case, cut.queries, cut.keys).len();
        assert_eq!(
            backward.mma_flops as usize,
            10 * size * pairs * cut.queries * cut.keys,
            "backward {size} {on}"
        );
        // Queries, dout and statistics of each pair are read, dq read and written: where a share writes it first,
        // the last kernel reads it instead.
        let walk = pairs * cut.queries * (2 * row + 8 + 8 * size) + 2 * t * row;
        let (stats, angles) = (2 * t * row + 4 * t + 8 * t, 2 * t * (4 + 4 * case.heads.rotary));
        check_traffic(&backward, (stats + walk + 3 * t * row + angles) as f64);
    }
}

/// A masked value is multiplied by 0, which leaves a NaN, so one may reach earlier queries of its tile. Nobody who sees
/// it may miss it; it may not leave its tile, nor its document where that ends with a tile; and as a key, whose scores
/// are replaced, it reaches in the forward only who sees it.
#[test]
fn nan_spreads_no_further_than_its_tile() {
    let (key, value) = (1, 2);
    let (time, second, at) = (480, 384, 380); // 384 is a multiple of all tiles, 320 of tiles of keys
    for (d, on) in instances() {
        let run = |nan: Option<(usize, usize)>| {
            let mut case = Case::new(1, time, 1, d).on(on).documents(&[second]);
            if let Some((row, part)) = nan {
                case.qkv[(row * 3 + part) * d] = f32::NAN;
            }
            let (outputs, _) = once(&Mode::default(), |run| case.both(run)).unwrap();
            [("out", 1), ("dqkv", 3)].map(|(name, parts)| {
                let rows = Case::rows(&outputs, name, parts * d);
                rows.chunks(parts * d).map(<[f32]>::to_vec).collect::<Vec<_>>()
            })
        };
        let [out, dqkv] = run(None);
        let reaches = |rows: &[Vec<f32>]| rows[at..second].iter().all(|row| row.iter().any(|x| x.is_nan()));

        let [with, gradient] = run(Some((at, value)));
        assert!(reaches(&with) && reaches(&gradient), "{d} {on}");
        assert!(with[..320] == out[..320] && with[second..] == out[second..], "{d} {on}");
        assert!(gradient[second..] == dqkv[second..], "{d} {on}");

        let [with, gradient] = run(Some((at, key)));
        assert!(reaches(&with) && reaches(&gradient), "{d} {on}");
        assert!(with[..at] == out[..at] && with[second..] == out[second..], "{d} {on}");
        assert!(gradient[second..] == dqkv[second..], "{d} {on}");

        let [with, gradient] = run(Some((second, value)));
        assert!(with[..second] == out[..second] && gradient[..second] == dqkv[..second], "{d} {on}");
    }
}

/// The other tests run in six of the 36 settings.
#[test]
fn equal_bits_whatever_runs_first() {
    for (size, on) in instances() {
        let case = Case::new(1, 140, 1, size).on(on);
        deterministic(|run| case.both(run));
    }
}

#[test]
fn wide_tiles_are_picked_where_there_is_room() {
    for (size, on) in WIDE {
        let case = Case::new(1, 140, 1, size).on(on);
        assert_eq!(
            [case.forward_cut().suffix, case.backward_cut().suffix],
            [if size == 256 { "_wide" } else { "" }, "_wide"]
        );
    }
}

#[test]
fn every_synchronisation_is_needed() {
    for (size, on) in instances() {
        let case = || Case::new(1, 200, 1, size).on(on);
        let documents = case().documents(&[70, 135]);
        mutations(&format!("attention {size} {on} documents"), &[], |run| documents.both(run));
        // The calls of the wide instances are the same ones, with other tiles.
        if !WIDE.contains(&(size, on)) {
            mutations(&format!("attention {size}"), &[], |run| case().both(run));
        }
    }
    for size in cut::SIZES {
        mutations(&format!("attention_decode {size}"), &[], |run| Case::new(1, 20, 1, size).decode(run));
    }
}
