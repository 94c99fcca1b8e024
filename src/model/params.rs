//! The one table of parameters: name, shape, leading dimension and offset of each tensor in the flat
//! buffers of weights, gradients and moments, which share this layout.
use super::{ModelConfig, Precision};
use crate::ops::{Matrix, Norm, Vector};

/// Tensors start at 64-element bounds (256 bytes of f32), so that every row access is aligned.
const ALIGN: usize = 64;

/// The parameters of one block.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// The norm in front of attention, `input_layernorm`.
    pub norm_attn: Norm,
    /// The norm in front of the MLP, `post_attention_layernorm`.
    pub norm_mlp: Norm,
    /// `[3C, C]`, rows interleaved per head: q, k, v of head 0, then of head 1, …
    pub qkv: Matrix,
    /// Bias of the joint product, `[3C]`, where attention has biases.
    pub qkv_bias: Option<Vector>,
    /// `[C, C+F]`: `dense` and `dense_4h_to_h` side by side, so that the parallel block's output is one GEMM.
    pub out: Matrix,
    /// The first `C` columns of `out`.
    pub dense: Matrix,
    /// Bias of attention's output, `[C]`, where attention has biases.
    pub dense_bias: Option<Vector>,
    /// First product of the MLP, `dense_h_to_4h`, `[F, C]`.
    pub up: Matrix,
    /// Bias of the first product, `[F]`.
    pub up_bias: Vector,
    /// The last `F` columns of `out`.
    pub down: Matrix,
    /// Bias of the second product, `[C]`.
    pub down_bias: Vector,
}

/// One named tensor, as checkpoints and optimizer groups see it.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name in Hugging Face's layout.
    pub name: String,
    /// `[rows, cols]` or `[len]`.
    pub shape: Vec<usize>,
    /// Where it lies; a vector is a matrix of one row.
    pub place: Matrix,
}

impl Param {
    /// Whether its weights are kept in f32, too, where weights are kept in bf16: norms and biases, which kernels read in
    /// f32 and which are few.
    pub fn has_master(&self) -> bool {
        self.shape.len() == 1
    }

    /// Copies the tensor out of a flat buffer into contiguous row-major order.
    pub fn gather(&self, flat: &[f32]) -> Vec<f32> {
        let stretches = self.place.stretches(0, self.place.elements());
        stretches.flat_map(|stretch| &flat[stretch]).copied().collect()
    }

    /// Copies contiguous row-major `values` into a flat buffer.
    pub fn scatter(&self, values: &[f32], flat: &mut [f32]) {
        assert_eq!(values.len(), self.place.elements(), "{}", self.name);
        self.place.scatter(0, values, flat);
    }
}

/// Every tensor of a model, in the order of Hugging Face's names, with typed handles for the model's code.
#[derive(Clone, Debug)]
pub struct ParamTable {
    /// All tensors in the order of the flat buffers.
    pub params: Vec<Param>,
    /// Elements of a flat buffer of weights or moments.
    pub total: usize,
    /// Elements of the flat gradient buffer: `total`, and for a tied model the output matrix's own gradient
    /// behind it. It is added to the embedding's at the end of a step, which keeps the order of additions
    /// independent of how the batch was split.
    pub grad_total: usize,
    /// The embedding, `embed_in`, `[V, C]`.
    pub embed: Matrix,
    /// One entry per block.
    pub layers: Vec<Layer>,
    /// The norm in front of the head, `final_layer_norm`.
    pub final_norm: Norm,
    /// `embed_out`, `[V, C]`; the embedding itself when tied.
    pub head: Matrix,
    /// Where the gradient of `head` is accumulated; beyond `total` when tied.
    pub head_grad: Matrix,
    /// Whether a moving average of the weights is kept beside them, in a buffer of the same layout.
    pub average: bool,
    /// What is kept in which format.
    pub precision: Precision,
    /// Whether gradients of biases are always summed by kernels of their own, never by a product on its way.
    pub separate_bias_gradients: bool,
}

/// Hands out offsets and records names.
struct Builder {
    params: Vec<Param>,
    next: usize,
}

impl Builder {
    fn place(&mut self, rows: usize, cols: usize) -> Matrix {
        let matrix = Matrix { offset: self.next, rows, cols, ld: cols };
        self.next = (self.next + rows * cols).next_multiple_of(ALIGN);
        matrix
    }

