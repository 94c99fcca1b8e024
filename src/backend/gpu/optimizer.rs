//! The end of a step: norm, clipping and AdamW without the host, whose view of it arrives behind it.
use super::held::{Losses, RING};
use super::layout::NORM_ELEMENTS;
use super::{Gpu, int, long};
use crate::device::{AdamTables, AdamTile, Arg, StepRecord, adam_tables};
use crate::ops::{AdamParam, AdamSettings, Outcome, Stat, Update};
use crate::{Error, Result};
use bytemuck::Zeroable;
use std::mem::offset_of;

impl Gpu {
    pub(super) fn download_losses(&mut self, loss: Stat, rows: usize) -> Result<()> {
        let bytes = 4 * rows * loss.cols;
        let (slot, micro) = (&mut self.steps.ring[self.steps.current], self.steps.micro);
        if slot.losses.get(micro).is_none_or(|l| l.capacity < bytes) {
            let losses = Losses { pinned: self.device.pinned(bytes)?, capacity: bytes, bytes };
            slot.losses.truncate(micro);
            slot.losses.push(losses);
        }
        let losses = &mut slot.losses[micro];
        losses.bytes = bytes;
        self.steps.micro += 1;
        self.device.download(self.compute, self.layout.stats.part(4 * loss.offset, bytes), losses.pinned, 0)
    }

    pub(super) fn end_step(&mut self, params: &[AdamParam], update: Update) -> Result<()> {
        if self.steps.tiles.is_none() {
            let AdamTables { segments, tiles, trained } =
                adam_tables(params, |p| self.layout.masters.of(p.offset))?;
            let [segment_span, tile_span] = self.layout.adam;
            self.write(segment_span, &segments)?;
            self.write(tile_span, &tiles)?;
            self.steps.tiles = Some([trained, tiles.len() - trained]);
        }
        let (slot, record) = (&self.steps.ring[self.steps.current], self.layout.record);
        let (pinned, done) = (slot.record, slot.done);
        let Update { adam, lr: rate, decay_scale, seed, step } = update;
        let AdamSettings { betas, eps, clip } = adam;
        let host = StepRecord { rate, betas, eps, clip, decay_scale, seed, step, ..StepRecord::zeroed() };
        // What comes behind belongs to the device.
        let written = offset_of!(StepRecord, norm);
        self.device.host(pinned)[..written].copy_from_slice(&bytemuck::bytes_of(&host)[..written]);
        self.device.upload(self.compute, pinned, 0, record.part(0, written))?;
        self.update_graph()?;
        self.device.download(self.compute, record, pinned, size_of::<StepRecord>())?;
        self.device.record(done, self.compute)?;
        let micro = std::mem::take(&mut self.steps.micro);
        self.steps.in_flight.push_back((self.steps.current, micro));
        self.steps.current = (self.steps.current + 1) % RING;
        Ok(())
    }

    /// The kernels of the update, captured once.
    fn update_graph(&mut self) -> Result<()> {
        if !self.capturing || self.clock.profiling {
            self.update_kernels();
            return self.checked();
        }
        if let Some(graph) = self.steps.graph {
            return self.device.replay(self.compute, graph);
        }
        self.rehearse(Self::update_kernels);
        self.device.begin_capture(self.compute)?;
        self.update_kernels();
        let graph = self.device.end_capture(self.compute)?;
        self.checked()?;
        self.steps.graph = Some(graph);
        self.device.replay(self.compute, graph)
    }

    fn update_kernels(&mut self) {
        let total = self.total;
        let blocks = total.div_ceil(NORM_ELEMENTS);
        let [partial, sums] = self.layout.norm.map(|n| self.span(n));
        let record = self.span(self.layout.record);
        let [trained, frozen] = self.steps.tiles.expect("uploaded before");
        let [segments, tiles] = self.layout.adam;
        if frozen > 0 {
            let behind = Arg::address(self.at(tiles, size_of::<AdamTile>(), trained));
            let args = vec![behind, self.span(segments), self.gradient(0)];
            self.launch("clear_gradients", [frozen, 1, 1], 256, 0, args);
        }
        let args = vec![self.gradient(0), long(total), partial.clone()];
        self.launch("global_norm_partial", [blocks, 1, 1], 256, 512, args);
        self.launch("global_norm_final", [1, 1, 1], 1024, 512, vec![partial, int(blocks), sums.clone()]);
        self.launch("adamw_step", [1, 1, 1], 32, 0, vec![sums, record.clone()]);
        let mut args = vec![self.span(tiles), self.span(segments)];
        let (w32, w16) = (self.layout.w32, self.layout.w16);
        args.extend([w32, w16, self.layout.m, self.layout.v, self.layout.g].map(|s| self.span(s)));
        args.push(record.clone());
        let f32_state = self.layout.precision.has_f32_state();
        let kernel = if f32_state { "adamw_f32" } else { "adamw_bf16" };
        self.launch(kernel, [trained, 1, 1], 256, 0, args);
        if let Some((ema, share)) = self.ema {
            let args = vec![self.span(w32), self.span(ema), share.into(), long(total), record];
            self.launch("ema", [total.div_ceil(4096), 1, 1], 256, 0, args);
        }
        self.sum_biases();
    }

    /// After every change of the weights.
    pub(super) fn sum_biases(&mut self) {
        let pairs = &self.layout.bias_pairs;
        let Some(cols) = pairs.first().map(|p| p[0].len) else { return };
        let grid = [cols.div_ceil(1024), pairs.len(), 1];
        let (table, sums) = (self.span(self.layout.bias_table), self.span(self.layout.bias_sums));
        self.launch("bias_sum", grid, 256, 0, vec![self.span(self.layout.w32), table, sums, int(cols)]);
    }

    pub(super) fn begin_ema(&mut self, decay: f64) -> Result<()> {
        let span = self.layout.ema;
        let span = span.ok_or_else(|| Error::failed("no memory was laid out for a moving average"))?;
        self.ema = Some((span, (1.0 - decay) as f32));
        self.copy_weights_to_average()?;
        // Of updates without it.
        self.steps.graph = None;
        Ok(())
    }

    pub(super) fn wait_for_step(&mut self) -> Result<Outcome> {
        self.checked()?;
        let issued = self.steps.in_flight.pop_front();
        let (slot, micro) = issued.ok_or_else(|| Error::failed("no step was issued"))?;
        let slot = &self.steps.ring[slot];
        self.device.synchronize(slot.done)?;
        let mut losses = Vec::new();
        for step in &slot.losses[..micro] {
            let host = &self.device.host(step.pinned)[..step.bytes];
            losses.extend(host.chunks_exact(4).map(bytemuck::pod_read_unaligned::<f32>));
        }
        let host = &self.device.host(slot.record)[size_of::<StepRecord>()..];
        let record: StepRecord = bytemuck::pod_read_unaligned(host);
        Ok(Outcome { losses, norm: record.norm, norm_l1: record.abs_sum, applied: record.skip == 0 })
    }

    pub(super) fn write_applied(&mut self, applied: u64) -> Result<()> {
        let span = self.layout.record.part(offset_of!(StepRecord, applied), size_of::<u64>());
        self.write(span, &[applied])
    }
}
