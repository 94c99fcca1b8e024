//! Seven models computed by PyTorch and transformers (`tools/golden.py`): logits, loss and every gradient, read
//! through the product's own importer.
use crate::reference::measure::{distance, length, max_difference};
use crate::reference::model::{Net, Params, params_of};
use crate::run::{Batch, Outputs, cpu_outputs};
use rewarm::checkpoint::HfModel;
use rewarm::model::Model;
use rewarm::ops::{HostState, Shape};
use safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;

/// On logits and loss (nats) absolutely, on gradients relative to the norm of the tensor.
const TOLERANCE: f64 = 1e-4;
/// A gradient below this share of the norm of all gradients is compared with that share of it.
const TINY: f64 = 1e-3;

pub const CASES: [&str; 7] = [
    "pythia_f16",
    "sequential_tied",
    "hd64_nobias_tanh",
    "hd80_f16",
    "hd128_bf16_tied",
    "sharded",
    "deep_eps",
];

/// `tests/golden/<name>`.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A model and its weights as a flat buffer.
pub fn import(name: &str) -> (Model, Vec<f32>) {
    let hf = HfModel::open(&folder(name)).unwrap();
    let model = Model::new(hf.config.clone());
    let mut values = HostState::of_weights(vec![0.0; model.table.total]);
    hf.load_weights(&model.table, &mut values).unwrap();
    (model, values.w)
}

/// The tensors of a golden.safetensors.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(name: &str) -> Self {
        Self(std::fs::read(folder(name).join("golden.safetensors")).unwrap())
    }

    fn words<T>(&self, name: &str, dtype: Dtype, from: fn([u8; 4]) -> T) -> (Vec<T>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), dtype, "{name}");
        (tensor.data().as_chunks().0.iter().map(|&b| from(b)).collect(), tensor.shape().to_vec())
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.words(name, Dtype::F32, f32::from_le_bytes).0
    }

    pub fn i32(&self, name: &str) -> (Vec<i32>, Vec<usize>) {
        self.words(name, Dtype::I32, i32::from_le_bytes)
    }

    /// All tensors under a prefix, which their names lose.
    pub fn all(&self, prefix: &str) -> Params<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let names = file.names().into_iter().filter_map(|n| n.strip_prefix(prefix));
        names.map(|n| (n.to_string(), self.f32(&format!("{prefix}{n}")))).collect()
    }

    /// The file's own account of how it was made.
    pub fn info(&self) -> serde_json::Value {
        let (_, metadata) = SafeTensors::read_metadata(&self.0).unwrap();
        serde_json::from_str(&metadata.metadata().as_ref().unwrap()["info"]).unwrap()
    }
}

/// One case.
pub struct Golden {
    pub model: Model,
    pub weights: Vec<f32>,
    pub batch: Batch,
    pub exact: Outputs,
}

pub fn golden(name: &str) -> Golden {
    let (model, weights) = import(name);
    let file = Tensors::open(name);
    let (tokens, shape) = file.i32("tokens");
    let batch =
        Batch { shape: Shape { batch: shape[0], time: shape[1] }, tokens, targets: file.i32("targets").0 };
    // The file has the mean loss only.
    let losses = vec![file.f32("loss")[0]; batch.shape.rows()];
    let exact = Outputs { logits: file.f32("logits"), losses, gradients: file.all("grad.") };
    Golden { model, weights, batch, exact }
}

/// How far two computations of one batch are apart.
#[derive(Debug)]
pub struct Differences {
    /// Largest of an element.
    pub logits: f64,
    /// Of the mean.
    pub loss: f64,
    /// Largest ‖Δ‖/‖g‖ of a tensor.
    pub gradient: f64,
    /// Which tensor that is.
    pub worst: String,
}

impl Differences {
    pub fn between(x: &Outputs, exact: &Outputs, batch: &Batch) -> Self {
        assert!(x.gradients.keys().eq(exact.gradients.keys()));
        let all = exact.gradients.values().map(|g| length(g).powi(2)).sum::<f64>().sqrt();
        let relative = |(name, g): (&String, &Vec<f32>)| {
            (distance(&x.gradients[name], g) / length(g).max(TINY * all), name.clone())
        };
        let gradients = exact.gradients.iter().map(relative);
        let larger = |a: (f64, String), b: (f64, String)| if b.0 > a.0 || b.0.is_nan() { b } else { a };
        let (gradient, worst) = gradients.fold((0.0, String::new()), larger);
        Self {
            logits: max_difference(&x.logits, &exact.logits),
            loss: (x.loss(batch) - exact.loss(batch)).abs(),
            gradient,
            worst,
        }
    }

    /// Whether the two are the same model. A NaN is never within.
    pub fn agree(&self) -> bool {
        self.logits <= TOLERANCE && self.loss <= TOLERANCE && self.gradient <= TOLERANCE
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { logits, loss, gradient, worst } = self;
        write!(f, "logits {logits:.1e}  loss {loss:.1e}  gradient {gradient:.1e} ({worst})")
    }
}

#[test]
fn cpu_agrees_with_pytorch() {
    for name in CASES {
        let g = golden(name);
        let found = Differences::between(&cpu_outputs(&g.model, &g.weights, &g.batch), &g.exact, &g.batch);
        println!("{name:18} {found}");
        assert!(found.agree(), "{name}: {found}");
    }
}

#[test]
fn the_reference_agrees_with_pytorch() {
    for name in CASES {
        let g = golden(name);
        let (tokens, targets, time) = (&g.batch.tokens, &g.batch.targets, g.batch.shape.time);
        let net = Net::<f64>::new(&g.model.config, &params_of(&g.model.table, &g.weights));
        let forward = net.forward(tokens, time);
        let gradient = net.gradient(&forward, tokens, targets, time);
        let round = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let gradients = gradient.params.iter().map(|(n, g)| (n.clone(), round(g))).collect();
        let outputs = Outputs { logits: round(&forward.logits), losses: round(&gradient.losses), gradients };
        let found = Differences::between(&outputs, &g.exact, &g.batch);
        println!("{name:18} {found}");
        assert!(found.agree(), "{name}: {found}");
    }
}

/// The key bias moves all scores of a query alike where keys do not rotate, so softmax cancels its gradient; the
/// relative comparison of the whole tensor would not see noise there.
#[test]
fn the_gradient_of_the_key_bias_is_zero_where_keys_do_not_rotate() {
    for name in CASES {
        let g = golden(name);
        let heads = g.model.heads;
        let found = cpu_outputs(&g.model, &g.weights, &g.batch);
        for (tensor, exact) in g.exact.gradients.iter().filter(|(n, _)| n.ends_with("query_key_value.bias")) {
            for head in 0..heads.count {
                let k = (3 * head + 1) * heads.size;
                let still = &found.gradients[tensor][k + heads.rotary..k + heads.size];
                assert!(length(still) <= TOLERANCE * length(exact), "{name} {tensor}: {}", length(still));
            }
        }
    }
}