    fn name(&mut self, name: String, shape: Vec<usize>, place: Matrix) {
        self.params.push(Param { name, shape, place });
    }

    fn matrix(&mut self, name: String, rows: usize, cols: usize) -> Matrix {
        let place = self.place(rows, cols);
        self.name(name, vec![rows, cols], place);
        place
    }

    fn vector(&mut self, name: String, len: usize) -> Vector {
        let place = self.place(1, len);
        self.name(name, vec![len], place);
        Vector { offset: place.offset, len }
    }

    fn norm(&mut self, prefix: &str, len: usize) -> Norm {
        let weight = self.vector(format!("{prefix}.weight"), len);
        Norm { weight, bias: self.vector(format!("{prefix}.bias"), len) }
    }

    fn layer(&mut self, index: usize, config: &ModelConfig) -> Layer {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let p = format!("gpt_neox.layers.{index}");
        let norm_attn = self.norm(&format!("{p}.input_layernorm"), c);
        let norm_mlp = self.norm(&format!("{p}.post_attention_layernorm"), c);
        let qkv = self.matrix(format!("{p}.attention.query_key_value.weight"), 3 * c, c);
        let qkv_bias =
            config.attention_bias.then(|| self.vector(format!("{p}.attention.query_key_value.bias"), 3 * c));
        let out = self.place(c, c + f);
        let dense = Matrix { cols: c, ..out };
        let down = Matrix { offset: out.offset + c, cols: f, ..out };
        self.name(format!("{p}.attention.dense.weight"), vec![c, c], dense);
        let dense_bias = config.attention_bias.then(|| self.vector(format!("{p}.attention.dense.bias"), c));
        let up = self.matrix(format!("{p}.mlp.dense_h_to_4h.weight"), f, c);
        let up_bias = self.vector(format!("{p}.mlp.dense_h_to_4h.bias"), f);
        self.name(format!("{p}.mlp.dense_4h_to_h.weight"), vec![c, f], down);
        let down_bias = self.vector(format!("{p}.mlp.dense_4h_to_h.bias"), c);
        Layer { norm_attn, norm_mlp, qkv, qkv_bias, out, dense, dense_bias, up, up_bias, down, down_bias }
    }
}

impl ParamTable {
    /// Lays out every tensor of `config`, in f32.
    pub fn new(config: &ModelConfig) -> Self {
        let (v, c) = (config.vocab_size, config.hidden_size);
        let mut b = Builder { params: Vec::new(), next: 0 };
        let embed = b.matrix("gpt_neox.embed_in.weight".into(), v, c);
        let layers = (0..config.num_hidden_layers).map(|i| b.layer(i, config)).collect();
        let final_norm = b.norm("gpt_neox.final_layer_norm", c);
        let head = if config.tie_word_embeddings { embed } else { b.matrix("embed_out.weight".into(), v, c) };
        let total = b.next;
        let head_grad = if config.tie_word_embeddings { b.place(v, c) } else { head };
        let (params, grad_total) = (b.params, b.next);
        Self {
            params,
            total,
            grad_total,
            embed,
            layers,
            final_norm,
            head,
            head_grad,
            average: false,
            precision: Precision::F32,
            separate_bias_gradients: false,
        }
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    /// Every element belongs to at most one tensor, and the tensors cover exactly the parameters.
    #[test]
    fn tensors_do_not_overlap_and_cover_the_model() {
        let mut config = preset("pythia-14m").unwrap();
        config.vocab_size = 100;
        for tied in [false, true] {
            config.tie_word_embeddings = tied;
            let table = ParamTable::new(&config);
            let mut owner = vec![0u8; table.total];
            for param in &table.params {
                let ones = vec![1.0; param.place.rows * param.place.cols];
                let mut flat = vec![0.0; table.total];
                param.scatter(&ones, &mut flat);
                assert_eq!(param.gather(&flat), ones);
                assert_eq!(param.shape.iter().product::<usize>(), ones.len());
                owner.iter_mut().zip(&flat).for_each(|(o, &x)| *o += x as u8);
            }
            assert!(owner.iter().all(|&o| o <= 1));
            assert_eq!(owner.iter().map(|&o| o as u64).sum::<u64>(), config.parameters());
        }
    }
}
