//! The two ends of the model: embedding and cross-entropy; and what moves numbers without arithmetic.
use crate::reference::cast;
use crate::reference::measure::{Judge, draws};
use crate::reference::ops::{cross_entropy, embedding, embedding_bwd};
use crate::reference::random::Random;
use crate::rig::{Layout, Writes};
use rewarm::ops::{Backend, Shape};

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// B, T, V, C.
const EMBEDDINGS: [(usize, usize, usize, usize); 5] =
    [(1, 1, 1, 1), (3, 63, 101, 65), (2, 130, 7, 129), (1, 513, 101, 64), (1, 5, 50304, 80)];

#[test]
fn embedding_copies_rows_and_its_gradient_adds_them_in_order() {
    let mut random = Random::new(41);
    for (batch, time, vocab, cols) in EMBEDDINGS {
        let (shape, mut layout) = (Shape { batch, time }, Layout::default());
        let rows = shape.rows();
        let (x, w) = (layout.act(rows, cols), layout.matrix(vocab, cols, 0));
        let mut rig = layout.build(shape, 1, (1, 2, 2, 1e4));
        let weights: Vec<f32> = random.normals(vocab * cols, 0.0, 1.0);
        rig.set_weight(w, &weights);
        let mut tokens = random.tokens(rows, vocab);
        tokens[rows - 1] = vocab as i32 - 1;
        rig.cpu.set_batch(&tokens, &vec![-1; rows], 0.0);
        rig.run(Writes { acts: &[(x, rows)], ..Writes::default() }, |cpu| cpu.embedding(shape, w, x));
        assert_eq!(bits(&rig.get(x, rows)), bits(&embedding(&tokens, &weights, cols)));

        let (mut all_tokens, mut all_dx) = (Vec::new(), Vec::new());
        for accumulate in [false, true] {
            let dx: Vec<f32> = random.normals(rows * cols, 0.0, 1.0);
            rig.set(x, &dx);
            let writes = Writes { grads: &[w], ..Writes::default() };
            rig.run(writes, |cpu| cpu.embedding_bwd(shape, x, w, accumulate));
            all_tokens.extend(&tokens);
            all_dx.extend(&dx);
            // Only the order of additions makes these bits.
            let naive = embedding_bwd(&all_tokens, &all_dx, vocab, cols);
            assert_eq!(bits(&rig.gradient(w)), bits(&naive), "{batch} {time} {vocab} {cols}");
        }
    }
}

/// B, T, V, σ of the logits: 13 makes them reach ± 50.
const LOSSES: [(usize, usize, usize, f64); 8] = [
    (1, 1, 1, 1.0),
    (2, 2, 2, 1.0),
    (3, 63, 101, 1.0),
    (2, 130, 101, 13.0),
    (1, 513, 17, 13.0),
    (1, 65, 1009, 1.0),
    (1, 5, 50304, 1.0),
    (1, 5, 50304, 13.0),
];

#[test]
fn cross_entropy_and_its_gradient() {
    let (mut judge, mut random) = (Judge::default(), Random::new(42));
    let drawn = LOSSES.into_iter().flat_map(|case| std::iter::repeat_n(case, draws(case.0 * case.1)));
    for (batch, time, vocab, sigma) in drawn {
        // The chunk starts behind two rows that belong to another one.
        let (shape, first, mut layout) = (Shape { batch, time }, 2, Layout::default());
        let rows = shape.rows();
        let (logits, loss) = (layout.act(rows, vocab), layout.stat(rows + first, 1));
        let mut rig = layout.build(shape, 1, (1, 2, 2, 1e4));
        let values: Vec<f32> = random.normals(rows * vocab, 0.0, sigma);
        let mut targets = random.tokens(rows + first, vocab);
        targets.iter_mut().skip(first + 1).step_by(4).for_each(|t| *t = -1);
        let scale = (1.0f64 / 37.0) as f32;
        rig.cpu.set_batch(&vec![0; rows + first], &targets, scale);
        let targets = &targets[first..];
        let (naive_loss, naive_d) = cross_entropy::<f32>(&values, vocab, targets, scale.into());
        let (exact_loss, exact_d) = cross_entropy::<f64>(&cast(&values), vocab, targets, scale.into());
        let name = format!("{shape:?} {vocab} σ {sigma}");
        let at = loss.from_row(first);
        for gradient in [false, true] {
            rig.set(logits, &values);
            // Without a gradient the logits stay as they are.
            let acts = [(logits, rows)];
            let acts = if gradient { &acts[..] } else { &[] };
            let writes = Writes { acts, stats: &[(at, rows)], ..Writes::default() };
            rig.run(writes, |cpu| cpu.cross_entropy(shape, logits, first, at, gradient));
            let found = rig.cpu.read_stat(at, rows).unwrap();
            judge.check("loss", &name, &found, &naive_loss, &exact_loss, rows);
            let ignored = targets.iter().zip(&found).filter(|(t, _)| **t < 0);
            assert!(ignored.into_iter().all(|(_, loss)| *loss == 0.0));
        }
        // Where the target has nearly all of the probability, its gradient is what is left of 1 - 1.
        let found = rig.get(logits, rows);
        if sigma == 1.0 {
            judge.check("dlogits", &name, &found, &naive_d, &exact_d, vocab);
        } else {
            judge.check_pooled("dlogits, extreme", &name, &found, &[&naive_d], &exact_d, vocab);
        }
    }
    judge.close();
}

#[test]
fn zero_and_add_gradient() {
    let mut random = Random::new(43);
    for (rows, cols) in [(1, 1), (63, 7), (130, 515)] {
        let mut layout = Layout::default();
        let x = layout.view(rows, cols, 4, 3);
        let [to, from] = std::array::from_fn(|_| layout.matrix(rows, cols, 0));
        let mut rig = layout.build(Shape { batch: 1, time: rows }, 1, (1, 2, 2, 1e4));
        let shape = Shape { batch: 1, time: rows };
        rig.run(Writes { acts: &[(x, rows)], ..Writes::default() }, |cpu| cpu.zero(shape, x));
        assert!(rig.get(x, rows).iter().all(|x| x.to_bits() == 0));

        let len = rig.cpu.gradients().unwrap().len();
        let gradients: Vec<f32> = random.normals(len, 0.0, 1.0);
        rig.set_all_gradients(&gradients);
        let (a, b) = (rig.gradient(to), rig.gradient(from));
        rig.run(Writes { grads: &[to], ..Writes::default() }, |cpu| cpu.add_gradient(from, to));
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(bits(&rig.gradient(to)), bits(&sum));
    }
}
