//! The model on top of the operations: logits, loss and gradient, in the order of the paper's formulas.
use super::attention::{Dims, attention, attention_bwd, rotary};
use super::ops::*;
use super::{Float, cast};
use crate::model::{ModelConfig, ParamTable};
use std::collections::BTreeMap;

/// Tensors by Hugging Face's names, contiguous.
pub type Params<T> = BTreeMap<String, Vec<T>>;

/// The tensors of a flat buffer by name.
pub fn params_of(table: &ParamTable, flat: &[f32]) -> Params<f32> {
    table.params.iter().map(|p| (p.name.clone(), p.gather(flat))).collect()
}

/// A model with its weights.
pub struct Net<T> {
    /// Sizes and constants of the model.
    pub config: ModelConfig,
    /// Weights by Hugging Face's names.
    pub params: Params<T>,
}

/// What a block keeps for its backward.
struct Kept<T> {
    /// Its input, and what the second norm reads: the same, or the stream after attention.
    streams: [Vec<T>; 2],
    norms: [Normed<T>; 2],
    qkv: Vec<T>,
    attn: Vec<T>,
    lse: Vec<T>,
    /// Input of GELU, and its output.
    up: Vec<T>,
    gelu: Vec<T>,
}

/// Output of a norm and the moments of its input.
struct Normed<T> {
    y: Vec<T>,
    moments: Vec<T>,
}

/// What a forward pass leaves behind.
pub struct Forward<T> {
    blocks: Vec<Kept<T>>,
    last_x: Vec<T>,
    last: Normed<T>,
    /// Logits, `[R, V]`.
    pub logits: Vec<T>,
}

impl<T> Forward<T> {
    /// The residual stream where it goes into every block, and into the final norm, `[R, C]` each.
    pub fn streams(&self) -> Vec<&[T]> {
        self.blocks.iter().map(|block| &block.streams[0]).chain([&self.last_x]).map(Vec::as_slice).collect()
    }
}

/// Loss per row and the gradient of the summed loss times the scale given.
pub struct Gradient<T> {
    /// `[R]`, 0 where the target is negative.
    pub losses: Vec<T>,
    /// Gradients of the weights by Hugging Face's names.
    pub params: Params<T>,
}

impl<T: Float> Net<T> {
    /// Rounds the weights to the precision of the model.
    pub fn new<A: Float>(config: &ModelConfig, params: &Params<A>) -> Self {
        let params = params.iter().map(|(name, x)| (name.clone(), cast(x))).collect();
        Self { config: config.clone(), params }
    }

    fn get(&self, name: &str) -> &[T] {
        &self.params[name]
    }

    fn head_name(&self) -> &'static str {
        if self.config.tie_word_embeddings { "gpt_neox.embed_in.weight" } else { "embed_out.weight" }
    }

    fn dims(&self, rows: usize, time: usize) -> Dims {
        let c = &self.config;
        let size = c.hidden_size / c.num_attention_heads;
        let rotary = (size as f64 * c.rotary_pct).floor() as usize;
        Dims { batch: rows / time, time, heads: c.num_attention_heads, size, rotary, base: c.rotary_emb_base }
    }

    fn norm(&self, name: &str, x: &[T]) -> Normed<T> {
        let moments = moments(x, self.config.hidden_size, self.config.layer_norm_eps);
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        Normed { y: layernorm(x, &moments, weight, bias), moments }
    }

    fn linear(&self, name: &str, x: &[T]) -> Vec<T> {
        let weight = self.get(&format!("{name}.weight"));
        let bias = self.params.get(&format!("{name}.bias")).map(Vec::as_slice);
        let inputs =
            if name.ends_with("4h_to_h") { self.config.intermediate_size } else { self.config.hidden_size };
        linear(x, weight, bias, inputs)
    }

    fn block(&self, index: usize, x: Vec<T>, d: Dims) -> (Kept<T>, Vec<T>) {
        let p = format!("gpt_neox.layers.{index}");
        let norm_attn = self.norm(&format!("{p}.input_layernorm"), &x);
        let mut qkv = self.linear(&format!("{p}.attention.query_key_value"), &norm_attn.y);
        rotary(d, &mut qkv, 0, 1.0);
        let (attn, lse) = attention(d, &qkv, 0);
        let mut mid = x.clone();
        add(&mut mid, &self.linear(&format!("{p}.attention.dense"), &attn));
        let second = if self.config.use_parallel_residual { x.clone() } else { mid.clone() };
        let norm_mlp = self.norm(&format!("{p}.post_attention_layernorm"), &second);
        let up = self.linear(&format!("{p}.mlp.dense_h_to_4h"), &norm_mlp.y);
        let gelu: Vec<T> = up.iter().map(|&x| gelu(x, self.config.gelu).0).collect();
        let mut next = mid;
        add(&mut next, &self.linear(&format!("{p}.mlp.dense_4h_to_h"), &gelu));
        (Kept { streams: [x, second], norms: [norm_attn, norm_mlp], qkv, attn, lse, up, gelu }, next)
    }

    /// Logits of whole sequences of `time` tokens.
    pub fn forward(&self, tokens: &[i32], time: usize) -> Forward<T> {
        let d = self.dims(tokens.len(), time);
        let mut x = embedding(tokens, self.get("gpt_neox.embed_in.weight"), self.config.hidden_size);
        let mut blocks = Vec::new();
        for index in 0..self.config.num_hidden_layers {
            let (kept, next) = self.block(index, x, d);
            blocks.push(kept);
            x = next;
        }
        let last = self.norm("gpt_neox.final_layer_norm", &x);
        let logits = linear(&last.y, self.get(self.head_name()), None, self.config.hidden_size);
        Forward { blocks, last_x: x, last, logits }
    }

    /// Mean loss over the targets that count.
    pub fn loss(&self, tokens: &[i32], targets: &[i32], time: usize) -> T {
        let logits = self.forward(tokens, time).logits;
        let (losses, _) = cross_entropy(&logits, self.config.vocab_size, targets, 1.0);
        let counted = targets.iter().filter(|t| **t >= 0).count();
        losses.into_iter().sum::<T>() / T::of(counted as f64)
    }

    /// Losses and gradient of [`Net::loss`] after `f`.
    pub fn gradient(&self, f: &Forward<T>, tokens: &[i32], targets: &[i32], time: usize) -> Gradient<T> {
        let (vocab, cols) = (self.config.vocab_size, self.config.hidden_size);
        let scale = 1.0 / targets.iter().filter(|t| **t >= 0).count() as f64;
        let (losses, dlogits) = cross_entropy(&f.logits, vocab, targets, scale);
        let mut g = Grads { net: self, params: Params::new() };
        let dlast = linear_bwd_input(&dlogits, self.get(self.head_name()), cols);
        g.add(self.head_name(), linear_bwd_weight(&dlogits, &f.last.y, vocab, cols));
        let mut dx = g.norm("gpt_neox.final_layer_norm", &f.last_x, &f.last.moments, &dlast);
        for (index, kept) in f.blocks.iter().enumerate().rev() {
            dx = g.block(index, kept, dx, self.dims(tokens.len(), time));
        }
        g.add("gpt_neox.embed_in.weight", embedding_bwd(tokens, &dx, vocab, cols));
        Gradient { losses, params: g.params }
    }
}

