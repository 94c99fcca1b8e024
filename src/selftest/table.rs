//! The shapes: every instance of every kernel, one row and one that fills no tile.
use super::cases::Case;
use super::cases::adamw_bf16::AdamWBf16;
use super::cases::attention::{Attention, AttentionBackward, Decode};
use super::cases::direct::{Cast, Draw, Philox, ResidualAdd, RotaryBackward};
use super::cases::gelu::{Up, UpBackward};
use super::cases::linear::{Linear, Product};
use super::cases::loss::Loss;
use super::cases::norm::{Norms, NormsBackward};
use super::cases::rotary::Rotary;
use super::cases::tokens::{Embedding, EmbeddingBackward};
use super::cases::update::AdamW;
use crate::ops::attention::{SIZES, backward, forward};
use crate::ops::{Gelu, Heads, Shape};

/// Every row of the book of cases, in the order of the table.
pub fn cases() -> Vec<Box<dyn Case>> {
    let model = [norms(), products(), gelus(), rotations(), attentions(), losses(), embeddings()];
    model.into_iter().chain([updates(), others()]).flatten().collect()
}

type Cases = Vec<Box<dyn Case>>;

fn norms() -> Cases {
    let mut all: Cases = Vec::new();
    for (rows, cols) in [(3, 512), (65, 768), (37, 2048), (9, 4104), (66, 5120), (1, 520)] {
        for norms in [1, 2] {
            let case = Norms { rows, cols, norms, seed: 1 };
            all.extend([Box::new(case) as Box<dyn Case>, Box::new(NormsBackward(case))]);
        }
    }
    all
}

fn products() -> Cases {
    use Product::*;
    let mut all: Cases = Vec::new();
    let alone = [Plain, Bias, Residual, Input, Weight, Accumulate].map(|product| (product, false));
    for (product, sums_bias) in alone.into_iter().chain([Weight, Accumulate].map(|product| (product, true))) {
        for (rows, inputs, outputs) in [(1, 64, 192), (77, 328, 128), (130, 512, 1536), (2048, 512, 1536)] {
            all.push(Box::new(Linear { product, rows, inputs, outputs, sums_bias }));
        }
    }
    all
}

fn gelus() -> Cases {
    let mut all: Cases = Vec::new();
    for kind in [Gelu::Erf, Gelu::Tanh] {
        for (rows, cols) in [(1, 8), (9, 264), (130, 2048), (3, 20_480)] {
            let case = Up { kind, rows, cols };
            all.extend([Box::new(case) as Box<dyn Case>, Box::new(UpBackward(case))]);
        }
    }
    all
}

fn rotations() -> Cases {
    let sizes = SIZES.map(|size| (size, size / 4));
    let mut all: Cases = Vec::new();
    for (size, rotary) in sizes.into_iter().chain([(64, 6), (64, 64)]) {
        let heads = Heads { count: 2, size, rotary };
        for (batch, time, first) in [(2, 37, 0), (1, 1, 5)] {
            let case = Rotary { s: Shape { batch, time }, heads, first };
            all.extend([Box::new(case) as Box<dyn Case>, Box::new(RotaryBackward(case))]);
        }
    }
    all
}

fn attentions() -> Cases {
    let mut all: Cases = Vec::new();
    for size in SIZES {
        for (batch, time, count) in [(1, 1, 2), (2, 37, 2), (1, 161, 1), (1, 601, 1), (1, 2048, 1)] {
            let heads = Heads { count, size, rotary: size / 4 };
            let documents: &[usize] = &[];
            let case = Attention { s: Shape { batch, time }, heads, documents, wide: false };
            all.extend([Box::new(case) as Box<dyn Case>, Box::new(AttentionBackward(case))]);
            let wide = Attention { wide: true, ..case };
            if forward(size, usize::MAX) != forward(size, 0) {
                all.push(Box::new(wide));
            }
            if backward(size, usize::MAX) != backward(size, 0) {
                all.push(Box::new(AttentionBackward(wide)));
            }
            if batch == 1 && !case.large() {
                all.push(Box::new(Decode(case)));
            }
        }
        // One token, one that ends in a tile, one in which several end, and one that is longer than any.
        let (documents, heads): (&[usize], _) =
            (&[1, 31, 40, 1, 140], Heads { count: 1, size, rotary: size / 4 });
        let case = Attention { s: Shape { batch: 1, time: 213 }, heads, documents, wide: false };
        all.extend([Box::new(case) as Box<dyn Case>, Box::new(AttentionBackward(case))]);
    }
    all
}

fn losses() -> Cases {
    // Pythia's vocabulary; one that is no round number; one too long for the shared memory of any GPU.
    let sizes = [(1, 8), (3, 50_304), (9, 50_296), (2, 131_072)];
    let mut all: Cases = Vec::new();
    for (rows, vocab) in sizes {
        for (gradient, masked) in [(true, false), (true, true), (false, true)] {
            all.push(Box::new(Loss { rows, vocab, gradient, masked }));
        }
    }
    all
}

fn embeddings() -> Cases {
    let mut all: Cases = Vec::new();
    for (rows, vocab, cols) in [(1, 8, 8), (300, 56, 264), (65, 50_304, 32), (1100, 40, 520)] {
        let of = Embedding { rows, vocab, cols };
        all.push(Box::new(of));
        all.extend(
            [false, true].map(|accumulate| Box::new(EmbeddingBackward { of, accumulate }) as Box<dyn Case>),
        );
    }
    all
}

fn updates() -> Cases {
    let rows = [(0, false), (7, false), (20_000, false), (7, true)];
    rows.into_iter().map(|(applied, bad)| Box::new(AdamW { applied, bad }) as Box<dyn Case>).collect()
}

/// Kernels that no operation of the vocabulary launches here.
fn others() -> Cases {
    let mut all: Cases = [0, 7].map(|applied| Box::new(AdamWBf16 { applied }) as Box<dyn Case>).into();
    for n in [1, 4097, 50_291] {
        all.push(Box::new(Cast(n)));
        for draw in [Draw::Bits, Draw::Uniform, Draw::Normal] {
            all.push(Box::new(Philox { draw, n }));
        }
    }
    for (rows, cols) in [(1, 8), (129, 264), (3, 5120)] {
        for biases in [0, 1, 2] {
            all.push(Box::new(ResidualAdd { rows, cols, biases }));
        }
    }
    all
}
