//! The cpu backend with something done about each operation: rounding what it writes, or planting a mistake.
use crate::Result;
use crate::backend::cpu::Cpu;
use crate::ops::{
    Act, AdamParam, Backend, Inputs, Matrix, Op, Ops, Outcome, Part, Sink, Stat, State, Timeline, Update,
    Work,
};
use std::borrow::Cow;

/// A backend each of whose operations is handed to `each`, which issues it on `cpu` or does something else.
pub struct Around<F> {
    /// The backend that computes each operation.
    pub cpu: Cpu,
    /// What becomes of an operation.
    pub each: F,
}

impl<F: FnMut(&mut Cpu, &Op)> Ops for Around<F> {
    fn issue(&mut self, op: &Op) {
        (self.each)(&mut self.cpu, op);
    }

    fn mark(&mut self) -> Option<usize> {
        self.cpu.mark()
    }
}

impl<F: FnMut(&mut Cpu, &Op)> Backend for Around<F> {
    fn set_inputs(&mut self, inputs: Inputs) {
        self.cpu.set_inputs(inputs);
    }

    /// As the processor, which repeats nothing.
    fn perform(&mut self, _: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        self.cpu.keep_losses(loss, rows);
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.cpu.update(params, update);
    }

    fn outcome(&mut self) -> Result<Outcome> {
        self.cpu.outcome()
    }

    fn steps_in_flight(&self) -> usize {
        self.cpu.steps_in_flight()
    }

    fn set_applied(&mut self, applied: u64) {
        self.cpu.set_applied(applied);
    }

    fn timeline(&mut self) -> Result<Timeline> {
        self.cpu.timeline()
    }

    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.cpu.read_stat(stat, rows)
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        self.cpu.read_act(act, rows)
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.cpu.gradients()
    }
}

impl<F> State for Around<F> {
    fn state_len(&self, part: Part) -> usize {
        self.cpu.state_len(part)
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        self.cpu.read_state(part, place, sink)
    }

    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()> {
        self.cpu.write_state(part, place, first, values)
    }
}
