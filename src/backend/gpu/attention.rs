//! Rotation and attention.
use super::{Gpu, int, long};
use crate::device::Arg;
use crate::ops::attention as cut;
use crate::ops::{Act, Heads, Shape, Stat};

impl Gpu {
    /// Position of the rows of whole sequences, or of one row at `first`.
    fn positions(&self, s: Shape, first: usize) -> Arg {
        if self.batches.looks.reset {
            return self.span(self.batch().positions);
        }
        assert!(s.batch == 1 || (s.time == self.time && first == 0), "rows at the positions of the table");
        Arg::address(self.at(self.layout.positions, 4, first))
    }

    /// Where the documents of the rows start, or null where attention does not look.
    fn documents(&self) -> Arg {
        if self.batches.looks.isolate { self.span(self.batch().documents) } else { Arg::address(0) }
    }

    pub(super) fn rotate(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize) {
        let half = heads.rotary / 2;
        let Some(n) = [8, 4, 2, 1].into_iter().find(|n| half > 0 && half.is_multiple_of(*n)) else { return };
        let [cos, sin] = self.layout.angles.map(|a| self.span(a));
        let mut args = vec![self.act(qkv), long(qkv.ld), self.positions(s, first), cos, sin];
        args.extend([s.rows(), heads.count, heads.size, heads.rotary].map(int));
        self.launch(&format!("rotary_fwd_{n}"), [s.rows().div_ceil(16), 1, 1], 256, 0, args);
    }

    pub(super) fn attention_forward(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        let tile = cut::forward(heads.size, self.shared_bytes);
        let mut args = vec![self.act(qkv), long(qkv.ld), self.act(out), long(out.ld), self.stat(lse)];
        args.extend([self.documents(), int(s.time)]);
        let grid = [s.time.div_ceil(tile.queries), heads.count, s.batch];
        let name = format!("attention_fwd_{}{}", heads.size, tile.suffix);
        self.launch(&name, grid, tile.threads, tile.shared_bytes, args);
    }

    pub(super) fn attention_backward(
        &mut self,
        s: Shape,
        heads: Heads,
        [qkv, out, dout]: [Act; 3],
        lse: Stat,
        dqkv: Act,
    ) {
        self.before_write(dqkv);
        let (size, shares) = (heads.size, cut::shares(s.time));
        let tile = cut::backward(size, self.shared_bytes);
        let [stats, dq] = self.layout.attention.map(|a| self.span(a));
        let mut args = vec![self.act(out), long(out.ld), self.act(dout), long(dout.ld), self.stat(lse)];
        args.extend([stats.clone(), int(s.time), int(size)]);
        let grid = [s.time.div_ceil(cut::ROWS), heads.count, s.batch];
        self.launch("attention_bwd_stats", grid, 128, 0, args);

        let document = self.documents();
        let [cos, sin] = self.layout.angles.map(|a| self.span(a));
        let rotation = [cos, sin, self.positions(s, 0), int(heads.rotary), int(s.time)];
        let mut args = vec![self.act(qkv), long(qkv.ld), self.act(dout), long(dout.ld), stats];
        args.extend([document.clone(), dq.clone(), self.act(dqkv), long(dqkv.ld)]);
        args.extend(rotation.clone());
        let grid = [shares, heads.count, s.batch];
        let name = format!("attention_bwd_{size}{}", tile.suffix);
        self.launch(&name, grid, tile.threads, tile.shared_bytes, args);

        let mut args = vec![dq, document, self.act(dqkv), long(dqkv.ld)];
        args.extend(rotation);
        args.push(int(shares));
        let grid = [s.time.div_ceil(cut::DQ_QUERIES), heads.count, s.batch];
        let name = format!("attention_bwd_dq_{size}{}", tile.suffix);
        self.launch(&name, grid, 128, cut::dq_shared_bytes(size), args);
    }

    pub(super) fn attention_of_one(&mut self, heads: Heads, qkv: Act, position: usize, out: Act) {
        let args = vec![self.act(qkv), long(qkv.ld), self.act(out), int(position)];
        let (name, shared) =
            (format!("attention_decode_{}", heads.size), cut::decode_shared_bytes(heads.size));
        self.launch(&name, [heads.count, 1, 1], cut::DECODE_THREADS, shared, args);
    }
}