/// Collects the gradients of a backward pass.
struct Grads<'a, T> {
    net: &'a Net<T>,
    params: Params<T>,
}

impl<T: Float> Grads<'_, T> {
    fn add(&mut self, name: &str, gradient: Vec<T>) {
        match self.params.get_mut(name) {
            Some(sum) => add(sum, &gradient),
            None => _ = self.params.insert(name.into(), gradient),
        }
    }

    /// Returns the gradient of the input.
    fn norm(&mut self, name: &str, x: &[T], moments: &[T], dy: &[T]) -> Vec<T> {
        let [dx, dweight, dbias] = layernorm_bwd(x, moments, self.net.get(&format!("{name}.weight")), dy);
        self.add(&format!("{name}.weight"), dweight);
        self.add(&format!("{name}.bias"), dbias);
        dx
    }

    /// Returns the gradient of the input.
    fn linear(&mut self, name: &str, x: &[T], dy: &[T], rows: usize) -> Vec<T> {
        let (outputs, inputs) = (dy.len() / rows, x.len() / rows);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.add(&weight, linear_bwd_weight(dy, x, outputs, inputs));
        if self.net.params.contains_key(&bias) {
            self.add(&bias, column_sums(dy, outputs));
        }
        linear_bwd_input(dy, self.net.get(&weight), inputs)
    }

    /// From the gradient of the block's output to that of its input.
    fn block(&mut self, index: usize, kept: &Kept<T>, dy: Vec<T>, d: Dims) -> Vec<T> {
        let (p, rows) = (format!("gpt_neox.layers.{index}"), d.batch * d.time);
        let mut dup = self.linear(&format!("{p}.mlp.dense_4h_to_h"), &kept.gelu, &dy, rows);
        dup.iter_mut().zip(&kept.up).for_each(|(d, &x)| *d *= gelu(x, self.net.config.gelu).1);
        let dnorm = self.linear(&format!("{p}.mlp.dense_h_to_4h"), &kept.norms[1].y, &dup, rows);
        let second = format!("{p}.post_attention_layernorm");
        let dsecond = self.norm(&second, &kept.streams[1], &kept.norms[1].moments, &dnorm);
        // The stream reaches the output past the block; sequentially, the second norm read it after attention.
        let mut dx = dy;
        let dmid = if self.net.config.use_parallel_residual {
            let dmid = dx.clone();
            add(&mut dx, &dsecond);
            dmid
        } else {
            add(&mut dx, &dsecond);
            dx.clone()
        };
        let dattn = self.linear(&format!("{p}.attention.dense"), &kept.attn, &dmid, rows);
        let mut dqkv = attention_bwd(d, &kept.qkv, &kept.attn, &kept.lse, &dattn);
        rotary(d, &mut dqkv, 0, -1.0);
        let dnorm = self.linear(&format!("{p}.attention.query_key_value"), &kept.norms[0].y, &dqkv, rows);
        let first = format!("{p}.input_layernorm");
        add(&mut dx, &self.norm(&first, &kept.streams[0], &kept.norms[0].moments, &dnorm));
        dx
    }
}
