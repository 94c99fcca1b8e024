//! A backend around another: each operation is issued as it came, between two marks, under its name and with its cost.
use super::log::Log;
use super::step::StepPart;
use crate::Result;
use crate::ops::cost::Cost;
use crate::ops::{
    Act, AdamParam, Backend, GemmChoices, Inputs, Matrix, Op, Ops, Outcome, Part, Sink, Stat, State,
    Timeline, Update, Work,
};
use std::borrow::Cow;

/// Takes operations, and notes them.
struct Noting<'a> {
    inner: &'a mut dyn Ops,
    log: &'a mut Log,
}

impl Ops for Noting<'_> {
    fn issue(&mut self, op: &Op) {
        self.log.at(op);
        // Without marks nothing is computed now.
        let first = self.inner.mark();
        if first.is_some() {
            self.log.begin(op.name());
        }
        self.inner.issue(op);
        if let Some(marks) = first.zip(self.inner.mark()) {
            self.log.end(op.name(), self.log.cost(op), marks);
        }
    }

    fn mark(&mut self) -> Option<usize> {
        self.inner.mark()
    }
}

/// A backend whose operations are noted.
pub(super) struct Profiled<'a> {
    pub inner: &'a mut dyn Backend,
    pub log: &'a mut Log,
}

impl Profiled<'_> {
    /// The same of a call that is no operation of the vocabulary.
    fn call(&mut self, name: &'static str, cost: Cost, call: impl FnOnce(&mut dyn Backend)) {
        self.log.outside();
        let first = self.inner.mark();
        if first.is_some() {
            self.log.begin(name);
        }
        call(self.inner);
        if let Some(marks) = first.zip(self.inner.mark()) {
            self.log.end(name, cost, marks);
        }
    }
}

impl Ops for Profiled<'_> {
    fn issue(&mut self, op: &Op) {
        Noting { inner: self.inner, log: self.log }.issue(op);
    }

    fn mark(&mut self) -> Option<usize> {
        self.inner.mark()
    }
}

impl Backend for Profiled<'_> {
    fn set_inputs(&mut self, inputs: Inputs) {
        self.log.enter(StepPart::Forward);
        // Inputs, targets, and the scale of each target.
        let cost = Cost { bytes: (12 * inputs.tokens.len()) as f64, flops: 0.0 };
        self.call("set_batch", cost, |inner| inner.set_inputs(inputs));
        self.log.see(inputs.tokens);
    }

    fn prepare(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.inner.prepare(work, body);
    }

    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        let log = &mut *self.log;
        self.inner.perform(work, &mut |inner| body(&mut Noting { inner, log: &mut *log }));
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        let cost = Cost { bytes: (8 * rows * loss.cols) as f64, flops: 0.0 };
        self.call("keep_losses", cost, |inner| inner.keep_losses(loss, rows));
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.log.enter(StepPart::Optimizer);
        self.call("update", self.log.update, |inner| inner.update(params, update));
    }

    fn outcome(&mut self) -> Result<Outcome> {
        self.inner.outcome()
    }

    fn steps_in_flight(&self) -> usize {
        self.inner.steps_in_flight()
    }

    fn set_applied(&mut self, applied: u64) {
        self.inner.set_applied(applied);
    }

    fn choices(&self) -> GemmChoices {
        self.inner.choices()
    }

    fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        self.inner.adopt(choices)
    }

    fn set_profiling(&mut self, on: bool) {
        self.inner.set_profiling(on);
    }

    fn timeline(&mut self) -> Result<Timeline> {
        self.inner.timeline()
    }

    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.inner.read_stat(stat, rows)
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        self.inner.read_act(act, rows)
    }

    fn keep_ema(&mut self, decay: f64) -> Result<()> {
        self.inner.keep_ema(decay)
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.inner.gradients()
    }
}

impl State for Profiled<'_> {
    fn state_len(&self, part: Part) -> usize {
        self.inner.state_len(part)
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        self.inner.read_state(part, place, sink)
    }

    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()> {
        self.inner.write_state(part, place, first, values)
    }
}
