//! What the host reads and writes outside of steps, piece by piece through pinned memory; each call waits.
use super::Gpu;
use super::held::{PIECE, Staging};
use crate::Result;
use crate::backend::cpu::rotary::Tables;
use crate::device::Span;
use crate::model::{ModelConfig, Workspace};
use bytemuck::Pod;

/// The span in pieces, each with its first byte in the span.
fn pieces(span: Span) -> impl Iterator<Item = (usize, Span)> {
    let part = move |at: usize| (at, span.part(at, PIECE.min(span.bytes - at)));
    (0..span.bytes).step_by(PIECE).map(part)
}

impl Gpu {
    /// Waits for everything: what computes waits for the copies.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.device.record(self.staging.done, self.compute)?;
        self.device.synchronize(self.staging.done)
    }

    /// Overwrites the span from its start.
    pub(super) fn write<T: Pod>(&mut self, span: Span, values: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let Staging { pinned, done } = self.staging;
        for (at, piece) in pieces(span.part(0, bytes.len())) {
            self.device.host(pinned)[..piece.bytes].copy_from_slice(&bytes[at..at + piece.bytes]);
            self.device.upload(self.compute, pinned, 0, piece)?;
            self.device.record(done, self.compute)?;
            self.device.synchronize(done)?;
        }
        Ok(())
    }

    /// Fills `values` from the start of the span.
    pub(super) fn read<T: Pod>(&mut self, span: Span, values: &mut [T]) -> Result<()> {
        self.checked()?;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        let Staging { pinned, done } = self.staging;
        for (at, piece) in pieces(span.part(0, bytes.len())) {
            self.device.download(self.compute, piece, pinned, 0)?;
            self.device.record(done, self.compute)?;
            self.device.synchronize(done)?;
            bytes[at..at + piece.bytes].copy_from_slice(&self.device.host(pinned)[..piece.bytes]);
        }
        Ok(())
    }

    pub(super) fn read_f32(&mut self, span: Span) -> Result<Vec<f32>> {
        let mut values = vec![0f32; span.bytes / 4];
        self.read(span, &mut values)?;
        Ok(values)
    }

    /// Constants, and zeros where kernels rely on them: the gaps between the tensors of the flat buffers.
    pub(super) fn initialize(&mut self, config: &ModelConfig, ws: &Workspace) -> Result<()> {
        let angles = Tables::new(ws.shape.time, config.rotary_size(), config.rotary_emb_base);
        let [cos, sin] = self.layout.angles;
        self.write(cos, angles.cos())?;
        self.write(sin, angles.sin())?;
        let positions: Vec<i32> = (0..ws.shape.rows()).map(|row| (row % ws.shape.time) as i32).collect();
        self.write(self.layout.positions, &positions)?;
        let master = |offset| self.layout.masters.of(offset).expect("biases have master weights") as i64;
        let pairs: Vec<i64> = self.layout.bias_pairs.iter().flatten().map(|b| master(b.offset)).collect();
        self.write(self.layout.bias_table, &pairs)?;
        for span in [self.layout.w32, self.layout.w16, self.layout.g, self.layout.m, self.layout.v] {
            self.fill(span, 0);
        }
        self.fill(self.layout.record, 0);
        self.checked()
    }
}
