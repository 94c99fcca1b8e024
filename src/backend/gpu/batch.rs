//! Batches: two of them on the device, filled in turn by copies that run beside the computation.
use super::held::Looks;
use super::layout::BatchSpans;
use super::{Gpu, int, long};
use crate::Result;
use crate::device::{Arg, EmbeddingPlan, Span};
use crate::ops::{Act, Inputs, Matrix, Shape, Stat};

/// Writes `values` where `part` lies in the pinned copy of the batch.
fn put<T: bytemuck::Pod>(host: &mut [u8], spans: &BatchSpans, part: Span, values: &[T]) {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    host[part.offset - spans.span.offset..][..bytes.len()].copy_from_slice(bytes);
}

impl Gpu {
    /// Copies a batch to the slot that the one before last used.
    pub(super) fn upload_batch(&mut self, inputs: Inputs) -> Result<()> {
        let Inputs { tokens, targets, scale, weights, documents } = inputs;
        let (compute, copies) = (self.compute, self.batches.copies);
        self.device.record(self.batches.slots[self.batches.current].consumed, compute)?;
        self.batches.current = 1 - self.batches.current;
        let slot = &self.batches.slots[self.batches.current];
        let spans = self.layout.batches[self.batches.current];
        // The copy of the batch before last has read the pinned memory.
        self.device.synchronize(slot.uploaded)?;
        let host = self.device.host(slot.pinned);
        put(host, &spans, spans.tokens, tokens);
        put(host, &spans, spans.targets, targets);
        let weighted = !weights.is_empty();
        let factors = weights.iter().map(|weight| scale * weight);
        let factors = if weighted { factors.collect() } else { vec![scale; targets.len()] };
        put(host, &spans, spans.weights, &factors);
        if documents.isolate {
            put(host, &spans, spans.documents, documents.starts);
        }
        if documents.reset {
            // One sequence may be shorter than those of the workspace.
            let position = |row| documents.position(row, row % self.time) as i32;
            put(host, &spans, spans.positions, &(0..tokens.len()).map(position).collect::<Vec<_>>());
        }
        self.batches.looks = Looks { weighted, isolate: documents.isolate, reset: documents.reset };
        if self.batches.train {
            let plan = EmbeddingPlan::new(tokens);
            put(host, &spans, spans.order, &plan.order);
            put(host, &spans, spans.segments, plan.segments.as_flattened());
        }
        // The batch before last is not read any more.
        self.device.wait(copies, slot.consumed)?;
        self.device.upload(copies, slot.pinned, 0, spans.span)?;
        self.device.record(slot.uploaded, copies)?;
        self.device.wait(compute, slot.uploaded)
    }

    pub(super) fn batch(&self) -> BatchSpans {
        self.layout.batches[self.batches.current]
    }

    pub(super) fn embed(&mut self, s: Shape, w: Matrix, x: Act) {
        assert_eq!(w.ld, w.cols, "a whole tensor");
        let table = Arg::address(self.at(self.layout.w16, 2, w.offset));
        let args =
            vec![table, self.span(self.batch().tokens), self.act(x), long(x.ld), int(s.rows()), int(x.cols)];
        self.launch("embedding_fwd", [s.rows().div_ceil(8), 1, 1], 256, 0, args);
    }

    pub(super) fn embed_backward(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool) {
        if !accumulate {
            self.fill(self.gradient_span(w), 0);
        }
        let (rows, long_max) = (s.rows(), EmbeddingPlan::long_max(s.rows()));
        let spans = self.batch();
        let mut args = vec![self.act(dx), long(dx.ld), self.span(spans.order), self.span(spans.segments)];
        args.extend([self.gradient(w.offset), int(long_max), int(rows), int(dx.cols)]);
        let grid = [long_max + rows.div_ceil(8), dx.cols.div_ceil(256), 1];
        self.launch("embedding_bwd", grid, 256, 8192, args);
    }

    pub(super) fn softmax_loss(
        &mut self,
        s: Shape,
        logits: Act,
        first_row: usize,
        loss: Stat,
        gradient: bool,
    ) {
        let (spans, vocab) = (self.batch(), logits.cols);
        let of_row = |part: Span| part.part(4 * first_row, 4 * s.rows());
        let (targets, weights) = (self.span(of_row(spans.targets)), self.span(of_row(spans.weights)));
        let mut args = vec![self.act(logits), long(logits.ld), targets];
        let grid = [s.rows(), 1, 1];
        if !gradient {
            let weights = if self.batches.looks.weighted { weights } else { Arg::address(0) };
            args.extend([weights, self.stat(loss), int(vocab)]);
            return self.launch("cross_entropy_fwd", grid, 512, 256, args);
        }
        // The scale of gradients is in the weights: it changes from batch to batch, and launches do not.
        args.extend([weights, self.stat(loss), 1f32.into(), int(vocab), int(vocab)]);
        let row_bytes = 256 + 2 * vocab;
        if row_bytes <= self.shared_bytes {
            self.launch("cross_entropy_fwd_bwd", grid, 512, row_bytes, args);
        } else {
            self.launch("cross_entropy_fwd_bwd_long", grid, 512, 256, args);
        }
    }
}
